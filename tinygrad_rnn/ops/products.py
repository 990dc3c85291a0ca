"""Products of arrays: inner, outer, tensor, Kronecker, cross, convolution, and Einstein's sums."""

from __future__ import annotations

import functools
import operator

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from .einstein import _converted
from .registry import composite, primitive, sample


@composite(
    numpy=np.dot,
    samples=[
        sample((3,), (3,)),
        sample((2, 3), (3,)),
        sample((2, 3), (3, 2)),
        sample((2, 3), (2, 3, 2)),
        sample((3,), (2, 3, 2)),
        sample((), (2, 3)),
        sample((2,), ()),
        sample((0,), (0,)),
    ],
)
def dot(a, b, /):
    """Sum over the last axis of a and the last but one of b (its only one); of numbers, the product."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return np.matmul(a, b) if np.ndim(b) <= 2 else tensordot(a, b, (-1, -2))


@composite(
    numpy=np.vdot, samples=[sample((3,), (3,)), sample((2, 3), (6,)), sample((), ()), sample((0,), (0,))]
)
def vdot(a, b, /):
    """Sum of products of all elements of both, in rows. Complex numbers are not conjugated."""
    return np.matmul(np.ravel(a), np.ravel(b))


@composite(
    numpy=np.inner,
    samples=[sample((3,), (3,)), sample((2, 3), (4, 3)), sample((2, 3), (3,)), sample((), (2,))],
)
def inner(a, b, /):
    """Sum over the last axes of both; of numbers, the product."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return tensordot(a, b, (-1, -1))


@composite(
    numpy=[np.outer, np.linalg.outer], samples=[sample((3,), (2,)), sample((0,), (2,)), sample((1,), (1,))]
)
def outer(a, b, /):
    """``y[i, j] = a[i] * b[j]``, of the flattened arrays."""
    return np.multiply(np.ravel(a)[:, None], np.ravel(b))


def _paired(axes, ndim_a, ndim_b):
    """The axes of a and of b that are summed together."""
    if isinstance(axes, (int, np.integer)):
        if axes < 0:
            raise ValueError(f"a number of axes to sum over must be 0 or more, got {axes}")
        if axes > min(ndim_a, ndim_b):
            raise ValueError(f"{axes} axes to sum over are more than arrays with {ndim_a} and {ndim_b} have")
        pairs = list(range(ndim_a - axes, ndim_a)), list(range(axes))
    else:
        if isinstance(axes, str) or not hasattr(axes, "__len__") or len(axes) != 2:
            raise TypeError(
                f"axes must be a whole number, or a pair, axes of the first array and axes of the second; "
                f"got {axes!r}"
            )
        pairs = tuple([k] if np.ndim(k) == 0 else list(k) for k in axes)
    first, second = pairs
    if len(first) != len(second):
        raise ValueError(f"{len(first)} axes of the first array are paired with {len(second)} of the second")
    return normalize_axis_tuple(first, ndim_a), normalize_axis_tuple(second, ndim_b)


@composite(
    numpy=np.tensordot,
    samples=[
        sample((2, 3), (3, 4), axes=1),
        sample((2, 3, 4), (3, 4, 2)),
        sample((2, 3, 4), (4, 2), axes=([0, 2], [1, 0])),
        sample((2, 3), (2,), axes=(0, 0)),
        sample((2,), (3,), axes=0),
        sample((0, 3), (3, 2), axes=1),
    ],
)
def tensordot(a, b, /, axes=2):
    """Sum of products over pairs of axes; what is left of a comes first, then what is left of b.

    Parameters
    ----------
    a, b : arrays
    axes : int or pair
        The number of axes, the last of a with the first of b; or the axes of a and those of b.
    """
    shape_a, shape_b = np.shape(a), np.shape(b)
    first, second = _paired(axes, len(shape_a), len(shape_b))
    left = [k for k in range(len(shape_a)) if k not in first]
    right = [k for k in range(len(shape_b)) if k not in second]
    summed = [shape_a[k] for k in first]
    if summed != [shape_b[k] for k in second]:
        raise ValueError(
            f"axes {first} of shape {shape_a} and axes {second} of shape {shape_b} differ in length"
        )
    rows, columns = [shape_a[k] for k in left], [shape_b[k] for k in right]
    size = [int(np.prod(lengths)) for lengths in (rows, summed, columns)]
    a = np.reshape(np.transpose(a, (*left, *first)), (size[0], size[1]))
    b = np.reshape(np.transpose(b, (*second, *right)), (size[1], size[2]))
    return np.reshape(np.matmul(a, b), (*rows, *columns))


