"""`compile`: the same layer, with loops over time that are compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from inspect import CO_VARARGS, isfunction
from typing import Any

import numpy as np

from ..nn.module import Module
from ..nn.packing import Packing
from ..nn.recurrent import Recurrent
from ..nn.states import State
from ..nn.steps import Bare
from ..ops import expand_dims, squeeze
from ..state import current_state
from ..tensors import Tensor, as_tensor
from .derived import AllStates
from .engine import Engine
from .reading import is_library
from .report import Report

BACKENDS = ("numba", "numpy")


class CompiledCell:
    """What `compile` adds to a cell; `nn.scan` hands it the whole loop over time."""

    _tg_engine: Engine

    def scan_packed(
        self, sequence: Tensor, state: State, packing: Packing, reverse: bool, all_states: bool = False
    ) -> tuple[Tensor, State] | None:
        """All steps over packed sequences; see `nn.scan.run`."""
        if not all_states:
            return self._tg_engine.scan(self, sequence, state, packing, reverse)
        every, _ = self._tg_derived(AllStates).scan_packed(sequence, state, packing, reverse)
        return AllStates.taken_apart(every, state, 2 + packing.even)

    def _tg_derived(self, kind: Any) -> Any:
        """A cell that is made of this one, ``kind(cell)``, and compiled for itself."""
        made = self._tg_engine.derived
        known = made.get(kind)
        if known is None or known._cell is not self:  # a shallow copy shares its original's engine
            made[kind] = _compiled_cell(kind(self), self._tg_engine.backend)
            if known is None:
                made[kind]._tg_engine.said = self._tg_engine.said
            else:
                made[kind]._tg_engine = known._tg_engine
        self._tg_engine.latest_derived = made[kind]
        return made[kind]

    def plan(self) -> Report:
        """What runs before, in and after the loops over time, entry by entry; print it.

        Of the latest call; of one sequence of one step, if there was none.
        """
        derived = self._tg_engine.latest_derived
        return self._tg_engine.report(self) if derived is None else derived.plan()

    def step(self, x: Any, state: State = None) -> tuple[Tensor, State]:
        """One step, for streams: ``(B, I)`` and a state to the output and the next state.

        As the cell's own call, but compiled, unless something is to be recorded.
        """
        x = as_tensor(x)
        if state is None:
            state = self.initial_state(len(x))  # type: ignore[attr-defined]
        return self._tg_engine.single(self, x, state)


class CompiledModule:
    """What `compile` adds to a module that has cells in it."""

    def plan(self) -> str:
        """The plans of all its cells, or why one is not compiled."""
        plans = []
        for _, name, cell in _cells(self):  # type: ignore[arg-type]
            try:
                plans.append(f"{name}: {cell.plan()}")
            except RuntimeError as reason:
                plans.append(f"{name}: {reason}")
        return "\n\n".join(plans)

    def step(self, x: Any, state: State = None) -> tuple[Tensor, State]:
        """One step of a layer, for streams: ``(B, I)`` and a state to ``(B, F)`` and the next state.

        Raises
        ------
        TypeError
            For what does not take and give one state each, or reads backwards.
        ValueError
            For an x of other axes.
        """
        layer: Any = self
        if getattr(layer, "return_state", False) is not True or layer.bidirectional or layer.go_backwards:
            raise TypeError(
                f"step: this {type(self).__name__} does not go forwards from a state to the next "
                f"(return_state=True)"
            )
        x = as_tensor(x)
        if x.ndim != 2 and isinstance(getattr(layer, "input_size", None), (int, np.integer)):
            raise ValueError(f"step expected x of shape (batch, features), got {x.shape}")
        if x.ndim == 2 and _streams(layer):
            after = []
            for name, before in zip(layer._names(), layer._unpack(state, len(x)), strict=True):
                cell = getattr(layer, name)
                x, new = cell._tg_engine.single(cell, x, before)
                after.append(new)
            return x, layer._packed(after)
        time = 1 if layer.batch_first else 0
        output, state = layer(expand_dims(x, time), state)
        return (squeeze(output, time) if layer.return_sequences else output), state


def _streams(layer: Any) -> bool:
    """Whether a layer's step is no more than its cells' single steps, one after the other."""
    if not isinstance(layer, Recurrent) or current_state().recording:
        return False
    own = ("forward" in vars(layer), *[not is_library(m.__module__) for m in _ways_in(type(layer))])
    drops = layer.training and (layer.dropout.p or layer.recurrent_dropout.p)
    return (
        not any(own)
        and not drops
        and all(isinstance(getattr(layer, name), CompiledCell) for name in layer._names())
    )


def _ways_in(kind: Any) -> tuple[Any, ...]:
    """What a call of a layer runs, which a class of a user's may have of its own."""
    return kind.__call__, kind.forward


