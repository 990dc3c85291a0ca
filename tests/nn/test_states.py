"""States: tensors and tuples that know their layers, directions and layout."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

X = np.random.default_rng(0).standard_normal((4, 5, 2))


def state_of(kind="GRU", batch_first=True, **options):
    layer = getattr(nn, kind)(
        2, 3, 2, bidirectional=True, batch_first=batch_first, rng=0, dtype=np.float64, **options
    )
    return layer(X if batch_first else X.swapaxes(0, 1))[1]


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_hidden_state_knows_its_axes(batch_first):
    h = state_of(batch_first=batch_first)
    assert isinstance(h, tg.Tensor)
    assert (h.num_layers, h.num_directions) == (2, 2)
    plain = h.numpy() if batch_first else h.numpy().swapaxes(0, 1)
    turned = lambda s: s.numpy() if batch_first else s.numpy().swapaxes(0, 1)  # noqa: E731
    assert np.array_equal(turned(h.layer(1)), plain[:, 2:])
    assert np.array_equal(turned(h.layer(-2)), plain[:, :2])
    assert np.array_equal(turned(h.direction("forward")), plain[:, ::2])
    assert np.array_equal(turned(h.direction("backward")), plain[:, 1::2])
    assert np.array_equal(turned(h.layer(-1).direction("backward")), plain[:, 3:])
    assert np.array_equal(turned(h.index([3, 0, 0])), plain[[3, 0, 0]])
    assert np.array_equal(turned(h.index(np.array([True, False, False, True]))), plain[[0, 3]])
    part = h.direction("backward")
    assert (part.num_layers, part.num_directions) == (2, 1)


def test_operations_give_plain_tensors_on_the_same_tape():
    h = state_of()
    assert type(h * 2) is tg.Tensor
    assert type(h[0]) is tg.Tensor
    layer = nn.GRU(2, 3, rng=0)
    layer(X.astype(np.float32))[1].layer(0).sum().backward()
    assert layer.weight_hh_l0.grad is not None


def test_an_lstm_state_is_a_pair_with_names():
    state = state_of("LSTM")
    h, c = state
    assert h is state.h
    assert c is state.c
    for name, argument in [("layer", -1), ("direction", "backward"), ("index", [1, 2])]:
        part = getattr(state, name)(argument)
        assert isinstance(part, nn.LSTMState)
        assert np.array_equal(part.c.numpy(), getattr(c, name)(argument).numpy())
    detached = state.detach()
    assert isinstance(detached, nn.LSTMState)
    assert isinstance(detached.h, nn.HiddenState)
    assert state.h.requires_grad
    assert not detached.h.requires_grad
    assert not detached.c.requires_grad


class Pair(nn.RNNCell):
    """A cell with a state of two parts, without names."""

    def initial_state(self, batch):
        return super().initial_state(batch), super().initial_state(batch)

    def forward(self, x, state):
        h, old = state
        y, h = super().forward(x, h)
        return y, (h, old + h)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda **o: nn.LSTM(2, 3, 2, bidirectional=True, rng=0, dtype=np.float64, **o),
        lambda **o: nn.LSTM(2, 4, proj_size=3, rng=0, dtype=np.float64, **o),
        lambda **o: nn.GRU(2, [4, 3], bidirectional=True, rng=0, dtype=np.float64, **o),
        lambda **o: nn.Recurrent(Pair(2, 3, rng=0, dtype=np.float64), bidirectional=True, rng=0, **o),
        lambda **o: nn.Bidirectional(nn.LSTM(2, 3, 2, rng=0, dtype=np.float64, **o), rng=1),
        lambda **o: nn.Stacked([nn.GRU(2, 4, dtype=np.float64, **o), nn.LSTM(4, 3, dtype=np.float64, **o)]),
    ],
)
def test_everything_returned_can_be_passed_back(make, batch_first):
    layer = make(batch_first=batch_first)
    x = X if batch_first else X.swapaxes(0, 1)
    y, state = layer(x)
    again, _ = layer(x, state)
    assert not np.allclose(again.numpy(), y.numpy())
    detached, _ = layer(x, state.detach())
    assert np.array_equal(detached.numpy(), again.numpy())
    plain, _ = layer(x, nn.states.map_state(lambda part: tg.tensor(part.numpy()), state))
    assert np.array_equal(plain.numpy(), again.numpy())
    some = [2, 0]
    xs = x[some] if batch_first else x[:, some]
    picked = layer(xs, state.index(some))[0].numpy()
    expected = again.numpy()[some] if batch_first else again.numpy()[:, some]
    np.testing.assert_allclose(picked, expected, rtol=1e-12, atol=1e-14)


class Nested(Pair):
    """A cell whose state has a tuple in it."""

    def initial_state(self, batch):
        h, old = super().initial_state(batch)
        return h, (old, old)

    def forward(self, x, state):
        h, (old, older) = state
        y, (h, new) = super().forward(x, (h, old))
        return y, (h, (new, old + older))


def test_a_state_with_tuples_in_it():
    layer = nn.Recurrent(Nested(2, 3, rng=0, dtype=np.float64), learn_initial_state=True)
    assert [name for name in layer.state_dict() if name.endswith("0_l0")] == ["a0_l0", "b0_l0", "c0_l0"]
    _, state = layer(X)
    h, (old, older) = state.index([2, 0]).detach()
    assert h.shape == old.shape == older.shape == (2, 1, 3)
    assert not older.requires_grad
    whole = layer(X)[0].numpy()
    chunks = [y.numpy() for _, y, _ in nn.tbptt(layer, X, 2)]
    assert np.array_equal(np.concatenate(chunks, axis=1), whole)


def test_states_by_layer_and_by_direction():
    layers = nn.GRU(2, [4, 3], bidirectional=True, rng=0, dtype=np.float64)(X)[1]
    assert layers.layer(-1) is layers[1]
    assert [s.shape for s in layers.direction("backward")] == [(4, 1, 4), (4, 1, 3)]
    both = nn.Bidirectional(nn.LSTM(2, 3, 2, rng=0, dtype=np.float64), rng=1)(X)[1]
    assert both.direction("backward") is both.backward
    assert both.layer(0).forward.h.shape == (4, 1, 3)
    user = nn.Recurrent(Pair(2, 3, rng=0, dtype=np.float64))(X)[1]
    assert isinstance(user, nn.StateTuple)
    assert user.index([1])[1].shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda h: h.layer(2), IndexError, "the state has 2 layers, so there is no layer 2"),
        (lambda h: h.layer(-3), IndexError, "no layer -3"),
        (lambda h: h.direction("back"), ValueError, "the directions forward, backward, not 'back'"),
        (lambda h: h.direction("forward").direction("backward"), ValueError, "the directions forward, not"),
        (lambda h: h.index(0), ValueError, r"a list of integers or booleans, got int64\(\)"),
        (lambda h: h.index([0.5]), ValueError, "got float64"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call(state_of())
