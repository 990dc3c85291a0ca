"""Reductions over axes, and the normalisations and running sums that are built on them."""

from __future__ import annotations

import math
import operator

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from .arithmetic import chosen, divisor
from .dtypes import floating, wide
from .registry import composite, primitive, sample

_AXES = [
    sample((2, 3)),
    sample((2, 3), axis=0),
    sample((2, 3), axis=-1, keepdims=True),
    sample((2, 3, 2), axis=(0, 2)),
    sample((2, 3, 2), axis=(-1, 0), keepdims=True),
    sample((4,), keepdims=True),
    sample(()),
]
_EMPTY = [sample((0, 3)), sample((0, 3), axis=0), sample((2, 0), axis=1, keepdims=True)]


def _named(axis, ndim):
    """The axes that a caller named, as non-negative numbers; all for None."""
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, (tuple, list)):
        axis = (operator.index(axis),)
    return normalize_axis_tuple(axis, ndim)


def _axes(ndim, axis):
    """The same, faster, for a rule: the forward function has refused axes that do not exist."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(k % ndim for k in (axis if isinstance(axis, tuple) else (axis,))) if ndim else ()


def _count(x, axis):
    """How many elements of x go into one element of the result."""
    return math.prod(x.shape[k] for k in _axes(len(x.shape), axis))


def _keep(g, x, axis):
    """A reduced array with its reduced axes back, of length 1, so that it broadcasts against x."""
    reduced = _axes(len(x.shape), axis)
    return g.reshape(tuple(1 if k in reduced else n for k, n in enumerate(x.shape)))


@primitive(numpy=np.sum, samples=_AXES + _EMPTY)
def sum(x, /, axis=None, keepdims=False):
    """Sum over one axis, several (a tuple) or all (None)."""
    return np.sum(x, axis=axis, keepdims=keepdims)


sum.defvjp(lambda g, _y, _x, axis=None, keepdims=False: np.broadcast_to(_keep(g, _x, axis), _x.shape))


@primitive(numpy=np.mean, samples=_AXES)
def mean(x, /, axis=None, keepdims=False):
    """Arithmetic mean over one axis, several (a tuple) or all (None)."""
    return np.mean(x, axis=axis, keepdims=keepdims)


def _mean_vjp(g, _y, _x, axis=None, keepdims=False):
    return np.broadcast_to(wide(_keep(g, _x, axis)) / _count(_x, axis), _x.shape)


mean.defvjp(_mean_vjp)


def _freedom(x, axis, ddof):
    """Degrees of freedom: how many elements go into one of the result, less ddof; at least 0, as in NumPy."""
    left = _count(x, axis) - ddof
    return left if left > 0 else 0


@primitive(numpy=np.var, samples=[*_AXES, sample((3, 2), ddof=1), sample((3, 2), axis=0, ddof=1)])
def var(x, /, axis=None, ddof=0, keepdims=False):
    """Variance: mean squared distance from the mean, divided by ``n - ddof`` (0 as NumPy's default)."""
    x = floating(x)
    # Not np.var: for complex numbers that takes |d|**2, which is not analytic.
    d = x - np.mean(x, axis=axis, keepdims=True)
    y = np.sum(wide(d * d), axis=axis, keepdims=keepdims) / _freedom(x, axis, ddof)
    return y.astype(x.dtype)


def _var_vjp(g, _y, x, axis=None, ddof=0, keepdims=False):
    d = x - np.mean(x, axis=axis, keepdims=True)
    return 2 * wide(_keep(g, x, axis)) / _freedom(x, axis, ddof) * d


var.defvjp(_var_vjp)


def _extremum_vjp(g, y, x, axis=None, keepdims=False):
    extreme = x == _keep(y, x, axis)
    g = wide(_keep(g, x, axis))
    return chosen(g, extreme) / np.sum(extreme, axis=axis, keepdims=True, dtype=g.dtype)


def _gap_at(sign):
    def gap(x, axis=None, keepdims=False):
        """How far the runner-up is from the extremum: at 0 there is a tie."""
        axes = _axes(x.ndim, axis)
        rest = [k for k in range(x.ndim) if k not in axes]
        rows = np.sort(
            sign * x.transpose((*rest, *axes)).reshape(-1, math.prod(x.shape[k] for k in axes)), axis=-1
        )
        return rows[:, -1] - rows[:, -2] if rows.shape[-1] > 1 else np.full(1, np.inf)

    return gap


@primitive(numpy=[np.max, np.amax], samples=_AXES, kinks=_gap_at(+1))
def max(x, /, axis=None, keepdims=False):
    """Largest element over one axis, several or all. Tied elements share the cotangent equally."""
    return np.max(x, axis=axis, keepdims=keepdims)


max.defvjp(_extremum_vjp)


@primitive(numpy=[np.min, np.amin], samples=_AXES, kinks=_gap_at(-1))
def min(x, /, axis=None, keepdims=False):
    """Smallest element over one axis, several or all. Tied elements share the cotangent equally."""
    return np.min(x, axis=axis, keepdims=keepdims)


min.defvjp(_extremum_vjp)


def finite(x):
    """x with 0 for infinities and NaN: to be subtracted from infinities, too."""
    return np.where(np.isfinite(x), x, 0)


def _shift(x, axis):
    """The maximum, to be subtracted before exp; 0 where all is -inf, or nothing: no inf - inf appears."""
    return finite(np.max(x, axis=axis, keepdims=True, initial=-np.inf))


@primitive(samples=_AXES)
def logsumexp(x, /, axis=None, keepdims=False):
    """``log(sum(exp(x)))`` over one axis, several or all; stable for any finite x."""
    x = floating(x)
    top = _shift(x, axis)
    with np.errstate(divide="ignore"):
        y = np.log(np.sum(wide(np.exp(x - top)), axis=axis, keepdims=True)) + top
    y = np.asarray(y, x.dtype)
    return y if keepdims else np.squeeze(y, axis=_axes(x.ndim, axis))


def _logsumexp_vjp(g, y, x, axis=None, keepdims=False):
    y = _keep(y, x, axis)
    # Where all is -inf, y is too, and every weight is 0 rather than exp(-inf + inf).
    parts = np.exp(x - finite(y))
    # Their sum is 1, but for the rounding of a large y.
    total = np.sum(parts, axis=axis, keepdims=True)
    return _keep(g, x, axis) * (parts / divisor(total))


logsumexp.defvjp(_logsumexp_vjp)

_ALONG = [sample((3,)), sample((2, 3)), sample((2, 3), axis=0), sample((2, 3, 2), axis=1), sample((0, 3))]


@primitive(samples=_ALONG)
def softmax(x, /, axis=-1):
    """``exp(x) / sum(exp(x))`` along an axis; stable for any finite x."""
    x = floating(x)
    e = np.exp(x - _shift(x, axis))
    return np.asarray(e / np.sum(wide(e), axis=axis, keepdims=True), x.dtype)


softmax.defvjp(lambda g, y, _x, axis=-1: y * (g - np.sum(g * y, axis=axis, keepdims=True)))


@primitive(samples=_ALONG)
def log_softmax(x, /, axis=-1):
    """``log(softmax(x))`` along an axis; stable for any finite x."""
    x = floating(x)
    d = x - _shift(x, axis)
    if not d.size:
        return d
    return np.asarray(d - np.log(np.sum(wide(np.exp(d)), axis=axis, keepdims=True)), x.dtype)


log_softmax.defvjp(lambda g, y, _x, axis=-1: g - np.exp(y) * np.sum(wide(g), axis=axis, keepdims=True))


@primitive(
    numpy=np.cumsum,
    samples=[sample((4,)), sample((2, 3)), sample((2, 3), axis=0), sample((2, 3, 2), axis=-2), sample(())],
)
def cumsum(x, /, axis=None):
    """Running sum along an axis; over the flattened array for None."""
    return np.cumsum(x, axis=axis)


def _cumsum_vjp(g, _y, _x, axis=None):
    return np.flip(np.cumsum(np.flip(g, axis), axis), axis).reshape(_x.shape)


cumsum.defvjp(_cumsum_vjp)


def _slice(a, x, shape):
    """What lengthens x: an array as it is, a number in the shape of one slice. Python's are weak."""
    if isinstance(a, (str, bytes)):
        raise TypeError(f"prepend and append are numbers or arrays of numbers, got {a!r}")
    if np.ndim(a):
        return a
    return np.broadcast_to(a if hasattr(a, "dtype") else np.asarray(a, np.result_type(x, a)), shape)


@composite(
    numpy=np.diff,
    samples=[
        sample((4,)),
        sample((2, 3), axis=0),
        sample((2, 4), n=2),
        sample((2, 2), n=3),
        sample((2, 3), n=0),
        sample((3,), prepend=np.array(1.5, "f4"), append=np.array([2.0, 0.5], "f4")),
        sample((2, 3), axis=0, append=np.ones((1, 3), "f4")),
        sample((2, 3), axis=0, prepend=np.array(1.5, "f4")),
    ],
)
def diff(x, /, n=1, axis=-1, prepend=None, append=None):
    """Differences of neighbours along an axis, ``x[i + 1] - x[i]``, taken n times.

    ``prepend`` and ``append``, numbers or arrays, lengthen x in the axis first.
    """
    shape = np.shape(x)
    if operator.index(n) < 0:
        raise ValueError(f"differences are taken n times, from 0 on, got n={n}")
    if n == 0:
        return np.reshape(x, shape)
    axis = normalize_axis_index(axis, len(shape))
    one = (*shape[:axis], 1, *shape[axis + 1 :])
    before, after = [[] if a is None else [_slice(a, x, one)] for a in (prepend, append)]
    if before or after:
        x = np.concatenate([*before, x, *after], axis=axis)
    others = (slice(None),) * axis
    less = np.not_equal if np.result_type(x) == np.bool_ else np.subtract
    for _ in range(n):
        x = less(x[(*others, slice(1, None))], x[(*others, slice(-1))])
    return x
