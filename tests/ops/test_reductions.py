"""Products with zeros, spread, medians, norms and averages: conventions, oracles and ways of calling."""

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops import REGISTRY
from tinygrad_rnn.tensors import Tensor

RNG = np.random.default_rng(11)
A = RNG.uniform(-2, 2, (2, 3))
W = RNG.uniform(0.5, 2, (2, 3))


def gradient(f: Any, *values: Any) -> list[np.ndarray]:
    leaves = [tg.tensor(np.array(v, float), requires_grad=True) for v in values]
    y = f(*leaves)
    y.backward(np.ones(y.shape))
    return [x.grad.numpy() for x in leaves]


def torch_gradient(f: Any, x: Any, order: int = 1) -> np.ndarray:
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs PyTorch")
    leaf = torch.tensor(np.array(x, float), requires_grad=True)
    (g,) = torch.autograd.grad(f(leaf).sum(), leaf, create_graph=order == 2)
    if order == 2:
        (g,) = torch.autograd.grad((g**2).sum(), leaf)
    return g.detach().numpy()


ZEROS = [
    [2.0, 3.0, -1.5, 0.5],
    [2.0, 0.0, -1.5, 0.5],
    [0.0, 3.0, 0.0, 0.5],
    [0.0, 0.0, 0.0, 2.0],
    [0.0, 0.0, 0.0, 0.0],
    [5.0, 1.0, 2.0, 0.0],
]


@pytest.mark.parametrize("name", ["prod", "cumprod"])
def test_products_with_zeros(name: str) -> None:
    """Against the complex step, which knows no special cases, and PyTorch; second derivatives too."""
    f = getattr(tg, name)
    for row in ZEROS:
        assert tg.gradcheck(f, np.array(row))
        assert tg.gradgradcheck(f, np.array(row))
    np.testing.assert_allclose(
        gradient(lambda x: f(x, axis=1), ZEROS)[0],
        torch_gradient(lambda x: getattr(x, name)(1), ZEROS),
        rtol=1e-14,
    )
    x = tg.tensor(np.array(ZEROS), requires_grad=True)
    first = tg.grad(lambda x: f(x, axis=1).sum())
    second = tg.grad(lambda x: (first(x) ** 2).sum())(x)
    wanted = torch_gradient(lambda x: getattr(x, name)(1), ZEROS, order=2)
    np.testing.assert_allclose(second.numpy(), wanted, rtol=1e-13, atol=1e-14)


def test_product_of_one_zero_and_of_two() -> None:
    np.testing.assert_array_equal(gradient(tg.prod, [2.0, 0.0, 3.0])[0], [0, 6, 0])
    np.testing.assert_array_equal(gradient(tg.prod, [2.0, 0.0, 0.0])[0], [0, 0, 0])
    hessian = tg.hessian(tg.prod)(np.array([2.0, 0.0, 0.0]))
    np.testing.assert_array_equal(hessian, [[0, 0, 0], [0, 0, 2], [0, 2, 0]])


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 33])
def test_running_products_of_any_length(n: int) -> None:
    x = RNG.uniform(0.5, 1.5, n) * (np.arange(n) % 5 != 3)
    assert tg.gradcheck(tg.cumprod, x)
    assert tg.gradcheck(lambda x: tg.cumprod(x, axis=1), np.stack([x, x + 0.1]))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1e-30, 1e25, 1e25, 0.5], "f4"),
        ([1e-3, 300, 300, 0.5], "f2"),
        ([1e-30, 1e-5, 1e25, 1e20], "f4"),
        ([1e-30, 1e-20, 1e30, 1], "f4"),
        ([1e-30, 1.2345e-14, 1e30, 1], "f4"),
        ([1e-4, 1e-4, 1e4, 1], "f2"),
    ],
)
def test_products_that_leave_the_range_on_the_way(values: Any, dtype: str) -> None:
    x = np.array(values, dtype)
    functions = [lambda x, k=k: tg.cumprod(x)[k] for k in range(len(x))]
    for f in (*functions, lambda x: tg.prod(x[:3]), tg.prod):
        for derivative in (tg.grad(f), tg.hessian(f)):
            with np.errstate(over="ignore"):  # those that end beyond the range, in the last conversion
                got, wanted = derivative(x), derivative(x.astype(np.float64)).astype(dtype)
            assert got.dtype == dtype
            np.testing.assert_allclose(got, wanted, rtol=4 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize(
    "options", [{}, {"axis": 0}, {"axis": (0, 1), "keepdims": True}, {"axis": 1}], ids=str
)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8"])
@pytest.mark.parametrize("f", [np.nansum, np.nanmean])
def test_sums_and_means_of_what_is_not_nan(f: Any, dtype: str, options: Any) -> None:
    a = np.array([[1.0, np.nan, 2.0], [3.0, 5.0, np.nan]])
    a = np.nan_to_num(a).astype(dtype) if dtype == "i8" else a.astype(dtype)
    got, wanted = f(tg.tensor(a), **options), f(a, **options)
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got.numpy(), wanted)
    if dtype == "f8":
        x = tg.tensor(a, requires_grad=True)
        f(x, **options).sum().backward()
        share = 1 if f is np.nansum else 1 / np.sum(~np.isnan(a), options.get("axis"), keepdims=True)
        np.testing.assert_allclose(x.grad.numpy(), np.where(np.isnan(a), 0, share))


