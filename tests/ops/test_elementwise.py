"""Special and activation functions: their values to the last digits, PyTorch's gradients, and the edges."""

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.tensors import Tensor


def gradient(f: Any, *values: Any) -> list[np.ndarray]:
    leaves = [tg.tensor(np.array(v, float), requires_grad=True) for v in values]
    y = f(*leaves)
    y.backward(np.ones(y.shape))
    return [x.grad.numpy() for x in leaves]


# ------------------------------------------------------------------------------------- error function

POINTS = np.concatenate(
    [
        np.linspace(-7, 7, 1001),
        np.logspace(-300, 0.9, 600),
        -np.logspace(-8, 2, 250),
        np.nextafter(np.repeat([0.84375, 1.25, 1 / 0.35, 6.0, 0.25, 28.0], 2), [-9, 9] * 6),
        np.linspace(5, 27, 150),
    ]
)


def test_erf_to_the_last_digits() -> None:
    assert POINTS.size > 2000
    exact = np.array([math.erf(v) for v in POINTS])
    assert np.max(np.abs(tg.erf(POINTS) - exact)[exact != 0] / np.abs(exact[exact != 0])) <= 4e-16
    assert tg.erf(0.0) == 0
    np.testing.assert_array_equal(tg.erf(-POINTS), -tg.erf(POINTS))


def test_erfc_to_the_last_digits_in_its_tail() -> None:
    exact = np.array([math.erfc(v) for v in POINTS])
    normal = exact > 1e-305
    assert np.max(np.abs(tg.erfc(POINTS) - exact)[normal] / exact[normal]) <= 8e-16
    np.testing.assert_allclose(tg.erfc(POINTS), exact, rtol=0, atol=1e-305 + 4e-16)


def test_erfc_is_rounded_once_or_twice_where_it_leaves_1() -> None:
    """The last digit is worth up to 2.2e-16: fewer than a rounding of 1 and one of the result."""
    mpmath = pytest.importorskip("mpmath", reason="more digits than float64 has need mpmath")
    x = np.linspace(-0.85, 0.85, 501)
    with mpmath.workdps(30):
        errors = [float(abs(y / mpmath.erfc(v) - 1)) for v, y in zip(x, tg.erfc(x).tolist(), strict=True)]
    assert max(errors) < 2.2e-16


@pytest.mark.parametrize(("f", "exact"), [(tg.erf, math.erf), (tg.erfc, math.erfc)])
def test_error_functions_round_correctly_to_float32(f: Any, exact: Any) -> None:
    x = np.linspace(-5, 5, 501, dtype=np.float32)
    wanted = np.array([exact(float(v)) for v in x])
    assert f(x).dtype == np.float32
    np.testing.assert_array_equal(f(x), wanted.astype(np.float32))
    assert f(x.astype(np.float16)).dtype == np.float16


def test_error_functions_at_the_edges() -> None:
    edges = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, -1e300])
    np.testing.assert_array_equal(tg.erf(edges), [np.nan, 1, -1, 0, 0, 1, -1])
    assert np.signbit(tg.erf(edges)[4])
    np.testing.assert_array_equal(tg.erfc(edges), [np.nan, 0, 2, 1, 1, 0, 2])
    assert tg.erf(0.5) == math.erf(0.5)
    assert tg.erf(np.array([1, 2])).dtype == np.float64
    assert tg.erf(np.zeros((0, 3))).shape == (0, 3)
    for f in (tg.erf, tg.erfc):
        np.testing.assert_array_equal(gradient(f, [1e300, -1e300, np.inf])[0], 0)
        with pytest.raises(TypeError, match="complex numbers"):
            f(np.array([1j]))


# ---------------------------------------------------------------------------------------- activations

