"""Recurrent cells: one time step each, ``cell(x_t, state) -> (y_t, state)``, written as published.

Shapes: x is (B, I), h and c are (B, H). Parameters have PyTorch's names, shapes and gate order, so that both
biases exist and ``weight_ih`` stacks the gates' matrices along its first axis.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..ops import linear, relu, sigmoid, split, tanh
from ..random import default_generator
from ..tensors import Tensor, tensor
from .module import Module, uniform

Rng = np.random.Generator | int | None

_ACTIVATIONS = {"tanh": tanh, "relu": relu}


class _Cell(Module):
    """What the cells share: their parameters.

    Initial values are U(-k, k) with k = 1 / sqrt(hidden_size), as in PyTorch.
    """

    gates: int

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, rng: Rng = None, dtype: Any = None
    ) -> None:
        if input_size < 0 or hidden_size < 1:
            raise ValueError(
                f"{type(self).__name__} needs input_size >= 0 and hidden_size >= 1, "
                f"got {input_size} and {hidden_size}"
            )
        self.input_size, self.hidden_size = input_size, hidden_size
        self.output_size = hidden_size
        rng = default_generator(rng)
        rows = self.gates * hidden_size
        bound = 1 / math.sqrt(hidden_size)
        self.weight_ih = uniform(rng, bound, (rows, input_size), dtype)
        self.weight_hh = uniform(rng, bound, (rows, hidden_size), dtype)
        self.bias_ih = uniform(rng, bound, (rows,), dtype) if bias else None
        self.bias_hh = uniform(rng, bound, (rows,), dtype) if bias else None

    def _input_terms(self, x: Tensor) -> Tensor:
        """``W_ih x + b_ih``, all gates side by side: (B, gates * H)."""
        if x.ndim != 2 or x.shape[1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__} expected x of shape (batch, {self.input_size}), got {x.shape}"
            )
        y: Tensor = linear(x, self.weight_ih)
        return y if self.bias_ih is None else y + self.bias_ih

    def _hidden_terms(self, h: Tensor) -> Tensor:
        """``W_hh h + b_hh``, all gates side by side: (B, gates * H)."""
        y: Tensor = linear(h, self.weight_hh)
        return y if self.bias_hh is None else y + self.bias_hh

    def _check(self, name: str, part: Any, batch: int) -> None:
        """A state that merely broadcasts would give results, and wrong ones."""
        if not isinstance(part, Tensor) or part.shape != (batch, self.hidden_size):
            got = part.shape if isinstance(part, Tensor) else type(part).__name__
            raise ValueError(
                f"{type(self).__name__} expected the state {name} as a tensor ({batch}, {self.hidden_size}), "
                f"(batch, hidden_size), got {got}"
            )

    def _zeros(self, batch: int) -> Tensor:
        return tensor(np.zeros((batch, self.hidden_size), self.weight_hh.dtype))

    def _describe(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias_ih is not None else ", bias=False")


class RNNCell(_Cell):
    """The vanilla recurrent cell (Elman 1990): ``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    nonlinearity : {"tanh", "relu"}
    rng, dtype
        Of the initial parameters.

    Attributes
    ----------
    weight_ih : (H, I), weight_hh : (H, H), bias_ih, bias_hh : (H,)
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        rng: Rng = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in _ACTIVATIONS:
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(input_size, hidden_size, bias, rng=rng, dtype=dtype)
        self.nonlinearity = nonlinearity

    def initial_state(self, batch: int) -> Tensor:
        """h = 0, (B, H)."""
        return self._zeros(batch)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step: (B, I) and (B, H) to (B, H), twice: as output and as state."""
        if h is None:
            h = self.initial_state(len(x))
        self._check("h", h, len(x))
        h = _ACTIVATIONS[self.nonlinearity](self._input_terms(x) + self._hidden_terms(h))
        return h, h


class LSTMCell(_Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    ::

        i, f, g, o = W_ih x + b_ih + W_hh h + b_hh
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(c')

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    rng, dtype
        Of the initial parameters.

    Attributes
    ----------
    weight_ih : (4H, I), weight_hh : (4H, H), bias_ih, bias_hh : (4H,)
        Gates in the order i, f, g, o.
    """

    gates = 4
    gate_names = ("i", "f", "g", "o")

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """h = 0 and c = 0, (B, H) each."""
        return self._zeros(batch), self._zeros(batch)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step: (B, I) and (h, c) to the output h and the state (h, c)."""
        state = self.initial_state(len(x)) if state is None else state
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise ValueError(f"LSTMCell expected the state as a pair (h, c), got {type(state).__name__}")
        h, c = state
        self._check("h", h, len(x))
        self._check("c", c, len(x))
        i, f, g, o = split(self._input_terms(x) + self._hidden_terms(h), 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h, (h, c)


class GRUCell(_Cell):
    """Gated recurrent unit (Cho et al. 2014) as in PyTorch and cuDNN: the reset gate after the product.

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
    rng, dtype
        Of the initial parameters.

    Attributes
    ----------
    weight_ih : (3H, I), weight_hh : (3H, H), bias_ih, bias_hh : (3H,)
        Gates in the order r, z, n.
    """

    gates = 3
    gate_names = ("r", "z", "n")

    def initial_state(self, batch: int) -> Tensor:
        """h = 0, (B, H)."""
        return self._zeros(batch)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step: (B, I) and (B, H) to (B, H), twice: as output and as state."""
        if h is None:
            h = self.initial_state(len(x))
        self._check("h", h, len(x))
        r_x, z_x, n_x = split(self._input_terms(x), 3, axis=-1)
        r_h, z_h, n_h = split(self._hidden_terms(h), 3, axis=-1)
        r = sigmoid(r_x + r_h)
        z = sigmoid(z_x + z_h)
        n = tanh(n_x + r * n_h)
        h = (1 - z) * n + z * h
        return h, h
