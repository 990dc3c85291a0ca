"""Gradients along time, as numbers: what reaches each state, and what each step gives to a shared weight.

Both come from one backward pass over the tape as it stands. It releases nothing and leaves every ``grad``
alone, so it can be made before ``backward()``; afterwards the tape has no values left to make it with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import backpropagation
from ..listing import Tape
from ..observing import Observer, dense, plain
from ..tape import Entry, Leaf, Place, source_of
from ..tensors import Tensor
from .loops import spot
from .states import loops
from .unrolled import Unrolled, off_the_tape

Share = tuple[str, int | None]
"""Where a part of a gradient comes from: a loop's path and a time step; ``("", None)`` for outside of all."""


@dataclass(frozen=True)
class StateFlow:
    """How much of the gradient reaches one state of one layer and direction, step by step.

    Attributes
    ----------
    path : str
        The layer's scope: ``lstm/l0``, ``lstm/l0_reverse``.
    state : str
        ``h``, ``c``, or ``s1``, ``s2``, ... (see `loops.Loop`).
    steps : array of int, (N,)
        Time steps in order of recording: falling for a layer that reads backwards.
    norms : array of float64, (N,)
        Of dL/dh_t, the whole batch together. NaN where it holds a NaN, and where none was computed: that is
        not 0.
    computed : array of bool, (N,)
        Where there is a norm.
    places : tuple of (Place or None)
        The states on the tape; None where a step's is not on it.
    """

    path: str
    state: str
    steps: np.ndarray
    norms: np.ndarray
    computed: np.ndarray
    places: tuple[Place | None, ...]

    @property
    def factor(self) -> float:
        """By how much the norm is multiplied on the way back over one step, on geometric average.

        Below 1 the gradient vanishes over time, above 1 it explodes. NaN if that cannot be said: for less
        than two steps, and where the norm at an end is 0, infinite or not computed.
        """
        known = np.flatnonzero(self.computed)
        if len(known) < 2:
            return np.nan
        first, last = self.norms[known[0]], self.norms[known[-1]]
        if not (0 < first < np.inf and 0 < last < np.inf):
            return np.nan
        return float(np.exp((np.log(first) - np.log(last)) / (known[-1] - known[0])))


def flow(loss: Any) -> list[StateFlow]:
    """How much of the gradient reaches each state in each time step: the norms of dL/dh_t and dL/dc_t.

    Parameters
    ----------
    loss : Tensor, or a sequence of them
        Of a tensor with several elements the sum is meant.

    Returns
    -------
    list of StateFlow
        For each layer and direction, for each of its states. Empty if nothing goes from step to step.

    Raises
    ------
    RuntimeError
        If ``backward()`` has released the tape.

    Examples
    --------
    >>> loss = nn.RNN(2, 3, return_state=False, rng=0)(np.ones((1, 4, 2)))[:, -1].sum()
    >>> {f.state: f.norms.shape for f in draw.flow(loss)}
    {'h': (4,)}
    """
    roots = seeds("draw.flow", loss)
    found = [
        (loop, name, [by_step.get(t) for t in loop.entries])
        for loop in loops(Unrolled(Tape(*tensors_of(loss)))).values()
        for name, by_step in sorted(loop.states.items(), key=lambda state: (state[0] != "h", state[0]))
    ]
    observer = _Norms(place for _, _, places in found for place in places)
    with observer:
        backpropagation.backward(roots, retain_graph=True)
    flows = []
    for loop, name, places in found:
        norms = [observer.norm(place) for place in places]
        values = np.array([np.nan if norm is None else norm for norm in norms])
        computed = np.array([norm is not None for norm in norms])
        flows.append(
            StateFlow(loop.path, name, np.array(list(loop.entries)), values, computed, tuple(places))
        )
    return flows


