"""The loop over time with cells of all sorts, and what it promises them."""

from typing import NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class Leaky:
    """A cell of one's own, no module, with a state of two tensors."""

    output_size = 2

    def initial_state(self, batch):
        return tg.tensor(np.zeros((batch, 2))), tg.tensor(np.ones((batch, 2)))

    def __call__(self, x, state):
        slow, fast = state
        fast = 0.5 * fast + x
        slow = 0.9 * slow + 0.1 * fast
        return slow * fast, (slow, fast)


class Clock(NamedTuple):
    face: tuple
    ticks: object


class Nested(nn.Module):
    """A cell whose state is a named tuple with a tuple in it, of tensors of several shapes."""

    output_size = (2, 3)

    def __init__(self):
        self.weight = nn.Parameter(np.random.default_rng(0).standard_normal((3, 3)), np.float64)

    def initial_state(self, batch):
        hands = (tg.tensor(np.zeros((batch, 2, 3))), tg.tensor(np.zeros((batch, 3))))
        return Clock(hands, tg.tensor(np.zeros((batch,))))

    def forward(self, x, state):
        (a, b), ticks = state
        a = tg.tanh(a @ self.weight + x)
        b = b + a.sum(axis=1)
        return a * b[:, None], Clock((a, b), ticks + 1)


def by_hand(cell, x, state, mask, reverse=False):
    """One sequence after another, step by step, without padding."""
    batch, steps = mask.shape
    outputs, finals = None, []
    for b in range(batch):
        s = nn.states.map_state(lambda part, b=b: part[b : b + 1], state)
        for t in reversed(range(steps)) if reverse else range(steps):
            if mask[b, t]:
                y, s = cell(x[b : b + 1, t], s)
                outputs = np.zeros((batch, steps, *y.shape[1:])) if outputs is None else outputs
                outputs[b, t] = y.numpy()[0]
        finals.append(s)
    return outputs, [
        np.concatenate(p) for p in zip(*[[t.numpy() for t in leaves(s)] for s in finals], strict=True)
    ]


def leaves(state):
    return nn.states.tensors_of(state)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", [Leaky, Nested, lambda: nn.LSTMCell(2, 3, rng=0, dtype=np.float64)])
def test_any_cell_with_any_mask(make, seed, reverse):
    rng = np.random.default_rng(seed)
    cell = make()
    batch, steps = int(rng.integers(1, 6)), int(rng.integers(1, 6))
    x = tg.tensor(rng.standard_normal((batch, steps, 2, 3) if make is Nested else (batch, steps, 2)))
    mask = rng.random((batch, steps)) < 0.7
    mask[0, 0] = True
    state = cell.initial_state(batch)
    start = nn.states.map_state(lambda p: tg.tensor(rng.standard_normal(p.shape)), state)
    expected, finals = by_hand(cell, x, start, mask, reverse)
    y, state = nn.scan(cell, x, start, mask=mask, reverse=reverse)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-14)
    for a, b in zip(leaves(state), finals, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-12, atol=1e-14)
    assert type(state) is type(start)
    last = nn.scan(cell, x, start, mask=mask, reverse=reverse, return_sequences=False, return_state=False)
    for b in range(batch):
        own = np.flatnonzero(mask[b])
        t = None if not len(own) else own[0] if reverse else own[-1]
        np.testing.assert_allclose(
            last.numpy()[b], 0 if t is None else expected[b, t], rtol=1e-12, atol=1e-14
        )
    y_again, every = nn.scan(cell, x, start, mask=mask, reverse=reverse, return_state="all")
    assert np.array_equal(y_again.numpy(), y.numpy())
    for a, b in zip(leaves(every), leaves(state), strict=True):
        assert np.array_equal(a.numpy()[:, 0 if reverse else -1], b.numpy())


def test_gradients_through_a_cell_of_ones_own_with_gaps():
    rng = np.random.default_rng(0)
    mask = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool)

    def run(x, w, a, b, ticks, reverse):
        cell = Nested()
        cell._parameters["weight"] = w
        options = {"mask": mask, "reverse": reverse, "return_state": "all"}
        y, state = nn.scan(cell, x, Clock((a, b), ticks), **options)
        last = nn.scan(cell, x, Clock((a, b), ticks), mask=mask, return_sequences=False)[0]
        return (y, last, *leaves(state))

    shapes = [(3, 4, 2, 3), (3, 3), (3, 2, 3), (3, 3), (3,)]
    for reverse in (False, True):
        values = [0.5 * rng.standard_normal(shape) for shape in shapes]
        assert tg.gradcheck(lambda *v, reverse=reverse: run(*v, reverse), *values)


