"""`explore`: one HTML page to step through a tape, forwards and backwards.

The page's own text stands beside this file, in ``explore_page.html``, ``.css`` and ``.js``; here is made what
it shows. It asks for nothing from anywhere: no framework, no font, no request.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import textwrap
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from .. import backpropagation
from ..listing import Tape
from ..observing import Observer, dense, plain
from ..ops.operations import Primitive
from ..tape import Entry, Leaf, Output, Place
from .flows import seeds, tensors_of
from .kept import Slot, Values, keep_values, slot_of
from .rendering import RenderError
from .summaries import Summaries
from .views import graph

_BOUNDS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "hard_sigmoid": (0.0, 1.0), "hard_tanh": (-1.0, 1.0)}
"""Activations that saturate, and the values that they saturate at."""
_CLOSE = 0.01
"""How near to a bound a value counts as saturated, as a part of the range."""
_WHOLE = 1_000
"""Beyond so many entries the diagram is folded."""
_MANY = 4_000
"""Beyond so many entries thumbnails are smaller, and beyond five times as many there are numbers only."""


def explore(
    loss: Any, path: str | os.PathLike[str], *, kept: keep_values | None = None, title: str = "The tape"
) -> Path:
    """Write a page that steps through a tape: forwards with its values, back with its cotangents.

    It is one HTML file without any request, to be opened in a browser, put on a website or sent by mail:
    diagram and table beside each other, and for each entry the operation, its gradient rule, what arrives and
    what has added up. Saturated gates and values that are not finite are flagged. Arrow keys step, Home and
    End go to the ends, the space bar plays.

    The backward pass for the page is its own: no ``grad`` changes and nothing is released. Of large arrays it
    holds thumbnails (every so-many-th row and column), of tapes of more than 20,000 entries only lowest,
    highest and norm; beyond 1,000 entries the diagram is folded.

    Parameters
    ----------
    loss : Tensor, or a sequence of them
        Of a tensor with several elements the sum is meant.
    path : path
        Ends in .html.
    kept : keep_values, optional
        In which it was recorded. Without it the page shows parameters, the values that the tape keeps for its
        rules, and what can be computed from these, and says "not kept" of the others. After ``backward()``
        has released the tape only parameters, if they have not been changed, and what follows from them have
        values without it, and there are no cotangents at all; the page says so.
    title : str

    Returns
    -------
    pathlib.Path

    Raises
    ------
    TypeError, ValueError
        For what is no tensor or not on the tape, and for another suffix.
    FileNotFoundError
        If the folder does not exist.

    Examples
    --------
    >>> with draw.keep_values() as kept:
    ...     loss = nn.mse(nn.Linear(3, 1, rng=0)(np.ones((2, 3))), np.zeros((2, 1)))
    >>> page = draw.explore(loss, "tape.html", kept=kept)
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"draw.explore writes an .html file, got {str(target)!r}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {str(target.parent)!r} of {str(target)!r} does not exist")
    roots = seeds("draw.explore", loss)
    listing = Tape(*tensors_of(loss))
    diagram, absent = _diagram(listing, loss)
    content = _Content(listing, roots, Values(listing, kept)).content()
    page = _page(title, diagram, {**content, "absent": absent})
    target.write_text(page, encoding="utf-8", newline="\n")
    return target


def _diagram(listing: Tape, loss: Any) -> tuple[str, str]:
    """The picture as SVG, and why there is none of an entry, or of all."""
    whole = len(listing) <= _WHOLE
    try:
        return graph(
            *tensors_of(loss), view="ops" if whole else None
        ).svg(), "in a part that the diagram leaves out"
    except RenderError as error:
        return "", f"no diagram: {error}"


