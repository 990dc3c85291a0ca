"""Trigonometric and hyperbolic functions and their inverses; sin, cos and tanh are in elementwise.py."""

from __future__ import annotations

import numpy as np

from .arithmetic import quotient
from .registry import primitive


@primitive(numpy=np.tan, elementwise=True, domain=(-1.2, 1.2))
def tan(x, /):
    """Tangent of an angle in radians, elementwise."""
    return np.tan(x)


tan.defvjp(lambda g, y, _x: g * (1 + y * y))


@primitive(numpy=np.arcsin, elementwise=True, domain=(-0.9, 0.9))
def arcsin(x, /):
    """Inverse sine in radians, elementwise. At -1 and 1 the derivative is infinite."""
    return np.arcsin(x)


arcsin.defvjp(lambda g, _y, x: g / np.sqrt((1 - x) * (1 + x)))


@primitive(numpy=np.arccos, elementwise=True, domain=(-0.9, 0.9))
def arccos(x, /):
    """Inverse cosine in radians, elementwise. At -1 and 1 the derivative is infinite."""
    return np.arccos(x)


arccos.defvjp(lambda g, _y, x: -g / np.sqrt((1 - x) * (1 + x)))


@primitive(numpy=np.arctan, elementwise=True)
def arctan(x, /):
    """Inverse tangent in radians, elementwise."""
    return np.arctan(x)


def _root(x):
    """``sqrt(1 + x**2)`` without overflow."""
    far = np.abs(x) > 0.5 * np.sqrt(np.finfo(x.dtype).max)
    near = np.where(far, 0, x)
    return np.where(far, np.abs(x), np.sqrt(1 + near * near))


arctan.defvjp(lambda g, _y, x: g / _root(x) / _root(x))


@primitive(numpy=np.sinh, elementwise=True)
def sinh(x, /):
    """Hyperbolic sine, elementwise."""
    return np.sinh(x)


sinh.defvjp(lambda g, _y, x: g * np.cosh(x))


@primitive(numpy=np.cosh, elementwise=True)
def cosh(x, /):
    """Hyperbolic cosine, elementwise."""
    return np.cosh(x)


cosh.defvjp(lambda g, _y, x: g * np.sinh(x))


@primitive(numpy=np.arcsinh, elementwise=True)
def arcsinh(x, /):
    """Inverse hyperbolic sine, elementwise."""
    return np.arcsinh(x)


arcsinh.defvjp(lambda g, _y, x: g / _root(x))


@primitive(numpy=np.arccosh, elementwise=True, domain=(1.2, 4.0))
def arccosh(x, /):
    """Inverse hyperbolic cosine of x >= 1, elementwise. At 1 the derivative is infinite."""
    return np.arccosh(x)


arccosh.defvjp(lambda g, _y, x: g / np.sqrt(x - 1) / np.sqrt(x + 1))


@primitive(numpy=np.arctanh, elementwise=True, domain=(-0.9, 0.9))
def arctanh(x, /):
    """Inverse hyperbolic tangent of -1 < x < 1, elementwise."""
    return np.arctanh(x)


arctanh.defvjp(lambda g, _y, x: g / ((1 - x) * (1 + x)))


@primitive(numpy=np.hypot, elementwise=True, kinks=lambda a, b: np.hypot(a, b) / 10)
def hypot(a, b, /):
    """``sqrt(a**2 + b**2)`` without overflow, elementwise. At a = b = 0 all derivatives are taken as 0."""
    return np.hypot(a, b)


hypot.defvjp(
    lambda g, y, a, _b: g * quotient(a, y),
    lambda g, y, _a, b: g * quotient(b, y),
)


def _over_squared_length(u, y, x):
    """``u / (x**2 + y**2)`` without overflow, and 0 at the origin, where u is 0 too."""
    length = np.hypot(x, y)
    return quotient(quotient(u, length), length)


def _to_cut(y, x):
    """Distance from the origin and from the line where the angle jumps from pi to -pi."""
    return np.where(x > 0, np.hypot(x, y), np.abs(y)) / 10


@primitive(numpy=np.arctan2, elementwise=True, kinks=_to_cut)
def arctan2(y, x, /):
    """Angle of the point (x, y), in (-pi, pi], elementwise; y comes first.

    At the origin all derivatives are taken as 0.
    """
    return np.arctan2(y, x)


arctan2.defvjp(
    lambda g, _angle, y, x: g * _over_squared_length(x, y, x),
    lambda g, _angle, y, x: -g * _over_squared_length(y, y, x),
)


def _sinc_slope(x):
    """``d sinc / dx``: ``(cos(pi x) - sinc(x)) / x``, and near 0, where that cancels, its power series."""
    near = np.abs(x) < 0.25
    away = np.where(near, 1, x)
    u = np.square(np.pi * np.where(near, x, 0))
    # sinc(x) is the sum over k of (-u)**k / (2k + 1)!; u < 0.62, so that eight terms are exact.
    series = 0.0
    for k in range(8, 0, -1):
        series = k + series * (-u / ((2 * k + 2) * (2 * k + 3)))
    return np.where(near, x * series * (-np.pi * np.pi / 3), (np.cos(np.pi * away) - np.sinc(away)) / away)


@primitive(numpy=np.sinc, elementwise=True)
def sinc(x, /):
    """``sin(pi x) / (pi x)``, and 1 at 0, elementwise."""
    y = np.multiply(np.pi, x)
    # Not np.sinc, which puts 1e-20 for 0 in older versions of NumPy: that is 0 in float16.
    return np.divide(np.sin(y), y, out=np.ones_like(y), where=y != 0)[()]


sinc.defvjp(lambda g, _y, x: g * _sinc_slope(x))
