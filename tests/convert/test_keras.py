"""Keras: weights in the order of get_weights, and whole layers, with random weights, in float32."""

import itertools
import os

import numpy as np
import pytest
from exchange import KINDS, difference, other_orders, randomised, same_weights

import tinygrad_rnn as tg
from tinygrad_rnn import convert, nn
from tinygrad_rnn.convert import orders

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="Keras is the oracle of these tests")

# Keras's NumPy backend, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LAYERS = {"RNN": keras.layers.SimpleRNN, "LSTM": keras.layers.LSTM, "GRU": keras.layers.GRU}
TOLERANCE = 1e-5


def built(layer, *shape, seed=0):
    """A Keras layer with random weights, biases too."""
    layer.build((None, *shape))
    rng = np.random.default_rng(seed)
    layer.set_weights([0.5 * rng.standard_normal(w.shape).astype(w.dtype) for w in layer.get_weights()])
    return layer


def call(layer, x):
    """A layer's results as arrays: its output, or a list of this and the states."""
    result = layer(x)
    if isinstance(result, (list, tuple)):
        return [np.asarray(keras.ops.convert_to_numpy(r)) for r in result]
    return np.asarray(keras.ops.convert_to_numpy(result))


def data(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


VARIANTS = [("RNN", {}), ("LSTM", {}), ("GRU", {"reset_after": True}), ("GRU", {"reset_after": False})]
FLAGS = list(itertools.product(VARIANTS, (True, False), (True, False), (True, False)))


@pytest.mark.parametrize(("variant", "use_bias", "sequences", "backwards"), FLAGS)
def test_recurrent_layers_come_over_and_go_back(variant, use_bias, sequences, backwards):
    kind, options = variant
    flags = {"return_sequences": sequences, "return_state": True, "go_backwards": backwards}
    theirs = built(LAYERS[kind](4, use_bias=use_bias, **flags, **options), 6, 3)
    ours = convert.from_keras(theirs)
    x = data(2, 6, 3)
    y, *state = call(theirs, x)
    y_ours, state_ours = ours(x)
    assert difference(y_ours, y) < TOLERANCE
    assert difference(state_ours, [s[:, None] for s in state]) < TOLERANCE
    empty = built(LAYERS[kind](4, use_bias=use_bias, **flags, **options), 6, 3, seed=9)
    empty.set_weights(convert.to_keras(ours))
    assert difference(call(empty, x), [y, *state]) == 0


MERGES = list(itertools.product(VARIANTS, ("concat", "sum", "mul", "ave"), (True, False)))


@pytest.mark.parametrize(("variant", "merge", "sequences"), MERGES)
def test_both_directions(variant, merge, sequences):
    kind, options = variant
    layer = LAYERS[kind](4, return_sequences=sequences, **options)
    theirs = built(keras.layers.Bidirectional(layer, merge_mode=merge), 6, 3)
    ours = convert.from_keras(theirs)
    x = data(2, 6, 3)
    assert difference(ours(x), call(theirs, x)) < TOLERANCE
    own = {"return_sequences": sequences, "return_state": False, **options}
    wrapped = nn.Bidirectional(KINDS[kind](3, 4, **own), merge=merge)
    convert.from_keras(theirs.get_weights(), wrapped)
    assert difference(wrapped(x), call(theirs, x)) < TOLERANCE
    for a, b in zip(convert.to_keras(wrapped), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("merge", ["concat", None])
@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_states_of_both_directions(kind, options, merge):
    layer = LAYERS[kind](4, return_sequences=True, return_state=True, **options)
    theirs = built(keras.layers.Bidirectional(layer, merge_mode=merge), 6, 3)
    x = data(2, 6, 3)
    result = call(theirs, x)
    count = 2 if merge is None else 1
    outputs, states = result[:count], result[count:]
    parts = len(states) // 2  # forward's, then backward's
    stacked = [np.stack([states[k], states[k + parts]], axis=1) for k in range(parts)]
    assert difference(convert.from_keras(theirs)(x), [*outputs, *stacked]) < TOLERANCE


HERE = [("RNN", {}), ("LSTM", {})]
HERE += [("GRU", {"reset_after": a, "update_gate": u}) for a in (True, False) for u in ("retain", "replace")]


@pytest.mark.parametrize(("kind", "options"), HERE)
def test_from_here_to_keras(kind, options):
    """Both biases are random here, where Keras has one for most cells."""
    ours = randomised(KINDS[kind](3, 4, 2, bidirectional=True, return_state=False, **options), 5)
    own = {name: value for name, value in options.items() if name == "reset_after"}
    theirs = keras.Sequential(
        [keras.layers.Bidirectional(LAYERS[kind](4, return_sequences=True, **own)) for _ in range(2)]
    )
    theirs.build((None, 6, 3))
    theirs.set_weights(convert.to_keras(ours))
    x = data(2, 6, 3)
    assert difference(ours(x), call(theirs, x)) < TOLERANCE
    back = convert.from_keras(theirs, KINDS[kind](3, 4, 2, bidirectional=True, return_state=False, **options))
    assert difference(ours(x), back(x)) < TOLERANCE
    if options.get("reset_after"):
        assert same_weights(ours, back)


def test_activations():
    theirs = built(
        keras.layers.LSTM(4, activation="relu", recurrent_activation="hard_sigmoid", return_sequences=True),
        6,
        3,
    )
    x = data(2, 6, 3)
    assert difference(convert.from_keras(theirs)(x), call(theirs, x)) < TOLERANCE
    simple = built(keras.layers.SimpleRNN(4, activation="relu"), 6, 3)
    assert difference(convert.from_keras(simple)(x), call(simple, x)) < TOLERANCE
    gru = built(keras.layers.GRU(4, activation="softplus", recurrent_activation="hard_sigmoid"), 6, 3)
    assert difference(convert.from_keras(gru)(x), call(gru, x)) < TOLERANCE
    other = nn.GRU(3, 4, cell_activation="softplus", gate_activation="hard_sigmoid", update_gate="replace",
                   return_sequences=False, return_state=False)  # fmt: skip
    assert difference(convert.from_keras(gru, other)(x), call(gru, x)) < TOLERANCE


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", "sigmoid", "softmax", "log_softmax", "elu"])
def test_a_whole_sequential(activation):
    theirs = keras.Sequential(
        [
            keras.layers.Input((6,), dtype="int32"),
            keras.layers.Embedding(7, 3),
            keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True)),
            keras.layers.LayerNormalization(),
            keras.layers.Dropout(0.4),
            keras.layers.LSTM(4),
            keras.layers.Dense(5, activation=activation),
            keras.layers.Activation("softplus"),
            keras.layers.Dense(2, use_bias=False),
        ]
    )
    rng = np.random.default_rng(2)
    theirs.set_weights([0.5 * rng.standard_normal(w.shape) for w in theirs.get_weights()])
    ours = convert.from_keras(theirs).eval()
    ids = rng.integers(0, 7, (3, 6))
    assert difference(ours(ids), call(theirs, ids)) < TOLERANCE
    for a, b in zip(convert.to_keras(ours), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("kind", "options"), VARIANTS[1:])
