"""The tape: what is recorded, what an entry keeps, and what is let go when."""

import gc
import sys
import weakref
from typing import Any

import numpy as np
import pytest
from leaves import leaf, same

import tinygrad_rnn as tg
from tinygrad_rnn import backpropagation, ops, tape
from tinygrad_rnn.ops.operations import Primitive
from tinygrad_rnn.tape import Binary, Entry, Leaf, Nary, Unary


def test_only_what_the_result_depends_on_is_walked() -> None:
    x, w = leaf(3), leaf(3, seed=1)
    y = x * w
    _ = tg.exp(y)
    z = y.sum()
    assert len(tape.reachable([z.place])) == 2
    z.backward()
    same(x.grad, w.numpy())
    same(w.grad, x.numpy())


@pytest.mark.parametrize("f", [tg.exp, lambda x: tg.split(x * x, 2)[1], lambda x: tg.exp(x)[1:]])
def test_what_has_the_number_where_a_pass_ends_belongs_to_it(f: Any) -> None:
    x = leaf(4)
    y = f(x)
    oldest = tape.reachable([y.place])[-1]
    found = backpropagation.backward([(y.place, np.ones(y.shape))], since=oldest.number)
    assert set(found) == {x.place}
    y = f(x)
    entries = tape.reachable([y.place])
    assert [e.number for e in entries] == sorted([e.number for e in entries], reverse=True)
    for k, entry in enumerate(entries):
        assert tape.reachable([y.place], entry.number) == entries[: k + 1]


# ----------------------------------------------------------------------------------------- what is kept


def test_backward_releases_arrays_and_keeps_the_structure() -> None:
    x = leaf(3)
    y = tg.exp(x)
    saved = weakref.ref(y.data)
    z = (y * 2.0).sum()
    before = str(tg.Tape(z))
    del y
    assert saved() is not None
    z.backward()
    assert saved() is None
    assert all(entry.args is None and entry.out is None for entry in tg.Tape(z))
    assert str(tg.Tape(z)) == before


def test_only_what_rules_read_is_kept() -> None:
    """Arrays that no rule reads die with their tensors: add keeps nothing, exp just its output."""
    x = leaf(100)
    a = x * 2.0
    gone = weakref.ref(a.data)
    b = a + 1.0
    c = tg.exp(b)
    also_gone, kept = weakref.ref(b.data), weakref.ref(c.data)
    d = c.sum()
    del a, b, c
    assert gone() is None
    assert also_gone() is None
    assert kept() is not None
    d.backward()
    same(x.grad, 2 * np.exp(2 * x.numpy() + 1))


def test_constants_are_kept_only_for_rules_that_read_them() -> None:
    x = leaf(3)
    constant = np.ones(3)
    added, multiplied = (x + constant).place, (x * constant).place
    assert not isinstance(added.args[1], np.ndarray)
    assert multiplied.args[1] is constant
    assert isinstance(multiplied.args[0], Leaf)  # nobody needs a gradient of the constant


def _scaled(x: Any, y: Any, /, k: float = 1.0) -> Any:
    return np.exp(x * y)[()] * k  # NumPy makes a scalar of an array without axes


def test_a_result_that_a_rule_reads_is_held_once() -> None:
    """Also where NumPy has made a scalar of it: by the tensor and by the entry as one array."""
    scaled = Primitive(_scaled)
    scaled.defvjp(lambda g, out, _x, y, k=1.0: g * out * y, lambda g, out, x, _y, k=1.0: g * out * x)
    x = leaf()
    for y in (tg.exp(x), tg.logaddexp(x, x), scaled(x, x, k=2.0)):
        assert type(y.numpy()) is np.ndarray
        assert y.place.out is y.numpy()
    assert tg.gradgradcheck(lambda x, y: scaled(x, y, k=2.0), x, leaf(seed=1))


@pytest.mark.parametrize(
    ("f", "kind"),
    [
        (tg.tanh, Unary), (np.tanh, Unary), (lambda x: x.sum(axis=0), Unary), (lambda x: x[0], Unary),
        (lambda x: tg.split(x, 3)[0], Unary), (lambda x: x + 1, Binary), (lambda x: tg.hypot(x, x), Binary),
        (lambda x: tg.where(True, x, 1), Nary), (lambda x: tg.stack([x]), Nary),
    ],
)  # fmt: skip
def test_an_entry_is_as_small_as_its_inputs_allow(f: Any, kind: Any) -> None:
    """A long tape of few objects costs the garbage collector less."""
    place = f(leaf(3)).place
    assert type(getattr(place, "entry", place)) is kind


