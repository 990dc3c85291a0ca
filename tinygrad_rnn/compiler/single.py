"""Single steps, made ready once for arguments of one kind: little is left of a call beside its kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import get_default_dtype
from ..state import State as Recording
from ..tensors import Tensor
from .layout import Layout
from .programs import Single
from .surroundings import Surroundings


class Ready:
    """A single step for arguments of some shapes.

    Attributes
    ----------
    run : callable
        See `Single`.
    plain : bool
        Whether the state is a tuple of tensors, else it is one tensor.
    around : Surroundings
        Of the cell when this was made.
    lasting : bool
        Whether all that has been made of the parameters are views of them: what is written into them is seen.
    """

    def __init__(
        self,
        form: Single,
        parameters: Sequence[Tensor],
        inputs: Sequence[Tensor],
        plain: bool,
        around: Surroundings,
    ) -> None:
        self.plain, self.around = plain, around
        self._default_dtype = get_default_dtype()
        self._inputs = [(t.shape, t.dtype) for t in inputs]
        self._parameters = [(p, p.numpy()) for p in parameters]
        arrays = [a for _, a in self._parameters]
        batch = len(inputs[0])
        self.run, made = form.prepare(Layout([batch], batch), arrays)
        self.lasting = all(any(np.may_share_memory(q, a) for a in arrays) for q in made)

    def arrays(self, inputs: Sequence[Any], now: Recording) -> list[np.ndarray] | None:
        """The arrays of x and the states for `run`, if all is as it was, and nothing is to be recorded."""
        if len(inputs) != len(self._inputs) or now.watch is not None:
            return None
        if get_default_dtype() is not self._default_dtype:
            return None
        recording, found = now.recording, []
        for t, (shape, dtype) in zip(inputs, self._inputs):  # noqa: B905 (looked at, and each word takes time)
            if type(t) is not Tensor or (recording and t._place is not None):
                return None
            a = t._data
            if a.shape != shape or a.dtype is not dtype or not a.flags.carray:
                return None
            found.append(a)
        for p, a in self._parameters:
            if p._data is not a or (recording and p._place is not None):
                return None
        return found
