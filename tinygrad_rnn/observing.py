"""`Observer`: look on while the tape is written and while it is walked backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backpropagation import fit
from .ops.index import Piece, scatter
from .state import Replaced, State
from .tape import Entry, Place


class Observer(Replaced):
    """Base of what looks on: inside ``with observer:`` it is told of every entry and every cotangent.

    Subclasses define what they want to hear of. Observers and ``tg.detect_anomaly()`` can be nested, and each
    of them is told. Arrays are handed over as the tape holds them: look, copy, do not write.

    Examples
    --------
    >>> class Norms(tg.Observer):
    ...     def carried(self, entry, k, g, gk):
    ...         print(entry.primitive.name, np.linalg.norm(g))
    >>> loss = np.tanh(tg.tensor(np.ones(4), requires_grad=True)).sum()
    >>> with Norms():
    ...     loss.backward()
    sum 1.0
    tanh 2.0
    """

    def recorded(self, entry: Entry, arrays: Any, out: Any) -> None:
        """Told of a new entry, with the arrays that went into it, and its output (a tuple of several)."""

    def carried(self, entry: Entry, k: int, g: Any, gk: Any) -> None:
        """Told that a rule carried a cotangent over an entry, from its output to its input number k.

        Parameters
        ----------
        entry : Entry
        k : int
        g : array
            The cotangent of the output, complete; a list of them, None where nothing arrived, for several
            outputs. While a backward pass is recorded (``create_graph=True``) a tensor.
        gk : array
            What the rule gives for the input, as the rule gives it: `dense` makes it the input's share.
        """

    def accumulated(self, place: Place, g: Any) -> None:
        """Told of the cotangent of an entry, added up, before its rules get it; at the end, of the leaves'.

        Parameters
        ----------
        place : Entry or Leaf
            An entry also at the end, where a pass ends at it: one of a checkpoint or a transformation.
        g : array
            See `carried`.
        """

    def read(self, tensor: Any, how: str) -> None:
        """Told that a tensor on the tape became Python numbers or text: ``"bool()"``, ``"tolist()"``.

        From then on the tape does not show what they decide.
        """

    def _computed(self, *_: Any) -> None:
        """Told of a result off the tape, with its primitive and the arrays that went into it."""

    def _within(self, entry: Entry) -> Any:
        """What looks on while a rule of an entry is recorded: nothing, as the result is told."""
        return None

    def _next(self, now: State) -> State:
        return State(now.recording, now.scope, together(now.watch, self))


class _Both:
    """Two that look on."""

    __slots__ = ("first", "second")

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second

    def recorded(self, *seen: Any) -> None:
        self.first.recorded(*seen)
        self.second.recorded(*seen)

    def _computed(self, *seen: Any) -> None:
        self.first._computed(*seen)
        self.second._computed(*seen)

    def carried(self, *seen: Any) -> None:
        self.first.carried(*seen)
        self.second.carried(*seen)

    def accumulated(self, *seen: Any) -> None:
        self.first.accumulated(*seen)
        self.second.accumulated(*seen)

    def read(self, *seen: Any) -> None:
        self.first.read(*seen)
        self.second.read(*seen)

    def _within(self, entry: Entry) -> Any:
        first, second = self.first._within(entry), self.second._within(entry)
        return together(first, second) if second is not None else first


def together(outer: Any, inner: Any) -> Any:
    """One watch that tells both, or the inner one alone where there is no outer one."""
    return inner if outer is None else _Both(outer, inner)


def innermost(watch: Any) -> Any:
    """The one that was added last."""
    return watch.second if type(watch) is _Both else watch


def plain(g: Any) -> Any:
    """The array of a cotangent, which is a tensor in a backward pass that is itself recorded."""
    return g.numpy() if hasattr(g, "numpy") else g


def dense(gk: Any, place: Place) -> np.ndarray:
    """What a rule gave for an input, as an array of the input's shape and dtype.

    Rules may give broadcast cotangents, and pieces of an array that is zero elsewhere.
    """
    if type(gk) is not Piece and type(gk) is not list:
        return np.asarray(fit(plain(gk), place))
    pieces: list[Piece] = gk if isinstance(gk, list) else [gk]
    if not pieces:
        return np.zeros(place.shape, place.dtype)
    gs, indices = [plain(piece.g) for piece in pieces], tuple(piece.index for piece in pieces)
    return np.asarray(fit(scatter(gs, indices=indices, shape=place.shape), place))