class _Wrapped(CompiledCell, Bare):
    """A cell that is a function, or that takes no new methods."""

    def __repr__(self) -> str:
        return repr(self._cell)

    def __setattr__(self, name: str, value: Any) -> None:
        """Into the cell, but for what is the wrapper's own."""
        if name in ("_cell", "_tg_engine"):
            super().__setattr__(name, value)
        else:
            setattr(self._cell, name, value)


def compile(target: Any = None, *, backend: str | None = None) -> Any:
    """Make a cell, a layer, or all recurrent layers of a model faster, and change nothing else about them.

    One step of the cell is recorded, forward and backward. What does not depend on the state is done for
    all steps at once, what the recurrence does not need after it, and what is left is fused. The same object
    comes back, with the same parameters, results and gradients.

    Parameters
    ----------
    target : cell, layer or model
        A cell is anything that `nn.scan` takes: ``cell(x_t, state) -> (y_t, state)``. A function, or an
        object that takes no new methods, is returned in a wrapper, anything else itself, and its class
        becomes a subclass of the same name; ``plan()`` and ``step()`` are new on it, unless it has methods of
        these names. Without a target, a decorator: ``@tg.compile(backend="numpy")``.
    backend : {"numba", "numpy"}, optional
        numba (extra ``fast``) if it is installed. Its kernels are kept on disk, in the folder that the
        environment variable ``TINYGRAD_RNN_CACHE`` names, or in the user's cache. What is compiled already
        changes to another backend only if that is named.

    Returns
    -------
    target
        Compiled when it is first called, and anew for other shapes of features and other dtypes; other batch
        sizes and lengths cost nothing. Copies, through pickle too where no tensor is held, are compiled anew.
        What cannot be compiled (Python branches on values and comparisons,
        random numbers in the step, rows that depend on each other) runs as it did, after one warning that
        says what is in the way; so does a backward pass that is itself recorded, and, without a warning,
        anything under `detect_anomaly` or an `Observer`.

    Raises
    ------
    ValueError
        For a module without a recurrent cell, and for an unknown backend.

    Notes
    -----
    The step is tried on a copy of the cell, with 1, 6, 9 and 300 rows: what it does for one other number of
    rows alone is not seen. What it prints or sends away is printed or sent when it is tried, and no more.
    What it does not find through its attributes but through functions, classes or modules cannot be copied
    with it: for some milliseconds of the first call such tensors have other values, and if such lists,
    dictionaries, arrays or NumPy's global generator have changed by then, they are put back; so no other
    thread should use them. What modules of installed packages hold, and what `functools.lru_cache`
    remembers, is taken to stay as it is; gradients (``w.grad``) and names that are looked up by other means
    than attributes (``globals()[key]``, ``sys.modules``, ``eval``) are not watched.
    Numbers and NumPy arrays that the step reads are constants, looked at in every call and compiled anew
    when they change, for up to eight values: what changes often, or is large, should be a tensor. Outputs
    share memory with what the way back reads: write into copies of their arrays. A loss on the outputs
    alone counts a last state's gradient as 0, which beside an overflow there is NaN; so do
    ``return_sequences=False`` and ``return_state="all"`` with those of the outputs and states that a loss
    leaves out, and an initial state's gradient may be 0 there instead of None. A backward pass that is
    itself recorded (of ``create_graph=True``, or of `grad` where its result stays on the tape) runs the cell
    as it is composed. Kernels do not tell of floating-point errors (``np.errstate``).
    On cores that are busy, or fewer than BLAS sees (containers), the threads of BLAS wait for each other in
    the large products made here, and a call can take many times as long: set ``OPENBLAS_NUM_THREADS=1`` (or
    ``MKL_NUM_THREADS``, as NumPy was built) in the environment before NumPy is imported.
    """
    if backend not in (None, *BACKENDS):
        raise ValueError(f"backend must be one of {', '.join(map(repr, BACKENDS))} or None, got {backend!r}")
    if target is None:
        return partial(compile, backend=backend)
    code = target.__code__ if isfunction(target) else None
    single = code is not None and code.co_argcount < 2 and not code.co_flags & CO_VARARGS
    if isinstance(target, type) or not callable(target) or single:
        raise TypeError(
            f"compile takes a layer, a model, or a cell, cell(x_t, state) -> (y_t, state); got {target!r}"
            + (": make one first" if isinstance(target, type) else "")
        )
    if not isinstance(target, Module) or _is_cell(target):
        return _compiled_cell(target, backend)
    cells = list(_cells(target))
    if not cells:
        raise ValueError(
            f"compile found no recurrent cell in this {type(target).__name__}: nothing with "
            f"initial_state(batch)"
        )
    for owner, name, cell in cells:
        compiled = _compiled_cell(cell, backend)
        if compiled is not cell:
            setattr(owner, name, compiled)
    with suppress(TypeError):  # of a class that refuses subclasses: faster, but without plan() and step()
        _add(target, CompiledModule)
    return target


