"""What `tg.checkpoint` saves: the peak memory of a training step on a long sequence, and what it costs.

    python benchmarks/checkpoint.py

Needs nothing but the library. A plain step keeps what the rules need of all T time steps; cut into segments
of about the square root of T steps, it keeps the states between them and the insides of one.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc

import numpy as np
from common import machine

import tinygrad_rnn as tg
from tinygrad_rnn import nn


def step(layer: nn.LSTM, x: np.ndarray, segment: int | None):
    """One forward and backward pass over x, (B, T, F), in segments that are checkpointed, or in one piece."""
    layer.zero_grad()

    def run(part, h, c):
        output, (h, c) = layer(part, (h, c))
        return tg.square(output).sum(), h, c

    B, T, _ = x.shape
    h = c = tg.tensor(np.zeros((B, 1, layer.hidden_size), np.float32))
    loss = tg.tensor(0.0)
    length = segment or T
    for start in range(0, T, length):
        part, h, c = (tg.checkpoint(run) if segment else run)(x[:, start : start + length], h, c)
        loss = loss + part
    (loss / T).backward()
    return [p.grad.numpy() for p in layer.parameters()]


def peak(*args) -> float:
    """The most memory that a step held beyond what was there before, in MB."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    step(*args)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (most - before) / 1e6


def main(B=16, T=900, I=16, H=64, rounds=5) -> None:
    layer = nn.LSTM(I, H, rng=0)
    x = np.random.default_rng(0).standard_normal((B, T, I)).astype(np.float32)
    segments = (None, 300, 100, 30, 10)
    plain = step(layer, x, None)
    print(machine("numpy"))
    print(f"LSTM, (B, T, I, H) = {(B, T, I, H)}: one step, forward and backward")
    times = {segment: [] for segment in segments}
    for _ in range(rounds):
        for segment in segments:
            start = time.perf_counter()
            gradients = step(layer, x, segment)
            times[segment].append(time.perf_counter() - start)
            for g, wanted in zip(gradients, plain, strict=True):
                np.testing.assert_allclose(g, wanted, rtol=1e-4, atol=1e-6)
    most, base = peak(layer, x, None), statistics.median(times[None])
    for segment in segments:
        held = most if segment is None else peak(layer, x, segment)
        name = f"segments of {segment} steps" if segment else "in one piece"
        slower = statistics.median(t / p for t, p in zip(times[segment], times[None], strict=True))
        print(f"{name:22} peak {held:7.1f} MB ({held / most:.2f})   time {slower:.2f} of {base * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
