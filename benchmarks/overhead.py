"""The cost of recording one operation, over the bare NumPy calls, beside peers.

Chains of 200 operations (``x = x + b``; for ``a[i]``, 200 reads of one array that are summed), forward and
backward, in float32, for operands of 16 and of 16,384 elements. "NumPy" makes the very calls that the forward
functions and the gradient rules make, in a plain loop, without a tape: the work that no tape can avoid.

    python benchmarks/overhead.py [--rounds 5]

Needs torch, mygrad and autograd.
"""

from __future__ import annotations

import argparse

import autograd
import autograd.numpy as anp
import mygrad as mg
import numpy as np
import torch
from common import machine, medians

import tinygrad_rnn as tg

LENGTH = 200


def operands(name, size):
    rng = np.random.default_rng(0)
    if name == "a @ b":
        n = int(size**0.5)
        # An orthogonal matrix: a long product neither grows nor dies.
        return rng.standard_normal((n, n)).astype(np.float32), np.linalg.qr(rng.standard_normal((n, n)))[
            0
        ].astype(np.float32)
    a, b = rng.standard_normal((2, size)).astype(np.float32)
    return a, np.sign(b) if name == "a * b" else b


CHAINS = {
    "a + b": lambda m, a, b: repeat(lambda x: x + b, a),
    "a * b": lambda m, a, b: repeat(lambda x: x * b, a),
    "tanh(a)": lambda m, a, b: repeat(m.tanh, a),
    "a @ b": lambda m, a, b: repeat(lambda x: x @ b, a),
}


def repeat(f, x):
    for _ in range(LENGTH):
        x = f(x)
    return x


def reads(m, a, b):
    """200 reads of rows, each used once: the cotangents of all must be brought together."""
    n = a.shape[0]
    return m.stack([a[i % n] for i in range(LENGTH)])


def ours(chain, a, b):
    a, b = tg.tensor(a, requires_grad=True), tg.tensor(b, requires_grad=True)
    seed = np.ones(chain(tg, a, b).shape, np.float32)

    def step():
        a.grad = b.grad = None
        chain(tg, a, b).backward(seed)
        return a.grad.numpy()

    return step


def pytorch(chain, a, b):
    a, b = torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)
    seed = torch.ones(chain(torch, a, b).shape)

    def step():
        a.grad = b.grad = None
        chain(torch, a, b).backward(seed)
        return a.grad.numpy()

    return step


def mygrad(chain, a, b):
    a, b = mg.tensor(a), mg.tensor(b)
    seed = np.ones(chain(mg, a, b).shape, np.float32)

    def step():
        a.null_grad()
        b.null_grad()
        chain(mg, a, b).backward(seed)
        return a.grad

    return step


def hips_autograd(chain, a, b):
    seed = np.ones(chain(np, a, b).shape, np.float32)

    class Module:
        tanh = staticmethod(anp.tanh)
        stack = staticmethod(anp.stack)

    def step():
        pullback, _ = autograd.make_vjp(lambda pair: chain(Module, *pair))((a, b))
        return pullback(seed)[0]

    return step


def bare(name, a, b):
    """The NumPy calls of forward and backward, and the list of arrays that the rules read: no tape."""

    def add():
        x = a
        for _ in range(LENGTH):
            x = np.add(x, b)
        g = np.ones(x.shape, np.float32)
        total = g + g
        for _ in range(LENGTH - 2):
            np.add(total, g, out=total)
        return g

    def multiply():
        xs = [a]
        for _ in range(LENGTH):
            xs.append(np.multiply(xs[-1], b))
        g = np.ones(a.shape, np.float32)
        total = None
        for x in reversed(xs[:-1]):
            by_b, g = g * x, g * b
            total = by_b if total is None else np.add(total, by_b, out=total)
        return g

    def tanh():
        ys = []
        x = a
        for _ in range(LENGTH):
            x = np.tanh(x)
            ys.append(x)
        g = np.ones(a.shape, np.float32)
        for y in reversed(ys):
            g = g * (1 - y * y)
        return g

    def matmul():
        xs = [a]
        for _ in range(LENGTH):
            xs.append(xs[-1].dot(b))
        g = np.ones(a.shape, np.float32)
        total = None
        for x in reversed(xs[:-1]):
            by_b, g = x.T.dot(g), g.dot(b.T)
            total = by_b if total is None else np.add(total, by_b, out=total)
        return g

    def index():
        n = a.shape[0]
        y = np.stack([a[i % n] for i in range(LENGTH)])
        parts = tuple(np.ones(y.shape, np.float32))
        g = np.zeros(a.shape, np.float32)
        for i, part in enumerate(parts):
            g[i % n] += part
        return g

    return {"a + b": add, "a * b": multiply, "tanh(a)": tanh, "a @ b": matmul, "a[i]": index}[name]


PEERS = {"PyTorch": pytorch, "MyGrad": mygrad, "autograd": hips_autograd}


def main(rounds):
    mg.turn_memory_guarding_off()  # MyGrad's fastest setting
    print("\nmicroseconds per operation, forward and backward (ratio ours / other; below 1 ours is faster)")
    for size in (16, 16_384):
        for name in [*CHAINS, "a[i]"]:
            a, b = operands(name, size)
            chain = CHAINS.get(name, reads)
            if name == "a[i]":
                a = a.reshape(-1, int(size**0.5))
            steps = {"ours": ours(chain, a, b), "NumPy": bare(name, a, b)}
            steps |= {peer: make(chain, a, b) for peer, make in PEERS.items()}
            expected = steps["ours"]()
            for step in steps.values():
                np.testing.assert_allclose(step(), expected, rtol=1e-4, atol=1e-5)
            times = {k: v / LENGTH * 1e6 for k, v in medians(steps, rounds, seconds=0.1).items()}
            cells = [f"ours {times['ours']:7.2f}"]
            cells += [f"{k} {v:7.2f} ({times['ours'] / v:.2f})" for k, v in times.items() if k != "ours"]
            print(f"{size:6,} elements  {name:8s}", "   ".join(cells))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that each library's turn comes")
    arguments = parser.parse_args()
    print(machine("numpy", "torch", "mygrad", "autograd"), f"torch threads: {torch.get_num_threads()}")
    main(arguments.rounds)
