"""Choices that no difference quotient can check, and behaviour at the edges of floating-point numbers."""

import warnings
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops import REGISTRY
from tinygrad_rnn.ops import index as index_ops
from tinygrad_rnn.tensors import Tensor


def gradient(f: Any, *values: Any, dtype: Any = np.float64, seed: Any = None) -> list[np.ndarray]:
    leaves = [tg.tensor(np.array(v, dtype), requires_grad=True) for v in values]
    y = f(*leaves)
    y.backward(np.ones(y.shape) if seed is None else seed)
    return [np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in leaves]


def torch_gradient(f: Any, *values: Any) -> list[np.ndarray]:
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs PyTorch")
    leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]
    f(torch, *leaves).sum().backward()
    return [x.grad.numpy() for x in leaves]


# ------------------------------------------------------------------------------------- ties and kinks


@pytest.mark.parametrize("f", [tg.maximum, tg.minimum])
def test_tied_maximum_and_minimum_give_half_to_each(f: Any) -> None:
    sign = 1 if f is tg.maximum else -1
    a, b = gradient(f, [1.0, 2.0, 5.0], [1.0, 3.0, 4.0])
    np.testing.assert_array_equal(a, [0.5, 0, 1] if sign > 0 else [0.5, 1, 0])
    np.testing.assert_array_equal(b, 1 - a)
    assert gradient(lambda x: f(x, x), [3.0])[0] == [1.0]
    assert gradient(lambda x: f(x, 0.0), [0.0])[0] == [0.5]


@pytest.mark.parametrize("f", [tg.max, tg.min])
def test_tied_elements_of_max_and_min_share_equally(f: Any) -> None:
    x = [[2.0, 7.0, 2.0], [2.0, 2.0, 2.0], [7.0, 7.0, 2.0]]
    wanted = (np.array(x) == (7.0 if f is tg.max else 2.0)).astype(float)
    (g,) = gradient(f, x)
    np.testing.assert_allclose(g, wanted / wanted.sum(), rtol=1e-15)
    (g,) = gradient(lambda x: f(x, axis=1), x)
    rows = [[0, 1, 0], [1 / 3] * 3, [0.5, 0.5, 0]] if f is tg.max else [[0.5, 0, 0.5], [1 / 3] * 3, [0, 0, 1]]
    np.testing.assert_allclose(g, rows, rtol=1e-15)


def test_derivative_of_relu_at_0_is_0() -> None:
    np.testing.assert_array_equal(gradient(tg.relu, [-1.0, 0.0, -0.0, 2.0])[0], [0, 0, 0, 1])


def test_derivative_of_abs_at_0_is_0() -> None:
    np.testing.assert_array_equal(gradient(tg.abs, [-1.0, 0.0, 2.0])[0], [-1, 0, 1])


