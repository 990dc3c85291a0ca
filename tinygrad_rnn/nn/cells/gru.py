"""The gated recurrent unit, in each of its four conventions."""

from __future__ import annotations

from typing import Any

from ...ops import linear, split
from ...tensors import Tensor
from ..options import choice
from .cell import Activation, Cell, Rng, activation


class GRUCell(Cell):
    """Gated recurrent unit (Cho et al. 2014), by default as in PyTorch and cuDNN.

    ::

        r, z, n_x = W_ih x + b_ih
        r', z', n_h = W_hh h + b_hh
        r, z = sigmoid(r + r'), sigmoid(z + z')
        n = tanh(n_x + r * n_h)
        h' = (1 - z) * n + z * h

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    reset_after : bool
        True: the reset gate acts on the product, ``n = tanh(n_x + r * (W_hn h + b_hn))``. False: on the state
        before it, as published, ``n = tanh(n_x + W_hn (r * h) + b_hn)``.
    update_gate : {"retain", "replace"}
        What z = 1 stands for: the old state is retained, ``h' = (1 - z) * n + z * h`` (PyTorch, Keras, ONNX,
        the paper of 2014), or replaced, ``h' = (1 - z) * h + z * n`` (Chung et al. 2014, and many courses).
    gate_activation, cell_activation : str or callable
        In place of sigmoid and tanh.
    rng, dtype
        Of the initial parameters, U(-k, k) with k = 1 / sqrt(H).

    Attributes
    ----------
    weight_ih : (3H, I), weight_hh : (3H, H), bias_ih, bias_hh : (3H,)
        Gates in the order r, z, n.
    """

    gate_names = ("r", "z", "n")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        reset_after: bool = True,
        update_gate: str = "retain",
        gate_activation: Activation = "sigmoid",
        cell_activation: Activation = "tanh",
        rng: Rng = None,
        dtype: Any = None,
    ) -> None:
        self.reset_after = choice("reset_after", reset_after, (True, False))
        self.update_gate = choice("update_gate", update_gate, ("retain", "replace"))
        self.gate_activation, self.cell_activation = gate_activation, cell_activation
        self._sigmoid = activation("gate_activation", gate_activation)
        self._tanh = activation("cell_activation", cell_activation)
        super().__init__(input_size, hidden_size, bias, gates=3, rng=rng, dtype=dtype)

    def forward(
        self, x: Tensor, h: Tensor | None = None, recurrent_mask: Any = None
    ) -> tuple[Tensor, Tensor]:
        """One step: (B, I) and (B, H) to (B, H), twice: as output and as state."""
        if h is None:
            h = self.initial_state(len(x))
        self._check("h", h, len(x), self.hidden_size)
        sigmoid, tanh = self._sigmoid, self._tanh
        r_x, z_x, n_x = split(self._input_terms(x), 3, axis=-1)
        if self.reset_after:
            r_h, z_h, n_h = split(self._hidden_terms(h, recurrent_mask), 3, axis=-1)
            r = sigmoid(r_x + r_h)
            z = sigmoid(z_x + z_h)
            n = tanh(n_x + r * n_h)
        else:
            seen = h if recurrent_mask is None else h * recurrent_mask
            (W_r, W_z, W_n), (b_r, b_z, b_n) = self._blocks()
            r = sigmoid(r_x + linear(seen, W_r) + b_r)
            z = sigmoid(z_x + linear(seen, W_z) + b_z)
            n = tanh(n_x + linear(r * seen, W_n) + b_n)
        new, old = (n, h) if self.update_gate == "retain" else (h, n)
        h = (1 - z) * new + z * old
        return h, h

    def _blocks(self) -> Any:
        """``weight_hh`` and ``bias_hh``, gate by gate."""
        biases = (0.0,) * 3 if self.bias_hh is None else split(self.bias_hh, 3)
        return split(self.weight_hh, 3), biases
