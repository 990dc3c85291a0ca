"""Reading at positions, and its adjoint: adding into positions.

The cotangent of ``x[i]`` is zero everywhere but at ``i``. A rule says so by returning a `Piece` (or a list
of them) in place of an array; the tape collects the pieces of one tensor and adds them up once, with
`scatter`. Reading a sequence step by step thus costs what the steps cost, not a full array per step.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .dtypes import positions, whole
from .registry import primitive, sample


class Piece(NamedTuple):
    """A cotangent ``g`` that belongs at ``index`` of an otherwise zero array."""

    g: Any
    index: Any


def _is_basic(index):
    """Whether an index names every element at most once by construction: integers, slices, booleans."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) or _is_mask(part)
        for part in parts
    )


def _is_distinct(index, shape):
    """Whether an index is an array of integers that names no row twice: what np.add.at is slow for."""
    if not isinstance(index, np.ndarray) or index.dtype.kind not in "iu":
        return False
    seen = np.zeros(shape[:1], bool)
    seen[index] = True
    return np.count_nonzero(seen) == index.size


def _is_mask(part):
    return isinstance(part, (bool, np.bool_)) or (isinstance(part, np.ndarray) and part.dtype == bool)


@primitive(
    samples=[
        sample((2,), (2,), indices=[0, 1], shape=(3, 2)),
        sample((2,), (), (3, 2), indices=[0, (2, 1), ...], shape=(3, 2)),
        sample((4,), indices=[np.array([0, 2, 2, -1])], shape=(3,)),
    ]
)
def scatter(*gs, indices, shape):
    """An array of zeros with each of the given arrays added in at its index; repeats add up.

    The adjoint of reading: ``scatter([g], indices=[i], shape=x.shape)`` is the cotangent of ``x[i]``.
    """
    out = np.zeros(shape, dtype=np.result_type(*gs))
    for g, index in zip(gs, indices, strict=True):
        if _is_basic(index) or _is_distinct(index, out.shape):
            out[index] += g
        else:
            np.add.at(out, index, g)
    return out


scatter.defvjp(joint=lambda g, _y, *_gs, indices, shape: [g[i] for i in indices])


@primitive(
    samples=[
        sample((3, 4), index=1),
        sample((3, 4), index=(slice(None), -1)),
        sample((3, 4), index=(slice(None, None, -2), None, slice(1, 3))),
        sample((3, 4), index=(Ellipsis, 0)),
        sample((3,), index=np.array([True, False, True])),
        sample((3, 2), index=np.array([[True, False], [False, False], [True, True]])),
        sample((3, 2), index=np.array([0, 2, 2, -1])),
        sample((3, 4), index=(np.array([[0], [2]]), np.array([1, 1]))),
        sample((3, 4, 2), index=(np.array([0, 0]), slice(1, 3), np.array([1, 0]))),
        sample((3, 4), index=(slice(0, 0),)),
        sample((), index=()),
    ],
    view=True,
)
def getitem(x, /, index):
    """``x[index]``: integers, slices, None, Ellipsis, boolean masks and integer arrays, with repeats.

    Arrays are not copied: one that is changed before ``backward()`` sends the gradient elsewhere, which
    ``tg.detect_anomaly()`` prevents.
    """
    return x[index]


getitem.defvjp(lambda g, _y, _x, index: Piece(g, index))


@primitive(
    numpy=np.take,
    samples=[
        sample((4,), np.array([0, 3, 3, -1])),
        sample((4, 2), np.array([[0, 3], [3, 1]]), axis=0),
        sample((2, 4), np.array([1, 1]), axis=-1),
        sample((2, 3), np.array(4)),
        sample((), np.array([0, 0, -1])),
        sample((), np.array([[0], [0]]), axis=0),
        sample((3,), np.array([True, False, True, True]), axis=0),
    ],
)
def take(x, indices, /, axis=None):
    """Elements at integer positions along an axis; of the flattened array for None. Repeats are legal."""
    return np.take(x, whole(indices), axis=axis)


def _take_vjp(g, _y, _x, indices, axis=None):
    if not _x.shape:
        return g  # the one element was repeated
    where = np.asarray(indices).astype(np.intp)  # booleans would be a mask
    if axis is None:
        return Piece(g, np.unravel_index(where % math.prod(_x.shape), _x.shape))
    return Piece(g, (slice(None),) * (axis % len(_x.shape)) + (where,))


take.defvjp(_take_vjp, None)


@primitive(
    numpy=np.take_along_axis,
    samples=[
        sample((3,), np.array([2, 2, 0]), axis=0),
        sample((2, 3), np.array([[2], [0]]), axis=1),
        sample((2, 3), np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]]), axis=0),
        sample((2, 3), np.array([[1, 1, 0, 2]]), axis=1),
        sample((1, 3), np.array([[1], [0]]), axis=-1),
    ],
)
def take_along_axis(x, indices, /, axis=-1):
    """Elements at positions that differ from row to row: ``x[i, indices[i, j]]`` for axis 1."""
    if axis is None:
        raise ValueError("axis=None is not supported: flatten with reshape(-1) and use axis=0")
    return np.take_along_axis(x, positions(indices), axis=axis)


def _take_along_axis_vjp(g, _y, _x, indices, axis=-1):
    axis %= len(_x.shape)
    # The other axes are walked in step; where one has length 1, in x or in the indices, it broadcasts.
    where = list(np.ogrid[tuple(slice(n) for n in _x.shape)])
    where[axis] = positions(indices)
    return Piece(g, tuple(where))


take_along_axis.defvjp(_take_along_axis_vjp, None)