def test_derivative_of_clip_on_a_bound_is_1() -> None:
    x = [-2.0, -1.0, 0.0, 1.0, 2.0]
    np.testing.assert_array_equal(gradient(lambda x: tg.clip(x, -1, 1), x)[0], [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(gradient(lambda x: tg.clip(x, min=-1), x)[0], [0, 1, 1, 1, 1])
    np.testing.assert_array_equal(gradient(lambda x: tg.clip(x, max=1), x)[0], [1, 1, 1, 1, 0])
    np.testing.assert_array_equal(gradient(lambda x: tg.clip(x), x)[0], [1, 1, 1, 1, 1])


@pytest.mark.parametrize("bounds", [{"min": -1}, {"max": 1}, {"min": -1, "max": 1}, {}], ids=str)
def test_clip_on_one_side_on_both_and_on_neither(bounds: Any) -> None:
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    low, high = bounds.get("min", -np.inf), bounds.get("max", np.inf)
    wanted = [min(max(v, low), high) for v in x.tolist()]
    np.testing.assert_array_equal(tg.clip(x, **bounds), wanted)
    y = tg.clip(x, **bounds)
    y[:] = 7
    assert x[0] == -2


def test_where_gives_the_branch_not_chosen_exactly_0() -> None:
    """Also where that branch's value is no number at all."""
    a, b = gradient(lambda a, b: tg.where(np.array([True, False]), a, b), [1.0, np.inf], [np.nan, 2.0])
    np.testing.assert_array_equal(a, [1, 0])
    np.testing.assert_array_equal(b, [0, 1])


CONVENTIONS = {
    "maximum": (lambda m, a, b: m.maximum(a, b), [0.0, 1.0, 2.0], [0.0, 2.0, 1.0]),
    "minimum": (lambda m, a, b: m.minimum(a, b), [0.0, 1.0, 2.0], [0.0, 2.0, 1.0]),
    "amax": (lambda m, x: x.amax(1) if m is not tg else x.max(1), [[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]),
    "amin": (lambda m, x: x.amin(1) if m is not tg else x.min(1), [[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]),
    "relu": (lambda m, x: m.relu(x), [-1.0, 0.0, 1.0]),
    "abs": (lambda m, x: m.abs(x), [-1.0, 0.0, 1.0]),
    "clip": (lambda m, x: m.clip(x, -1.0, 1.0), [-2.0, -1.0, 0.0, 1.0, 2.0]),
    "power-0-base": (lambda m, x: x**2, [0.0, -2.0, 3.0]),
    "power-0-exponent": (lambda m, x: x**0, [0.0, -2.0, 3.0]),
    "power-both": (lambda m, a, b: a**b, [0.0, 2.0, 0.0, 3.0], [2.0, 0.0, 0.0, -1.5]),
    "rpow": (lambda m, x: 2.0**x, [0.0, -2.0, 3.0]),
    "logsumexp": (lambda m, x: m.logsumexp(x, 1), [[0.0, -np.inf, 3.0], [1e4, -1e4, 1e4]]),
    "softmax": (lambda m, x: m.softmax(x, -1) ** 2, [[0.0, -np.inf, 3.0], [1e4, -1e4, 1e4]]),
    "log_softmax": (lambda m, x: m.log_softmax(x, -1) ** 2, [[0.0, 1.0, 3.0], [1e2, -1e2, 1e1]]),
    "sigmoid": (lambda m, x: m.sigmoid(x), [-3.0, 0.0, 3.0, 50.0]),
    "softplus": (lambda m, x: m.log1p(m.exp(x)) if m is not tg else tg.softplus(x), [-3.0, 0.0, 3.0]),
    "matmul": (lambda m, a, b: m.matmul(a, b) ** 2, [[1.0, 2.0], [3.0, -1.0]], [[0.5, 1.0], [2.0, 3.0]]),
    "sqrt": (lambda m, x: m.sqrt(x), [4.0, 0.25]),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_gradients_are_pytorchs(name: str) -> None:
    f, *values = CONVENTIONS[name]
    for mine, theirs in zip(
        gradient(lambda *xs: f(tg, *xs), *values), torch_gradient(f, *values), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-15)


FLAT: dict[str, tuple[Any, Any]] = {
    "relu": (tg.relu, lambda x: x > 0),
    "clip": (lambda x: tg.clip(x, -1, 1), lambda x: abs(x) <= 1),
    "clip-from": (lambda x: tg.clip(x, 0, None), lambda x: x >= 0),
    "clip-to": (lambda x: tg.clip(x, None, 0), lambda x: x <= 0),
    "hard_tanh": (tg.hard_tanh, lambda x: abs(x) < 1),
    "hard_sigmoid": (lambda x: 6 * tg.hard_sigmoid(x), lambda x: abs(x) < 3),
    "where": (lambda x: tg.where(x > 0.5, x, 0), lambda x: x > 0.5),
    "where-not": (lambda x: tg.where(x > 0.5, 0, x), lambda x: x <= 0.5),
    "maximum": (lambda x: tg.maximum(x, 0.8), lambda x: x > 0.8),
    "max": (tg.max, lambda x: x == x.max()),
    "max-of-rows": (lambda x: tg.max(x[:, None], axis=0), lambda x: x == x.max()),
    "min": (tg.min, lambda x: x == x.min()),
    "norm": (lambda x: tg.norm(x - 0.25, ord=np.inf), lambda x: x == x.min()),
    "sign": (tg.sign, lambda x: x > np.inf),
    "power-0": (lambda x: x**0, lambda x: x > np.inf),
    "index_put": (
        lambda x: tg.index_put(np.zeros(1), x.size * [0], x),
        lambda x: np.arange(x.size) == x.size - 1,
    ),
}


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("count", [33, 801])
@pytest.mark.parametrize("name", FLAT)
def test_what_is_chosen_has_all_of_the_cotangent_and_the_rest_exactly_0(
    name: str, count: int, recorded: bool
) -> None:
    """Though the cotangent be infinite: 0 times that is none. Large arrays have a way of their own."""
    f, where = FLAT[name]
    data = np.random.default_rng(0).permutation(np.linspace(-4, 4, count))
    for size in (np.inf, 2.0):
        x = tg.tensor(data, requires_grad=True)
        y = f(x)
        y.backward(np.full(y.shape, size), create_graph=recorded)
        wanted = np.where(where(data), size, 0)
        np.testing.assert_array_equal(np.abs(x.grad.numpy()), wanted)


def test_roots_of_what_has_been_cut_off_at_0() -> None:
    """As in PyTorch, whose derivative of the root is infinite there too."""
    for f in (tg.relu, lambda x: tg.clip(x, 0, None), lambda x: tg.hard_tanh(x, min_val=0.0, max_val=9.0)):
        x = tg.tensor(np.array([-2.0, 4.0]), requires_grad=True)
        with np.errstate(divide="ignore"):
            tg.sqrt(f(x)).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), [0, 0.25])


# -------------------------------------------------------------------------------------------- powers


@pytest.mark.parametrize("power", [lambda x, n: x**n, lambda x, n: x ** np.array(float(n)), tg.power])
def test_powers_at_0_and_of_negative_numbers(power: Any) -> None:
    np.testing.assert_array_equal(gradient(lambda x: power(x, 0), [0.0, -2.0, 3.0])[0], [0, 0, 0])
    np.testing.assert_array_equal(gradient(lambda x: power(x, 1), [0.0, -2.0, 3.0])[0], [1, 1, 1])
    np.testing.assert_array_equal(gradient(lambda x: power(x, 2), [0.0, -2.0, 3.0])[0], [0, -4, 6])
    np.testing.assert_array_equal(gradient(lambda x: power(x, 3), [0.0, -2.0, 3.0])[0], [0, 12, 27])
    np.testing.assert_allclose(gradient(lambda x: power(x, -1), [-2.0, 4.0])[0], [-0.25, -0.0625])


def test_arrays_of_exponents_at_0() -> None:
    a, b = gradient(tg.power, [0.0, 0.0, 2.0], [0.0, 2.0, 0.0])
    np.testing.assert_array_equal(a, [0, 0, 0])
    np.testing.assert_allclose(b, [0, 0, np.log(2)])


@pytest.mark.parametrize(
    "exponent", [0, 1, 2, 3, 2.0, -1, 0.5, np.float64(2), np.array([0.0, 1.0, 2.0, 3.0, 2.5])]
)
def test_second_derivatives_of_powers(exponent: Any) -> None:
    x = np.linspace(0.5, 2.5, 5)
    assert tg.gradcheck(lambda x: x**exponent, x)
    assert tg.gradgradcheck(lambda x: x**exponent, x)
    if not isinstance(exponent, int):
        assert tg.gradgradcheck(lambda x, n: x**n, x, np.asarray(exponent) + np.zeros(5))


def test_second_derivatives_of_powers_at_0() -> None:
    for exponent, wanted in [(0, 0), (1, 0), (2, 2), (3, 0), (np.array([2.0]), 2), (np.array([0.0]), 0)]:
        x = tg.tensor(np.zeros(1), requires_grad=True)
        (x**exponent).backward(create_graph=True)
        first = x.grad
        x.grad = None
        if first.requires_grad:
            first.backward()
        assert (np.zeros(1) if x.grad is None else x.grad.numpy()) == [wanted]


@pytest.mark.parametrize("base", [2.0, 3, np.float64(2), np.array([0.5, 1.0, 2.0])])
def test_powers_of_a_constant(base: Any) -> None:
    n = np.array([-1.0, 0.0, 2.0])
    assert tg.gradcheck(lambda n: base**n, n)
    assert tg.gradgradcheck(lambda n: base**n, n)


def test_square_and_power_2_agree_in_float32() -> None:
    x = np.float32([1e-20, 3.0, -1e10])
    np.testing.assert_array_equal(gradient(lambda x: x**2, x, dtype="f4")[0], 2 * x)
    np.testing.assert_array_equal(gradient(tg.square, x, dtype="f4")[0], 2 * x)


# ------------------------------------------------------------------------------------------ stability

EXTREME = [-1e4, -800.0, -100.0, -88.5, -1.0, 0.0, 1.0, 88.5, 100.0, 800.0, 1e4]
STABLE = [
    tg.sigmoid,
    tg.softplus,
    tg.tanh,
    tg.logsumexp,
    tg.softmax,
    tg.log_softmax,
    lambda x: tg.logsumexp(x, axis=-1, keepdims=True),
]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("f", STABLE)
def test_extreme_values_and_gradients_are_finite(f: Any, dtype: str) -> None:
    """Warnings are errors here, so an overflow on the way would also be seen."""
    for values in (EXTREME, [-1e4], [1e4], [1e4, 1e4], [-1e4, 1e4]):
        x = tg.tensor(np.array(values, dtype), requires_grad=True)
        y = f(x)
        assert np.isfinite(y.numpy()).all()
        assert y.dtype == dtype
        for create_graph in (False, True):
            x.grad = None
            y.backward(np.ones(y.shape, dtype), retain_graph=True, create_graph=create_graph)
            assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("f", STABLE[:4])
def test_extreme_numbers_off_the_array_path(f: Any, dtype: str) -> None:
    """0-d arrays and Python numbers take a way of their own through some forward functions."""
    for value in (-1e4, -89.0, 89.0, 1e4):
        x = tg.tensor(np.array(value, dtype), requires_grad=True)
        f(x).backward()
        assert np.isfinite(f(x).numpy())
        assert np.isfinite(x.grad.numpy())
        assert np.isfinite(f(value))


def test_stable_values_are_exact() -> None:
    x = np.array(EXTREME)
    for dtype, rtol in (("f4", 1e-6), ("f8", 1e-14)):
        inner = np.array([-50.0, -30.0, -1.0, 0.0, 2.0, 30.0], dtype)
        wide = inner.astype(np.longdouble)
        np.testing.assert_allclose(tg.sigmoid(inner), 1 / (1 + np.exp(-wide)), rtol=rtol)
        np.testing.assert_allclose(tg.softplus(inner), np.log1p(np.exp(wide)), rtol=rtol)
        np.testing.assert_allclose(tg.logsumexp(inner), np.log(np.exp(wide).sum()), rtol=rtol)
        np.testing.assert_allclose(tg.softmax(inner), np.exp(wide) / np.exp(wide).sum(), rtol=rtol)
    np.testing.assert_array_equal(tg.softplus(x)[-2:], [800.0, 1e4])
    assert tg.sigmoid(1e4) == 1
    assert 0 <= tg.sigmoid(-1e4) < 1e-300
    assert tg.logsumexp(np.array([1e4, 1e4])) == 1e4 + np.log(2)
    np.testing.assert_array_equal(tg.log_softmax(np.array([1e4, -1e4])), [0, -2e4])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_masked_logits(dtype: str) -> None:
    """The mask idiom: -inf takes an element out of a softmax, in values and gradients, without a warning."""
    inf = np.inf
    data = np.array([[1.0, -inf, 2.0], [0.5, 0.25, -inf]], dtype)
    keep = np.isfinite(data)
    for f in (tg.softmax, lambda x: tg.logsumexp(x, axis=-1), lambda x: tg.where(keep, tg.log_softmax(x), 0)):
        x = tg.tensor(data, requires_grad=True)
        y = f(x)
        (y * y).sum().backward(create_graph=True)
        g = x.grad
        assert np.isfinite(y.numpy()).all()
        assert np.isfinite(g.numpy()).all()
        assert not g.numpy()[~keep].any()
        x.grad = None
        (g * g).sum().backward()
        assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("f", [tg.softmax, tg.logsumexp, tg.log_softmax])
def test_masked_logits_are_like_absent_ones(f: Any) -> None:
    x, short = np.array([1.0, -np.inf, 2.0, -0.5]), np.array([1.0, 2.0, -0.5])
    seed = np.ones(()) if f is tg.logsumexp else np.array([1.0, 0.0, 2.0, 3.0])
    short_seed = seed if f is tg.logsumexp else seed[[0, 2, 3]]
    (g,) = gradient(f, x, seed=seed)
    (wanted,) = gradient(f, short, seed=short_seed)
    np.testing.assert_allclose(g[[0, 2, 3]], wanted, rtol=1e-14)
    assert g[1] == 0


def test_logsumexp_where_all_is_masked() -> None:
    x = tg.tensor(np.array([[-np.inf, -np.inf], [0.0, 0.0]]), requires_grad=True)
    y = tg.logsumexp(x, axis=1)
    np.testing.assert_array_equal(y.numpy(), [-np.inf, np.log(2)])
    y.backward(np.ones(2))
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0], [0.5, 0.5]])


