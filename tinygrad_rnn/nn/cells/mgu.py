"""The minimal gated unit."""

from __future__ import annotations

from typing import Any

from ...ops import linear, sigmoid, split, tanh
from ...tensors import Tensor
from .cell import Cell, Rng


class MGUCell(Cell):
    """Minimal gated unit (Zhou et al. 2016): a GRU whose one gate resets and updates.

    ::

        f = sigmoid(W_if x + b_if + W_hf h + b_hf)
        n = tanh(W_in x + b_in + W_hn (f * h) + b_hn)
        h' = (1 - f) * h + f * n

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    rng, dtype
        Of the initial parameters, U(-k, k) with k = 1 / sqrt(H).

    Attributes
    ----------
    weight_ih : (2H, I), weight_hh : (2H, H), bias_ih, bias_hh : (2H,)
        Blocks in the order f, n.
    """

    gate_names = ("f", "n")

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, rng: Rng = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, gates=2, rng=rng, dtype=dtype)

    def forward(
        self, x: Tensor, h: Tensor | None = None, recurrent_mask: Any = None
    ) -> tuple[Tensor, Tensor]:
        """One step: (B, I) and (B, H) to (B, H), twice: as output and as state."""
        if h is None:
            h = self.initial_state(len(x))
        self._check("h", h, len(x), self.hidden_size)
        seen = h if recurrent_mask is None else h * recurrent_mask
        f_x, n_x = split(self._input_terms(x), 2, axis=-1)
        W_f, W_n = split(self.weight_hh, 2)
        b_f, b_n = (0.0, 0.0) if self.bias_hh is None else split(self.bias_hh, 2)
        f = sigmoid(f_x + linear(seen, W_f) + b_f)
        n = tanh(n_x + linear(f * seen, W_n) + b_n)
        h = (1 - f) * h + f * n
        return h, h
