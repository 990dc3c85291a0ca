"""The functions that a plan becomes: its forward half, its backward half, and a single step."""

from __future__ import annotations

from collections.abc import Sequence

from ..tensors import _make
from .forms import may_share, ufunc_name
from .instructions import Value
from .planning import Plan
from .writing import Copies, Location, Writer, array_name


def _read_back(plan: Plan) -> set[Value]:
    """What the backward half reads, or gives back as it is."""
    ends = plan.ends
    given = {v for v in (*ends.gold, ends.gx, *ends.gparameters) if v is not None}
    return given.union(v for i in (*plan.local, *plan.back, *plan.sunk) for v in i.read)


def _kept(w: Writer) -> list[str]:
    """The arrays that the backward half is given, by name."""
    ends, read = w.ends, _read_back(w.plan)
    histories = [
        f"h{s}"
        for s, (old, new) in enumerate(zip(ends.states, ends.new_states, strict=True))
        if old in read or (new in read and w.home.get(new) == s)
    ]
    return histories + sorted([array_name(v) for v in w.plan.saved if v not in w.home and v in read])


# ---------------------------------------------------------------------------------------------- forward


def forward(w: Writer) -> str:
    """``forward(L, take, scratch, x, states, parameters) -> y, final states, saved``."""
    plan, ends = w.plan, w.ends
    w.begin("forward(L, take, scratch, x, states, parameters)", {ends.x: "x"})
    w.once([*plan.hoisted, *plan.loop, *plan.after])
    _histories(w)
    locations = {v: Location("reads", f"h{s}") for s, v in enumerate(ends.states)}
    locations[ends.x] = Location("steps", "x")
    for i in plan.hoisted:
        w.straight([i], _memory(plan, *i.outputs))
        locations.update({o: Location("steps", w.names[o]) for o in i.outputs})
    locations.update({v: Location("writes", f"h{s}") for v, s in w.home.items()})
    later = {v for i in plan.after for v in i.read}
    for i in plan.loop:
        for v in i.outputs:
            if v not in w.home and (v in plan.saved or v is ends.y or v in later):
                w.allocate(array_name(v), v, "L.rows", _memory(plan, v))
                locations[v] = Location("steps", array_name(v))
    copies: Copies = [
        (v, Location("writes", f"h{s}")) for s, v in enumerate(ends.new_states) if w.home.get(v) != s
    ]
    w.loop(plan.loop, locations, copies, back=False)
    in_loop = {o for i in plan.loop for o in i.outputs}
    w.names.update({v: w.all_rows(v) for v in later if v in in_loop or v in ends.states})
    for i in plan.after:
        w.straight([i], _memory(plan, *i.outputs))
    y = w.all_rows(ends.y)
    if ends.y is ends.x or ends.y in ends.states:
        y = f"np.array({y})"
    finals = ", ".join([f"L.finals(h{s})" for s in range(len(ends.states))])
    w.write(f"return {y}, [{finals}], ({''.join(n + ', ' for n in _kept(w))})")
    return "\n".join(w.lines)


def _memory(plan: Plan, *values: Value) -> str:
    """Where memory for the rows of all steps comes from; what backward does not read goes back at once."""
    return "L.new" if plan.ends.y in values else "take" if plan.saved.intersection(values) else "scratch"


def _histories(w: Writer) -> None:
    """Allocate the states' histories, which begin with the states that come in."""
    ends, read = w.ends, _read_back(w.plan)
    for s, (v, new) in enumerate(zip(ends.states, ends.new_states, strict=True)):
        visible = new is ends.y and w.home.get(new) == s
        take = "L.new" if visible else "take" if v in read or new in read else "scratch"
        w.allocate(f"h{s}", v, "L.batch + L.rows", take)
        w.write(f"h{s}[:L.batch] = states[{s}]")


# --------------------------------------------------------------------------------------------- backward


