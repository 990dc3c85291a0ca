"""The tape: what is recorded, what the walk backward brings to the leaves, and what is let go when."""

import gc
import itertools
import sys
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import backpropagation, ops, tape
from tinygrad_rnn.ops import index as index_ops
from tinygrad_rnn.ops.operations import Primitive
from tinygrad_rnn.tape import Binary, Entry, Leaf, Nary, Output, Unary


def leaf(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Any:
    return tg.tensor(
        np.asarray(np.random.default_rng(seed).uniform(0.5, 2, shape), dtype), requires_grad=True
    )


def same(t: Any, wanted: Any) -> None:
    np.testing.assert_allclose(t.numpy(), wanted, rtol=1e-13, atol=1e-15)


# -------------------------------------------------------------------------------------- accumulation


def test_a_tensor_used_many_times() -> None:
    x = leaf(3)
    (x + x + x * x + x).sum().backward()
    same(x.grad, 3 + 2 * x.numpy())
    x.grad = None
    tg.concatenate([x, x, x[:1], tg.stack([x, x]).sum(0)]).sum().backward()
    same(x.grad, [5, 4, 4])


def test_diamonds_and_shared_subexpressions() -> None:
    x = leaf()
    y = x
    for _ in range(30):
        y = y + y  # 2**30 paths, 30 entries
    y.backward()
    same(x.grad, 2.0**30)
    x.grad = None
    a = tg.tanh(x)
    b, c = a * 2, a * a
    (b * c + b).backward()
    t = np.tanh(x.numpy())
    same(x.grad, (6 * t * t + 2) * (1 - t * t))


def test_only_what_the_result_depends_on_is_walked() -> None:
    x, w = leaf(3), leaf(3, seed=1)
    y = x * w
    _ = tg.exp(y)
    z = y.sum()
    assert len(tape.reachable([z.place])) == 2
    z.backward()
    same(x.grad, w.numpy())
    same(w.grad, x.numpy())


def test_a_leaf_itself_runs_backward() -> None:
    x = leaf()
    x.backward()
    same(x.grad, 1)
    y = leaf(2)
    y.backward([3.0, 4.0])
    same(y.grad, [3, 4])


def test_several_roots() -> None:
    x = leaf(3)
    a, b = x * 2, tg.exp(x)
    found = backpropagation.backward(
        [(a.place, np.ones(3)), (b.place, np.ones(3)), (a.place, np.ones(3)), (x.place, np.ones(3))]
    )
    np.testing.assert_allclose(found[x.place], 5 + np.exp(x.numpy()))
    assert b.place.args is None  # released, unless another pass is announced


def test_a_pass_can_end_at_older_entries() -> None:
    """Then those are what cotangents are found for, and what they saved is neither needed nor released."""
    x = leaf(4)
    h = x * x
    a, _ = tg.split(h, 2)
    since = next(tape.clock)
    y = tg.exp(h[:2]) * a + a
    found = backpropagation.backward([(y.place, np.ones(2))], since=since)
    assert set(found) == {h.place, a.place.entry}
    np.testing.assert_allclose(found[h.place], [*(np.exp(h.numpy()[:2]) * a.numpy()), 0, 0])
    first, second = found[a.place.entry]
    np.testing.assert_allclose(first, np.exp(h.numpy()[:2]) + 1)
    assert second is None
    h.sum().backward()
    same(x.grad, 2 * x.numpy())


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


def test_gradients_accumulate_over_backwards() -> None:
    x = leaf(3)
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    same(x.grad, [5, 5, 5])
    same(first, [2, 2, 2])  # the earlier result was not written over


def test_an_error_half_way_leaves_no_gradient() -> None:
    x, w = leaf(3), leaf(3, seed=1)
    z = (tg.exp(x) * w).sum()
    w.data *= 2
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()
    assert x.grad is None
    assert w.grad is None


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_share_memory_with_nothing(create_graph: bool) -> None:
    a, b, c = leaf(3), leaf(3), leaf(3)
    seed = tg.tensor(np.ones(3))
    (a + b - (-c.reshape(1, 3)).reshape(3)).backward(seed, create_graph=create_graph)
    held = [a.grad, b.grad, c.grad, a, b, c, seed]
    for s, t in itertools.combinations(held, 2):
        assert s is not t
        assert not np.shares_memory(s.data, t.data)
    a.grad.data[:] = 7
    same(b.grad, [1, 1, 1])
    x = leaf(2, 2)
    x.sum().backward(create_graph=create_graph)
    assert x.grad.data.flags.writeable
    x.grad = None
    x.T.backward(tg.tensor(np.arange(4.0).reshape(2, 2)), create_graph=create_graph)
    x.grad.data += 1
    same(x.grad, [[1, 3], [2, 4]])


def test_many_uses_are_added_in_place(monkeypatch: Any) -> None:
    """The first sum of two arrays makes a new one, and the rest are added into that."""
    x = leaf(3)
    y = x * 1.0
    z = sum(y * float(k) for k in range(10)).sum()
    added = []

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def add(self, a: Any, b: Any, out: Any = None) -> Any:
            added.append(out is not None)
            return np.add(a, b, out=out)

    monkeypatch.setattr(backpropagation, "np", Counted())
    z.backward()
    assert added == [True] * 8
    same(x.grad, [45, 45, 45])


# ------------------------------------------------------------------------------------- broadcasting


SHAPES = [
    (),
    (1,),
    (3,),
    (1, 1),
    (1, 3),
    (2, 1),
    (2, 3),
    (1, 2, 3),
    (4, 1, 1),
    (4, 1, 3),
    (4, 2, 3),
    (0,),
    (0, 3),
]


def broadcastable(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a[::-1], b[::-1], strict=False))


