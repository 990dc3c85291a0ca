"""Lengths of vectors and norms of matrices."""

from __future__ import annotations

import numpy as np

from .arithmetic import chosen, divisor, quotient
from .decompositions import svdvals
from .dtypes import wide
from .elementwise import astype
from .reduce import _AXES, _keep, _named
from .registry import composite, primitive, sample

_ORDERS = [sample((2, 3), axis=1, ord=p) for p in (1, 2, 3, 2.5, np.inf, -np.inf, -1)]


def _from_kinks(x, ord=None, axis=None, keepdims=False):
    """Distance from zeros, and from ties of the sizes that an infinite order picks from."""
    sizes = np.sort(np.abs(x), axis=None)
    gaps = np.diff(sizes) if ord is not None and np.isinf(ord) else [np.inf]
    # Negative orders are steep near zeros.
    return min(np.min(sizes, initial=np.inf) / 10, np.min(gaps, initial=np.inf))


@primitive(
    numpy=np.linalg.vector_norm,
    samples=[*_AXES, *_ORDERS, sample((2, 3, 2), axis=(0, 2), ord=3), sample((0, 3), axis=0)],
    kinks=_from_kinks,
)
def vector_norm(x, /, axis=None, keepdims=False, ord=2):
    """``sum(abs(x)**ord) ** (1/ord)`` over one axis, several (a tuple) or all (None).

    ``ord`` inf is the largest size, -inf the smallest; tied sizes share the cotangent equally. Where the
    norm is 0, also by underflow, the derivatives are taken as 0.
    """
    if ord == 0:
        raise ValueError("ord=0 counts the elements that are not 0, which has no derivative to follow")
    _named(axis, np.ndim(x))  # NumPy's would round 1.5 down
    return np.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)


def _vector_norm_vjp(g, y, x, axis=None, keepdims=False, ord=2):
    y = _keep(y, x, axis)
    g = _keep(g, x, axis)
    if np.isinf(ord):
        extreme = np.abs(x) == y
        g = wide(g)
        return chosen(g, extreme) * np.sign(x) / np.sum(extreme, axis=axis, keepdims=True, dtype=g.dtype)
    if ord == 2:
        return g * quotient(x, y)
    if ord == 1:
        return g * np.sign(x)
    zero = (x == 0) | (y == 0)  # of a negative order, the norm is 0 where one element is
    size = np.abs(np.where(zero, 1, x)) / divisor(y)
    return g * np.where(zero, 0, np.sign(x) * size ** (ord - 1))


vector_norm.defvjp(_vector_norm_vjp)


def _norm_kinks(x, ord=None, axis=None, keepdims=False):
    if ord in ("fro", "nuc") or (axis is not None and np.ndim(axis)):
        s = np.linalg.svdvals(x if np.ndim(axis) == 0 else np.moveaxis(x, axis, (-2, -1)))
        return min(_from_kinks(x, np.inf), np.min(s) / 10, np.min(np.abs(np.diff(s))) / 10)
    return _from_kinks(x, ord if ord is None or np.ndim(x) == 1 or axis is not None else np.inf)


def _largest(sizes, axis):
    """The function that gives the largest of sizes along an axis; 0, the sum, of none."""
    return np.max if np.shape(sizes)[axis] else np.sum


_MATRIX_ORDERS = [sample((2, 3), ord=p) for p in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)]


@composite(
    numpy=np.linalg.norm,
    samples=[
        sample((3,)),
        sample((2, 3)),
        sample((2, 3, 2)),
        sample((3,), ord=3, keepdims=True),
        sample((2, 3), axis=0),
        sample((2, 3), ord=1, axis=-1, keepdims=True),
        *_MATRIX_ORDERS,
        sample((2, 3, 2), ord="nuc", axis=(2, 0), keepdims=True),
        sample((2, 3, 2), ord=np.inf, axis=(0, -1)),
        sample((2, 3, 2), axis=(0, 1)),
    ],
    kinks=_norm_kinks,
)
def norm(x, /, ord=None, axis=None, keepdims=False):
    """Norm of vectors along an axis, or of matrices in the plane of two.

    Parameters
    ----------
    x : array
    ord : None, number, inf, -inf, "fro" or "nuc"
        None is the square root of the sum of squares, of everything if there is no axis either. Of a vector
        any number but 0 (see `vector_norm`); of a matrix "fro" (as None), "nuc" (sum of the singular
        values), 2 and -2 (the largest, the smallest), 1 and -1 (the largest, the smallest sum of sizes in a
        column), inf and -inf (the same in a row).
    axis : int, pair of ints or None
        None with an ord takes all of a vector or of a matrix.
    keepdims : bool

    Notes
    -----
    Where a norm of a vector is 0, also by underflow, its derivatives are taken as 0.
    """
    if np.result_type(x).kind in "biu":
        x = astype(x, np.float64)  # sums of sizes might wrap
    ndim = np.ndim(x)
    if axis is None and ord is None:
        return vector_norm(x, keepdims=keepdims)
    axes = _named(axis, ndim)
    if len(axes) == 1 and ord not in ("fro", "nuc"):
        return vector_norm(x, axes, keepdims, 2 if ord is None else ord)
    if len(axes) != 2:
        raise ValueError(
            f"ord={ord!r} is a norm of {'' if isinstance(ord, str) else 'vectors or '}matrices, "
            f"got {len(axes)} axes"
        )
    if ord in (None, "fro"):
        return vector_norm(x, axes, keepdims)
    row, column = axes
    if ord in ("nuc", 2, -2):
        s = svdvals(np.moveaxis(x, axes, (-2, -1)))
        y = {"nuc": np.sum, 2: _largest(s, -1), -2: np.min}[ord](s, axis=-1)
        return np.expand_dims(y, axes) if keepdims else y
    if ord not in (1, -1, np.inf, -np.inf):
        raise ValueError(f"ord={ord!r} is no norm of matrices: 'fro', 'nuc', 1, -1, 2, -2, inf and -inf are")
    summed, picked = (row, column) if abs(ord) == 1 else (column, row)
    sums = np.sum(np.abs(x), axis=summed, keepdims=True)
    y = (_largest(sums, picked) if ord in (1, np.inf) else np.min)(sums, axis=picked, keepdims=True)
    return y if keepdims else np.squeeze(y, axes)