def _cells(module: Module) -> Iterator[tuple[Module, str, Any]]:
    """The cells in a module: which module holds each, and by what name."""
    for owner in module.modules():
        for name, value in [*owner.named_children(), *vars(owner).items()]:
            if _is_cell(value):
                yield owner, name, value


def _is_cell(value: Any) -> bool:
    """Whether it is one, and not a model that makes its layers' initial states."""
    if not callable(getattr(value, "initial_state", None)):
        return False
    return not (isinstance(value, Module) and any(isinstance(m, Recurrent) for m in value.modules()))


def _compiled_cell(cell: Any, backend: str | None) -> Any:
    if isinstance(cell, CompiledCell):
        if backend in (None, cell._tg_engine.backend):
            return cell
    else:
        try:
            _add(cell, CompiledCell)
        except TypeError:
            cell = _Wrapped(cell)
    vars(cell)["_tg_engine"] = Engine(backend or ("numba" if find_spec("numba") else "numpy"))
    return cell


def _add(owner: Any, methods: type) -> None:
    """Give an object some methods more; it keeps its identity, its own methods, and its class its name."""
    kind = type(owner)
    if not issubclass(kind, methods):
        object.__setattr__(owner, "__class__", _with(kind, methods))


def _with(kind: type, methods: type) -> type:
    """A class with some methods more: the same one each time, for as long as the class lives."""
    known: Any
    for known in type.__subclasses__(kind):
        if known.__bases__ == (kind, methods) and vars(known).get("uncompiled_type") is kind:
            return known
    names = {
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
        "__reduce_ex__": _reduced,
        "uncompiled_type": kind,
    }
    return type(kind.__name__, (kind, methods), names)


def _reduced(owner: Any, protocol: Any) -> Any:
    """How to copy and to pickle it: as of the class that it had, as pickle finds classes by their names."""
    kind: Any
    kind, methods = type(owner).__bases__
    how = kind.__reduce_ex__(owner, protocol)
    if isinstance(how, str):  # the name of a global, which it is
        return how
    make, args, *state = how
    how = [kind if part is type(owner) else part for part in (make, *args)]
    return _again, (methods, vars(owner).get("_tg_engine"), *how), *state


def _again(methods: type, engine: Engine | None, make: Any, *args: Any) -> Any:
    """Made anew, and compiled as it was."""
    made = make(*args)
    _add(made, methods)
    if engine is not None:
        vars(made)["_tg_engine"] = engine
    return made
