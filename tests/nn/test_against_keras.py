"""Recurrent layers against Keras, with masks and random weights."""

import os

import numpy as np
import pytest
from rnn_oracles import keras_results, randomise, results, states_for

from tinygrad_rnn import nn

os.environ.setdefault("KERAS_BACKEND", "numpy")  # Keras would look for TensorFlow
pytest.importorskip("keras", reason="Keras is the oracle of these tests")

VARIANTS = {
    "RNN": ("RNN", {}),
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {"reset_after": True}),
    "GRU-before": ("GRU", {"reset_after": False}),
}


def draw(variant, rng, **flags):
    kind, options = VARIANTS[variant]
    sizes = [int(n) for n in rng.integers([1, 2], [5, 7])]
    layer = randomise(getattr(nn, kind)(*sizes, dtype=np.float64, rng=rng, **options, **flags), rng)
    batch, steps = int(rng.integers(1, 5)), int(rng.integers(1, 8))
    return layer, rng.standard_normal((batch, steps, layer.input_size)), states_for(layer, batch, rng)


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)  # Keras rounds as in float32


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("variant", VARIANTS)
def test_masks_with_gaps_equal_keras(variant, seed):
    rng = np.random.default_rng([seed, *variant.encode()])
    layer, x, states = draw(variant, rng)
    mask = rng.random(x.shape[:2]) < 0.6
    same(results(layer, x, states, mask=mask), keras_results(layer, x, states, mask))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("variant", VARIANTS)
def test_without_a_mask_equals_keras(variant, seed):
    rng = np.random.default_rng([seed, *variant.encode()])
    layer, x, states = draw(variant, rng)
    same(results(layer, x, states), keras_results(layer, x, states))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("variant", VARIANTS)
def test_go_backwards_equals_keras(variant, seed):
    """Outputs come in the order of processing; with padding, ours leaves it where it was, at the end."""
    rng = np.random.default_rng([seed, *variant.encode()])
    layer, x, states = draw(variant, rng, go_backwards=True)
    batch, steps = x.shape[:2]
    same(results(layer, x, states), keras_results(layer, x, states, go_backwards=True))
    lengths = rng.integers(1, steps + 1, batch)
    mask = np.arange(steps) < lengths[:, None]
    y, *final = results(layer, x, states, lengths=lengths)
    y_k, *final_k = keras_results(layer, x, states, mask, go_backwards=True)
    same(final, final_k)
    for b, length in enumerate(lengths):
        same([y[b, :length]], [y_k[b, steps - length :]])
        assert not y[b, length:].any()
