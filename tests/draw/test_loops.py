"""Loops and states are found on the tape of any cell, in every step, and named or honestly numbered."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.draw.states import loops
from tinygrad_rnn.draw.unrolled import Unrolled
from tinygrad_rnn.tape import Output, source_of


def loops_of(y):
    return list(loops(Unrolled(tg.Tape(y))).values())


def states(y):
    return {loop.path: {name: list(by_step) for name, by_step in loop.states.items()} for loop in loops_of(y)}


@pytest.mark.parametrize("lengths", [None, [5, 2, 3]])
@pytest.mark.parametrize(
    "options", [{}, {"return_sequences": False}, {"num_layers": 2, "bidirectional": True}]
)
@pytest.mark.parametrize(("layer", "names"), [(nn.RNN, "h"), (nn.LSTM, "hc"), (nn.GRU, "h")])
def test_layers_have_their_states_in_every_step(layer, names, options, lengths):
    x = np.random.default_rng(0).standard_normal((3, 5, 2)).astype(np.float32)
    net = layer(2, 3, rng=0, return_state=False, **options)
    found = states(net(x, lengths=None if lengths is None else np.array(lengths)).sum())
    assert len(found) == net.num_layers * (1 + net.bidirectional)
    for path, by_name in found.items():
        steps = [4, 3, 2, 1, 0] if path.endswith("_reverse") else [0, 1, 2, 3, 4]
        assert set(by_name) == set(names)
        assert all(by_name[name] == steps for name in names)


def unroll(step, *state, length=4, leaves=()):
    for t in range(length):
        with tg.scope(f"t={t}", step=t):
            state = step(*state)
    return state


def leaf(*shape):
    return tg.tensor(np.random.default_rng(3).standard_normal(shape), requires_grad=True)


def test_the_states_are_the_very_places():
    w, kept = leaf(2, 2), []

    def step(h, c):
        c = c * 0.5 + tg.tanh(h @ w)
        h = tg.tanh(c)
        kept.append((h.place, c.place))
        return h, c

    h, _ = unroll(step, leaf(1, 2), leaf(1, 2))
    (loop,) = loops_of(h)
    assert list(loop.states["h"].values()) == [h for h, _ in kept]
    assert list(loop.states["c"].values()) == [c for _, c in kept]


def test_an_lstm_that_joins_h_and_x_first():
    w = leaf(5, 8)

    def step(h, c):
        i, f, g, o = tg.split(tg.concatenate([h, np.ones((1, 3))], axis=1) @ w, 4, axis=1)
        c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
        return tg.sigmoid(o) * tg.tanh(c), c

    assert states(unroll(step, leaf(1, 2), leaf(1, 2))[0]) == {"": {"h": [0, 1, 2, 3], "c": [0, 1, 2, 3]}}


def test_states_that_cannot_be_told_apart_are_numbered():
    w = leaf(2, 2)
    found = states(sum(unroll(lambda a, b, c: (b @ w, c @ w, a * b), *(leaf(2, 2) for _ in range(3)))))
    assert {name: by_step[:3] for name, by_step in found[""].items()} == {
        name: [0, 1, 2] for name in ("s1", "s2", "s3")
    }
    twins = states(sum(unroll(lambda a, b: (tg.tanh(b), tg.tanh(a)), leaf(2), leaf(2))))
    assert set(twins[""]) == {"s1", "s2"}


def test_states_among_several_outputs():
    w = leaf(2, 4)

    def step(h, c):
        h, c = tg.split(h @ w + tg.concatenate([c, c], axis=1), 2, axis=1)
        return h, c

    h, c = unroll(step, leaf(1, 2), leaf(1, 2))
    (loop,) = loops_of(h + c)
    assert set(loop.states) == {"h", "c"}
    for name, by_step in loop.states.items():
        assert [type(place) for place in by_step.values()] == [Output] * 4
        assert {place.index for place in by_step.values()} == {int(name == "c")}
        assert all(source_of(place).primitive.name == "split" for place in by_step.values())


def test_nested_loops_are_two():
    w = leaf(2, 2)
    h = leaf(1, 2)
    with tg.scope("outer"):
        for t in range(3):
            with tg.scope(f"t={t}", step=t), tg.scope("inner"):
                h = unroll(lambda h: (tg.tanh(h @ w),), h, length=2)[0]
    found = states(h)
    assert found.pop("outer") == {"h": [0, 1, 2]}
    assert found == {f"outer/t={t}/inner": {"h": [0, 1]} for t in range(3)}


def test_a_module_called_twice_is_two_and_a_step_entered_twice_is_one():
    net = nn.RNN(2, 2, rng=0, return_state=False)
    both = net(np.ones((1, 3, 2), np.float32)) + net(np.zeros((1, 2, 2), np.float32)).sum()
    assert states(both) == {"rnn/l0": {"h": [0, 1, 2]}, "rnn#2/l0": {"h": [0, 1]}}
    h = leaf(2)
    for _ in range(2):
        for t in range(2):
            with tg.scope(f"t={t}", step=t):
                h = tg.tanh(h)
    assert [list(loop.entries) for loop in loops_of(h)] == [[0, 1]]


def test_rows_that_are_only_carried_on_are_no_state():
    w, kept = leaf(2, 2), leaf(2, 2)
    h = leaf(2, 2)
    for t in range(3):
        with tg.scope(f"t={t}", step=t):
            h = tg.tanh(h @ w)
            kept = tg.where(np.array([[t > 0], [t > 1]]), kept, h)
    assert states(kept * 2.0) == {"": {"h": [0, 1, 2]}}


def test_a_state_that_the_result_does_not_need_in_the_last_step():
    w = leaf(2, 2)
    h, c = unroll(lambda h, c: (tg.tanh(h @ w) + c, c * 0.5 + h), leaf(1, 2), leaf(1, 2))
    assert states(h) == {"": {"h": [0, 1, 2, 3], "c": [0, 1, 2]}}
    assert states(c + h) == {"": {"h": [0, 1, 2, 3], "c": [0, 1, 2, 3]}}


def test_one_step_and_none():
    net = nn.GRU(2, 2, rng=0, return_sequences=False, return_state=False)
    assert states(net(np.ones((1, 1, 2), np.float32))) == {"gru/l0": {"h": [0]}}
    assert states(leaf(2) * 2.0) == {}
    assert loops_of(leaf(2)) == []


def test_names_are_the_same_in_every_step():
    """Of three states the last steps need but some: those have their names, or none, but no other's."""
    w = leaf(2, 2)
    starts = (leaf(2, 2) for _ in range(3))
    found = states(unroll(lambda a, b, c: (b @ w + a, tg.tanh(c @ w), a * b), *starts, length=6)[0])
    assert found == {"": {name: [0, 1, 2, 3] for name in ("s1", "s2", "s3")}}


