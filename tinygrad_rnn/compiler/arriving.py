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


def reached(step: Step, given: Given, steps: int | None = None) -> tuple[set[Value], set[Value]]:
    """The values of the backward half that cotangents reach at one of some steps, and at the first of them.

    At one of any number of steps, if that is None.
    """
    output = {step.gy} if given[0] else set()
    carried = frozenset(g for g, there in zip(step.gstates, given[1:], strict=True) if there)
    at_step: list[set[Value]] = []
    known: dict[frozenset[Value], int] = {}
    while carried not in known and len(at_step) != steps:
        known[carried] = len(at_step)
        at_step.append(depending(step.backward, output | carried))
        # What reaches the state before a step reaches the step before.
        carried = frozenset(g for g, old in zip(step.gstates, step.gold, strict=True) if old in at_step[-1])
    everywhere = set().union(*at_step)
    if steps is None or len(at_step) == steps:
        return everywhere, at_step[-1] if at_step else set()
    begin = known[carried]  # from here on it repeats itself
    return everywhere, at_step[begin + (steps - 1 - begin) % (len(at_step) - begin)]


def gradients_reached(step: Step, given: Given, steps: int) -> list[bool]:
    """For x, the first states and the parameters, whether a loss depends on them."""
    everywhere, first = reached(step, given, steps)
    gold = [v in first for v in step.gold]
    return [step.gx in everywhere, *gold, *[v in everywhere for v in step.gparameters]]


def pattern(step: Step, given: Given) -> Given:
    """The cotangents that a backward half has to be made for: all, if each of its instructions is reached.

    A final state's cotangent that does not arrive counts as 0 where those of the steps before it do.
    """
    found, _ = reached(step, given)
    if _cotangents(step) - found <= {step.gy, *step.gstates}:
        return (True,) * len(given)
    return tuple([v in found for v in (step.gy, *step.gstates)])


def restricted(step: Step, given: Given) -> Step:
    """The step without what no cotangent reaches."""
    found, _ = reached(step, given)
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
