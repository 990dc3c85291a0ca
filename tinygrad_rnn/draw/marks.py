"""What is laid over a view once it is made: routes, gradient flow, errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..listing import Tape
from ..tape import Entry, Leaf, Place, source_of
from ..tensors import Tensor
from .view import Node, View

_LEVELS = 4


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


def gradient_flow(view: View, tape: Tape, norms: Mapping[Place, float]) -> None:
    """Draw state arrows as thick as gradients are large, and put the norms in a ribbon under the steps."""
    by_number = {tape.numbers[place]: norm for place, norm in norms.items() if isinstance(place, Entry)}
    logs = [
        math.log10(by_number[e.entry])
        for e in view.edges
        if by_number.get(e.entry, 0) > 0 and math.isfinite(by_number[e.entry])
    ]
    low, high = (min(logs), max(logs)) if logs else (0.0, 0.0)
    nodes = {node.key: node for node in view.nodes}
    loops = {node.key.rpartition(".t")[0] for node in view.nodes if node.kind == "cell"}
    seen: set[tuple[str, int]] = set()
    ribbons: list[Node] = []
    for edge in view.edges:
        if edge.kind != "state" or not edge.entry:
            continue
        norm = by_number.get(edge.entry)
        part = _part(norm, low, high)
        edge.weight = 0.6 + 2.2 * part
        tail = nodes[edge.tail]
        if (edge.tail, edge.entry) in seen or tail.kind == "gap":
            continue
        seen.add((edge.tail, edge.entry))
        name = edge.label or nodes[edge.head].title
        told = "not computed" if norm is None else f"{norm:.2g}"
        loop = edge.tail.rpartition(".t")[0]
        of = f"{loop.rpartition('.')[2]}: " if len(loops) > 1 and loop in loops else ""
        ribbon = Node(
            f"{edge.tail}.{edge.entry}.gradient", "ribbon", f"{of}|∂L/∂{name}| {told}", cluster=tail.cluster
        )
        ribbon.level = round(part * _LEVELS) if norm is not None else 0
        if tail.at is not None:
            lowest = min(node.at[1] for node in view.nodes if node.at)
            stacked = sum(other.at is not None and other.at[0] == tail.at[0] for other in ribbons)
            ribbon.at = (tail.at[0], lowest - 0.5 - 0.22 * stacked)
        ribbons.append(ribbon)
    view.nodes += ribbons


def _part(norm: float | None, low: float, high: float) -> float:
    """Where a norm lies between the smallest and the largest, by their logarithms, from 0 to 1."""
    if norm is None or norm == 0:
        return 0.0
    if not math.isfinite(norm) or high == low:
        return 1.0
    return min(max((math.log10(norm) - low) / (high - low), 0.0), 1.0)


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