def test_padding_is_not_computed():
    """A step is given the sequences that take it, and no other row."""
    rows = []

    class Counting(Leaky):
        def __call__(self, x, state):
            rows.append(len(x))
            return super().__call__(x, state)

    x = tg.tensor(np.zeros((4, 5, 2)))
    nn.scan(Counting(), x, lengths=[2, 5, 0, 3])
    assert rows == [3, 3, 2, 1, 1]
    rows.clear()
    nn.scan(Counting(), x, lengths=[2, 5, 0, 3], reverse=True)
    assert rows == [1, 1, 2, 3, 3]


def test_without_any_step():
    for x, lengths in [
        (np.zeros((3, 0, 2)), None),
        (np.zeros((3, 4, 2)), [0, 0, 0]),
        (np.zeros((0, 4, 2)), None),
    ]:
        for reverse in (False, True):
            y, (slow, fast) = nn.scan(Leaky(), x, lengths=lengths, reverse=reverse)
            assert y.shape == (*x.shape[:2], 2)
            assert not y.numpy().any()
            assert slow.shape == (len(x), 2)
            assert fast.numpy().all()
            every = nn.scan(Leaky(), x, lengths=lengths, reverse=reverse, return_state="all")[1]
            assert every[1].shape == (*x.shape[:2], 2)


class TakesOver(nn.RNNCell):
    """A cell that runs the whole loop itself, as a compiled one does."""

    def scan_packed(self, sequence, state, packing, reverse, all_states):
        rows, counts = packing.to_rows(sequence), packing.counts
        self.asked = (rows.shape, state.shape, list(counts), reverse)
        if all_states:
            return None
        starts = np.cumsum([0, *counts])
        outputs = [None] * len(counts)
        h = np.array(state.numpy())
        for k in reversed(range(len(counts))) if reverse else range(len(counts)):
            n = counts[k]
            y, _ = self.forward(rows[int(starts[k]) : int(starts[k + 1])], tg.tensor(h[:n]))
            h[:n] = outputs[k] = y.numpy()
        return packing.from_rows(tg.tensor(np.concatenate(outputs))), tg.tensor(h)


@pytest.mark.parametrize("lengths", [None, [2, 4, 0], [4, 4, 4], [3, 3, 3]])
@pytest.mark.parametrize("return_sequences", [True, False])
def test_a_cell_can_take_the_loop_over(lengths, return_sequences):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4, 2))
    options = {"bidirectional": True, "return_sequences": return_sequences}
    cells = [(TakesOver(2, 3, rng=rng, dtype=np.float64), TakesOver(2, 3, rng=rng, dtype=np.float64))]
    layer = nn.Recurrent(cells, **options)
    plain = nn.RNN(2, [3], dtype=np.float64, **options)
    plain.load_state_dict(layer.state_dict())
    (y, (h,)), (expected, (h2,)) = layer(x, lengths=lengths), plain(x, lengths=lengths)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-12)
    np.testing.assert_allclose(h.numpy(), h2.numpy(), rtol=1e-12)
    every = [
        nn.Recurrent(one, return_state="all", **options) for one in (cells, [(plain.l0, plain.l0_reverse)])
    ]
    (y, (h,)), (expected, (h2,)) = [one(x, lengths=lengths) for one in every]  # which it does not take over
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    np.testing.assert_array_equal(h.numpy(), h2.numpy())
    counts = [2, 2, 1, 1] if lengths == [2, 4, 0] else [3] * (3 if lengths == [3, 3, 3] else 4)
    assert layer.l0_reverse.asked == ((sum(counts), 2), (counts[0], 3), counts, True)


X = np.zeros((2, 3, 2))


class Broken:
    """A cell that returns what a function makes of what it should."""

    input_size = output_size = 2

    def __init__(self, result):
        self.result = result

    def initial_state(self, batch):
        return tg.tensor(np.zeros((batch, 2))), tg.tensor(np.zeros((batch, 3)))

    def __call__(self, x, state):
        h = np.tanh(x + state[0])
        return self.result(h, (h, state[1]))