def backward(w: Writer) -> str:
    """``backward(L, take, saved, x, parameters, gy, gstates) -> gx, gstates, gparameters``."""
    plan, ends = w.plan, w.ends
    w.begin("backward(L, take, saved, x, parameters, gy, gstates)", {ends.x: "x", ends.gy: "gy"})
    kept = _kept(w)
    if kept:
        w.write(f"{', '.join(kept)}, = saved")
    w.names.update({v: w.all_rows(v) for v in (*plan.saved, *ends.states)})
    w.once([*plan.local, *plan.back, *plan.sunk])
    w.straight(plan.local, "take")
    locations = _backward_locations(w)
    after = {v for i in plan.sunk for v in i.read} | {ends.gx, *ends.gparameters}
    stored = [v for i in plan.back for v in i.outputs if v in after]
    for v in stored:
        w.allocate(array_name(v), v, "L.rows", "take")
        locations[v] = Location("steps", array_name(v))
    copies: Copies = [(v, Location("heads", f"c{s}")) for s, v in enumerate(ends.gold)]
    for s, (old, new) in enumerate(zip(ends.gstates, ends.gold, strict=True)):
        if new is not None and new not in locations and _overwritten(w, old, new):
            locations[new] = Location("heads", f"c{s}")
    w.loop(plan.back, locations, copies, back=True)
    w.names.update({v: array_name(v) for v in stored})
    w.straight(plan.sunk, None)
    gx, *gparameters = [w.names[v] if v is not None else "None" for v in (ends.gx, *ends.gparameters)]
    carries = ", ".join([f"c{s}" for s in range(len(ends.states))])
    w.write(f"return {gx}, [{carries}], [{', '.join(gparameters)}]")
    return "\n".join(w.lines)


def _backward_locations(w: Writer) -> dict[Value, Location]:
    """Where the loop finds what was there before it; the carried cotangents' arrays are allocated."""
    plan, ends = w.plan, w.ends
    locations = {ends.x: Location("steps", "x"), ends.gy: Location("steps", "gy")}
    locations.update({v: Location("reads", f"h{s}") for s, v in enumerate(ends.states)})
    locations.update({v: Location("steps", array_name(v)) for v in plan.saved})
    locations.update({v: Location("writes", f"h{s}") for v, s in w.home.items() if v in plan.saved})
    locations.update({o: Location("steps", array_name(o)) for i in plan.local for o in i.outputs})
    for s, v in enumerate(ends.gstates):
        w.allocate(f"c{s}", v, "L.batch", "L.new")
        w.write(f"c{s}[...] = gstates[{s}]")
        locations[v] = Location("heads", f"c{s}")
    return locations


def _overwritten(w: Writer, old: Value, new: Value) -> bool:
    """Whether a new value may be written over an old one: nobody reads that later, or by other elements."""
    shown, written = {old}, False
    for i in w.plan.back:
        read = shown.intersection(i.read)
        if read and (written or (new in i.outputs and not (read == {old} and ufunc_name(i)))):
            return False
        written |= new in i.outputs
        if read and may_share(i):
            shown.update(i.outputs)
    return written and shown.isdisjoint(w.ends.gold)


# ------------------------------------------------------------------------------------------ single step


def single(w: Writer) -> str:
    """``prepare(L, parameters) -> run, made``; see `Single`.

    The plan's hoisted part must be empty.
    """
    ends = w.ends
    w.prepared = {}
    w.namespace["make"] = _make
    w.begin("prepare(L, parameters)", {ends.x: "x"})
    w.write("batch, scratch = L.batch, L.new")
    w.once(w.plan.loop)
    constants = [name for v, name in w.names.items() if v is not ends.x]
    before = len(w.lines)
    states = [f"i{s}" for s in range(len(ends.states))]
    with w.block(f"def run({', '.join(['x', *states])}):"):
        _run(w, states)
    # What is made of the parameters beforehand is known only now.
    made = [f"    {name} = {expression}" for expression, name in w.prepared.items()]
    w.lines[before:before] = [*made, "    spare = []", ""]
    w.lines.append("")
    w.write(f"return run, ({''.join(name + ', ' for name in [*constants, *w.prepared.values()])})")
    return "\n".join(w.lines)


def _run(w: Writer, states: Sequence[str]) -> None:
    """The body of ``run(x, *states) -> y, new states``."""
    plan, ends = w.plan, w.ends
    locations = {v: Location("heads", name) for v, name in zip(ends.states, states, strict=True)}
    locations[ends.x] = Location("heads", "x")
    news = [f"n{s}" for s in range(len(states))]
    for s, (v, name) in enumerate(zip(ends.new_states, news, strict=True)):
        w.allocate(name, v, "batch", "scratch")
        if w.home.get(v) == s:
            locations[v] = Location("heads", name)
    made = ends.y in {o for i in plan.loop for o in i.outputs}
    if made and ends.y not in locations:
        w.allocate("y", ends.y, "batch", "scratch")
        locations[ends.y] = Location("heads", "y")
    copies: Copies = [
        (v, Location("heads", news[s])) for s, v in enumerate(ends.new_states) if w.home.get(v) != s
    ]
    w.loop(plan.loop, locations, copies, back=False)
    y = locations[ends.y].array if ends.y in locations else w.names[ends.y]
    w.write(f"y = make({y if made else f'np.array({y})'}, None)")
    w.write(f"return y, ({''.join('y, ' if n == y else f'make({n}, None), ' for n in news)})")