@pytest.mark.parametrize(("a", "b"), [(a, b) for a in SHAPES for b in SHAPES if broadcastable(a, b)], ids=str)
def test_broadcast_axes_are_summed(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Each operand's gradient counts, element by element, how often the element was used."""
    x, y = leaf(*a), leaf(*b, seed=1)
    z = x * y
    rng = np.random.default_rng(2)
    seed = rng.standard_normal(z.shape)
    z.backward(seed)
    for t, other in ((x, y), (y, x)):
        wanted = np.zeros(t.shape)
        owner = np.broadcast_to(np.arange(t.size).reshape(t.shape), z.shape)
        np.add.at(wanted.reshape(-1), owner.ravel(), (seed * np.broadcast_to(other.numpy(), z.shape)).ravel())
        assert t.grad.shape == t.shape
        np.testing.assert_allclose(t.grad.numpy(), wanted, rtol=1e-12, atol=1e-12)


def test_mixed_dtypes() -> None:
    x, y = leaf(3, dtype=np.float32), leaf(3, seed=1)
    z = x * y
    assert z.dtype == np.float64
    z.sum().backward(create_graph=True)
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy().astype(np.float32))
    h = leaf(3, dtype=np.float32)
    w = h * 2.0 + 1
    assert w.dtype == np.float32
    (w.astype(np.float64) * y).sum().backward()
    assert h.grad.dtype == np.float32
    np.testing.assert_allclose(h.grad.numpy(), 2 * y.numpy(), rtol=1e-7)


def test_integers_leave_the_tape() -> None:
    """Rounding to integers has derivative 0 almost everywhere; it must not pass a cotangent on."""
    x = leaf(3)
    n = x.astype(int)
    assert not n.requires_grad
    y = (x[n - n] * n).sum()
    y.backward()
    same(x.grad, [n.numpy().sum(), 0, 0])


# --------------------------------------------------------------------------------- several outputs


def test_outputs_that_nobody_used() -> None:
    x = leaf(6)
    a, b, c = tg.split(x, 3)
    (b * b).sum().backward()
    same(x.grad, [0, 0, *(2 * x.numpy()[2:4]), 0, 0])
    x.grad = None
    source = leaf(2, 4)
    parts = tg.unstack(source, axis=1)
    (parts[3] * 3 + parts[1]).sum().backward()
    same(source.grad, [[0, 1, 0, 3]] * 2)
    assert all(isinstance(t.place, Output) for t in (a, c, *parts))


