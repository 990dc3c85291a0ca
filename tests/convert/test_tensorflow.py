"""TensorFlow 1: its cells' equations in NumPy are the oracle, with random weights, in float64.

They follow tensorflow/python/ops/rnn_cell_impl.py of TensorFlow 1.8 (BasicRNNCell.call, GRUCell.call,
BasicLSTMCell.call, LSTMCell.call); TensorFlow 1 itself cannot be installed any more.
"""

import numpy as np
import pytest
from exchange import KINDS, difference, other_orders, randomised

from tinygrad_rnn import convert, nn
from tinygrad_rnn.convert import orders


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def basic_rnn_cell(v, x, state, activation=np.tanh):
    output = activation(np.concatenate([x, state], 1) @ v["kernel"] + v["bias"])
    return output, output


def gru_cell(v, x, state, activation=np.tanh):
    value = sigmoid(np.concatenate([x, state], 1) @ v["gates/kernel"] + v["gates/bias"])
    r, u = np.split(value, 2, axis=1)
    c = activation(np.concatenate([x, r * state], 1) @ v["candidate/kernel"] + v["candidate/bias"])
    h = u * state + (1 - u) * c
    return h, h


def lstm_cell(v, x, state, activation=np.tanh, forget_bias=1.0):
    c_prev, m_prev = state
    i, j, f, o = np.split(np.concatenate([x, m_prev], 1) @ v["kernel"] + v["bias"], 4, axis=1)
    if "w_f_diag" in v:
        f, i = f + v["w_f_diag"] * c_prev, i + v["w_i_diag"] * c_prev
    c = sigmoid(f + forget_bias) * c_prev + sigmoid(i) * activation(j)
    o = o + v["w_o_diag"] * c if "w_o_diag" in v else o
    m = sigmoid(o) * activation(c)
    m = m @ v["projection/kernel"] if "projection/kernel" in v else m
    return m, (c, m)


def dynamic_rnn(cell, variables, x, state, **options):
    """Outputs (B, T, H) and the final state."""
    outputs = []
    for t in range(x.shape[1]):
        y, state = cell(variables, x[:, t], state, **options)
        outputs.append(y)
    return np.stack(outputs, 1), state


SHAPES = {
    "basic_rnn_cell": {"kernel": (7, 4), "bias": (4,)},
    "basic_lstm_cell": {"kernel": (7, 16), "bias": (16,)},
    "gru_cell": {
        "gates/kernel": (7, 8), "gates/bias": (8,), "candidate/kernel": (7, 4), "candidate/bias": (4,)
    },
    "lstm_cell": {
        "kernel": (5, 16), "bias": (16,), "projection/kernel": (4, 2),
        "w_f_diag": (4,), "w_i_diag": (4,), "w_o_diag": (4,),
    },
}  # fmt: skip
CELLS = {
    "basic_rnn_cell": basic_rnn_cell,
    "basic_lstm_cell": lstm_cell,
    "gru_cell": gru_cell,
    "lstm_cell": lstm_cell,
}


def variables_of(name, scope="", seed=0, features=3):
    """Random variables of a cell for three features (or others), under a scope."""
    rng = np.random.default_rng(seed)
    made = {}
    for own, shape in SHAPES[name].items():
        shape = (
            (shape[0] + features - 3, *shape[1:]) if own.endswith("kernel") and "proj" not in own else shape
        )
        made[f"{scope}{name}/{own}"] = 0.5 * rng.standard_normal(shape)
    return made


def zeros(name, batch=2):
    if "lstm" not in name:
        return np.zeros((batch, 4))
    return np.zeros((batch, 4)), np.zeros((batch, 2 if name == "lstm_cell" else 4))


def expected(name, variables, x, **options):
    """Output and state as ours: h, or h and c, with an axis for layers."""
    own = {key.partition(f"{name}/")[2]: value for key, value in variables.items()}
    y, state = dynamic_rnn(CELLS[name], own, x, zeros(name, len(x)), **options)
    state = state[::-1] if isinstance(state, tuple) else (state,)
    return [y, *(s[:, None] for s in state)]


def data(*shape):
    return np.random.default_rng(1).standard_normal(shape)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("scope", ["", "rnn/", "model/encoder/rnn/"])
def test_cells(name, scope):
    x = data(2, 6, 3)
    variables = variables_of(name, scope)
    ours = convert.from_tf1(variables)
    assert difference(ours(x), expected(name, variables, x)) < 1e-12
    with_suffix = {f"{key}:0": value for key, value in variables.items()}
    assert difference(convert.from_tf1(with_suffix)(x), expected(name, variables, x)) < 1e-12


