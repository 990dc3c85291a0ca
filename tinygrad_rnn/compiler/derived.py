"""Cells that are made of others, to be compiled for what a layer asks of them."""

from __future__ import annotations

import math
from itertools import accumulate

from ..nn.states import State, refilled, tensors_of
from ..nn.steps import Bare, result_of
from ..ops import concatenate, split
from ..tensors import Tensor


class AllStates(Bare):
    """A cell that gives its new states beside its output, so that those of all steps come out."""

    __slots__ = ()

    def __call__(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, new = result_of(self, self._call(x, state), x, state)
        parts = [s.reshape(len(x), math.prod(s.shape[1:])) for s in tensors_of(new)]
        return (concatenate([*parts, y], axis=1) if y.ndim == 2 else y), new

    @staticmethod
    def taken_apart(sequence: Tensor, state: State, ndim: int) -> tuple[Tensor, State] | None:
        """The outputs and the states in all steps' outputs (..., F), given the state before them.

        None where these have not the axes that they should have: the cell gives other outputs than (B, F),
        which could not be told apart.
        """
        if sequence.ndim != ndim:
            return None
        borders = list(accumulate([math.prod(s.shape[1:]) for s in tensors_of(state)]))
        *parts, y = split(sequence, borders, axis=-1)
        states = [
            p.reshape(*sequence.shape[:-1], *s.shape[1:]).astype(s.dtype)
            for p, s in zip(parts, tensors_of(state), strict=True)
        ]
        return y, refilled(state, states)
