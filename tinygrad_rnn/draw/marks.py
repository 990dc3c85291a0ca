"""What is laid over a view once it is made: routes, gradient flow, errors."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ..listing import Tape
from ..tape import Entry, Leaf, Place, source_of
from ..tensors import Tensor
from .kept import Slot, slot_of
from .loops import Loop
from .metrics import INDICES, node_size
from .unrolled import subscripted
from .view import Edge, Node, View

_LEVELS = 4

_DECADES = 4
"""How many powers of ten the scale of gradients spans at least."""


def highlight(view: View, tape: Tape, what: Any) -> None:
    """Mark all routes from leaves to the results; everything else fades.

    Parameters
    ----------
    view : View
    tape : Tape
    what : Tensor, str, or several
        Leaves, themselves or by their names.

    Raises
    ------
    ValueError
        For what is not a leaf of this tape.
    """
    several = what if isinstance(what, (list, tuple)) else [what]
    leaves = {leaf for item in several for leaf in _leaves(tape, item)}
    numbers = {-k for k, leaf in enumerate(tape.leaves, 1) if leaf in leaves}
    reached: set[Place] = set(leaves)
    for entry in tape.entries:
        if any(source_of(p) in reached for p in entry.parents):
            reached.add(entry)
            numbers.add(tape.numbers[entry])
    keys = {key for number in numbers for key in view.stands.get(number, ())}
    # A state at the top of its column stands for no entry: it is on the way if what it comes from is.
    for edge in view.edges:
        if edge.kind == "state" and edge.tail in keys and edge.entry in numbers:
            keys.add(edge.head)
    for node in view.nodes:
        node.mark = "highlighted" if node.key in keys else "faded"
    for edge in view.edges:
        on = edge.tail in keys and edge.head in keys and edge.kind != "cut"
        edge.mark = "highlighted" if on and (not edge.entry or edge.entry in numbers) else "faded"


def _leaves(tape: Tape, item: Any) -> list[Leaf]:
    if isinstance(item, Tensor):
        found = [leaf for leaf in tape.leaves if leaf is item.place]
    else:
        found = [leaf for leaf, name in tape.leaves.items() if item in (name, name.rpartition(".")[2])]
    if not found:
        what = repr(item) if isinstance(item, str) else f"a tensor of shape {getattr(item, 'shape', '?')}"
        raise ValueError(
            f"highlight: {what} is no leaf of this tape; its leaves are {', '.join(tape.leaves.values())}"
        )
    return found


def gradient_flow(view: View, tape: Tape, drawn: Iterable[Loop], norms: Mapping[Slot, float]) -> None:
    """Draw state arrows as thick as gradients are large, and put the norms in a ribbon under the steps.

    Parameters
    ----------
    view : View
    tape : Tape
    drawn : iterable of Loop
        Those whose steps are drawn.
    norms : mapping of Slot to float
        What `describing.gradient_norms` found.
    """
    flows = _flows(view, tape, drawn, norms)
    nodes = {node.key: node for node in view.nodes}
    weighed: list[tuple[Edge, float | None]] = []
    for edge in view.edges:
        if edge.kind == "state" and edge.entry:
            name = (edge.label or nodes[edge.head].title).rstrip(INDICES + "\N{PRIME}")
            _, row = flows.get((edge.tail, name), ("", {}))
            weighed.append((edge, _largest(row.values()) or norms.get(tape.entries[edge.entry - 1])))
    part = _scale([norm for _, row in flows.values() for norm in row.values()] + [n for _, n in weighed])
    for edge, norm in weighed:
        edge.weight = 0.6 + 2.2 * part(norm)
    names = _told_apart({path for path, _ in flows.values()} if view.on_grid else ())
    lowest = min((node.at[1] for node in view.nodes if node.at), default=0.0)
    stacked: Counter[float] = Counter()
    for (key, name), (path, row) in flows.items():
        of = f"{names[path]}: " if names.get(path) else ""
        index = "t" if len(row) > 1 else next(iter(row))
        known = [norm for norm in row.values() if norm is not None]
        told = " … ".join(dict.fromkeys(f"{norm:.2g}" for norm in (min(known), max(known)))) if known else ""
        ribbon = Node(
            f"{key}.{name}.gradient",
            "ribbon",
            f"{of}|∂L/∂{subscripted(name, index)}| {told or 'not computed'}",
            cluster=nodes[key].cluster,
        )
        ribbon.level = round(part(_largest(known)) * _LEVELS)
        at = nodes[key].at
        if at is not None:
            ribbon.at = at[0], lowest - 0.5 - 0.22 * stacked[at[0]]
            stacked[at[0]] += 1
        view.nodes.append(ribbon)
        if view.unit is not None:
            view.unit = max(view.unit[0], node_size(ribbon)[0] + 8), view.unit[1]


def _told_apart(paths: Collection[str]) -> dict[str, str]:
    """What paths do not have in common at their beginnings and ends."""
    rows = [path.split("/") for path in paths]
    if len(rows) < 2:
        return {}
    shared = [
        len(list(itertools.takewhile(lambda c: len(set(c)) == 1, zip(*rs, strict=False))))
        for rs in (rows, [row[::-1] for row in rows])
    ]
    return {
        path: ".".join(row[shared[0] : len(row) - shared[1]]) for path, row in zip(paths, rows, strict=True)
    }


def _flows(
    view: View, tape: Tape, drawn: Iterable[Loop], norms: Mapping[Slot, float]
) -> dict[tuple[str, str], tuple[str, dict[int, float | None]]]:
    """By node and name of a state: the path of its loop, and by time step the norms of its gradients, None
    for those that were not computed."""
    steps, nodes = view.steps(), {node.key: node for node in view.nodes}
    found: dict[tuple[str, str], tuple[str, dict[int, float | None]]] = {}
    for loop in drawn:
        for name in sorted(loop.states, key=lambda name: (name != "h", name)):
            for t, place in sorted(loop.states[name].items()):
                node = nodes[view.stands[tape.numbers[source_of(place)]][0]]
                within = node.cluster is not None and steps[node.cluster] is not None
                if node.kind == "cell" or (within and node.kind in ("operation", "module")):
                    path, row = found.setdefault((node.key, name), (loop.path, {}))
                    if path == loop.path:  # of nested loops, the outer one's state may be the inner one's
                        row[t] = norms.get(slot_of(place))
    return found


def _largest(norms: Iterable[float | None]) -> float | None:
    return max((norm for norm in norms if norm is not None), default=None)


def _scale(norms: Iterable[float | None]) -> Callable[[float | None], float]:
    """From norms to the range from 0 to 1, by their logarithms.

    The range is `_DECADES` or more, down from the largest norm: what differs little looks alike.
    """
    logs = [math.log10(norm) for norm in norms if norm and math.isfinite(norm)]
    high = max(logs, default=0.0)
    low = min([high - _DECADES, *logs])

    def part(norm: float | None) -> float:
        if not norm:
            return 0.0
        return (math.log10(norm) - low) / (high - low) if math.isfinite(norm) else 1.0

    return part


def errors(view: View, tape: Tape, found: Mapping[Entry, float]) -> None:
    """Shade operations by the error of their gradients, from 1e-12 and below to 1 and above.

    Parameters
    ----------
    found : mapping of Entry to float
        Relative errors, as `check` finds them: ``check(loss).errors``.
    """
    worst: dict[str, float] = {}
    for entry, error in found.items():
        if math.isnan(error):  # it was not checked
            continue
        for key in view.stands.get(tape.numbers.get(entry, 0), ()):
            worst[key] = max(worst.get(key, 0.0), error)
    for node in view.nodes:
        if node.key in worst:
            error = worst[node.key]
            exponent = -12.0 if error <= 0 else 0.0 if math.isinf(error) else math.log10(error)
            node.level = min(max(round((exponent + 12) / 3), 0), _LEVELS)
            node.detail = "\n".join(filter(None, [node.detail, f"error {error:.1e}"]))
