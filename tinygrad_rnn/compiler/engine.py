"""What `tg.compile` puts into a cell: its compiled forms, by what they are called with."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import get_default_dtype
from ..nn.options import features_of
from ..nn.packing import Packing
from ..nn.states import State, as_state, refilled, tensors_of
from ..nn.steps import name_of, structure
from ..sources import user_level
from ..state import current_state
from ..tensors import Tensor, _make
from .arriving import Given, gradients_reached, pattern, restricted
from .calls import Call
from .checking import check, check_restricted, composed, tried
from .instructions import Step, Unsupported
from .layout import Layout, Pool
from .numpy_backend import NumpyWriter
from .planning import split_step
from .programs import Program, Single
from .report import Report
from .single import SingleSteps
from .surroundings import Surroundings
from .tracing import Changing, Signature, trace
from .writing import Writer

_MANY = 64
"""Traces that are kept, of a cell whose options are changed ever again."""

_TRIES = 3
"""Looks at a cell whose step changes what it is compiled for: it may have done so for the last time."""

_VALUES = 8
"""Values of its attributes that a cell is compiled for, for inputs of one kind."""

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
    single : Single, Unsupported or None
        The form of a single step, once one has been asked for.
    """

    def __init__(self, step: Step, signature: Signature) -> None:
        self.step, self.signature = step, signature
        outputs = [o for i in step.forward for o in i.outputs if o.rowwise]
        self.row_bytes = max([o.size * o.dtype.itemsize for o in outputs], default=0)
        self.given: Given = (True,) * (1 + len(step.states))
        self.programs: dict[Any, Program | Unsupported] = {}
        self.single: Single | Unsupported | None = None
        self._arriving: dict[tuple[Given, int], tuple[Given, list[bool]]] = {}

    def arriving(self, given: Given, lengths: Sequence[int]) -> tuple[Given, list[bool]]:
        """For cotangents that arrive, their `pattern`, and which gradients they reach.

        In sequences of some lengths: states that change places reach other first ones in each.
        """
        for steps in lengths:
            if (given, steps) not in self._arriving:
                reached = gradients_reached(self.step, given, steps)
                self._arriving[given, steps] = pattern(self.step, given), reached
        found = [self._arriving[given, steps] for steps in lengths]
        return found[0][0], [any(there) for there in zip(*[reached for _, reached in found], strict=True)]


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
    single : callable
        ``single(cell, x, state) -> (y, state)``: one step (see `SingleSteps`).
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.pool = Pool()
        self._traced: dict[Any, Traced | Unsupported] = {}
        self._refused: list[Unsupported] = []
        self._values: Counter[Any] = Counter()
        self.said: set[str] = set()
        self.around: Any = None
        self._layouts: dict[tuple[int, int], Layout] = {}
        self._latest: tuple[Traced | Unsupported, int, int] | None = None
        self.derived: dict[Any, Any] = {}
        self.latest_derived: Any = None
        self.single = SingleSteps(self).step

    def __reduce__(self) -> Any:
        return Engine, (self.backend,)  # a copied cell may be changed, and is then compiled anew

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
    ) -> tuple[Traced | Unsupported, list[Tensor], Any]:
        """What the step is traced to, or why it cannot be compiled; the parameters; and the surroundings.

        Those that were looked at for it: another thread may have looked again meanwhile.
        """
        if len(self._refused) == _TRIES:
            return self._refused[-1], [], None
        around = self.around
        # A shallow copy of a cell has the engine of its original.
        if around is None or around.cell is not cell or around.changed():
            found = tried(lambda: Surroundings(cell))
            if isinstance(found, Unsupported):
                self._refused.append(found)
                return found, [], None
            around = self.around = found
        tensors, states = around.tensors(), tensors_of(state)
        kind = (
            features, dtype, tuple([(s.shape[1:], s.dtype) for s in states]), structure(state),
            tuple([(t.shape, t.dtype) for t in tensors]), get_default_dtype(),
        )  # fmt: skip
        key = (kind, around.options)
        if key not in self._traced:
            if self._values[kind] == _VALUES:
                return (
                    Unsupported(
                        f"{self._restless(kind)} has had {_VALUES} values by now, and each was compiled for "
                        f"itself: make it a tensor, whose values may change"
                    ),
                    tensors,
                    around,
                )
            self._values[kind] += 1
            if len(self._traced) >= _MANY:
                self._traced.clear()
                self._values.clear()
            like = refilled(state, [_make(np.empty(0), None)] * len(states))
            signature = Signature(kind[:2], kind[2], like)
            traced = tried(lambda: Traced(trace(cell, signature, around), signature))
            self._traced[key] = traced
            if isinstance(traced, Changing):
                self._refused.append(traced)
        return self._traced[key], tensors, around

    def _restless(self, kind: Any) -> str:
        """What has had most values, of all that a cell was compiled for."""
        values: dict[str, set[Any]] = {}
        for other, options in list(self._traced):
            for name, *value in options if other == kind else ():
                values.setdefault(name, set()).add(tuple(value))
        return max(values, key=lambda name: len(values[name])).rstrip(".")

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
                step, signature = traced.step, traced.signature
                if all(given) or needs is None:
                    program = Program(split_step(step, needs, fused), self.writer())
                    check(cell, step, signature, program, needs)
                    return program
                whole = self.program(cell, traced, needs, batch, (True,) * len(given))
                if isinstance(whole, Unsupported):
                    raise whole

                def part() -> Program:
                    program = Program(split_step(restricted(step, given), needs, fused), self.writer())
                    check_restricted(step, signature, whole, program, needs, given)
                    return program

                found = tried(part)  # else zeros stand for what does not arrive
                return whole if isinstance(found, Unsupported) else found

            traced.programs[key] = tried(make)
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
        state = as_state(cell.initial_state(1))
        x = _make(np.zeros((1, *features_of(cell.input_size)), tensors_of(state)[0].dtype), None)
        self._latest = (self.traced(cell, x.shape[1:], x.dtype, state)[0], 1, 1)

    def writer(self) -> type[Writer]:
        """What writes the source of programs."""
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
        features = sequence.shape[1 + packing.even :]
        traced, parameters, around = self.traced(cell, features, sequence.dtype, state)
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
        call = Call(self, program, cell, around, traced, needs, given, packing, reverse)
        outputs = call.forward(inputs, places if needs else None)
        return outputs[0], refilled(state, outputs[1:])
