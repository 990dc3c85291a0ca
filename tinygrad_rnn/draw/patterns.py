"""Checks the tape of one step of a cell against published equations, operation for operation.

An equation is written as a pattern over the step's inputs. It fits if every operation is found, connected as
the equation says, and if the step has no operation besides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..listing import Tape
from ..tape import Entry, Leaf, Output, Place


@dataclass(frozen=True)
class Op:
    """An operation.

    Attributes
    ----------
    role : str
        Its name in the equation: what is found first under a name must be meant wherever the name returns.
    primitive : str
        Its primitive; ``activation`` for any elementwise one.
    inputs : tuple of patterns
        Of a sum or a product in any order.
    """

    role: str
    primitive: str
    inputs: tuple[Pattern, ...]


@dataclass(frozen=True)
class Part:
    """The piece that a gate has in what an operation gives, which a split takes apart."""

    gate: int
    of: Pattern
    split: str = "split"


@dataclass(frozen=True)
class Given:
    """An input of the step, by its name, such as x, h and c."""

    name: str


@dataclass(frozen=True)
class Parameter:
    """A leaf that is not one of the step's inputs, or a part of one, called by a role."""

    role: str


@dataclass(frozen=True)
class Number:
    """A constant of the equation."""

    value: float


@dataclass(frozen=True)
class Either:
    """One pattern or another."""

    choices: tuple[Pattern, ...]


Pattern = Op | Part | Given | Parameter | Number | Either
Found = dict[str, Place]
"""What plays each role."""


def affine(of: str, kind: str) -> Pattern:
    """``W x + b``, or without the bias."""
    product = Op(f"{kind}.linear", "linear", (Given(of), Parameter(f"weight_{kind}")))
    return Either((Op(f"{kind}.add", "add", (product, Parameter(f"bias_{kind}"))), product))


def added(role: str, a: Pattern, b: Pattern) -> Op:
    """A sum."""
    return Op(role, "add", (a, b))


def times(role: str, a: Pattern, b: Pattern) -> Op:
    """A product, element by element."""
    return Op(role, "multiply", (a, b))


class Step:
    """The tape of one step.

    Parameters
    ----------
    tape : Tape
    inputs : dict of str to Leaf
        x and the parts of the state before the step, by name.
    """

    def __init__(self, tape: Tape, inputs: dict[str, Leaf]) -> None:
        self.tape, self.inputs = tape, inputs

    def match(self, equations: Sequence[tuple[Place, Pattern]]) -> Found | None:
        """What plays each role if all equations fit their places, and nothing is left over; else None."""
        for found in self._all(list(equations), {}):
            used = {place.entry if isinstance(place, Output) else place for place in found.values()}
            if all(entry in used for entry in self.tape.entries):
                return found
        return None

    def _all(self, rest: list[tuple[Place, Pattern]], found: Found) -> Iterator[Found]:
        if not rest:
            yield found
            return
        (place, pattern), *later = rest
        for so_far in self._fits(pattern, place, None, found):
            yield from self._all(later, so_far)

    def _fits(self, pattern: Pattern, place: Place | None, constant: object, found: Found) -> Iterator[Found]:
        if isinstance(pattern, Either):
            for choice in pattern.choices:
                yield from self._fits(choice, place, constant, found)
        elif isinstance(pattern, Number):
            if place is None and constant == pattern.value:
                yield found
        elif place is None:
            return
        elif isinstance(pattern, Given):
            if place is self.inputs.get(pattern.name):
                yield found
        elif isinstance(pattern, Parameter):
            if isinstance(place, Leaf) and place not in self.inputs.values():
                yield from _bound(found, pattern.role, place)
        elif isinstance(pattern, Part):
            if (
                isinstance(place, Output)
                and place.index == pattern.gate
                and place.entry.primitive.name == "split"
            ):
                for so_far in _bound(found, pattern.split, place.entry):
                    yield from self._fits(pattern.of, place.entry.parents[0], None, so_far)
        elif isinstance(place, Entry):
            yield from self._operation(pattern, place, found)

    def _operation(self, pattern: Op, entry: Entry, found: Found) -> Iterator[Found]:
        if pattern.primitive == "activation":
            if not entry.primitive.elementwise:
                return
        elif entry.primitive.name != pattern.primitive:
            return
        if len(entry.parents) != len(pattern.inputs):
            return
        inputs = list(zip(entry.parents, entry.known, strict=True))
        orders = [inputs]
        if pattern.primitive in ("add", "multiply"):
            orders.append(inputs[::-1])
        for so_far in _bound(found, pattern.role, entry):
            for order in orders:
                states = [so_far]
                for part, (place, constant) in zip(pattern.inputs, order, strict=True):
                    states = [new for old in states for new in self._fits(part, place, constant, old)]
                yield from states


def _bound(found: Found, role: str, place: Place) -> Iterator[Found]:
    if role not in found:
        yield {**found, role: place}
    elif found[role] is place:
        yield found


def difference(tape: Tape, equations: Sequence[Pattern]) -> str:
    """In words, by which operations a step differs from equations."""
    wanted: Counter[str] = Counter()
    seen: set[str] = set()
    stack: list[Pattern] = list(equations)
    while stack:
        pattern = stack.pop()
        if isinstance(pattern, Either):
            stack.append(pattern.choices[0])
        elif isinstance(pattern, Part):
            if pattern.split not in seen:
                seen.add(pattern.split)
                wanted["split"] += 1
            stack.append(pattern.of)
        elif isinstance(pattern, Op) and pattern.role not in seen:
            seen.add(pattern.role)
            wanted[pattern.primitive] += 1
            stack += pattern.inputs
    there: Counter[str] = Counter()
    for entry in tape.entries:
        name = entry.primitive.name
        activates = name not in wanted and entry.primitive.elementwise and len(entry.parents) == 1
        there["activation" if activates and wanted["activation"] else name] += 1
    more, missing = there - wanted, wanted - there
    parts = [
        f"it has {_listed(more)} besides" if more else "",
        f"it lacks {_listed(missing)}" if missing else "",
    ]
    return " and ".join(filter(None, parts)) or "the same operations are connected in another way"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" if n > 1 else name for name, n in sorted(counts.items()))