def step_gradients(loss: Any, parameter: Tensor) -> dict[Share, np.ndarray]:
    """What each time step gives to the gradient of a weight that all steps share: dW = sum over t.

    Parameters
    ----------
    loss : Tensor, or a sequence of them
        Of a tensor with several elements the sum is meant.
    parameter : Tensor
        A leaf. What is computed of it before the loop, such as its transpose, still counts for the steps.

    Returns
    -------
    dict of (str, int or None) to array of the parameter's shape
        By loop path and time step, in order of recording; under ``("", None)`` what no step gives. The arrays
        add up to the gradient that ``backward()`` gives.

    Raises
    ------
    ValueError
        If the loss does not depend on the parameter.
    RuntimeError
        If ``backward()`` has released the tape.
    """
    roots = seeds("draw.step_gradients", loss)
    listing = Tape(*tensors_of(loss))
    leaf = parameter.place
    if not isinstance(leaf, Leaf) or leaf not in listing.leaves:
        raise ValueError(
            f"draw.step_gradients: the loss does not depend on this tensor of shape {parameter.shape}; pass "
            f"a parameter, or another leaf, that went into it"
        )
    observer = _Shares(listing, leaf)
    with observer:
        backpropagation.backward(roots, retain_graph=True)
    for place, seed in roots:
        if place is leaf or source_of(place) in observer.before:
            observer.add(("", None), place, seed)
    found: dict[Share, np.ndarray] = {}
    for share, places in observer.shares.items():
        before = backpropagation.backward(
            [(p, g) for p, g in places.items() if p is not leaf], retain_graph=True
        )
        parts = [g for g in (places.get(leaf), before.get(leaf)) if g is not None]
        if parts:
            found[share] = sum(parts[1:], start=parts[0])
    return {share: found[share] for share in (*observer.steps, ("", None)) if share in found}


def seeds(function: str, loss: Any) -> list[tuple[Place, np.ndarray]]:
    """Where a backward pass over the tape of ``loss`` begins: each tensor with a cotangent of ones."""
    roots = []
    for t in tensors_of(loss):
        if not isinstance(t, Tensor):
            raise TypeError(f"{function} takes a tensor or a sequence of them, got {type(t).__name__}")
        if t.place is None:
            raise off_the_tape(f"{function} got a tensor", t)
        roots.append((t.place, np.ones(t.shape, t.dtype)))
    if not roots:
        raise TypeError(f"{function} needs a tensor, got none")
    return roots


def tensors_of(loss: Any) -> Sequence[Any]:
    """One tensor or several, as several."""
    return loss if isinstance(loss, (list, tuple)) else (loss,)


class _Norms(Observer):
    """Norms of the cotangents at some places. No array is kept: a long sequence has many."""

    def __init__(self, places: Any) -> None:
        super().__init__()
        self.wanted: dict[Entry, list[Place]] = {}
        self.norms: dict[tuple[Entry, int], float] = {}
        for place in places:
            if place is not None:
                self.wanted.setdefault(source_of(place), []).append(place)

    def carried(self, entry: Entry, k: int, g: Any, gk: Any) -> None:
        for place in self.wanted.pop(entry, ()):
            array = plain(g[spot(place)[1]] if entry.primitive.multiple else g)
            if array is not None:
                self.norms[spot(place)] = float(np.linalg.norm(array.astype(np.float64).ravel()))

    def norm(self, place: Place | None) -> float | None:
        return None if place is None else self.norms.get(spot(place))


class _Shares(Observer):
    """The cotangents that arrive, from each step, at a leaf and at what is computed of it before all loops.

    A backward pass is linear in its cotangents: those from one step, carried on to the leaf by themselves,
    are that step's part of the gradient.

    Attributes
    ----------
    before : set
        Entries that depend on no step, and do on the leaf.
    shares : dict of Share to (dict of Place to array)
    """

    def __init__(self, listing: Tape, leaf: Leaf) -> None:
        super().__init__()
        self.leaf = leaf
        self.entries = set(listing.entries)
        self.before: set[Entry | None] = set()
        self.shares: dict[Share, dict[Place, np.ndarray]] = {}
        found = loops(Unrolled(listing)).values()
        self.steps: list[Share] = [(loop.path, t) for loop in found for t in loop.entries]
        self.step = {entry: (loop.path, t) for loop in found for entry, t in loop.time.items()}
        after: set[Entry | None] = set()
        for entry in listing.entries:
            made = list(map(source_of, entry.parents))
            if entry in self.step or not after.isdisjoint(made):
                after.add(entry)
            elif leaf in entry.parents or not self.before.isdisjoint(made):
                self.before.add(entry)

    def carried(self, entry: Entry, k: int, g: Any, gk: Any) -> None:
        if entry not in self.entries or entry in self.before:
            return  # what a checkpoint computes again within its rule is not on the tape
        place = entry.parents[k]
        if place is not None and (place is self.leaf or source_of(place) in self.before):
            self.add(self.step.get(entry, ("", None)), place, dense(gk, place))

    def add(self, share: Share, place: Place, g: np.ndarray) -> None:
        places = self.shares.setdefault(share, {})
        places[place] = places[place] + g if place in places else g
