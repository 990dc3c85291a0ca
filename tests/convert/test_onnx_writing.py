"""ONNX: models with random weights, run by ONNX Runtime (float32) and the ONNX reference (float64)."""

import itertools
import sys

import numpy as np
import pytest
from exchange import KINDS, difference, other_orders, randomised, some_sequential

import tinygrad_rnn as tg
from tinygrad_rnn import convert, nn
from tinygrad_rnn.convert import orders

onnx = pytest.importorskip("onnx", reason="ONNX models are made with it")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is the oracle of these tests")
reference = pytest.importorskip("onnx.reference", reason="the ONNX reference is an oracle of these tests")


def session_of(model):
    """A session of one thread: these models are too small for more."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(proto, x, **more):
    """All outputs, by ONNX Runtime."""
    return session_of(proto.SerializeToString()).run(None, {"x": x, **more})


def refer(proto, x):
    """All outputs, by the reference evaluator, which ignores lengths and clip."""
    return reference.ReferenceEvaluator(proto).run(None, {"x": x})


def data(*shape, dtype=np.float32, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def agree(model, x, **more):
    """The largest difference between the model and what ONNX Runtime makes of it."""
    return difference(run(convert.to_onnx(model, lengths=bool(more)), x, **more), model(x, **more))


FLAGS = list(itertools.product(KINDS, (1, 2), (False, True), (True, False), (True, False), (True, False)))


@pytest.mark.parametrize(("kind", "layers", "both", "batch_first", "sequences", "bias"), FLAGS)
def test_recurrent_layers(kind, layers, both, batch_first, sequences, bias):
    options = {"bidirectional": both, "batch_first": batch_first, "return_sequences": sequences, "bias": bias}
    model = randomised(KINDS[kind](3, 4, layers, **options), seed=layers)
    x = data(*((2, 6, 3) if batch_first else (6, 2, 3)))
    assert agree(model, x) < 1e-5
    lengths = np.array([4, 6], np.int32)
    assert agree(model, x, lengths=lengths) < 1e-5


MERGES = list(itertools.product(KINDS, ("concat", "sum", "mul", "ave"), (True, False), (True, False)))


@pytest.mark.parametrize(("kind", "merge", "batch_first", "sequences"), MERGES)
def test_merged_directions(kind, merge, batch_first, sequences):
    options = {"return_sequences": sequences, "batch_first": batch_first}
    x = data(*((2, 6, 3) if batch_first else (6, 2, 3)))
    lengths = np.array([4, 6], np.int32)
    for model in (
        KINDS[kind](3, 4, 2, bidirectional=True, merge=merge, **options),
        nn.Bidirectional(KINDS[kind](3, 4, return_state=False, **options), merge=merge),
    ):
        randomised(model, 2)
        assert agree(model, x) < 1e-5
        assert agree(model, x, lengths=lengths) < 1e-5


LSTM_OPTIONS = [
    {"peephole": "diagonal"},
    {"clip": 0.7},
    {"coupled": True},
    {"peephole": "diagonal", "clip": 0.5},
    {"peephole": "diagonal", "coupled": True, "clip": 0.4},
    {"gate_activation": "hard_sigmoid"},
    {"cell_activation": "relu", "output_activation": "softplus"},
    {"gate_activation": "hard_sigmoid", "cell_activation": "leaky_relu", "output_activation": "elu"},
    {"learn_initial_state": True},
    {"learn_initial_state": True, "peephole": "diagonal"},
    {"go_backwards": True},
    {"recurrent_dropout": 0.3, "dropout": 0.3},
    {"forget_bias": 1.0},
]
GRU_OPTIONS = [
    *({"reset_after": a, "update_gate": u} for a in (True, False) for u in ("retain", "replace")),
    {"cell_activation": "relu", "gate_activation": "hard_sigmoid", "update_gate": "replace"},
    {"learn_initial_state": True},
    {"go_backwards": True},
]
RNN_OPTIONS = [{"nonlinearity": "relu"}, {"nonlinearity": "hard_sigmoid"}, {"learn_initial_state": True}]
OPTIONS = [
    (kind, options, both)
    for kind, rows in (("LSTM", LSTM_OPTIONS), ("GRU", GRU_OPTIONS), ("RNN", RNN_OPTIONS))
    for options in rows
    for both in (False, True)
    if not (both and "go_backwards" in options)
]


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize(("kind", "options", "both"), OPTIONS)
def test_options(kind, options, both, sequences):
    model = KINDS[kind](3, 4, 2, bidirectional=both, return_sequences=sequences, **options)
    randomised(model, 3)
    x = 2 * data(3, 6, 3)
    assert agree(model, x) < 1e-5
    assert agree(model, x, lengths=np.array([4, 6, 1], np.int32)) < 1e-5


REFERRED = [
    ("RNN", {}), ("RNN", {"learn_initial_state": True}),
    ("LSTM", {}), ("LSTM", {"peephole": "diagonal"}),
    ("LSTM", {"peephole": "diagonal", "learn_initial_state": True}),
    *(("GRU", options) for options in GRU_OPTIONS[:4]),
]  # fmt: skip


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize(("kind", "options"), REFERRED)
def test_the_reference_agrees_in_float64(kind, options, sequences, both):
    """It knows no clip, coupled gates, activations and lengths: ONNX Runtime does, above."""
    options = {**options, "bidirectional": both, "return_sequences": sequences, "dtype": np.float64}
    model = randomised(KINDS[kind](3, 4, 2, **options), 4)
    x = data(2, 5, 3, dtype=np.float64)
    assert difference(refer(convert.to_onnx(model), x), model(x)) < 1e-10


@pytest.mark.parametrize("seed", range(60))
def test_whole_models(seed):
    model, x = some_sequential(seed)
    assert agree(model, x) < 1e-5


def test_batch_and_time_of_any_size():
    model = nn.Sequential(
        nn.Embedding(9, 3), nn.LSTM(3, 4, 2, bidirectional=True, return_state=False), nn.Linear(8, 2)
    )
    randomised(model, 0)
    proto = convert.to_onnx(model)
    session = session_of(proto.SerializeToString())
    for batch, time in ((1, 1), (3, 7), (5, 2), (1, 60)):
        ids = np.random.default_rng(batch).integers(0, 9, (batch, time))
        (y,) = session.run(None, {"x": ids})
        assert difference(y, model(ids)) < 1e-5
    shape = [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch", "time"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_of_no_steps(kind):
    model = randomised(KINDS[kind](3, 4, bidirectional=True), 0)
    assert agree(model, data(3, 5, 3), lengths=np.array([0, 5, 2], np.int32)) < 1e-5


def test_lengths_reach_every_recurrent_layer():
    lstm, gru = nn.LSTM(3, 4, bidirectional=True, return_state=False), nn.GRU(8, 5, go_backwards=True)
    model = randomised(nn.Sequential(lstm, nn.Linear(8, 8), tg.tanh, gru), 0)
    x, lengths = data(3, 6, 3), np.array([2, 6, 4], np.int32)
    expected = gru(tg.tanh(model[1](lstm(x, lengths=lengths))), lengths=lengths)
    assert difference(run(convert.to_onnx(model, lengths=True), x, lengths=lengths), expected) < 1e-5


def test_the_file_and_what_is_returned_are_the_same(tmp_path):
    model = randomised(nn.Sequential(nn.GRU(3, 4, return_state=False), nn.Linear(4, 1)), 0)
    path = tmp_path / "model.onnx"
    proto = convert.to_onnx(model, path)
    assert onnx.load(path) == proto
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    session = session_of(str(path))
    assert [i.name for i in session.get_inputs()] == ["x"]
    assert [o.name for o in session.get_outputs()] == ["y"]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "peephole"])
def test_every_wrong_gate_order_is_seen(kind, monkeypatch):
    layer = nn.GRU(3, 4) if kind == "GRU" else nn.LSTM(3, 4, peephole="diagonal")
    model = randomised(layer, 0)
    x = data(2, 5, 3)
    assert agree(model, x) < 1e-5
    for order in other_orders("onnx", kind):
        monkeypatch.setitem(orders.ORDERS["onnx"], kind, order)
        assert agree(model, x) > 1e-3, order


REFUSED = [
    (nn.LSTM(3, 4, peephole="full"), "peephole='full', for which ONNX has no counterpart"),
    (nn.LSTM(3, 4, proj_size=2), "proj_size=2"),
    (nn.LSTM(3, 4, layer_norm=True), "layer_norm=True"),
    (nn.LSTM(3, 4, zoneout=0.1), "zoneout"),
    (nn.LSTM(3, 4, gate_activation="silu"), "takes no such activation"),
    (nn.RNN(3, 4, nonlinearity=lambda x: x), "takes no such activation"),
    (nn.LSTM(3, 4, bidirectional=True, merge=None), "merge=None; in a graph a layer gives one output"),
    (nn.LSTM(3, 4, return_state="all"), "return_state='all'"),
    (nn.LSTM(3, [4, 5]), "kinds or sizes cannot stand side by side"),
    (nn.Stacked([nn.LSTM(3, 4), nn.GRU(4, 4)]), "kinds or sizes cannot stand side by side"),
    (nn.GRU(3, 4, update_gate="replace", gate_activation="relu"), r"s\(-a\) = 1 - s\(a\)"),
    (nn.MGU(3, 4), "MGUCell"),
    (nn.Sequential(nn.Linear(3, 4), tg.exp), "no operator that is known for 1"),
    (nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 1)), "step 0 of this Sequential returns a tuple"),
    (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1, dtype=np.float64)), "several dtypes"),
    (nn.Recurrent([(nn.LSTMCell(3, 4, clip=1.0), nn.LSTMCell(3, 4))], bidirectional=True), "differ in clip"),
    (nn.Bidirectional(nn.GRU(3, 4), nn.GRU(3, 5)), "differ in hidden_size"),
    (nn.Bidirectional(nn.GRU(3, 4), nn.GRU(3, 4, bias=False)), "differ in their parameters"),
    (nn.AdditiveAttention(3, 4, 5), "AdditiveAttention is no layer"),
]


@pytest.mark.parametrize(("model", "why"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_what_onnx_does_not_have_is_refused(model, why, tmp_path):
    with pytest.raises((TypeError, ValueError), match=why):
        convert.to_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match="to_onnx needs onnx: pip install onnx"):
        convert.to_onnx(nn.Linear(1, 1))
