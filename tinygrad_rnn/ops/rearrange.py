"""Rearranging, continued: moving and adding axes, rolling, repeating, and joining in NumPy's many ways."""

from __future__ import annotations

import itertools
import operator

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from .dtypes import whole
from .index import Piece
from .registry import composite, primitive, sample
from .shape import split


@composite(
    numpy=np.moveaxis,
    samples=[
        sample((2, 3, 4), source=0, destination=-1),
        sample((2, 3, 4), source=(2, 0), destination=(0, 1)),
        sample((2, 3), source=[0], destination=[1]),
    ],
)
def moveaxis(x, /, source, destination):
    """Move axes to new positions; the others keep their order."""
    ndim = np.ndim(x)
    source = normalize_axis_tuple(source, ndim, "source")
    destination = normalize_axis_tuple(destination, ndim, "destination")
    if len(source) != len(destination):
        raise ValueError(f"{len(source)} source axes for {len(destination)} destinations")
    order = [k for k in range(ndim) if k not in source]
    for to, which in sorted(zip(destination, source, strict=True)):
        order.insert(to, which)
    return np.transpose(x, order)


@composite(
    numpy=np.rollaxis,
    samples=[
        sample((2, 3, 4), axis=2),
        sample((2, 3, 4), axis=0, start=3),
        sample((2, 3, 4), axis=-1, start=-2),
    ],
)
def rollaxis(x, /, axis, start=0):
    """Move an axis back until it lies before the axis that is at ``start``."""
    ndim = np.ndim(x)
    axis = normalize_axis_index(axis, ndim)
    start = normalize_axis_index(start, ndim + 1) if start >= 0 else normalize_axis_index(start, ndim)
    return moveaxis(x, axis, start - (axis < start))


@composite(numpy=np.ravel, samples=[sample((2, 3)), sample((2, 3), order="F"), sample(()), sample((0, 2))])
def ravel(x, /, order="C"):
    """All elements along one axis, in rows ("C") or in columns ("F") order."""
    if order not in ("C", "F"):
        raise ValueError(
            f"order must be 'C' or 'F', got {order!r}: others depend on how the elements lie in memory"
        )
    return np.reshape(x if order == "C" else np.transpose(x), (np.size(x),))


@primitive(
    numpy=np.roll,
    samples=[
        sample((2, 3), shift=1),
        sample((2, 3), shift=-4, axis=1),
        sample((2, 3), shift=(1, 2), axis=(0, -1)),
        sample((3, 2), shift=2, axis=(0, 1)),
        sample((3,), shift=(1, 1), axis=0),
        sample((0, 2), shift=1),
        sample((), shift=1),
    ],
)
def roll(x, /, shift, axis=None):
    """Shift elements along axes, or of the flattened array; what leaves at one end enters at the other."""
    return np.roll(x, whole(shift), axis)


roll.defvjp(lambda g, _y, _x, shift, axis=None: np.roll(g, [-s for s in np.atleast_1d(shift).tolist()], axis))


@primitive(
    numpy=np.repeat,
    samples=[
        sample((2, 3), repeats=2),
        sample((2, 3), repeats=2, axis=-1),
        sample((2, 3), repeats=[0, 3, 1], axis=1),
        sample((2, 3), repeats=np.array([2, 0]), axis=0),
        sample((2, 2), repeats=np.array([1, 0, 2, 1])),
        sample((2, 3), repeats=[3], axis=0),
        sample((2,), repeats=0),
        sample((), repeats=3),
        sample((0, 2), repeats=2, axis=0),
    ],
)
def repeat(x, /, repeats, axis=None):
    """Each element several times in a row, along an axis; of the flattened array for None.

    ``repeats`` is a number, or an array of one number per position.
    """
    return np.repeat(x, whole(repeats), axis)


def _repeat_vjp(g, _y, _x, repeats, axis=None):
    if not _x.shape:
        axis = None  # a number counts as a vector of one
    shape = (int(np.prod(_x.shape)),) if axis is None else _x.shape
    axis = 0 if axis is None else axis % len(shape)
    counts = whole(repeats)
    if counts.size == 1:
        return (
            g.reshape((*shape[: axis + 1], counts.item(), *shape[axis + 1 :]))
            .sum(axis=axis + 1)
            .reshape(_x.shape)
        )
    position = np.repeat(np.arange(shape[axis]), counts)
    if len(_x.shape) != len(shape):
        return Piece(g, np.unravel_index(position, _x.shape))
    return Piece(g, (slice(None),) * axis + (position,))


repeat.defvjp(_repeat_vjp)


