"""Every operation on a tape checked by itself: its gradient rules against numerical derivatives.

`tg.gradcheck` says whether a function's gradient is right. This says which operation makes it wrong, at the
very values that went into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..listing import Tape
from ..observing import dense
from ..random import default_generator
from ..tape import Entry, Place
from .flows import seeds, tensors_of
from .kept import Values, keep_values

_STEP = 1e-20
_TOLERANCE = {"complex": 1e-10, "central": 1e-6}
_ROWS = 10
"""How many entries are printed."""


@dataclass(frozen=True)
class EntryCheck:
    """What the check of one entry found.

    Attributes
    ----------
    number : int
        As the tape prints it.
    entry : Entry
    method : str
        ``"complex"`` (complex step), ``"central"`` (central differences), or ``""`` if it was not checked.
    error : float
        The largest difference of any input's derivative from the numerical one, relative to the sum of the
        absolute values of what is added up in it; NaN if it was not checked.
    reason : str
        Why it was not checked.
    """

    number: int
    entry: Entry
    method: str
    error: float
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the error is below 1e-10 (complex step) or 1e-6 (central differences)."""
        return self.method != "" and self.error <= _TOLERANCE[self.method]


@dataclass(frozen=True)
class TapeCheck:
    """The checks of all entries of a tape; printed as a table, the worst first.

    True if something was checked and nothing failed.

    Attributes
    ----------
    entries : list of EntryCheck
        In order of recording.
    """

    entries: list[EntryCheck]

    @property
    def errors(self) -> dict[Entry, float]:
        """The error of each entry, NaN where it was not checked: what a diagram colours by."""
        return {check.entry: check.error for check in self.entries}

    def __bool__(self) -> bool:
        checked = [check for check in self.entries if check.method]
        return bool(checked) and all(check.ok for check in checked)

    def __str__(self) -> str:
        checked = [check for check in self.entries if check.method]
        failed = sum(not check.ok for check in checked)
        lines = [
            f"{len(checked)} of {len(self.entries)} operations checked, "
            + (f"{failed} FAILED" if failed else "none failed")
        ]
        # Failures lead; the tolerances differ by method, so the error alone would not.
        checked.sort(key=lambda check: (check.ok, -check.error))
        lines += [
            f"{'ok    ' if check.ok else 'FAILED'}  %{check.number} {check.entry.primitive.name}, in scope "
            f"{check.entry.scope or '(none)'}: relative error {check.error:.3g} ({check.method})"
            for check in checked[:_ROWS]
        ]
        if len(checked) > _ROWS:
            lines.append(f"... {len(checked) - _ROWS} more with smaller errors")
        reasons = [check.reason for check in self.entries if check.reason]
        lines += [f"not checked: {reasons.count(r)} ({r})" for r in dict.fromkeys(reasons)]
        return "\n".join(lines)


def check(
    loss: Any, *, kept: keep_values | None = None, rng: np.random.Generator | int | None = 0
) -> TapeCheck:
    """Compare the gradient rules of every operation on a tape with numerical derivatives, where it stood.

    Each input is moved in a random direction, and each output weighted at random: a rule that is wrong
    anywhere shows, but for directions of measure zero. In float64, so that the rule's mistakes are seen and
    not the rounding of the recorded dtype.

    Parameters
    ----------
    loss : Tensor, or a sequence of them
    kept : keep_values, optional
        In which it was recorded. Without it only those operations are checked whose inputs are parameters,
        or arrays that the tape still keeps, or can be computed from these.
    rng : Generator or int

    Returns
    -------
    TapeCheck
    """
    seeds("draw.check", loss)
    listing = Tape(*tensors_of(loss))
    values = Values(listing, kept)
    rng = default_generator(rng)
    with np.errstate(all="ignore"):
        return TapeCheck(
            [_check(number, entry, values, rng) for number, entry in enumerate(listing.entries, 1)]
        )


