"""Putting elements in order. The cotangent goes back to where each element came from."""

from __future__ import annotations

import numpy as np

from .registry import primitive, sample

_ALONG = [
    sample((4,)),
    sample((2, 3)),
    sample((3, 2), axis=0),
    sample((2, 3, 2), axis=-2),
    sample((2, 3), axis=None),
    sample((0, 3)),
    sample((1, 3), axis=0),
]


def _ties(x, axis=-1, kth=0):
    """Distance from the nearest tie along the axis."""
    if axis is None:
        return np.diff(np.sort(x, axis=None))
    return np.diff(np.sort(x, axis=axis), axis=axis)


@primitive(numpy=np.sort, samples=_ALONG, kinks=_ties)
def sort(x, /, axis=-1, kind=None, stable=None):
    """The elements in rising order along an axis; of the flattened array for None. NaNs come last.

    Of equal elements, the one that comes first in x counts as the smaller. ``kind`` and ``stable`` choose
    the algorithm, as in NumPy; they make no difference to the result. Unlike ``ndarray.sort`` the method
    leaves x as it is.
    """
    return np.sort(x, axis=axis, kind=kind, stable=stable)


def _sort_vjp(g, _y, x, axis=-1, kind=None, stable=None):
    return _sent_back(g, np.argsort(x, axis=axis, kind="stable"), axis).reshape(x.shape)


def _sent_back(g, order, axis):
    """Undo a permutation along an axis: its inverse reads where writing through it would put."""
    axis = 0 if axis is None else axis
    return np.take_along_axis(g, np.argsort(order, axis=axis), axis=axis)


sort.defvjp(_sort_vjp)


@primitive(
    numpy=np.partition,
    samples=[
        sample((5,), kth=2),
        sample((2, 3), kth=0),
        sample((3, 2), kth=-1, axis=0),
        sample((2, 3), kth=(1, 3), axis=None),
    ],
    kinks=lambda x, kth, axis=-1: _ties(x, axis),
)
def partition(x, /, kth, axis=-1):
    """Rearrange so that the element number ``kth`` (or several) of the sorted order is in its place.

    Smaller ones come before it, larger ones after it, in no order that one may count on. Unlike
    ``ndarray.partition`` the method leaves x as it is.
    """
    # Not np.partition: its order might be another than that of the positions, which the rule goes by.
    positions = np.argpartition(x, kth, axis=axis)
    return np.take(x, positions) if axis is None else np.take_along_axis(x, positions, axis=axis)


def _partition_vjp(g, _y, x, kth, axis=-1):
    return _sent_back(g, np.argpartition(x, kth, axis=axis), axis).reshape(x.shape)


partition.defvjp(_partition_vjp)
