"""Writing at positions, as functions: each gives a new array, and leaves the old one as it was."""

from __future__ import annotations

import operator

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from .arithmetic import chosen
from .dtypes import positions, whole
from .index import _is_basic, scatter
from .registry import composite, primitive, sample


@primitive(
    samples=[
        sample((3, 4), (4,), index=1),
        sample((3, 4), (), index=(slice(None), slice(0, 2))),
        sample((3,), (2,), index=np.array([True, False, True])),
        sample((3, 2), (4, 2), index=np.array([0, 2, 2, -1])),
        sample((3, 4), (2, 1), index=(np.array([[0], [2]]), np.array([1, 1]))),
        sample((), (), index=()),
    ]
)
def assign(x, values, /, index):
    """A copy of x with ``x[index] = values``. Of several values for one place the last one counts.

    It has x's dtype, which must be of the values' kind or a richer one.
    """
    out = np.array(x)
    given = np.asarray(values).dtype
    if not np.can_cast(given, out.dtype, "same_kind"):
        raise TypeError(f"{given} values would be cut off in {out.dtype}: convert x to {given} first")
    out[index] = values
    return out


def _assign_vjp_values(g, _y, _x, _values, index):
    if _is_basic(index):
        return g[index]
    # A value that a later one overwrote has no influence.
    number = np.zeros(_x.shape, np.intp)
    mine = np.arange(number[index].size).reshape(number[index].shape)
    number[index] = mine
    return chosen(g[index], number[index] == mine)


assign.defvjp(lambda g, _y, _x, _values, index: assign(g, 0, index=index), _assign_vjp_values)


@composite(
    samples=[
        sample((3, 4), 1, (4,)),
        sample((3, 2), np.array([0, 2, 2, -1]), (4, 2)),
        sample((3, 2), np.array([0, 2, 2, -1]), (4, 2), accumulate=True),
        sample((3, 4), np.array([True, False, True]), (), accumulate=True),
    ]
)
def index_put(x, index, values, /, accumulate=False):
    """A copy of x with ``x[index] = values``, or, to accumulate, ``x[index] += values`` with repeats.

    Parameters
    ----------
    x : array
    index : anything that x can be indexed with
    values : array
        Broadcasts to ``x[index]``.
    accumulate : bool
        Otherwise, of several values for one place the last one counts.
    """
    index = _plain(index)
    if not accumulate:
        return assign(x, values, index)
    return x + scatter([values], indices=[index], shape=np.shape(x))


def _plain(index):
    """An index with arrays for whatever else holds positions, but lists, which NumPy converts itself."""
    if isinstance(index, tuple):
        return tuple([_plain(part) for part in index])
    return np.asarray(positions(index)) if hasattr(index, "__array__") else index


@composite(
    samples=[
        sample((3,), np.array([2, 0]), (2,), axis=0),
        sample((2, 3), np.array([[2], [0]]), (2, 1), axis=1),
        sample((2, 3), np.array([[1, 0, 1]]), (1, 3), axis=0),
        sample((2, 3), np.array([[1, 1], [0, 2]]), (), axis=-1),
        sample((2, 3), np.array([5, 0]), (2,), axis=None),
    ]
)
def put_along_axis(x, indices, values, /, axis=-1):
    """A copy of x with values at positions that differ from row to row: the counterpart of `take_along_axis`.

    NumPy's function of this name writes into its argument; this one returns the result. Of several values
    for one place the last one counts.
    """
    indices = whole(indices, "iu")
    if axis is None:
        return np.reshape(put_along_axis(np.reshape(x, (np.size(x),)), indices, values), np.shape(x))
    shape = np.shape(x)
    axis = normalize_axis_index(axis, len(shape))
    if indices.ndim != len(shape):
        raise ValueError(
            f"indices must have as many axes as x of shape {shape}, got shape {indices.shape}: lengths of 1 "
            f"broadcast"
        )
    where = list(np.ogrid[tuple(slice(n) for n in shape)])
    where[axis] = indices
    return assign(x, values, tuple(where))


@composite(
    samples=[
        sample((3,), np.array([2, 0, 2]), (3,), axis=0),
        sample((2, 3), np.array([0, 0]), (2, 2), axis=1),
        sample((3, 2), np.array([-1]), (1, 2), axis=-2),
    ]
)
def index_add(x, index, source, /, axis=0):
    """x with the slices of ``source`` added at positions ``index`` of an axis; repeats add up.

    Parameters
    ----------
    x : array
    index : array of ints, (K,)
    source : array
        Of the shape of x, but K long in the axis.
    axis : int
    """
    index = whole(index, "iu")
    if index.ndim != 1:
        raise ValueError(
            f"index must be a vector, got shape {index.shape}: call index_add(x, index, source, axis)"
        )
    shape = np.shape(x)
    axis = normalize_axis_index(axis, len(shape))
    wanted = (*shape[:axis], index.size, *shape[axis + 1 :])
    if np.shape(source) != wanted:
        raise ValueError(
            f"source must have shape {wanted}, x's {shape} with one slice per index along axis {axis}; "
            f"got {np.shape(source)} and an index of shape {index.shape}"
        )
    return x + scatter([source], indices=[(slice(None),) * axis + (index,)], shape=shape)


@composite(
    samples=[
        sample((4,), np.array([0, 2, 0, 1]), num_segments=4),
        sample((3, 2), np.array([1, 1, 0])),
        sample((0, 2), np.zeros(0, int), num_segments=2),
    ]
)
def segment_sum(data, segment_ids, /, num_segments=None):
    """Sums of slices with the same number: ``y[s]`` is the sum of ``data[i]`` over ``segment_ids[i] == s``.

    Parameters
    ----------
    data : array, (N, ...)
    segment_ids : array of ints, (N,)
        From 0 to ``num_segments - 1``, in any order.
    num_segments : int, optional
        The default is one more than the largest number. Segments without members are 0.

    Returns
    -------
    array, (num_segments, ...)
    """
    ids = np.asarray(positions(segment_ids))
    shape = np.shape(data)
    if ids.dtype.kind not in "iu" or ids.shape != shape[:1]:
        raise ValueError(f"segment_ids must be {shape[:1]} integers, got {ids.dtype}{ids.shape}")
    known = int(ids.max()) + 1 if ids.size else 0
    number = operator.index(known if num_segments is None else num_segments)
    if number < 0:
        raise ValueError(f"num_segments must be 0 or more, got {number}")
    if ids.size and not (ids.min() >= 0 and ids.max() < number):
        wanted = f"from 0 to {number - 1}" if number > 0 else "none, for no segments"
        raise IndexError(f"segment_ids must be {wanted}, got some from {ids.min()} to {ids.max()}")
    return scatter([data], indices=[(ids,)], shape=(number, *shape[1:]))
