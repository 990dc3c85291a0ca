"""How long diagrams take, from a tensor to the text of a picture: processor time, Graphviz's included.

python benchmarks/drawing.py
"""

from __future__ import annotations

import gc
import resource
import time

import numpy as np
from common import machine

from tinygrad_rnn import draw, nn

CASES = [
    ("ops", 100, {"view": "ops"}),
    ("folded", 1_000, {"view": "folded"}),
    ("cells, folded", 1_000, {"view": "cells", "fold": True}),
    ("rolled", 1_000, {"view": "rolled"}),
    ("ops, folds itself", 10_000, {"view": "ops"}),
]
ROUNDS = 9


def processor_seconds() -> float:
    return sum(
        u.ru_utime + u.ru_stime
        for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    print(machine("numpy"))
    print("An LSTM with a linear layer and a loss: view, layout and SVG, best of", ROUNDS)
    for name, length, options in CASES:
        x = np.ones((8, length, 4), np.float32)
        model = nn.Sequential(nn.LSTM(4, 16, return_state=False, rng=0), nn.Linear(16, 1, rng=0))
        loss = nn.mse(model(x), np.zeros((8, length, 1), np.float32))
        best = wall = float("inf")
        for _ in range(ROUNDS if length < 10_000 else 3):
            gc.collect()
            began, at = processor_seconds(), time.perf_counter()
            diagram = draw.graph(loss, **options)
            size = len(diagram.svg())
            best = min(best, processor_seconds() - began)
            wall = min(wall, time.perf_counter() - at)
        shapes = len(diagram.view.nodes)
        print(
            f"{name:18} T = {length:6,}  {best:6.3f} s of processor time, {wall:6.3f} s by the clock, "
            f"{shapes:5,} shapes, {size / 1000:7,.0f} kB"
        )


if __name__ == "__main__":
    main()
