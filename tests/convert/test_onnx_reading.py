"""ONNX files that were written here come back as layers, bit for bit."""

import itertools

import numpy as np
import pytest
from exchange import KINDS, difference, other_orders, randomised, same_weights, some_sequential

import tinygrad_rnn as tg
from tinygrad_rnn import convert, nn
from tinygrad_rnn.convert import orders

pytest.importorskip("onnx", reason="ONNX models are made with it")


def data(*shape, dtype=np.float32, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


FLAGS = list(itertools.product(KINDS, (1, 2), (False, True), (True, False), (True, False), (True, False)))


@pytest.mark.parametrize(("kind", "layers", "both", "batch_first", "sequences", "state"), FLAGS)
def test_recurrent_layers_come_back(kind, layers, both, batch_first, sequences, state):
    flags = {"batch_first": batch_first, "return_sequences": sequences, "return_state": state}
    dropout = 0.25 if layers > 1 else 0.0
    model = KINDS[kind](3, 4, layers, bidirectional=both, dropout=dropout, bias=sequences, **flags)
    randomised(model, seed=layers)
    back = convert.from_onnx(convert.to_onnx(model, lengths=state))
    assert repr(back) == repr(model)
    assert same_weights(model, back)
    x = data(*((2, 6, 3) if batch_first else (6, 2, 3)))
    assert difference(back.eval()(x), model(x)) == 0
    lengths = np.array([4, 6])
    assert difference(back(x, lengths=lengths), model(x, lengths=lengths)) == 0


OPTIONS = [
    nn.LSTM(3, 4, peephole="diagonal"),
    nn.LSTM(3, 4, clip=0.3),
    nn.LSTM(3, 4, coupled=True, peephole="diagonal", bidirectional=True),
    nn.LSTM(3, 4, gate_activation="hard_sigmoid", cell_activation="elu", output_activation="leaky_relu"),
    nn.LSTM(3, 4, 2, learn_initial_state=True, bidirectional=True),
    nn.LSTM(3, 4, 2, go_backwards=True),
    nn.LSTM(3, 4, go_backwards=True, batch_first=False),
    nn.LSTM(3, [4, 5], return_state=False, dropout=0.5),
    nn.LSTM(3, 4, 2, bidirectional=True, merge="sum"),
    nn.GRU(3, 4, bidirectional=True, merge="ave", return_sequences=False),
    nn.RNN(3, 4, bidirectional=True, merge="mul", batch_first=False),
    nn.GRU(3, 4, reset_after=False, dtype=np.float64),
    nn.GRU(3, 4, learn_initial_state=True, batch_first=False),
    nn.RNN(3, 4, nonlinearity="relu"),
    nn.Sequential(nn.Embedding(5, 3), nn.LSTM(3, 4, return_state=False), nn.LSTM(4, 4, return_state=False)),
    nn.Sequential(
        nn.LayerNorm((3,), eps=1e-4), nn.Dropout(0.3), nn.Linear(3, 2), tg.tanh, nn.Linear(2, 1, False)
    ),
]


@pytest.mark.parametrize("model", OPTIONS, ids=lambda m: type(m).__name__)
def test_options_come_back(model):
    randomised(model, 2)
    back = convert.from_onnx(convert.to_onnx(model)).eval()
    assert same_weights(model, back)
    embedded = isinstance(model, nn.Sequential) and isinstance(model[0], nn.Embedding)
    x = np.random.default_rng(0).integers(0, 5, (2, 6)) if embedded else 2 * data(2, 6, 3)
    assert difference(back(x), model(x)) == 0
    assert repr(back) == repr(model)


@pytest.mark.parametrize("seed", range(60))
def test_whole_models_come_back(seed):
    model, x = some_sequential(seed)
    back = convert.from_onnx(convert.to_onnx(model)).eval()
    assert difference(back(x), model(x)) == 0
    ours, theirs = (list(m.state_dict().values()) for m in (model, back))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))


def test_an_update_gate_that_replaces_comes_back_as_one_that_retains():
    model = randomised(nn.GRU(3, 4, 2, update_gate="replace"), 0)
    back = convert.from_onnx(convert.to_onnx(model))
    x = data(2, 6, 3)
    assert difference(back(x), model(x)) < 1e-6
    assert back.l0.update_gate == "retain"


def test_numbers_that_a_file_holds_in_single_precision_come_back():
    layer = convert.from_onnx(convert.to_onnx(nn.LSTM(3, 4, clip=0.3)))
    norm = convert.from_onnx(convert.to_onnx(nn.LayerNorm(3, eps=1e-3)))
    dropout = convert.from_onnx(convert.to_onnx(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.1))))[1]
    assert (layer.l0.clip, norm.eps, dropout.p) == (0.3, 1e-3, 0.1)


def test_a_stack_of_different_cells_comes_back_as_layers():
    cells = [nn.LSTMCell(3, 4), nn.GRUCell(4, 5)]
    model = randomised(nn.Recurrent(cells, dropout=0.5, return_state=False), 0)
    back = convert.from_onnx(convert.to_onnx(model))
    assert [type(layer).__name__ for layer in back] == ["LSTM", "Dropout", "GRU"]
    assert difference(back(data(2, 6, 3)), model(data(2, 6, 3))) == 0


def test_reading_backwards_within_lengths_comes_back():
    model = randomised(nn.LSTM(3, 4, 2, go_backwards=True), 0)
    back = convert.from_onnx(convert.to_onnx(model, lengths=True))
    assert repr(back) == repr(model)
    assert same_weights(back, model)
    x, lengths = data(2, 6, 3), np.array([4, 6])
    assert difference(back(x, lengths=lengths), model(x, lengths=lengths)) == 0


def test_a_wrapper_comes_back_as_one_layer_in_both_directions():
    model = randomised(nn.Bidirectional(nn.GRU(3, 4, return_state=False)), 0)
    back = convert.from_onnx(convert.to_onnx(model))
    assert isinstance(back, nn.GRU)
    assert difference(back(data(2, 6, 3)), model(data(2, 6, 3))) == 0


def test_from_a_file(tmp_path):
    model = randomised(nn.Sequential(nn.GRU(3, 4, return_state=False), nn.Linear(4, 1)), 0)
    convert.to_onnx(model, tmp_path / "model.onnx")
    assert same_weights(convert.from_onnx(tmp_path / "model.onnx"), model)
    assert same_weights(convert.from_onnx(str(tmp_path / "model.onnx")), model)


@pytest.mark.parametrize("content", ["a text, and no model", ""])
def test_what_is_no_model_is_named(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"from_onnx: .*model\.onnx is no ONNX model"):
        convert.from_onnx(path)


def test_a_folder_that_is_missing_is_named(tmp_path):
    path = tmp_path / "nowhere" / "model.onnx"
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere' of .*model\.onnx' does not exist"):
        convert.to_onnx(nn.GRU(2, 3), path)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "peephole"])
def test_every_wrong_gate_order_is_seen(kind, monkeypatch):
    layer = nn.GRU(3, 4) if kind == "GRU" else nn.LSTM(3, 4, peephole="diagonal")
    model = randomised(layer, 0)
    proto, x = convert.to_onnx(model), data(2, 5, 3)
    assert difference(convert.from_onnx(proto)(x), model(x)) == 0
    for order in other_orders("onnx", kind):
        monkeypatch.setitem(orders.ORDERS["onnx"], kind, order)
        assert difference(convert.from_onnx(proto)(x), model(x)) > 1e-3, order
