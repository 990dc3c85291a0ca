"""The vanilla recurrent cell."""

from __future__ import annotations

from typing import Any

from ...tensors import Tensor
from .cell import Activation, Cell, Rng, activation


class RNNCell(Cell):
    """The vanilla recurrent cell (Elman 1990): ``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    nonlinearity : str or callable
        In place of tanh: the name of an activation, such as "relu", or a function of a tensor.
    rng, dtype
        Of the initial parameters, U(-k, k) with k = 1 / sqrt(H).

    Attributes
    ----------
    weight_ih : (H, I), weight_hh : (H, H), bias_ih, bias_hh : (H,)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Activation = "tanh",
        *,
        rng: Rng = None,
        dtype: Any = None,
    ) -> None:
        self.nonlinearity = nonlinearity
        self._tanh = activation("nonlinearity", nonlinearity)
        super().__init__(input_size, hidden_size, bias, gates=1, rng=rng, dtype=dtype)

    def forward(
        self, x: Tensor, h: Tensor | None = None, recurrent_mask: Any = None
    ) -> tuple[Tensor, Tensor]:
        """One step: (B, I) and (B, H) to (B, H), twice: as output and as state."""
        if h is None:
            h = self.initial_state(len(x))
        self._check("h", h, len(x), self.hidden_size)
        h = self._tanh(self._input_terms(x) + self._hidden_terms(h, recurrent_mask))
        return h, h