def test_a_step_entered_under_two_names_is_one_with_both():
    h = leaf(2)
    for t in range(2):
        for name in "encode", "decode":
            with tg.scope(name, step=t):
                h = tg.tanh(h)
    unrolled = Unrolled(tg.Tape(h))
    assert [frame.title for frame in unrolled.frames] == ["encode, decode"] * 2
    assert states(h) == {"": {"h": [0, 1]}}


def test_rows_are_moved_at_the_beginning_of_a_step_and_features_are_not():
    w, x = leaf(4, 2), np.ones((3, 2))

    def first_inputs(start, rows):
        h = start
        for t, count in enumerate(rows):
            with tg.scope(f"t={t}", step=t):
                h = h[:count] if count < len(h) else h
                h = tg.tanh(tg.concatenate([h, x[:count]], axis=1) @ w)
        (loop,) = loops_of(h)
        assert [e.primitive.name for e in loop.moved] == ["getitem"] * (len(rows) - 1)
        return [(e.primitive.name, loop.state(e, 0)) for e in loop.cores[0]]

    assert first_inputs(leaf(3, 2), (3, 2, 1)) == [("concatenate", "h"), ("matmul", None), ("tanh", None)]


@pytest.mark.parametrize("names", ["h", "hc"])
def test_the_only_step_begins_with_the_states_that_its_cell_declares(names):
    class Cell:
        output_size = 2
        w = tg.tensor(np.ones((2, 2)), requires_grad=True)

        def initial_state(self, batch):
            state = tuple(tg.tensor(np.zeros((batch, 2))) for _ in names)
            return state if len(names) > 1 else state[0]

        def __call__(self, x, state):
            h = tg.tanh(x @ self.w + (state[0] if len(names) > 1 else state) @ self.w)
            return h, state if len(names) > 1 else h

    y, _ = nn.scan(Cell(), np.ones((3, 1, 2)))
    (loop,) = loops_of(y)
    assert loop.begins == (["h"] if names == "h" else ["s1", "s2"])  # nobody says which of two is h
    assert not loop.slots
    Cell.initial_state = None
    assert loops_of(y)[0].begins == []