def test_shares_of_a_sum_add_up_to_1_in_float16_too() -> None:
    """Though the logarithm of the sum, which they are reckoned from, has lost digits."""
    (g,) = gradient(tg.logsumexp, [10.0, 10.0], dtype=np.float16)
    np.testing.assert_allclose(g.astype(float), [0.5, 0.5], rtol=1e-3)


def test_no_degrees_of_freedom_left() -> None:
    for f in (tg.var, np.var):
        with np.errstate(divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            assert f(np.array([1.0, 2.0, 4.0]), ddof=3) == np.inf
            assert f(np.array([1.0, 2.0, 4.0]), ddof=4) == np.inf
            assert f(np.array([1.0, 2.0, 4.0]), ddof=3.5) == np.inf


def test_infinities_are_not_hidden() -> None:
    """A loss that went wrong shows: NaN in, NaN out."""
    for f in (*STABLE, tg.relu, tg.max, tg.mean):
        assert np.isnan(f(tg.tensor(np.array([np.nan, 1.0]))).numpy()).any()


# -------------------------------------------------------------------------------------------- indexing


def test_repeated_indices_add_up() -> None:
    x = tg.tensor(np.arange(3.0), requires_grad=True)
    x[np.array([0, 2, 2, -1])].backward(np.array([1.0, 10, 100, 1000]))
    np.testing.assert_array_equal(x.grad.numpy(), [1, 0, 1110])
    x.grad = None
    tg.take(x, [1, 1, 1]).backward(np.array([1.0, 2, 3]))
    np.testing.assert_array_equal(x.grad.numpy(), [0, 6, 0])
    y = tg.tensor(np.zeros((2, 2)), requires_grad=True)
    tg.take_along_axis(y, np.array([[1, 1, 0]]), axis=1).backward(np.array([[1.0, 2, 4], [8, 16, 32]]))
    np.testing.assert_array_equal(y.grad.numpy(), [[4, 3], [32, 24]])


INDICES = [
    0, -1, slice(None), slice(None, None, -1), slice(1, 1), None, ..., (), True, False, (0, 1), (..., 0),
    (None, 1, ...), np.int64(1), np.array(1), [0, 0],
    np.array([1, -1, 1]), ([0, 1], [1, 1]), (slice(None), [2, 0, 2]),
    (np.array([[0], [1]]), np.array([0, 2])), np.array([True, False]), (np.array([True, True]), [0, 0]),
    np.eye(2, 3, dtype=bool), (slice(None), np.array([True, False, True])), ([1, 1], None, slice(0, 2)),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_every_kind_of_index(index: Any) -> None:
    a = np.arange(12.0).reshape(2, 3, 2)
    x = tg.tensor(a, requires_grad=True)
    y = x[index]
    wanted = a[index]
    np.testing.assert_array_equal(y.numpy(), wanted)
    counts = np.zeros_like(a)
    np.add.at(counts, index, 1)
    y.backward(np.ones(y.shape))
    np.testing.assert_array_equal(x.grad.numpy(), counts)
    assert tg.gradgradcheck(lambda x: x[index] ** 2, a)


@pytest.mark.parametrize(
    "index",
    [
        1, np.int64(1), slice(1, None), None, ..., True, np.False_, (0, ..., None, slice(1)),
        np.array([2, 0]), np.array([True, False, True]), np.eye(3, 2, dtype=bool),
        (slice(None), np.array([True, False])),
    ],
    ids=str,
)  # fmt: skip
def test_what_names_no_place_twice_is_added_at_once(monkeypatch: Any, index: Any) -> None:
    """And not by np.add.at, which takes ten times as long."""
    x = tg.tensor(np.ones((3, 2)), requires_grad=True)
    y = x[index]

    class Without:
        def __getattr__(self, name: str) -> Any:
            assert name != "add"
            return getattr(np, name)

    monkeypatch.setattr(index_ops, "np", Without())
    y.backward(np.ones(y.shape))
    np.testing.assert_array_equal(x.grad.numpy().sum(), y.size)


def test_as_many_pieces_as_places() -> None:
    with pytest.raises(ValueError, match="scatter"):
        REGISTRY["scatter"]([tg.tensor(np.ones(2)), tg.tensor(np.ones(2))], indices=[0], shape=(3, 2))


def test_tensors_as_indices() -> None:
    x = tg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    rows = tg.tensor(np.array([1, 0]))
    assert np.array_equal(x[rows].numpy(), x.numpy()[[1, 0]])
    assert np.array_equal(x[rows, rows].numpy(), [4, 0])
    assert np.array_equal(x[tg.tensor(np.array(1))].numpy(), [3, 4, 5])
    assert [10, 20][tg.tensor(np.array(1))] == 20
    assert isinstance(tg.take(x, rows, axis=0), Tensor)
    assert np.array_equal(tg.where(tg.tensor(np.array([True, False, True])), x, 0).numpy()[0], [0, 0, 2])


@pytest.mark.parametrize("f", [lambda x, i: x[i], tg.take, tg.repeat, lambda x, i: tg.index_put(x, i, 1.0)])
def test_indices_are_not_changed_before_backward(f: Any) -> None:
    """They are not copied; detect_anomaly locks them."""
    x, i = tg.tensor(np.ones(2), requires_grad=True), np.array([0, 1])
    with tg.detect_anomaly():
        y = f(x, i)
        with pytest.raises(ValueError, match="read-only"):
            i[:] = 1
    y.sum().backward()


NOWHERE: dict[str, tuple[Any, Any]] = {
    "take": (lambda x: tg.take(x, []), lambda a: a.ravel()[:0]),
    "take-from-nothing": (lambda x: tg.take(x[:0], ()), lambda a: a.ravel()[:0]),
    "take-rows": (lambda x: np.take(x, [[]], axis=0), lambda a: np.zeros((1, 0, 3))),
    "take_along_axis": (lambda x: tg.take_along_axis(x, [[], []], axis=1), lambda a: a[:, :0]),
    "repeat": (lambda x: tg.repeat(x[:, :0], [], axis=1), lambda a: a[:, :0]),
    "repeat-flat": (lambda x: np.repeat(x[:0], ()), lambda a: a[0, :0]),
    "roll": (lambda x: tg.roll(x, (), ()), lambda a: a),
    "index_put": (lambda x: tg.index_put(x, [], 1.0), lambda a: a),
    "index_put-pairs": (lambda x: tg.index_put(x, ([], []), 1.0), lambda a: a),
    "index_put-added": (lambda x: tg.index_put(x, (..., []), 1.0, accumulate=True), lambda a: a),
    "index_add": (lambda x: tg.index_add(x, (), x[:0]), lambda a: a),
    "put_along_axis": (lambda x: tg.put_along_axis(x, [[], []], 1.0, axis=1), lambda a: a),
    "segment_sum": (lambda x: tg.segment_sum(x[:0], [], num_segments=2), lambda a: 0 * a),
    "segment_sum-no-segments": (lambda x: tg.segment_sum(x[:0], []), lambda a: a[:0]),
}


@pytest.mark.parametrize("name", NOWHERE)
def test_empty_lists_of_positions(name: str) -> None:
    """They hold whole numbers, though NumPy makes an array of floats of them."""
    a = np.arange(1.0, 7.0).reshape(2, 3)
    f, wanted = NOWHERE[name]
    x = tg.tensor(a, requires_grad=True)
    for y in (f(a), f(x).numpy()):
        np.testing.assert_array_equal(y, wanted(a))
    assert tg.gradcheck(f, a)


def test_numbers_among_joined_arrays() -> None:
    (g,) = gradient(lambda x: tg.concatenate([1.0, x, 2.0, x], axis=None), [[3.0, 4.0]], seed=np.arange(6.0))
    np.testing.assert_array_equal(g, [[1 + 4, 2 + 5]])
