"""Matrix products and inverses; determinants.py and decompositions.py have the rest of linear algebra."""

from __future__ import annotations

import math
import operator

import numpy as np

from .decompositions import refuse_small
from .registry import composite, primitive, sample, smooth


@primitive(
    numpy=np.matmul,
    samples=[
        sample((3,), (3,)),
        sample((3,), (3, 2)),
        sample((2, 3), (3,)),
        sample((2, 3), (3, 4)),
        sample((2, 5, 3), (3, 4)),
        sample((2, 5, 3), (2, 3, 4)),
        sample((5, 3), (2, 3, 4)),
        sample((3,), (2, 3, 4)),
        sample((2, 5, 3), (3,)),
        sample((2, 1, 2, 3), (3, 3, 1)),
        sample((0, 3), (3, 2)),
        sample((2, 0), (0, 3)),
        sample((2, 5, 0), (0, 3)),
        sample((2, 5, 0), (0,)),
    ],
)
def matmul(a, b, /):
    """Matrix product with NumPy's rules: 1-D operands are vectors, leading axes broadcast."""
    return _product(a, b)


def _product(a, b):
    """Matrix product. For two plain matrices np.dot gives the same with a third of the call's cost."""
    if type(a) is np.ndarray and type(b) is np.ndarray and a.ndim == 2 and b.ndim == 2:
        return a.dot(b)
    return np.matmul(a, b)


def _rows(a):
    """All vectors along the last axis as the rows of one matrix."""
    return a.reshape((math.prod(a.shape[:-1]), a.shape[-1]))


def _matmul_vjp_a(g, _y, _a, b):
    if b.ndim == 1:
        return g[..., None] * b
    if len(_a.shape) == 1:
        g = g[..., None, :]
    return _product(g, b.mT)


def _matmul_vjp_b(g, _y, a, _b):
    if a.ndim == 1:
        return a[:, None] * g[..., None, :] if len(_b.shape) > 1 else g * a
    if len(_b.shape) == 1:
        # The batch axes are summed by the product itself.
        return _product(_rows(a).T, g.reshape((math.prod(g.shape),)))
    if len(_b.shape) == 2 and a.ndim > 2:
        # One product over all rows, not one per batch element and a sum over them.
        return _product(_rows(a).T, _rows(g))
    return _product(a.mT, g)


matmul.defvjp(_matmul_vjp_a, _matmul_vjp_b)


@primitive(
    samples=[
        sample((3,), (2, 3)),
        sample((4, 3), (2, 3)),
        sample((2, 5, 3), (4, 3)),
        sample((0, 3), (2, 3)),
        sample((4, 0), (2, 0)),
    ]
)
def linear(x, weight, /):
    """``x W^T``: features (..., I) by a weight matrix (O, I) to (..., O), as layers hold their weights.

    Without a transpose of its own on the tape, and with the weight's gradient in the weight's own layout.
    """
    if np.ndim(weight) != 2:
        raise ValueError(f"weight must be a matrix (outputs, inputs), got shape {np.shape(weight)}")
    return _product(x, weight.T)


def _linear_vjp_weight(g, _y, x, _weight):
    return _product(_rows(g).T, _rows(x))


linear.defvjp(lambda g, _y, _x, weight: _product(g, weight), _linear_vjp_weight)


def _well_conditioned(rng, shape):
    """Matrices far from singular, for tests."""
    return rng.uniform(-0.3, 0.3, shape) + np.eye(*shape[-2:]) * (1.5 + 0.5 * np.arange(shape[-1]))


_SQUARE = [
    sample((2, 2)),
    sample((3, 3)),
    sample((2, 3, 3)),
    sample((1, 1)),
    sample((0, 2, 2)),
    sample((0, 0)),
]


@primitive(numpy=np.linalg.inv, samples=_SQUARE, domain=_well_conditioned)
def inv(a, /):
    """Inverses of square matrices (..., N, N)."""
    return np.linalg.inv(a)


