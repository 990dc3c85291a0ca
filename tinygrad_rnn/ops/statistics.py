"""Spread and location: deviation, median, range, weighted average."""

from __future__ import annotations

import math

import numpy as np

from .arithmetic import quotient
from .dtypes import wide
from .elementwise import astype
from .reduce import _AXES, _freedom, _gap_at, _keep, _named, var
from .registry import composite, primitive, sample

_SPREAD = [s for s in _AXES if s.inputs != ((),)]


@primitive(
    numpy=np.std,
    samples=[*_SPREAD, sample((3, 2), ddof=1), sample((3, 2), axis=0, ddof=1)],
    # Near 0 the second derivative is steep.
    kinks=lambda x, axis=None, ddof=0, keepdims=False: np.std(x, axis=axis) / 20,
)
def std(x, /, axis=None, ddof=0, keepdims=False):
    """Standard deviation, the root of `var`, with ``n - ddof``. At 0 its derivatives are taken as 0."""
    return np.sqrt(var(x, axis=axis, ddof=ddof, keepdims=keepdims))


def _std_vjp(g, y, x, axis=None, ddof=0, keepdims=False):
    y = _keep(y, x, axis)
    d = x - np.mean(x, axis=axis, keepdims=True)
    return wide(_keep(g, x, axis)) / _freedom(x, axis, ddof) * quotient(d, y)


std.defvjp(_std_vjp)


def _median_kinks(x, axis=None, keepdims=False):
    return np.min(np.diff(np.sort(x, axis=None)), initial=np.inf)


@composite(numpy=np.median, samples=[*_AXES, sample((4, 2), axis=0)], kinks=_median_kinks)
def median(x, /, axis=None, keepdims=False):
    """The middle one of the elements in order, over one axis, several or all; or the mean of the two.

    NaN if there is a NaN. Of equal elements the one that `sort` puts in the middle gets the cotangent.
    """
    shape = np.shape(x)
    axes = _named(axis, len(shape))
    rest = tuple(k for k in range(len(shape)) if k not in axes)
    rows = np.transpose(x, (*rest, *axes))
    count = math.prod(shape[k] for k in axes)
    rows = np.sort(np.reshape(rows, (*(shape[k] for k in rest), count)), axis=-1)
    if not count:
        raise ValueError("the median of no elements is not defined")
    y = np.mean(rows[..., (count - 1) // 2 : count // 2 + 1], axis=-1)
    last = np.isnan(rows[..., -1])
    if last.any():
        y = np.where(last, np.nan, y)
    return np.reshape(y, tuple(1 if k in axes else m for k, m in enumerate(shape))) if keepdims else y


@composite(numpy=np.nansum, samples=_AXES)
def nansum(x, /, axis=None, keepdims=False):
    """Sum of what is not NaN, over one axis, several or all; the gradient at NaN is 0."""
    return np.sum(np.where(np.isnan(x), 0, x), axis=axis, keepdims=keepdims)


@composite(numpy=np.nanmean, samples=_AXES)
def nanmean(x, /, axis=None, keepdims=False):
    """Mean of what is not NaN, over one axis, several or all; the gradient at NaN is 0."""
    there = np.logical_not(np.isnan(x))
    total = nansum(x, axis=axis, keepdims=keepdims)
    return total / np.sum(there, axis=axis, keepdims=keepdims, dtype=total.dtype)


def _range_kinks(x, axis=None, keepdims=False):
    return np.minimum(np.min(_gap_at(1)(x, axis)), np.min(_gap_at(-1)(x, axis)))


@composite(numpy=np.ptp, samples=[s for s in _SPREAD if s.inputs != ((),)], kinks=_range_kinks)
def ptp(x, /, axis=None, keepdims=False):
    """Range: the largest less the smallest element, over one axis, several or all."""
    return np.max(x, axis=axis, keepdims=keepdims) - np.min(x, axis=axis, keepdims=keepdims)


def _of_one_dtype(x, weights):
    """Both in the dtype that NumPy computes averages in: float64 for integers."""
    pair = [a if hasattr(a, "dtype") else np.asarray(a) for a in (x, weights)]
    dtype = np.result_type(*pair, *([np.float64] if pair[0].dtype.kind in "biu" else []))
    return [a if a.dtype == dtype else astype(a, dtype) for a in pair]


@composite(
    numpy=np.average,
    samples=[*_AXES, sample((2, 3), weights=np.array([[1, 2, 3], [0, 1, 2]], "f4")),
             sample((2, 3), axis=1, weights=np.array([0.5, 1, 2], "f4")),
             sample((2, 3, 2), axis=(2, 0), weights=np.array([[1, 2], [3, 4]], "f4"), keepdims=True)],
)  # fmt: skip
def average(x, /, axis=None, weights=None, keepdims=False):
    """Mean with weights: ``sum(x * weights) / sum(weights)``; differentiable in the weights too.

    Parameters
    ----------
    x : array
    axis : int, tuple of ints or None
    weights : array, optional
        Of the shape of x, or with the lengths of the given axes, in their order. None is `mean`.
    keepdims : bool

    Raises
    ------
    ZeroDivisionError
        Where weights sum to 0.
    """
    if weights is None:
        return np.mean(x, axis=axis, keepdims=keepdims)
    x, weights = _of_one_dtype(x, weights)
    shape = np.shape(x)
    if np.shape(weights) != shape:
        if axis is None:
            raise TypeError(f"weights of shape {np.shape(weights)} for x of shape {shape} need an axis")
        axes = _named(axis, len(shape))
        lengths = tuple(shape[k] for k in axes)
        if np.shape(weights) != lengths:
            raise ValueError(
                f"weights must have the shape of x, {shape}, or of its axes {axis}, {lengths}; "
                f"got {np.shape(weights)}"
            )
        weights = np.transpose(weights, np.argsort(axes).tolist())
        weights = np.reshape(weights, tuple(n if k in axes else 1 for k, n in enumerate(shape)))
    total = np.sum(weights, axis=axis, keepdims=keepdims)
    if np.any(np.equal(total, 0)):
        raise ZeroDivisionError("average: weights sum to zero: give some element another weight")
    # Weights that broadcast are summed before they do: the other axes would only scale both sums.
    return np.sum(np.multiply(x, weights), axis=axis, keepdims=keepdims) / total
