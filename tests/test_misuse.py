"""What users type by mistake, and what they are told: what was wrong, where, and what to do.

One table for everything in ``tg.``, of which `misused` has the rows of operations, and `misused_layers` those
of layers, losses, files and optimisers; a test holds that each public name that takes arguments has one.
"""

import ast
import copy
import operator
import pickle
import re
import types
from functools import partial
from typing import Any

import numpy as np
import pytest
from misused import OPERATIONS, Bad
from misused_layers import LAYERS

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.ops.registry import NUMPY, REGISTRY
from tinygrad_rnn.tensors import Tensor


def t(*shape: int, grad: bool = True) -> Tensor:
    return tg.tensor(np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape), requires_grad=grad)


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


@tg.primitive
def reads(x, /):
    return np.sin(x)


@tg.primitive
def flags(x, /):
    return x * 1.0


@tg.primitive
def flagged(c, x, /):
    return c * x


@tg.primitive
def chosen(a, b, x, /):
    return np.where(a > b, x, 0.0)


@tg.primitive
def veiled(x, /):
    return np.ma.masked_array(x, x > 1)


@tg.primitive
def nothing(x, /):
    x * 1.0


@tg.primitive
def pair(x, /):
    return x, x


@tg.primitive(multiple=True)
def lone(x, /):
    return x * 1.0


reads.defvjp(lambda g, _y, _x: g * np.cos(_x))
flags.defvjp(None)
flagged.defvjp(None, lambda g, _y, c, _x: g * c)
chosen.defvjp(None, None, lambda g, _y, a, b, _x: np.where(a > b, g, 0.0))
for operation in (veiled, nothing, pair, lone):
    operation.defvjp(lambda g, _y, _x: g)


for operation in (ruleless, silent, turned, reads, flags, flagged, chosen, veiled, nothing, pair, lone):
    del REGISTRY[operation.name]  # they are no operations of the package, whose tests go through all of them


def _writes(x: Tensor) -> Tensor:
    x.data[...] += 1
    return (x * x).sum()


def _total(x: Tensor) -> Tensor:
    return x.sum()


def _cell(result: Any) -> Any:
    """A cell of one's own that returns what a function makes of its state."""

    def step(x: Tensor, h: Tensor) -> Any:
        return result(np.tanh(x + h))

    step.initial_state = lambda batch: t(batch, 3)  # type: ignore[attr-defined]
    return step


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
    "reads": reads, "flags": flags, "flagged": flagged, "chosen": chosen, "veiled": veiled,
    "nothing": nothing, "pair": pair, "lone": lone,
    "writes": _writes, "total": _total, "X": np.array([0.5, -1.0, 2.0]), "partial": partial, "nn": nn,
    "cell": _cell, "batch": np.ones((2, 4, 3)), "optim": optim,
    "lstm": nn.LSTM(3, 5, rng=0), "gru": nn.GRU(3, 5, rng=0), "batch1": np.ones((2, 1, 3), np.float32),
    "inner": tg.inner, "setattr": setattr, "operator": operator,
}  # fmt: skip

