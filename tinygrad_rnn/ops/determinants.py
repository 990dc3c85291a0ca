"""Determinants. Their gradient is the matrix of cofactors, which a singular matrix has, too."""

from __future__ import annotations

import numpy as np

from .linalg import _SQUARE, _well_conditioned
from .registry import primitive, smooth


@primitive(numpy=np.linalg.det, samples=_SQUARE, domain=_well_conditioned, kinks=smooth)
def det(a, /):
    """Determinants of square matrices (..., N, N), with derivatives of every order, at singular ones, too.

    From four rows on, second and higher derivatives lose digits where rows or columns differ much in size,
    such as by 1e6: scale them first.
    """
    return np.linalg.det(a)


def _det_vjp(g, y, a):
    # The least part of the largest value that one may divide by. Each further derivative divides by one more:
    # the third still keeps three quarters of the digits; all of those of float32, in the numbers of float64.
    if a.dtype == np.float32:
        wide = a.astype(np.float64)
        cofactors = _cofactors(wide, np.linalg.det(wide), 2.0**-9).astype(np.float32)
    else:
        cofactors = _cofactors(a, y, 2.0**-6.5)
    return g[..., None, None] * cofactors


det.defvjp(_det_vjp)


def _cofactors(a, y, least):
    """The determinants that are left without each row and column, with alternating signs.

    Of few rows they are written out: exact to every order, whatever the sizes of rows and columns.
    """
    n = a.shape[-1]
    if n < 2:
        return a * 0 + 1
    if n == 2:
        return np.flip(a, axis=(-2, -1)) * [[1, -1], [-1, 1]]
    if n == 3:
        return np.cross(np.roll(a, -1, axis=-2), np.roll(a, -2, axis=-2))
    return _by_inverse(a, y, least)


def _by_inverse(a, y, least):
    """The determinant y times the transposed inverse, where that keeps its digits."""
    info = np.finfo(a.dtype)
    usable = (np.abs(y) * info.eps >= info.smallest_normal) & np.isfinite(y)
    inverse = np.linalg.inv(np.where(usable[..., None, None], a, np.eye(*a.shape[-2:])))
    regular = usable & (_largest(a) * least <= 1 / _largest(inverse))
    if np.all(regular):
        return y[..., None, None] * inverse.mT
    matrices, y = np.reshape(a, (y.size, *a.shape[-2:])), np.reshape(y, (y.size,))
    good, others = np.flatnonzero(regular), np.flatnonzero(~regular)
    found = [y[good][..., None, None] * np.linalg.inv(matrices[good]).mT, _polynomial(matrices[others])]
    order = np.argsort(np.concatenate([good, others]))
    return np.reshape(np.concatenate(found)[order], a.shape)


def _largest(a):
    return np.max(np.abs(a), axis=(-2, -1))


def _constant(x):
    """x to some 8 digits. What is rounded is off the tape, and no derivative follows it."""
    return np.rint(x * 2.0**26) * 2.0**-26


def _exponents(x):
    """Those of the powers of two next to x; 0 for 0. They are constants."""
    return _clipped(np.rint(np.log2(np.where(x == 0, 1, x))))


def _clipped(exponents):
    """So that neither the power nor its inverse overflows."""
    return np.clip(exponents, -_MOST, _MOST)


_MOST = 1000


def _sizes(a):
    """Exponents for the rows (..., N, 1), and then for the columns (..., 1, N)."""
    rows = _exponents(np.max(np.abs(a), axis=-1, keepdims=True))
    return rows, _exponents(np.max(np.abs(a * np.exp2(-rows)), axis=-2, keepdims=True))


def _polynomial(a):
    """The cofactors of any matrices: polynomials, as their derivatives are, so that no zero is divided by.

    In coordinates near the singular vectors, ``[[B, C], [D, E]]`` where E belongs to the smallest values, and
    with the Schur complement ``S = E - D B^-1 C``, the adjugate is ``det(B) (L adj(S) R + det(S) B^-1)`` for
    ``L = [[-B^-1 C], [1]]`` and ``R = [-D B^-1, 1]``. Here each block stands in a matrix of full size, which
    is 0 elsewhere. Powers of two are counted by themselves, lest products overflow, or vanish.
    """
    finite = np.all(np.isfinite(a), axis=(-2, -1))[..., None, None]
    a = np.where(finite, a, 0)
    rows, columns = _sizes(a)
    a = a * np.exp2(-rows) * np.exp2(-columns)
    u, s, vh = np.linalg.svd(a)
    u, vh = _constant(u), _constant(vh)
    small = _small(s)
    sizes = _exponents(s * ~small)
    one = np.eye(s.shape[1], dtype=a.dtype) * small[..., None]  # in the place of E
    b = u.mT @ a @ vh.mT
    block = np.where(small[..., None] | small[..., None, :], one, b)
    inverse = np.linalg.inv(block) - one
    left, right = one - inverse @ b @ one, one - one @ b @ inverse
    adjugate, rest = _adjugate(one @ b @ left, one)
    adjugate = left @ adjugate @ right + rest[..., None, None] * inverse
    scale = np.linalg.det(block * np.exp2(-sizes)[..., None]) / (np.linalg.det(u) * np.linalg.det(vh))
    together = np.sum(rows + columns.mT + sizes[..., None], axis=-2, keepdims=True)
    exponents = together - rows - columns
    part = _clipped(exponents)
    cofactors = scale[..., None, None] * (u @ adjugate.mT @ vh) * np.exp2(part)
    return np.where(finite, cofactors * np.exp2(_clipped(exponents - part)), np.nan)


def _small(s):
    """Which singular values are not divided by: 0, to rounding, and the last three.

    Derivatives to the fourth order divide by any other less often than by those below it. Of more values
    `_adjugate` would lose digits.
    """
    small = s <= 2.0**-44 * s[..., :1]
    small[..., -3:] = True
    return small


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
