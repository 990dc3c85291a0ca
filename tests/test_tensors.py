"""Tensors: what they hold, their conversions, and what a user is told who asks for the impossible."""

import copy
import pickle
import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.ops.registry import REGISTRY
from tinygrad_rnn.tensors import Tensor


def t(*shape: int, grad: bool = True) -> Tensor:
    return tg.tensor(np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape), requires_grad=grad)


# -------------------------------------------------------------------------------------------- errors


class Bad(NamedTuple):
    """Something that a user types by mistake, and what the error must say."""

    typed: str
    error: type[Exception]
    words: str


def _stepped() -> Tensor:
    w = t(2, 3)
    w.name = "w"
    y = (w * w).sum()
    w.data -= 1
    return y


def _replaced() -> Tensor:
    w = t(2, 3)
    y = tg.exp(w.T).sum()
    w.assign_(np.zeros((2, 3)))
    return y


def _twice() -> Tensor:
    y = (t(3) * t(3)).sum()
    y.backward()
    return y


def _buffer() -> Tensor:
    w, b = t(3), t(3, grad=False)
    y = (w * b).sum()
    b.data -= 1
    return y


class _Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = t(3, grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def _named_buffer() -> Tensor:
    model = _Scaled()
    model.scale.zero_()
    y = model(t(3)).sum()
    model.scale.assign_(np.ones(3))
    model.scale.assign_(np.zeros(3))
    return y


def _index() -> Tensor:
    w, i = t(3), tg.tensor(np.array([0, 0]))
    y = w[i].sum()
    i.data += 1
    return y


def _bounds() -> Tensor:
    w, low = t(3), t(3, grad=False)
    y = tg.clip(w, low, 5.0).sum()
    low.assign_(np.ones(3))
    return y


def _shared() -> Tensor:
    """A leaf that another entry used detached."""
    v, w = t(3), t(3)
    w.name = "w"
    w.assign_(np.ones(3))
    y = (v * w.detach()).sum()
    (w * 2.0).sum()
    w.data *= 2
    return y


def _emptied() -> Tensor:
    w = t(3)
    w.name = "w"
    y = (w * w).sum()
    w.zero_()
    return y


@tg.primitive
def ruleless(x):
    return x * 1.0


@tg.primitive
def silent(x):
    return x * 1.0


@tg.primitive
def turned(x):
    return x * 1.0


silent.defvjp(lambda g, _y, _x: None)
turned.defvjp(lambda g, _y, _x: g.T)


@tg.primitive(multiple=True)
def doubled(x, y):
    return [x * 2.0, y * 2.0]


doubled.defvjp(joint=lambda gs, _ys, *_inputs: [0 if g is None else g * 2 for g in gs])


for operation in (ruleless, silent, turned, doubled):
    del REGISTRY[operation.name]  # they are no operations of the package, whose tests go through all of them


def test_one_rule_for_all_inputs_and_several_outputs() -> None:
    x, y = t(3), t(3)
    a, b = doubled(x, y)
    (a * b).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 4 * y.numpy())
    np.testing.assert_allclose(y.grad.numpy(), 4 * x.numpy())


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


def _unrecorded() -> Tensor:
    with tg.no_grad():
        return t(3).sum()


NAMES = {
    "np": np, "tg": tg, "copy": copy, "pickle": pickle,
    "x": t(2, 3), "u": t(4, 5), "v": t(3), "s": t(), "n": tg.tensor(np.arange(3)),
    "b": tg.tensor(np.array([True, False])), "plain": t(3, grad=False),
    "stepped": _stepped, "replaced": _replaced, "twice": _twice,
    "buffer": _buffer, "named_buffer": _named_buffer, "index": _index, "bounds": _bounds,
    "shared": _shared, "emptied": _emptied,
    "ruleless": ruleless, "silent": silent, "turned": turned, "unrecorded": _unrecorded,
    "setattr": setattr,
}  # fmt: skip

