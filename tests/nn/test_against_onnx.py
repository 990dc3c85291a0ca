"""Recurrent layers against ONNX's own evaluator and against ONNX Runtime, with random weights."""

import itertools

import numpy as np
import pytest
from rnn_oracles import blocks, onnx_reference, onnx_runtime, randomise, results, states_for

from tinygrad_rnn import nn

pytest.importorskip("onnx", reason="ONNX is the oracle of these tests")

REFERENCE = {
    "GRU": ("GRU", {"reset_after": True}),
    "GRU-before": ("GRU", {"reset_after": False}),
    "LSTM": ("LSTM", {}),
    "LSTM-peephole": ("LSTM", {"peephole": "diagonal"}),
}
RUNTIME = {
    **REFERENCE,
    "RNN": ("RNN", {}),
    "RNN-relu": ("RNN", {"nonlinearity": "relu"}),
    "LSTM-clip": ("LSTM", {"clip": 0.6}),
    "LSTM-clip-peephole": ("LSTM", {"clip": 0.6, "peephole": "diagonal"}),
    "LSTM-coupled": ("LSTM", {"coupled": True}),
    "LSTM-all": ("LSTM", {"coupled": True, "clip": 0.6, "peephole": "diagonal"}),
    "LSTM-activations": (
        "LSTM",
        {"gate_activation": "hard_sigmoid", "cell_activation": "relu", "output_activation": "softplus"},
    ),
    "GRU-activations": ("GRU", {"gate_activation": "hard_sigmoid", "cell_activation": "softplus"}),
}


def attributes(layer, rng):
    """What the node is told, of our options."""
    names = {"hard_sigmoid": "HardSigmoid", "relu": "Relu", "tanh": "Tanh", "softplus": "Softplus"}
    names["sigmoid"] = "Sigmoid"
    cell = layer.l0
    if isinstance(layer, nn.RNN):
        return {"activations": [names[cell.nonlinearity]] * (1 + layer.bidirectional)}
    told = {"filler": rng} if isinstance(layer, nn.LSTM) and cell.coupled else {}
    if isinstance(layer, nn.GRU):
        told["linear_before_reset"] = int(cell.reset_after)
    elif cell.clip is not None:
        told["clip"] = cell.clip
    functions = [cell.gate_activation, cell.cell_activation, getattr(cell, "output_activation", None)]
    if functions[0] != "sigmoid":
        told["activations"] = [names[f] for f in functions if f] * (1 + layer.bidirectional)
        # ONNX's HardSigmoid is 0.2 x + 0.5 unless told; PyTorch's, and ours, is x / 6 + 0.5.
        told["activation_alpha"] = [1 / 6] * (1 + layer.bidirectional)
        told["activation_beta"] = [0.5] * (1 + layer.bidirectional)
    return told


def draw(kind, options, bidirectional, rng):
    sizes = [int(n) for n in rng.integers([1, 2], [5, 7])]
    layer = getattr(nn, kind)(*sizes, bidirectional=bidirectional, dtype=np.float64, rng=rng, **options)
    batch, steps = int(rng.integers(1, 5)), int(rng.integers(1, 8))
    x = rng.standard_normal((batch, steps, layer.input_size))
    return randomise(layer, rng), x, states_for(layer, batch, rng)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("variant", REFERENCE)
def test_equals_the_reference_evaluator(variant, bidirectional, seed):
    rng = np.random.default_rng([seed, bidirectional, *variant.encode()])
    layer, x, states = draw(*REFERENCE[variant], bidirectional, rng)
    expected = onnx_reference(layer, x, states, **attributes(layer, rng))
    for a, b in zip(results(layer, x, states), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("variant", RUNTIME)
def test_equals_onnx_runtime(variant, bidirectional, padded, seed):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is the oracle of this test")
    rng = np.random.default_rng([seed, bidirectional, padded, *variant.encode()])
    layer, x, states = draw(*RUNTIME[variant], bidirectional, rng)
    # ONNX Runtime refuses lengths of 0 in some layers.
    lengths = rng.integers(1, x.shape[1] + 1, len(x)) if padded else None
    expected = onnx_runtime(layer, x, states, lengths, **attributes(layer, rng))
    for a, b in zip(results(layer, x, states, lengths=lengths), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", list(itertools.permutations("ifo"))[1:], ids="".join)
def test_every_wrong_order_of_peepholes_is_seen(order):
    rng = np.random.default_rng(0)
    layer = randomise(nn.LSTM(3, 4, peephole="diagonal", dtype=np.float64, rng=rng), rng)
    x, states = rng.standard_normal((2, 5, 3)), states_for(layer, 2, rng)
    expected = onnx_reference(layer, x, states)[0]
    np.testing.assert_allclose(results(layer, x, states)[0], expected, rtol=1e-10)
    layer.peephole_l0.assign_(blocks(layer.peephole_l0.numpy(), order, "ifo"))
    assert not np.allclose(results(layer, x, states)[0], expected, atol=1e-3)


@pytest.mark.parametrize("order", list(itertools.permutations("rzn"))[1:], ids="".join)
def test_every_wrong_order_of_gates_is_seen_where_the_reset_comes_before(order):
    rng = np.random.default_rng(0)
    layer = randomise(nn.GRU(3, 4, reset_after=False, dtype=np.float64, rng=rng), rng)
    x, states = rng.standard_normal((2, 5, 3)), states_for(layer, 2, rng)
    expected = onnx_reference(layer, x, states, linear_before_reset=0)[0]
    np.testing.assert_allclose(results(layer, x, states)[0], expected, rtol=1e-10)
    layer.weight_hh_l0.assign_(blocks(layer.weight_hh_l0.numpy(), order, "rzn"))
    assert not np.allclose(results(layer, x, states)[0], expected, atol=1e-3)


@pytest.mark.parametrize("order", list(itertools.permutations("igo"))[1:], ids="".join)
@pytest.mark.parametrize("peephole", [False, True])
def test_every_wrong_order_of_coupled_gates_is_seen(order, peephole):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is the oracle of this test")
    rng = np.random.default_rng(0)
    layer = nn.LSTM(3, 4, coupled=True, peephole="diagonal", dtype=np.float64, rng=rng)
    randomise(layer, rng)
    x, states = rng.standard_normal((2, 5, 3)), states_for(layer, 2, rng)
    expected = onnx_runtime(layer, x, states, filler=rng)[0]
    np.testing.assert_allclose(results(layer, x, states)[0], expected, atol=1e-5)
    p, names = (layer.peephole_l0, "io") if peephole else (layer.weight_ih_l0, "igo")
    p.assign_(blocks(p.numpy(), [gate for gate in order if gate in names], names))
    changed = [gate for gate in order if gate in names] != list(names)
    assert np.allclose(results(layer, x, states)[0], expected, atol=1e-3) != changed