def test_outputs_used_many_times_and_as_pieces() -> None:
    x = leaf(2, 6)
    a, b = tg.split(x, 2, axis=1)
    (a[0] * 2 + a[0] + a[1] + b[:, 1:].sum() + b.sum()).sum().backward()
    same(x.grad, [[3, 3, 3, 3, 6, 6], [1, 1, 1, 3, 6, 6]])


def test_outputs_of_several_under_create_graph() -> None:
    assert tg.gradgradcheck(lambda x: tg.split(x, 3)[1] ** 3, np.arange(1.0, 7))
    assert tg.gradgradcheck(
        lambda x: [a * a[:1] for a in tg.unstack(x, axis=1)][1:], np.arange(1.0, 7).reshape(2, 3)
    )
    assert tg.gradgradcheck(lambda x: tuple(tg.split(x * x, [1, 4])[k] for k in (0, 2)), np.arange(1.0, 7))
    assert tg.gradgradcheck(lambda x: tuple(np.linalg.qr(x)), leaf(3, 2))  # its rule reads the outputs


def _grown(x: Any, y: Any, /) -> Any:
    return np.exp(x * y), x + y


def _grown_vjp(gs: Any, ys: Any, _own: Any, other: Any) -> Any:
    return (0 if gs[0] is None else gs[0] * ys[0] * other) + (0 if gs[1] is None else gs[1])


def test_several_inputs_and_several_outputs() -> None:
    """With a rule for each input, which reads the other input and an output."""
    grown = Primitive(_grown, multiple=True)
    grown.defvjp(_grown_vjp, lambda gs, ys, x, _y: _grown_vjp(gs, ys, None, x))
    a, b = leaf(3), leaf(3, seed=1).numpy()
    assert tg.gradgradcheck(grown, a, b)
    for used in (0, 1):
        assert tg.gradgradcheck(lambda x, k=used: grown(x, b)[k], a)
        assert tg.gradgradcheck(lambda x, k=used: grown(b, x)[k], a)
    entry = grown(a, b)[0].place.entry
    assert isinstance(entry.args[0], Leaf)
    assert entry.args[1] is b


@pytest.mark.parametrize(("cut", "join"), [(tg.unstack, "stack"), (lambda x: tg.split(x, 3), "concatenate")])
def test_cotangents_of_all_outputs_are_joined_at_once(cut: Any, join: str) -> None:
    """Not added one by one into an array of zeros, which is for outputs that nobody used."""
    x = leaf(3, 2)
    y = sum(a * a for a in cut(x)).sum()
    y.backward(create_graph=True)
    names = {e.primitive.name for e in tg.Tape(x.grad)}
    assert join in names
    assert "scatter" not in names


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


# ------------------------------------------------------------------------------- higher derivatives


def derivatives(f: Any, x: Any, order: int) -> list[Any]:
    """f and its derivatives at x, summed over elements: each from the recorded backward pass of the last."""
    y = f(x)
    found = [y]
    for _ in range(order):
        x.grad = None
        y.sum().backward(create_graph=True)
        y = x.grad
        found.append(y)
    return found


def test_third_derivative_of_tanh() -> None:
    x = leaf(5)
    t = np.tanh(x.numpy())
    wanted = [t, 1 - t**2, -2 * t * (1 - t**2), (6 * t**2 - 2) * (1 - t**2)]
    for got, w in zip(derivatives(tg.tanh, x, 3), wanted, strict=True):
        same(got, w)


def test_fourth_derivative_of_a_polynomial() -> None:
    x = leaf()
    v = x.numpy()
    wanted = [v**4 - 2 * v, 4 * v**3 - 2, 12 * v**2, 24 * v, 24]
    for f in (
        lambda x: x**4 - 2 * x,
        lambda x: x * x * x * x - x - x,
        lambda x: tg.square(tg.square(x)) - 2 * x,
    ):
        for got, w in zip(derivatives(f, x, 4), wanted, strict=True):
            same(got, w)