TABLE = [
    # shapes that do not go together: the operation, both shapes
    Bad("x + u", ValueError, "add float64(2, 3) float64(4, 5)"),
    Bad("x * np.ones((4, 5))", ValueError, "multiply float64(2, 3) float64(4, 5)"),
    Bad("np.ones((4, 5)) - x", ValueError, "subtract float64(4, 5) float64(2, 3)"),
    Bad("x @ u", ValueError, "matmul float64(2, 3) float64(4, 5) 3 4"),
    Bad("x @ x", ValueError, "matmul (2, 3) 3 2"),
    Bad("x @ 2.0", ValueError, "matmul float64(2, 3) 2.0"),
    Bad("np.matmul(u, x)", ValueError, "matmul float64(4, 5) float64(2, 3)"),
    Bad("tg.maximum(x, u)", ValueError, "maximum (2, 3) (4, 5)"),
    Bad("tg.where(np.ones((2, 2), bool), x, 0)", ValueError, "where bool(2, 2) float64(2, 3) 0"),
    Bad("tg.concatenate([x, u])", ValueError, "concatenate (2, 3) (4, 5)"),
    Bad("np.concatenate([x, v])", ValueError, "concatenate (2, 3) (3,) dimension"),
    Bad("tg.stack([x, u])", ValueError, "stack (2, 3) (4, 5) same shape"),
    Bad("x.reshape(4, 2)", ValueError, "reshape (2, 3) shape=(4, 2)"),
    Bad("x.reshape('a')", TypeError, "reshape 'a'"),
    Bad("x.broadcast_to(3, 3)", ValueError, "broadcast_to (2, 3) shape=(3, 3)"),
    Bad("x.squeeze(0)", ValueError, "squeeze (2, 3) axis=0"),
    Bad("x.transpose(0, 0)", ValueError, "transpose axes=(0, 0) repeated"),
    Bad("tg.split(v, 2)", ValueError, "split (3,) length 3 does not divide into 2"),
    Bad("tg.split(v, 0)", ValueError, "split does not divide into 0"),
    Bad("tg.pad(v, (1, 2, 3))", ValueError, "pad (3,) pad_width=(1, 2, 3)"),
    Bad("np.pad(v, 1, mode='reflect')", ValueError, "pad mode='constant' only mode='reflect'"),
    # axes that are not there
    Bad("x.sum(axis=2)", np.exceptions.AxisError, "sum (2, 3) axis=2 out of bounds dimension 2"),
    Bad("x.mean(2)", np.exceptions.AxisError, "mean (2, 3) axis=2 out of bounds"),
    Bad("x.sum(axis='a')", TypeError, "sum axis='a'"),
    Bad("tg.softmax(x, axis=5)", np.exceptions.AxisError, "softmax axis=5"),
    Bad("tg.logsumexp(x, axis=5)", np.exceptions.AxisError, "logsumexp axis=5"),
    Bad("tg.unstack(v, axis=3)", np.exceptions.AxisError, "unstack (3,) axis=3 out of bounds"),
    Bad("tg.unstack(s)", np.exceptions.AxisError, "unstack () out of bounds"),
    Bad("tg.split(v, 3, axis=1)", np.exceptions.AxisError, "split (3,) axis=1 out of bounds"),
    Bad("x.swapaxes(0, 5)", np.exceptions.AxisError, "swapaxes axis2=5"),
    Bad("tg.flip(x, 4)", np.exceptions.AxisError, "flip axis=4"),
    Bad("x.expand_dims(7)", np.exceptions.AxisError, "expand_dims axis=7"),
    # values that operations do not take, also on the shortcut for one operand
    Bad("tg.max(tg.tensor(np.zeros((0, 2))))", ValueError, "max float64(0, 2) zero-size"),
    Bad("-b", TypeError, "negative bool(2,)"),
    Bad("v + np.array(['a', 'b', 'c'])", TypeError, "add float64(3,) <U1(3,)"),
    Bad("v + 'a'", TypeError, "add operand 1 numbers 'a'"),
    Bad("None * v", TypeError, "multiply operand 0 numbers None"),
    Bad("v + {}", TypeError, "add operand 1 numbers {}"),
    Bad("v + [[1, 2], [3]]", ValueError, "add operand 1 equal lengths"),
    Bad("n ** -1", ValueError, "power int64(3,) -1"),
    Bad("tg.concatenate(x)", TypeError, "concatenate list tuple Tensor"),
    Bad("tg.stack([])", ValueError, "stack at least one"),
    Bad("tg.concatenate()", TypeError, "concatenate list tuple nothing"),
    # indices
    Bad("x[5]", IndexError, "getitem (2, 3) index=5 out of bounds"),
    Bad("x['a']", IndexError, "getitem 'a' integers slices boolean"),
    Bad("x[1.5]", IndexError, "getitem 1.5 integers"),
    Bad("x[0, 0, 0]", IndexError, "getitem (2, 3) too many"),
    Bad("x[[0.5]]", IndexError, "getitem integer"),
    Bad("x[np.array([True, False, True])]", IndexError, "getitem (2, 3) boolean 3"),
    Bad("x[plain]", IndexError, "getitem integer"),
    Bad("x[v]", TypeError, "getitem not differentiable 'index' detach()"),
    Bad("x[:, v]", TypeError, "getitem not differentiable 'index' detach()"),
    Bad("v.take([9])", IndexError, "take (3,) 9 out of bounds"),
    Bad("v.take([0.5])", TypeError, "take float64(1,)"),
    Bad("tg.take_along_axis(x, np.array([0]), axis=1)", ValueError, "take_along_axis (2, 3) dimensions"),
    Bad("[1, 2][v]", TypeError, "integer tensor of one element float64(3,)"),
    Bad("[1, 2][n]", TypeError, "integer tensor of one element (3,)"),
    # gradients of what has none
    Bad("tg.tensor([1, 2], dtype=int, requires_grad=True)", TypeError, "int64 astype('float32')"),
    Bad("tg.tensor(np.array([True]), requires_grad=True)", TypeError, "floating-point bool astype"),
    Bad("tg.tensor([1j], requires_grad=True)", TypeError, "real floating-point complex128"),
    Bad("setattr(n, 'requires_grad', True)", TypeError, "floating-point int64"),
    Bad("setattr(x * 2, 'requires_grad', True)", RuntimeError, "requires_grad computed detach()"),
    Bad("setattr(x * 2, 'requires_grad', False)", RuntimeError, "requires_grad computed detach()"),
    # backward
    Bad("(x * 2).backward()", ValueError, "backward() (2, 3) sum() grad"),
    Bad("(x * 2).backward(np.ones(3))", ValueError, "backward() grad (3,) (2, 3)"),
    Bad("(x * 2).backward('ones')", TypeError, "numbers 'ones'"),
    Bad("plain.sum().backward()", RuntimeError, "off the tape requires_grad=True detached no_grad()"),
    Bad("x.detach().sum().backward()", RuntimeError, "off the tape detached"),
    Bad("x.astype(int).sum().backward()", RuntimeError, "off the tape integers"),
    Bad("unrecorded().backward()", RuntimeError, "off the tape no_grad()"),
    Bad("twice().backward()", RuntimeError, "released entry sum retain_graph=True"),
    Bad("stepped().backward()", RuntimeError, "leaf w (2, 3) changed in place multiply assign_ copy"),
    Bad("replaced().backward()", RuntimeError, "leaf (unnamed) (2, 3) changed in place transpose"),
    Bad("buffer().backward()", RuntimeError, "buffer (unnamed) (3,) changed multiply version 0 version 1"),
    Bad("named_buffer().backward()", RuntimeError, "buffer scaled.scale version 1 3 detect_anomaly()"),
    Bad("index().backward()", RuntimeError, "buffer of shape (2,) changed in place getitem"),
    Bad("bounds().backward()", RuntimeError, "buffer of shape (3,) changed in place clip"),
    Bad("shared().backward()", RuntimeError, "leaf w (3,) changed in place version 1 first used"),
    Bad("emptied().backward()", RuntimeError, "leaf w of shape (3,) changed in place"),
    Bad("(v * 1j).sum().backward(np.array(1j))", TypeError, "complex"),
    Bad("abs(v * 1j).sum().backward()", TypeError, "multiply real input complex"),
    Bad("v.backward(tg.tensor(v.numpy() * 1j))", TypeError, "backward() complex grad float64"),
    Bad("v.sum().backward(np.array(1j))", TypeError, "complex128 imaginary float64"),
    Bad("v % 2", TypeError, "np.remainder no gradient rule"),
    Bad("2 % v", TypeError, "np.remainder no gradient rule"),
    Bad("copy.copy(v)", TypeError, "copy.copy deepcopy detach"),
    # primitives of one's own
    Bad("ruleless(v)", TypeError, "ruleless no gradient rule defvjp"),
    Bad("ruleless.defvjp(lambda g: g)", TypeError, "ruleless 'x' (g, y, x) too few"),
    Bad("silent(v).sum().backward()", TypeError, "rule of silent entry NoneType"),
    Bad("turned(x).sum().backward()", ValueError, "rule of turned entry cotangent (2, 3)"),
    Bad("setattr(x, 'grad', np.ones(2))", ValueError, "grad float64(2, 3) (2,)"),
    Bad("setattr(x, 'grad', tg.tensor(np.ones((2, 3), 'f4')))", ValueError, "float64(2, 3) float32(2, 3)"),
    Bad("setattr(plain, 'grad', np.ones(3))", RuntimeError, "only a leaf grad"),
    Bad("setattr(x * 2, 'grad', np.ones((2, 3)))", RuntimeError, "only a leaf grad"),
    Bad("setattr(x * 2, 'name', 'y')", RuntimeError, "only a leaf tg.scope"),
    # overwriting
    Bad("x.__setitem__(0, 1)", TypeError, "assigned tg.where tg.stack"),
    Bad("np.add(x, 1, out=np.zeros((2, 3)))", TypeError, "np.add out="),
    Bad("np.add(1, 2, out=x)", TypeError, "np.add out="),
    Bad("np.sum(x, out=np.zeros(()))", TypeError, "np.sum out="),
    Bad("np.sum(x, None, None, np.zeros(()))", TypeError, "np.sum out="),
    Bad("np.ones((2, 3)).__iadd__(x)", TypeError, "np.add out="),
    Bad("v.assign_(np.ones(4))", ValueError, "assign_ (3,) (4,)"),
    Bad("v.assign_('abc')", TypeError, "numbers"),
    Bad("setattr(v, 'data', np.ones(4))", ValueError, "(3,) (4,)"),
    Bad("(v * 2).assign_(np.ones(3))", RuntimeError, "leaves result of an operation detach()"),
    # NumPy functions and keywords without a rule
    Bad("np.linalg.eigvals(x)", TypeError, "np.linalg.eigvals no gradient rule x.numpy()"),
    Bad("np.unique(x)", TypeError, "np.unique no gradient rule x.numpy()"),
    Bad("np.fmax(x, 1)", TypeError, "np.fmax no gradient rule"),
    Bad("np.multiply.reduce(x)", TypeError, "np.multiply.reduce no gradient rule"),
    Bad("np.add.at(x, 0, 1)", TypeError, "np.add.at no gradient rule"),
    Bad("np.sum(x, where=True)", TypeError, "sum does not take 'where' refused"),
    Bad("np.sum(x, 0, np.float32)", TypeError, "sum does not take 'dtype'"),
    Bad("np.add(x, 1, where=False)", TypeError, "add does not take 'where'"),
    Bad("np.reshape(x, 6, order='F')", TypeError, "reshape does not take 'order'"),
    Bad("tg.tanh(x, foo=1)", TypeError, "tanh does not take 'foo'"),
    Bad("tg.tanh(x, 1, 2)", TypeError, "tanh 2 arguments beyond"),
    Bad("tg.add(x)", TypeError, "add(a, b, /) missing 'b'"),
    Bad("tg.sum(x, 0, axis=0)", TypeError, "sum 'axis' twice"),
    Bad("tg.clip(x, min=s)", TypeError, "clip not differentiable 'min' min.detach() maximum"),
    Bad("np.clip(x, 0, s)", TypeError, "clip not differentiable 'max' detach()"),
    Bad("x.sum(axis=s)", TypeError, "sum not differentiable 'axis'"),
    # making and converting
    Bad("tg.tensor([x, x])", TypeError, "list of tensors tg.stack"),
    Bad("tg.tensor((v, 1.0))", TypeError, "list of tensors tg.stack"),
    Bad("tg.tensor([[v, v]])", RuntimeError, "requires gradients x.numpy() x.detach()"),
    Bad("tg.tensor(['a', 'b'])", TypeError, "numbers such as ['a']"),
    Bad("tg.tensor(np.array(['1']), dtype=float)", TypeError, "numbers '1'"),
    Bad("tg.tensor([1.0], dtype=str)", TypeError, "numbers dtype"),
    Bad("tg.tensor(None)", TypeError, "numbers None"),
    Bad("tg.tensor([[1, 2], [3]])", ValueError, "nested lists equal lengths"),
    Bad("tg.Tensor()", TypeError, "tg.tensor("),
    Bad("np.asarray(x)", RuntimeError, "requires gradients x.numpy() x.detach()"),
    Bad("np.array([v, v])", RuntimeError, "requires gradients x.numpy() x.detach()"),
    Bad("x.item()", ValueError, "item() one element (2, 3)"),
    Bad("float(x)", ValueError, "float() one element (2, 3)"),
    Bad("int(v)", ValueError, "int() one element (3,)"),
    Bad("f'{v:.2f}'", ValueError, "format one element (3,)"),
    Bad("bool(x)", ValueError, "truth (2, 3) ambiguous (x > 0).all() tg.where"),
    Bad("len(s)", TypeError, "len() 0-d"),
    Bad("list(s)", TypeError, "iteration 0-d"),
    Bad("pickle.dumps(x)", TypeError, "not pickled save"),
    Bad("copy.deepcopy(x * 2)", RuntimeError, "only leaves detach()"),
    Bad("x.astype('foo')", TypeError, "astype 'foo'"),
    Bad("tg.set_default_dtype(int)", TypeError, "floating-point int64"),
]  # fmt: skip


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.typed)
def test_errors_say_what_was_wrong(bad: Bad) -> None:
    with pytest.raises(bad.error) as caught:
        eval(bad.typed, dict(NAMES))
    message = str(caught.value)
    missing = [w for w in re.findall(r"\S+\([\w, -]*\)|\([\d, ]+\)|\S+", bad.words) if w not in message]
    assert not missing, message
    assert len(message) < 420


def test_a_rule_that_fails_is_found_by_its_scope() -> None:
    for scope, words in ((tg.scope("reader"), "in scope reader"), (nullcontext(), r"in scope \(none\)")):
        with scope:
            y = silent(t(3))
        with pytest.raises(TypeError, match=rf"in the backward rule of silent, entry \d+, {words}"):
            y.sum().backward()


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

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.arange(3.0)


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


def _methods_of_pytorch() -> set[str]:
    torch = pytest.importorskip("torch", reason="PyTorch says which of its functions are methods too")
    return set(dir(torch.Tensor)) - {"scatter", "select", "solve"}  # which are other functions there


@pytest.mark.parametrize(
    "theirs", [lambda: set(dir(np.ndarray)), _methods_of_pytorch], ids=["NumPy", "PyTorch"]
)
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