TABLE = [
    *OPERATIONS,
    *LAYERS,
    # gradients of what has none
    Bad("tg.tensor([1, 2], dtype=int, requires_grad=True)", TypeError, "int64 astype('float32') indices"),
    Bad("tg.tensor(np.array([True]), requires_grad=True)", TypeError, "floating-point bool astype"),
    Bad("tg.tensor([1j], requires_grad=True)", TypeError, "real floating-point complex128"),
    Bad("setattr(n, 'requires_grad', True)", TypeError, "floating-point int64 astype('float32')"),
    Bad("setattr(x * 2, 'requires_grad', True)", RuntimeError, "requires_grad computed detach()"),
    Bad("setattr(x * 2, 'requires_grad', False)", RuntimeError, "requires_grad computed detach()"),
    # backward
    Bad("(x * 2).backward()", ValueError, "backward() (2, 3) sum() grad"),
    Bad("(x * 2).backward(np.ones(3))", ValueError, "backward() grad (3,) (2, 3)"),
    Bad("(x * 2).backward('ones')", TypeError, "numbers 'ones' pass an array"),
    Bad("plain.sum().backward()", RuntimeError, "off the tape requires_grad=True detached no_grad()"),
    Bad("x.detach().sum().backward()", RuntimeError, "off the tape detached"),
    Bad("x.astype(int).sum().backward()", RuntimeError, "off the tape integers"),
    Bad("unrecorded().backward()", RuntimeError, "off the tape no_grad()"),
    Bad("twice().backward()", RuntimeError, "released entry sum retain_graph=True"),
    Bad("stepped().backward()", RuntimeError, "leaf w (2, 3) changed in place multiply assign_ copy"),
    Bad("replaced().backward()", RuntimeError, "leaf (unnamed) (2, 3) changed in place transpose"),
    Bad("buffer().backward()", RuntimeError, "buffer (unnamed) (3,) changed multiply version 0 version 1"),
    Bad("named_buffer().backward()", RuntimeError, "buffer scaled.scale version 1 first used at scale 3"),
    Bad("index().backward()", RuntimeError, "buffer of shape (2,) changed in place getitem"),
    Bad("bounds().backward()", RuntimeError, "buffer of shape (3,) changed in place clip"),
    Bad("shared().backward()", RuntimeError, "leaf w (3,) changed in place version 1 first used"),
    Bad("emptied().backward()", RuntimeError, "leaf w of shape (3,) changed in place"),
    Bad("(v * 1j).sum().backward(np.array(1j))", TypeError, "complex real imaginary two multiply"),
    Bad("(v * (1 + 2j)).real", TypeError, "real complex differentiated two real tensors detach()"),
    Bad("abs(v * 1j).sum().backward()", TypeError, "multiply real input complex"),
    Bad("v.backward(tg.tensor(v.numpy() * 1j))", TypeError, "backward() complex grad float64"),
    Bad("v.sum().backward(np.array(1j))", TypeError, "complex128 imaginary float64"),
    Bad("v % 2", TypeError, "np.remainder no gradient rule"),
    Bad("2 % v", TypeError, "np.remainder no gradient rule"),
    Bad("copy.copy(v)", TypeError, "copy.copy deepcopy detach"),
    # primitives of one's own
    Bad("ruleless(v)", TypeError, "ruleless no gradient rule defvjp"),
    Bad("ruleless.defvjp(lambda g: g)", TypeError, "ruleless 'x' (g, y, x) too few"),
    Bad("silent(v).sum().backward()", TypeError, "rule returned None rule of silent entry"),
    Bad("turned(x).sum().backward()", ValueError, "rule of turned entry cotangent (2, 3)"),
    Bad("setattr(x, 'grad', np.ones(2))", ValueError, "grad float64(2, 3) (2,)"),
    Bad("setattr(x, 'grad', tg.tensor(np.ones((2, 3), 'f4')))", ValueError, "float64(2, 3) float32(2, 3)"),
    Bad("setattr(plain, 'grad', np.ones(3))", RuntimeError, "only a leaf grad"),
    Bad("setattr(x * 2, 'grad', np.ones((2, 3)))", RuntimeError, "only a leaf grad"),
    Bad("setattr(x * 2, 'name', 'y')", RuntimeError, "only a leaf tg.scope"),
    # overwriting
    Bad("x.__setitem__(0, 1)", TypeError, "assigned tg.where tg.stack"),
    Bad("np.add(x, 1, out=np.zeros((2, 3)))", TypeError, "np.add out= leave results are new"),
    Bad("np.add(1, 2, out=x)", TypeError, "np.add out= leave results are new"),
    Bad("np.sum(x, out=np.zeros(()))", TypeError, "np.sum out= leave results are new"),
    Bad("np.sum(x, None, None, np.zeros(()))", TypeError, "np.sum out= leave results are new"),
    Bad("np.ones((2, 3)).__iadd__(x)", TypeError, "np.add out= leave results are new"),
    Bad("v.assign_(np.ones(4))", ValueError, "assign_ (3,) (4,)"),
    Bad("v.assign_('abc')", TypeError, "numbers 'abc' pass an array"),
    Bad("setattr(v, 'data', np.ones(4))", ValueError, "expected shape (3,) got (4,) np.broadcast_to"),
    Bad("(v * 2).assign_(np.ones(3))", RuntimeError, "leaves result of an operation detach()"),
    # making and converting
    Bad("tg.tensor([x, x])", TypeError, "list of tensors tg.stack"),
    Bad("tg.tensor((v, 1.0))", TypeError, "list of tensors tg.stack"),
    Bad("tg.tensor([[v, v]])", RuntimeError, "requires gradients x.numpy() x.detach()"),
    Bad("tg.tensor(['a', 'b'])", TypeError, "numbers such as ['a']"),
    Bad("tg.tensor(np.array(['1']), dtype=float)", TypeError, "numbers '1' pass an array"),
    Bad("tg.tensor([1.0], dtype=str)", TypeError, "numbers dtype <U0 'float32'"),
    Bad("tg.tensor(None)", TypeError, "numbers None pass an array"),
    Bad("tg.tensor([[1, 2], [3]])", ValueError, "nested lists equal lengths"),
    Bad("tg.Tensor()", TypeError, "make tensors with tg.tensor("),
    Bad("np.asarray(x)", RuntimeError, "requires gradients x.numpy() x.detach()"),
    Bad("np.array([v, v])", RuntimeError, "requires gradients x.numpy() x.detach()"),
    Bad("x.item()", ValueError, "item() one element (2, 3)"),
    Bad("float(x)", ValueError, "float() one element (2, 3)"),
    Bad("int(v)", ValueError, "int() one element (3,)"),
    Bad("f'{v:.2f}'", ValueError, "format one element (3,)"),
    Bad("bool(x)", ValueError, "truth (2, 3) ambiguous (x > 0).all() tg.where"),
    Bad("len(s)", TypeError, "len() 0-d no first axis x.item()"),
    Bad("list(s)", TypeError, "iteration 0-d no first axis x.item()"),
    Bad("pickle.dumps(x)", TypeError, "not pickled save"),
    Bad("pickle.dumps(nn.LSTM(2, 2, rng=0))", TypeError, "not pickled module's state save()"),
    Bad("pickle.dumps(tg.compile(nn.LSTM(2, 2, rng=0)))", TypeError, "not pickled module's state save()"),
    Bad("pickle.dumps(tg.compile(nn.GRUCell(2, 2, rng=0)))", TypeError, "not pickled module's state save()"),
    Bad("copy.deepcopy(x * 2)", RuntimeError, "only leaves detach()"),
    Bad("x.astype('foo')", TypeError, "astype (2, 3) 'foo' np.float32"),
    Bad("tg.set_default_dtype(int)", TypeError, "set_default_dtype 'int' 'float32'"),
    Bad("tg.set_default_dtype(None)", TypeError, "set_default_dtype None 'float32'"),
    Bad("tg.set_default_dtype(np.longdouble)", TypeError, "set_default_dtype longdouble 'float64'"),
    Bad("tg.set_default_dtype('foo')", TypeError, "set_default_dtype 'foo' 'float32'"),
    Bad("tg.tensor(np.ma.array([1.0], mask=[1]))", TypeError, "masked array filled(0)"),
    Bad("v * np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])", TypeError, "multiply operand 1 mask filled(0)"),
    Bad("tg.where(np.ma.array([True] * 3), v, 0.0)", TypeError, "where operand 0 mask filled(0)"),
    # augmented assignment to a leaf, which would take its name away
    *[
        Bad(f"operator.{f}(x, x)", RuntimeError, f"{sign} leaf (unnamed) (2, 3) assign_ x {sign[:-1]} y")
        for f, sign in (
            ("iadd", "+="), ("isub", "-="), ("imul", "*="), ("itruediv", "/="), ("ifloordiv", "//="),
            ("ipow", "**="), ("imatmul", "@="),
        )
    ],
    # functions of functions
    Bad("tg.grad(lambda x: x)(X)", ValueError, "grad one element (3,) jacobian elementwise_grad sum"),
    *[
        Bad(f"tg.{f}(lambda x: x)(X{', X' * (f == 'hvp')})", ValueError, f"{f} one element (3,) jacobian sum")
        for f in ("value_and_grad", "hessian", "hvp")
    ],
    Bad("tg.per_example_grad(lambda p, x: p, X, X)", ValueError, "per_example_grad one element (3,) sum"),
    Bad("tg.grad(lambda x: x.numpy().sum())(X)", TypeError, "must return a tensor float64 .numpy() gradient"),
    Bad("tg.grad(total)(np.arange(3))", TypeError, "argument 0 floating-point int64 argnums"),
    Bad("tg.grad(total)(X * 1j)", TypeError, "argument 0 real complex128 imaginary two arguments"),
    Bad("tg.vjp(total, [X, X * 1j])", TypeError, "argument 0[1] real complex128 two arguments"),
    Bad("tg.grad(total, 1)(X)", TypeError, "argnums argument 1 got 1 positional"),
    Bad("tg.grad(total)(x=X)", TypeError, "argnums argument 0 got 0 positional without its name"),
    Bad("tg.grad(total)(X, train=True)", TypeError, "_total unexpected keyword 'train'"),
    Bad("tg.grad(total, ())", TypeError, "argnums a number such as 0, got ()"),
    Bad("tg.grad(total, None)", TypeError, "argnums a number such as 0, got None"),
    Bad("tg.grad(total, 'x')", TypeError, "argnums a number such as 0, got 'x'"),
    Bad("tg.hessian(total, 1.0)", TypeError, "argnums a number such as 0, got 1.0"),
    Bad("tg.grad(lambda a, b: (a * b).sum(), (0, 0))(X, X)", ValueError, "argnums twice (0, 0) of 2 once"),
    Bad("tg.grad(lambda a, b: (a * b).sum(), (1, -1))(X, X)", ValueError, "argnums twice (1, -1) of 2 once"),
    *[
        Bad(f"tg.{f}(3)", TypeError, f"{f} takes a function got 3 f itself")
        for f in (
            "grad", "value_and_grad", "elementwise_grad", "jacobian", "hessian", "hvp", "vjp", "checkpoint",
            "gradcheck", "gradgradcheck",
        )
    ],
    Bad("tg.jvp(3, (X,), (X,))", TypeError, "jvp takes a function got 3 f itself"),
    Bad("tg.per_example_grad(3, X, X)", TypeError, "per_example_grad takes a function got 3 f itself"),
    Bad("tg.value_and_grad(total(v))", TypeError, "value_and_grad function got tensor( f(x)"),
    Bad("tg.grad(lambda p: p['a'].sum())({'a': X, 'n': None})", TypeError, "argument 0['n'] None argnums"),
    Bad("tg.grad(lambda p: p[0].sum())([X, 'name'])", TypeError, "argument 0[1] 'name' argnums"),
    Bad("tg.grad(lambda x: (x, x))(X)", TypeError, "must return one tensor tuple jacobian"),
    Bad("tg.vjp(lambda x: {'y': x}, X)", TypeError, "must return one tensor dict jacobian"),
    Bad("tg.vjp(tg.sin, X)[1](np.ones(2))", ValueError, "backward() grad (2,) (3,)"),
    Bad("tg.jacobian(lambda x: [x, 1.0])(X)", TypeError, "must return a tensor float .numpy()"),
    Bad("tg.elementwise_grad(lambda x: 3.0)(X)", TypeError, "must return one tensor float"),
    Bad("tg.elementwise_grad(lambda x: (x, x))(X)", TypeError, "must return one tensor tuple"),
    Bad("tg.jvp(tg.sin, X, X)", TypeError, "jvp primals tuple (x,) ndarray"),
    Bad("tg.jvp(tg.sin, (X,), X)", TypeError, "jvp tangents tuple (v,) ndarray"),
    Bad("tg.jvp(tg.sin, (X,), (np.ones(2),))", ValueError, "jvp tangents shape (3,) got (2,)"),
    Bad("tg.jvp(tg.add, (X, X), (X,))", ValueError, "jvp tangents expected 2 parts, got 1"),
    Bad("tg.jvp(tg.add, (X, X), (X, [X]))", ValueError, "jvp tangents shape (3,) got (1, 3)"),
    Bad("tg.hvp(total)()", TypeError, "hvp arguments of f and then v, hvp(f)(x, v) got 0"),
    Bad("tg.hvp(total)(X)", TypeError, "hvp arguments of f and then v, hvp(f)(x, v) got 1"),
    Bad("tg.hvp(total)(X, np.ones((2, 3)))", ValueError, "hvp: v expected shape (3,) got (2, 3)"),
    Bad("tg.hvp(total)(X, 1.0)", ValueError, "hvp: v expected shape (3,) got ()"),
    Bad("tg.hvp(total)(X, [X, X])", ValueError, "hvp: v expected shape (3,) got (2, 3)"),
    Bad("tg.hvp(total, (0,))(X, X)", ValueError, "hvp: v expected 1 parts, ndarray"),
    Bad("tg.hvp(lambda p: p['a'].sum())({'a': X}, X)", ValueError, "hvp: v expected keys ['a'], ndarray"),
    Bad("tg.hvp(lambda p: p['a'].sum())({'a': X}, {'b': X})", ValueError, "hvp: v keys ['a'], got ['b']"),
    Bad("tg.per_example_grad(inner, X, [1.0, 2.0])", TypeError, "per_example_grad xs[0] 1.0 np.array(xs)"),
    Bad("tg.per_example_grad(inner, X, 3.0)", TypeError, "per_example_grad xs 3.0 np.array(xs)"),
    Bad("tg.per_example_grad(inner, X, np.array(3.0))", TypeError, "per_example_grad xs array(3.) first"),
    Bad("tg.per_example_grad(inner, X, (X, [1.0]))", TypeError, "per_example_grad xs[1][0] 1.0 np.array(xs)"),
    Bad("tg.per_example_grad(inner, X, (X, np.ones(2)))", ValueError, "per_example_grad one length [3, 2]"),
    Bad("tg.per_example_grad(inner, X, np.ones((0, 2)))", ValueError, "per_example_grad length 1 least [0]"),
    Bad("tg.checkpoint(lambda x: 3)(v)", TypeError, "checkpoint must return a tensor, got int"),
    # numerical checks
    Bad("tg.gradcheck(lambda p: p['a'], {'a': X})", TypeError, "gradcheck argument 0 dict arrays Wrap"),
    Bad("tg.gradcheck(total, nn.Linear(2, 2, rng=0))", TypeError, "gradcheck argument 0 Linear arrays Wrap"),
    Bad("tg.gradcheck(total, X, 'a')", TypeError, "gradcheck argument 1 numbers 'a'"),
    Bad("tg.gradcheck(total, X * 1j)", TypeError, "gradcheck argument 0 complex128 real two arguments"),
    Bad("tg.gradcheck(total, X, rtol='foo')", TypeError, "gradcheck rtol number 1e-6 'foo'"),
    Bad("tg.gradcheck(total, X, atol=-1)", TypeError, "gradcheck atol number from 0 on -1"),
    Bad("tg.gradcheck(total, X, method='newton')", ValueError, "gradcheck 'complex' 'central' 'newton'"),
    Bad("tg.gradcheck(lambda x: x.detach(), X)", ValueError, "gradcheck no output depends detach()"),
    Bad("tg.gradcheck(lambda x: 3.0, X)", TypeError, "gradcheck must return a tensor float"),
    Bad("tg.gradcheck(writes, X)", ValueError, "gradcheck f wrote argument 0 new array"),
    Bad("tg.gradgradcheck(total, X, eps=1)", TypeError, "gradgradcheck() unexpected keyword 'eps'"),
    Bad("tg.gradgradcheck(total, {'a': X})", TypeError, "gradcheck argument 0 dict Wrap"),
    # blocks
    Bad("tg.no_grad(total)", TypeError, "no_grad() no arguments function parentheses @no_grad()"),
    Bad("tg.enable_grad(total)", TypeError, "enable_grad() no arguments parentheses @enable_grad()"),
    Bad("tg.detect_anomaly(True)", TypeError, "detect_anomaly() no arguments True"),
    Bad("tg.Observer(3)", TypeError, "Observer() no arguments 3 parentheses"),
    *[
        Bad(f"exec('with tg.{name}: pass', {{'tg': tg}})", TypeError, f"with {name} parentheses {name}(...)")
        for name in ("no_grad", "enable_grad", "detect_anomaly", "Observer", "scope")
    ],
    Bad("tg.scope(None)", TypeError, "scope name scope('encoder') None"),
    Bad("tg.scope(total)", TypeError, "scope name scope('encoder') function"),
    Bad("tg.scope('a', step='x')", TypeError, "scope 'a' step number 'x'"),
    Bad("tg.no_grad()(lambda: (yield))", TypeError, "no_grad cannot decorate generator with block"),
    # random numbers
    Bad("tg.manual_seed('a')", TypeError, "manual_seed whole number from 0 'a'"),
    Bad("tg.manual_seed(True)", TypeError, "manual_seed whole number from 0 True"),
    Bad("tg.manual_seed(-1)", ValueError, "manual_seed whole number from 0 -1"),
    Bad("tg.manual_seed(1.5)", TypeError, "manual_seed whole number from 0 1.5"),
    Bad("tg.default_generator(-1)", ValueError, "default_generator whole number from 0 -1"),
    Bad("tg.default_generator('a')", TypeError, "rng numpy.random.Generator seed None str"),
    # tapes
    Bad("tg.Tape()", TypeError, "tg.Tape needs a tensor tg.Tape(loss)"),
    Bad("tg.Tape([x * 2])", TypeError, "tg.Tape one by one list tg.Tape(*tensors)"),
    Bad("tg.Tape(plain)", ValueError, "tg.Tape on the tape requires gradients Tensor"),
    Bad("tg.Tape(3)", ValueError, "tg.Tape tensor on the tape int"),
    # declaring primitives
    Bad("tg.primitive(np.tanh)", TypeError, "primitive Python function 'tanh' def name(x, /)"),
    Bad("tg.primitive('tanh')", TypeError, "primitive Python function 'tanh' def name(x, /)"),
    Bad("tg.primitive(partial(np.sum, axis=0))", TypeError, "primitive function partial def name(x, /)"),
    Bad("tg.primitive(lambda: 1.0)", TypeError, "primitive no array inputs before a slash"),
    Bad("tg.primitive(foo=3)", TypeError, "primitive 'foo' takes domain multiple numpy"),
    Bad("tg.primitive(numpy=3)", TypeError, "primitive numpy= NumPy's functions np.tanh 3"),
    Bad("tg.primitive(numpy=np.tanh)(lambda x, /: x)", ValueError, "np.tanh already tanh leave numpy="),
    Bad("ruleless.defvjp(lambda g, y: g)", TypeError, "ruleless 'x' (g, y, x) too few"),
    Bad("ruleless.defvjp(joint=lambda g, *xs: [g])", TypeError, "joint rule ruleless (g, y, *inputs) star"),
    Bad("flagged.defvjp(None, 3)", TypeError, "rule for 'x' of flagged function (g, y, c, x) 3 lambda"),
    Bad("ruleless.defvjp(np.cos)", TypeError, "rule for 'x' of ruleless function (g, y, x) 'cos' lambda"),
    Bad("ruleless.defvjp(3)", TypeError, "rule for 'x' of ruleless function (g, y, x) 3 lambda"),
    Bad("ruleless.defvjp()", TypeError, "ruleless 1 array inputs 0 rules each of x None"),
    Bad("ruleless.defvjp(joint=3)", TypeError, "joint rule of ruleless function (g, y, *inputs) 3"),
    Bad("ruleless.defvjp(joint=lambda g, y, a: [g])", TypeError, "joint rule ruleless (g, y, *inputs) star"),
    Bad("ruleless.defvjp(lambda g, y, x: g, joint=lambda *a: a)", TypeError, "ruleless joint the others"),
    Bad("reads(v).sum().backward()", TypeError, "cos backward rule of reads drop the underscore"),
    Bad("flags(v)", TypeError, "flags not differentiable argument 'x' x.detach()"),
    Bad("flagged(v, v)", TypeError, "flagged not differentiable argument 'c' c.detach()"),
    Bad("chosen(X, v, v)", TypeError, "chosen not differentiable argument 'b' b.detach()"),
    Bad("veiled(v)", TypeError, "veiled masked array a.filled(0) mask"),
    Bad("nothing(v)", TypeError, "nothing returned None array return"),
    Bad("pair(v)", TypeError, "pair returned tuple of 2 multiple=True"),
    Bad("lone(v)", TypeError, "lone multiple=True returned (3,) tuple"),
    Bad("lone(plain)", TypeError, "lone multiple=True returned (3,) tuple"),
    # drawing
    Bad("tg.draw.network(3)", TypeError, "network parameters by name state_dict() int"),
    Bad("tg.draw.loss_curves(3)", TypeError, "loss_curves list of numbers int"),
    # cells and layers
    Bad("nn.Recurrent(cell(lambda h: (h, h)))(X)", ValueError, "Recurrent (batch, time, features) (3,)"),
    Bad("nn.Recurrent(cell(lambda h: (h, h)))(batch[0])", ValueError, "Recurrent (4, 3) tuple input_size"),
    Bad("nn.Recurrent(cell(lambda h: None))(batch)", TypeError, "step returned None pair (2, 3)"),
    Bad("nn.scan(cell(lambda h: h), batch)", TypeError, "step returned tensor (2, 3) pair"),
    Bad("nn.scan(cell(lambda h: (h, [h])), batch)", TypeError, "step [tensor before tensor (2, 3)"),
    Bad("nn.scan(cell(lambda h: (h, h[:1])), batch)", ValueError, "step (1, 3) before (2, 3)"),
    # optimisers
    Bad("optim.Adam(nn.Linear(2, 2, rng=0))", TypeError, "Adam list of tensors Linear model.parameters()"),
    Bad("optim.SGD(nn.Sequential(), 0.1)", TypeError, "SGD list of tensors Sequential model.parameters()"),
    *[
        Bad(f"optim.{f}(nn.LSTM(2, 2, rng=0), 1.0)", TypeError, f"{f} tensors LSTM model.parameters()")
        for f in ("clip_grad_norm", "clip_grad_value")
    ],
    *[
        Bad(f"optim.{f}([nn.Linear(2, 2, rng=0)], 1.0)", TypeError, f"{f} tensors Linear model.parameters()")
        for f in ("clip_grad_norm", "clip_grad_value")
    ],
    Bad("optim.clip_grad_value([v, None], 1.0)", TypeError, "clip_grad_value list of tensors NoneType"),
    # compiling
    Bad("tg.compile(3)", TypeError, "compile layer model cell(x_t, state) got 3"),
    Bad("tg.compile(lambda x: x)", TypeError, "compile cell(x_t, state) got <function"),
    Bad("tg.compile(nn.LSTM)", TypeError, "compile layer got LSTM make one first"),
    Bad("tg.compile(nn.Linear(2, 2, rng=0))", ValueError, "compile no recurrent cell Linear initial_state"),
    Bad("tg.compile(nn.LSTM(2, 2, rng=0), backend='c')", ValueError, "backend 'numba' 'numpy' None 'c'"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a row declares is forgotten afterwards."""
    before = {id(table): dict(table) for table in (REGISTRY, NUMPY)}
    yield
    for table in (REGISTRY, NUMPY):
        table.clear()
        table.update(before[id(table)])


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.typed)
def test_errors_say_what_was_wrong(bad: Bad) -> None:
    with pytest.raises(bad.error) as caught:
        eval(bad.typed, dict(NAMES))
    message = str(caught.value)
    missing = [w for w in re.findall(r"\S+\([\w, -]*\)|\([\d, ]+\)|\S+", bad.words) if w not in message]
    assert not missing, message
    assert len(message) < 420


def test_every_row_asks_for_what_and_where_and_what_to_do() -> None:
    few = {bad.typed for bad in TABLE if len(bad.words.split()) < 3}
    assert not few
    assert len({bad.typed for bad in TABLE}) == len(TABLE)


WITHOUT_ROW = {
    "get_default_dtype": "takes no arguments",
}
"""Public names that cannot be misused, with the reason."""


def test_every_public_name_that_takes_arguments_has_a_row() -> None:
    typed = {
        node.attr
        for bad in TABLE
        for node in ast.walk(ast.parse(bad.typed))
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == "tg"
    }
    public = {
        name
        for name in dir(tg)
        if not name.startswith("_") and not isinstance(getattr(tg, name), types.ModuleType)
    }
    assert public - typed == set(WITHOUT_ROW)
    assert all(name not in typed for name in WITHOUT_ROW)
