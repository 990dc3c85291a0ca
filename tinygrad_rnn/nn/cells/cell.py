"""What the cells share: parameters, checks, and activations by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops import (
    elu,
    gelu,
    hard_sigmoid,
    hard_tanh,
    leaky_relu,
    linear,
    relu,
    sigmoid,
    silu,
    softplus,
    tanh,
)
from ...random import default_generator
from ...tensors import Tensor, tensor
from ..module import Module, uniform
from ..options import changed, checked_size

Rng = np.random.Generator | int | None
Activation = str | Callable[[Any], Any]

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    f.name: f
    for f in (
        sigmoid, tanh, relu, hard_sigmoid, hard_tanh, softplus, silu, gelu, elu, leaky_relu,
    )
}  # fmt: skip


def activation(option: str, given: Activation) -> Callable[[Any], Any]:
    """The function that an option names, or is."""
    if callable(given):
        return given
    if given not in _ACTIVATIONS:
        names = ", ".join(map(repr, _ACTIVATIONS))
        raise ValueError(f"{option} must be a function of a tensor or one of {names}, got {given!r}")
    return _ACTIVATIONS[given]


class Cell(Module):
    """What the cells share.

    Initial values are U(-k, k) with k = 1 / sqrt(hidden_size), as in PyTorch.

    A cell's ``forward(x, state=None, recurrent_mask=None)`` is one step: (B, I) and the state to the output
    and the next state. Layers with recurrent dropout pass the mask, an array (B, H): what the products with
    ``weight_hh`` see of h is multiplied by it.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    gates : int
        How many matrices are stacked in ``weight_ih`` and ``weight_hh``.
    output_size : int, optional
        Features of h, where not hidden_size.
    rng, dtype
        Of the initial parameters.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        gates: int,
        output_size: int | None = None,
        *,
        rng: Rng,
        dtype: Any,
    ) -> None:
        kind = type(self).__name__
        self.input_size = checked_size(kind, "input_size", input_size, 0)
        self.hidden_size = hidden_size = checked_size(kind, "hidden_size", hidden_size)
        self.output_size = output_size or hidden_size
        rng = default_generator(rng)
        rows = gates * hidden_size
        bound = 1 / math.sqrt(hidden_size)
        self.weight_ih = uniform(rng, bound, (rows, input_size), dtype)
        self.weight_hh = uniform(rng, bound, (rows, self.output_size), dtype)
        self.bias_ih = uniform(rng, bound, (rows,), dtype) if bias else None
        self.bias_hh = uniform(rng, bound, (rows,), dtype) if bias else None

    def initial_state(self, batch: int) -> Any:
        """h = 0, (B, H)."""
        return self._zeros(batch, self.output_size)

    def _input_terms(self, x: Tensor) -> Tensor:
        """``W_ih x + b_ih``, all gates side by side: (B, gates * H)."""
        self._check_input(x)
        y: Tensor = linear(x, self.weight_ih)
        return y if self.bias_ih is None else y + self.bias_ih

    def _hidden_terms(self, h: Tensor, mask: Any = None) -> Tensor:
        """``W_hh h + b_hh``, all gates side by side: (B, gates * H); h times a mask of dropout, if given."""
        y: Tensor = linear(h if mask is None else h * mask, self.weight_hh)
        return y if self.bias_hh is None else y + self.bias_hh

    def _check_input(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__} expected x of shape (batch, {self.input_size}), got {x.shape}"
            )

    def _check(self, name: str, part: Any, batch: int, size: int) -> None:
        """A state that merely broadcasts would give results, and wrong ones."""
        if not isinstance(part, Tensor) or part.shape != (batch, size):
            got = part.shape if isinstance(part, Tensor) else type(part).__name__
            raise ValueError(
                f"{type(self).__name__} expected the state {name} as a tensor ({batch}, {size}), "
                f"(batch, hidden_size), got {got}"
            )

    def _zeros(self, batch: int, size: int) -> Tensor:
        return tensor(np.zeros((batch, size), self.weight_hh.dtype))

    def _describe(self) -> str:
        sizes = [str(self.input_size), str(self.hidden_size)]
        return ", ".join(sizes + changed(type(self), self._options()))

    def _options(self) -> dict[str, Any]:
        """The values of the options, by name; activations that have a name by that."""
        known = {id(f): name for name, f in _ACTIVATIONS.items()}
        named = {name: known.get(id(value), value) for name, value in vars(self).items()}
        return named | {"bias": self.bias_ih is not None}
