"""What lengths cost: a training step of an LSTM layer on a batch with lengths, beside one without.

Lengths are spread evenly from 1 to T, in random order, so half of the batch is padding. A step is forward and
backward, in float32. PyTorch does the same with `pack_padded_sequence`; each library is compared with itself.

    python benchmarks/lengths.py [--rounds 9]

Needs torch.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from common import machine, medians

import tinygrad_rnn as tg
from tinygrad_rnn import nn

SIZES = [(4, 100, 4, 32), (16, 32, 16, 32), (32, 64, 64, 128), (64, 30, 32, 256)]


def ours(x, lengths, H, bidirectional):
    layer = nn.LSTM(x.shape[2], H, bidirectional=bidirectional, return_state=False, rng=0)

    def step():
        layer.zero_grad()
        tg.square(layer(x, lengths=lengths)).mean().backward()

    return step


def pytorch(x, lengths, H, bidirectional):
    layer = torch.nn.LSTM(x.shape[2], H, batch_first=True, bidirectional=bidirectional)
    x = torch.tensor(x)
    lengths = None if lengths is None else torch.tensor(lengths)

    def step():
        layer.zero_grad()
        if lengths is None:
            y, _ = layer(x)
        else:
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(layer(packed)[0], batch_first=True)
        torch.square(y).mean().backward()

    return step


def compare(rounds):
    rng = np.random.default_rng(0)
    print("\nmilliseconds per step (ratio to the same batch without lengths)")
    for B, T, I, H in SIZES:
        x = rng.standard_normal((B, T, I)).astype(np.float32)
        lengths = rng.permutation(np.linspace(1, T, B).round().astype(int))
        for bidirectional in (False, True):
            steps = {
                (make, name): make(x, given, H, bidirectional)
                for make in (ours, pytorch)
                for name, given in (("without", None), ("full", np.full(B, T)), ("spread", lengths))
            }
            times = medians(steps, rounds)
            cells = []
            for make in (ours, pytorch):
                without = times[make, "without"]
                cells.append(f"{make.__name__:7s} without {without * 1e3:8.2f}")
                cells += [
                    f"{name} {times[make, name] * 1e3:8.2f} ({times[make, name] / without:.2f})"
                    for name in ("full", "spread")
                ]
            both = ", both directions" if bidirectional else ""
            print(f"(B, T, I, H) = {f'{(B, T, I, H)}{both}':38s}", "   ".join(cells), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="times that each step's turn comes")
    print(machine("numpy", "torch"), f"torch threads: {torch.get_num_threads()}")
    compare(parser.parse_args().rounds)
