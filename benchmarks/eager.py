"""One LSTM training step composed of single operations, against peers: the cost of the tape.

Forward and backward of the same loop, written with each library's own operations, in float32: a step's two
matrix products, two additions, three sigmoids, two tanhs, three products and a sum. Gradients are compared
before anything is timed.

    python benchmarks/eager.py [--rounds 5]

Needs torch, mygrad and autograd.
"""

from __future__ import annotations

import argparse
import time

import autograd
import autograd.numpy as anp
import mygrad as mg
import numpy as np
import torch
from common import machine, medians

import tinygrad_rnn as tg

SIZES = [(1, 32, 8, 16), (16, 32, 16, 32), (32, 64, 64, 128)]


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


def pytorch(x, weights, H):
    x = torch.tensor(x)
    W, U, b = parameters = [torch.tensor(w, requires_grad=True) for w in weights]
    zeros = torch.zeros(x.shape[0], H)

    def step():
        for p in parameters:
            p.grad = None
        h = c = zeros
        W_T, U_T = W.T, U.T
        hs = []
        for t in range(x.shape[1]):
            i, f, g, o = torch.chunk(x[:, t] @ W_T + h @ U_T + b, 4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            hs.append(h)
        loss = torch.square(torch.stack(hs)).mean()
        loss.backward()
        return [p.grad.numpy() for p in parameters]

    return step


def mygrad(x, weights, H):
    sigmoid = mg.nnet.activations.sigmoid
    zeros = np.zeros((x.shape[0], H), np.float32)
    parameters = [mg.tensor(w) for w in weights]
    W, U, b = parameters

    def step():
        for p in parameters:
            p.null_grad()
        h = c = zeros
        W_T, U_T = W.T, U.T
        hs = []
        for t in range(x.shape[1]):
            z = mg.matmul(x[:, t], W_T) + mg.matmul(h, U_T) + b
            i, f, g, o = (z[:, k * H : (k + 1) * H] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * mg.tanh(g)
            h = sigmoid(o) * mg.tanh(c)
            hs.append(h)
        loss = mg.square(mg.stack(hs)).mean()
        loss.backward()
        return [p.grad for p in parameters]

    return step


def hips_autograd(x, weights, H):
    zeros = np.zeros((x.shape[0], H), np.float32)

    def sigmoid(a):
        return 0.5 * (anp.tanh(0.5 * a) + 1)

    def loss(parameters):
        W, U, b = parameters
        h = c = zeros
        W_T, U_T = W.T, U.T
        hs = []
        for t in range(x.shape[1]):
            z = anp.dot(x[:, t], W_T) + anp.dot(h, U_T) + b
            i, f, g, o = (z[:, k * H : (k + 1) * H] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * anp.tanh(g)
            h = sigmoid(o) * anp.tanh(c)
            hs.append(h)
        return anp.mean(anp.array(hs) ** 2)

    gradient = autograd.grad(loss)
    return lambda: gradient(weights)


PEERS = {"PyTorch": pytorch, "MyGrad": mygrad, "autograd": hips_autograd}


def compare(sizes, rounds):
    mg.turn_memory_guarding_off()  # MyGrad's fastest setting
    print("\nLSTM step, median milliseconds (ratio ours / peer; below 1 ours is faster)")
    for B, T, I, H in sizes:
        x, weights = data(B, T, I, H)
        steps = {"ours": ours(x, weights, H)} | {n: make(x, weights, H) for n, make in PEERS.items()}
        expected = steps["ours"]()
        for step in steps.values():
            for a, g in zip(step(), expected, strict=True):
                np.testing.assert_allclose(a, g, rtol=1e-3, atol=1e-5)
        times = medians(steps, rounds)
        cells = [f"ours {times['ours'] * 1e3:8.3f}"]
        cells += [f"{n} {times[n] * 1e3:8.3f} ({times['ours'] / times[n]:.2f})" for n in PEERS]
        print(f"(B, T, I, H) = {(B, T, I, H)!s:20s}", "   ".join(cells))


def length(rounds):
    """Time at T = 1600 over time at T = 100: 16 would be exactly linear."""
    steps = {}
    for T in (100, 1600):
        x, weights = data(16, T, 16, 32)
        steps[str(T)] = ours(x, weights, 32)
    times = medians(steps, rounds)
    print(f"\nT = 1600 over T = 100, at (16, T, 16, 32): {times['1600'] / times['100']:.1f} times as long")


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
    print(f"\nchain of {n:,} additions: forward {forward:.2f} s, backward {backward:.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that each library's turn comes")
    arguments = parser.parse_args()
    print(machine("numpy", "torch", "mygrad", "autograd"), f"torch threads: {torch.get_num_threads()}")
    compare(SIZES, arguments.rounds)
    length(arguments.rounds)
    chain()
