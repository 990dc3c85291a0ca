"""Flax: recurrent cells and layers by their parameters, with random weights."""

import itertools

import numpy as np
import pytest
from exchange import KINDS, difference, randomised

from tinygrad_rnn import convert, nn
from tinygrad_rnn.convert import flax as room

jax = pytest.importorskip("jax", reason="JAX runs the oracle of these tests")
linen = pytest.importorskip("flax.linen", reason="Flax is the oracle of these tests")

CELLS = {
    "RNN": linen.SimpleCell,
    "LSTM": linen.LSTMCell,
    "OptimizedLSTM": linen.OptimizedLSTMCell,
    "GRU": linen.GRUCell,
}


def with_random_weights(layer, x, seed=0):
    """A layer's variables, all of them random, biases too."""
    rng = np.random.default_rng(seed)
    variables = layer.init(jax.random.key(0), x)
    return jax.tree_util.tree_map(lambda a: 0.5 * rng.standard_normal(a.shape).astype(a.dtype), variables)


def data(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def as_ours(kind, carry):
    """(c, h) as (h, c), with an axis for layers."""
    parts = carry[::-1] if kind.endswith("LSTM") else [carry]
    return [np.asarray(part)[:, None] for part in parts]


@pytest.mark.parametrize("kind", CELLS)
def test_cells_in_time(kind):
    layer = linen.RNN(CELLS[kind](4), return_carry=True)
    x = data(2, 5, 3)
    variables = with_random_weights(layer, x)
    carry, y = layer.apply(variables, x)
    for params in (variables, variables["params"], variables["params"]["cell"]):
        ours = convert.from_flax(params)
        assert difference(ours(x), [np.asarray(y), *as_ours(kind, carry)]) < 1e-5


@pytest.mark.parametrize("kind", CELLS)
def test_both_directions(kind):
    layer = linen.Bidirectional(linen.RNN(CELLS[kind](4)), linen.RNN(CELLS[kind](4)))
    x = data(2, 5, 3)
    variables = with_random_weights(layer, x)
    y = np.asarray(layer.apply(variables, x))
    assert difference(convert.from_flax(variables)(x)[0], y) < 1e-5
    ours = nn.Bidirectional(KINDS[kind.removeprefix("Optimized")](3, 4, return_state=False))
    assert difference(convert.from_flax(variables, ours)(x), y) < 1e-5


@pytest.mark.parametrize("update_gate", ["retain", "replace"])
def test_into_a_layer_with_options(update_gate):
    layer = linen.RNN(linen.GRUCell(4, gate_fn=linen.hard_sigmoid, activation_fn=linen.relu))
    x = data(2, 5, 3)
    variables = with_random_weights(layer, x)
    ours = nn.GRU(3, 4, update_gate=update_gate, gate_activation="hard_sigmoid", cell_activation="relu",
                  return_state=False)  # fmt: skip
    convert.from_flax(variables, ours)
    assert difference(ours(x), np.asarray(layer.apply(variables, x))) < 1e-5


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_every_wrong_gate_order_is_seen(kind, monkeypatch):
    layer = linen.RNN(CELLS[kind](4))
    x = data(2, 5, 3)
    variables = with_random_weights(layer, x)
    y = np.asarray(layer.apply(variables, x))
    right = room._NAMES[kind]
    for names in itertools.permutations(right.values()):
        wrong = dict(zip(right, names, strict=True))
        monkeypatch.setitem(room._NAMES, kind, wrong)
        assert (difference(convert.from_flax(variables)(x)[0], y) < 1e-3) == (wrong == right)


def test_what_does_not_fit_is_refused():
    x = data(2, 5, 3)
    gru = with_random_weights(linen.RNN(linen.GRUCell(4)), x)
    lstm = with_random_weights(linen.RNN(linen.LSTMCell(4)), x)
    with pytest.raises(ValueError, match=r"knows the parameters of .* got the entries hf, hn, if, in"):
        convert.from_flax(
            dict(sorted(with_random_weights(linen.RNN(linen.MGUCell(4)), x)["params"]["cell"].items()))
        )
    with pytest.raises(ValueError, match=r"one GRU layer in 1 direction\(s\), and LSTM is another"):
        convert.from_flax(gru, nn.LSTM(3, 4))
    with pytest.raises(ValueError, match="layer by layer"):
        convert.from_flax(gru, nn.GRU(3, 4, 2))
    with pytest.raises(ValueError, match="reset_after=False, for which Flax has no counterpart"):
        convert.from_flax(gru, nn.GRU(3, 4, reset_after=False))
    with pytest.raises(ValueError, match="coupled=True"):
        convert.from_flax(lstm, nn.LSTM(3, 4, coupled=True))
    with pytest.raises(ValueError, match="learn_initial_state=True"):
        convert.from_flax(lstm, nn.LSTM(3, 4, learn_initial_state=True))
    ours = randomised(nn.LSTM(3, 5), 0)
    before = ours.state_dict()
    with pytest.raises(ValueError, match=r"(?s)from_flax: l0 \(LSTM\).*expected \(20, 3\), got \(16, 3\)"):
        convert.from_flax(lstm, ours)
    assert all((before[name] == value).all() for name, value in ours.state_dict().items())
    broken = {**lstm["params"]["cell"], "ii": {"weight": np.zeros((3, 4))}}
    with pytest.raises(ValueError, match="expected a kernel and perhaps a bias, got weight"):
        convert.from_flax(broken)
