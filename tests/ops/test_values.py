"""What primitives compute: against NumPy, or a formula, in every way they can be called."""

import inspect
import math
from typing import Any

import numpy as np
import pytest
from drawing import CALLS, Call, call, listed, samples, small

import tinygrad_rnn as tg
from tinygrad_rnn.ops import NUMPY, REGISTRY
from tinygrad_rnn.ops.operations import Operation, Primitive
from tinygrad_rnn.tensors import Tensor


def axis_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def dense_scatter(*gs: np.ndarray, indices: Any, shape: Any) -> np.ndarray:
    out = np.zeros(shape)
    positions = np.arange(out.size).reshape(shape)
    for g, index in zip(gs, indices, strict=True):
        for position, value in zip(positions[index].ravel(), np.ravel(g), strict=True):
            out.ravel()[position] += value
    return out


def each(f: Any) -> Any:
    return lambda x, **static: np.vectorize(lambda v: f(v, **static), otypes=[float])(x)


def gelu(v: float, approximate: str = "none") -> float:
    if approximate == "tanh":
        return v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
    return v * math.erfc(-v / math.sqrt(2)) / 2


def put(x: np.ndarray, index: Any, values: Any, accumulate: bool = False) -> np.ndarray:
    y = x.copy()
    if accumulate:
        np.add.at(y, index, values)
    else:
        y[index] = values
    return y


def put_along(x: np.ndarray, indices: Any, values: Any, axis: Any = -1) -> np.ndarray:
    y = x.copy()
    np.put_along_axis(y, indices, values, axis)
    return y


def add_at(x: np.ndarray, index: Any, source: Any, axis: int = 0) -> np.ndarray:
    y = x.copy()
    np.add.at(np.moveaxis(y, axis, 0), index, np.moveaxis(source, axis, 0))
    return y


def sum_by_number(data: np.ndarray, ids: Any, num_segments: int | None = None) -> np.ndarray:
    number = max(ids) + 1 if num_segments is None else num_segments
    return np.array([data[ids == s].sum(axis=0) for s in range(number)])


FORMULAS = {
    "contract": lambda *xs, subscripts, optimize=False: np.einsum(subscripts, *xs),
    "assign": lambda x, values, index: put(x, index, values),
    "index_put": put,
    "put_along_axis": put_along,
    "index_add": add_at,
    "segment_sum": sum_by_number,
    "partition": lambda x, kth, axis=-1: np.take_along_axis(
        *(
            (x.ravel(), np.argpartition(x, kth, None), 0)
            if axis is None
            else (x, np.argpartition(x, kth, axis), axis)
        )
    ),
    "erf": each(math.erf),
    "erfc": each(math.erfc),
    "gelu": each(gelu),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "elu": lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(x) - 1)),
    "leaky_relu": lambda x, negative_slope=0.01: np.where(x > 0, x, negative_slope * x),
    "hard_sigmoid": lambda x: np.maximum(0, np.minimum(6, x + 3)) / 6,
    "hard_tanh": lambda x, min_val=-1, max_val=1: np.minimum(np.maximum(x, min_val), max_val),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.where(x > 0, x, 0),
    "matvec": lambda a, b: np.einsum("...ij,...j->...i", a, b),
    "vecmat": lambda a, b: np.einsum("...i,...ij->...j", a, b),
    "linear": lambda x, weight: x @ weight.T,
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "astype": lambda x, dtype: x.astype(dtype),
    "getitem": lambda x, index: x[index],
    "scatter": dense_scatter,
    "logsumexp": lambda x, axis=None, keepdims=False: np.log(np.exp(x).sum(axis=axis, keepdims=keepdims)),
    "softmax": axis_softmax,
    "log_softmax": lambda x, axis=-1: np.log(axis_softmax(x, axis)),
    "unstack": lambda x, axis=0: tuple(np.moveaxis(x, axis, 0)),
}
"""References for primitives that NumPy has no function for (unstack: since 2.1, matvec and vecmat: 2.2)."""


