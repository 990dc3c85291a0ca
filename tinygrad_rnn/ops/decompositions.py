"""Decompositions of matrices, batched over leading axes as NumPy's.

The rules follow Giles (2008, "Collected matrix derivative results for forward and reverse mode AD"), Murray
(2016, arXiv:1602.07527) for Cholesky, and Walter and Lehmann (2018, Algorithmic differentiation of linear
algebra functions) for QR. Where equal eigenvalues or singular values leave vectors undetermined, a backward
pass through the vectors is an error, and so is a second one through the values alone: their first derivatives
are made of the vectors. A gap between two values costs both as many digits as it is smaller than the values.
"""

from __future__ import annotations

import numpy as np

from .registry import composite, primitive, sample, smooth

_BATCHED = [sample((2, 2)), sample((3, 3)), sample((2, 3, 3)), sample((1, 1))]


def symmetric(rng, shape):
    """Symmetric matrices with distinct eigenvalues, for tests."""
    noise = rng.uniform(-0.3, 0.3, shape)
    return noise + noise.mT + np.diag(1.5 * np.arange(shape[-1]) - 1)


def positive_definite(rng, shape):
    """Symmetric positive-definite matrices, for tests."""
    noise = rng.uniform(-0.3, 0.3, shape)
    return noise + noise.mT + np.diag(2.0 + np.arange(shape[-1]))


def full_rank(rng, shape):
    """Matrices of full rank with distinct singular values, for tests."""
    return rng.uniform(-0.3, 0.3, shape) + np.eye(*shape[-2:]) * (1.5 + np.arange(shape[-1]))


def _part(g, y):
    """The cotangent of one of several outputs: zeros where that output was not used."""
    return y * 0 if g is None else g


def _times(x, row):
    """Scale the columns of matrices: ``x @ diag(row)``."""
    return x * row[..., None, :]


@primitive(
    numpy=np.linalg.cholesky,
    samples=[*_BATCHED, sample((0, 2, 2)), sample((3, 3), upper=True)],
    domain=positive_definite,
    kinks=smooth,
)
def cholesky(a, /, upper=False):
    """Lower triangular L with ``L @ L.mT == a``; for ``upper=True`` the U with ``U.mT @ U == a``.

    As in NumPy, only that triangle of the symmetric matrices is read. The gradient is symmetric.
    """
    return np.linalg.cholesky(a, upper=upper)


def _cholesky_vjp(g, y, _a, upper=False):
    if upper:
        g, y = g.mT, y.mT
    inner = np.tril(y.mT @ g)
    inner = inner - 0.5 * np.tril(np.triu(inner))
    # L^-T inner L^-1, by solving from both sides.
    s = np.linalg.solve(y.mT, np.linalg.solve(y.mT, inner.mT).mT)
    return 0.5 * (s + s.mT)


cholesky.defvjp(_cholesky_vjp)


@primitive(
    numpy=np.linalg.qr,
    samples=[sample((2, 2)), sample((3, 2)), sample((2, 4, 3)), sample((3, 3), mode="reduced")],
    domain=full_rank,
    kinks=smooth,
    multiple=True,
)  # fmt: skip
def qr(a, /, mode="reduced"):
    """``a = Q @ R`` with orthonormal columns in Q and an upper triangular R.

    Parameters
    ----------
    a : array, (..., M, N)
        M >= N, of full column rank.
    mode : {"reduced"}

    Returns
    -------
    Q, R : arrays, (..., M, N) and (..., N, N)
    """
    rows, columns = np.shape(a)[-2:]
    if mode != "reduced":
        raise ValueError(f"mode={mode!r} has no gradient rule; mode='reduced' has")
    if rows < columns:
        raise ValueError(
            f"matrices with more columns than rows ({rows} x {columns}) have no gradient rule; decompose the "
            f"first {rows} columns"
        )
    return np.linalg.qr(a)


def _qr_vjp(gs, ys, _a, mode="reduced"):
    q, r = ys
    refuse_small(
        np.abs(np.diagonal(r, axis1=-2, axis2=-1)), "qr", f"matrices without full column rank; {_RIDGE}"
    )
    gq, gr = _part(gs[0], q), _part(gs[1], r)
    m = r @ gr.mT - gq.mT @ q
    # The lower triangle, mirrored.
    mirrored = np.tril(m) + np.tril(m, -1).mT
    return np.linalg.solve(r, (gq + q @ mirrored).mT).mT


qr.defvjp(_qr_vjp)


_RIDGE = "add a small known matrix"
"""What gives a matrix full rank."""


def _rounding(x):
    """What a few roundings amount to, relatively."""
    return 8 * float(np.finfo(x.dtype).eps)


def refuse_small(sizes, name, what, rcond=None):
    """Refuse sizes that are 0 but for rounding, or up to a given part of the largest in their row."""
    rounding = sizes.shape[-1] * _rounding(sizes)
    bound = np.asarray(rounding if rcond is None else np.maximum(rcond, rounding))[..., None]
    if sizes.size and np.any(sizes <= bound * np.max(sizes, axis=-1, keepdims=True)):
        raise np.linalg.LinAlgError(f"{name}: no gradient for {what}")


