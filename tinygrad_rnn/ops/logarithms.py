"""Logarithms and exponentials to bases 2 and 10, and of sums; exp and log are in elementwise.py."""

from __future__ import annotations

import math

import numpy as np

from .arithmetic import divisor
from .reduce import finite
from .registry import primitive, smooth

_LN2 = math.log(2)
_LN10 = math.log(10)


@primitive(numpy=np.log2, elementwise=True, domain=(0.1, 4.0))
def log2(x, /):
    """Logarithm to base 2, elementwise."""
    return np.log2(x)


log2.defvjp(lambda g, _y, x: g / (x * _LN2))


@primitive(numpy=np.log10, elementwise=True, domain=(0.1, 4.0))
def log10(x, /):
    """Logarithm to base 10, elementwise."""
    return np.log10(x)


log10.defvjp(lambda g, _y, x: g / _LN10 / x)


@primitive(numpy=np.exp2, elementwise=True)
def exp2(x, /):
    """``2 ** x``, elementwise."""
    return np.exp2(x)


exp2.defvjp(lambda g, y, _x: g * y * _LN2)


def _share(a, b, y):
    """The part that ``exp(a)`` has in ``exp(a) + exp(b)``, of logarithm y; 0, not NaN, where the sum is 0."""
    y = finite(y)
    part, total = np.exp(a - y), np.exp(a - y) + np.exp(b - y)
    # The total is 1, but for the rounding of a large y.
    return part / divisor(total)


@primitive(numpy=np.logaddexp, elementwise=True, kinks=smooth)
def logaddexp(a, b, /):
    """``log(exp(a) + exp(b))``, elementwise, with broadcasting; stable for any finite a and b."""
    return np.logaddexp(a, b)


logaddexp.defvjp(lambda g, y, a, b: g * _share(a, b, y), lambda g, y, a, b: g * _share(b, a, y))
