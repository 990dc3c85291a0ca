"""The walk backward: what arrives at the leaves, over which paths, and what it costs."""

import itertools
from typing import Any

import numpy as np
import pytest
from leaves import leaf, same

import tinygrad_rnn as tg
from tinygrad_rnn import backpropagation, tape
from tinygrad_rnn.ops import index as index_ops
from tinygrad_rnn.ops.operations import Primitive
from tinygrad_rnn.ops.registry import REGISTRY
from tinygrad_rnn.tape import Leaf, Output

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


def test_gradients_accumulate_over_backwards() -> None:
    x = leaf(3)
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    same(x.grad, [5, 5, 5])
    same(first, [2, 2, 2])  # the earlier result was not written over


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


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((1, 2), (2,)), ((1, 2, 1), (2, 1)), ((3, 2), (2,)), ((3, 2), (3, 1)), ((0, 2), (0, 1)),
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


def test_a_cotangent_is_not_broadcast() -> None:
    for given in ((3,), (1, 3), (), (2, 3, 1), (2, 1, 3), (6,)):
        with pytest.raises(ValueError, match=r"does not broadcast from the input's shape \(2, 3\)"):
            backpropagation.fit(np.ones(given), Leaf((2, 3), np.dtype("f8")))
    for given, wanted in (((2, 1), (2,)), ((2,), (1, 2)), ((2,), (2, 1)), ((1,), (1, 1))):
        with pytest.raises(ValueError, match="does not broadcast from"):
            backpropagation.fit(np.ones(given), Leaf(wanted, np.dtype("f8")))


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("rule", "kind", "words"),
    [
        (lambda g, _y, _x: [1.0, 2.0, 3.0], TypeError, r"the rule returned \[1.0, 2.0, 3.0\], and not"),
        (lambda g, _y, _x: [g], TypeError, r"and not an array of the input's shape \(3,\)"),
        (lambda g, _y, _x: None, TypeError, "the rule returned None, and not an array of the input's shape"),
        (lambda g, _y, _x: (g,), TypeError, "the rule returned .* and not an array"),
        (lambda g, _y, _x: g[:, None], ValueError, r"a cotangent of shape \(3, 1\) came out"),
        (lambda g, _y, x: x.foo, AttributeError, "has no attribute 'foo'"),
        (lambda g, _y, x: 1 / 0, ZeroDivisionError, "division by zero"),
        (lambda g, _y, x: {}["k"], KeyError, "k"),
        (lambda g, _y, x: np.asarray(x) if create_graph_of(x) else 1 / 0, Exception, "lose|zero"),
    ],
)  # fmt: skip
def test_what_goes_wrong_in_a_rule_is_said_with_its_place(
    rule: Any, kind: type[Exception], words: str, create_graph: bool
) -> None:
    @tg.primitive
    def ruled(x, /):  # type: ignore[no-untyped-def]
        return x * 1

    ruled.defvjp(rule)
    del REGISTRY["ruled"]  # it is no operation of the package, whose tests go through all of them
    with tg.scope("here"):
        y = ruled(leaf(3)).sum()
    with pytest.raises(kind, match=words) as error:
        y.backward(create_graph=create_graph)
    if not hasattr(error.value, "add_note") and not issubclass(kind, (TypeError, ValueError)):
        pytest.skip("errors take notes from Python 3.11 on")
    text = "\n".join([str(error.value), *getattr(error.value, "__notes__", ())])
    assert "ruled, entry " in text
    assert ", in scope here" in text


def create_graph_of(x: Any) -> bool:
    return isinstance(x, tg.Tensor)


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


# -------------------------------------------------------------------------------------- released entries


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


# ------------------------------------------------------------------------------------------------- rules


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
    with pytest.raises(TypeError, match=r"returned None.*rule of _chosen, entry"):
        chosen(x, w, w).sum().backward(create_graph=create_graph)
