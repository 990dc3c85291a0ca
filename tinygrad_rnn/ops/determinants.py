"""Determinants. Their gradient is the matrix of cofactors, which a singular matrix has, too."""

from __future__ import annotations

import numpy as np

from .decompositions import _times
from .linalg import _SQUARE, _well_conditioned
from .registry import primitive, smooth
from .running import all_but_one


@primitive(numpy=np.linalg.det, samples=_SQUARE, domain=_well_conditioned, kinks=smooth)
def det(a, /):
    """Determinants of square matrices (..., N, N).

    They are differentiable at singular matrices, too; there, third derivatives by a backward pass need
    distinct singular values.
    """
    return np.linalg.det(a)


def _condition(a, inverse):
    return np.max(np.abs(a), axis=(-2, -1)) * np.max(np.abs(inverse), axis=(-2, -1))


def _det_vjp(g, y, a):
    try:
        inverse = np.linalg.inv(a)
    except np.linalg.LinAlgError:
        return g[..., None, None] * cofactors(a)
    # y times the inverse is right beyond that, too, but in its derivatives most digits would cancel.
    if a.size and np.any(_condition(a, inverse) * np.sqrt(np.finfo(a.dtype).eps) > 1):
        return g[..., None, None] * cofactors(a)
    return (g * y)[..., None, None] * inverse.mT


det.defvjp(_det_vjp)


def _svd(a):
    """The singular value decomposition, and the sign by which their product differs from the determinant."""
    u, s, vh = np.linalg.svd(a)
    return u, s, vh, np.linalg.det(u) * np.linalg.det(vh)


@primitive(samples=_SQUARE, domain=_well_conditioned, kinks=smooth)
def cofactors(a, /):
    """The determinants that are left without each row and column, with alternating signs.

    For regular matrices ``det(a) * inv(a).mT``; in general, in the coordinates of the singular vectors, a
    diagonal of the products of all singular values but one. The derivatives are products of all but two.
    """
    u, s, vh, sign = _svd(a)
    return sign[..., None, None] * _times(u, all_but_one(s)) @ vh


def _cofactors_vjp(g, _y, a):
    u, s, vh, sign = _svd(a)
    g = sign[..., None, None] * (u.mT @ g @ vh.mT)
    diagonal = np.eye(s.shape[-1], dtype=bool)
    # Without the values i and j; of a diagonal matrix, minors without two rows and two columns are 0 else.
    both = np.where(diagonal, 0, all_but_one(np.where(diagonal, 1, s[..., None, :])))
    along = both @ np.diagonal(g, axis1=-2, axis2=-1)[..., None]
    return u @ np.where(diagonal, along, -both * g.mT) @ vh


cofactors.defvjp(_cofactors_vjp)


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
