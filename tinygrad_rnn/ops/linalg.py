"""Matrix products."""

from __future__ import annotations

import numpy as np

from .registry import primitive, sample


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
        g = g[..., None]
        # One column: the batch axes are summed by the product itself.
        return _product(a.reshape((-1, a.shape[-1])).T, g.reshape((-1, 1)))
    if len(_b.shape) == 2 and a.ndim > 2:
        # One product over all rows, not one per batch element and a sum over them.
        return _product(a.reshape((-1, a.shape[-1])).T, g.reshape((-1, g.shape[-1])))
    return _product(a.mT, g)


matmul.defvjp(_matmul_vjp_a, _matmul_vjp_b)