def test_the_middle_of_equal_elements() -> None:
    """Ties are broken as a stable sort breaks them."""
    np.testing.assert_array_equal(gradient(tg.median, [1.0, 1.0, 1.0])[0], [0, 1, 0])
    np.testing.assert_array_equal(gradient(tg.median, [4.0, 2.0, 2.0, 1.0])[0], [0, 0.5, 0.5, 0])
    np.testing.assert_array_equal(gradient(tg.median, [3.0, 1.0, 2.0])[0], [0, 0, 1])


def test_median_of_nan_and_of_nothing() -> None:
    x = tg.tensor(np.array([[1.0, np.nan, 2.0], [3.0, 5.0, 4.0]]), requires_grad=True)
    y = np.median(x, axis=1)
    np.testing.assert_array_equal(y.numpy(), [np.nan, 4])
    y.backward(np.ones(2))
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 0, 0], [0, 0, 1]])
    assert np.median(tg.tensor(np.ones((2, 3), np.float32)), axis=1).dtype == np.float32
    with pytest.raises(ValueError, match="median: the median of no elements is not defined"):
        tg.median(np.zeros(0))


def test_deviation_of_equal_numbers_has_gradient_0() -> None:
    np.testing.assert_array_equal(gradient(tg.std, [2.0, 2.0])[0], [0, 0])
    np.testing.assert_array_equal(tg.hessian(tg.std)(np.full(2, 2.0)), np.zeros((2, 2)))
    np.testing.assert_allclose(
        gradient(lambda x: tg.std(x, axis=0, ddof=1), A.T)[0],
        torch_gradient(lambda x: x.std(0), A.T),
        rtol=1e-13,
    )


def test_range_with_ties() -> None:
    np.testing.assert_array_equal(gradient(tg.ptp, [1.0, 3.0, 3.0, 1.0])[0], [-0.5, 0.5, 0.5, -0.5])


# ---------------------------------------------------------------------------------------------- norms


@pytest.mark.parametrize("ord", [None, 1, 2, 3, 0.5, np.inf])
def test_the_norm_of_a_zero_vector_has_gradient_0(ord: Any) -> None:
    x = [[0.0, 0.0], [3.0, -4.0]]
    g = gradient(lambda x: tg.norm(x, ord=ord, axis=1), x)[0]
    np.testing.assert_array_equal(g[0], [0, 0])
    assert g[1].any()
    least = np.full(2, np.finfo(float).smallest_normal)
    for zero in (np.zeros(2), *([least] if ord in (None, 2) else [])):  # squares underflow
        second = tg.hessian(lambda x: tg.norm(x, ord=ord))(zero)
        np.testing.assert_array_equal(second, np.zeros((2, 2)))
        np.testing.assert_array_equal(tg.grad(lambda x: tg.norm(x, ord=ord))(zero), [0, 0])


@pytest.mark.parametrize("ord", [None, 1, 3, 0.5, np.inf, -1, -2.5, -np.inf])
def test_a_zero_among_others_gets_gradient_0_and_of_a_negative_order_so_do_they(ord: Any) -> None:
    """Then the norm is 0, too: of (x, y) near (0, y) it is about abs(x)."""
    with np.errstate(divide="ignore"):
        (g,) = gradient(lambda x: np.linalg.norm(x, ord, 1), [[0.0, 3.0], [0.0, -2.0]])
    np.testing.assert_allclose(g, [[0, 1], [0, -1]] if ord is None or ord > 0 else np.zeros((2, 2)))