H, C = "tensor (2, 2)", "tensor (2, 3)"
RESULTS = [
    (lambda y, s: None, TypeError, "None"),
    (lambda y, s: y, TypeError, H),
    (lambda y, s: (y, *s), TypeError, f"({H}, {H}, {C})"),
    (lambda y, s: (y, None), TypeError, f"({H}, None)"),
    (lambda y, s: (None, s), TypeError, f"(None, ({H}, {C}))"),
    (lambda y, s: (y, s[0]), TypeError, f"({H}, {H})"),
    (lambda y, s: (y, s[:1]), TypeError, f"({H}, ({H},))"),
    (lambda y, s: (y, list(s)), TypeError, f"({H}, [{H}, {C}])"),
    (lambda y, s: (y, (s,)), TypeError, f"({H}, (({H}, {C}),))"),
    (lambda y, s: (y, {"h": s}), TypeError, f"({H}, dict)"),
    (lambda y, s: (y, (s[0].numpy(), s[1])), TypeError, f"({H}, (array (2, 2), {C}))"),
    (lambda y, s: (y, (s[0], s[1][:, :1])), ValueError, f"({H}, ({H}, tensor (2, 1)))"),
    (lambda y, s: (y, (s[0][:1], s[1])), ValueError, f"({H}, (tensor (1, 2), {C}))"),
    (lambda y, s: (y[:1], s), ValueError, f"(tensor (1, 2), ({H}, {C}))"),
    (lambda y, s: (y.sum(), s), ValueError, f"(tensor (), ({H}, {C}))"),
]


@pytest.mark.parametrize(("result", "error", "returned"), RESULTS)
def test_a_cell_that_returns_something_else_is_told_what_a_cell_returns(result, error, returned):
    cell = Broken(result)
    calls = [
        lambda: nn.scan(cell, X),
        lambda: nn.scan(cell, X, lengths=[2, 2], reverse=True, return_sequences=False),
        lambda: nn.Recurrent(cell, recurrent_dropout=0.5, rng=0)(X),
        lambda: tg.compile(Broken(result), backend="numpy").step(X[:, 0]),
        lambda: nn.scan(tg.compile(Broken(result), backend="numpy"), X, return_state="all"),
        lambda: tg.compile(nn.Recurrent(Broken(result)), backend="numpy")(X),
        lambda: tg.compile(nn.Recurrent(Broken(result), recurrent_dropout=0.5, rng=0), backend="numpy")(X),
    ]
    expected = (
        f"Broken returned {returned} from a step; expected a pair (output, state): a tensor with a row for "
        f"each one of x_t (2, 2), and a state in the form of the one before, ({H}, {C})"
    )
    for call in calls:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == expected


def test_what_a_cell_returns_may_be_a_list_and_an_array_and_of_other_types():
    """Neither its kind of tuple nor the dtype of a state is looked at."""
    start = Clock(tg.tensor(np.zeros((2, 2))), tg.tensor(np.zeros((2, 3), np.float32)))
    for state in (start, list(start)):
        y, after = nn.scan(lambda x, s: [x.numpy() + 1, (s[0], s[1] + np.float64(1))], X, state)
        assert y.numpy().all()
        assert after[1].numpy().tolist() == [[3.0] * 3] * 2


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.scan(lambda x, s: (x, s), X), TypeError, r"function has no initial_state\(batch\)"),
        (lambda: nn.scan(Leaky(), [1.0]), ValueError, r"\(batch, time, ...\), got \(1,\)"),
        (
            lambda: nn.scan(lambda x, s: (x, s), X, {"h": tg.tensor(X[:, 0])}),
            TypeError,
            "a tensor or a tuple .* dict",
        ),
        (
            lambda: nn.scan(nn.RNNCell(2, 3), X, tg.tensor(np.zeros((3, 3)))),
            ValueError,
            r"2 rows, .* got \(3, 3\)",
        ),
        (
            lambda: nn.scan(lambda x, s: (x, s), X, tg.tensor(X[:, 0]), lengths=[0, 0]),
            TypeError,
            "function has no output_size",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