def assert_same(got: Any, wanted: Any, kind: type) -> None:
    got, wanted = listed(got), listed(wanted)
    assert len(got) == len(wanted)
    for y, z in zip(got, wanted, strict=True):
        assert isinstance(y, kind)
        data = y.numpy() if isinstance(y, Tensor) else y
        assert isinstance(data, np.ndarray) or kind is not Tensor
        assert (data.shape, data.dtype) == (np.shape(z), np.asarray(z).dtype)
        np.testing.assert_allclose(data, z, rtol=1e-13, atol=1e-15)


RENAMED = {"sections": "indices_or_sections"}
UNSAID = {"keepdims": False, "min": None, "max": None, "prepend": None, "append": None, "axis": -1}
"""What NumPy does where its signature says that nothing was given."""


def reference(c: Call, arrays: list[Any], function: Any = None) -> Any:
    p = c.operation
    if function is None and p.name in FORMULAS:
        return FORMULAS[p.name](*c.operands(arrays), **c.static)
    return c(arrays, function or p.numpy[0], {RENAMED.get(k, k): v for k, v in c.static.items()})


@pytest.mark.parametrize("c", CALLS)
def test_values_equal_the_reference(c: Call) -> None:
    arrays = c.draw(np.random.default_rng(7))
    wanted = reference(c, arrays)
    assert_same(c(arrays), wanted, (np.ndarray, np.generic))
    for grad in (False, True):
        ts = [tg.tensor(a, requires_grad=grad) for a in arrays]
        for mixed in {0, len(ts) - 1}:
            got = c([t if k == mixed or grad else a for k, (t, a) in enumerate(zip(ts, arrays, strict=True))])
            assert_same(got, wanted, Tensor)
            assert all(y.requires_grad == grad for y in listed(got))


WITHOUT = {
    "median": "the median of no elements is not defined",
    "qr": "matrices with more columns than rows",
    "convolve": "vectors are needed",
    "multi_dot": "matrices are needed",
    "put_along_axis": "shape mismatch",  # NumPy before 2.4 writes nothing at all into nothing
}
"""Why an operation refuses arrays without elements, or numbers, that NumPy's function takes."""


def refused(made: Call, operands: list[Any]) -> bool:
    try:
        made(operands)
    except ValueError as error:
        return WITHOUT[made.operation.name] in str(error)
    return False


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the mean of nothing is nan
@pytest.mark.parametrize("p", REGISTRY.values(), ids=REGISTRY)
def test_arrays_without_elements_and_without_axes_are_taken_where_numpy_takes_them(p: Operation) -> None:
    for made in [c for s in samples(p) for c in small(call(p, s))]:
        try:
            arrays = made.draw(np.random.default_rng(7))
            wanted = reference(made, arrays)
        except (ArithmeticError, ValueError, IndexError, TypeError):
            continue
        ts = [tg.tensor(a, requires_grad=True) for a in arrays]
        if p.name in WITHOUT and refused(made, ts):
            continue
        got = listed(made(ts))
        assert_same(got, wanted, Tensor)
        for y in got:
            (y * y).sum().backward(retain_graph=True)
        assert all(t.grad is None or t.grad.shape == t.shape for t in ts)


