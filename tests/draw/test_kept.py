"""Values along a tape: those kept, those that follow from them, and never a wrong one."""

import copy

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.draw.kept import Values, keep_values

rng = np.random.default_rng(2)


def program():
    w = tg.tensor(rng.standard_normal((3, 3)), requires_grad=True)
    x = rng.standard_normal((2, 3))
    y = tg.tanh(x @ w + 1.0)
    _, right = tg.split(y, [1], axis=1)
    return ((right * 2.0) ** 2).mean() + tg.sigmoid(w).sum() * 0.5


def test_everything_is_kept_and_outlives_backward():
    with keep_values() as kept:
        loss = program()
    tape = tg.Tape(loss)
    loss.backward()
    values = Values(tape, kept)
    for entry in tape:
        inputs, outputs = values.inputs(entry), values.outputs(entry)
        again = entry.primitive.forward(*inputs, **entry.static)
        for one, two in zip(outputs, again if entry.primitive.multiple else [again], strict=True):
            np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(values.of(loss.place), loss.numpy())


def test_what_the_tape_keeps_or_implies_agrees_with_what_was_kept():
    with keep_values() as kept:
        loss = program()
    tape = tg.Tape(loss)
    all_values, own = Values(tape, kept), Values(tape)
    known = 0
    for entry in tape:
        for k, value in enumerate(own.outputs(entry)):
            if value is not None:
                known += 1
                np.testing.assert_array_equal(value, all_values.outputs(entry)[k])
    assert known > 5
    assert own.of(loss.place) == pytest.approx(loss.item())
    names = {entry.primitive.name: own.outputs(entry)[0] is not None for entry in tape}
    assert names["tanh"]
    # w is kept nowhere: the rule of x @ w by w reads x, that of the sigmoid its output.
    assert not names["matmul"]


def test_nothing_is_left_after_backward_but_numbers():
    loss = program()
    tape = tg.Tape(loss)
    loss.backward()
    values = Values(tape)
    assert all(value is None for entry in tape for value in values.outputs(entry))
    numbers = [values.inputs(entry)[1] for entry in tape if entry.primitive.name == "multiply"]
    assert numbers == [2.0, 0.5]


def test_leaves_that_are_there_as_they_were_are_known():
    net = nn.LSTM(2, 3, rng=0, return_state=False)
    w = tg.tensor(rng.standard_normal(3).astype(np.float32), requires_grad=True)
    loss = (net(rng.standard_normal((2, 4, 2)).astype(np.float32)) * w + w * 2.0).sum()
    tape = tg.Tape(loss)
    values = Values(tape)
    assert all(value is not None for entry in tape for value in values.outputs(entry))
    np.testing.assert_array_equal(values.of(loss.place), loss.numpy())
    assert {id(leaf) for leaf in tape.leaves} == {id(p.place) for p in (*net.parameters(), w)}
    for tensor in (*net.parameters(), w):
        np.testing.assert_array_equal(values.of(tensor.place), tensor.numpy())
    loss.backward()
    np.testing.assert_array_equal(Values(tape).of(w.place), w.numpy())
    w.data = w.numpy() + 1
    assert Values(tape).of(w.place) is None
    later = (w * 2.0).sum()
    np.testing.assert_array_equal(Values(tg.Tape(later)).of(later.place), later.numpy())


def test_a_copy_of_a_leaf_is_known_too():
    w = tg.tensor(rng.standard_normal(3), requires_grad=True)
    w.name = "w"
    other = copy.deepcopy(w)
    y = other * 2.0
    del w
    np.testing.assert_array_equal(Values(tg.Tape(y)).of(other.place), other.numpy())
    assert other.name == "w"


def test_a_checkpoint_has_no_value_of_its_own():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    loss = (tg.checkpoint(lambda a: tg.tanh(a) * 3.0)(x) * x).sum()
    tape = tg.Tape(loss)
    values = Values(tape)
    np.testing.assert_allclose(values.of(x.place), [1.0, 2.0])
    segment = next(e for e in tape if e.primitive.name == "checkpoint")
    # Kept for the product's rule, not computed.
    np.testing.assert_allclose(values.outputs(segment)[0], 3 * np.tanh([1.0, 2.0]), rtol=1e-6)
    y = tg.checkpoint(tg.tanh)(x).sum()
    assert Values(tg.Tape(y)).outputs(tg.Tape(y).entries[0]) == [None]


def test_a_layer():
    net = nn.LSTM(2, 3, 2, rng=0, return_state=False)
    with keep_values() as kept:
        y = net(rng.standard_normal((2, 4, 2)).astype(np.float32))
    values = Values(tg.Tape(y), kept)
    np.testing.assert_array_equal(values.of(y.place), y.numpy())
    np.testing.assert_array_equal(values.of(net.weight_ih_l1.place), net.weight_ih_l1.numpy())
