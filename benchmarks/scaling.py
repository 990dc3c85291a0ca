"""How the cost of a training step grows with the number of time steps, and whether depth is a limit.

    python benchmarks/scaling.py

Needs nothing but the library. `eager.py` runs this too.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from common import machine

import tinygrad_rnn as tg


def data(B, T, I, H):
    rng = np.random.default_rng(0)
    scale = H**-0.5
    shapes = [(B, T, I), (4 * H, I), (4 * H, H), (4 * H,)]
    x, *weights = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    return x, [(w * scale).astype(np.float32) for w in weights]


def ours(x, weights, H):
    x = tg.tensor(x)
    W, U, b = parameters = [tg.tensor(w, requires_grad=True) for w in weights]
    zeros = np.zeros((x.shape[0], H), np.float32)

    def step():
        for p in parameters:
            p.grad = None
        h = c = tg.tensor(zeros)
        W_T, U_T = W.T, U.T
        hs = []
        for t in range(x.shape[1]):
            i, f, g, o = tg.split(x[:, t] @ W_T + h @ U_T + b, 4, axis=-1)
            c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
            h = tg.sigmoid(o) * tg.tanh(c)
            hs.append(h)
        loss = tg.square(tg.stack(hs)).mean()
        loss.backward()
        return [p.grad.numpy() for p in parameters]

    return step


def seconds(step, times):
    start = time.perf_counter()
    for _ in range(times):
        step()
    return time.perf_counter() - start


def length(make=ours, name="ours", rounds=25):
    """One step at T = 1600 over one at T = 100: exactly linear would be 16.

    Sixteen short steps are timed against one long one, in turn: the same number of operations, and the same
    number of objects for the garbage collector.
    """
    for B, I, H in ((1, 8, 16), (16, 16, 32)):
        short, long = (make(*data(B, T, I, H), H) for T in (100, 1600))
        seconds(short, 3), seconds(long, 1)
        ratios = [16 * seconds(long, 1) / seconds(short, 16) for _ in range(rounds)]
        print(
            f"{name}: T = 1600 takes {statistics.median(ratios):.1f} times as long as T = 100, at "
            f"{(B, 'T', I, H)} ({min(ratios):.1f} to {max(ratios):.1f} in {rounds} rounds)"
        )


def chain(n=1_000_000):
    """A chain of a million additions, forward and backward."""
    x = tg.tensor(np.ones(1), requires_grad=True)
    start = time.perf_counter()
    y = x
    for _ in range(n):
        y = y + 1.0
    forward = time.perf_counter() - start
    start = time.perf_counter()
    y.backward()
    backward = time.perf_counter() - start
    assert x.grad.numpy() == 1.0
    print(f"a chain of {n:,} additions: forward {forward:.2f} s, backward {backward:.2f} s")


if __name__ == "__main__":
    print(machine("numpy"))
    length()
    chain()
