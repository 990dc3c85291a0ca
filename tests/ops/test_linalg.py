"""Linear algebra: PyTorch's gradients, the identities that define each operation, and clear refusals."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops import determinants, linalg
from tinygrad_rnn.tensors import Tensor

RNG = np.random.default_rng(21)


def square(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape) + 2 * np.eye(shape[-1])


def spd(*shape: int) -> np.ndarray:
    a = RNG.uniform(-1, 1, shape)
    return a @ a.mT + np.eye(shape[-1])


def seeded(values: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.uniform(-1, 1, v.shape) for v in values]


CASES: dict[str, tuple[Any, Any, list[np.ndarray]]] = {
    "inv": (tg.inv, lambda t, a: t.linalg.inv(a), [square(4, 4)]),
    "inv-batched": (np.linalg.inv, lambda t, a: t.linalg.inv(a), [square(2, 3, 3)]),
    "solve": (tg.solve, lambda t, a, b: t.linalg.solve(a, b), [square(4, 4), RNG.uniform(-1, 1, 4)]),
    "solve-matrix": (
        np.linalg.solve,
        lambda t, a, b: t.linalg.solve(a, b),
        [square(2, 3, 3), RNG.uniform(-1, 1, (3, 2))],
    ),
    "det": (np.linalg.det, lambda t, a: t.linalg.det(a), [square(2, 3, 3)]),
    "slogdet": (np.linalg.slogdet, lambda t, a: tuple(t.linalg.slogdet(a)), [-square(3, 3)]),
    "cholesky": (np.linalg.cholesky, lambda t, a: t.linalg.cholesky(a), [spd(2, 4, 4)]),
    "cholesky-upper": (
        lambda a: tg.cholesky(a, upper=True),
        lambda t, a: t.linalg.cholesky(a, upper=True),
        [spd(3, 3)],
    ),
    "qr": (np.linalg.qr, lambda t, a: tuple(t.linalg.qr(a)), [square(4, 4)]),
    "qr-tall": (tg.qr, lambda t, a: tuple(t.linalg.qr(a)), [RNG.uniform(-1, 1, (2, 5, 3))]),
    "eigenvalues": (lambda a: np.linalg.eigh(a)[0], lambda t, a: t.linalg.eigh(a)[0], [spd(2, 4, 4)]),
    "svdvals": (tg.svdvals, lambda t, a: t.linalg.svdvals(a), [RNG.uniform(-1, 1, (3, 5))]),
    "pinv": (np.linalg.pinv, lambda t, a: t.linalg.pinv(a), [RNG.uniform(-1, 1, (2, 5, 3))]),
    "pinv-wide": (tg.pinv, lambda t, a: t.linalg.pinv(a), [RNG.uniform(-1, 1, (2, 4))]),
    "matrix_power": (
        lambda a: np.linalg.matrix_power(a, 5),
        lambda t, a: t.linalg.matrix_power(a, 5),
        [square(3, 3)],
    ),
    "matrix_power-negative": (
        lambda a: tg.matrix_power(a, -3),
        lambda t, a: t.linalg.matrix_power(a, -3),
        [square(3, 3)],
    ),
    # Vectors in a form that does not depend on their signs.
    "eigh": (
        lambda a: reassembled(*np.linalg.eigh(a)),
        lambda t, a: reassembled(*t.linalg.eigh(a)),
        [spd(2, 4, 4)],
    ),
    "svd": (
        lambda a: recomposed(*np.linalg.svd(a)),
        lambda t, a: recomposed(*t.linalg.svd(a)),
        [square(3, 3)],
    ),
    "svd-tall": (
        lambda a: recomposed(*np.linalg.svd(a, full_matrices=False)),
        lambda t, a: recomposed(*t.linalg.svd(a, full_matrices=False)),
        [RNG.uniform(-1, 1, (2, 5, 3))],
    ),
    "svd-wide": (
        lambda a: recomposed(*tg.svd(a, full_matrices=False)),
        lambda t, a: recomposed(*t.linalg.svd(a, full_matrices=False)),
        [RNG.uniform(-1, 1, (3, 5))],
    ),
}


def reassembled(w: Any, v: Any) -> Any:
    return (v * (w**2)[..., None, :]) @ v.mT, (v**3 * v[..., :1, :]) @ (v**2).mT


def recomposed(u: Any, s: Any, vh: Any) -> Any:
    return (u * (s**3)[..., None, :]) @ vh, (u**3 * s[..., None, :]) @ vh


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs PyTorch")
    f, g, arrays = CASES[name]
    mine = [tg.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    ys, zs = f(*mine), g(torch, *theirs)
    ys, zs = (v if isinstance(v, tuple) else (v,) for v in (ys, zs))
    seeds = seeded(ys)
    for y, z in zip(ys, zs, strict=True):
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-9, atol=1e-11)
    sum((y * s).sum() for y, s in zip(ys, seeds, strict=True)).backward()
    sum((z * torch.tensor(s)).sum() for z, s in zip(zs, seeds, strict=True)).backward()
    for x, w in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), w.grad.numpy(), rtol=1e-8, atol=1e-9)


def test_two_matrices_are_multiplied_by_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of arrays, it has a third of the cost of a call of np.matmul; tensors are left to np.matmul."""
    asked = []

    class Counted:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(np, name)

    a, b = RNG.uniform(-1, 1, (2, 3)), RNG.uniform(-1, 1, (3, 4))
    wanted = a @ b
    monkeypatch.setattr(linalg, "np", Counted())
    for x, y, other in ((a, b, False), (tg.tensor(a), b, True), (a, tg.tensor(b), True)):
        asked.clear()
        np.testing.assert_allclose(linalg._product(x, y), wanted)
        assert ("matmul" in asked) == other