def test_third_derivative_along_time_steps() -> None:
    """x[:, t] for all t: the recorded scatter must itself be differentiable."""

    def f(x: Any) -> Any:
        y = x[:, 0] * 0
        for t in range(x.shape[1]):
            y = y * x[:, t] + x[:, t] ** 3
        return y

    x = np.random.default_rng(0).uniform(0.5, 1.5, (2, 3))

    def gradient(x: Any, inner: Any) -> Any:
        y = inner(x)
        place = x.place
        found = backpropagation.backward(
            [(y.place, np.ones(y.shape))], lift=tg.tensors._make, retain_graph=True
        )
        return found[place] * np.arange(1.0, 1 + x.size).reshape(x.shape)

    assert tg.gradgradcheck(f, x)
    assert tg.gradgradcheck(lambda x: gradient(x, f), x)


def test_third_derivative_of_matmul() -> None:
    a, b = leaf(2, 3), leaf(3, 2, seed=1)

    def once(x: Any, y: Any, which: Any) -> Any:
        which.grad = None
        y.sum().backward(create_graph=True)
        return which.grad

    f = lambda a, b: tg.tanh(a @ b) ** 2  # noqa: E731
    g = once(a, f(a, b), a)
    h = once(a, g * g, b)
    third = once(a, h * h, a).numpy()

    def hh(values: np.ndarray) -> float:
        """The sum that was differentiated last, at other values, by the same second-order route."""
        x = tg.tensor(values, requires_grad=True)
        h = once(x, once(x, f(x, b), x) ** 2, b)
        return float((h.numpy() ** 2).sum())

    for index in np.ndindex(2, 3):
        step = np.zeros((2, 3))
        step[index] = 1e-5
        numeric = (hh(a.numpy() + step) - hh(a.numpy() - step)) / 2e-5
        np.testing.assert_allclose(third[index], numeric, rtol=1e-6)


def test_create_graph_also_records_under_no_grad() -> None:
    x = leaf(3)
    y = (x[0] * x[1] * x[2] + x[0] * x[0]).sum()
    with tg.no_grad():
        y.backward(create_graph=True)
    g = x.grad
    assert g.requires_grad
    x.grad = None
    g[0].backward()
    _, b, c = x.numpy()
    same(x.grad, [2, c, b])


def test_create_graph_differentiates_by_the_seed() -> None:
    x, u = leaf(3), leaf(3, seed=1)
    (x * x).backward(u, create_graph=True)
    x.grad.sum().backward()
    same(u.grad, 2 * x.numpy())


def test_create_graph_keeps_the_tape_unless_told_otherwise() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward(create_graph=True)
    y.backward(create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="released"):
        y.backward()


# ----------------------------------------------------------------------------------- what is kept


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


def test_retain_graph_allows_another_backward() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    same(x.grad, 4 * x.numpy())
    with pytest.raises(RuntimeError, match=r"retain_graph=True"):
        y.backward()
    same(x.grad, 4 * x.numpy())


@pytest.mark.parametrize("f", [lambda x: x * 2.0, lambda x: 2.0 * x, lambda x: x + x, tg.exp])
def test_released_entries_of_any_kind_are_noticed(f: Any) -> None:
    """Also where a constant was not saved, and so is still there."""
    y = f(leaf())
    y.backward()
    with pytest.raises(RuntimeError, match="released"):
        y.backward()


def test_a_released_part_is_noticed_from_another_result() -> None:
    x = leaf(3)
    shared = tg.exp(x)
    a, b = shared.sum(), (shared * shared).sum()
    a.backward()
    with pytest.raises(RuntimeError, match=r"entry \d+ \(exp\)"):
        b.backward()


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


