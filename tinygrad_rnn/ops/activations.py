"""Activation functions, under PyTorch's definitions and with its derivatives at the kinks."""

from __future__ import annotations

import math

import numpy as np

from .arithmetic import chosen
from .dtypes import floating, wide
from .registry import primitive, sample, smooth
from .special import erfc, inside_bell


@primitive(elementwise=True)
def sigmoid(x, /):
    """Logistic function ``1 / (1 + exp(-x))``, elementwise; stable for any finite x.

    Below -87 (float32) or -708 (float64) the result would be smaller than the smallest normal number, with
    which processors compute slowly, and soon exp(-x) would overflow: the exponent is bounded there.
    """
    x = np.asarray(x)
    known = _SIGMOID.get(x.dtype.char)
    if known is None or not x.ndim:
        x = floating(x)
        bounded = np.minimum(-wide(x), 708.0 if x.dtype.char in "dD" else 87.0)
        return (1 / (1 + np.exp(bounded))).astype(x.dtype)
    limit, one = known
    # The same in one buffer: this is the most frequent operation of gated networks.
    y = np.negative(x)
    np.minimum(y, limit, out=y)
    np.exp(y, y)
    np.add(y, one, y)
    return np.reciprocal(y, y)


_SIGMOID = {char: (np.array(n, char), np.array(1, char)) for char, n in {"f": 87, "d": 708}.items()}
"""By dtype character: an exponent whose exp is finite, and 1, as arrays, which meet less overhead."""

sigmoid.defvjp(lambda g, y, _x: g * (y * (1 - y)))


@primitive(elementwise=True, kinks=lambda x: np.abs(x))
def relu(x, /):
    """``max(x, 0)``, elementwise. The derivative at 0 is taken as 0."""
    return np.maximum(x, 0)


relu.defvjp(lambda g, y, _x: chosen(g, y > 0))


@primitive(elementwise=True)
def softplus(x, /):
    """``log(1 + exp(x))``, elementwise; stable for any finite x."""
    x = floating(x)
    return np.maximum(x, 0) + np.log1p(np.exp(np.minimum(x, -x)))


softplus.defvjp(lambda g, _y, x: g * sigmoid(x))


def _gate(x):
    """What `sigmoid` computes, but falling to 0 on the left: times x, its bound would make a slope there."""
    positive = x > 0
    e = np.exp(np.where(positive, -x, x))
    return np.where(positive, 1, e) / (1 + e)


@primitive(elementwise=True)
def silu(x, /):
    """``x * sigmoid(x)``, elementwise: the sigmoid linear unit, or swish."""
    x = floating(x)
    return x * _gate(x)


def _silu_vjp(g, _y, x):
    s = _gate(x)
    return g * (s * (1 + x * (1 - s)))


silu.defvjp(_silu_vjp)

_C = math.sqrt(2 / math.pi)


def _gelu_weight(x):
    """``(1 + tanh(u)) / 2``, which is ``sigmoid(2 u)`` without its cancellation to the left."""
    return _gate(2 * _C * (x + 0.044715 * x * x * x))


@primitive(elementwise=True, kinks=smooth, samples=[sample(), sample(approximate="tanh")])
def gelu(x, /, approximate="none"):
    """Gaussian error linear unit ``x * P(Z <= x)`` for a standard normal Z, elementwise.

    ``approximate="tanh"`` takes ``x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x**3)))`` in its place (Hendrycks
    and Gimpel 2016, arXiv:1606.08415), as some published models do.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    x = floating(x)
    if approximate == "tanh":
        return x * _gelu_weight(inside_bell(x))
    return 0.5 * x * erfc(x * -math.sqrt(0.5))


def _gelu_vjp(g, _y, x, approximate="none"):
    if approximate == "tanh":
        x = inside_bell(x)
        s = _gelu_weight(x)
        return g * (s + x * (s * (1 - s)) * (2 * _C * (1 + 3 * 0.044715 * x * x)))
    weight = 0.5 * erfc(x * -math.sqrt(0.5))
    x = inside_bell(x)
    return g * (weight + x * ((0.5 * _C) * np.exp(-0.5 * x * x)))


gelu.defvjp(_gelu_vjp)


@primitive(elementwise=True, kinks=lambda x, alpha=1.0: np.abs(x), samples=[sample(), sample(alpha=0.5)])
def elu(x, /, alpha=1.0):
    """``x`` where positive, else ``alpha * (exp(x) - 1)``, elementwise. At 0 the derivative is alpha."""
    x = floating(x)
    return np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0))


elu.defvjp(lambda g, _y, x, alpha=1.0: np.where(x > 0, g, g * alpha) * np.exp(np.minimum(x, 0)))


@primitive(
    elementwise=True,
    kinks=lambda x, negative_slope=0.01: np.abs(x),
    samples=[sample(), sample(negative_slope=0.3)],
)
def leaky_relu(x, /, negative_slope=0.01):
    """``x`` where positive, else ``negative_slope * x``, elementwise. At 0 the derivative is the slope."""
    return np.where(np.greater(x, 0), x, np.multiply(x, negative_slope))


leaky_relu.defvjp(lambda g, _y, x, negative_slope=0.01: np.where(x > 0, g, g * negative_slope))


@primitive(elementwise=True, kinks=lambda x: np.abs(np.abs(x) - 3))
def hard_sigmoid(x, /):
    """``clip(x + 3, 0, 6) / 6``, elementwise. At -3 and 3 the derivative is taken as 0.

    PyTorch's (and Keras 3's) definition; Keras 2 and ONNX have ``clip(0.2 x + 0.5, 0, 1)``.
    """
    return np.clip(floating(x) + 3, 0, 6) / 6


hard_sigmoid.defvjp(lambda g, _y, x: chosen(g, np.abs(x) < 3) / 6)


@primitive(
    elementwise=True,
    kinks=lambda x, min_val=-1.0, max_val=1.0: np.minimum(np.abs(x - min_val), np.abs(x - max_val)),
    samples=[sample(), sample(min_val=-2.0, max_val=0.5)],
)
def hard_tanh(x, /, min_val=-1.0, max_val=1.0):
    """``clip(x, min_val, max_val)``, elementwise. On the bounds the derivative is taken as 0 (clip: 1)."""
    if not min_val < max_val:
        raise ValueError(f"min_val must be less than max_val, got {min_val} and {max_val}")
    return np.clip(x, min_val, max_val)


hard_tanh.defvjp(
    lambda g, _y, x, min_val=-1.0, max_val=1.0: chosen(g, np.logical_and(x > min_val, x < max_val))
)