def test_every_wrong_gate_order_is_seen(kind, options, monkeypatch):
    theirs = built(LAYERS[kind](4, return_sequences=True, **options), 6, 3)
    x = data(2, 6, 3)
    expected = call(theirs, x)
    assert difference(convert.from_keras(theirs)(x), expected) < TOLERANCE
    ours = convert.from_keras(theirs)
    for order in other_orders("keras", kind):
        monkeypatch.setitem(orders.ORDERS["keras"], kind, order)
        assert difference(convert.from_keras(theirs)(x), expected) > 1e-3, order
        written = convert.to_keras(ours)
        assert any((a != b).any() for a, b in zip(written, theirs.get_weights(), strict=True)), order


def test_lists_that_do_not_fit():
    ours = randomised(nn.Sequential(nn.LSTM(3, 4, return_state=False), nn.Linear(4, 2)), 0)
    weights = convert.to_keras(ours)
    before = ours.state_dict()
    with pytest.raises(ValueError, match=r"takes 5 arrays, got 4: \(3, 16\), \(4, 16\), \(16,\), \(4, 2\)"):
        convert.from_keras(weights[:-1], ours)
    with pytest.raises(ValueError, match=r"(?s)1 \(Linear\).*expected \(2, 4\), got \(2, 5\)"):
        convert.from_keras([2 * w for w in weights[:3]] + [np.zeros((5, 2), np.float32), weights[4]], ours)
    assert all((before[name] == value).all() for name, value in ours.state_dict().items())
    with pytest.raises(ValueError, match=r"reset_after=True and takes a bias of 2 axes.*reset_after=False"):
        convert.from_keras(convert.to_keras(nn.GRU(3, 4, reset_after=False)), nn.GRU(3, 4))
    with pytest.raises(TypeError, match=r"from_keras\(weights, into=model\)"):
        convert.from_keras(weights)


