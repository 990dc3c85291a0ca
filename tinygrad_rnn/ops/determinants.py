"""Determinants. Their gradient is the matrix of cofactors, which a singular matrix has, too."""

from __future__ import annotations

import numpy as np

from .linalg import _SQUARE, _well_conditioned
from .registry import primitive, smooth
from .running import all_but_one


@primitive(numpy=np.linalg.det, samples=_SQUARE, domain=_well_conditioned, kinks=smooth)
def det(a, /):
    """Determinants of square matrices (..., N, N), with derivatives of every order, at singular ones, too."""
    return np.linalg.det(a)


def _smallest(dtype):
    """The least part of the largest value that one may divide by.

    Each further derivative divides by one more: the third still keeps three quarters of the digits.
    """
    return float(np.finfo(dtype).eps) ** 0.125


def _largest(a):
    return np.max(np.abs(a), axis=(-2, -1))


def _det_vjp(g, y, a):
    try:
        inverse = np.linalg.inv(a)
    except np.linalg.LinAlgError:
        return g[..., None, None] * _cofactors(a)
    if a.size:
        regular = _largest(a) * _smallest(a.dtype) <= 1 / _largest(inverse)  # and the inverse has no NaN
        normal = np.abs(y) * np.finfo(a.dtype).eps >= np.finfo(a.dtype).smallest_normal
        if not np.all(regular & normal | np.isnan(y)):
            return g[..., None, None] * _cofactors(a)
    return (g * y)[..., None, None] * inverse.mT


det.defvjp(_det_vjp)


def _constant(x):
    """x to some 8 digits. What is rounded is off the tape, and no derivative follows it."""
    return np.rint(x * 2.0**26) * 2.0**-26


def _cofactors(a):
    """The determinants that are left without each row and column, with alternating signs.

    They are polynomials, and so are their derivatives: only by what is not small may be divided. In
    coordinates near the singular vectors, ``[[B, C], [D, E]]`` where B belongs to the large values, and with
    the Schur complement ``S = E - D B^-1 C``, the adjugate is ``det(B) (L adj(S) R + det(S) B^-1)`` for
    ``L = [[-B^-1 C], [1]]`` and ``R = [-D B^-1, 1]``. Here each block stands in a matrix of full size, which
    is 0 elsewhere.
    """
    # Rows in one size, lest products overflow, or vanish.
    largest = np.max(np.abs(a), axis=-1)
    sizes = np.exp2(np.floor(np.log2(np.where(largest == 0, 1, largest)))).astype(a.dtype)
    a = a / sizes[..., None]
    u, s, vh = np.linalg.svd(a)
    u, vh = _constant(u), _constant(vh)
    small = s <= _smallest(a.dtype) * s[..., :1]
    one = np.eye(s.shape[-1], dtype=a.dtype) * small[..., None]  # in the place of E
    b = u.mT @ a @ vh.mT
    block = np.where(small[..., None] | small[..., None, :], one, b)
    inverse = np.linalg.inv(block) - one
    left, right = one - inverse @ b @ one, one - one @ b @ inverse
    adjugate, rest = _adjugate(one @ b @ left, one)
    adjugate = left @ adjugate @ right + rest[..., None, None] * inverse
    scale = np.linalg.det(block) / (np.linalg.det(u) * np.linalg.det(vh))
    return all_but_one(sizes)[..., None] * scale[..., None, None] * (u @ adjugate.mT @ vh)


def _adjugate(a, one):
    """Adjugates and determinants of blocks, which are 0 elsewhere, by the method of Faddeev and LeVerrier.

    It divides by whole numbers alone. One is the identity of the block.
    """
    size = np.trace(one, axis1=-2, axis2=-1)
    found, last = one, np.ones_like(size)
    for k in range(1, int(np.max(size)) + 1):
        product = a @ found
        c = np.trace(product, axis1=-2, axis2=-1) / k
        last = np.where(k == size, c, last)
        found = np.where((k < size)[..., None, None], c[..., None, None] * one - product, found)
    return found, last


@primitive(numpy=np.linalg.slogdet, samples=_SQUARE, domain=_well_conditioned, kinks=smooth, multiple=True)
def slogdet(a, /):
    """Sign of the determinant and logarithm of its size, ``(sign, logabsdet)``, where det would overflow.

    At a singular matrix the backward pass is an error. The sign's derivative is 0.
    """
    return np.linalg.slogdet(a)


def _slogdet_vjp(gs, _ys, a):
    if gs[1] is None:
        return a * 0
    try:
        return gs[1][..., None, None] * np.linalg.inv(a).mT
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError("slogdet: no gradient at a singular matrix; det has one there") from error


slogdet.defvjp(_slogdet_vjp)
