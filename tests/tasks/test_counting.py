"""The first exercise of many courses: 0.0, 0.1, 0.2, 0.3 is followed by 0.4."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_small_rnn_learns_to_count_in_tenths(seed):
    inputs, targets = data.windows((np.arange(10) / 10).astype(np.float32), 4)
    assert inputs.shape == (6, 4, 1)
    rng = np.random.default_rng(seed)
    model = nn.Sequential(
        nn.RNN(1, 8, return_sequences=False, return_state=False, rng=rng), nn.Linear(8, 1, rng=rng)
    )
    optimiser = optim.Adam(model.parameters(), lr=0.01)
    for _ in range(1200):
        optimiser.zero_grad()
        loss = nn.mse(model(tg.tensor(inputs)), targets)
        loss.backward()
        optimiser.step()
    with tg.no_grad():
        error = np.abs(model(tg.tensor(inputs)).numpy() - targets)
        unseen = model(tg.tensor(np.array([[[0.6], [0.7], [0.8], [0.9]]], np.float32))).item()
    assert np.mean(error**2) < 0.01
    assert error.max() < 0.01
    # tanh flattens beyond what it was trained on, so the answer to the unseen window falls short of 1.0: by
    # less than half of the step between neighbouring answers, which is what telling them apart takes.
    assert abs(unseen - 1.0) < 0.05
