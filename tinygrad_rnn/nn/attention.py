"""Attention: each decoder step reads the encoder's outputs as an average, weighted by how well they match.

::

    attention = nn.AdditiveAttention(query_size=64, key_size=128)
    context, weights = attention(query, keys, lengths=lengths)

In a loop over decoder steps, `memory` does once what depends on the keys alone::

    memory = attention.memory(keys, lengths=lengths)
    for ...:
        context, weights = attention(h, memory)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..random import default_generator
from ..tensors import Tensor, as_tensor
from .module import Module, uniform
from .options import checked_size
from .packing import valid_lengths

Rng = np.random.Generator | int | None


class Memory(NamedTuple):
    """What attention reads at every step, as `_Attention.memory` prepares it.

    Attributes
    ----------
    keys : Tensor, (B, T, A)
        As the scores need them (projected, where the attention has a matrix for them).
    values : Tensor, (B, T, V)
    mask : array of bool, (B, T), or None
        True where there is something to read.
    """

    keys: Tensor
    values: Tensor
    mask: np.ndarray | None

    def index(self, batch_ids: Any) -> Memory:  # type: ignore[override]
        """The memory of the given sequences, (N,) integers; beam search reorders and repeats them so."""
        mask = None if self.mask is None else self.mask[batch_ids]
        return Memory(self.keys[batch_ids], self.values[batch_ids], mask)


class _Attention(Module):
    """What the kinds of attention share: all but the scores."""

    query_size: int
    key_size: int

    def memory(self, keys: Any, values: Any = None, mask: Any = None, *, lengths: Any = None) -> Memory:
        """What depends on the keys alone, to be computed once for all decoder steps.

        Parameters and errors are those of the call. The memory is part of the tape: gradients flow through
        it to keys, values and parameters.
        """
        kind = type(self).__name__
        keys = as_tensor(keys)
        values = keys if values is None else as_tensor(values)
        if keys.ndim != 3 or keys.shape[2] != self.key_size:
            raise ValueError(
                f"{kind} expected keys (batch, time, {self.key_size}), got {keys.shape}; "
                f"key_size was {self.key_size}"
            )
        if values.ndim != 3 or values.shape[:2] != keys.shape[:2]:
            raise ValueError(
                f"{kind} expected one value per key, ({keys.shape[0]}, {keys.shape[1]}, size), "
                f"got {values.shape}"
            )
        readable = _readable(kind, keys.shape[:2], mask, lengths)
        if readable is not None:
            # What is masked becomes 0 first: a NaN in it would meet a weight of 0, and 0 * NaN is NaN.
            alone = values is keys
            keys = ops.where(readable[:, :, None], keys, 0)
            values = keys if alone else ops.where(readable[:, :, None], values, 0)
        return Memory(self._project(keys), values, readable)

    def forward(
        self, query: Any, keys: Any, values: Any = None, mask: Any = None, *, lengths: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Read the values at the keys that match the query.

        Parameters
        ----------
        query : Tensor or array, (B, Q) or (B, U, Q)
            One decoder step, or U of them at once.
        keys : Tensor or array, (B, T, K); or Memory
            The encoder's outputs, or what `memory` made of them (nothing else is passed then).
        values : Tensor or array, (B, T, V), optional
            What is averaged; the keys themselves for None.
        mask : array of bool, (B, T), optional
            False where there is nothing to read.
        lengths : integers, (B,), optional
            The same for padding at the end: positions from a sequence's length on are masked.

        Returns
        -------
        context : Tensor, (B, V) or (B, U, V)
            ``weights @ values``.
        weights : Tensor, (B, T) or (B, U, T)
            Not negative, with sum 1. Masked positions have weight 0 and get no gradient, whatever they
            hold. Where every position of a sequence is masked, weights and context are 0.

        Raises
        ------
        ValueError, TypeError
            For shapes that do not match, masks that are not boolean, lengths out of range.
        """
        if not isinstance(keys, Memory):
            keys = self.memory(keys, values, mask, lengths=lengths)
        elif not (values is None and mask is None and lengths is None):
            raise ValueError(
                f"{type(self).__name__}: values, mask and lengths belong to memory(); they would be ignored "
                f"beside the memory that it made"
            )
        query = as_tensor(query)
        batch, steps = keys.keys.shape[:2]
        if query.ndim not in (2, 3) or (query.shape[0], query.shape[-1]) != (batch, self.query_size):
            raise ValueError(
                f"{type(self).__name__} expected query ({batch}, {self.query_size}) or ({batch}, steps, "
                f"{self.query_size}), (batch, query_size), got {query.shape}"
            )
        single = query.ndim == 2
        weights = self._scores(ops.expand_dims(query, 1) if single else query, keys.keys)
        if steps:  # over no positions at all there is no softmax, and the average is 0
            weights = _masked_softmax(weights, keys.mask)
        context = weights @ keys.values
        return (context[:, 0], weights[:, 0]) if single else (context, weights)

    def _project(self, keys: Tensor) -> Tensor:
        """Keys as the scores need them, (B, T, A)."""
        return keys

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """(B, U, Q) and projected keys (B, T, A) to (B, U, T)."""
        raise AssertionError("kinds of attention define their scores")