def test_a_gradient_by_a_matrix_is_one_product() -> None:
    """Not one for each matrix of a batch and a sum over them, nor a rearrangement where there is no batch."""
    b = tg.tensor(square(3, 3), requires_grad=True)
    for shape in ((5, 3), (2, 5, 3), (2, 4, 5, 3)):
        b.grad = None
        x = tg.tensor(RNG.uniform(-1, 1, shape), requires_grad=True)
        (x @ b).sum().backward(create_graph=True)
        entries = list(tg.Tape(b.grad))
        assert all(len(e.shape) <= 2 or e.size == x.size for e in entries if e.primitive.name == "matmul")
        assert any(e.primitive.name == "reshape" for e in entries) == (len(shape) > 2)


@pytest.mark.parametrize("name", ["qr", "eigh", "svd", "slogdet"])
def test_results_have_numpys_names(name: str) -> None:
    a = tg.tensor(spd(3, 3), requires_grad=True)
    got, wanted = getattr(np.linalg, name)(a), getattr(np.linalg, name)(a.numpy())
    assert type(got) is type(wanted)
    assert got._fields == wanted._fields
    off = getattr(tg, name)(a.detach())
    for y, z, w in zip(got, wanted, off, strict=True):
        assert isinstance(y, Tensor)
        assert isinstance(w, Tensor)
        np.testing.assert_allclose(y.numpy(), z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("used", [0, 1, 2])
def test_any_one_of_several_outputs_may_be_used(used: int) -> None:
    a = RNG.uniform(-0.3, 0.3, (4, 3)) + np.eye(4, 3) * [1.0, 2, 3]
    assert tg.gradcheck(lambda a: np.linalg.svd(a, full_matrices=False)[used], a, method="central")
    if used < 2:
        assert tg.gradcheck(lambda a: np.linalg.qr(a)[used], a, method="central")
        assert tg.gradcheck(lambda a: np.linalg.slogdet(a[:3])[used], a, method="central")
        assert tg.gradcheck(lambda a: np.linalg.eigh(a @ a.T)[used], a[:3], method="central")


VECTORS = [lambda a: np.linalg.eigh(a)[1][0, 0], lambda a: np.linalg.svd(a)[0][0, 0]]


@pytest.mark.parametrize("f", VECTORS)
@pytest.mark.parametrize("scale", [1e-100, 1e-9, 1e9, 1e100])
def test_values_are_distinct_whatever_their_scale(f: Any, scale: float) -> None:
    a = np.diag([1.0, 2.0]) + 0.1
    np.testing.assert_allclose(tg.grad(f)(scale * a) * scale, tg.grad(f)(a), rtol=1e-9)


@pytest.mark.parametrize("f", VECTORS)
def test_the_vectors_of_a_zero_matrix_have_no_gradient(f: Any) -> None:
    with pytest.raises(np.linalg.LinAlgError, match=r"equal .*values leave their vectors undetermined"):
        tg.grad(f)(np.zeros((2, 2)))
    np.testing.assert_array_equal(tg.grad(f)(np.ones((1, 1))), [[0]])


def test_gradients_of_symmetric_matrices_are_symmetric() -> None:
    for f in (np.linalg.cholesky, lambda a: np.linalg.eigh(a)[1], lambda a: np.linalg.eigh(a)[0]):
        a = tg.tensor(spd(4, 4), requires_grad=True)
        y = f(a)
        y.backward(seeded([y])[0])
        np.testing.assert_array_equal(a.grad.numpy(), a.grad.numpy().T)


def test_equal_eigenvalues_have_a_gradient_but_not_their_vectors() -> None:
    a = tg.tensor(np.eye(3), requires_grad=True)
    np.linalg.eigh(a)[0].sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), np.eye(3), atol=1e-15)
    with pytest.raises(np.linalg.LinAlgError, match="eigh: equal eigenvalues leave their vectors und"):
        np.linalg.eigh(a)[1].sum().backward()
    np.linalg.svd(a)[1].sum().backward()
    with pytest.raises(np.linalg.LinAlgError, match="svd: equal singular values leave their vectors"):
        np.linalg.svd(a)[0].sum().backward()
    with pytest.raises(np.linalg.LinAlgError, match="svd: equal singular values"):
        np.linalg.svd(a)[2].sum().backward(create_graph=True)