REFUSED = [
    (nn.LSTM(3, 4, peephole="full"), "peephole='full', for which Keras has no counterpart"),
    (nn.LSTM(3, 4, clip=1.0), "clip=1.0"),
    (nn.LSTM(3, 4, coupled=True), "coupled=True"),
    (nn.LSTM(3, 4, layer_norm=True), "layer_norm=True"),
    (nn.LSTM(3, 4, zoneout=0.1), "zoneout"),
    (nn.LSTM(3, 4, proj_size=2), "proj_size=2"),
    (nn.LSTM(3, 4, output_activation="relu"), "Keras has one for both"),
    (nn.LSTM(3, 4, learn_initial_state=True), "learn_initial_state"),
    (nn.GRU(3, 4, update_gate="replace", gate_activation="softplus"), r"s\(-a\) = 1 - s\(a\)"),
    (nn.MGU(3, 4), "MGUCell"),
    (nn.AdditiveAttention(3, 4, 5), "AdditiveAttention is no layer that other frameworks have"),
    (nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 1)), "step 0 of this Sequential returns a tuple"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "why"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_what_keras_does_not_have_is_refused(model, why):
    with pytest.raises((TypeError, ValueError), match=why):
        convert.to_keras(model)


L = keras.layers
NOT_BUILT = [
    (lambda: built(L.LSTM(3, dropout=0.1), 5, 2), "dropout=0.1"),
    (lambda: built(L.LSTM(3, stateful=True), 5, 2), "stateful=True"),
    (lambda: built(L.GRU(3, recurrent_activation="exponential"), 5, 2), "exponential"),
    (lambda: built(L.Embedding(4, 2, mask_zero=True), 5), "mask_zero=True"),
    (lambda: built(L.LayerNormalization(scale=False), 5, 2), "scale=False"),
    (lambda: built(L.LayerNormalization(axis=1), 5, 2), "axis"),
    (lambda: built(L.Dense(2, activation="exponential"), 3), "activation 'exponential'"),
    (lambda: L.LSTM(3), "is not built"),
    (lambda: built(L.Bidirectional(L.LSTM(3, go_backwards=True)), 5, 2), "go_backwards=True"),
    (lambda: built(L.Conv1D(2, 2), 5, 2), "makes no Conv1D"),
    (lambda: built(L.Bidirectional(L.LSTM(3), backward_layer=L.GRU(3, go_backwards=True)), 5, 2), "differ"),
]


@pytest.mark.parametrize(("layer", "why"), NOT_BUILT, ids=[why for _, why in NOT_BUILT])
def test_what_cannot_be_built_is_refused(layer, why):
    with pytest.raises((TypeError, ValueError), match=why):
        convert.from_keras(layer())


def test_functions_and_dropout_have_no_arrays():
    model = nn.Sequential(nn.Linear(2, 3), tg.tanh, nn.Dropout(0.1), nn.Linear(3, 1, bias=False))
    assert [a.shape for a in convert.to_keras(model)] == [(2, 3), (3,), (3, 1)]
