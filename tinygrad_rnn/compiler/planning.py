"""What is done when: a cell's step split into what runs before, in and after the loop over time.

Passes are functions from lists of instructions to lists of instructions. A cell's rows are independent, so
*time is just more batch*: an instruction that leaves the loop is the same one, on the rows of all steps.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..listing import describe_static
from ..ops.registry import Primitive
from .forms import elementwise
from .instructions import ROWS, Instruction, Operand, Shape, Step, Unsupported, Value

Instructions = list[Instruction]


@dataclass(eq=False)
class Plan:
    """When each instruction runs, and what is stored between the phases.

    Attributes
    ----------
    step : Step
    once : list of Instruction
        On parameters and constants alone: once, before anything else.
    hoisted : list of Instruction
        On the inputs of all steps, before the forward loop.
    loop : list of Instruction
        The forward loop's body.
    local : list of Instruction
        Backward, but without cotangents of the states: for all steps, before the backward loop.
    back : list of Instruction
        The backward loop's body.
    sunk : list of Instruction
        On the rows of all steps, after the backward loop.
    saved : set of Value
        What the forward half computes and the backward half reads.
    """

    step: Step
    once: Instructions
    hoisted: Instructions
    loop: Instructions
    local: Instructions
    back: Instructions
    sunk: Instructions
    saved: set[Value]

    @property
    def phases(self) -> dict[str, Instructions]:
        return {
            "once": self.once, "hoisted": self.hoisted, "looped": self.loop, "local": self.local,
            "looped back": self.back, "sunk": self.sunk,
        }  # fmt: skip


# ----------------------------------------------------------------------------------------------- passes


def replaced(instructions: Iterable[Instruction], names: dict[Value, Value]) -> Instructions:
    """The instructions with some values replaced by others wherever they are read."""
    return [
        Instruction(
            i.op,
            tuple([names.get(v, v) if type(v) is Value else v for v in i.inputs]),
            i.static,
            i.outputs,
            i.scope,
        )
        for i in instructions
    ]


def live(instructions: Sequence[Instruction], wanted: Iterable[Value | None]) -> Instructions:
    """Dead code taken out: only what the wanted values need."""
    needed = set(wanted)
    kept = []
    for i in reversed(instructions):
        if not needed.isdisjoint(i.outputs):
            kept.append(i)
            needed.update(i.read)
    return kept[::-1]


def depending(instructions: Sequence[Instruction], sources: Iterable[Value]) -> set[Value]:
    """All values that depend on the sources, these among them."""
    found = set(sources)
    for i in instructions:
        if not found.isdisjoint(i.read):
            found.update(i.outputs)
    return found


def simplified(instructions: Sequence[Instruction]) -> tuple[Instructions, dict[Value, Value]]:
    """Without what changes nothing, or has been done before; and which values stand for the others."""
    same: dict[Value, Value] = {}
    known: dict[Any, Instruction] = {}
    kept: Instructions = []
    for i in instructions:
        (i,) = replaced([i], same)
        if _changes_nothing(i):
            same[i.outputs[0]] = i.read[0]
            continue
        key = (i.op, tuple([_identity(v) for v in i.inputs]), repr(sorted(i.static.items())))
        before = known.setdefault(key, i)
        if before is i:
            kept.append(i)
        else:
            same.update(zip(i.outputs, before.outputs, strict=True))
    return kept, same


def _changes_nothing(i: Instruction) -> bool:
    if i.name not in ("reshape", "positive", "broadcast_to", "astype") or not i.read:
        return False
    return i.read[0].shape == i.outputs[0].shape and i.read[0].dtype == i.outputs[0].dtype


def _identity(v: Operand) -> Any:
    if type(v) is Value:
        return v.number
    array = v.array
    return id(array) if isinstance(array, np.ndarray) else (type(array), array)


def reassociated(
    instructions: Sequence[Instruction], wanted: Sequence[Value], levels: dict[Any, int]
) -> Instructions:
    """Sums of several terms in another order: what varies least is added up first, and leaves the loop.

    ``(W x + b) + (U h + c)`` becomes ``((b + c) + W x) + U h``.
    """
    made_by: dict[Any, Instruction] = {o: i for i in instructions for o in i.outputs}
    uses: Counter[Any] = Counter([*[v for i in instructions for v in i.read], *wanted])
    inner: set[Instruction] = set()
    terms: dict[Instruction, list[Operand]] = {}
    for i in instructions:
        if i.name == "add" and all(_dtype(v) == i.outputs[0].dtype for v in i.inputs):
            terms[i] = []
            for v in i.inputs:
                part = made_by.get(v)
                if part in terms and uses[v] == 1:
                    terms[i] += terms[part]
                    inner.add(part)
                else:
                    terms[i].append(v)
    numbers = itertools.count(1 + max([o.number for i in instructions for o in i.outputs], default=0) * 1000)
    result: Instructions = []
    for i in instructions:
        if i in inner:
            continue
        if len(terms.get(i, ())) < 3:
            result.append(i)
            continue
        total, *rest = sorted(terms[i], key=lambda v: levels.get(v, 0))
        for k, v in enumerate(rest, 2):
            out = i.outputs[0]
            if k < len(terms[i]):
                out = Value(next(numbers), broadcast(_shape(total), _shape(v)), out.dtype)
            result.append(Instruction(i.op, (total, v), {}, (out,), i.scope))
            total = out
    return _in_order(result)


def _in_order(instructions: Instructions) -> Instructions:
    """Each instruction after those that it reads from; else as they stand."""
    made = {o for i in instructions for o in i.outputs}
    done: set[Value] = set()
    result: Instructions = []
    waiting = list(instructions)
    while waiting:
        later = []
        for i in waiting:
            if all(v in done or v not in made for v in i.read):
                result.append(i)
                done.update(i.outputs)
            else:
                later.append(i)
        waiting = later
    return result


def _shape(v: Operand) -> Shape:
    return v.shape if type(v) is Value else np.shape(v.array)


def _dtype(v: Operand) -> Any:
    return v.dtype if type(v) is Value else getattr(v.array, "dtype", None)


def broadcast(a: Shape, b: Shape) -> Shape:
    """The shape that two broadcast to."""
    short, long = sorted((a, b), key=len)
    short = (1,) * (len(long) - len(short)) + short
    return tuple([m if n == 1 else n for m, n in zip(short, long, strict=True)])


def with_views_again(backward: Sequence[Instruction], forward: Sequence[Instruction]) -> Instructions:
    """The backward half taking views of forward results itself, so that their sources are what is saved."""
    made_by = {o: i for i in forward for o in i.outputs}
    again: dict[Value, Value] = {}
    clones: Instructions = []

    def stored(v: Value) -> bool:
        """Whether a value, or what it is a view of, can be kept for all steps."""
        i = made_by.get(v)
        is_view = i is not None and isinstance(i.op, Primitive) and i.op.view
        return v.rowwise or i is None or (is_view and stored(i.read[0]))

    def clone(v: Value) -> None:
        i = made_by.get(v)
        if (
            v in again
            or i is None
            or not (isinstance(i.op, Primitive) and i.op.view)
            or not stored(i.read[0])
        ):
            return
        for source in i.read:
            clone(source)
        outputs = tuple([Value(_again(o.number), o.shape, o.dtype) for o in i.outputs])
        clones.extend(replaced([Instruction(i.op, i.inputs, i.static, outputs, i.scope)], again))
        again.update(zip(i.outputs, outputs, strict=True))

    for i in backward:
        for v in i.read:
            clone(v)
    return [*clones, *replaced(backward, again)]


def _again(number: int) -> int:
    """The number of a value that is computed once more."""
    return -number if number > 0 else number - 1_000_000


def demoted(
    outside: Instructions, loop: Instructions, wanted: set[Value]
) -> tuple[Instructions, Instructions]:
    """Elementwise instructions that only a loop reads moved into it: there they cost no memory traffic."""
    read_outside = Counter(v for i in outside for v in i.read)
    kept, moved = [], []
    for i in reversed(outside):
        if elementwise(i) and not any(read_outside[o] or o in wanted for o in i.outputs):
            moved.append(i)
            read_outside.subtract(i.read)
        else:
            kept.append(i)
    return kept[::-1], moved[::-1] + loop


# ----------------------------------------------------------------------------------------------- the plan


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
    both, same = simplified([*step.forward, *(step.backward if needs is not None else ())])
    made_forward = {o for i in step.forward for o in i.outputs}
    forward = [i for i in both if i.outputs[0] in made_forward]
    backward = both[len(forward) :]
    new_states = tuple([same.get(v, v) for v in step.new_states])
    y = same.get(step.y, step.y)
    gold: list[Value | None] = []
    wanted: list[Value | None] = []
    if needs is not None:
        gold = [same.get(v, v) if v else None for v in step.gold]
        gs = [same.get(v, v) if v else None for v in (step.gx, *step.gparameters)]
        wanted = [g if need else None for g, need in zip(gs, needs, strict=True)]
        backward = live(backward, [*gold, *wanted])
    moving = depending(forward, step.states)
    fed = depending(forward, [step.x])
    levels = {v: 2 if v in moving else 1 for v in moving | fed}
    read_back = {v for i in backward for v in i.read}
    if hoist:
        forward = reassociated(forward, [y, *new_states, *read_back], levels)
    backward = with_views_again(backward, forward)
    read_back |= {v for i in backward for v in i.read}.union(v for v in (*gold, *wanted) if v is not None)
    forward = live(forward, [y, *new_states, *read_back])
    moving = depending(forward, step.states)
    fed = depending(forward, [step.x])
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
    local, back, sunk, more, wanted = _backward_phases(step, backward, gold, wanted, fused)
    made = {o for i in (*hoisted, *loop) for o in i.outputs}
    saved = {v for i in (*local, *back, *sunk) for v in i.read if v in made}
    saved |= {v for v in (*gold, *wanted) if v in made}
    result = Plan(
        _with(step, y, new_states, gold, wanted), once + more, hoisted, loop, local, back, sunk, saved
    )
    _check_stored(result)
    return result


def _backward_phases(
    step: Step, backward: Instructions, gold: Sequence[Any], wanted: Sequence[Any], fused: bool
) -> tuple[Instructions, Instructions, Instructions, Instructions, list[Value | None]]:
    """The backward half: local, looped, sunk, what depends on parameters alone, and what is wanted."""
    carried = depending(backward, step.gstates)
    cyclic = set(live(backward, gold))
    looped = [i for i in backward if i in cyclic and not carried.isdisjoint(i.outputs)]
    before = live(
        [i for i in backward if carried.isdisjoint(i.outputs)],
        [v for i in looped for v in i.read] + list(gold),
    )
    still = [
        i for i in before if not any(v.rowwise or v.role != "parameter" for v in _ancestors(i, backward))
    ]
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
    sunk = with_views_again(live(sunk, wanted), looped)
    # A carried cotangent is overwritten from step to step: what is sunk reads a copy that is kept.
    read = {v for i in sunk for v in i.read} | set(wanted)
    kept = {g: Value(-1000 - g.number, g.shape, g.dtype) for g in step.gstates if g in read}
    looped = [Instruction(ops.positive, (g,), {}, (copy,)) for g, copy in kept.items()] + looped
    return local, looped, replaced(sunk, kept), still, [kept.get(v, v) if v else None for v in wanted]


def _ancestors(i: Instruction, instructions: Instructions) -> set[Value]:
    made_by = {o: j for j in instructions for o in j.outputs}
    found: set[Value] = set()
    stack = list(i.read)
    while stack:
        v = stack.pop()
        if v not in found:
            found.add(v)
            stack.extend(made_by[v].read if v in made_by else ())
    return {v for v in found if v not in made_by}


def _with(step: Step, y: Value, new_states: Any, gold: Any, wanted: Any) -> Step:
    """The step with the values that stand for its results after the passes."""
    gx, *gparameters = wanted or [None] * (1 + len(step.parameters))
    return Step(
        step.x, step.states, step.parameters, step.names, y, new_states, step.forward, step.gy, step.gstates,
        gx, tuple(gold) or (None,) * len(step.states), tuple(gparameters), step.backward,
    )  # fmt: skip


def _check_stored(p: Plan) -> None:
    """Raise if something that has to be stored for all steps has no rows along its first axis."""
    stored = {
        *p.saved, p.step.y, *p.step.new_states,
        *(v for i in p.loop for v in i.read if v in {o for j in p.hoisted for o in j.outputs}),
        *(v for i in p.sunk for v in i.read if v in {o for j in p.back for o in j.outputs}),
    }  # fmt: skip
    for phase in (p.hoisted, p.loop, p.local, p.back):
        for i in phase:
            for o in i.outputs:
                if o in stored and not o.rowwise:
                    raise Unsupported(
                        f"{i.name} in scope {i.scope or '(none)'} gives an array of shape {o.shape} that has "
                        f"no rows along its first axis, so that it cannot be kept for all steps"
                    )


# ------------------------------------------------------------------------------------------------ in print


def flops(i: Instruction) -> int:
    """Floating-point operations for each row; a function such as tanh counts as one."""
    out = sum(_features(o) for o in i.outputs)
    if i.name in ("linear", "matmul"):
        a, b = [v for v in i.inputs if type(v) is Value]
        if a.rowwise:
            return 2 * _features(a) * b.shape[0 if i.name == "linear" else -1] if not b.rowwise else 0
        return 2 * a.shape[0] * b.shape[-1]  # a sum over rows
    if i.name in ("sum", "mean", "var"):
        return sum(_features(v) for v in i.read)
    return 0 if (isinstance(i.op, Primitive) and i.op.view) or i.name in ("concatenate", "scatter") else out


def _features(v: Value) -> int:
    return math.prod([n for n in v.shape if n is not ROWS])


class Report:
    """A plan in print: for each entry when it runs, on how many rows, and what it costs.

    Attributes
    ----------
    rows : list of tuple
        Phase, text of the entry, rows, bytes of its outputs and floating-point operations, each time it runs.
    """

    def __init__(self, name: str, plan: Plan, batch: int, steps: int, remarks: Sequence[str]) -> None:
        self.name, self.batch, self.steps, self.remarks = name, batch, steps, list(remarks)
        names = dict(zip(plan.step.parameters, plan.step.names, strict=True))
        self.rows: list[tuple[str, str, int, int, int]] = []
        for phase, instructions in plan.phases.items():
            for i in instructions:
                n = batch if phase.startswith("looped") else 1 if phase == "once" else batch * steps
                size = sum(o.dtype.itemsize * _features(o) * (n if o.rowwise else 1) for o in i.outputs)
                self.rows.append((phase, _text(i, names), n, size, n * flops(i)))

    def count(self, phase: str) -> int:
        """How many entries run in a phase."""
        return sum(row[0] == phase for row in self.rows)

    def __str__(self) -> str:
        table = [("when", "entry", "rows", "bytes", "flops")]
        table += [
            (phase, text, f"{n:,}", f"{size:,}", f"{work:,}") for phase, text, n, size, work in self.rows
        ]
        widths = [max(len(row[k]) for row in table) for k in range(5)]
        lines = [
            "  ".join(
                c.rjust(w) if k > 1 else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]
        head = f"{self.name}: {self.batch} sequences of {self.steps} steps; " + ", ".join(self.remarks)
        return "\n".join([head, *lines])

    __repr__ = __str__


def _text(i: Instruction, names: dict[Value, str]) -> str:
    def operand(v: Operand) -> str:
        if type(v) is Value:
            return names.get(v) or v.name or repr(v)
        return repr(v)

    outputs = ", ".join([f"{o!r}{_shape_text(o)}" for o in i.outputs])
    static = [f"{n}={describe_static(s)}" for n, s in i.static.items()]
    return f"{outputs} = {i.name}({', '.join([*map(operand, i.inputs), *static])})"


def _shape_text(v: Value) -> str:
    return f":{v.dtype}({', '.join(map(str, v.shape))})"