@composite(
    numpy=[getattr(np, "matvec", None)],
    samples=[sample((2, 3), (3,)), sample((4, 2, 3), (3,)), sample((2, 3), (4, 3)), sample((2, 0), (0,))],
)
def matvec(a, b, /):
    """Products of matrices (..., M, N) and vectors (..., N): (..., M)."""
    return np.squeeze(np.matmul(a, np.expand_dims(b, -1)), -1)


@composite(
    numpy=[getattr(np, "vecmat", None)],
    samples=[sample((3,), (3, 2)), sample((4, 3), (3, 2)), sample((3,), (4, 3, 2)), sample((0,), (0, 2))],
)
def vecmat(a, b, /):
    """Products of vectors (..., M) and matrices (..., M, N): (..., N). Complex numbers are not conjugated."""
    return np.squeeze(np.matmul(np.expand_dims(a, -2), b), -2)


@composite(
    numpy=[np.linalg.vecdot, np.vecdot],
    samples=[
        sample((3,), (3,)), sample((2, 3), (3,)), sample((3, 2), (3, 2), axis=-2), sample((2, 0), (2, 0)),
    ],
)  # fmt: skip
def vecdot(a, b, /, axis=-1):
    """Products of vectors along an axis; the other axes broadcast. Complex numbers are not conjugated."""
    a, b = np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1)
    return np.squeeze(vecmat(a, np.expand_dims(b, -1)), -1)


@composite(
    numpy=np.linalg.multi_dot,
    samples=[
        sample([(2, 3), (3, 2)]), sample([(4, 1), (1, 3), (3, 2)]), sample([(3,), (3, 2), (2, 2), (2,)]),
        sample([(3,), (3, 2), (2, 4)]), sample([(2, 3), (3, 2), (2,)]),
    ],
)  # fmt: skip
def multi_dot(arrays, /):
    """Product of two matrices or more, in the order of fewest multiplications; at the ends may be vectors."""
    if len(arrays) < 2:
        raise ValueError(f"two matrices or more are needed, got {len(arrays)}")
    # In one dtype: products of two small integers, taken first, would wrap.
    arrays = _converted(arrays, None, "safe")
    shapes = [x.shape for x in arrays]
    last = len(shapes) - 1
    for k, shape in enumerate(shapes):
        if len(shape) != 2 and (len(shape) != 1 or 0 < k < last):
            raise ValueError(f"matrices are needed, or vectors at the ends, got shape {shape}")
    for k in range(last):
        if shapes[k][-1] != shapes[k + 1][0]:
            raise ValueError(
                f"arrays number {k} and {k + 1}, of shapes {shapes[k]} and {shapes[k + 1]}, do not fit: "
                f"{shapes[k][-1]} columns for {shapes[k + 1][0]} rows; transpose one of them, x.mT"
            )
    ends = shapes[0][:-1] or (1,), shapes[-1][1:] or (1,)
    cuts = _cuts((*ends[0], *[shape[0] for shape in shapes[1:]], *ends[1]))

    def product(i, j):
        k = cuts.get((i, j))
        return arrays[i] if k is None else np.matmul(product(i, k), product(k + 1, j))

    return product(0, last)


