"""One run of a compiled cell over time: an entry on the tape, and the way back over it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backpropagation, tape
from ..nn.packing import Packing
from ..nn.states import refilled, tensors_of
from ..nn.steps import name_of
from ..ops.operations import Primitive
from ..state import current_state, enable_grad
from ..tape import Nary, Output, Place
from ..tensors import Tensor, _make, as_tensor
from .arriving import Given
from .checking import arrived
from .instructions import Unsupported
from .layout import Lease
from .programs import Program
from .surroundings import Surroundings

if TYPE_CHECKING:
    from .engine import Engine, Traced


class Call:
    """One run of a compiled cell over time, and what its backward half needs to know of it."""

    def __init__(
        self,
        engine: Engine,
        program: Program,
        cell: Any,
        around: Surroundings,
        traced: Traced,
        needs: tuple[bool, ...] | None,
        given: Given,
        packing: Packing,
        reverse: bool,
    ) -> None:
        self.engine, self.program, self.cell, self.around = engine, program, cell, around
        self.traced, self.needs, self.given = traced, needs, given
        self.packing, self.reverse, self.states = packing, reverse, len(traced.step.states)
        self.layout = engine.layout(packing.counts)

    def __repr__(self) -> str:
        return f"<compiled {name_of(self.cell)}, {self.layout.steps_count} steps>"

    def forward(self, inputs: Sequence[Tensor], places: Sequence[Place | None] | None) -> list[Tensor]:
        """The outputs, on the tape as those of one entry with inputs from given places, if any."""
        arrays = [t.numpy() for t in inputs]
        n = 1 + self.states
        self.parameters = [*map(weakref.ref, inputs[n:])]
        x = self._rows(arrays[0])
        lease = Lease(self.engine.pool)
        y, finals, saved = self.program.forward(self.layout, lease, x, arrays[1:n], arrays[n:])
        results = [self._packed(y), *finals]
        if places is None:
            return [_make(a, None) for a in results]
        # The workspace stands among the inputs: so the tape lets go of it when it releases what was saved.
        entry = Nary(
            _scan, (*places, None), (*arrays, lease), (x, *saved), {"call": self},
            tuple([a.shape for a in results]), tuple([a.dtype for a in results]), current_state().scope,
        )  # fmt: skip
        return [_make(a, Output(entry, k, a.shape, a.dtype)) for k, a in enumerate(results)]

    def _rows(self, sequence: np.ndarray) -> np.ndarray:
        """A packed form as rows, in the order in which the loop meets them."""
        layout = self.layout
        if not self.packing.even:
            return np.ascontiguousarray(layout.turned(sequence) if self.reverse else sequence)
        steps = sequence.swapaxes(0, 1)[:: -1 if self.reverse else 1]
        return np.ascontiguousarray(steps).reshape(layout.rows, *sequence.shape[2:])

    def _packed(self, rows: np.ndarray) -> np.ndarray:
        """The way back; a view, where no sequence is padded."""
        layout = self.layout
        if not self.packing.even:
            return layout.turned(rows) if self.reverse else rows
        steps = rows.reshape(layout.steps_count, layout.batch, *rows.shape[1:])
        return steps[:: -1 if self.reverse else 1].swapaxes(0, 1)

    def backward(self, gs: Sequence[Any], saved: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """Cotangents of all inputs."""
        if any(isinstance(g, Tensor) for g in gs):
            return self.recomputed(gs, args)
        x, *saved = saved
        n = 1 + self.states
        parameters = args[n:-1]
        step, layout, pool = self.traced.step, self.layout, self.engine.pool
        given, reached = self.traced.arriving(tuple([g is not None for g in gs]), layout.lengths)
        program, again = self.program, Lease(pool)
        if given != self.given:
            # Another half forward, too: each saves what its own way back reads. The next call begins with it.
            found = self.engine.program(self.cell, self.traced, self.needs, layout.batch, given)
            assert not isinstance(found, Unsupported)  # the whole program, if there is none of its own
            program, self.traced.given = found, given
            *_, saved = program.forward(layout, again, x, args[1:n], parameters)
        gy = np.zeros((layout.rows, *step.y.features), step.y.dtype) if gs[0] is None else self._rows(gs[0])
        finals = [np.zeros((), s.dtype) if g is None else g for g, s in zip(gs[1:], step.states, strict=True)]
        gx, *others = program.backward(layout, Lease(pool), saved, x, parameters, gy, finals)
        pulled = [gx if gx is None else self._packed(gx), *others]
        return [g if there else None for g, there in zip(pulled, reached, strict=True)]

    def recomputed(self, gs: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """The same as tensors on the tape: from the composed cell, run again."""
        self.engine.say(
            f"tg.compile: a backward pass through {name_of(self.cell)} that is itself recorded "
            f"(create_graph=True) runs the cell again as it is composed"
        )
        again = Surroundings(self.cell)
        same = [ref() is t for ref, t in zip(self.parameters, again.tensors(), strict=False)]
        if again.options != self.around.options or len(same) != len(self.parameters) or not all(same):
            raise RuntimeError(
                f"{name_of(self.cell)} was changed between its call and a pass with create_graph=True, "
                f"which runs it again: change it after that"
            )
        n = 1 + self.states
        since = next(tape.clock)
        with enable_grad():
            sequence, *states = map(as_tensor, args[:n])
            y, final = self.engine.composed(
                self.cell,
                sequence,
                refilled(self.traced.signature.like, states),
                self.packing,
                self.reverse,
                None,
            )
        pairs = [(t.place, g) for t, g in zip((y, *tensors_of(final)), gs, strict=True) if g is not None]
        found = backpropagation.backward(pairs, retain_graph=True, lift=_make, since=since)
        return [arrived(found, a.place) if isinstance(a, Tensor) and a.place else None for a in args]


def _scan_forward(*arrays: Any, call: Call) -> Any:
    raise AssertionError("a compiled loop is entered on the tape by its engine")


# A view, to the tape: a leaf changed since would change what is computed again for a recorded backward pass.
_scan = Primitive(_scan_forward, multiple=True, view=True)
_scan.name = "scan"
_scan.defvjp(joint=lambda gs, saved, *args, call: call.backward(gs, saved, args))
