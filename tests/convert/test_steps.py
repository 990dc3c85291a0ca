"""What conversions share: which modules need which packages, and how models become steps."""

import subprocess
import sys

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.convert.steps import Backwards, Recurrence, steps


def test_plain_arrays_need_no_framework():
    """Importing the room, and converting between arrays, imports NumPy alone."""
    code = """
import sys, numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import convert, nn
lstm = nn.LSTM(3, 4, dtype=np.float64)
convert.from_keras(convert.to_keras(lstm), lstm)
convert.from_torch(lstm.state_dict(), lstm)
convert.from_tf1({"kernel": np.zeros((7, 16)), "bias": np.zeros(16)}, lstm)
convert.from_flax({"i": {"kernel": np.zeros((3, 4))}, "h": {"kernel": np.zeros((4, 4))}})
found = {"torch", "keras", "jax", "flax", "tensorflow", "onnx", "onnxruntime"} & set(sys.modules)
sys.exit(", ".join(found) or 0)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_steps_of_a_model():
    model = nn.Sequential(
        nn.Embedding(5, 3),
        nn.Sequential(nn.LSTM(3, 4, 2, dropout=0.5, return_state=False), tg.tanh),
        nn.Stacked([nn.GRU(4, 5, return_state=False), nn.RNN(5, 6, return_state=False)], dropout=0.1),
        nn.Bidirectional(nn.GRU(6, 2, return_state=False), merge="sum"),
        nn.GRU(2, 3, go_backwards=True, learn_initial_state=True, batch_first=False),
    )
    table = list(steps(model))
    assert [name for name, _ in table] == [
        "0", "1.0.l0", "1.0.dropout0", "1.0.l1", "1.1", "2.0.l0", "2.dropout0", "2.1.l0", "3.l0",
        "4.backwards", "4.l0",
    ]  # fmt: skip
    kinds = [s.kind for _, s in table if isinstance(s, Recurrence)]
    assert kinds == ["LSTM", "LSTM", "GRU", "RNN", "GRU", "GRU"]
    parts = dict(table)
    assert parts["3.l0"].merge == "sum"
    assert len(parts["3.l0"].cells) == 2
    assert parts["4.backwards"] == Backwards(batch_first=False)
    assert parts["4.l0"].starts[0][0] is not None
    assert parts["1.0.l1"].cells == (model[1][0].l1,)


def test_a_cell_of_ones_own_is_refused_and_so_is_a_subclass():
    class Mine(nn.LSTMCell):
        def forward(self, x, state=None, recurrent_mask=None):
            y, state = super().forward(x, state, recurrent_mask)
            return y + 1, state

    with pytest.raises(TypeError, match="l0: Mine cannot be converted"):
        list(steps(nn.Recurrent(Mine(3, 4))))
    mixed = nn.Recurrent([(nn.LSTMCell(3, 4), nn.GRUCell(3, 4))], bidirectional=True)
    with pytest.raises(TypeError, match="LSTMCell and GRUCell cannot be converted"):
        list(steps(mixed))


def test_plain_recurrent_layers_of_known_cells_are_converted():
    layer = nn.Recurrent([nn.LSTMCell(3, 4), nn.GRUCell(4, 5)], return_state=False)
    assert [s.kind for _, s in steps(layer)] == ["LSTM", "GRU"]
    assert np.shape(layer(np.zeros((2, 3, 3), np.float32))) == (2, 3, 5)
