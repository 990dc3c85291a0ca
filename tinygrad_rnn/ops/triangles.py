"""Diagonals and triangles of matrices."""

from __future__ import annotations

from operator import index

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from .index import Piece, scatter
from .registry import composite, primitive, sample

_PLANES = [
    sample((3, 3)),
    sample((2, 3), offset=1),
    sample((3, 2), offset=-1),
    sample((2, 3, 4), axis1=2, axis2=0),
    sample((2, 3, 4), offset=-1, axis1=1, axis2=-1),
    sample((2, 2), offset=5),
    sample((0, 3)),
]


def _positions(shape, offset):
    """Rows and columns of a diagonal of a matrix."""
    rows, columns = shape
    first = np.array([max(-offset, 0), max(offset, 0)])
    along = np.arange(min(rows - first[0], columns - first[1]))
    return first[0] + along, first[1] + along


@primitive(numpy=np.diagonal, samples=_PLANES, view=True)
def diagonal(x, /, offset=0, axis1=0, axis2=1):
    """The diagonal of each matrix in the plane of two axes, as the last axis; ``offset`` > 0 is above."""
    return np.diagonal(x, offset, axis1, axis2)


def _diagonal_vjp(g, _y, _x, offset=0, axis1=0, axis2=1):
    ndim = len(_x.shape)
    first, second = normalize_axis_index(axis1, ndim), normalize_axis_index(axis2, ndim)
    index = [slice(None)] * ndim
    index[first], index[second] = _positions((_x.shape[first], _x.shape[second]), offset)
    # Where two arrays index neighbouring axes the result has their axis there, else in front.
    place = min(first, second) if abs(first - second) == 1 else 0
    return Piece(np.moveaxis(g, -1, place), tuple(index))


diagonal.defvjp(_diagonal_vjp)


@composite(numpy=np.trace, samples=_PLANES)
def trace(x, /, offset=0, axis1=0, axis2=1):
    """Sum along a diagonal, in the plane of two axes."""
    return np.sum(np.diagonal(x, offset, axis1, axis2), axis=-1)


@composite(
    numpy=np.diag,
    samples=[sample((3,)), sample((2,), k=-1), sample((3, 2)), sample((2, 3), k=1), sample((0,), k=2)],
)
def diag(x, /, k=0):
    """A matrix with the given vector on its k-th diagonal; of a matrix, its k-th diagonal."""
    shape = np.shape(x)
    if len(shape) == 2:
        return np.diagonal(x, k)
    if len(shape) != 1:
        raise ValueError(f"a vector or a matrix is needed, got shape {shape}")
    size = len(x) + abs(index(k))
    return scatter([x], indices=[_positions((size, size), k)], shape=(size, size))


@composite(
    numpy=np.diagflat, samples=[sample((3,)), sample((2, 2), k=1), sample((), k=-1), sample((0,), k=1)]
)
def diagflat(x, /, k=0):
    """A matrix with all elements, in C order, on its k-th diagonal."""
    return diag(np.ravel(x), k)


_MATRICES = [sample((3, 3)), sample((2, 3), k=1), sample((2, 3, 2), k=-1), sample((3,)), sample((2, 0))]


def _below(x, k):
    """Where the last two axes are on the k-th diagonal, or below it."""
    shape = np.shape(x)
    if not shape:
        raise ValueError("the last two axes hold the matrices, and a number has none")
    return np.tri(*shape[-2:], k=k, dtype=bool)


@composite(numpy=np.tril, samples=_MATRICES)
def tril(x, /, k=0):
    """The lower triangle, up to the k-th diagonal, of the last two axes; zeros above it."""
    return np.where(_below(x, index(k)), x, np.zeros((), np.result_type(x)))


@composite(numpy=np.triu, samples=_MATRICES)
def triu(x, /, k=0):
    """The upper triangle, from the k-th diagonal, of the last two axes; zeros below it."""
    return np.where(_below(x, index(k) - 1), np.zeros((), np.result_type(x)), x)