def test_the_gradient_of_a_sum_of_sizes_is_a_constant() -> None:
    x = tg.tensor(A, requires_grad=True)
    np.linalg.vector_norm(x, ord=1).backward(create_graph=True)
    assert {e.primitive.name for e in tg.Tape(x.grad)} <= {"sign", "multiply"}


@pytest.mark.parametrize("ord", [None, 1, 2, 3, 2.5, 0.5, np.inf, -np.inf, -1])
def test_vector_norms_have_pytorchs_gradients(ord: Any) -> None:
    def theirs(x: Any) -> Any:
        return __import__("torch").linalg.vector_norm(x, 2 if ord is None else ord, dim=1)

    np.testing.assert_allclose(
        gradient(lambda x: np.linalg.norm(x, ord=ord, axis=1), A)[0], torch_gradient(theirs, A), rtol=1e-12
    )


def test_tied_sizes_share_the_gradient_of_the_largest() -> None:
    np.testing.assert_array_equal(gradient(lambda x: tg.norm(x, np.inf), [2.0, -2.0, 1.0])[0], [0.5, -0.5, 0])


@pytest.mark.parametrize("ord", ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(3, 3), (2, 3), (4, 2), (2, 3, 2)])
def test_matrix_norms_have_pytorchs_gradients(ord: Any, shape: Any) -> None:
    x = RNG.uniform(-2, 2, shape)
    axes = (2, 0) if len(shape) == 3 else None

    def theirs(x: Any) -> Any:
        return __import__("torch").linalg.matrix_norm(x, ord, dim=axes or (0, 1))

    np.testing.assert_allclose(
        gradient(lambda x: np.linalg.norm(x, ord, axes), x)[0],
        torch_gradient(theirs, x),
        rtol=1e-11,
        atol=1e-13,
    )


@pytest.mark.parametrize("ord", ["fro", "nuc", 1, 2, np.inf])
@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 2, 3), (2, 3, 0)])
def test_norms_of_matrices_without_elements(ord: Any, shape: Any) -> None:
    """NumPy's are 0 too; older versions of it raise errors."""
    got = tg.norm(np.ones(shape), ord, (1, 2))
    assert got.shape == shape[:1]
    np.testing.assert_array_equal(got, 0)


# ------------------------------------------------------------------------------------------- averages


def test_weights_of_an_average_are_differentiated_too() -> None:
    f = tg.average
    for options in ({}, {"axis": 0}, {"axis": (0, 1), "keepdims": True}):
        for check in (tg.gradcheck, tg.gradgradcheck):
            assert check(lambda x, w, o=options: f(x, weights=w, **o), A, W)
    assert tg.gradcheck(lambda x, w: f(x, axis=1, weights=w), A, W[0])
    assert tg.gradcheck(lambda x, w: f(x, axis=(2, 0), weights=w), RNG.uniform(-1, 1, (2, 3, 2)), W[:, :2])


@pytest.mark.parametrize("dtype", ["i1", "i8", "f4", "f8", bool])
@pytest.mark.parametrize("weights", ["i1", "i8", "f4", "f8"])
def test_averages_are_in_numpys_dtype(dtype: Any, weights: Any) -> None:
    x, w = np.array([1, 0, 1], dtype), np.array([1, 2, 4], weights)
    got, wanted = tg.average(x, weights=w), np.average(x, weights=w)
    assert (got, got.dtype) == (wanted, wanted.dtype)


# ------------------------------------------------------------------------------------ ways of calling

B = RNG.uniform(-2, 2, (2, 3, 4))
CALLS = {
    "prod": lambda x: np.prod(x(B), (0, 2), None, None, True),
    "prod-named": lambda x: np.prod(a=x(B), axis=1, keepdims=True),
    "cumprod": lambda x: np.cumprod(x(B), 1),
    "std": lambda x: np.std(x(B), (0, 1), None, None, 1, True),
    "std-correction": lambda x: np.std(x(B), correction=1),
    "var-correction": lambda x: np.var(x(B), 0, correction=0.5, keepdims=True),
    "var-correction-ddof": lambda x: np.var(x(B), 0, ddof=0, correction=1),
    "median": lambda x: np.median(x(B), (0, 2), None, False, True),
    "median-named": lambda x: np.median(a=x(B), axis=-1, overwrite_input=False),
    "ptp": lambda x: np.ptp(x(B), 1, None, True),
    "average": lambda x: np.average(x(B), 1, x(W[0])),
    "average-named": lambda x: np.average(x(B), weights=x(np.abs(B)), returned=False),
    "norm": lambda x: np.linalg.norm(x(B), 1, 2, True),
    "norm-named": lambda x: np.linalg.norm(x=x(A), ord="fro"),
    "vector_norm": lambda x: np.linalg.vector_norm(x(B), axis=(0, 1), ord=3),
    "sort": lambda x: np.sort(x(B), 0, "stable"),
    "sort-stable": lambda x: np.sort(x(B), stable=True, axis=None),
}


