"""Products over axes and running products. Zeros are no special case: nothing is divided."""

from __future__ import annotations

import math

import numpy as np

from .reduce import _AXES, _EMPTY, _axes, _keep
from .registry import primitive, sample


def _last(x, axes):
    """x with the given axes at the end, as one."""
    rest = [k for k in range(len(x.shape)) if k not in axes]
    shape = tuple([x.shape[k] for k in rest])
    return np.transpose(x, (*rest, *axes)).reshape((*shape, math.prod([x.shape[k] for k in axes])))


def _back(y, shape, axes):
    """Undo `_last`."""
    rest = [k for k in range(len(shape)) if k not in axes]
    order = [*rest, *axes]
    return np.transpose(y.reshape(tuple([shape[k] for k in order])), tuple(np.argsort(order).tolist()))


def _before(x):
    """The product of all elements before each, along the last axis."""
    running = np.cumprod(x[..., :-1], axis=-1)
    return np.concatenate([np.ones((*x.shape[:-1], min(x.shape[-1], 1)), x.dtype), running], axis=-1)


def _in_range(x):
    """x, in float64 if products on the way to one in range may leave the range of its dtype."""
    return x.astype(np.float64) if x.dtype in (np.float16, np.float32) else x


def all_but_one(x):
    """The product of all elements but each, along the last axis: of those before it, and those after it."""
    x = _in_range(x)
    return _before(x) * np.flip(_before(np.flip(x, -1)), -1)


def _shifted(x, distance):
    """The element that lies a distance ahead, in the place of each; 0 beyond the end."""
    rest = np.zeros((*x.shape[:-1], min(distance, x.shape[-1])), x.dtype)
    return np.concatenate([x[..., distance:], rest], axis=-1)


@primitive(numpy=np.prod, samples=[*_AXES, *_EMPTY, sample((3, 2), axis=(1, 0))], domain=(-2.0, 2.0))
def prod(x, /, axis=None, keepdims=False):
    """Product over one axis, several (a tuple) or all (None)."""
    return np.prod(x, axis=axis, keepdims=keepdims)


def _prod_vjp(g, _y, x, axis=None, keepdims=False):
    axes = _axes(len(x.shape), axis)
    return _keep(g, x, axis) * _back(all_but_one(_last(x, axes)), x.shape, axes)


prod.defvjp(_prod_vjp)


@primitive(
    numpy=np.cumprod,
    samples=[
        sample((4,)),
        sample((2, 3)),
        sample((2, 3), axis=0),
        sample((2, 3, 2), axis=-2),
        sample(()),
        sample((0, 2), axis=1),
        sample((5, 1), axis=0),
    ],
    domain=(-2.0, 2.0),
)
def cumprod(x, /, axis=None):
    """Running product along an axis; over the flattened array for None."""
    return np.cumprod(x, axis=axis)


def _cumprod_vjp(g, _y, x, axis=None):
    axes = _axes(len(x.shape), axis)
    g = _last(g, (0,) if axis is None else axes)
    return _back(_of_running(_in_range(_last(x, axes)), _in_range(g)), x.shape, axes)


def _of_running(x, g):
    """Cotangents of the factors, from those of the running products along the last axis."""
    # s[i] = g[i] + x[i+1] s[i+1], from the end, in log2(n) doublings: after each, s[i] holds the terms up to
    # a distance, and a[i] the product of the factors over that distance.
    s, a = g, _shifted(x, 1)
    distance = 1
    while distance < x.shape[-1]:
        s = s + a * _shifted(s, distance)
        a = a * _shifted(a, distance)
        distance *= 2
    return _before(x) * s


cumprod.defvjp(_cumprod_vjp)
