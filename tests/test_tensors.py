"""Tensors: what they hold, their conversions, and what a user is told who asks for the impossible."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.ops.registry import REGISTRY
from tinygrad_rnn.tensors import Tensor


def t(*shape: int, grad: bool = True) -> Tensor:
    return tg.tensor(np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape), requires_grad=grad)


@tg.primitive
def silent(x):
    return x * 1.0


silent.defvjp(lambda g, _y, _x: None)


@tg.primitive
def derived(x):
    return x.view(Derived)


derived.defvjp(lambda g, _y, _x: g)


@tg.primitive(multiple=True)
def doubled(x, y):
    return [x * 2.0, y * 2.0]


doubled.defvjp(joint=lambda gs, _ys, *_inputs: [0 if g is None else g * 2 for g in gs])


for operation in (silent, derived, doubled):
    del REGISTRY[operation.name]  # they are no operations of the package, whose tests go through all of them


def test_one_rule_for_all_inputs_and_several_outputs() -> None:
    x, y = t(3), t(3)
    a, b = doubled(x, y)
    (a * b).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 4 * y.numpy())
    np.testing.assert_allclose(y.grad.numpy(), 4 * x.numpy())


def test_one_rule_and_several_outputs_off_the_tape() -> None:
    for y in doubled(t(3, grad=False), t(3, grad=False)):
        assert not y.requires_grad
    with tg.no_grad():
        for y in doubled(t(3), t(3)):
            assert not y.requires_grad


def test_zero_() -> None:
    w = t(3)
    assert w.zero_() is w
    np.testing.assert_array_equal(w.numpy(), np.zeros(3))
    assert w.requires_grad


def test_a_gradient_on_the_tape_stays_there_when_another_is_added() -> None:
    x = t(3)
    y = (x * x * x).sum()
    with tg.no_grad():
        for _ in range(2):
            y.backward(create_graph=True)
    first, x.grad = x.grad, None
    first.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * 6 * x.numpy())


def test_floor_division_is_piecewise_constant_and_gives_plain_arrays() -> None:
    x = tg.tensor([-3.0, 5.0], requires_grad=True)
    for got, wanted in ((x // 2, [-2, 2]), (7 // x, [-3, 1]), (x // x, [1, 1])):
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, wanted)


def test_a_rule_that_fails_is_found_by_its_scope() -> None:
    for scope, words in ((tg.scope("reader"), "in scope reader"), (nullcontext(), r"in scope \(none\)")):
        with scope:
            y = silent(t(3))
        with pytest.raises(TypeError, match=rf"in the backward rule of silent, entry \d+, {words}"):
            y.sum().backward()


def test_the_first_eight_of_many_operands_are_shown() -> None:
    with pytest.raises(ValueError, match=r"concatenate\((float64\(2, 2\), ){7}float64\(2, 2\), axis=0\): "):
        tg.concatenate([*[t(2, 2)] * 9, t(3)], 0)


def test_if_on_several_elements() -> None:
    with pytest.raises(ValueError, match="ambiguous"):
        _ = 1 if t(3) else 0
    assert not tg.tensor([0.0])
    assert t()


def test_errors_keep_their_cause() -> None:
    with pytest.raises(ValueError, match="add") as caught:
        t(2, 3) + t(4)
    assert isinstance(caught.value.__cause__, ValueError)


# -------------------------------------------------------------------------------------- what it holds


class Foreign:
    """An array of another library."""

    mask = None

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.arange(3.0)


class Derived(np.ndarray):
    """An array of a class of its own."""


class Half(float):
    """A number of a class of its own."""


def test_arrays_and_numbers_of_other_classes_are_what_they_are_made_of() -> None:
    data = np.arange(3.0)
    assert type(tg.tensor(data.view(Derived)).data) is np.ndarray
    x = tg.tensor(np.ones(3, np.float16), requires_grad=True)
    assert (x * Half(0.5)).dtype == (x.numpy() * Half(0.5)).dtype
    y = derived(x)
    assert type(y.data) is np.ndarray
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.ones(3))


def test_arrays_keep_their_dtype_and_numbers_take_the_default() -> None:
    for dtype in ("f2", "f4", "f8", "i4", "u1", "?"):
        array = np.zeros(2, dtype)
        assert tg.tensor(array).dtype == dtype
        assert tg.tensor(array).data is array
    assert tg.tensor(np.float64(1)).dtype == np.float64
    assert tg.tensor(Foreign()).dtype == np.float64
    for numbers in (1.5, 1, [1, 2], [[1.0]], (1, 2)):
        assert tg.tensor(numbers).dtype == np.float32
    assert tg.tensor([True, False]).dtype == bool
    assert tg.tensor([1, 2], dtype=int).dtype == int
    assert tg.tensor(np.arange(3), dtype="f4", requires_grad=True).dtype == np.float32
    assert tg.tensor(t(3), dtype="f4").dtype == np.float32


@pytest.mark.parametrize("name", ["argmax", "argmin", "argsort", "nonzero", "round", "all", "any"])
def test_what_has_no_derivative_gives_what_the_array_gives(name: str) -> None:
    """The same defaults too."""
    for array in (np.array([[0.26, -1.74, 3.06], [2.0, 0.0, -4.61]]), np.array([2.0, 1.0])):
        wanted = getattr(array, name)()
        got = getattr(tg.tensor(array, requires_grad=True), name)()
        assert type(got) is type(wanted)
        np.testing.assert_array_equal(got, wanted)


def test_plain_results_keep_dimensions_and_round_as_arrays_do() -> None:
    array = np.array([[0.26, -1.74, 3.06], [2.0, 0.0, -4.61]])
    x = tg.tensor(array, requires_grad=True)
    for name in ("argmax", "argmin", "all", "any"):
        wanted = getattr(array, name)(1, keepdims=True)
        np.testing.assert_array_equal(getattr(x, name)(1, keepdims=True), wanted)
    np.testing.assert_array_equal(round(x), array.round())
    np.testing.assert_array_equal(round(x, 1), array.round(1))
    np.testing.assert_array_equal(round(x, None), array.round())


def test_the_default_dtype_can_be_set() -> None:
    try:
        for dtype in ("float64", "float16", np.float32):
            tg.set_default_dtype(dtype)
            assert tg.get_default_dtype() == dtype
            assert tg.tensor([1, 2]).dtype == dtype
    finally:
        tg.set_default_dtype("float32")


def test_what_a_tensor_says_of_itself() -> None:
    x = t(2, 3)
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3), 2, 6, np.float64, 2)
    assert x.numpy() is x.data
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert t(1).item() == 1.0
    assert type(t(1).item()) is float
    assert (float(t(1)), int(t(1)), f"{t():.2f}") == (1.0, 1, "1.00")
    assert x.is_leaf
    assert not (x * 2).is_leaf
    assert x.detach().is_leaf
    assert x.detach().data is x.data
    assert not x.detach().requires_grad
    assert (x * 2).grad is None
    assert (x * 2).name is None
    assert len({x, x.detach(), x}) == 2


def test_how_tensors_print() -> None:
    f4 = tg.tensor([1.0, 2.0])
    assert repr(f4) == "tensor([1., 2.])"
    assert repr(tg.tensor(np.array([1, 2]))) == "tensor([1, 2], dtype=int64)"
    f4.requires_grad = True
    assert repr(f4) == str(f4) == f"{f4}" == "tensor([1., 2.], requires_grad=True)"
    assert repr(tg.tanh(f4 * 0)) == "tensor([0., 0.], from tanh)"
    assert repr(tg.split(f4, 2)[0]) == "tensor([1.], from split)"
    assert repr(t()) == "tensor(1., dtype=float64, requires_grad=True)"
    assert len(repr(tg.tensor(np.zeros(10_000)))) < 300
    assert "..." not in repr(tg.tensor(np.zeros(200)))
    assert "..." in repr(tg.tensor(np.zeros(201)))


def test_requires_grad_can_be_switched_on_leaves() -> None:
    x = t(3, grad=False)
    x.requires_grad = True
    place = x.place
    x.requires_grad = True
    assert x.place is place
    assert x.place.shape == (3,)
    x.requires_grad = False
    assert x.place is None
    assert not (x * 2).requires_grad


def test_grad_can_be_set() -> None:
    x = t(3)
    x.grad = np.ones(3)
    assert isinstance(x.grad, Tensor)
    (x * 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3, 3])
    x.grad = [1, 2, 3]
    assert x.grad.dtype == np.float64
    x.grad = None
    assert x.grad is None


def test_assigning_values() -> None:
    x = t(3)
    place = x.place
    assert x.assign_([4, 5, 6]) is x
    np.testing.assert_array_equal(x.numpy(), [4, 5, 6])
    x.data = np.ones(3, "f4")
    assert x.dtype == np.float64
    x.data += 1
    np.testing.assert_array_equal(x.numpy(), [2, 2, 2])
    assert x.place is place
    y = t(3, grad=False)
    y.assign_(x)
    np.testing.assert_array_equal(y.numpy(), x.numpy())


def test_the_seed_is_cast_to_the_dtype_of_the_result() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    for seed in ([1, 2], np.array([1, 2]), tg.tensor(np.array([1.0, 2.0])), (1.0, 2.0)):
        x.grad = None
        (x * 2).backward(seed)
        assert x.grad.dtype == np.float32
        np.testing.assert_array_equal(x.grad.numpy(), [2, 4])
    x.grad = None
    x.backward(tg.tensor(np.array([1.0, 2.0])))  # float64, and no rule on the way
    assert x.grad.dtype == np.float32
    y = tg.tensor([[3.0]], requires_grad=True)
    (y * 2).backward()
    np.testing.assert_array_equal(y.grad.numpy(), [[2]])


def test_deep_copies_of_leaves() -> None:
    x = t(3)
    x.name = "x"
    (x * x).sum().backward()
    y = copy.deepcopy(x)
    assert not np.shares_memory(x.data, y.data)
    assert not np.shares_memory(x.grad.data, y.grad.data)
    assert y.place is not x.place
    assert (y.name, y.requires_grad) == ("x", True)
    np.testing.assert_array_equal(y.grad.numpy(), x.grad.numpy())
    twin, again = copy.deepcopy([x, x])
    assert twin is again
    assert not copy.deepcopy(x.detach()).requires_grad


def test_a_tensor_without_gradients_becomes_an_array() -> None:
    x = t(3, grad=False)
    assert np.asarray(x) is x.data
    assert np.array(x) is not x.data
    assert np.asarray(x, dtype="f4").dtype == np.float32


METHODS: list[tuple[str, Callable[[Tensor], Any]]] = [
    ("numpy", lambda x: np.sqrt(x)),
    ("method", lambda x: x.sqrt()),
    ("tg", lambda x: tg.sqrt(x)),
    ("ufunc at a distance", lambda x: np.sqrt(np.ones(1) * x)),
]


@pytest.mark.parametrize(("name", "f"), METHODS)
def test_every_way_of_calling_records(name: str, f: Any) -> None:
    x = t(1)
    f(x).backward()
    assert x.grad.numpy() == [0.5]


def test_a_list_of_arrays_keeps_their_dtype():
    assert tg.tensor([np.ones(2), np.zeros(2)]).dtype == np.float64
    assert tg.tensor([np.float64(1.0), 2.0]).dtype == np.float64
    assert tg.tensor([1.0, 2.0]).dtype == np.float32
    assert tg.tensor([[1, 2], [3, 4]]).dtype == np.float32


def test_assigned_values_are_a_copy() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    for values in (np.array([3.0, 4.0], np.float32), tg.tensor([3.0, 4.0])):
        w.assign_(values)
        np.asarray(values)[0] = 9.0
        assert w.numpy().tolist() == [3.0, 4.0]


def test_a_condition_on_the_tape_is_refused_at_the_call() -> None:
    x = tg.tensor([1.0, -1.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"where is not differentiable in its argument 'condition'"):
        tg.where(x, x, 0.0)
    tg.where(x > 0, x, 0.0).sum().backward()
    assert x.grad is not None


def _methods_of_numpy() -> set[str]:
    return set(dir(np.ndarray)) - {"ptp"}  # in some versions of NumPy 2 it is there, to say that it is gone


def _methods_of_pytorch() -> set[str]:
    torch = pytest.importorskip("torch", reason="PyTorch says which of its functions are methods too")
    return set(dir(torch.Tensor)) - {"scatter", "select", "solve"}  # which are other functions there


@pytest.mark.parametrize("theirs", [_methods_of_numpy, _methods_of_pytorch], ids=["NumPy", "PyTorch"])
def test_what_is_a_method_elsewhere_is_one_here(theirs: Any) -> None:
    """Every operation that NumPy's arrays, or PyTorch's tensors, have as a method."""
    names = [name for name in REGISTRY if REGISTRY[name].__module__.startswith("tinygrad_rnn.")]
    missing = {name for name in theirs().intersection(names) if not callable(getattr(tg.Tensor, name, None))}
    assert missing == set()
    assert all(getattr(tg.Tensor, name).__doc__ for name in theirs().intersection(names))


class Labelled(tg.Tensor):
    """A tensor that knows something more."""

    __slots__ = ("label",)
    label: str


def test_an_instance_of_a_subclass_takes_part_like_any_tensor() -> None:
    """In every way into an operation; results are plain tensors, and gradients reach what it was made of."""
    rng = np.random.default_rng(0)
    for use in (
        lambda u, x: u * x,
        lambda u, x: x * u,
        lambda u, x: tg.tanh(u) + x,
        lambda u, x: np.tanh(u) + x,
        lambda u, x: tg.where(np.array([True, False, True]), u, x),
        lambda u, x: tg.concatenate([x, u]) * 2,
        lambda u, x: x + u.sum() + u[1:].sum() + u[np.array([0, 0])].sum(),
    ):
        x = tg.tensor(rng.normal(size=3), requires_grad=True)
        base = x.exp()
        labelled = object.__new__(Labelled)
        labelled._data, labelled._place, labelled.label = base.data, base.place, "h"
        y = use(labelled, x)
        assert type(y) is tg.Tensor
        (y * y).sum().backward(retain_graph=True)
        got, x.grad = x.grad, None
        z = use(base, x)
        (z * z).sum().backward()
        np.testing.assert_array_equal(got.numpy(), x.grad.numpy())
    index = object.__new__(Labelled)
    index._data, index._place = np.array([2, 0]), None
    np.testing.assert_array_equal(x[index].numpy(), x.numpy()[[2, 0]])


def test_augmented_assignment_to_a_leaf_says_what_to_write() -> None:
    x = t(2)
    with pytest.raises(RuntimeError, match=r"write x = x \*\* y if"):
        x **= 2
    with pytest.raises(RuntimeError, match=r"write x = x // y if"):
        x //= 2


def test_comparisons_that_numpy_refuses_name_both_sides() -> None:
    x = t(2, 3)
    with pytest.raises(ValueError, match=r"float64\(2, 3\) < float64\(2,\): .*compare with a number"):
        _ = x < np.ones(2)
    with pytest.raises(TypeError, match=r"float64\(2, 3\) >= None: .*compare with a number"):
        _ = x >= None
