"""The error function, in NumPy: accurate to the last digit or so, in the tails too.

The method and the coefficients are those of FDLIBM's s_erf.c, which carries this notice:

    Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved.
    Developed at SunPro, a Sun Microsystems, Inc. business. Permission to use, copy, modify, and distribute
    this software is freely granted, provided that this notice is preserved.
"""

from __future__ import annotations

import math

import numpy as np

from .registry import primitive, smooth

# Rational functions P(s) / Q(s), coefficients in rising order, in four ranges of |x|.
_SMALL = (  # [0, 0.84375]: erf(x) = x + x P/Q of x**2
    (1.28379167095512558561e-01, -3.25042107247001499370e-01, -2.84817495755985104766e-02,
     -5.77027029648944159157e-03, -2.37630166566501626084e-05),
    (1.0, 3.97917223959155352819e-01, 6.50222499887672944485e-02, 5.08130628187576562776e-03,
     1.32494738004321644526e-04, -3.96022827877536812320e-06),
)  # fmt: skip
_AROUND_1 = (  # [0.84375, 1.25]: erf(x) = _ERF_1 + P/Q of x - 1
    (-2.36211856075265944077e-03, 4.14856118683748331666e-01, -3.72207876035701323847e-01,
     3.18346619901161753674e-01, -1.10894694282396677476e-01, 3.54783043256182359371e-02,
     -2.16637559486879084300e-03),
    (1.0, 1.06420880400844228286e-01, 5.40397917702171048937e-01, 7.18286544141962662868e-02,
     1.26171219808761642112e-01, 1.36370839120290507362e-02, 1.19844998467991074170e-02),
)  # fmt: skip
_LARGE = (  # [1.25, 1/0.35]: erfc(x) = exp(-x**2 - 0.5625 + P/Q of 1/x**2) / x
    (-9.86494403484714822705e-03, -6.93858572707181764372e-01, -1.05586262253232909814e01,
     -6.23753324503260060396e01, -1.62396669462573470355e02, -1.84605092906711035994e02,
     -8.12874355063065934246e01, -9.81432934416914548592e00),
    (1.0, 1.96512716674392571292e01, 1.37657754143519042600e02, 4.34565877475229228821e02,
     6.45387271733267880336e02, 4.29008140027567833386e02, 1.08635005541779435134e02,
     6.57024977031928170135e00, -6.04244152148580987438e-02),
)  # fmt: skip
_HUGE = (  # [1/0.35, 28]: the same with other coefficients; from there on, erfc(x) is 0
    (-9.86494292470009928597e-03, -7.99283237680523006574e-01, -1.77579549177547519889e01,
     -1.60636384855821916062e02, -6.37566443368389627722e02, -1.02509513161107724954e03,
     -4.83519191608651397019e02),
    (1.0, 3.03380607434824582924e01, 3.25792512996573918826e02, 1.53672958608443695994e03,
     3.19985821950859553908e03, 2.55305040643316442583e03, 4.74528541206955367215e02,
     -2.24409524465858183362e01),
)  # fmt: skip
_ERF_1 = 8.45062911510467529297e-01


def _ratio(coefficients, s):
    def horner(c):
        value = np.full(s.shape, c[-1])
        for coefficient in c[-2::-1]:
            value *= s
            value += coefficient
        return value

    p, q = coefficients
    return horner(p) / horner(q)


def _tail(x):
    """``erfc(abs(x))`` for sizes from 1.25 on; at 28 it is 0."""
    x = np.minimum(np.abs(x), 28.0)
    s = 1 / (x * x)
    r = np.where(x < 1 / 0.35, _ratio(_LARGE, s), _ratio(_HUGE, s))
    # exp(-x**2) from the upper half of x's digits, whose square is exact, and a small rest.
    z = (x.view(np.uint64) & np.uint64(0xFFFFFFFF00000000)).view(np.float64)
    return np.exp(-z * z - 0.5625) * np.exp((z - x) * (z + x) + r) / x


def _by_ranges(x, small, around_1, tail):
    """Assemble a function from its values on [0, 0.84375], on [0.84375, 1.25] and beyond, of ``|x|``."""
    given = np.asarray(x)
    if given.dtype.kind == "c":
        raise TypeError("the error function of complex numbers is not offered")
    x = np.ascontiguousarray(given, np.float64).ravel()
    size = np.abs(x)
    result = np.empty_like(x)
    ranges = np.add(size >= 0.84375, size >= 1.25, dtype=np.int8)  # NaN is in the first
    for k, f in enumerate((small, around_1, tail)):
        where = ranges == k
        if where.any():
            result[where] = f(x[where])
    result = result.reshape(given.shape)
    return result.astype(given.dtype) if given.dtype.kind == "f" else result


@primitive(elementwise=True, kinks=smooth)
def erf(x, /):
    """Error function ``2 / sqrt(pi) * integral of exp(-t**2) from 0 to x``, elementwise.

    Within 1e-16 or so of the truth, relatively; computed in float64 whatever the dtype of x.
    """
    return _by_ranges(
        x,
        lambda x: x + x * _ratio(_SMALL, x * x),
        lambda x: np.copysign(_ERF_1 + _ratio(_AROUND_1, np.abs(x) - 1), x),
        lambda x: np.copysign(1 - _tail(x), x),
    )


@primitive(elementwise=True, kinks=smooth)
def erfc(x, /):
    """``1 - erf(x)``, elementwise, with all its digits also where that would cancel (x > 1)."""
    return _by_ranges(x, _erfc_small, _erfc_around_1, _erfc_beyond)


def _erfc_small(x):
    r = x * _ratio(_SMALL, x * x)
    return 0.5 - (x - 0.5 + r)  # 1 - (x + r) would round off a digit of what is less than 1/2


def _erfc_around_1(x):
    r = _ratio(_AROUND_1, np.abs(x) - 1)
    return np.where(np.signbit(x), 1 + _ERF_1 + r, 1 - _ERF_1 - r)


def _erfc_beyond(x):
    tail = _tail(x)
    return np.where(np.signbit(x), 2 - tail, tail)


_EDGE = 40.0


def inside_bell(x):
    """x bounded to where ``exp(-x**2 / 2)`` is not 0, so that its powers do not overflow."""
    return np.clip(x, -_EDGE, _EDGE)


def _bell(x):
    """The derivative of erf."""
    return (2 / math.sqrt(math.pi)) * np.exp(-np.square(inside_bell(x)))


erf.defvjp(lambda g, _y, x: g * _bell(x))
erfc.defvjp(lambda g, _y, x: -g * _bell(x))