def _page(title: str, diagram: str, content: dict[str, Any]) -> str:
    """The page's parts put together; nothing in them can end the element that it stands in."""
    here = Path(__file__)
    text = json.dumps({"title": title, **content}, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    parts = {
        "title": escape(title.encode("utf-8", "replace").decode("utf-8")),
        "style": here.with_name("explore_page.css").read_text(encoding="utf-8"),
        "script": here.with_name("explore_page.js").read_text(encoding="utf-8"),
        "diagram": diagram,
        "data": text,
    }
    page = here.with_name("explore_page.html").read_text(encoding="utf-8")
    # In one pass: what is put in may hold what looks like a place to put something.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], page)


class _Content:
    """What the page shows, as plain data."""

    def __init__(self, listing: Tape, roots: list[tuple[Place, np.ndarray]], values: Values) -> None:
        self.listing, self.values = listing, values
        many = len(listing)
        few, shown = (24, (8, 16)) if many <= _MANY else (12, (4, 8)) if many <= 5 * _MANY else (4, (1, 1))
        self.summaries = Summaries(few, shown)
        self.numbers = {entry: k for k, entry in enumerate(listing.entries)}
        self.leaves = {leaf: k for k, leaf in enumerate(listing.leaves)}
        self.flags: dict[int, tuple[list[str], list[str]]] = {}
        self.backward = _Backward(listing, roots, self.summaries)
        self.released = any(entry.args is None for entry in listing.entries)
        if not self.released:
            with np.errstate(all="ignore"):
                self.backward.run()

    def content(self) -> dict[str, Any]:
        scopes: dict[str, int] = {}
        operations: dict[str, int] = {}
        rows = []
        for k, (entry, row) in enumerate(zip(self.listing.entries, self.listing.rows(), strict=True)):
            _, scope, call, shape, dtype = row
            outputs = [self._value(array) for array in self.values.outputs(entry)]
            self._flag(k, entry)
            rows.append(
                [
                    scopes.setdefault(scope, len(scopes)),
                    operations.setdefault(_rule_key(entry.primitive), len(operations)),
                    call,
                    shape,
                    dtype,
                    outputs,
                    [self._input(entry, j, place) for j, place in enumerate(entry.parents)],
                    self.backward.arrived.get(entry),
                    self.backward.shares.get(entry),
                ]
            )
        rules = {_rule_key(entry.primitive): entry.primitive for entry in self.listing.entries}
        return {
            "rows": rows,
            "scopes": list(scopes),
            "rules": [_rule(rules[key]) for key in operations],
            "leaves": [
                [
                    name,
                    str(leaf.shape),
                    str(leaf.dtype),
                    self._value(self.values.of(leaf)),
                    self.backward.at(leaf),
                ]
                for leaf, name in self.listing.leaves.items()
            ],
            "flags": self.flags,
            "pool": self.summaries.pool,
            "released": self.released,
        }

    def _value(self, array: Any) -> int:
        return -1 if array is None else self.summaries.add(array)

    def _input(self, entry: Entry, k: int, place: Place | None) -> Any:
        """An entry's number (and of several outputs which), a leaf as -1 - its number, or [name, value]."""
        if isinstance(place, Leaf):
            return -1 - self.leaves[place]
        if isinstance(place, Output):
            return [self.numbers[place.entry], place.index]
        if isinstance(place, Entry):
            return self.numbers[place]
        name = self.listing.label(None, entry.known[k])
        value = self.values.inputs(entry)[k]
        return [name, self._value(value) if isinstance(value, np.ndarray) and value.ndim else -2]

    def _flag(self, k: int, entry: Entry) -> None:
        """What is to be said of an entry's value, and of its cotangent."""
        values = []
        for array in self.values.outputs(entry):
            if array is not None and not np.isfinite(array).all():
                values.append(f"{_bad(array)} in the value")
            bounds = _BOUNDS.get(entry.primitive.name)
            if bounds and array is not None and array.size:
                margin = _CLOSE * (bounds[1] - bounds[0])
                share = np.mean((array < bounds[0] + margin) | (array > bounds[1] - margin))
                if share >= 0.5:
                    values.append(f"{share:.0%} saturated")
        bad = self.backward.bad.get(entry)
        cotangents = [f"{bad} in the cotangent"] if bad else []
        if values or cotangents:
            self.flags[k] = values, cotangents


def _bad(array: np.ndarray) -> str:
    nans = int(np.isnan(array).sum())
    infinities = int(np.isinf(array).sum())
    counts = [f"{n} {kind}" for n, kind in ((nans, "NaN"), (infinities, "infinite")) if n]
    return f"{' and '.join(counts)} of {array.size}"


class _Backward(Observer):
    """What a backward pass carries over each entry.

    Attributes
    ----------
    arrived : dict of Entry to list of int
        For each output the summary of its cotangent; -1 where nothing arrived.
    shares : dict of Entry to list of (list of int or None)
        For each input the summaries of what the rule gives for it, and of what has then added up there; None
        for constants.
    bad : dict of Entry to str
        What is not finite in the cotangents that arrived.
    """

    def __init__(self, listing: Tape, roots: list[tuple[Place, np.ndarray]], summaries: Summaries) -> None:
        super().__init__()
        self.roots, self.summaries = roots, summaries
        self.arrived: dict[Entry, list[int]] = {}
        self.shares: dict[Entry, list[list[int] | None]] = {}
        self.bad: dict[Entry, str] = {}
        self.entries = set(listing.entries)
        self.readers = Counter(
            slot_of(place) for entry in listing.entries for place in entry.parents if place
        )
        self.readers.update(slot_of(place) for place, _ in roots)
        self.sums: dict[Slot, np.ndarray] = {}
        self.latest: dict[Slot, int] = {}

    def run(self) -> None:
        for place, seed in self.roots:
            self._arrive(slot_of(place), seed)
        with self:
            backpropagation.backward(self.roots, retain_graph=True)

    def at(self, leaf: Leaf) -> int:
        """The summary of a leaf's gradient."""
        return self.latest.get(leaf, -1)

    def carried(self, entry: Entry, k: int, g: Any, gk: Any) -> None:
        if entry not in self.entries:
            return  # in the pass that a checkpoint makes within its rule
        if entry not in self.arrived:
            several = entry.primitive.multiple
            slots: list[Slot] = [(entry, j) for j in range(len(entry.shape))] if several else [entry]
            self.arrived[entry] = [self.latest.pop(slot, -1) for slot in slots]
            self.shares[entry] = [None] * len(entry.parents)
            for slot in slots:
                self.sums.pop(slot, None)
            for array in map(plain, g if several else [g]):
                if array is not None and not np.isfinite(array).all():
                    self.bad[entry] = _bad(array)
        place = entry.parents[k]
        assert place is not None
        share = dense(gk, place)
        self.shares[entry][k] = self._arrive(slot_of(place), share)

    def _arrive(self, slot: Slot, share: np.ndarray) -> list[int]:
        number = total = self.summaries.add_once(share)
        if self.readers[slot] > 1:
            before = self.sums.get(slot)
            if before is None:
                self.sums[slot] = share
            else:
                self.sums[slot] = before + share
                total = self.summaries.add_once(self.sums[slot])
        self.latest[slot] = total
        return [number, total]


def _rule_key(primitive: Primitive) -> str:
    return f"{primitive.__module__}.{primitive.name}"


def _rule(primitive: Primitive) -> list[str]:
    """Name, docstring, and source text of the forward function and of the rules."""
    forward = _source(primitive.forward)
    start = re.search(r"^(def|lambda) ", forward, re.MULTILINE)
    rules = [primitive.joint] if primitive.joint is not None else primitive.vjps
    sources = dict.fromkeys(_source(rule) for rule in rules if rule is not None)
    if start:
        forward = re.sub(r'\n[ \t]*""".*?"""', "", forward[start.start() :], count=1, flags=re.DOTALL)
    return [primitive.name, inspect.cleandoc(primitive.__doc__ or ""), forward, "\n".join(sources)]


def _source(function: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError):
        return "(its source text cannot be read here)"