INNER = np.array([-30.0, -6.0, -3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0, 6.0, 30.0])
ACTIVATIONS = {
    "gelu": (tg.gelu, lambda F, x: F.gelu(x)),
    "gelu-tanh": (lambda x: tg.gelu(x, approximate="tanh"), lambda F, x: F.gelu(x, approximate="tanh")),
    "silu": (tg.silu, lambda F, x: F.silu(x)),
    "elu": (tg.elu, lambda F, x: F.elu(x)),
    "elu-alpha": (lambda x: tg.elu(x, alpha=0.3), lambda F, x: F.elu(x, alpha=0.3)),
    "leaky_relu": (tg.leaky_relu, lambda F, x: F.leaky_relu(x)),
    "leaky_relu-slope": (lambda x: tg.leaky_relu(x, 0.2), lambda F, x: F.leaky_relu(x, 0.2)),
    "hard_sigmoid": (tg.hard_sigmoid, lambda F, x: F.relu6(x + 3) / 6),
    "hard_tanh": (tg.hard_tanh, lambda F, x: F.hardtanh(x)),
    "hard_tanh-bounds": (lambda x: tg.hard_tanh(x, -3.0, 0.3), lambda F, x: F.hardtanh(x, -3.0, 0.3)),
    "softplus": (tg.softplus, lambda F, x: F.softplus(x, threshold=1e9)),
    "erf": (tg.erf, lambda F, x: x.erf()),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_have_pytorchs_values_and_gradients(name: str) -> None:
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs PyTorch")
    mine, theirs = ACTIVATIONS[name]
    for points in (INNER, np.random.default_rng(0).uniform(-5, 5, 200)):
        x = torch.tensor(points, requires_grad=True)
        y = theirs(torch.nn.functional, x)
        y.sum().backward()
        np.testing.assert_allclose(mine(points), y.detach().numpy(), rtol=1e-12, atol=1e-15)
        # Theirs has a 1 + tanh in it, and a 1 + erf, which cancel to the left.
        np.testing.assert_allclose(gradient(mine, points)[0], x.grad.numpy(), rtol=1e-11, atol=1e-14)


def test_derivatives_at_the_kinks() -> None:
    np.testing.assert_array_equal(gradient(lambda x: tg.elu(x, alpha=0.5), [0.0])[0], [0.5])
    np.testing.assert_array_equal(gradient(tg.leaky_relu, [0.0])[0], [0.01])
    np.testing.assert_array_equal(gradient(tg.hard_sigmoid, [-3.0, 3.0])[0], [0, 0])
    np.testing.assert_array_equal(gradient(tg.hard_tanh, [-1.0, 1.0])[0], [0, 0])
    np.testing.assert_array_equal(gradient(tg.fabs, [0.0])[0], [0])
    np.testing.assert_array_equal(gradient(tg.sign, [-2.0, 0.0, 2.0])[0], [0, 0, 0])
    for f in (tg.hypot, tg.arctan2):
        np.testing.assert_array_equal(gradient(f, [0.0], [0.0]), [[0], [0]])
        second = tg.hessian(lambda x, f=f: f(x[0], x[1]))
        np.testing.assert_array_equal(second(np.zeros(2)), np.zeros((2, 2)))
        assert second(np.ones(2)).any()


EXTREME = [-1e4, -800.0, -100.0, -1.0, 0.0, 1.0, 100.0, 800.0, 1e4]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_extreme_activations_are_finite(name: str, dtype: str) -> None:
    """Warnings are errors here, so an overflow on the way would also be seen."""
    f = ACTIVATIONS[name][0]
    x = tg.tensor(np.array(EXTREME, dtype), requires_grad=True)
    y = f(x)
    assert np.isfinite(y.numpy()).all()
    assert y.dtype == dtype
    y.backward(np.ones(len(EXTREME), dtype), create_graph=True)
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_straight_far_from_0(approximate: str) -> None:
    """To the last digit: nothing is left of its bell."""
    far = [-1e4, -100.0, -60.0, 60.0, 100.0, 1e4]
    np.testing.assert_array_equal(
        gradient(lambda x: tg.gelu(x, approximate=approximate), far)[0], [0, 0, 0, 1, 1, 1]
    )


def test_settings_of_activations_are_checked() -> None:
    """The operation is named once, by the one who calls it."""
    for x in (np.ones(2), tg.tensor(np.ones(2))):
        with pytest.raises(
            ValueError, match=r"^gelu\([^:]*: approximate must be 'none' or 'tanh', got 'sigm"
        ):
            tg.gelu(x, approximate="sigmoid")
        with pytest.raises(
            ValueError, match=r"^hard_tanh\([^:]*: min_val must be less than max_val, got 1 and"
        ):
            tg.hard_tanh(x, 1, 1)


# ------------------------------------------------------------------------------------------ accuracy


def test_sigmoid_down_to_where_it_is_bounded() -> None:
    """There it is exp(x), and to the left of it a normal number, without a warning, in every dtype."""
    for dtype, bound in [("f2", -17.25), ("f4", -87), ("f8", -708), ("c16", -708)]:
        x = np.array([bound + 0.25, bound, 10 * bound], dtype)
        for y in (tg.sigmoid(x), np.array([tg.sigmoid(v) for v in x])):
            assert y.dtype == dtype
            np.testing.assert_allclose(y[:2], np.exp(x[:2]), rtol=1e-5, atol=3e-8 if dtype == "f2" else 0)
            assert (y[2] == 0) if dtype == "f2" else (y[2] == y[1])
            if dtype in ("f4", "f8"):
                assert y[2] > np.finfo(dtype).smallest_normal


def test_sinc_near_0() -> None:
    """sinc'(x) = -pi**2 x / 3 and so on, where the quotient would lose all its digits."""
    x = np.array([0.0, 1e-12, -1e-8, 1e-4])
    series = -(np.pi**2) * x / 3 + np.pi**4 * x**3 / 30
    np.testing.assert_allclose(gradient(tg.sinc, x)[0], series, rtol=1e-14)
    t = tg.tensor(np.zeros(1), requires_grad=True)
    second = tg.grad(lambda x: tg.grad(lambda x: tg.sinc(x).sum())(x).sum())(t)
    np.testing.assert_allclose(second.numpy(), [-(np.pi**2) / 3], rtol=1e-15)


def test_the_slope_of_sinc_to_the_last_digits() -> None:
    """Where it is a series, and where that gives way to the quotient."""
    mpmath = pytest.importorskip("mpmath", reason="more digits than float64 has need mpmath")
    x = np.append(np.linspace(0.01, 0.26, 26), np.nextafter(0.25, [0, 1]))
    with mpmath.workdps(30):
        turned = [(mpmath.pi * v, v) for v in x]
        exact = [float((mpmath.cos(t) - mpmath.sin(t) / t) / v) for t, v in turned]
    np.testing.assert_allclose(gradient(tg.sinc, x)[0], exact, rtol=8e-16)


def test_lengths_and_angles_do_not_overflow() -> None:
    big = [3e200], [4e200]
    np.testing.assert_allclose(gradient(tg.hypot, *big), [[0.6], [0.8]])
    np.testing.assert_allclose(gradient(tg.arctan2, *big), [[1.6e-201], [-1.2e-201]])
    for dtype in ("f2", "f4", "f8"):
        # Around the largest number whose square is finite; 1 is nothing beside that square.
        x = (np.float64([-2, -1.2, 1, 1.0005, 2]) * np.sqrt(float(np.finfo(dtype).max))).astype(dtype)
        rtol = 2 * float(np.finfo(dtype).eps)
        for f, power in ((tg.arcsinh, 1), (tg.arctan, 2)):
            t = tg.tensor(x, requires_grad=True)
            f(t).backward(np.ones(5, dtype))
            wanted = (1 / np.abs(x.astype(np.longdouble)) ** power).astype(dtype)
            np.testing.assert_allclose(t.grad.numpy(), wanted, rtol=rtol, atol=np.finfo(dtype).tiny)


def test_logaddexp_of_masked_terms() -> None:
    inf = np.inf
    a, b = gradient(tg.logaddexp, [-inf, -inf, 1.0, 1e4], [-inf, 2.0, 1.0, -1e4])
    np.testing.assert_allclose(a, [0, 0, 0.5, 1], rtol=1e-15)
    np.testing.assert_allclose(b, [0, 1, 0.5, 0], rtol=1e-15)


def test_shares_of_a_sum_of_two_add_up_to_1() -> None:
    """Though the logarithm of the sum, which they are reckoned from, has lost digits."""
    big = [1e15, -1e15, 3e15]
    np.testing.assert_array_equal(gradient(tg.logaddexp, big, big), np.full((2, 3), 0.5))


# ------------------------------------------------------------------------------- choices among values


def test_nan_to_num_cuts_the_cotangent() -> None:
    x = [np.nan, np.inf, -np.inf, 2.0]
    (g,) = gradient(tg.nan_to_num, x)
    np.testing.assert_array_equal(g, [0, 0, 0, 1])
    for given in (np.float32(x), np.float64(x), np.array([1, 2])):
        for options in ({}, {"nan": 7.0}, {"posinf": 1.0, "neginf": -1.0}):
            got = np.nan_to_num(tg.tensor(given), **options)
            wanted = np.nan_to_num(given, **options)
            assert (got.dtype, isinstance(got, Tensor)) == (wanted.dtype, True)
            np.testing.assert_array_equal(got.numpy(), wanted)
    with pytest.raises(TypeError, match="copy=False would write into the tensor"):
        np.nan_to_num(tg.tensor(given), copy=False)


def test_select_takes_the_first_that_holds() -> None:
    a, b, d = (tg.tensor(np.full(4, v), requires_grad=True) for v in (1.0, 2.0, 3.0))
    conditions = [np.array([True, True, False, False]), np.array([True, False, True, False])]
    y = np.select(conditions, [a, b], default=d)
    np.testing.assert_array_equal(y.numpy(), [1, 1, 2, 3])
    y.backward(np.ones(4))
    for x, wanted in zip((a, b, d), ([1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]), strict=True):
        np.testing.assert_array_equal(x.grad.numpy(), wanted)
    with pytest.raises(ValueError, match="select: 2 conditions for 1 choices"):
        np.select(conditions, [a])
    with pytest.raises(TypeError, match=r"select: conditions must be boolean arrays, .*, got int64"):
        tg.select([np.array([1, 0, 1, 0])], [a])
    with pytest.raises(ValueError, match="select: at least one"):
        tg.select([], [])


@pytest.mark.parametrize("f", [np.fmax, np.fmin])
def test_numbers_are_preferred_to_nan(f: Any) -> None:
    a, b = np.array([1.0, np.nan, 2.0, np.nan]), np.array([np.nan, 3.0, 2.5, np.nan])
    x, y = (tg.tensor(v, requires_grad=True) for v in (a, b))
    z = f(x, y)
    np.testing.assert_array_equal(z.numpy(), f(a, b))
    z[:3].sum().backward()
    larger = f is np.fmax
    np.testing.assert_array_equal(x.grad.numpy()[:3], [1, 0, not larger])
    np.testing.assert_array_equal(y.grad.numpy()[:3], [0, 1, larger])


@pytest.mark.filterwarnings("ignore:numpy.fix is deprecated")  # since NumPy 2.5
def test_what_rounds_or_compares_gives_plain_results() -> None:
    """On purpose: the derivative is 0 wherever there is one."""
    data = np.array([[1.5, -2.25, 0.0], [0.5, 4.75, 0.5]])
    t = tg.tensor(data, requires_grad=True)
    for f in (
        np.floor, np.ceil, np.rint, np.round, np.trunc, np.around, np.argmax, np.argmin, np.argsort,
        np.nonzero, np.argwhere, np.flatnonzero, np.count_nonzero, np.all, np.any, np.isfinite, np.isnan,
        np.isinf, np.isposinf, np.isneginf, np.signbit, np.isreal, np.iscomplex, np.lexsort,
        lambda x: np.isclose(x, data), lambda x: np.array_equiv(x, x), lambda x: np.isin(x, [0.5]),
        lambda x: np.argpartition(x, 1, axis=None), lambda x: np.digitize(x, [0.0, 1.0]),
        lambda x: np.searchsorted(np.sort(data, None), x), lambda x: np.searchsorted(x[1], 1.0),
        lambda x: x.argsort(), lambda x: x.argsort(0), lambda x: x.nonzero(), lambda x: x.round(1),
        lambda x: x.all(), lambda x: x.any(axis=0), lambda x: x // 1 if x is data else np.floor_divide(x, 1),
        getattr(np, "fix", np.trunc),
    ):  # fmt: skip
        got, wanted = f(t), f(data)
        for y, z in zip(*((v if isinstance(v, tuple) else (v,)) for v in (got, wanted)), strict=True):
            assert not isinstance(y, Tensor)
            np.testing.assert_array_equal(y, z)


def test_np_unique_is_refused() -> None:
    """It selects values, which do have a derivative: a plain result would lose it silently."""
    with pytest.raises(TypeError, match=r"np\.unique has no gradient rule"):
        np.unique(tg.tensor([1.0, 2.0], requires_grad=True))