@primitive(
    numpy=np.tile,
    samples=[
        sample((2, 3), reps=2),
        sample((2, 3), reps=(2, 1)),
        sample((3,), reps=(2, 3, 1)),
        sample((2, 1, 2), reps=(3, 2)),
        sample((), reps=3),
        sample((2, 3), reps=(0, 2)),
        sample((2,), reps=()),
    ],
)
def tile(x, /, reps):
    """The whole array several times along each axis."""
    return np.tile(x, reps)


def _tile_vjp(g, _y, _x, reps):
    reps = tuple(reps) if np.ndim(reps) else (reps,)
    ndim = max(len(reps), len(_x.shape))
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - len(_x.shape)) + _x.shape
    apart = tuple(itertools.chain.from_iterable(zip(reps, shape, strict=True)))
    return g.reshape(apart).sum(axis=tuple(range(0, 2 * ndim, 2))).reshape(_x.shape)


tile.defvjp(_tile_vjp)


@composite(
    numpy=np.rot90,
    samples=[
        sample((2, 3)),
        *[sample((2, 3), k=k) for k in (-1, 0, 2, 3)],
        sample((2, 3, 4), k=1, axes=(2, 0)),
    ],
)
def rot90(x, /, k=1, axes=(0, 1)):
    """Turn by 90 degrees, ``k`` times, in the plane of two axes, from the first towards the second."""
    first, second = normalize_axis_tuple(axes, np.ndim(x), "axes")
    k = operator.index(k) % 4
    if k == 0:
        return np.reshape(x, np.shape(x))
    if k == 2:
        return np.flip(x, (first, second))
    return (
        np.flip(np.swapaxes(x, first, second), first)
        if k == 1
        else np.swapaxes(np.flip(x, first), first, second)
    )


@composite(numpy=np.fliplr, samples=[sample((2, 3)), sample((2, 3, 2))])
def fliplr(x, /):
    """Reverse the order along the second axis: left to right."""
    return np.flip(x, 1)


@composite(numpy=np.flipud, samples=[sample((3,)), sample((2, 3))])
def flipud(x, /):
    """Reverse the order along the first axis: upside down."""
    return np.flip(x, 0)


def _each(arrays, function):
    """NumPy's way with several arguments: a tuple for several, the thing itself for one."""
    match [function(x) for x in arrays]:
        case [result]:
            return result
        case results:
            return tuple(results)


def _at_least(x, shape):
    """x with the shape that a function of its own shape gives."""
    return np.reshape(x, shape(*np.shape(x)))


@composite(numpy=np.atleast_1d, samples=[sample(()), sample((2,)), sample((2, 3))])
def atleast_1d(*arrays):
    """Each array with one axis or more: a number becomes a vector."""
    return _each(arrays, lambda x: _at_least(x, lambda *n: n or (1,)))


@composite(numpy=np.atleast_2d, samples=[sample(()), sample((2,)), sample((2, 3))])
def atleast_2d(*arrays):
    """Each array with two axes or more: a vector becomes a row."""
    return _each(arrays, lambda x: _at_least(x, lambda *n: (1,) * (2 - len(n)) + n))


@composite(numpy=np.atleast_3d, samples=[sample(()), sample((2,)), sample((2, 3)), sample((2, 3, 1))])
def atleast_3d(*arrays):
    """Each array with three axes or more: (N,) becomes (1, N, 1), and (M, N) becomes (M, N, 1)."""
    return _each(arrays, lambda x: _at_least(x, _three))


def _three(*n):
    return (1, *(n or (1,)), 1) if len(n) < 2 else (*n, 1) if len(n) == 2 else n


@composite(
    numpy=np.vstack,
    samples=[
        sample([(3,), (3,)]),
        sample([(2, 3), (3,), (0, 3)]),
        sample([(), ()]),
        sample([(2, 2, 1), (1, 2, 1)]),
    ],
)
def vstack(arrays, /):
    """Join arrays on top of one another, along the first axis; vectors are rows."""
    return np.concatenate([atleast_2d(a) for a in arrays], axis=0)


@composite(numpy=np.hstack, samples=[sample([(3,), (2,)]), sample([(2, 3), (2, 1)]), sample([(), ()])])
def hstack(arrays, /):
    """Join arrays side by side: along the second axis, vectors along their only one."""
    parts = [atleast_1d(a) for a in arrays]
    return np.concatenate(parts, axis=0 if all([np.ndim(p) == 1 for p in parts]) else 1)


