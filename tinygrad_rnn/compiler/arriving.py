"""The backward half where a loss does not depend on all that a loop gives, so that not all cotangents arrive.

What none arrives at is 0, and must not be computed: beside a result that has overflowed, 0 would become NaN.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .instructions import ROWS, Constant, Instruction, Operand, Step, Unsupported, Value
from .passes import depending

Given = tuple[bool, ...]
"""For y and each final state, whether its cotangent arrives."""

_ANY = 1 << 62
"""A number of steps within which everything is reached that can be."""


def reached(step: Step, given: Given, steps: int) -> set[Value]:
    """The values of the backward half that cotangents reach, at one of some steps."""
    arrived = [v for v, there in zip((step.gy, *step.gstates), given, strict=True) if there]
    found = depending(step.backward, arrived)
    for _ in range(steps - 1):  # what reaches the state before a step reaches the step before
        before = {g for g, old in zip(step.gstates, step.gold, strict=True) if old in found}
        if before <= found:
            break
        found = depending(step.backward, found | before)
    return found


def gradients_reached(step: Step, given: Given, steps: int) -> list[bool]:
    """For x, the first states and the parameters, whether a loss depends on them."""
    found = reached(step, given, steps)
    return [v in found for v in (step.gx, *step.gold, *step.gparameters)]


def pattern(step: Step, given: Given) -> Given:
    """The cotangents that a backward half has to be made for: all, if each of its instructions is reached.

    A final state's cotangent that does not arrive counts as 0 where those of the steps before it do.
    """
    found = reached(step, given, _ANY)
    if _cotangents(step) - found <= {step.gy, *step.gstates}:
        return (True,) * len(given)
    return tuple([v in found for v in (step.gy, *step.gstates)])


def restricted(step: Step, given: Given) -> Step:
    """The step without what no cotangent reaches."""
    found = reached(step, given, _ANY)
    absent = _cotangents(step) - found

    def operand(v: Operand) -> Operand:
        if v not in absent:
            return v
        if ROWS in v.shape[1:]:
            raise Unsupported(
                "a cotangent that does not arrive has its rows along another axis than the first"
            )
        shape = (1, *v.shape[1:]) if v.rowwise else v.shape
        return Constant(np.zeros(shape, v.dtype), rowwise=v.rowwise)

    def end(v: Value | None) -> Value | None:
        return None if v in absent else v

    return replace(
        step,
        gx=end(step.gx),
        gold=tuple(map(end, step.gold)),
        gparameters=tuple(map(end, step.gparameters)),
        backward=[
            Instruction(i.op, tuple(map(operand, i.inputs)), i.static, i.outputs, i.scope)
            for i in step.backward
            if absent.isdisjoint(i.outputs)
        ],
    )


def _cotangents(step: Step) -> set[Value]:
    """All cotangents, the given ones and what is made of them."""
    return depending(step.backward, (step.gy, *step.gstates))