def defaults(function: Any) -> dict[str, Any]:
    """Those of its arguments that have one."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # older versions of NumPy do not say those of functions written in C
        return {}
    return {q.name: q.default for q in parameters if q.default is not q.empty}


@pytest.mark.parametrize("p", REGISTRY.values(), ids=REGISTRY)
def test_defaults_are_the_references(p: Operation) -> None:
    ours = defaults(p.forward)
    theirs = defaults(FORMULAS.get(p.name) or p.numpy[0]) if ours else {}
    for name, default in ours.items():
        wanted = theirs.get(RENAMED.get(name, name), default)
        assert default == (UNSAID[name] if wanted is np._NoValue else wanted)


@pytest.mark.parametrize("c", CALLS)
def test_fixed_operands_may_be_tensors(c: Call) -> None:
    """Masks and indices too."""
    fixed = [tg.tensor(a) if isinstance(a, np.ndarray) else a for a in c.inputs]
    arrays = c.draw(np.random.default_rng(7))
    assert_same(c._replace(inputs=tuple(fixed))([tg.tensor(a) for a in arrays]), reference(c, arrays), Tensor)


@pytest.mark.parametrize("c", CALLS)
def test_numpy_functions_take_tensors(c: Call) -> None:
    p = c.operation
    arrays = c.draw(np.random.default_rng(7))
    ts = [tg.tensor(a, requires_grad=True) for a in arrays]
    assert p.numpy or p.name in FORMULAS
    for function in p.numpy:
        assert NUMPY[function] is p
        wanted = reference(c, arrays, None if p.name in FORMULAS else function)
        assert_same(reference(c, ts, function), wanted, Tensor)


@pytest.mark.parametrize("c", CALLS)
def test_methods_are_the_operations(c: Call) -> None:
    p = c.operation
    if not isinstance(getattr(Tensor, p.name, None), type(lambda: 0)):
        assert p.name not in {"sum", "tanh", "reshape", "transpose", "take", "split", "matmul", "softmax"}
        return
    arrays = c.draw(np.random.default_rng(7))
    t, *others = c.operands([tg.tensor(a, requires_grad=True) for a in arrays])
    if p.name == "where":  # the condition comes first, but the method is that of the values
        t, others[0] = others[0], t
    if p.name in {"reshape", "broadcast_to", "transpose"}:
        (shape,) = c.static.values() or ((),)
        got = getattr(t, p.name)(*shape)
        assert_same(getattr(t, p.name)(shape) if shape else got, got.numpy(), Tensor)
    else:
        got = getattr(t, p.name)(*others, **c.static)
    assert_same(got, reference(c, arrays), Tensor)
    if isinstance(p, Primitive):
        place = listed(got)[0].place
        assert getattr(place, "entry", place).primitive is p


A = np.array([[1.5, -2.0], [0.5, 4.0]])
B = np.array([[2.0, 3.0], [0.25, -1.0]])
OPERATORS = [
    ("add", lambda a, b: a + b),
    ("subtract", lambda a, b: a - b),
    ("multiply", lambda a, b: a * b),
    ("divide", lambda a, b: a / b),
    ("matmul", lambda a, b: a @ b),
]


@pytest.mark.parametrize(("name", "f"), OPERATORS)
def test_binary_operators_from_both_sides(name: str, f: Any) -> None:
    for a, b in [
        (tg.tensor(A), tg.tensor(B)),
        (A, tg.tensor(B)),
        (tg.tensor(A), B),
        (A.tolist(), tg.tensor(B)),
    ]:
        result = f(a, b)
        assert isinstance(result, Tensor)
        np.testing.assert_array_equal(result.numpy(), f(A, B))
    leaf = tg.tensor(A, requires_grad=True)
    assert f(leaf, B).place.primitive.name == name
    assert f(B, leaf).place.parents == (None, leaf.place)


@pytest.mark.parametrize(("name", "f"), OPERATORS[:-1])
@pytest.mark.parametrize("scalar", [2, 2.5, np.float64(2.5), np.float32(2.5), np.array(2.5), True])
def test_scalars_on_either_side(name: str, f: Any, scalar: Any) -> None:
    t = tg.tensor(A, requires_grad=True)
    for got, wanted in [(f(t, scalar), f(A, scalar)), (f(scalar, t), f(scalar, A))]:
        assert_same(got, wanted, Tensor)
        assert got.requires_grad


def test_powers_and_unary_operators() -> None:
    t = tg.tensor(np.abs(A), requires_grad=True)
    u = tg.tensor(A, requires_grad=True)
    for got, wanted in [
        (t**2, np.abs(A) ** 2),
        (t**2.5, np.abs(A) ** 2.5),
        (t**B, np.abs(A) ** B),
        (t ** tg.tensor(B), np.abs(A) ** B),
        (2.0**u, 2.0**A),
        (np.float64(2.0) ** u, 2.0**A),
        (np.abs(A) ** u, np.abs(A) ** A),
        (-u, -A),
        (+u, A),
        (abs(u), np.abs(A)),
        (u.T, A.T),
        (u.mT, A.T),
        (u.real, A),
    ]:
        assert_same(got, wanted, Tensor)
    assert u.real is u
    x = np.arange(24.0).reshape(2, 3, 4)
    assert_same(tg.tensor(x).mT, x.mT, Tensor)
    assert_same(tg.tensor(x).T, x.T, Tensor)


def test_augmented_assignment_makes_a_new_tensor() -> None:
    t = u = tg.tensor(A.copy(), requires_grad=True) * 1.0
    t += B
    t -= 1
    t *= B
    t /= 2
    np.testing.assert_array_equal(u.numpy(), A)
    np.testing.assert_allclose(t.numpy(), (A + B - 1) * B / 2)
    assert t.requires_grad
    t //= 0.5
    np.testing.assert_array_equal(t, (A + B - 1) * B / 2 // 0.5)


def test_comparisons_give_plain_arrays() -> None:
    t = tg.tensor(A, requires_grad=True)
    for f in [
        lambda a, b: a == b,
        lambda a, b: a != b,
        lambda a, b: a < b,
        lambda a, b: a <= b,
        lambda a, b: a > b,
        lambda a, b: a >= b,
    ]:
        for other in (B, 0.5, tg.tensor(B)):
            plain = other.numpy() if isinstance(other, Tensor) else other
            for got, wanted in [(f(t, other), f(A, plain)), (f(other, t), f(plain, A))]:
                assert type(got) is np.ndarray
                np.testing.assert_array_equal(got, wanted)


def test_whether_a_value_is_among_the_elements() -> None:
    """Of a matrix too: not whether a row is equal to it."""
    for t in (tg.tensor(A), tg.tensor(A[0]), tg.tensor(A[0, 0])):
        assert 1.5 in t
        assert 3.0 not in t
    assert tg.tensor(np.array([9.0, 4.0])) in tg.tensor(A)  # as in NumPy: some element equals its counterpart


def test_functions_without_a_derivative_give_plain_results() -> None:
    t = tg.tensor(A, requires_grad=True)
    u = tg.tensor(B)
    for got, wanted in [
        (np.floor(t), np.floor(A)),
        (np.isfinite(t), np.isfinite(A)),
        (np.equal(t, u), A == B),
        (np.argmax(t, axis=1), A.argmax(1)),
        (np.argmax(a=t), A.argmax()),
        (np.argsort(t), np.argsort(A)),
        (np.round(t), np.round(A)),
        (np.shape(t), (2, 2)),
        (np.size(t), 4),
        (np.allclose(t, b=u), False),
        (np.allclose(a=t, b=t), True),
        (np.any(t > 3), True),
        (np.zeros_like(t), np.zeros((2, 2))),
        (t.argmax(), A.argmax()),
        (t.argmin(axis=0), A.argmin(0)),
    ]:
        assert not isinstance(got, Tensor)
        np.testing.assert_array_equal(got, wanted)


def test_ufunc_reductions() -> None:
    t = tg.tensor(A, requires_grad=True)
    assert_same(np.add.reduce(t), A.sum(0), Tensor)
    assert_same(np.add.reduce(t, axis=None), A.sum(), Tensor)
    assert_same(np.maximum.reduce(t, axis=1, keepdims=True), A.max(1, keepdims=True), Tensor)
    assert_same(np.minimum.reduce(t, axis=-1), A.min(-1), Tensor)


def test_numpys_own_order_of_arguments_is_kept() -> None:
    """np.sum's third argument is dtype, not keepdims; clip's old names still work."""
    t = tg.tensor(A)
    assert_same(np.sum(t, 0, None, None, True), A.sum(0, keepdims=True), Tensor)
    assert_same(np.mean(t, 1, None, None, True), A.mean(1, keepdims=True), Tensor)
    assert_same(np.var(t, 0, None, None, 1, True), A.var(0, ddof=1, keepdims=True), Tensor)
    assert_same(np.var(t, 0, dtype=None, ddof=1), A.var(0, ddof=1), Tensor)
    for function in (np.max, np.amax, np.min, np.amin):
        assert_same(function(t, 0, None, True), function(A, 0, None, True), Tensor)
    assert_same(np.cumsum(t, 0, None), A.cumsum(0), Tensor)
    assert_same(np.concatenate([t, B], 1), np.concatenate([A, B], 1), Tensor)
    assert_same(np.stack([t, B], 1, None), np.stack([A, B], 1), Tensor)
    assert_same(np.stack([t, B], out=None), np.stack([A, B]), Tensor)
    assert_same(np.sum(a=t, axis=0), A.sum(0), Tensor)
    assert_same(np.take(a=t, indices=np.array([0, 3])), A.take([0, 3]), Tensor)
    holed = np.array([np.nan, 1.0])
    assert_same(np.nan_to_num(tg.tensor(holed), True), np.nan_to_num(holed), Tensor)
    assert_same(np.clip(t, a_min=0, a_max=1), A.clip(0, 1), Tensor)
    assert_same(np.clip(t, -1, None), A.clip(-1), Tensor)
    assert_same(np.sum(t, 0, np.float32), A.sum(0, np.float32), Tensor)


def test_lists_as_operands() -> None:
    """A list of numbers takes the default dtype, but a mask stays a mask and indices stay integers."""
    x = tg.tensor(np.arange(4.0), requires_grad=True)
    assert_same(tg.take(x, [0, 3]), np.array([0.0, 3.0]), Tensor)
    assert_same(x.take([[1], [2]]), np.array([[1.0], [2.0]]), Tensor)
    assert_same(tg.take_along_axis(x, [3, 0], axis=0), np.array([3.0, 0.0]), Tensor)
    assert_same(tg.where([True, False, True, False], x, 0), np.array([0.0, 0, 2, 0]), Tensor)
    assert_same(tg.add(tg.astype(x, "float32"), [1, 2, 3, 4]), np.arange(1, 8, 2, dtype=np.float32), Tensor)
    assert_same(x[[]], np.zeros(0), Tensor)
    assert_same(x[[0, -1]], np.array([0.0, 3.0]), Tensor)


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        (np.float32, 2.0, np.float32),
        (np.float32, 2, np.float32),
        (np.float32, np.float32, np.float32),
        (np.float32, np.float64, np.float64),
        (np.float32, np.int32, np.float64),
        (np.float16, 1.5, np.float16),
        (np.float64, 2.0, np.float64),
    ],
)
def test_dtypes_of_results(a: Any, b: Any, wanted: Any) -> None:
    """NumPy 2's promotion: Python scalars are weak. Gradients come back in the leaf's dtype."""
    x = tg.tensor(np.ones(3, a), requires_grad=True)
    y = b if isinstance(b, (int, float)) else np.ones(3, b)
    for f in (tg.add, tg.multiply, tg.divide, tg.maximum, tg.power, tg.subtract):
        for z in (f(x, y), f(y, x)):
            assert z.dtype == wanted
            x.grad = None
            z.backward(np.ones(3))
            assert (x.grad.dtype, x.grad.shape) == (a, (3,))
    for name in ("tanh", "exp", "sigmoid", "relu", "softplus", "sqrt", "mean", "var", "logsumexp", "softmax"):
        assert getattr(tg, name)(x).dtype == a