def _check(number: int, entry: Entry, values: Values, rng: np.random.Generator) -> EntryCheck:
    inputs = values.inputs(entry)
    if any(a is None for a in inputs):
        reason = "inputs not kept; record it inside draw.keep_values()"
        return EntryCheck(number, entry, "", np.nan, reason)
    arrays = [_double(a) for a in inputs]
    # A forward function that takes no complex numbers is not analytic, whatever was declared.
    methods = ("complex", "central") if entry.primitive.analytic else ("central",)
    reason = ""
    for method in methods:
        try:
            if method == "central" and _at_kink(entry, arrays):
                return EntryCheck(number, entry, "", np.nan, "at a point without a derivative")
            return EntryCheck(number, entry, method, _error(entry, arrays, method, rng))
        except (TypeError, ValueError, AssertionError) as failure:
            reason = f"{entry.primitive.name} cannot be computed again: {failure}"
    return EntryCheck(number, entry, "", np.nan, reason)


def _double(a: Any) -> Any:
    return np.asarray(a, np.float64) if np.asarray(a).dtype.kind == "f" else a


def _at_kink(entry: Entry, arrays: list[Any]) -> bool:
    kinks = entry.primitive.kinks
    return kinks is not None and bool(np.min(kinks(*arrays, **entry.static), initial=np.inf) < 1e-4)


def _error(entry: Entry, arrays: list[Any], method: str, rng: np.random.Generator) -> float:
    """The worst relative error over the inputs that have a place on the tape."""
    primitive, static = entry.primitive, entry.static
    y = primitive.forward(*arrays, **static)
    outputs = list(y) if primitive.multiple else [y]
    gs = [rng.standard_normal(np.shape(o)) for o in outputs]
    g: Any = gs if primitive.multiple else gs[0]
    joint = None if primitive.joint is None else primitive.joint(g, y, *arrays, **static)
    worst = 0.0
    for group in _groups(entry):
        directions = {k: rng.standard_normal(arrays[k].shape) for k in group}
        terms = []
        for k, direction in directions.items():
            rule: Any = primitive.vjps[k] if joint is None else None
            gk = joint[k] if joint is not None else rule(g, y, *arrays, **static)
            terms.append(dense(gk, _Double(entry.parents[k])) * direction)
        changes = _derivative(entry, arrays, directions, method)
        numeric = [weights * change for weights, change in zip(gs, changes, strict=True)]
        difference = abs(sum(t.sum() for t in terms) - sum(w.sum() for w in numeric))
        scale = max(sum(np.abs(t).sum() for t in terms), sum(np.abs(w).sum() for w in numeric))
        error = difference / scale if scale else difference
        worst = max(worst, np.inf if np.isnan(error) else float(error))
    return worst


def _groups(entry: Entry) -> list[list[int]]:
    """The inputs to be moved together: each by itself, but for operations on a great many."""
    places = [k for k, place in enumerate(entry.parents) if place is not None]
    return [places] if len(places) > 8 else [[k] for k in places]


class _Double(Place):
    """A place as it would be in float64."""

    def __init__(self, place: Any) -> None:
        self.shape, self.dtype = place.shape, np.dtype(np.float64)


def _derivative(entry: Entry, arrays: list[Any], directions: dict[int, np.ndarray], method: str) -> list[Any]:
    """The derivative of each output when some inputs move, each in its direction."""

    def outputs(step: Any) -> list[Any]:
        moved = list(arrays)
        if method == "complex":
            # All of them complex, so that none drops the step.
            moved = [np.asarray(a, complex) if np.asarray(a).dtype.kind == "f" else a for a in arrays]
        for k, direction in directions.items():
            moved[k] = moved[k] + step * direction
        y = entry.primitive.forward(*moved, **entry.static)
        return list(y) if entry.primitive.multiple else [y]

    if method == "complex":
        return [np.imag(o) / _STEP for o in outputs(1j * _STEP)]
    h = 6e-6 * max(1.0, *(float(np.abs(arrays[k]).max(initial=0.0)) for k in directions))
    return [(a - b) / (2 * h) for a, b in zip(outputs(h), outputs(-h), strict=True)]