# -------------------------------------------------------------------------- reading a sequence in steps


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("how", ["getitem", "take", "unstack", "split", "mixed"])
def test_reading_every_step_fills_one_array(monkeypatch: Any, how: str, create_graph: bool) -> None:
    """Not one dense array per step, which would make a pass over T steps cost T * T."""
    batch, steps = 2, 40
    x = leaf(batch, steps, 3)
    if how == "unstack":
        read = tg.unstack(x, axis=1)[1:]
    elif how == "split":
        read = [part[:, 0] for part in tg.split(x, steps, axis=1)][1:]
    elif how == "take":
        read = [tg.take(x, np.array(t), axis=1) for t in range(1, steps)]
    else:
        read = [x[:, t] for t in range(1, steps)]
    if how == "mixed":
        read.append((x * 1.0).sum(axis=1))
    y = sum(tg.tanh(r) for r in read).sum()
    filled, added = [], []

    class Counted:
        """np, with a note of every array that is filled with zeros."""

        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def zeros(self, shape: Any, dtype: Any = float) -> Any:
            filled.append(shape)
            return np.zeros(shape, dtype)

    monkeypatch.setattr(index_ops, "np", Counted())
    real = backpropagation.Sum.add
    monkeypatch.setattr(
        backpropagation.Sum, "add", lambda self, g: (added.append(getattr(g, "size", 0)), real(self, g))[1]
    )
    y.backward(create_graph=create_graph)
    assert filled.count(x.shape) <= 1
    assert sum(added) <= 3 * x.size + y.size * steps
    wanted = 1 - np.tanh(x.numpy()) ** 2
    wanted[:, 0] = 0
    if how == "mixed":
        wanted += (1 - np.tanh(x.numpy().sum(1)) ** 2)[:, None]
    same(x.grad, wanted)


def test_entries_grow_with_the_steps_under_create_graph() -> None:
    counts = []
    for steps in (10, 20, 40):
        x = leaf(2, steps)
        sum(x[:, t] * x[:, t] for t in range(steps)).sum().backward(create_graph=True)
        counts.append(sum(np.prod(e.shape) for e in tg.Tape(x.grad)))
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])


# ---------------------------------------------------------------------------- leaves changed in place


CHANGES = {
    "data -=": lambda w: setattr(w, "data", np.subtract(w.data, 1, out=w.data)),
    "data =": lambda w: setattr(w, "data", np.zeros(w.shape)),
    "assign_": lambda w: w.assign_(np.zeros(w.shape)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "f",
    [
        lambda w: w * w,
        lambda w: tg.exp(w.T),
        lambda w: w.reshape(4) ** 3,
        lambda w: np.ones((2, 2)) @ (w.T * w.T),
        lambda w: tg.unstack(w)[0] ** 2,
        lambda w: tg.split(w, 2)[1] ** 2,
        lambda w: w[0] * w[1],
        lambda w: tg.flip(w) ** 2,
        lambda w: w.broadcast_to(3, 2, 2) ** 2,
        lambda w: w.expand_dims(0).squeeze(0) ** 2,
        lambda w: w.swapaxes(0, 1) ** 2,
        lambda w: tg.tanh(w) * w,
    ],
)
def test_a_leaf_changed_before_backward_is_noticed(f: Any, change: str) -> None:
    """Also where the operation read a view of the leaf, as a layer does with weight.T."""
    w = leaf(2, 2)
    w.name = "weight"
    y = f(w).sum()
    CHANGES[change](w)
    with pytest.raises(
        RuntimeError, match=r"the leaf weight of shape \(2, 2\) was changed in place before backward"
    ):
        y.backward()
    w.grad = None
    f(w).sum().backward()
    assert w.grad is not None


@pytest.mark.parametrize("f", [tg.sin, lambda w: w * w, lambda w: tg.einsum("i,i->i", w, w)])
def test_an_entry_of_any_size_notes_the_line_of_first_use(f: Any) -> None:
    w = leaf(3)
    with tg.scope("reader"):
        y = f(w)
    w.assign_(np.ones(3))
    with pytest.raises(RuntimeError, match=r"in scope reader.* \(first used at .*test_tape\.py"):
        y.sum().backward()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((2, 1), (2,)), ((1, 2), (2,)), ((2,), (1, 2)), ((2,), (2, 1)), ((3, 2), (2,)), ((3, 2), (3, 1)),
        ((3, 2), (1, 1)), ((3, 2), ()), ((1, 1), ()), ((2, 2), (2,)), ((0, 2), (2,)), ((4, 3, 2), (3, 1)),
    ],
)  # fmt: skip
def test_cotangents_are_summed_over_broadcast_axes(given: Any, wanted: Any) -> None:
    g, size = np.random.default_rng(0).uniform(-1, 1, given), int(np.prod(wanted))
    got = backpropagation.fit(g, Leaf(wanted, np.dtype("f4")))
    assert (got.shape, got.dtype) == (wanted, np.float32)
    places = np.arange(size).reshape(given if g.size == size else wanted)
    summed = np.bincount(np.broadcast_to(places, given).ravel(), g.ravel(), size)
    np.testing.assert_allclose(got, summed.reshape(wanted), rtol=1e-6)


