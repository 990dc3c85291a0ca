"""Rearranging: the same elements in another shape or order, joined or taken apart."""

from __future__ import annotations

import functools
import itertools
import math
import operator

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from .index import Piece
from .registry import primitive, sample


@primitive(
    numpy=np.reshape,
    samples=[sample((2, 3), shape=(6,)), sample((2, 3), shape=(3, -1)), sample((), shape=(1, 1)),
             sample((0, 2), shape=(2, 0))],
    view=True,
)  # fmt: skip
def reshape(x, /, shape):
    """The same elements, in C order, in another shape; one length may be -1."""
    return np.reshape(x, shape)


reshape.defvjp(lambda g, _y, _x, shape: g.reshape(_x.shape))


@primitive(
    numpy=np.transpose,
    samples=[sample((2, 3)), sample((2, 3, 4)), sample((2, 3, 4), axes=(2, 0, 1)),
             sample((2, 3, 4), axes=(-1, 0, -2)), sample(())],
    view=True,
)  # fmt: skip
def transpose(x, /, axes=None):
    """Permute axes; reverse them for None."""
    return np.transpose(x, axes)


def _transpose_vjp(g, _y, _x, axes=None):
    if axes is None:
        return g.transpose()
    order = [k % len(axes) for k in axes]
    return g.transpose(tuple(order.index(k) for k in range(len(order))))


transpose.defvjp(_transpose_vjp)


@primitive(
    numpy=np.swapaxes,
    samples=[sample((2, 3, 4), axis1=0, axis2=-1), sample((2, 3), axis1=0, axis2=1)],
    view=True,
)
def swapaxes(x, /, axis1, axis2):
    """Exchange two axes."""
    return np.swapaxes(x, axis1, axis2)


swapaxes.defvjp(lambda g, _y, _x, axis1, axis2: g.swapaxes(axis1, axis2))


@primitive(
    numpy=np.expand_dims,
    samples=[sample((2, 3), axis=1), sample((2,), axis=(0, -1)), sample((), axis=0)],
    view=True,
)
def expand_dims(x, /, axis):
    """Insert axes of length 1 at the given positions of the result."""
    return np.expand_dims(x, axis)


expand_dims.defvjp(lambda g, _y, _x, axis: g.reshape(_x.shape))


@primitive(
    numpy=np.squeeze,
    samples=[sample((1, 3, 1)), sample((1, 3, 1), axis=0), sample((1, 3, 1), axis=(0, 2))],
    view=True,
)
def squeeze(x, /, axis=None):
    """Remove axes of length 1: the given ones, or all for None."""
    return np.squeeze(x, axis=axis)


squeeze.defvjp(lambda g, _y, _x, axis=None: g.reshape(_x.shape))


@primitive(
    numpy=np.broadcast_to,
    samples=[sample((3,), shape=(2, 3)), sample((2, 1), shape=(2, 4)), sample((), shape=(2, 2)),
             sample((1, 3), shape=(0, 3))],
    view=True,
)  # fmt: skip
def broadcast_to(x, /, shape):
    """Repeat along axes of length 1 and new leading axes, without copying; the result is read-only."""
    return np.broadcast_to(x, shape)


# The tape sums over broadcast axes for every rule, so nothing is left to do here.
broadcast_to.defvjp(lambda g, _y, _x, shape: g)


@primitive(
    numpy=np.concatenate,
    samples=[sample((2, 3), (1, 3)), sample((2, 3), (2, 1), (2, 0), axis=-1), sample((2,), (2, 2), axis=None),
             sample((2, 3), (2, 3), axis=1)],
)  # fmt: skip
def concatenate(*arrays, axis=0):
    """Join a list of arrays along an existing axis; flattened for None."""
    return np.concatenate(arrays, axis=axis)


def _concatenate_vjp(g, _y, *_arrays, axis=0):
    if axis is None:
        shapes = [getattr(a, "shape", ()) for a in _arrays]
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        parts = split(g, [int(e) for e in ends[:-1]])
        return list(map(np.reshape, parts, shapes))
    borders = itertools.accumulate([a.shape[axis] for a in _arrays], initial=0)
    before = (slice(None),) * (axis % len(g.shape))
    return [g[(*before, slice(start, stop))] for start, stop in itertools.pairwise(borders)]


concatenate.defvjp(joint=_concatenate_vjp)


def _parts(ndim, length, sections, axis):
    """The index of each part of an axis: a number of equal parts, or a sequence of inner borders."""
    if not isinstance(sections, (int, np.integer)):
        sections = tuple(map(operator.index, sections))
    return _cached_parts(ndim, length, sections, axis)