def test_constants_stay_known_after_their_release() -> None:
    """Their shapes and dtypes, or the numbers themselves; of all other inputs nothing stays."""
    x, c = leaf(3), np.ones(3, np.float32)
    spec = (c.shape, c.dtype)
    for f, known in (
        (lambda x: x * c, (None, spec)),
        (lambda x: 2.0 * x, (2.0, None)),
        (lambda x: tg.where(c > 0, x, c), (((3,), np.dtype(bool)), None, spec)),
        (lambda x: tg.where(c > 0, x, 7.0), (((3,), np.dtype(bool)), None, 7.0)),
        (lambda x: tg.concatenate([x, x]), (None, None)),
        (tg.exp, (None,)),
    ):
        y = f(x)
        assert all(a is b for a, b in zip(y.place.known, y.place.args, strict=True))
        y.sum().backward()
        assert y.place.args is None
        assert y.place.known == known


@pytest.mark.parametrize("after_backward", [False, True])
def test_memory_is_freed_without_the_garbage_collector(after_backward: bool) -> None:
    gc.collect()
    gc.disable()
    try:
        x = leaf(50)
        y = tg.exp(x * x)
        a, b = tg.split(y, 2)
        z = (a * tg.tanh(b)[0] + tg.concatenate([a, b])[:25]).sum()
        arrays = [weakref.ref(t.data) for t in (y, z)]
        tensors = [weakref.ref(t) for t in (y, a, z)]
        if after_backward:
            z.backward(create_graph=True)
            x.grad = None
        del y, a, b, z
        assert [r() for r in arrays + tensors] == [None] * 5
    finally:
        gc.enable()


def test_a_million_operations() -> None:
    """Neither the walk nor the release of the tape goes as deep as the tape is long."""
    x = leaf()
    y = x
    for _ in range(1_000_000):
        y = y + 1.0
    y.backward()
    same(x.grad, 1)
    del y


def test_deep_tapes_are_freed_without_a_backward() -> None:
    limit = sys.getrecursionlimit()
    x = leaf(2)
    y, z = x, x
    for _ in range(20 * limit):
        y = tg.sin(y * x)
        z, _ = tg.unstack(tg.stack([z, z]))
    del y, z
    y = x
    for _ in range(2 * limit):
        y = y * 0.999
    y.sum().backward(create_graph=True)
    x.grad = None
    del y


# ---------------------------------------------------------------------------------------------- entries


def test_what_an_entry_says() -> None:
    x = leaf(2, 3)
    y = tg.sum(x, axis=1, keepdims=True)
    entry = y.place
    assert isinstance(entry, Entry)
    assert entry.primitive is ops.sum
    assert entry.parents == (x.place,)
    assert entry.static == {"axis": 1, "keepdims": True}
    assert (entry.shape, entry.dtype, entry.scope) == ((2, 1), np.float64, None)
    parts = tg.split(x, [1], axis=1)
    assert parts[0].place.entry is parts[1].place.entry
    assert [p.place.index for p in parts] == [0, 1]
    assert parts[0].place.entry.shape == ((2, 1), (2, 2))
    assert parts[1].place.shape == (2, 2)
    assert parts[0].place.entry.number > entry.number


def test_nothing_is_recorded_without_a_leaf() -> None:
    t = tg.tensor(np.ones(3))
    for y in (t + t, tg.tanh(t), t.sum(axis=0), t[0], *tg.split(t, 3), tg.stack([t, t])):
        assert y.place is None
        assert not y.requires_grad


def test_integers_leave_the_tape() -> None:
    """Rounding to integers has derivative 0 almost everywhere; it must not pass a cotangent on."""
    x = leaf(3)
    n = x.astype(int)
    assert not n.requires_grad
    y = (x[n - n] * n).sum()
    y.backward()
    same(x.grad, [n.numpy().sum(), 0, 0])


def test_iterating_gives_rows() -> None:
    x = leaf(3, 2)
    rows = list(x)
    assert len(rows) == len(x) == 3
    (rows[0] * rows[2]).sum().backward()
    same(x.grad, [x.numpy()[2], [0, 0], x.numpy()[0]])
    numbers = list(leaf(2))
    assert all(type(n.data) is np.ndarray for n in numbers)
    first, *_ = tg.unstack(tg.tensor([1.0, 2.0]))
    assert type(first.data) is np.ndarray


def _both(x: Any, y: Any, /) -> Any:
    return x + y, x * y


def test_several_outputs_of_two_operands_have_to_be_declared() -> None:
    both = Primitive(_both)
    both.defvjp(lambda g, _out, _x, _y: g, lambda g, _out, _x, _y: g)
    with pytest.raises(TypeError, match=r"_both returned a tuple of 2: .*multiple=True"):
        both(leaf(3), leaf(3))


def test_a_new_leaf_has_not_changed() -> None:
    place = leaf(2).place
    assert (place.changed, place.version, place.grad, place.name, place.used) == (0, 0, None, None, None)
