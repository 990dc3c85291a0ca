"""Observers: told of every entry and every cotangent, complete, beside others and in every kind of pass."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.observing import dense, plain
from tinygrad_rnn.tape import Output


class Everything(tg.Observer):
    """Adds up, for each place, the shares that arrive, and keeps what it is told is complete."""

    def __init__(self):
        super().__init__()
        self.values = {}
        self.complete = {}
        self.added = {}
        self.whole = {}

    def recorded(self, entry, arrays, out):
        self.values[entry] = (arrays, out)

    def carried(self, entry, k, g, gk):
        self.complete[entry] = g
        place = entry.parents[k]
        self.added[place] = self.added.get(place, 0) + dense(gk, place)
        assert self.whole[entry] is g

    def accumulated(self, place, g):
        assert place not in self.whole
        self.whole[place] = g


def program(rng):
    """Broadcasting, repeats, pieces, lists of them, and an entry with several outputs, one of them unused."""
    x = tg.tensor(rng.standard_normal((3, 4)), requires_grad=True)
    b = tg.tensor(rng.standard_normal(4), requires_grad=True)
    y = tg.tanh(x * x + b)
    rows = tg.unstack(y, axis=0)
    _, left, right = tg.split(y, [1, 2], axis=1)
    return (x, b), (rows[0] * rows[2]).sum() + (left * right[:, [0, 0, 1]]).sum() * 2.0 + y[1, 2]


@pytest.mark.parametrize("create_graph", [False, True])
def test_shares_add_up_to_what_is_complete_and_to_the_gradients(create_graph):
    (x, b), loss = program(np.random.default_rng(1))
    seen = Everything()
    with seen:
        loss.backward(create_graph=create_graph)
    for leaf in x, b:
        np.testing.assert_allclose(seen.added[leaf.place], leaf.grad.numpy(), rtol=1e-14)
    for place, total in seen.added.items():
        assert total.shape == place.shape
        if place in seen.complete:
            np.testing.assert_allclose(plain(seen.complete[place]), total, rtol=1e-14)
        elif isinstance(place, Output):
            complete = plain(seen.complete[place.entry][place.index])
            np.testing.assert_allclose(complete, total, rtol=1e-14)
    assert set(seen.complete) == set(tg.Tape(loss).entries)
    assert set(seen.whole) == {*seen.complete, x.place, b.place}
    for leaf in x, b:
        assert np.array_equal(plain(seen.whole[leaf.place]), leaf.grad.numpy())


def test_unread_outputs_give_no_cotangent_and_no_share():
    seen = Everything()
    (_, _), loss = program(np.random.default_rng(2))
    with seen:
        loss.backward()
    (split,) = [e for e in seen.complete if e.primitive.name == "split"]
    assert [g is None for g in seen.complete[split]] == [True, False, False]
    entry = tg.Tape(loss).entries[0]
    assert not dense([], entry).any()


def test_entries_are_told_with_what_went_in_and_what_came_out():
    with Everything() as seen:
        _, loss = program(np.random.default_rng(3))
    entries = tg.Tape(loss).entries
    assert set(entries) <= set(seen.values)
    for entry in entries:
        arrays, out = seen.values[entry]
        again = entry.primitive.forward(*arrays, **entry.static)
        if not entry.primitive.multiple:
            out, again = (out,), (again,)
        for one, two in zip(out, again, strict=True):
            np.testing.assert_array_equal(one, two)


def test_all_that_look_on_are_told():
    with Everything() as outer, Everything() as middle, tg.detect_anomaly(), Everything() as inner:
        _, loss = program(np.random.default_rng(4))
        loss.backward()
    assert set(outer.values) == set(middle.values) == set(inner.values)
    assert set(outer.complete) == set(middle.complete) == set(inner.complete) == set(tg.Tape(loss).entries)
    assert set(outer.whole) == set(middle.whole) == set(inner.whole) > set(outer.complete)
    x = tg.tensor([-1.0], requires_grad=True)
    with np.errstate(invalid="ignore"):
        with tg.detect_anomaly(), Everything(), pytest.raises(FloatingPointError, match="log"):
            tg.log(x)
        with Everything(), tg.detect_anomaly(), pytest.raises(FloatingPointError, match="log"):
            tg.log(x)


def test_nobody_is_told_afterwards_or_of_what_is_not_recorded():
    with Everything() as seen, tg.no_grad():
        program(np.random.default_rng(5))
    program(np.random.default_rng(5))[1].backward()
    assert not seen.values
    assert not seen.complete


def test_an_observer_that_says_nothing_does_nothing():
    with tg.Observer():
        (x, _), loss = program(np.random.default_rng(6))
        loss.backward()
    (again, _), loss = program(np.random.default_rng(6))
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy(), again.grad.numpy())


READS = {
    "bool()": bool,
    "float()": float,
    "int()": int,
    "item()": lambda t: t.item(),
    "tolist()": lambda t: t.tolist(),
    "repr()": str,
    "a format": "{:.1f}".format,
}


@pytest.mark.parametrize("how", READS)
def test_it_is_told_what_becomes_a_python_number(how):
    class Reads(tg.Observer):
        def read(self, tensor, how):
            told.append((tensor, how))

    told = []
    t = tg.tensor(2.0, requires_grad=True) * 3.0
    with Reads(), tg.detect_anomaly():
        assert READS[how](t)
        READS[how](t.detach())
    READS[how](t)
    [(tensor, by)] = told
    assert tensor is t
    assert by == how
