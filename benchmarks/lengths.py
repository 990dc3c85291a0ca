"""What lengths cost: a training step of an LSTM layer on a batch with lengths, beside one without.

"spread" are lengths spread evenly from 1 to T, in random order, so that half of the batch is padding; "full"
are lengths that are all T. A step is forward and backward, in float32. The steps run in turn, and what is
compared is their processor time: other work on the machine counts for little then.

    OMP_NUM_THREADS=1 python benchmarks/lengths.py [--rounds 60]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from common import machine

import tinygrad_rnn as tg
from tinygrad_rnn import nn

SIZES = [(4, 100, 4, 32), (16, 32, 16, 32), (32, 64, 64, 128), (64, 30, 32, 256)]


def training_step(
    x: np.ndarray, lengths: np.ndarray | None, H: int, bidirectional: bool
) -> Callable[[], None]:
    layer = nn.LSTM(x.shape[2], H, bidirectional=bidirectional, return_state=False, rng=0)

    def step() -> None:
        layer.zero_grad()
        tg.square(layer(x, lengths=lengths)).mean().backward()

    return step


def compare(rounds: int) -> None:
    rng = np.random.default_rng(0)
    print("\nmilliseconds per step without lengths, and the median ratio of the same batch with them")
    for B, T, I, H in SIZES:
        x = rng.standard_normal((B, T, I)).astype(np.float32)
        spread = rng.permutation(np.linspace(1, T, B).round().astype(int))
        for bidirectional in (False, True):
            steps = [training_step(x, given, H, bidirectional) for given in (None, np.full(B, T), spread)]
            times: list[list[float]] = [[] for _ in steps]
            for step in steps:
                step()
            for _ in range(rounds):
                for step, found in zip(steps, times, strict=True):
                    start = time.process_time()
                    step()
                    found.append(time.process_time() - start)
            without, *others = times
            full, half = (
                statistics.median(b / a for a, b in zip(without, found, strict=True)) for found in others
            )
            name = f"{(B, T, I, H)}" + (", both directions" if bidirectional else "")
            print(
                f"(B, T, I, H) = {name:36s} without {statistics.median(without) * 1e3:7.2f}   "
                f"full {full:.2f}   spread {half:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60, help="times that each step's turn comes")
    print(machine("numpy"))
    compare(parser.parse_args().rounds)