@functools.lru_cache
def _cuts(lengths):
    """Where to part each stretch of a chain of matrices (Cormen et al., Introduction to Algorithms, 15.2).

    Matrix k has ``lengths[k]`` rows and ``lengths[k + 1]`` columns; ``cuts[i, j]`` is the last matrix of the
    first part of those from i to j.
    """
    number = len(lengths) - 1
    costs, cuts = {(k, k): 0 for k in range(number)}, {}
    for more in range(1, number):
        for i in range(number - more):
            j = i + more
            costs[i, j], cuts[i, j] = min(
                (costs[i, k] + costs[k + 1, j] + lengths[i] * lengths[k + 1] * lengths[j + 1], k)
                for k in range(i, j)
            )
    return cuts


@composite(
    numpy=np.kron,
    samples=[sample((2,), (3,)), sample((2, 2), (1, 3)), sample((2,), (2, 2)), sample((), (2,))],
)
def kron(a, b, /):
    """Kronecker product: blocks of b, scaled by the elements of a."""
    ndim = max(np.ndim(a), np.ndim(b))
    shape_a = (1,) * (ndim - np.ndim(a)) + np.shape(a)
    shape_b = (1,) * (ndim - np.ndim(b)) + np.shape(b)
    a = np.reshape(a, tuple(n for k in shape_a for n in (k, 1)))
    b = np.reshape(b, tuple(n for k in shape_b for n in (1, k)))
    return np.reshape(np.multiply(a, b), tuple(map(operator.mul, shape_a, shape_b)))


@composite(
    numpy=np.cross,
    samples=[
        sample((3,), (3,)),
        sample((2, 3), (3,)),
        sample((2, 3), (4, 1, 3)),
        sample((3, 2), (2, 3), axisa=0),
        sample((3, 2), (3, 2), axis=0),
        sample((2, 3), (2, 3), axisc=0),
    ],
)
def cross(a, b, /, axisa=-1, axisb=-1, axisc=-1, axis=None):
    """Cross product of vectors of length 3 along an axis; the other axes broadcast."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if np.shape(a)[-1] != 3 or np.shape(b)[-1] != 3:
        raise ValueError(
            f"vectors of length 3 are needed, got lengths {np.shape(a)[-1]} and {np.shape(b)[-1]}"
        )
    y = np.roll(a, -1, -1) * np.roll(b, -2, -1) - np.roll(a, -2, -1) * np.roll(b, -1, -1)
    return np.moveaxis(y, -1, normalize_axis_index(axisc, np.ndim(y)))


@primitive(
    numpy=np.convolve,
    samples=[
        sample((4,), (3,), mode=mode) for mode in ("full", "same", "valid")
    ] + [
        sample((2,), (5,)), sample((2,), (4,), mode="same"), sample((2,), (5,), mode="valid"),
        sample((3,), (3,), mode="same"), sample((1,), (1,)),
    ],
)  # fmt: skip
def convolve(a, v, /, mode="full"):
    """``y[k] = sum over i of a[i] v[k - i]`` of two vectors.

    ``mode`` is "full" (all k where they overlap), "same" (the middle, as many as the longer has elements) or
    "valid" (where the shorter lies wholly inside the longer).
    """
    if np.ndim(a) != 1 or np.ndim(v) != 1:
        raise ValueError("vectors are needed")
    return np.convolve(a, v, mode)


def _convolve_vjp(g, of, other, mode):
    """The cotangent of the vector with shape ``of``."""
    (n,), (m,) = of, other.shape
    before = {"full": 0, "same": (min(n, m) - 1) // 2, "valid": min(n, m) - 1}[mode]
    after = n + m - 1 - before - len(g)
    return np.convolve(np.pad(g, (before, after)), other[::-1], "valid")


convolve.defvjp(
    lambda g, _y, _a, v, mode="full": _convolve_vjp(g, _a.shape, v, mode),
    lambda g, _y, a, _v, mode="full": _convolve_vjp(g, _v.shape, a, mode),
)