@pytest.mark.parametrize("forget_bias", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("name", ["basic_lstm_cell", "lstm_cell"])
def test_the_forget_bias_is_added(name, forget_bias):
    x = data(2, 6, 3)
    variables = variables_of(name)
    ours = convert.from_tf1(variables, forget_bias=forget_bias)
    assert difference(ours(x), expected(name, variables, x, forget_bias=forget_bias)) < 1e-12


@pytest.mark.parametrize("update_gate", ["retain", "replace"])
def test_into_layers_with_options(update_gate):
    x = data(2, 6, 3)
    variables = variables_of("gru_cell")
    ours = nn.GRU(3, 4, reset_after=False, update_gate=update_gate, cell_activation="relu", dtype=np.float64)
    convert.from_tf1(variables, ours)
    assert (
        difference(ours(x), expected("gru_cell", variables, x, activation=lambda a: np.maximum(a, 0))) < 1e-12
    )


@pytest.mark.parametrize("name", ["basic_rnn_cell", "basic_lstm_cell", "gru_cell"])
def test_two_layers_and_two_directions(name):
    x = data(2, 6, 3)
    first = variables_of(name, "rnn/multi_rnn_cell/cell_0/", seed=1)
    second = variables_of(name, "rnn/multi_rnn_cell/cell_1/", seed=2, features=4)
    deep = convert.from_tf1({**second, **first})
    below = expected(name, first, x)
    above = expected(name, second, below[0])
    states = [np.concatenate(pair, axis=1) for pair in zip(below[1:], above[1:], strict=True)]
    assert difference(deep(x), [above[0], *states]) < 1e-12
    ahead = variables_of(name, "bidirectional_rnn/fw/", seed=3)
    behind = variables_of(name, "bidirectional_rnn/bw/", seed=4)
    wide = convert.from_tf1({**behind, **ahead})
    one, two = expected(name, ahead, x)[0], expected(name, behind, x[:, ::-1])[0][:, ::-1]
    assert difference(wide(x)[0], np.concatenate([one, two], axis=2)) < 1e-12


def test_layers_of_different_sizes():
    x = data(2, 6, 3)
    rng = np.random.default_rng(5)
    first = variables_of("basic_lstm_cell", "cell_0/")
    second = {
        "cell_1/basic_lstm_cell/kernel": rng.standard_normal((6, 8)),
        "cell_1/basic_lstm_cell/bias": rng.standard_normal(8),
    }
    deep = convert.from_tf1({**first, **second})
    own = {key.rpartition("/")[2]: value for key, value in second.items()}
    below = expected("basic_lstm_cell", first, x)[0]
    y, _ = dynamic_rnn(lstm_cell, own, below, (np.zeros((2, 2)), np.zeros((2, 2))))
    assert difference(deep(x)[0], y) < 1e-12


@pytest.mark.parametrize(("kind", "name"), [("LSTM", "lstm_cell"), ("GRU", "gru_cell")])
def test_every_wrong_gate_order_is_seen(kind, name, monkeypatch):
    x = data(2, 6, 3)
    variables = variables_of(name)
    right = expected(name, variables, x)
    for order in other_orders("tf1", kind):
        monkeypatch.setitem(orders.ORDERS["tf1"], kind, order)
        assert difference(convert.from_tf1(variables)(x), right) > 1e-3, order


def test_each_peephole_reaches_its_own_gate():
    x = data(2, 6, 3)
    variables = variables_of("lstm_cell")
    names = [f"lstm_cell/w_{gate}_diag" for gate in "ifo"]
    for k in range(3):
        swapped = {**variables, names[k]: variables[names[k - 1]], names[k - 1]: variables[names[k]]}
        assert difference(convert.from_tf1(swapped)(x), expected("lstm_cell", variables, x)) > 1e-3
        assert difference(convert.from_tf1(swapped)(x), expected("lstm_cell", swapped, x)) < 1e-12


def test_what_does_not_fit_is_refused():
    lstm, gru = variables_of("basic_lstm_cell"), variables_of("gru_cell")
    unnamed = {"kernel": np.zeros((7, 16)), "bias": np.zeros(16)}
    with pytest.raises(ValueError, match="a kernel and a bias alone do not tell the cell"):
        convert.from_tf1(unnamed)
    convert.from_tf1(unnamed, nn.LSTM(3, 4, dtype=np.float64))
    with pytest.raises(ValueError, match="basic_lstm_cell/kernel/Adam is no variable of"):
        convert.from_tf1({**lstm, "basic_lstm_cell/kernel/Adam": np.zeros(1)})
    with pytest.raises(ValueError, match="got no variables"):
        convert.from_tf1({})
    with pytest.raises(ValueError, match=r"those of 1 cell\(s\) \(basic_lstm_cell\), and this LSTM has 2"):
        convert.from_tf1(lstm, nn.LSTM(3, 4, 2))
    with pytest.raises(ValueError, match="resets before the product"):
        convert.from_tf1(gru, nn.GRU(3, 4))
    with pytest.raises(
        ValueError, match=r"takes bias, kernel, w_f_diag, w_i_diag, w_o_diag, got bias, kernel"
    ):
        convert.from_tf1(lstm, nn.LSTM(3, 4, peephole="diagonal"))
    with pytest.raises(ValueError, match="peephole='full', for which TensorFlow 1 has no counterpart"):
        convert.from_tf1(lstm, nn.LSTM(3, 4, peephole="full"))
    two = {**variables_of("gru_cell", "encoder/"), **variables_of("gru_cell", "decoder/")}
    with pytest.raises(
        ValueError, match="encoder/gru_cell, decoder/gru_cell are the scopes of several layers"
    ):
        convert.from_tf1(two)
    with pytest.raises(ValueError, match=r"two stacks meet at their tops.*nn\.Bidirectional"):
        convert.from_tf1(variables_of("gru_cell", "bidirectional_rnn/fw/multi_rnn_cell/cell_0/"))
    ours = randomised(nn.LSTM(3, 5, dtype=np.float64), 0)
    before = ours.state_dict()
    with pytest.raises(ValueError, match=r"(?s)from_tf1: l0 \(LSTM\).*expected \(20, 3\), got \(16, 3\)"):
        convert.from_tf1(lstm, ours)
    assert all((before[name] == value).all() for name, value in ours.state_dict().items())


def test_the_kind_follows_from_the_scope():
    for name, kind in (("basic_rnn_cell", "RNN"), ("basic_lstm_cell", "LSTM"), ("gru_cell", "GRU")):
        assert type(convert.from_tf1(variables_of(name))) is KINDS[kind]