@pytest.mark.parametrize("name", CALLS)
def test_numpys_ways_of_calling(name: str) -> None:
    got = CALLS[name](lambda a: tg.tensor(a, requires_grad=True))
    wanted = CALLS[name](lambda a: a)
    assert isinstance(got, Tensor)
    assert got.requires_grad
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-13)


ERRORS: list[tuple[Any, Any, str]] = [
    (lambda: np.std(tg.tensor(A), where=A > 0), TypeError, "std.* does not take 'where'"),
    (lambda: np.std(tg.tensor(A), ddof=1, correction=1), TypeError, r"np\.std got two values of 'ddof'"),
    (lambda: np.clip(tg.tensor(A), a_min=0, min=0), TypeError, r"np\.clip got two values of 'min'"),
    (lambda: np.average(tg.tensor(A), weights=[1.0, 2, 3]), TypeError, "average: weights .* need an axis"),
    (lambda: tg.average(A, axis=0, weights=np.ones(3)), ValueError, "average: weights must have the shape"),
    (lambda: tg.average(A, weights=A * 0), ZeroDivisionError, "average: weights sum to zero"),
    (lambda: tg.norm(A[0], 0), ValueError, "norm: .*ord=0 counts the elements that are not 0"),
    (lambda: tg.norm(A[0], "fro"), ValueError, "norm: ord='fro' is a norm of matrices, got 1 axes"),
    (lambda: tg.norm(B, 2), ValueError, "norm: ord=2 is a norm of vectors or matrices, got 3 axes"),
    (lambda: tg.norm(A, 3), ValueError, "norm: ord=3 is no norm of matrices"),
    (lambda: tg.norm(tg.tensor(A), axis=2), np.exceptions.AxisError, "norm: axis 2 is out of bounds"),
    (lambda: np.sort(tg.tensor(A), order="f"), TypeError, "sort.* does not take 'order'"),
]  # fmt: skip


@pytest.mark.parametrize("case", ERRORS, ids=[e[2][:24] for e in ERRORS])
def test_errors_name_the_operation(case: Any) -> None:
    call, kind, words = case
    with pytest.raises(kind, match=words):
        call()


# ------------------------------------------------------------------------------- axes that do not exist

REDUCTIONS = [p for p in REGISTRY.values() if {"axis", "keepdims"} <= p.static_set]
ALONG = [tg.softmax, tg.log_softmax, tg.cumsum, tg.cumprod, tg.sort, tg.flip, tg.unstack]
BAD_AXES: list[tuple[tuple[int, ...], Any, Any]] = [
    *[((2, 3), axis, np.exceptions.AxisError) for axis in (2, 99, -3, (0, 5), (-3,))],
    *[((2, 3), axis, ValueError) for axis in ((0, 0), (0, -2))],
    *[((2, 3), axis, TypeError) for axis in (1.5, "0", (0, 1.5))],
    ((), (0,), np.exceptions.AxisError),
]


@pytest.mark.parametrize("bad", BAD_AXES, ids=str)
@pytest.mark.parametrize("p", REDUCTIONS + ALONG, ids=lambda p: p.name)
def test_an_axis_that_does_not_exist_is_refused(p: Any, bad: Any) -> None:
    shape, axis, kind = bad
    if p in ALONG and isinstance(axis, tuple):
        kind = (kind, TypeError)  # most take one axis only
    for x in (np.ones(shape), tg.tensor(np.ones(shape), requires_grad=True)):
        with pytest.raises(kind, match=f"^{p.name}" if isinstance(x, Tensor) else None):
            p(x, axis=axis)


def test_ends_of_differences_are_weak() -> None:
    """Where they are Python's numbers, as operands are; in NumPy they would make float64 of float32."""
    x = tg.tensor(np.array([[1, -2, 3], [0.5, 4, -1.5]], "f4"))
    np.testing.assert_array_equal(
        tg.diff(x, prepend=1, append=2.5).numpy()[:, [0, -1]], [[0, -0.5], [-0.5, 4]]
    )
    assert tg.diff(x, prepend=1, append=2.5).dtype == np.float32
    assert tg.diff(x, prepend=np.float64(1)).dtype == np.float64