inv.defvjp(lambda g, y, _a: -(y.mT @ g @ y.mT))


@primitive(
    numpy=np.linalg.solve,
    samples=[
        sample((3, 3), (3,)),
        sample((3, 3), (3, 2)),
        sample((2, 3, 3), (3,)),
        sample((2, 3, 3), (3, 2)),
        sample((2, 2), (4, 2, 1)),
        sample((2, 2), (2, 0)),
        sample((3, 3), (3, 3)),
    ],
    domain=(_well_conditioned, (-3.0, 3.0)),
)
def solve(a, b, /):
    """The x with ``a @ x == b``, batched; b is a vector if it has one axis, else matrices (..., N, K)."""
    return np.linalg.solve(a, b)


def _solved(a, g, vector):
    return np.squeeze(np.linalg.solve(a.mT, g[..., None]), -1) if vector else np.linalg.solve(a.mT, g)


def _solve_vjp_a(g, y, a, _b):
    if len(_b.shape) == 1:
        return -_solved(a, g, True)[..., :, None] * y[..., None, :]
    return -(_solved(a, g, False) @ y.mT)


solve.defvjp(_solve_vjp_a, lambda g, _y, a, _b: _solved(a, g, len(_b.shape) == 1))


def _tall_or_wide(rng, shape):
    return rng.uniform(-0.3, 0.3, shape) + 1.5 * np.eye(*shape[-2:])


@primitive(
    numpy=np.linalg.pinv,
    samples=[sample((2, 2)), sample((3, 2)), sample((2, 3)), sample((2, 4, 2)), sample((3, 2), rcond=1e-10)],
    domain=_tall_or_wide,
    kinks=smooth,
)
def pinv(a, /, rcond=None):
    """Moore-Penrose pseudo-inverses of matrices (..., M, N).

    Where a matrix has not full rank, or ``rcond`` cuts singular values off, the backward pass is an error:
    the pseudo-inverse jumps there. The rule is that of Golub and Pereyra (1973), SIAM Journal on Numerical
    Analysis 10(2).
    """
    return np.linalg.pinv(a) if rcond is None else np.linalg.pinv(a, rcond)


def _pinv_vjp(g, y, a, rcond=None):
    refuse_small(
        np.linalg.svdvals(a),
        "pinv",
        "matrices without full rank, or with singular values that rcond cuts off; a ridge keeps it smooth: "
        "inv(a.mT @ a + c * eye) @ a.mT",
        rcond,
    )
    left, right = g @ (a @ y), (y @ a) @ g
    return -(y.mT @ g @ y.mT) + (g - left).mT @ (y @ y.mT) + (y.mT @ y) @ (g - right).mT


pinv.defvjp(_pinv_vjp)


def _of_size_1(rng, shape):
    """Matrices whose powers neither grow nor vanish, for tests."""
    return rng.uniform(-0.1, 0.1, shape) + 0.9 * np.eye(shape[-1])


@composite(
    numpy=np.linalg.matrix_power,
    samples=[*[sample((2, 2), n=n) for n in (-3, -1, 0, 1, 2, 3, 6)], sample((2, 3, 3), n=5)],
    domain=_of_size_1,
)
def matrix_power(a, /, n):
    """``a @ a @ ... @ a``, n times; of the inverse for negative n; the identity for 0."""
    n = operator.index(n)
    shape = np.shape(a)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"square matrices are needed, got shape {shape}")
    if n < 0:
        return matrix_power(np.linalg.inv(a), -n)
    if n == 0:
        return np.where(False, a, np.eye(shape[-1], dtype=np.result_type(a)))
    square, result = np.reshape(a, shape), None
    while True:
        if n % 2:
            result = square if result is None else np.matmul(result, square)
        n //= 2
        if not n:
            return result
        square = np.matmul(square, square)