@pytest.mark.parametrize(
    "f", [lambda a: (np.linalg.eigh(a)[0] ** 2).sum(), lambda a: np.linalg.norm(a, "nuc"), tg.svdvals]
)
def test_equal_values_have_no_second_derivatives(f: Any) -> None:
    with pytest.raises(np.linalg.LinAlgError, match=r"second derivatives of the .*values and of norms; use"):
        tg.hvp(lambda a: f(a).sum())(np.eye(3), A)


@pytest.mark.parametrize("values", [[1.0, 1.0], [1.0, 2.0, 2.0], [1.0, 1.0, 2.0]])
def test_two_equal_values_among_others_are_found(values: list[float]) -> None:
    a = tg.tensor(np.diag(values), requires_grad=True)
    for vectors in (lambda: np.linalg.eigh(a)[1], lambda: np.linalg.svd(a)[0]):
        with pytest.raises(np.linalg.LinAlgError, match="equal"):
            vectors().sum().backward()


def test_equal_values_are_found_in_a_batch_of_one_and_at_any_scale() -> None:
    q = np.linalg.qr(RNG.uniform(-1, 1, (3, 3)))[0]
    for scale in (1e-8, 1e8):
        a = tg.tensor(scale * (q * [1.0, 1.0, 2.0]) @ q.T, requires_grad=True)[None]
        with pytest.raises(np.linalg.LinAlgError, match="equal eigenvalues"):
            np.linalg.eigh(a)[1].sum().backward()


def test_small_and_large_matrices_of_one_batch_do_not_judge_each_other() -> None:
    a = np.stack([1e-20 * square(3, 3), square(3, 3)])
    x = tg.tensor(a, requires_grad=True)
    np.linalg.qr(x)[1].sum().backward()
    small = tg.tensor(a[0], requires_grad=True)
    np.linalg.qr(small)[1].sum().backward()
    np.testing.assert_allclose(x.grad.numpy()[0], small.grad.numpy(), rtol=1e-12)


def test_a_matrix_of_nearly_lost_rank_is_judged_alike_alone_and_among_many() -> None:
    """The bound is that of its own size, not of the batch's."""
    a = np.zeros((1000, 2, 2)) + np.diag([1.0, 1e-13])
    for f in (lambda a: np.linalg.qr(a)[1], np.linalg.pinv):
        x, alone = (tg.tensor(m, requires_grad=True) for m in (a, a[0]))
        f(x).sum().backward()
        f(alone).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), np.broadcast_to(alone.grad.numpy(), a.shape))


def test_singular_matrices() -> None:
    a = tg.tensor(np.array([[1.0, 2.0], [2.0, 4.0]]), requires_grad=True)
    with pytest.raises(np.linalg.LinAlgError, match=r"^slogdet: no gradient at a singular matrix"):
        np.linalg.slogdet(a)[1].backward()
    with pytest.raises(np.linalg.LinAlgError, match=r"inv\(float64\(2, 2\)\): Singular matrix"):
        np.linalg.inv(a)
    with pytest.raises(np.linalg.LinAlgError, match=r"solve\(float64\(2, 2\), .*Singular matrix"):
        np.linalg.solve(a, np.ones(2))
    q, r = np.linalg.qr(tg.tensor(np.zeros((2, 2)), requires_grad=True))
    with pytest.raises(np.linalg.LinAlgError, match="qr: no gradient for matrices without full column rank"):
        (q.sum() + r.sum()).backward()


