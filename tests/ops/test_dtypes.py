"""Every operation beyond float64: integers and booleans beside a tensor, float16 at its ends, NumPy's dtypes.

None is named here but exceptions: like the properties in test_registry.py these are made from declarations.
"""

import warnings
from typing import Any

import numpy as np
import pytest
from drawing import CALLS, Call, listed

import tinygrad_rnn as tg
from tinygrad_rnn.tensors import Tensor


def gradient(f: Any, x: Any, dtype: Any = np.float64) -> np.ndarray:
    leaf = tg.tensor(np.array(x, dtype), requires_grad=True)
    y = f(leaf)
    y.backward(np.ones(y.shape, y.dtype))
    return leaf.grad.numpy()


# --------------------------------------------------------------------- integers and booleans beside a tensor

WRITES = {"assign", "index_put", "put_along_axis"}
"""The result has the first operand's dtype: a floating-point tensor does not go into integers."""

WHOLE = ["?", "i1", "u1", "i2", "i8"]


def whole(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Small integers, but also those at both ends of int8 and uint8."""
    ends = {"?": [0, 1], "u": [0, 1, 2, 3, 255], "i": [-128, -2, -1, 0, 1, 2, 3, 127]}[dtype[0]]
    return np.asarray(rng.choice(ends, shape)).astype(dtype)


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("c", [p for p in CALLS if len(p.values[0].slots) > 1])
def test_whole_numbers_beside_a_tensor_are_like_floating_ones(c: Call, dtype: str) -> None:
    """No rule lets them wrap, or takes their logarithm in float16: gradients are those beside float64."""
    rng = np.random.default_rng(0)
    for mine in range(len(c.slots)):
        for _ in range(3):
            arrays = c.draw(rng)
            if c.operation.name == "solve" and mine:
                arrays[0] = np.diag(rng.integers(1, 2, c.slots[0].shape[-1]).astype(dtype)) + 0 * arrays[0]
            for k, slot in enumerate(c.slots):
                if k != mine and not callable(c.operation.domain[0]):
                    arrays[k] = whole(rng, dtype, slot.shape)

            def f(x: Any, arrays: Any = arrays, mine: int = mine) -> Any:
                return c([x if k == mine else a for k, a in enumerate(arrays)])

            if c.operation.name in WRITES and mine and not c.static.get("accumulate"):
                with pytest.raises(TypeError, match=f"float64 values would be cut off in {arrays[0].dtype}"):
                    f(tg.tensor(arrays[mine], requires_grad=True))
                continue
            floating = [a.astype(float) for a in arrays]
            x = rng.uniform(17, 20, c.slots[mine].shape) if c.operation.elementwise else arrays[mine]
            with np.errstate(all="ignore"):
                got, wanted = gradient(f, x), gradient(lambda x, a=floating: f(x, a), x)
            np.testing.assert_allclose(got, wanted, rtol=1e-12)


# ------------------------------------------------------------------------------- the ends of float16 and 32

CANCELS = {"tanh", "sigmoid", "expm1", "silu", "gelu", "sinc"}
"""What goes to 0 by a difference of numbers near 1, or hangs on the rounding of an angle or an exponent, is
right to so many digits after the point only."""

STEEP = {"power": "a small change of a large exponent is a large one of the result"}
"""Operations that are not tried over the whole range of a dtype, and why."""


def ends(dtype: str) -> np.ndarray:
    """Numbers over the whole range of a dtype, up to its largest and down to its smallest ones."""
    finite = np.finfo(dtype)
    powers = np.linspace(np.log2(float(finite.smallest_subnormal)), np.log2(float(finite.max)), 25)
    sizes = np.concatenate(
        [2.0 ** powers[1:-1], [float(finite.max), float(finite.smallest_normal), 0.7, 5, 9, 12]]
    )
    return np.concatenate([[0.0], sizes, -sizes]).astype(dtype)


ENDS = [
    p
    for p in CALLS
    if (c := p.values[0]).operation.elementwise and c.slots[0].shape and c.operation.name not in STEEP
]


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("c", ENDS)
def test_values_and_gradients_at_the_ends_of_a_dtype(c: Call, dtype: str) -> None:
    """They are those of float64, rounded, wherever that has a result; warnings are errors."""
    p = c.operation
    operands = [ends(dtype)] if p.arity == 1 else list(map(np.ravel, np.meshgrid(ends(dtype), ends(dtype))))
    wide = [np.array(a, np.float64) for a in operands]
    limit = float(np.finfo(dtype).max)
    eps = float(np.finfo(dtype).eps)
    tiny = 2 * float(np.finfo(dtype).smallest_normal)
    with np.errstate(all="ignore"):
        truths = [np.asarray(c(wide))] + [
            gradient(lambda x, k=k: c([x if j == k else a for j, a in enumerate(wide)]), wide[k])
            for k in range(p.arity)
        ]
    fit = np.all([np.isfinite(t) & (np.abs(t) < limit) for t in truths], axis=0)
    if p.arity > 1 or p.name == "sinc":  # the sum of two, or pi times one, is still in range
        normal = float(np.finfo(dtype).smallest_normal)
        fit &= np.all([(np.abs(a) < limit / 4) & ((a == 0) | (np.abs(a) >= normal)) for a in wide], axis=0)
    assert fit.sum() > 10
    narrow = [a[fit] for a in operands]
    value = c([tg.tensor(a) for a in narrow])
    assert value.dtype == dtype
    atol = 4 * eps if p.name in CANCELS else tiny
    np.testing.assert_allclose(value.numpy(), truths[0][fit], rtol=8 * eps, atol=atol)
    for k in range(p.arity):
        g = gradient(lambda x, k=k: c([x if j == k else a for j, a in enumerate(narrow)]), narrow[k], dtype)
        np.testing.assert_allclose(g, truths[1 + k][fit], rtol=16 * eps, atol=atol)


# --------------------------------------------------------------------------------------------- NumPy's own

RENAMED = {"sections": "indices_or_sections"}


def odd(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype) if dtype[0] == "f" else whole(rng, dtype, shape)


def outcome(f: Any) -> Any:
    """What a call gives, or that it is refused."""
    try:
        with np.errstate(all="ignore"):
            return listed(f())
    except (TypeError, ValueError, ZeroDivisionError, np.linalg.LinAlgError) as error:
        return error


@pytest.mark.parametrize("dtype", [*WHOLE, "f2", "f4"])
@pytest.mark.parametrize("c", [p for p in CALLS if p.values[0].operation.numpy])
def test_values_are_numpys_whatever_the_operand(c: Call, dtype: str) -> None:
    """Of matrices that are not symmetric too. What NumPy refuses is refused."""
    p = c.operation
    rng = np.random.default_rng(1)
    static = {RENAMED.get(k, k): v for k, v in c.static.items()}
    arrays = [odd(rng, dtype, slot.shape) for slot in c.slots]
    for function in p.numpy:
        wanted = outcome(lambda f=function: c(arrays, f, static))
        for got in (outcome(lambda: c(arrays)), outcome(lambda: c([tg.tensor(a) for a in arrays]))):
            assert isinstance(got, Exception) == isinstance(wanted, Exception), (got, wanted)
            if isinstance(wanted, Exception) or p.name == "partition":
                continue
            for y, z in zip(got, wanted, strict=True):
                y = y.numpy() if isinstance(y, Tensor) else np.asarray(y)
                assert (y.dtype, y.shape) == (np.asarray(z).dtype, np.shape(z))
                np.testing.assert_allclose(y, z, rtol=1e-2 if z.dtype == "f2" else 1e-5, atol=1e-5)


# ------------------------------------------------------------------------- more elements than float16 counts

MANY = 70_000


@pytest.mark.parametrize(
    "f", [tg.mean, tg.var, tg.std, tg.max, tg.min, lambda x: tg.norm(x, np.inf), tg.logsumexp,
          lambda x: tg.softmax(x)[0], lambda x: tg.log_softmax(x)[0]],
)  # fmt: skip
def test_float16_counts_beyond_65504(f: Any) -> None:
    """With a cotangent as large as scaled losses have, so that nothing is lost below the smallest number."""
    x = np.where(np.arange(MANY) % 2, 1, -1).astype(np.float16)
    for data in (x, x * 0 + 1):
        results = []
        for dtype in (np.float16, np.float64):
            leaf = tg.tensor(data.astype(dtype), requires_grad=True)
            y = f(leaf)
            assert y.dtype == dtype
            y.backward(np.array(8192, dtype))
            results += [(y.numpy(), leaf.grad.numpy())]
        (y, g), (value, truth) = results
        np.testing.assert_allclose(y, value, rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(g, truth, rtol=4e-3, atol=1e-5)


def test_float16_sums_of_cotangents_beyond_65504() -> None:
    x = np.where(np.arange(MANY) % 2, 1, -1)
    np.testing.assert_allclose(gradient(tg.log_softmax, x, "f2"), gradient(tg.log_softmax, x), rtol=2e-2)


def test_terms_of_a_large_logarithm_add_up_to_one() -> None:
    """Where its own rounding is larger than the differences between them."""
    for dtype, size in (("f2", 3000), ("f4", 1e6), ("f8", 1e15)):
        np.testing.assert_allclose(
            gradient(tg.logsumexp, [size, size, size, -size], dtype), [1 / 3] * 3 + [0], 1e-3
        )
        np.testing.assert_allclose(gradient(lambda x: tg.logaddexp(x, x * 1), [size], dtype), [1], 1e-3)
        other = np.full(1, size, dtype)
        np.testing.assert_allclose(
            gradient(lambda x, o=other: tg.logaddexp(x, o), [size], dtype), [0.5], 1e-3
        )


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "i8"])
@pytest.mark.parametrize(
    "f", [tg.sigmoid, tg.silu, tg.gelu, lambda x: tg.gelu(x, "tanh"), tg.elu, tg.leaky_relu, tg.hard_sigmoid,
          tg.hard_tanh, tg.softplus, tg.softmax, tg.log_softmax, tg.logsumexp, tg.erf, tg.var],
)  # fmt: skip
def test_formulas_of_whole_numbers_are_those_of_floating_ones(f: Any, dtype: str) -> None:
    x = np.array([0, 1, 1, 0]) if dtype == "?" else np.array([0, 1, 127, 127, 100, 3])
    x = np.concatenate([x, -1 - x] if dtype[0] == "i" else [x]).astype(dtype)
    np.testing.assert_allclose(f(x), f(x.astype(float)), rtol=1e-14)
    assert f(x).dtype == np.float64
    np.testing.assert_allclose(f(tg.tensor(x)).numpy(), f(x.astype(float)), rtol=1e-14)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u8"])
def test_segments_are_numbered_in_any_integers(dtype: str) -> None:
    ids = np.array([2, 0, 2], dtype)
    np.testing.assert_array_equal(tg.segment_sum(np.arange(3.0), ids), [1, 0, 2])


# ------------------------------------------------------------------------------------- no degrees of freedom


@pytest.mark.parametrize(("f", "numpy"), [(tg.var, np.var), (tg.std, np.std)])
@pytest.mark.parametrize("ddof", [1, 2, 3, 5, 1.5])
def test_spread_with_few_degrees_of_freedom(f: Any, numpy: Any, ddof: float) -> None:
    """Values are NumPy's; where nothing is left, the gradient is not finite either, and no error."""
    x = np.array([1.0, 2.0, 4.0])
    leaf = tg.tensor(x, requires_grad=True)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = f(leaf, ddof=ddof)
        np.testing.assert_allclose(y.numpy(), numpy(x, ddof=ddof))
        y.backward()
    assert np.isfinite(leaf.grad.numpy()).all() == (ddof < 3)