def test_the_line_of_first_use_is_that_of_the_version() -> None:
    """Also where lines take turns, and where one has been run more often than is remembered."""

    def here(w: Any) -> Any:
        return tg.exp(w * w)

    def there(w: Any) -> Any:
        return tg.exp(w * w)

    lines = {f: rf"first used at .*:{f.__code__.co_firstlineno + 1}\b" for f in (here, there)}
    w = leaf(2)
    recorded = []
    for f in (here, there, here):
        recorded.append((f, f(w)))
        w.assign_(np.ones(2))
    for f, y in recorded:
        with pytest.raises(RuntimeError, match=lines[f]):
            y.sum().backward()
    w = leaf(2)
    y = there(w)
    w.assign_(np.ones(2))
    for _ in range(70):
        here(w).sum().backward()
    with pytest.raises(RuntimeError, match=lines[there]):
        y.sum().backward()


def test_the_line_of_first_use_of_a_tensor_off_the_tape_is_that_of_the_version() -> None:
    w, s = leaf(3), leaf(3).detach()
    first = (w * s).sum()  # the first version
    again = (s * w).sum()  # used once more
    s.assign_(np.ones(3))
    second = tg.where(np.array([True, False, True]), w, 1.0) * s  # the second version
    third = tg.einsum("i,i", s, w)  # and again
    s.zero_()
    for y, number, comment in (
        (first, 0, "first"),
        (again, 0, "first"),
        (second, 1, "second"),
        (third, 1, "second"),
    ):
        with pytest.raises(
            RuntimeError, match=rf"used version {number} \(first used at .*# the {comment} version"
        ):
            y.backward(np.ones(y.shape))


def test_the_line_of_first_use_is_known_however_an_operation_saves_an_array() -> None:
    w, s = leaf(2, 2), leaf(2, 2).detach()
    i = tg.tensor(np.array([0, 1]))
    uses: list[Any] = [
        lambda: s * w,  # use 0
        lambda: w / s,  # use 1
        lambda: tg.einsum("ij,jk->ik", w, s),  # use 2
        lambda: tg.qr(tg.matmul(s, w))[0],  # use 3
        lambda: w[i],  # use 4
    ]
    for number, use in enumerate(uses):
        tg.einsum("ij,jk->ik", s, s)  # which saves nothing
        with tg.no_grad():
            tg.einsum("ij,jk->ik", w, s)
        y = use()
        changed = i if use is uses[-1] else s
        changed.assign_(changed.numpy() + 1)
        with pytest.raises(RuntimeError, match=rf"version \d+ \(first used at .*# use {number}"):
            y.backward(np.ones(y.shape))
        i.assign_(np.array([0, 1]))


def test_what_used_a_view_of_a_tensor_off_the_tape_is_named_under_detect_anomaly() -> None:
    w, s = leaf(2), leaf(2, 2).detach()
    z = (w * s).sum()  # another version
    s.data += 1
    y = (w * s[0]).sum()
    s.data += 1
    with pytest.raises(RuntimeError, match=r"first used at a line that tg.detect_anomaly\(\) would name"):
        y.backward()
    with pytest.raises(RuntimeError, match=r"version 0 \(first used at .*# another version"):
        z.backward()


def test_tensors_that_share_an_array_have_versions_of_their_own() -> None:
    array = np.ones(3)
    one, other = tg.tensor(array), tg.tensor(array)
    one.data -= 1
    y = leaf(3) * other
    other.data -= 1
    with pytest.raises(RuntimeError, match=r"used version 0 .*, and now it has version 1\."):
        y.sum().backward()
    y = leaf(3) * other
    other.data -= 1
    other.data -= 1
    with pytest.raises(RuntimeError, match=r"used version 1 .*, and now it has version 3\."):
        y.sum().backward()