@composite(
    numpy=np.dstack, samples=[sample([(3,), (3,)]), sample([(2, 3), (2, 3)]), sample([(1, 2, 2), (1, 2)])]
)
def dstack(arrays, /):
    """Join arrays in depth, along the third axis."""
    return np.concatenate([atleast_3d(a) for a in arrays], axis=2)


@composite(numpy=np.column_stack, samples=[sample([(3,), (3, 2), (3,)]), sample([(2,), (2,)])])
def column_stack(arrays, /):
    """Join columns into a matrix: vectors (N,) and matrices (N, M)."""
    columns = [np.transpose(atleast_2d(a)) if np.ndim(a) < 2 else a for a in arrays]
    return np.concatenate(columns, axis=1)


@composite(
    numpy=np.append,
    samples=[
        sample((3,), ()),
        sample((2, 3), (2,)),
        sample((2, 3), (1, 3), axis=0),
        sample((2, 0), (2, 1), axis=-1),
    ],
)
def append(x, values, /, axis=None):
    """x and, after it, values along an axis; both flattened for None."""
    if axis is None:
        return np.concatenate([ravel(x), ravel(values)])
    return np.concatenate([x, values], axis=axis)


@composite(
    numpy=np.array_split,
    samples=[
        sample((5,), sections=3),
        sample((2, 5), sections=2, axis=1),
        sample((4, 2), sections=[1, 3]),
        sample((2,), sections=3),
    ],
)
def array_split(x, /, sections, axis=0):
    """Cut along an axis into a number of nearly equal parts, or at a list of positions; a tuple of views.

    Where the length does not divide evenly, the first parts are longer by one.
    """
    if np.ndim(sections):
        return split(x, sections, axis)
    sections = operator.index(sections)
    if sections < 1:
        raise ValueError(f"the number of sections must be 1 or more, got {sections}")
    each, more = divmod(np.shape(x)[normalize_axis_index(axis, np.ndim(x))], sections)
    ends = itertools.accumulate([each + 1] * more + [each] * (sections - more))
    return split(x, list(ends)[:-1], axis)


@composite(
    numpy=np.hsplit,
    samples=[sample((4,), sections=2), sample((2, 4), sections=[1, 3]), sample((2, 2, 3), sections=2)],
)
def hsplit(x, /, sections):
    """`split` along the second axis; a vector along its only one."""
    if np.ndim(x) == 0:
        raise ValueError("one axis or more is needed, got a number; x.reshape(1) has one")
    return split(x, sections, axis=min(1, np.ndim(x) - 1))


@composite(numpy=np.vsplit, samples=[sample((4, 2), sections=2), sample((3, 2), sections=[1])])
def vsplit(x, /, sections):
    """`split` along the first axis of two or more."""
    if np.ndim(x) < 2:
        raise ValueError(f"two axes or more are needed, got shape {np.shape(x)}; split takes one, too")
    return split(x, sections)


@composite(numpy=np.dsplit, samples=[sample((2, 2, 4), sections=2), sample((1, 2, 3), sections=[2])])
def dsplit(x, /, sections):
    """`split` along the third axis."""
    return split(x, sections, axis=2)


@composite(
    numpy=np.block,
    samples=[
        sample([[(2, 2), (2, 1)], [(1, 2), (1, 1)]]),
        sample([(2,), (), (3,)]),
        sample((2, 3)),
        sample([[(3,)], [(3,)]]),
        sample([[[(1, 2, 2)], [(1, 1, 2)]]]),
    ],
)
def block(arrays, /):
    """Assemble an array from nested lists of blocks.

    The innermost lists are joined along the last axis, those around them along the last but one, and so on.
    """
    depth, ndim = _depth(arrays)
    return _assembled(arrays, depth, max(depth, ndim))


def _depth(part):
    """How deep lists are nested, which must be the same everywhere, and the largest number of axes inside."""
    if isinstance(part, tuple):
        raise TypeError("blocks are nested in lists, not in tuples")
    if not isinstance(part, list):
        return 0, np.ndim(part)
    if not part:
        raise ValueError("an empty list stands among the blocks")
    found = [_depth(p) for p in part]
    depths = {depth for depth, _ in found}
    if len(depths) > 1:
        raise ValueError(f"lists of blocks must be equally deep everywhere, got depths {sorted(depths)}")
    return depths.pop() + 1, max(ndim for _, ndim in found)


def _assembled(part, depth, ndim):
    if depth:
        return np.concatenate([_assembled(p, depth - 1, ndim) for p in part], axis=-depth)
    shape = np.shape(part)
    return np.reshape(part, (1,) * (ndim - len(shape)) + shape)
