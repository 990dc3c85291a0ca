"""What `tg.compile` puts into a cell: its compiled forms, by what they are called with."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from ..arrays import get_default_dtype
from ..nn.packing import Packing
from ..nn.states import State, as_state, refilled, tensors_of
from ..nn.steps import name_of
from ..sources import user_level
from ..state import current_state
from ..tensors import Tensor, _make
from .arriving import Given, gradients_reached, pattern, restricted
from .building import rows
from .calls import Call
from .checking import FAULT, check, check_single, composed
from .instructions import Step, Unsupported
from .layout import Layout, Pool
from .numpy_backend import NumpyWriter
from .planning import split_step
from .programs import Program, Single
from .report import Report
from .single import Ready
from .surroundings import Surroundings
from .tracing import Changing, Signature, trace
from .writing import Writer

Form = TypeVar("Form")

_MANY = 64
"""Traces that are kept, of a cell whose options are changed ever again."""

_TRIES = 3
"""Traces of a cell whose step changes what it is compiled for: it may have done so for the last time."""

_LARGE = 8192
"""Bytes of one step of the widest value, from which on NumPy does elementwise work inside the loop."""


class Traced:
    """A step of a cell, and what has been made of it so far, or the reason why nothing could be.

    Attributes
    ----------
    row_bytes : int
        Of one row of its widest value.
    given : tuple of bool
        For y and each state, whether the latest backward pass had a cotangent of it (see `pattern`).
    programs : dict
        By gradients wanted, whether the batch is large, and cotangents given.
    singles : list of Single
        One, once a single step has been asked for.
    """

    def __init__(self, step: Step, signature: Signature) -> None:
        self.step, self.signature = step, signature
        outputs = [o for i in step.forward for o in i.outputs if o.rowwise]
        self.row_bytes = max([math.prod(o.features) * o.dtype.itemsize for o in outputs], default=0)
        self.given: Given = (True,) * (1 + len(step.states))
        self.programs: dict[Any, Program | Unsupported] = {}
        self.singles: list[Single | Unsupported] = []
        self._arriving: dict[tuple[Given, int], tuple[Given, list[bool]]] = {}

    def arriving(self, given: Given, steps: int) -> tuple[Given, list[bool]]:
        """For cotangents that arrive, their `pattern`, and which gradients they reach in some steps."""
        steps = min(steps, len(given))  # more than states: so many reach all that can be reached
        if (given, steps) not in self._arriving:
            reached = gradients_reached(self.step, given, steps)
            self._arriving[given, steps] = pattern(self.step, given), reached
        return self._arriving[given, steps]


class Engine:
    """The compiled forms of one cell, by the shapes it is called with.

    Attributes
    ----------
    backend : str
    pool : Pool
    derived : dict
        Compiled cells that are made of this one, by their kind.
    latest_derived : CompiledCell or None
        The one of them that made the latest call, if it was one of them.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.pool = Pool()
        self._traced: dict[Any, Traced | Unsupported] = {}
        self._changing: list[Changing] = []
        self.said: set[str] = set()
        self.around: Any = None
        self._ready: dict[Any, Ready] = {}
        self._layouts: dict[tuple[int, int], Layout] = {}
        self._latest: tuple[Traced | Unsupported, int, int] | None = None
        self.derived: dict[Any, Any] = {}
        self.latest_derived: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Engine:
        return Engine(self.backend)  # a copied cell may be changed, and is then compiled anew

    def say(self, text: str) -> None:
        """Warn, but not twice of the same."""
        if text not in self.said:
            self.said.add(text)
            warnings.warn(text, RuntimeWarning, stacklevel=user_level())

    def composed(
        self, cell: Any, sequence: Tensor, state: State, packing: Packing, reverse: bool, reason: Any
    ) -> tuple[Tensor, State]:
        """The composed loop, and a warning why it runs; but where it raises, that is the error."""
        y, final = composed(cell, packing.to_rows(sequence), state, packing.counts, reverse)
        self.refuse(cell, reason)
        return packing.from_rows(y), final

    def refuse(self, cell: Any, reason: Unsupported | None) -> None:
        """Say why a cell is not compiled, if there is a reason."""
        if reason is not None:
            self.say(f"tg.compile: {name_of(cell)} runs as it is composed, and no faster: {reason}")

    def traced(
        self, cell: Any, features: tuple[int, ...], dtype: Any, state: State
    ) -> tuple[Traced | Unsupported, list[Tensor]]:
        """What the step is traced to, or why it cannot be compiled; and the parameters."""
        around = self.around
        # A shallow copy of a cell has the engine of its original.
        if around is None or around.cell is not cell or around.changed():
            around = self.around = Surroundings(cell)
        tensors, states = around.tensors(), tensors_of(state)
        key = (
            features, dtype, tuple([(s.shape[1:], s.dtype) for s in states]), _structure(state),
            around.options, tuple([(t.shape, t.dtype) for t in tensors]), get_default_dtype(),
        )  # fmt: skip
        if key not in self._traced:
            if len(self._changing) == _TRIES:
                return self._changing[-1], tensors
            if len(self._traced) >= _MANY:
                self._traced.clear()
            like = refilled(state, [_make(np.empty(0), None)] * len(states))
            signature = Signature((key[0], key[1]), key[2], like)
            step = _tried(lambda: trace(cell, signature, around.names))
            self._traced[key] = step if isinstance(step, Unsupported) else Traced(step, signature)
            if isinstance(step, Changing):
                self._changing.append(step)
        return self._traced[key], tensors

    def program(
        self, cell: Any, traced: Traced, needs: tuple[bool, ...] | None, batch: int, given: Given
    ) -> Program | Unsupported:
        """The compiled form for some gradients wanted; with NumPy, for a small or a large batch.

        It is run beside the composed loop before it is used, and is none if that gives something else.
        """
        fused = self.backend == "numba" or traced.row_bytes * batch > _LARGE
        key = (needs, fused, given if needs else None)
        if key not in traced.programs:

            def make() -> Program:
                step = traced.step if all(given) or not needs else restricted(traced.step, given)
                program = Program(split_step(step, needs, fused), self._writer())
                check(cell, step, traced.signature, program, needs, given)
                return program

            traced.programs[key] = _tried(make)
        return traced.programs[key]

    def report(self, cell: Any) -> Report:
        """The plan of the latest call, forward and backward."""
        if self._latest is None:
            self._example(cell)
        assert self._latest is not None
        traced, batch, steps = self._latest
        program: Program | Unsupported = Unsupported(traced)
        if isinstance(traced, Traced):
            every = (True,) * (1 + len(traced.step.parameters))
            program = self.program(cell, traced, every, batch, traced.given)
        if not isinstance(program, Program):
            raise RuntimeError(f"{name_of(cell)} is not compiled: {program}")
        return Report(name_of(cell), program, batch, steps)

    def _example(self, cell: Any) -> None:
        """Trace a cell that has not been called: one that says its sizes."""
        if not hasattr(cell, "input_size") or not hasattr(cell, "initial_state"):
            raise RuntimeError(
                f"{name_of(cell)} has not been called yet, and does not say its sizes: call it once"
            )
        state = cell.initial_state(1)
        x = _make(np.zeros((1, cell.input_size), tensors_of(state)[0].dtype), None)
        self._latest = (self.traced(cell, x.shape[1:], x.dtype, state)[0], 1, 1)

    def single(self, cell: Any, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step."""
        plain = type(state) is tuple
        ready = self._ready.get(x._data.shape)
        if ready is not None and ready.plain is plain:
            arrays = ready.arrays((x, *state) if plain else (x, state), current_state())
            if arrays is not None and ready.around.cell is cell and not ready.around.changed():
                y, new = ready.run(*arrays)
                return y, new if plain else new[0]
        return self._prepared_single(cell, x, state)

    def _prepared_single(self, cell: Any, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step, with all that the next one like it finds ready."""
        now = current_state()
        state = as_state(state)
        states = tensors_of(state)
        _check_batch(x, states)
        if now.watch is not None or not len(x):
            return composed(cell, x, state, [len(x)], False)
        traced, parameters = self.traced(cell, x.shape[1:], x.dtype, state)
        tracked = now.recording and any(t.place is not None for t in (x, *states, *parameters))
        form = traced if tracked or isinstance(traced, Unsupported) else self._single_form(cell, traced)
        if not isinstance(form, Single):
            results = composed(cell, x, state, [len(x)], False)
            self.refuse(cell, None if tracked else form)  # type: ignore[arg-type]
            return results
        inputs = [x, *states]
        assert self.around is not None
        ready = Ready(form, parameters, inputs, type(state) is tuple, self.around)
        if ready.lasting:
            if len(self._ready) > 64:
                self._ready.clear()
            self._ready[x.shape] = ready
        y, new = ready.run(*[rows(t.numpy()) for t in inputs])
        form.settle()
        return y, refilled(state, new)

    def _single_form(self, cell: Any, traced: Traced) -> Single | Unsupported:
        """The compiled form of a single step, compared with the composed one before it is used."""
        if not traced.singles:

            def make() -> Single:
                form = Single(split_step(traced.step, None, True, hoist=False), self._writer())
                check_single(cell, traced.step, traced.signature, form)
                return form

            traced.singles.append(_tried(make))
        return traced.singles[0]

    def _writer(self) -> type[Writer]:
        if self.backend == "numpy":
            return NumpyWriter
        from .numba_backend import NumbaWriter

        return NumbaWriter

    def layout(self, counts: Sequence[int]) -> Layout:
        """The layout of a batch; of batches without padding, the same for all of one size."""
        batch, steps = counts[0], len(counts)
        if counts[-1] != batch:
            return Layout(counts, batch)
        known = self._layouts.get((batch, steps))
        if known is None:
            if len(self._layouts) > 64:
                self._layouts.clear()
            known = self._layouts[batch, steps] = Layout(counts, batch)
        return known

    def scan(
        self, cell: Any, sequence: Tensor, state: State, packing: Packing, reverse: bool
    ) -> tuple[Tensor, State]:
        """Run a cell over packed sequences; see `nn.scan.run`."""
        now = current_state()
        if now.watch is not None:
            return self.composed(cell, sequence, state, packing, reverse, None)
        counts = packing.counts
        traced, parameters = self.traced(cell, sequence.shape[1 + packing.even :], sequence.dtype, state)
        self._latest, self.latest_derived = (traced, counts[0], len(counts)), None
        if isinstance(traced, Unsupported):
            return self.composed(cell, sequence, state, packing, reverse, traced)
        step = traced.step
        inputs = [sequence, *tensors_of(state), *parameters]
        paths = (step.gx, *step.gold, *step.gparameters)
        places = [t.place if g is not None else None for t, g in zip(inputs, paths, strict=True)]
        needs = None
        if now.recording and any(p is not None for p in places):
            wanted = [p is not None for p in places]
            needs = (wanted[0], *wanted[1 + len(step.states) :])
        given = traced.given
        program = self.program(cell, traced, needs, counts[0], given)
        if isinstance(program, Unsupported):
            return self.composed(cell, sequence, state, packing, reverse, program)
        call = Call(self, program, cell, traced, needs, given, packing, reverse)
        outputs = call.forward(inputs, places if needs else None)
        return outputs[0], refilled(state, outputs[1:])


def _tried(make: Callable[[], Form]) -> Form | Unsupported:
    """What a function makes, or why it could not: then the composed cell runs, whosever fault it is."""
    try:
        return make()
    except Unsupported as reason:
        return reason.with_traceback(None)
    except Exception as error:
        return Unsupported(f"making it gave {type(error).__name__}: {error}; {FAULT}")


def _check_batch(x: Tensor, states: Sequence[Any]) -> None:
    """What a composed cell would find out by itself: kernels trust the shapes that they were compiled for."""
    for s in states:
        if s.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"step: x {x.shape} has {len(x)} rows, and the state has another number, {s.shape}"
            )


def _structure(state: State) -> Any:
    return (type(state), *map(_structure, state)) if isinstance(state, tuple) else None