def test_a_result_that_was_written_into_is_noticed_though_that_was_refused() -> None:
    x = leaf(3)
    y = x * 2.0
    z = (y * y).sum()
    with pytest.raises(RuntimeError, match="work on leaves"):
        y.data = np.ones(3)
    z.backward(retain_graph=True)
    same(x.grad, 8 * x.numpy())
    with pytest.raises(RuntimeError, match="work on leaves"):
        y.data -= 1  # NumPy has done it before the tensor is asked
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()


def _both(x: Any, y: Any, /) -> Any:
    return x + y, x * y


def test_several_outputs_of_two_operands_have_to_be_declared() -> None:
    both = Primitive(_both)
    both.defvjp(lambda g, _out, _x, _y: g, lambda g, _out, _x, _y: g)
    with pytest.raises(TypeError, match=r"_both returned a tuple of 2: .*multiple=True"):
        both(leaf(3), leaf(3))


def _doubled(x: Any, /) -> Any:
    return x * 2.0


@pytest.mark.parametrize(
    ("rule", "told"),
    [(lambda g, _y, _x: g * np.cos(_x), True), (lambda g, _y, x: x(g), False)],  # an array cannot be called
)
def test_who_reads_what_is_not_kept_is_told_of_the_underscore(rule: Any, told: bool) -> None:
    doubled = Primitive(_doubled)
    doubled.defvjp(rule)
    with pytest.raises(TypeError, match="rule of _doubled") as caught:
        doubled(leaf(2)).sum().backward()
    assert ("underscore" in str(caught.value)) == told


def _second(*arrays: Any) -> Any:
    return arrays[1] * 2.0


def _chosen(a: Any, b: Any, c: Any, /) -> Any:
    return b * c


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_joint_rule_alone_may_say_that_nothing_depends_on_an_input(create_graph: bool) -> None:
    second = Primitive(_second)
    second.defvjp(joint=lambda g, _y, *_arrays: [None, g * 2])
    x, w = leaf(2), leaf(2, seed=1)
    second([x, w]).sum().backward(create_graph=create_graph)
    assert x.grad is None
    same(w.grad, [2, 2])
    chosen = Primitive(_chosen)
    chosen.defvjp(lambda g, *_: None, lambda g, _y, _a, _b, c: g * c, lambda g, _y, _a, b, _c: g * b)
    with pytest.raises(TypeError, match=r"NoneType.*rule of _chosen, entry"):
        chosen(x, w, w).sum().backward(create_graph=create_graph)


def test_a_cotangent_is_not_broadcast() -> None:
    for given in ((3,), (1, 3), ()):
        with pytest.raises(ValueError, match=r"does not broadcast from the input's shape \(2, 3\)"):
            backpropagation.fit(np.ones(given), Leaf((2, 3), np.dtype("f8")))


def test_a_new_leaf_has_not_changed() -> None:
    place = leaf(2).place
    assert (place.changed, place.version, place.grad, place.name, place.used) == (0, 0, None, None, None)


def test_a_change_that_does_not_matter_is_allowed() -> None:
    w = leaf(3)
    y = (tg.exp(w) + 2 * w + tg.tanh(w * 3.0)).sum()
    v = w.numpy().copy()
    w.assign_(np.zeros(3))
    y.backward()
    same(w.grad, np.exp(v) + 2 + 3 * (1 - np.tanh(3 * v) ** 2))


def test_a_change_after_backward_is_the_normal_case() -> None:
    w = leaf(3)
    for _ in range(3):
        loss = (w.T * w).sum()
        loss.backward()
        w.data -= 0.1 * w.grad.data
        w.grad = None
    same(w, leaf(3).numpy() * 0.8**3)


# --------------------------------------------------------------------------------------- entries


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


@pytest.mark.parametrize("primitive", [tg.split, tg.unstack])
def test_a_missing_cotangent_costs_nothing(primitive: Any) -> None:
    """The rule gives one piece for the output that was used, and no zeros for those that were not."""
    x = leaf(4, 3)
    static = {"sections": 4} if primitive is tg.split else {}
    outputs = primitive(x, **static)
    entry = outputs[0].place.entry
    g = np.ones(outputs[2].shape)
    [piece] = primitive.vjps[0]([None, None, g, None], None, *entry.args, **entry.static)
    assert piece.g is g