class AdditiveAttention(_Attention):
    """Additive attention (Bahdanau, Cho, Bengio 2015, arXiv:1409.0473, section A.1.2).

    ::

        e_ij = v^T tanh(W s_i + U h_j)
        a_ij = softmax_j(e_ij)
        c_i  = sum_j a_ij h_j

    for queries s and keys h.

    Parameters
    ----------
    query_size, key_size : int
    size : int, optional
        Of the layer between, A; the query's for None.
    rng, dtype
        Of the initial parameters, U(-k, k) with k = 1 / sqrt(fan-in).

    Attributes
    ----------
    weight_query : (A, Q), weight_key : (A, K), weight_score : (A,)
        W, U and v of the equation.
    """

    def __init__(
        self, query_size: int, key_size: int, size: int | None = None, *, rng: Rng = None, dtype: Any = None
    ) -> None:
        size = query_size if size is None else size
        _check_sizes("AdditiveAttention", query_size=query_size, key_size=key_size, size=size)
        self.query_size, self.key_size, self.size = query_size, key_size, size
        rng = default_generator(rng)
        self.weight_query = uniform(rng, 1 / math.sqrt(query_size), (size, query_size), dtype)
        self.weight_key = uniform(rng, 1 / math.sqrt(key_size), (size, key_size), dtype)
        self.weight_score = uniform(rng, 1 / math.sqrt(size), (size,), dtype)

    def _project(self, keys: Tensor) -> Tensor:
        return ops.linear(keys, self.weight_key)

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        W, v = self.weight_query, self.weight_score
        s = ops.linear(query, W)
        return ops.tanh(ops.expand_dims(s, 2) + ops.expand_dims(keys, 1)) @ v

    def _describe(self) -> str:
        return f"{self.query_size}, {self.key_size}, size={self.size}"


class MultiplicativeAttention(_Attention):
    """Multiplicative attention (Luong, Pham, Manning 2015, arXiv:1508.04025, section 3.1).

    The score of a query s and a key h is, before the softmax over the keys::

        dot      s^T h
        scaled   s^T h / sqrt(Q)      (Vaswani et al. 2017, arXiv:1706.03762)
        general  s^T W h

    Parameters
    ----------
    query_size : int
    key_size : int, optional
        The query's for None; "dot" and "scaled" need the two to be equal.
    score : {"dot", "general", "scaled"}
    rng, dtype
        Of the initial parameters, U(-k, k) with k = 1 / sqrt(key_size).

    Attributes
    ----------
    weight : (Q, K)
        W of the equation; only for "general".
    """

    def __init__(
        self,
        query_size: int,
        key_size: int | None = None,
        score: str = "general",
        *,
        rng: Rng = None,
        dtype: Any = None,
    ) -> None:
        key_size = query_size if key_size is None else key_size
        _check_sizes("MultiplicativeAttention", query_size=query_size, key_size=key_size)
        if score not in ("dot", "general", "scaled"):
            raise ValueError(f"score must be 'dot', 'general' or 'scaled', got {score!r}")
        if score != "general" and key_size != query_size:
            raise ValueError(
                f"MultiplicativeAttention: the {score} score needs queries and keys of one size, got "
                f"{query_size} and {key_size}; score='general' has a matrix between them"
            )
        self.query_size, self.key_size, self.score = query_size, key_size, score
        if score == "general":
            bound = 1 / math.sqrt(key_size)
            self.weight = uniform(default_generator(rng), bound, (query_size, key_size), dtype)

    def _project(self, keys: Tensor) -> Tensor:
        return ops.linear(keys, self.weight) if self.score == "general" else keys

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        if self.score == "scaled":
            query = query * (1 / math.sqrt(self.query_size))
        return query @ ops.swapaxes(keys, 1, 2)

    def _describe(self) -> str:
        return f"{self.query_size}, {self.key_size}, score={self.score!r}"


def _check_sizes(kind: str, **sizes: int) -> None:
    for name, size in sizes.items():
        checked_size(kind, name, size)


def _readable(kind: str, shape: tuple[int, ...], mask: Any, lengths: Any) -> np.ndarray | None:
    """The mask (B, T) that mask or lengths describe."""
    if lengths is None and mask is None:
        return None
    if lengths is None:
        mask = np.asarray(mask)
        if mask.shape != shape or mask.dtype != bool:
            raise ValueError(
                f"{kind} expected a boolean mask {shape}, (batch, time), got {mask.dtype}{mask.shape}"
            )
        return mask
    if mask is not None:
        raise ValueError(f"{kind} takes a mask or lengths, got both; put the lengths into the mask")
    batch, steps = shape
    readable: np.ndarray = np.arange(steps) < valid_lengths(lengths, batch, steps)[:, None]
    return readable


def _masked_softmax(scores: Tensor, mask: np.ndarray | None) -> Tensor:
    """Softmax over the last axis of (B, U, T), where mask (B, T) is true; 0 elsewhere."""
    if mask is None:
        return ops.softmax(scores, axis=-1)
    empty = ~np.any(mask, axis=1, keepdims=True)
    # A sequence without any key is let through whole, since a softmax of nothing but -inf is NaN.
    weights = ops.softmax(ops.where((mask | empty)[:, None], scores, -np.inf), axis=-1)
    return ops.where(empty[:, None], 0, weights) if empty.any() else weights
