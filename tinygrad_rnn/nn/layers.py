"""Layers without time: Linear, Embedding, Dropout, LayerNorm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..arrays import get_default_dtype
from ..random import default_generator
from ..tensors import Tensor, as_tensor
from .module import Module, Parameter, uniform
from .options import INTEGERS, checked_size

Rng = np.random.Generator | int | None


class Linear(Module):
    """``y = x W^T + b``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    rng : Generator or int, optional
        For the initial weights, U(-k, k) with k = 1 / sqrt(in_features), as in PyTorch.
    dtype : dtype, optional

    Attributes
    ----------
    weight : Tensor, (out_features, in_features)
    bias : Tensor, (out_features,), or None
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rng: Rng = None, dtype: Any = None
    ) -> None:
        self.in_features = in_features = checked_size("Linear", "in_features", in_features, 0)
        self.out_features = out_features = checked_size("Linear", "out_features", out_features, 0)
        rng = default_generator(rng)
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        self.weight = uniform(rng, bound, (out_features, in_features), dtype)
        self.bias = uniform(rng, bound, (out_features,), dtype) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        x = as_tensor(x)
        if not x.ndim or x.shape[-1] != self.in_features:
            raise ValueError(
                f"Linear expected features of size {self.in_features} in the last axis of x, got {x.shape}"
            )
        y: Tensor = ops.linear(x, self.weight)
        return y if self.bias is None else y + self.bias

    def _describe(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Embedding(Module):
    """A table of vectors, looked up by integer ids.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    rng : Generator or int, optional
        For the initial table, N(0, 1), as in PyTorch.

    Attributes
    ----------
    weight : Tensor, (num_embeddings, embedding_dim)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, rng: Rng = None, dtype: Any = None
    ) -> None:
        self.num_embeddings = checked_size("Embedding", "num_embeddings", num_embeddings, 0)
        self.embedding_dim = checked_size("Embedding", "embedding_dim", embedding_dim, 0)
        table = default_generator(rng).standard_normal((self.num_embeddings, self.embedding_dim))
        self.weight = Parameter(table, dtype or get_default_dtype())

    def forward(self, ids: Any) -> Tensor:
        """Integers of any shape (...) to vectors (..., embedding_dim)."""
        ids = np.asarray(ids)
        if ids.dtype.kind not in "iu":
            raise TypeError(f"Embedding expected integer ids, got {ids.dtype}; {INTEGERS}")
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_embeddings):
            bad = ids[(ids < 0) | (ids >= self.num_embeddings)][0]
            raise IndexError(f"Embedding of {self.num_embeddings} ids (from 0) got the id {bad}")
        return ops.take(self.weight, ids, axis=0)

    def _describe(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Dropout(Module):
    """Set elements to 0 with probability p while training, and scale the others by 1 / (1 - p).

    Parameters
    ----------
    p : float
        In [0, 1].
    rng : Generator or int, optional
        Where masks are drawn from.
    """

    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        if not isinstance(p, (int, float, np.number)) or not 0 <= p <= 1:
            raise ValueError(f"dropout probability must be in [0, 1], got {p!r}")
        self.p = p
        self.rng = rng if rng is None else default_generator(rng)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, kept."""
        x = as_tensor(x)
        if not self.training or not self.p:
            return x
        kept = default_generator(self.rng).random(x.shape) >= self.p
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        return x * (kept * scale).astype(x.dtype)

    def _describe(self) -> str:
        return f"p={self.p}"


class LayerNorm(Module):
    """Normalise the last axes to mean 0 and variance 1, then scale and shift (Ba, Kiros, Hinton 2016).

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The lengths of the last axes.
    eps : float
        Added to the variance.

    Attributes
    ----------
    weight, bias : Tensor, normalized_shape
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, *, dtype: Any = None
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.weight = Parameter(np.ones(shape), dtype or get_default_dtype())
        self.bias = Parameter(np.zeros(shape), dtype or get_default_dtype())

    def forward(self, x: Tensor) -> Tensor:
        """(..., *normalized_shape), kept."""
        x = as_tensor(x)
        n = len(self.normalized_shape)
        if x.shape[x.ndim - n :] != self.normalized_shape:
            raise ValueError(
                f"LayerNorm expected last axes {self.normalized_shape}, got x of shape {x.shape}"
            )
        axes = tuple(range(-n, 0))
        mean = x.mean(axis=axes, keepdims=True)
        variance = x.var(axis=axes, keepdims=True)
        return (x - mean) / ops.sqrt(variance + self.eps) * self.weight + self.bias

    def _describe(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"