A, T = square(3, 3), RNG.uniform(-1, 1, (2, 3))
ERRORS: list[tuple[Any, Any, str]] = [
    (lambda: np.linalg.svd(tg.tensor(T)), ValueError, r"svd.*2 x 3 matrices .* pass full_matrices=False"),
    (lambda: np.linalg.svd(tg.tensor(A), hermitian=True), TypeError, "svd.* does not take 'hermitian'"),
    (lambda: np.linalg.qr(tg.tensor(T)), ValueError, r"qr.*more columns than rows \(2 x 3\)"),
    (lambda: np.linalg.qr(tg.tensor(A), "complete"), ValueError, "qr.*mode='complete' has no gradient rule"),
    (lambda: np.linalg.cholesky(tg.tensor(-spd(2, 2))), np.linalg.LinAlgError, "cholesky.*not positive def"),
    (lambda: np.linalg.inv(tg.tensor(T)), np.linalg.LinAlgError, r"inv\(float64\(2, 3\)\): .*square"),
    (lambda: np.linalg.matrix_power(tg.tensor(T), 2), ValueError, r"matrix_power: square .*\(2, 3\)"),
    (lambda: tg.matrix_power(np.ones(3), 2), ValueError, r"matrix_power: square .*\(3,\)"),
    (lambda: tg.matrix_power(np.ones((2, 3, 2)), 2), ValueError, r"matrix_power: square .*\(2, 3, 2\)"),
    (lambda: tg.matrix_power(A, 1.5), TypeError, "matrix_power: .*float"),
    (lambda: np.linalg.pinv(tg.tensor(A), hermitian=True), TypeError, "pinv.* does not take 'hermitian'"),
]  # fmt: skip


@pytest.mark.parametrize("case", ERRORS, ids=[e[2][:24] for e in ERRORS])
def test_errors_name_the_operation(case: Any) -> None:
    call, kind, words = case
    with pytest.raises(kind, match=words):
        call()


P = RNG.uniform(-1, 1, (2, 3, 4))
OF_LAST_AXES = {
    "trace": lambda x: np.linalg.trace(x),
    "trace-offset": lambda x: np.linalg.trace(x, offset=1),
    "diagonal": lambda x: np.linalg.diagonal(x, offset=-1),
    "matrix_norm": lambda x: np.linalg.matrix_norm(x),
    "matrix_norm-nuc": lambda x: np.linalg.matrix_norm(x, ord="nuc", keepdims=True),
    "matrix_norm-1": lambda x: np.linalg.matrix_norm(x, ord=1),
    "matrix_transpose": lambda x: np.matrix_transpose(x),
    "linalg.matrix_transpose": lambda x: np.linalg.matrix_transpose(x),
}


@pytest.mark.parametrize("name", OF_LAST_AXES)
def test_numpys_functions_of_the_last_two_axes(name: str) -> None:
    f = OF_LAST_AXES[name]
    got = f(tg.tensor(P, requires_grad=True))
    assert isinstance(got, Tensor)
    np.testing.assert_allclose(got.numpy(), f(P), rtol=1e-13)
    assert tg.gradcheck(f, P)


def test_numpys_defaults_are_not_refused() -> None:
    t = tg.tensor(A)
    np.linalg.eigh(t, "L")
    np.linalg.svd(t, True, True, False)
    np.linalg.pinv(t, None, False)
    np.linalg.qr(t, mode="reduced")
    np.testing.assert_array_equal(np.linalg.matrix_power(t, 0).numpy(), np.eye(3))
    batch = np.ones((4, 2, 3, 3))
    np.testing.assert_array_equal(tg.matrix_power(batch, 0), np.linalg.matrix_power(batch, 0))
    np.testing.assert_allclose(np.linalg.pinv(t, 0.9).numpy(), np.linalg.pinv(A, 0.9))
    assert not np.allclose(np.linalg.pinv(A, 0.9), np.linalg.pinv(A))


# ------------------------------------------------------------------------------ triangles, and lost ranks


def test_one_triangle_of_symmetric_matrices_is_read_as_numpy_does() -> None:
    a = spd(3, 3) + np.triu(RNG.uniform(0.1, 0.2, (3, 3)), 1)
    for f in (
        np.linalg.cholesky,
        lambda a: np.linalg.cholesky(a, upper=True),
        lambda a: np.linalg.eigh(a)[0],
    ):
        leaf = tg.tensor(a, requires_grad=True)
        np.testing.assert_array_equal(f(leaf).numpy(), f(a))
        f(leaf).sum().backward()
        np.testing.assert_array_equal(leaf.grad.numpy(), leaf.grad.numpy().T)


def deficient(rows: int, columns: int) -> np.ndarray:
    """Of rank one less than it might be, exactly but for rounding; its other singular values differ."""
    a = RNG.uniform(-1, 1, (rows, columns))
    if rows >= columns:
        a[:, -1] = a[:, :-1].sum(1)
    else:
        a[-1] = a[:-1].sum(0)
    return a


