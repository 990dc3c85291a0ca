"""Arithmetic: the four operations, powers, roots, and the larger and smaller of two."""

from __future__ import annotations

import numpy as np

from .registry import primitive


@primitive(numpy=np.add, elementwise=True)
def add(a, b, /):
    """Sum of two arrays, elementwise, with broadcasting."""
    return np.add(a, b)


add.defvjp(lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: g)


@primitive(numpy=np.subtract, elementwise=True)
def subtract(a, b, /):
    """Difference ``a - b``, elementwise, with broadcasting."""
    return np.subtract(a, b)


subtract.defvjp(lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: -g)


@primitive(numpy=np.multiply, elementwise=True)
def multiply(a, b, /):
    """Product, elementwise, with broadcasting."""
    return np.multiply(a, b)


multiply.defvjp(lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a)


@primitive(numpy=np.divide, elementwise=True, domain=((-3.0, 3.0), (0.5, 3.0)))
def divide(a, b, /):
    """Quotient ``a / b``, elementwise, with broadcasting."""
    return np.divide(a, b)


divide.defvjp(lambda g, _y, _a, b: g / b, lambda g, y, _a, b: -g * y / b)


@primitive(numpy=np.negative, elementwise=True)
def negative(x, /):
    """``-x``, elementwise."""
    return np.negative(x)


negative.defvjp(lambda g, _y, _x: -g)


@primitive(numpy=np.positive, elementwise=True)
def positive(x, /):
    """``+x``: a copy with a place of its own on the tape."""
    return np.positive(x)


positive.defvjp(lambda g, _y, _x: g)


def divisor(x):
    """x with 1 in place of each 0: to divide by where what is divided is 0, too."""
    return np.where(x == 0, 1, x)


def quotient(a, b):
    """``a / b``, and where b is 0 the constant 0."""
    return np.where(b == 0, 0, a / divisor(b))


def chosen(g, mask):
    """g where the mask holds, else exactly 0, though g be infinite there."""
    # Of many numbers with a mask that no processor foresees, np.where takes 20 times as long as a product.
    many = g.size > 500 and type(g) is np.ndarray and getattr(mask, "dtype", None) == np.bool_
    if many and np.count_nonzero(np.isfinite(g)) == g.size:
        return g * mask
    return np.where(mask, g, 0)


def _power_vjp_base(g, _y, a, b):
    if isinstance(b, (int, float)):
        return g * b * (a if b == 2 else a ** (b - 1)) if b else chosen(g, False)
    # 0 ** 0 is the constant 1, but b * a ** (b - 1) would be 0 * inf there.
    # Less 1.0, not 1: small integers would wrap.
    return g * b * np.where((a == 0) & (b == 0), 1, a) ** (b - 1.0)


def _power_vjp_exponent(g, y, a, _b):
    # log(0) only ever meets y = 0 ** b, whose limit of y log(a) is 0 for b > 0.
    # And 1.0, not 1: NumPy takes the logarithms of small integers in float16.
    return g * y * np.log(np.where(a == 0, 1.0, a))


@primitive(numpy=np.power, elementwise=True, domain=((0.5, 2.5), (-2.0, 2.0)))
def power(a, b, /):
    """``a ** b``, elementwise, with broadcasting.

    The derivative with respect to the exponent is that of real powers, ``a**b log(a)``: it needs a > 0
    (at a = 0 it is taken as 0).
    """
    return np.power(a, b)


power.defvjp(_power_vjp_base, _power_vjp_exponent)


@primitive(numpy=np.sqrt, elementwise=True, domain=(0.1, 4.0))
def sqrt(x, /):
    """Square root, elementwise. At 0 the derivative is infinite."""
    return np.sqrt(x)


sqrt.defvjp(lambda g, y, _x: g * 0.5 / y)


@primitive(numpy=np.square, elementwise=True)
def square(x, /):
    """``x * x``, elementwise."""
    return np.square(x)


square.defvjp(lambda g, _y, x: g * (2 * x))


@primitive(numpy=np.absolute, elementwise=True, kinks=lambda x: np.abs(x))
def abs(x, /):
    """Absolute value, elementwise. The derivative at 0 is taken as 0."""
    return np.absolute(x)


abs.defvjp(lambda g, _y, x: g * np.sign(x))


@primitive(numpy=np.fabs, elementwise=True, kinks=lambda x: np.abs(x))
def fabs(x, /):
    """Absolute value as a floating-point number, elementwise. The derivative at 0 is taken as 0."""
    return np.fabs(x)


fabs.defvjp(lambda g, _y, x: g * np.sign(x))


@primitive(numpy=np.sign, elementwise=True, kinks=lambda x: np.abs(x))
def sign(x, /):
    """-1, 0 or 1, elementwise. The derivative is 0, and at 0 taken as 0."""
    return np.sign(x)


sign.defvjp(lambda g, _y, _x: chosen(g, False))


@primitive(numpy=np.reciprocal, elementwise=True, domain=(0.5, 3.0))
def reciprocal(x, /):
    """``1 / x``, elementwise."""
    return np.reciprocal(x)


reciprocal.defvjp(lambda g, y, _x: -g * y * y)


# The derivative is steep near 0: cases keep away from it as from a kink.
@primitive(numpy=np.cbrt, elementwise=True, kinks=lambda x: np.abs(x) / 30)
def cbrt(x, /):
    """Cube root, of negative numbers too, elementwise. At 0 the derivative is infinite."""
    return np.cbrt(x)


cbrt.defvjp(lambda g, y, _x: g / (3 * y * y))


def _take_larger(g, a, b):
    """The cotangent of the operand ``a`` of maximum(a, b): all, half at a tie, or nothing."""
    return np.where(a > b, g, np.where(a == b, g * 0.5, 0))


@primitive(numpy=np.maximum, elementwise=True, kinks=lambda a, b: np.abs(a - b))
def maximum(a, b, /):
    """The larger of two, elementwise, with broadcasting. At a tie each gets half the cotangent."""
    return np.maximum(a, b)


maximum.defvjp(lambda g, _y, a, b: _take_larger(g, a, b), lambda g, _y, a, b: _take_larger(g, b, a))


@primitive(numpy=np.minimum, elementwise=True, kinks=lambda a, b: np.abs(a - b))
def minimum(a, b, /):
    """The smaller of two, elementwise, with broadcasting. At a tie each gets half the cotangent."""
    return np.minimum(a, b)


minimum.defvjp(lambda g, _y, a, b: _take_larger(g, b, a), lambda g, _y, a, b: _take_larger(g, a, b))
