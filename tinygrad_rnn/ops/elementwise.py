"""Functions of one array, element by element, and the choices between arrays (where, clip)."""

from __future__ import annotations

import numpy as np

from .registry import primitive, sample


@primitive(numpy=np.exp, elementwise=True)
def exp(x, /):
    """Exponential, elementwise."""
    return np.exp(x)


exp.defvjp(lambda g, y, _x: g * y)


@primitive(numpy=np.expm1, elementwise=True)
def expm1(x, /):
    """``exp(x) - 1``, exact near 0, elementwise."""
    return np.expm1(x)


expm1.defvjp(lambda g, y, _x: g * (y + 1))


@primitive(numpy=np.log, elementwise=True, domain=(0.1, 4.0))
def log(x, /):
    """Natural logarithm, elementwise."""
    return np.log(x)


log.defvjp(lambda g, _y, x: g / x)


@primitive(numpy=np.log1p, elementwise=True, domain=(-0.8, 3.0))
def log1p(x, /):
    """``log(1 + x)``, exact near 0, elementwise."""
    return np.log1p(x)


log1p.defvjp(lambda g, _y, x: g / (1 + x))


@primitive(numpy=np.sin, elementwise=True)
def sin(x, /):
    """Sine of an angle in radians, elementwise."""
    return np.sin(x)


sin.defvjp(lambda g, _y, x: g * np.cos(x))


@primitive(numpy=np.cos, elementwise=True)
def cos(x, /):
    """Cosine of an angle in radians, elementwise."""
    return np.cos(x)


cos.defvjp(lambda g, _y, x: -g * np.sin(x))


@primitive(numpy=np.tanh, elementwise=True)
def tanh(x, /):
    """Hyperbolic tangent, elementwise."""
    return np.tanh(x)


tanh.defvjp(lambda g, y, _x: g * (1 - y * y))


@primitive(elementwise=True)
def sigmoid(x, /):
    """Logistic function ``1 / (1 + exp(-x))``, elementwise; stable for any finite x.

    Below -88 (float32) or -709 (float64) exp(-x) would overflow. The exponent is bounded there, so that the
    result is the smallest normal number or so, in place of a yet smaller one.
    """
    x = np.asarray(x)
    limit, one = _SIGMOID.get(x.dtype.char, (709.0, 1.0))
    if x.dtype.char not in _SIGMOID or not x.ndim:
        return 1 / (1 + np.exp(np.minimum(-x, limit)))
    # The same in one buffer: this is the most frequent operation of gated networks.
    y = np.negative(x)
    np.minimum(y, limit, out=y)
    np.exp(y, out=y)
    y += one
    return np.reciprocal(y, out=y)


_SIGMOID = {"f": (np.array(88.0, "f4"), np.array(1.0, "f4")), "d": (np.array(709.0), np.array(1.0))}
"""By dtype character: an exponent whose exp is finite, and 1, as arrays, which meet less overhead."""

sigmoid.defvjp(lambda g, y, _x: g * (y * (1 - y)))


@primitive(elementwise=True, kinks=lambda x: np.abs(x))
def relu(x, /):
    """``max(x, 0)``, elementwise. The derivative at 0 is taken as 0."""
    return np.maximum(x, 0)


relu.defvjp(lambda g, y, _x: g * (y > 0))


@primitive(elementwise=True)
def softplus(x, /):
    """``log(1 + exp(x))``, elementwise; stable for any finite x."""
    x = np.asarray(x)
    positive = x.real > 0
    return np.where(positive, x, 0) + np.log1p(np.exp(np.where(positive, -x, x)))


softplus.defvjp(lambda g, _y, x: g * sigmoid(x))


@primitive(
    numpy=np.where,
    samples=[
        sample(np.array([True, False, True]), (3,), (3,)),
        sample(np.array([[True], [False]]), (2, 3), (3,)),
        sample(np.array(True), (), (2,)),
        sample(np.zeros((0, 2), bool), (0, 2), (1, 2)),
    ],
)
def where(condition, x, y, /):
    """``x`` where the condition holds, else ``y``, elementwise, with broadcasting.

    The branch that was not chosen gets a cotangent of exactly 0.
    """
    return np.where(condition, x, y)


where.defvjp(
    None,
    lambda g, _z, condition, _x, _y: np.where(condition, g, 0),
    lambda g, _z, condition, _x, _y: np.where(condition, 0, g),
)


def _clip_distance(x, min=None, max=None):
    bounds = [np.abs(x - b) for b in (min, max) if b is not None]
    return np.minimum.reduce(bounds) if bounds else np.full(np.shape(x), np.inf)


@primitive(
    numpy=np.clip,
    samples=[sample((3, 4), min=-1.0, max=1.0), sample((), max=0.5), sample((0, 2), min=0.0)],
    kinks=_clip_distance,
)
def clip(x, /, min=None, max=None):
    """Bound to ``[min, max]``, elementwise; None leaves a side open. On a bound the derivative is 1."""
    return np.clip(x, min, max)


def _clip_vjp(g, _y, x, min=None, max=None):
    inside = np.ones(x.shape, bool)
    if min is not None:
        inside &= x >= min
    if max is not None:
        inside &= x <= max
    return g * inside


clip.defvjp(_clip_vjp)


@primitive(
    samples=[sample((2, 3), dtype="float64"), sample((), dtype=np.dtype("float64"))],
    # Linear, but a cast to a real dtype would drop a complex step.
    kinks=lambda x, dtype: np.full(np.shape(x), np.inf),
)
def astype(x, /, dtype):
    """The same values in another dtype. The cotangent comes back in the dtype of x."""
    return np.asarray(x).astype(dtype)


astype.defvjp(lambda g, _y, _x, dtype: g)