@functools.lru_cache
def _cached_parts(ndim, length, sections, axis):
    if isinstance(sections, tuple):
        borders = [0, *sections, length]
    elif sections < 1 or length % sections:
        raise ValueError(f"an axis of length {length} does not divide into {sections} equal parts")
    else:
        borders = [k * length // sections for k in range(sections + 1)]
    before = (slice(None),) * (axis % ndim)
    return [(*before, slice(start, stop)) for start, stop in itertools.pairwise(borders)]


@primitive(
    numpy=np.split,
    samples=[sample((4, 3), sections=2), sample((2, 6), sections=3, axis=-1), sample((5,), sections=[1, 3]),
             sample((2, 3), sections=[0, 2], axis=1)],
    multiple=True,
    view=True,
)  # fmt: skip
def split(x, /, sections, axis=0):
    """Cut along an axis, into a number of equal parts or at a list of positions; a tuple of views."""
    x = np.asarray(x)
    axis = normalize_axis_index(axis, x.ndim)
    return tuple([x[part] for part in _parts(x.ndim, x.shape[axis], sections, axis)])


def _split_vjp(gs, _ys, _x, sections, axis=0):
    if all([g is not None for g in gs]):
        return np.concatenate(gs, axis=axis)
    parts = _parts(len(_x.shape), _x.shape[axis], sections, axis)
    return [Piece(g, part) for g, part in zip(gs, parts, strict=True) if g is not None]


split.defvjp(_split_vjp)


@primitive(
    numpy=[getattr(np, "unstack", None)],
    samples=[sample((2, 3)), sample((2, 3), axis=1), sample((2, 3, 2), axis=-1), sample((1,))],
    multiple=True,
    view=True,
)
def unstack(x, /, axis=0):
    """Take apart along an axis, which disappears. Returns a tuple of views, one per position."""
    x = np.asarray(x)
    axis = normalize_axis_index(axis, x.ndim)
    return tuple(x.transpose((axis, *(k for k in range(x.ndim) if k != axis)))) if axis else tuple(x)


def _unstack_vjp(gs, _ys, _x, axis=0):
    if all([g is not None for g in gs]):
        return np.stack(gs, axis=axis)
    axis %= len(_x.shape)
    return [Piece(g, (slice(None),) * axis + (k,)) for k, g in enumerate(gs) if g is not None]


unstack.defvjp(_unstack_vjp)


@primitive(
    numpy=np.stack,
    samples=[sample((2, 3), (2, 3)), sample((2,), (2,), (2,), axis=-1), sample((), (), axis=0)],
)
def stack(*arrays, axis=0):
    """Join a list of arrays of one shape along a new axis."""
    return np.stack(arrays, axis=axis)


stack.defvjp(joint=lambda g, _y, *_arrays, axis=0: unstack(g, axis=axis))


@primitive(
    numpy=np.flip,
    samples=[sample((2, 3)), sample((2, 3), axis=0), sample((2, 3, 2), axis=(0, -1))],
    view=True,
)
def flip(x, /, axis=None):
    """Reverse the order along one axis, several or all."""
    return np.flip(x, axis)


flip.defvjp(lambda g, _y, _x, axis=None: np.flip(g, axis))


def _inner(x, pad_width):
    """The index that selects what was there before padding."""
    widths = np.broadcast_to(np.asarray(pad_width), (len(x.shape), 2))
    return tuple(slice(int(w[0]), int(w[0]) + n) for w, n in zip(widths, x.shape, strict=True))


@primitive(
    numpy=np.pad,
    samples=[sample((2, 3), pad_width=1), sample((2, 3), pad_width=((0, 1), (2, 0)), constant_values=2.0),
             sample((3,), pad_width=(1, 2))],
)  # fmt: skip
def pad(x, /, pad_width, mode="constant", constant_values=0):
    """Add a border of a constant; ``pad_width`` is a number, (before, after), or one pair per axis."""
    if mode != "constant":
        raise ValueError(f"pad has a gradient rule for mode='constant' only, got mode={mode!r}")
    if isinstance(pad_width, dict):
        raise ValueError("pad_width as a dict is not supported: give one (before, after) per axis")
    return np.pad(x, pad_width, constant_values=constant_values)


pad.defvjp(lambda g, _y, _x, pad_width, mode="constant", constant_values=0: g[_inner(_x, pad_width)])