def _distinct(values, name, what):
    """Refuse equal values in a row (of eigenvalues, in order), to rounding."""
    gap = np.abs(values[..., 1:] - values[..., :-1])
    if gap.size and np.any(gap <= _rounding(values) * np.max(np.abs(values), axis=-1, keepdims=True)):
        raise np.linalg.LinAlgError(
            f"{name}: equal {what}s leave their vectors undetermined, and with them the gradient of the "
            f"vectors, and second derivatives of the {what}s and of norms; use first derivatives of the "
            f"{what}s alone, or add a small known difference to the matrix"
        )


def _reciprocal_differences(values):
    """``1 / (v[j] - v[i])``, and 0 on the diagonal."""
    n = values.shape[-1]
    return (1 - np.eye(n, dtype=values.dtype)) / (
        values[..., None, :] - values[..., :, None] + np.eye(n, dtype=values.dtype)
    )


@primitive(numpy=np.linalg.eigh, samples=_BATCHED, domain=symmetric, kinks=smooth, multiple=True)
def eigh(a, /):
    """Eigenvalues, in rising order, and eigenvectors of symmetric matrices: ``a @ V == V * w``.

    As in NumPy, only the lower triangle is read. The gradient is symmetric.

    Returns
    -------
    eigenvalues, eigenvectors : arrays, (..., N) and (..., N, N)
        Vectors are columns; their signs are LAPACK's choice.
    """
    return np.linalg.eigh(a)


def _eigh_vjp(gs, ys, _a):
    w, v = ys
    if gs[1] is None:
        s = _times(v, gs[0]) @ v.mT
    else:
        _distinct(w, "eigh", "eigenvalue")
        s = v @ (v.mT @ gs[1] * _reciprocal_differences(w)) @ v.mT
        if gs[0] is not None:
            s = s + _times(v, gs[0]) @ v.mT
    return 0.5 * (s + s.mT)


eigh.defvjp(_eigh_vjp)


@composite(numpy=np.linalg.eigvalsh, samples=_BATCHED, domain=symmetric, kinks=smooth)
def eigvalsh(a, /):
    """Eigenvalues of symmetric matrices, in rising order: those of `eigh`, alone."""
    return np.linalg.eigh(a)[0]


@primitive(
    numpy=np.linalg.svdvals,
    samples=[*_BATCHED, sample((2, 3)), sample((4, 2)), sample((2, 0))],
    domain=full_rank,
    kinks=smooth,
)
def svdvals(a, /):
    """Singular values, in falling order. At a value 0 the derivative is LAPACK's choice of a subgradient."""
    return np.linalg.svd(a, compute_uv=False)


def _svdvals_vjp(g, _y, a):
    u, _, vh = np.linalg.svd(a, full_matrices=False)
    return _times(u, g) @ vh


svdvals.defvjp(_svdvals_vjp)


@primitive(
    numpy=np.linalg.svd,
    samples=[
        *_BATCHED,
        sample((2, 3), full_matrices=False),
        sample((4, 2), full_matrices=False),
        sample((2, 3, 2), full_matrices=False),
        sample((2, 2, 3), full_matrices=False),
    ],
    domain=full_rank,
    kinks=smooth,
    multiple=True,
)
def svd(a, /, full_matrices=True):
    """Singular value decomposition ``a == U * S @ Vh``.

    Parameters
    ----------
    a : array, (..., M, N)
    full_matrices : bool
        For M != N the rule holds for False only. `svdvals` gives the values alone.

    Returns
    -------
    U, S, Vh : arrays, (..., M, K), (..., K) and (..., K, N)
        K is the lesser of M and N; S falls; the signs of the vectors are LAPACK's choice.
    """
    rows, columns = np.shape(a)[-2:]
    if full_matrices and rows != columns:
        raise ValueError(
            f"{rows} x {columns} matrices have vectors beyond their singular values, which are undetermined "
            f"and have no gradient rule; pass full_matrices=False"
        )
    return np.linalg.svd(a, full_matrices=full_matrices)


def _svd_vjp(gs, ys, _a, full_matrices=True):
    u, s, vh = ys
    if gs[0] is None and gs[2] is None:
        return _times(u, gs[1]) @ vh
    _distinct(s, "svd", "singular value")
    v = vh.mT
    gu, gv = _part(gs[0], u), _part(gs[2], vh).mT
    f = _reciprocal_differences(s * s)
    left, right = u.mT @ gu, v.mT @ gv
    inner = _times(f * (left - left.mT), s) + s[..., :, None] * (f * (right - right.mT))
    result = u @ inner @ vh
    if gs[1] is not None:
        result = result + _times(u, gs[1]) @ vh
    # What lies outside the space of U's columns, and of V's.
    if gs[0] is not None and u.shape[-2] > u.shape[-1]:
        refuse_small(s, "svd", f"U of tall matrices without full rank; {_RIDGE}")
        result = result + _times(gu - u @ left, 1 / s) @ vh
    if gs[2] is not None and v.shape[-2] > v.shape[-1]:
        refuse_small(s, "svd", f"Vh of wide matrices without full rank; {_RIDGE}")
        result = result + _times(u, 1 / s) @ (gv - v @ right).mT
    return result


svd.defvjp(_svd_vjp)
