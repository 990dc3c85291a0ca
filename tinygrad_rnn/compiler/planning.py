"""What is done when: a cell's step split into what runs before, in and after the loop over time.

A cell's rows are independent, so *time is just more batch*: an instruction that leaves the loop is the same
one, on the rows of all steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .. import ops
from .forms import product_kind
from .instructions import ROWS, Ends, Instruction, Instructions, Step, Unsupported, Value
from .parting import cut_apart, taken_apart, with_joins_again
from .passes import (
    demoted,
    depending,
    live,
    reassociated,
    replaced,
    simplified,
    with_arithmetic_again,
    with_joins,
    with_views_again,
)  # fmt: skip


@dataclass(eq=False)
class Plan:
    """When each instruction runs, and what is stored between the phases.

    Attributes
    ----------
    ends : Ends
        Of the step, as they are after the passes.
    once : list of Instruction
        On parameters and constants alone: once, before anything else.
    hoisted : list of Instruction
        On the inputs of all steps, before the forward loop.
    loop : list of Instruction
        The forward loop's body.
    after : list of Instruction
        On the rows of all steps, after the forward loop: products that no state needs, and what follows.
    local : list of Instruction
        Backward, but without cotangents of the states: for all steps, before the backward loop.
    back : list of Instruction
        The backward loop's body.
    sunk : list of Instruction
        On the rows of all steps, after the backward loop.
    saved : set of Value
        What the forward half computes and the backward half reads.
    """

    ends: Ends
    once: Instructions
    hoisted: Instructions
    loop: Instructions
    after: Instructions
    local: Instructions
    back: Instructions
    sunk: Instructions
    saved: set[Value]


def split_step(step: Step, needs: Sequence[bool] | None, fused: bool, hoist: bool = True) -> Plan:
    """Split a step.

    Parameters
    ----------
    step : Step
    needs : sequence of bool, or None
        Whether the gradient of x, and of each parameter, is wanted; None without a backward half.
    fused : bool
        Whether elementwise work is cheaper inside the loop than for all steps at once.
    hoist : bool
        False for a single step: then all is done in the loop.
    """
    numbers = itertools.count(1 + max([v.number for v in _values(step)]))
    both, same = simplified([*step.forward, *(step.backward if needs is not None else ())])
    made_forward = {o for i in step.forward for o in i.outputs}
    forward = [i for i in both if i.outputs[0] in made_forward]
    backward = both[len(forward) :]
    new_states = tuple([same.get(v, v) for v in step.new_states])
    y = same.get(step.y, step.y)
    gold: list[Value | None] = [None] * len(step.states)
    wanted: list[Value | None] = [None] * (1 + len(step.parameters))
    if needs is not None:
        gold = [same.get(v, v) if v else None for v in step.gold]
        gs = [same.get(v, v) if v else None for v in (step.gx, *step.gparameters)]
        wanted = [g if need else None for g, need in zip(gs, needs, strict=True)]
        backward = live(backward, [*gold, *wanted])
    if hoist:
        at_hand = {step.x, *step.states, y, *new_states}
        forward = taken_apart(forward, _levels(step, forward), numbers)
        backward = cut_apart(backward, gold, wanted, numbers)
        backward = with_joins_again(backward, forward, at_hand, numbers)
    levels = _levels(step, forward)
    read_back = {v for i in backward for v in i.read}
    if hoist:
        forward = reassociated(forward, [y, *new_states, *read_back], levels, numbers)
    backward = with_views_again(backward, forward, numbers)
    if fused:
        backward = with_arithmetic_again(backward, forward, {y, *new_states}, numbers)
    read_back |= {v for i in backward for v in i.read}.union(v for v in (*gold, *wanted) if v is not None)
    forward = live(forward, [y, *new_states, *read_back])
    moving = depending(forward, step.states)
    fed = depending(forward, [step.x, *_with_rows(forward)])
    once = [i for i in forward if moving.isdisjoint(i.outputs) and fed.isdisjoint(i.outputs)]
    hoisted = [i for i in forward if moving.isdisjoint(i.outputs) and not fed.isdisjoint(i.outputs)]
    loop = [i for i in forward if not moving.isdisjoint(i.outputs)]
    # What has no rows along its first axis (h.T) cannot be stored for all steps: it stays where it is used.
    stay = {i for i in hoisted if not hoist or not all(o.rowwise for o in i.outputs)}
    stuck = depending(hoisted, [o for i in stay for o in i.outputs])
    loop = [i for i in hoisted if not stuck.isdisjoint(i.outputs)] + loop
    hoisted = [i for i in hoisted if stuck.isdisjoint(i.outputs)]
    if fused:
        hoisted, loop = demoted(hoisted, loop, {y, *new_states})
    loop, after = _parted(loop, new_states) if hoist else (loop, [])
    local, back, sunk, more, wanted = _backward_phases(step, backward, gold, wanted, fused, numbers)
    made = {o for i in (*hoisted, *loop, *after) for o in i.outputs}
    saved = {v for i in (*local, *back, *sunk) for v in i.read if v in made}
    saved |= {v for v in (*gold, *wanted) if v in made}
    gx, *gparameters = wanted
    ends = Ends(
        step.x, step.states, step.parameters, step.names, y, new_states, step.gy, step.gstates,
        gx, tuple(gold), tuple(gparameters),
    )  # fmt: skip
    result = Plan(ends, once + more, hoisted, loop, after, local, back, sunk, saved)
    _check_stored(result)
    return result


def _parted(loop: Instructions, new_states: Sequence[Value]) -> tuple[Instructions, Instructions]:
    """The forward loop, and what can wait for its end.

    Elementwise work stays where its operands are; a product, as of an output layer, is worth the memory of
    what it reads, which mostly is the history of a state.
    """
    needed = set(live(loop, new_states))
    free = [i for i in loop if i not in needed]
    heavy = depending(free, [o for i in free if product_kind(i) for o in i.outputs])
    after = [i for i in free if not heavy.isdisjoint(i.outputs)]
    made = {o for i in loop for o in i.outputs}
    if not all(v.rowwise for i in after for v in (*i.read, *i.outputs) if v in made):
        return loop, []
    return [i for i in loop if i not in set(after)], after


def _backward_phases(
    step: Step, backward: Instructions, gold: Sequence[Any], wanted: Sequence[Any], fused: bool,
    numbers: Iterator[int],
) -> tuple[Instructions, Instructions, Instructions, Instructions, list[Value | None]]:  # fmt: skip
    """The backward half: local, looped, sunk, what depends on parameters alone, and what is wanted."""
    carried = depending(backward, step.gstates)
    cyclic = set(live(backward, gold))
    looped = [i for i in backward if i in cyclic and not carried.isdisjoint(i.outputs)]
    before = live(
        [i for i in backward if carried.isdisjoint(i.outputs)],
        [v for i in looped for v in i.read] + list(gold),
    )
    made = {o for i in before for o in i.outputs}
    given = [v for i in before for v in i.read if v not in made and (v.rowwise or v.role != "parameter")]
    of_rows = depending(before, [*given, *_with_rows(before)])
    still = [i for i in before if of_rows.isdisjoint(i.outputs)]
    local = [i for i in before if i not in set(still)]
    if fused:
        local, looped = demoted(local, looped, set(gold))
    stuck = depending(local, [o for i in local if not all(o.rowwise for o in i.outputs) for o in i.outputs])
    looped = [i for i in local if not stuck.isdisjoint(i.outputs)] + looped
    local = [i for i in local if stuck.isdisjoint(i.outputs)]
    done = {*still, *local, *looped}
    # What was moved into the loop may be wanted after it too: elementwise work is done again there.
    in_loop_only = {o for i in looped if carried.isdisjoint(i.outputs) for o in i.outputs}
    sunk = [i for i in backward if i not in done or not in_loop_only.isdisjoint(i.outputs)]
    sunk = live(sunk, wanted)
    if fused:
        sunk, looped = with_joins(sunk, looped)
    sunk = with_views_again(sunk, looped, numbers)
    # A carried cotangent is overwritten from step to step: what is sunk reads a copy that is kept.
    read = {v for i in sunk for v in i.read} | set(wanted)
    kept = {g: Value(next(numbers), g.shape, g.dtype) for g in step.gstates if g in read}
    looped = [Instruction(ops.positive, (g,), {}, (copy,)) for g, copy in kept.items()] + looped
    return local, looped, replaced(sunk, kept), still, [kept.get(v, v) if v else None for v in wanted]


def _values(step: Step) -> set[Value]:
    """All values of a step."""
    made = [o for i in (*step.forward, *step.backward) for o in i.outputs]
    return {step.x, *step.states, *step.parameters, step.gy, *step.gstates, *made}


def _levels(step: Step, forward: Instructions) -> dict[Any, int]:
    """2 for what depends on the state, 1 for what depends on the input or on the number of rows."""
    moving = depending(forward, step.states)
    fed = depending(forward, [step.x, *_with_rows(forward)])
    return {v: 2 if v in moving else 1 for v in moving | fed}


def _with_rows(instructions: Instructions) -> list[Value]:
    """The results of which there are as many as there are rows, be they made of parameters alone."""
    return [o for i in instructions for o in i.outputs if ROWS in o.shape]


def _check_stored(p: Plan) -> None:
    """Raise if something that has to be stored for all steps has no rows along its first axis."""
    stored = {
        *p.saved, p.ends.y, *p.ends.new_states,
        *(v for i in p.loop for v in i.read if v in {o for j in p.hoisted for o in j.outputs}),
        *(v for i in p.sunk for v in i.read if v in {o for j in p.back for o in j.outputs}),
    }  # fmt: skip
    for phase in (p.hoisted, p.loop, p.after, p.local, p.back):
        for i in phase:
            for o in i.outputs:
                if o in stored and not o.rowwise:
                    raise Unsupported(
                        f"{i.name} in scope {i.scope or '(none)'} gives an array of shape {o.shape} that has "
                        f"no rows along its first axis, so that it cannot be kept for all steps"
                    )