def test_qr_of_matrices_without_full_rank_to_rounding() -> None:
    for a in (deficient(3, 3), deficient(5, 3), 1e-200 * deficient(4, 2), np.zeros((2, 2))):
        for k in (0, 1):
            leaf = tg.tensor(np.stack([RNG.uniform(-1, 1, a.shape), a]), requires_grad=True)
            y = np.linalg.qr(leaf)[k].sum()
            with pytest.raises(
                np.linalg.LinAlgError, match="qr: no gradient for matrices without full column"
            ):
                y.backward()
    y = np.linalg.qr(leaf[:, :, :0])[1]
    y.sum().backward()


def test_svd_of_matrices_without_full_rank() -> None:
    """The vectors that a singular value 0 leaves undetermined have no gradient; all others have."""
    for shape, lost, name in [((4, 3), 0, "U of tall"), ((3, 4), 2, "Vh of wide")]:
        exact = np.zeros(shape)
        exact[0, 0], exact[1, 1] = 3, 2
        for a in (deficient(*shape), exact):
            leaf = tg.tensor(a, requires_grad=True)
            with pytest.raises(np.linalg.LinAlgError, match=f"svd: no gradient for {name} matrices without"):
                np.linalg.svd(leaf, full_matrices=False)[lost].sum().backward()
            for k in (1, 2 - lost):
                np.linalg.svd(leaf, full_matrices=False)[k].sum().backward()
                assert np.isfinite(leaf.grad.numpy()).all()
    # The other vectors of a tall matrix change smoothly, and so do all of a square one.
    a = deficient(5, 3)

    def of_any_sign(a: Any) -> Any:
        vh = np.linalg.svd(a, full_matrices=False)[2]
        return vh * vh[:, :1]

    assert tg.gradcheck(of_any_sign, a, method="central")
    square = deficient(3, 3)
    assert tg.gradcheck(lambda a: np.linalg.svd(a)[0] * np.linalg.svd(a)[0][:1], square, method="central")


def of_rank(rank: int, size: int, exact: bool) -> np.ndarray:
    """Of small integers, so that elimination meets an exact 0; or singular to rounding only."""
    if exact:
        return np.rint(RNG.uniform(-3, 3, (size, rank))) @ np.rint(RNG.uniform(-3, 3, (rank, size)))
    return RNG.uniform(-1, 1, (size, rank)) @ RNG.uniform(-1, 1, (rank, size))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("rank", "size"), [(1, 2), (2, 3), (3, 4), (1, 3), (2, 4), (0, 2), (0, 1)])
def test_a_determinant_has_derivatives_at_singular_matrices(rank: int, size: int, exact: bool) -> None:
    for _ in range(3):
        a = of_rank(rank, size, exact)
        for matrices in (a, np.stack([square(size, size), a])):
            for check in (tg.gradcheck, tg.gradgradcheck):
                report = check(np.linalg.det, matrices)
                assert report, report
    assert tg.grad(np.linalg.det)(a.astype(np.float32)).dtype == np.float32


