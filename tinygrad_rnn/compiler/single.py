"""Single steps, made ready once for arguments of one kind: little is left of a call beside its kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import get_default_dtype
from ..nn.states import State, as_state, refilled, tensors_of
from ..state import State as Recording
from ..state import current_state
from ..tensors import Tensor
from .building import rows
from .checking import check_single, composed, tried
from .instructions import Unsupported
from .layout import Layout
from .planning import split_step
from .programs import Single
from .surroundings import Surroundings

if TYPE_CHECKING:
    from .engine import Engine, Traced

_MANY = 64
"""Shapes of x that single steps are kept ready for."""


class SingleSteps:
    """The single steps of an engine's cell, made ready by the shape of x."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ready: dict[tuple[int, ...], Ready] = {}

    def step(self, cell: Any, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step."""
        plain = type(state) is tuple
        ready = self._ready.get(x._data.shape)
        if ready is not None and ready.plain is plain:
            arrays = ready.arrays((x, *state) if plain else (x, state), current_state())
            if arrays is not None and ready.around.cell is cell and not ready.around.changed():
                y, new = ready.run(*arrays)
                return y, new if plain else new[0]
        return self._prepared(cell, x, state)

    def _prepared(self, cell: Any, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step, with all that the next one like it finds ready."""
        now, engine = current_state(), self._engine
        state = as_state(state)
        states = tensors_of(state)
        _check_batch(x, states)
        if now.watch is not None or not len(x):
            return composed(cell, x, state, [len(x)], False)
        traced, parameters, around = engine.traced(cell, x.shape[1:], x.dtype, state)
        tracked = now.recording and any(t.place is not None for t in (x, *states, *parameters))
        form = traced if tracked or isinstance(traced, Unsupported) else self._form(cell, traced)
        if not isinstance(form, Single):
            results = composed(cell, x, state, [len(x)], False)
            engine.refuse(cell, None if tracked else form)  # type: ignore[arg-type]
            return results
        inputs = [x, *states]
        ready = Ready(form, parameters, inputs, type(state) is tuple, around)
        if ready.lasting:
            if len(self._ready) > _MANY:
                self._ready.clear()
            self._ready[x.shape] = ready
        y, new = ready.run(*[rows(t.numpy()) for t in inputs])
        form.settle()
        return y, refilled(state, new)

    def _form(self, cell: Any, traced: Traced) -> Single | Unsupported:
        """The compiled form of a single step, compared with the composed one before it is used."""
        if traced.single is None:

            def make() -> Single:
                form = Single(split_step(traced.step, None, True, hoist=False), self._engine.writer())
                check_single(cell, traced.step, traced.signature, form)
                return form

            traced.single = tried(make)
        return traced.single


class Ready:
    """A single step for arguments of some shapes.

    Attributes
    ----------
    run : callable
        See `Single`.
    plain : bool
        Whether the state is a tuple of tensors, else it is one tensor.
    around : Surroundings
        Of the cell when this was made.
    lasting : bool
        Whether all that has been made of the parameters are views of them: what is written into them is seen.
    """

    def __init__(
        self,
        form: Single,
        parameters: Sequence[Tensor],
        inputs: Sequence[Tensor],
        plain: bool,
        around: Surroundings,
    ) -> None:
        self.plain, self.around = plain, around
        self._default_dtype = get_default_dtype()
        self._inputs = [(t.shape, t.dtype) for t in inputs]
        self._parameters = [(p, p.numpy()) for p in parameters]
        arrays = [a for _, a in self._parameters]
        batch = len(inputs[0])
        self.run, made = form.prepare(Layout([batch], batch), arrays)
        self.lasting = all(any(np.may_share_memory(q, a) for a in arrays) for q in made)

    def arrays(self, inputs: Sequence[Any], now: Recording) -> list[np.ndarray] | None:
        """The arrays of x and the states for `run`, if all is as it was, and nothing is to be recorded."""
        if len(inputs) != len(self._inputs) or now.watch is not None:
            return None
        if get_default_dtype() is not self._default_dtype:
            return None
        recording, found = now.recording, []
        for t, (shape, dtype) in zip(inputs, self._inputs):  # noqa: B905 (looked at, and each word takes time)
            if type(t) is not Tensor or (recording and t._place is not None):
                return None
            a = t._data
            if a.shape != shape or a.dtype is not dtype or not a.flags.carray:
                return None
            found.append(a)
        for p, a in self._parameters:
            if p._data is not a or (recording and p._place is not None):
                return None
        return found


def _check_batch(x: Tensor, states: Sequence[Any]) -> None:
    """What a composed cell would find out by itself: kernels trust the shapes that they were compiled for."""
    for s in states:
        if s.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"step: x {x.shape} has {len(x)} rows, and the state has another number, {s.shape}"
            )
