"""One LSTM training step composed of single operations, against peers: the cost of the tape.

Forward and backward of the same loop, written with each library's own operations, in float32: a step's two
matrix products, two additions, three sigmoids, two tanhs, three products and a sum. Gradients are compared
before anything is timed.

    python benchmarks/eager.py [--rounds 5]

Needs torch, mygrad and autograd.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import autograd
import autograd.numpy as anp
import mygrad as mg
import numpy as np
import torch
from common import machine, medians
from scaling import data, length, ours

SIZES = [(1, 32, 8, 16), (16, 32, 16, 32), (32, 64, 64, 128)]


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

    # autograd has no sigmoid; its own LSTM example writes it through tanh, too.
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


def mygrad_unguarded(x, weights, H):
    return mg.mem_guard_off(mygrad(x, weights, H))


PEERS = {
    "PyTorch": pytorch,
    "MyGrad": mygrad,
    "MyGrad without its memory guard": mygrad_unguarded,
    "autograd": hips_autograd,
}


def compare(sizes, rounds):
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that each library's turn comes")
    arguments = parser.parse_args()
    print(machine("numpy", "torch", "mygrad", "autograd"), f"torch threads: {torch.get_num_threads()}")
    compare(SIZES, arguments.rounds)
    # Ours in an interpreter of its own: what the peers have loaded is work for Python's garbage collector.
    print(flush=True)
    length(pytorch, "PyTorch")
    sys.stdout.flush()
    subprocess.run([sys.executable, str(Path(__file__).with_name("scaling.py"))], check=True)