def test_cofactors_are_computed_where_an_inverse_would_lose_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have an inverse, in less than half the time, whatever their scale."""
    rng = np.random.default_rng(7)  # of its own: a matrix that happens to be nearly singular needs them

    def regular(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape) + 4 * np.eye(shape[-1])  # the diagonal dominates

    needed = []
    polynomial = determinants._polynomial
    monkeypatch.setattr(determinants, "_polynomial", lambda a: needed.append(a) or polynomial(a))
    nearly = np.diag([1.0, 1, 1, 2.0**-6])
    for a in (
        *(scale * regular(n, n) for n in (1, 3, 4) for scale in (1.0, 1e-30, 1e30)),
        regular(4, 5, 4, 4),
        nearly,
        np.diag([1.0, 1, 1, 2.0**-9]).astype("f4"),
        np.zeros((1000, 1, 4, 4)) + nearly,
        np.zeros((1, 1000, 4, 4)) + nearly,
        np.zeros((0, 4, 4)),
    ):
        wanted = np.linalg.det(a)[..., None, None] * np.linalg.inv(a).mT
        np.testing.assert_allclose(tg.grad(lambda a: np.linalg.det(a).sum())(a), wanted, rtol=1e-12)
        assert not needed
    for a in (
        np.diag([1.0, 1, 1, 2.0**-7]),
        np.diag([1.0, 1, 1, 0]),
        np.diag([1.0, 1, 1, 2.0**-10]).astype("f4"),
        1e-100 * regular(4, 4),  # the determinant is 0, and has a gradient
    ):
        needed.clear()
        tg.grad(lambda a: np.linalg.det(a).sum())(np.stack([regular(4, 4).astype(a.dtype), a] * 3))
        assert [len(matrices) for matrices in needed] == [3]  # of all that are there


def rational(a: np.ndarray) -> list[list[Fraction]]:
    return [[Fraction(float(x)) for x in row] for row in a]


def exact_determinant(rows: list[list[Fraction]]) -> Fraction:
    if not rows:
        return Fraction(1)
    minors = [[row[:k] + row[k + 1 :] for row in rows[1:]] for k in range(len(rows))]
    return sum(
        ((-1) ** k * x * exact_determinant(minors[k]) for k, x in enumerate(rows[0]) if x), Fraction(0)
    )


def exact_gradient(a: np.ndarray, directions: list[np.ndarray]) -> np.ndarray:
    """Of the derivative along all directions. A determinant is linear in each row: rows are replaced."""
    rows, others, n = rational(a), [rational(v) for v in directions], len(a)
    gradient = np.zeros((n, n))
    for i, j in np.ndindex(n, n):
        for chosen in permutations([k for k in range(n) if k != i], len(others)):
            replaced = list(rows)
            replaced[i] = [Fraction(int(k == j)) for k in range(n)]
            for k, v in zip(chosen, others, strict=True):
                replaced[k] = v[k]
            gradient[i, j] += float(exact_determinant(replaced))
    return gradient


def near_singular(n: int) -> Iterator[np.ndarray]:
    """Singular matrices of every kind, and near ones."""
    q, r = (np.linalg.qr(RNG.uniform(-1, 1, (n, n)))[0] for _ in range(2))
    yield RNG.uniform(-1, 1, (n, n))
    yield from (np.zeros((n, n)), np.ones((n, n)), np.eye(n), np.diag([1.0] * (n - 1) + [0.0]))
    yield np.diag([1.0] + [0.0] * (n - 1))
    yield of_rank(n - 2, n, True)
    for small in (1e-1, 1e-3, 1e-6, 1e-9, 1e-12):
        yield q @ np.diag([1.0, 0.5, 0.25, small][-n:]) @ r
        yield q @ np.diag([1.0] + [small] * (n - 1)) @ r
        yield q @ np.diag([1.0, 1.0 - small] + [0.0] * (n - 2)) @ r


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_derivatives_of_a_determinant_to_the_third_order_are_exact_everywhere(n: int, dtype: str) -> None:
    matrices = [a.astype(dtype) for a in near_singular(n)]
    directions = [RNG.uniform(-1, 1, (n, n)).astype(dtype) for _ in range(2)]
    eps = float(np.finfo(dtype).eps)
    f = lambda a: np.linalg.det(a).sum()  # noqa: E731
    for order in range(3):
        gradient = tg.grad(f)
        batched = gradient(np.stack(matrices))
        for a, among_others in zip(matrices, batched, strict=True):
            wanted = exact_gradient(a, directions[:order])
            # What a change of a in its last digit would make, but for the digits given up to divisions.
            atol = eps ** (1 - 0.125 * order) * n * np.max(np.abs(a)) ** max(n - 1 - order, 0)
            got = gradient(a)
            assert got.dtype == dtype
            np.testing.assert_allclose(got, wanted, atol=4 * atol, rtol=0)
            np.testing.assert_allclose(among_others, wanted, atol=4 * atol, rtol=0)
        f = lambda a, g=gradient, k=order: (g(a) * directions[k]).sum()  # noqa: E731


@pytest.mark.parametrize(
    ("scale", "dtype"), [(1e-16, "f4"), (1e-14, "f4"), (1e12, "f4"), (1e-103, "f8"), (1e-100, "f8")]
)
def test_derivatives_of_a_determinant_that_itself_underflows(scale: float, dtype: str) -> None:
    a = (scale * square(3, 3)).astype(dtype)
    v = RNG.uniform(-1, 1, (3, 3)).astype(dtype)
    rtol = 20 * float(np.finfo(dtype).eps)
    gradient = tg.grad(np.linalg.det)
    for got, given in ((gradient(a), []), (tg.grad(lambda a: (gradient(a) * v).sum())(a), [v])):
        wanted = exact_gradient(a, given)
        np.testing.assert_allclose(got, wanted, atol=rtol * np.max(np.abs(wanted)), rtol=0)


def test_rows_of_all_sizes_have_determinants_with_gradients() -> None:
    a = square(3, 3)
    wanted = exact_gradient(a, []) * [[0], [1], [1]]
    for dtype, size in (("f4", 1e20), ("f8", 1e200)):
        sizes = np.array([[size], [1 / size], [1 / size]])
        batch = np.stack([a * sizes, np.diag([size, 1 / size, 1.0])]).astype(dtype)
        gradient = tg.grad(lambda a: np.linalg.det(a).sum())(batch)
        np.testing.assert_allclose(gradient[0], wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gradient[1], np.diag([1 / size, size, 1]), rtol=1e-5, atol=1e-6)


def exact_cofactors(a: np.ndarray) -> np.ndarray:
    """By Gauss and Jordan, for matrices with an inverse."""
    n = len(a)
    rows = [row + [Fraction(int(k == j)) for j in range(n)] for k, row in enumerate(rational(a))]
    determinant = Fraction(1)
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k])
        if pivot != k:
            rows[k], rows[pivot], determinant = rows[pivot], rows[k], -determinant
        determinant *= rows[k][k]
        rows[k] = [x / rows[k][k] for x in rows[k]]
        for i in range(n):
            if i != k and rows[i][k]:
                rows[i] = [x - rows[i][k] * y for x, y in zip(rows[i], rows[k], strict=True)]
    return np.array([[float(determinant * rows[j][n + i]) for j in range(n)] for i in range(n)])


def kernel(n: int, ridge: float) -> np.ndarray:
    """Of a Gaussian process: its singular values are of all sizes down to the ridge."""
    t = np.linspace(0, 1, n)
    return np.exp(-12.5 * (t[:, None] - t) ** 2) + ridge * np.eye(n)


@pytest.mark.parametrize(
    ("a", "digits"),
    [
        (kernel(20, 0.1), 1e2),
        (kernel(20, 1e-3), 1e4),
        (kernel(16, 1e-6), 1e7),
        (np.array([[-1000, -3, 0.002], [1000, -3, -0.001], [-3000, -2, 0.003]]), 1),
        *(
            (RNG.uniform(-1, 1, (n, n)) * 10.0 ** RNG.integers(-6, 7, n), 1e3)
            for n in (3, 4)
            for _ in range(5)
        ),
    ],
)
def test_cofactors_of_regular_matrices_are_as_exact_as_their_inverse(a: np.ndarray, digits: float) -> None:
    """Many small singular values, and columns of all sizes; beside regular and singular matrices, too."""
    for dtype in ("f4", "f8"):
        one = a.astype(dtype)
        wanted = exact_cofactors(one)
        beside = np.stack([np.eye(len(one)), one, np.ones_like(one), one]).astype(dtype)
        among = tg.grad(lambda a: np.linalg.det(a).sum())(beside)
        # The condition, which counts for float32 in the digits of float64.
        rtol = 4 * np.finfo(dtype).eps + 4 * digits * np.finfo("f8").eps
        for got in (tg.grad(np.linalg.det)(one), among[1], among[3]):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=rtol * np.max(np.abs(wanted)))
        np.testing.assert_allclose(among[[0, 2]], [np.eye(len(one)), np.zeros_like(one)], atol=1e-12)


def test_gradients_of_a_determinant_that_has_lost_digits_to_underflow() -> None:
    a = 1e-79 * square(4, 4)
    np.testing.assert_array_less(np.abs(np.linalg.det(a)), np.finfo(a.dtype).smallest_normal)
    wanted = exact_gradient(a, [])
    got = tg.grad(np.linalg.det)(a)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-13 * np.max(np.abs(wanted)))


def test_small_determinants_have_exact_derivatives_whatever_the_sizes_of_columns() -> None:
    """The last derivative of a determinant is a constant: signs of permutations."""
    a = np.array([[1, 1e-10], [1e-10, 3e-20]])
    wanted = np.multiply.outer([[0, 1], [-1, 0]], [[0, 1], [-1, 0]])
    np.testing.assert_array_equal(tg.hessian(tg.det)(a), np.swapaxes(wanted, 1, 2))
    levi_civita = np.zeros((3, 3, 3))
    for k, (i, j) in enumerate([(1, 2), (2, 0), (0, 1)]):
        levi_civita[k, i, j], levi_civita[k, j, i] = 1, -1
    wanted = np.einsum("ikm,jln->ijklmn", levi_civita, levi_civita)
    for scales in ([1, 1, 1], [1, 1e-6, 1e-12]):
        b = RNG.uniform(-1, 1, (3, 3)) * scales
        np.testing.assert_array_equal(tg.jacobian(tg.hessian(tg.det))(b), wanted)
    np.testing.assert_array_equal(tg.grad(tg.det)(np.array([[3.0]])), [[1]])
    for singular in (np.ones((2, 2)), np.ones((3, 3))):
        assert tg.gradgradcheck(tg.det, singular, method="complex")


@pytest.mark.filterwarnings("ignore:overflow")  # of the determinants themselves
def test_determinants_that_overflow_on_the_way_have_gradients() -> None:
    for dtype in ("f4", "f8"):
        size = float(np.finfo(dtype).max) ** 0.6
        a = np.diag([size, size]).astype(dtype)
        np.testing.assert_allclose(tg.grad(np.linalg.det)(a), a, rtol=4 * np.finfo(dtype).eps)
    nearly = np.diag([0, 0, 0, 1.0])
    nearly[:2, :2] = np.array([[1, 1], [1, 1 + 2.0**-40]]) * 2.0**520
    gradient = tg.grad(np.linalg.det)(nearly)
    # To an eps of the largest, when rows and columns have one size.
    np.testing.assert_allclose(gradient, np.diag([0, 0, 2.0**1000, 0]), rtol=1e-3, atol=2.0**992)
    a = RNG.standard_normal((250, 250)) * 0.2
    wanted = np.linalg.det(a) * np.linalg.inv(a).mT
    a[:, 0] /= 2.0**300
    a[:, 1] /= 2.0**300
    a[:, 2] *= 2.0**400
    got = tg.grad(np.linalg.det)(a)
    wanted[:, [0, 1]] *= 2.0**100
    wanted[:, 2] *= 2.0**-600
    wanted[:, 3:] *= 2.0**-200
    for columns in ([0, 1], [2], slice(3, None)):
        largest = np.max(np.abs(wanted[:, columns]))
        np.testing.assert_allclose(got[:, columns], wanted[:, columns], rtol=0, atol=1e-12 * largest)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_determinant_of_nan_has_a_gradient_of_nan() -> None:
    bad = [[[np.nan] * 2] * 2, [[np.inf, 1], [1, 1]], [[np.inf] * 2, [0, 0]], [[1, np.nan], [0, 1]]]
    a = np.stack([square(4, 4), np.zeros((4, 4)), *[np.eye(4)] * len(bad)])
    a[2:, 1:3, 1:3] = bad
    gradient = tg.grad(lambda a: np.linalg.det(a).sum())(a)
    assert np.isnan(gradient).tolist() == [[[k > 1] * 4] * 4 for k in range(len(a))]


def test_the_gradient_of_a_large_determinant_without_full_rank() -> None:
    a = RNG.uniform(-1, 1, (20, 20))
    a[3] = a[7]
    u, s, vh = np.linalg.svd(a)
    wanted = np.linalg.det(u) * np.linalg.det(vh) * np.prod(s[:-1]) * np.outer(u[:, -1], vh[-1])
    np.testing.assert_allclose(
        tg.grad(np.linalg.det)(a), wanted, atol=1e-13 * np.max(np.abs(wanted)), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("least", "atol"),
    [(1.0, 1e-14), (1e-4, 1e-10), (1e-9, 1e-14), (1e-12, 1e-14), (1e-15, 1e-14), (0.0, 1e-14)],
)
def test_second_derivatives_of_a_determinant_keep_their_digits(least: float, atol: float) -> None:
    """A determinant is linear in each row: they are determinants with two rows replaced by unit vectors."""
    q, r = (np.linalg.qr(RNG.uniform(-1, 1, (4, 4)))[0] for _ in range(2))
    a = q @ np.diag([1.0, 0.7, 0.4, 0.3 * least]) @ r
    got = tg.hessian(np.linalg.det)(a)
    for i, j, k, l in np.ndindex(got.shape):
        b = a.copy()
        b[i], b[k] = np.eye(4)[[j, l]]
        np.testing.assert_allclose(
            got[i, j, k, l], (i != k) * np.linalg.det(b), atol=1e-14 / max(least, 1e-6)
        )


def test_the_gradient_of_a_determinant_is_the_matrix_of_cofactors() -> None:
    gradient = tg.grad(np.linalg.det)(np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]))
    np.testing.assert_allclose(gradient, [[-3, 6, -3], [6, -12, 6], [-3, 6, -3]], rtol=1e-13)


def test_a_pseudo_inverse_has_no_gradient_where_it_jumps() -> None:
    def backward(a: Any, *rcond: Any) -> None:
        np.linalg.pinv(tg.tensor(a, requires_grad=True), *rcond).sum().backward()

    words = (
        "pinv: no gradient for matrices without full rank, or with singular values that rcond cuts off; a ri"
    )
    for a in (deficient(3, 3), deficient(5, 3), deficient(2, 4), np.zeros((2, 2)), deficient(3, 3) * 1e-30):
        for matrices in (a, np.stack([RNG.uniform(-1, 1, a.shape), a]), a.astype(np.float32)):
            with pytest.raises(np.linalg.LinAlgError, match=words):
                backward(matrices)
    a = np.diag([2.0, 0.6])
    with pytest.raises(np.linalg.LinAlgError, match=words):
        backward(a, 0.5)
    backward(a, 0.2)
    with pytest.raises(np.linalg.LinAlgError, match=words):
        backward(np.stack([a, a]), np.array([0.2, 0.5]))
    backward(np.stack([a, np.diag([2.0, 1.5])]), np.array([0.2, 0.5]))
    backward(np.zeros((2, 0)))
