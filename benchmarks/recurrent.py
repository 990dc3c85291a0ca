"""Training steps of recurrent layers that `tg.compile` has made fast, beside their peers.

One step is forward and backward, to all parameters and to the input, in float32, with one and with
two threads. Peers, in turn in one process: PyTorch's built-in layers (`nn.LSTM` and friends), the
same cell written by hand in a Python loop in PyTorch, `jit` of `lax.scan` in JAX, and as the floor
the bare matrix products of a step on the rows of all time steps, by NumPy. Gradients are compared
before anything is timed.

    python benchmarks/recurrent.py [--rounds 3] [--seconds 0.1] [--json FILE] [--plot FILE]
    python benchmarks/recurrent.py --torch-compile        # also the PyTorch cell under torch.compile

Needs torch, jax, numba and matplotlib.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZES = [(1, 32, 8, 16), (16, 32, 16, 32), (32, 64, 64, 128), (64, 100, 128, 256), (32, 50, 256, 512)]
KINDS = ["RNN", "LSTM", "GRU", "peephole"]
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3, "peephole": 4}


def data(kind, B, T, I, H):
    """x, the cotangent of the outputs, and weights: W, U, b, c, and peepholes where the kind has some."""
    rng = np.random.default_rng(0)
    G, k = GATES[kind] * H, 1 / np.sqrt(H)
    shapes = [(G, I), (G, H), (G,), (G,)] + [(3, H)] * (kind == "peephole")
    weights = [rng.uniform(-k, k, s).astype(np.float32) for s in shapes]
    x, g = [rng.standard_normal((B, T, n)).astype(np.float32) for n in (I, H)]
    return x, g, weights


# ------------------------------------------------------------------------------------------------- ours


def ours(kind, x, g, weights, backend):
    import tinygrad_rnn as tg
    from tinygrad_rnn import nn

    class Peephole(nn.Module):
        def __init__(self):
            self.W, self.U, self.b, self.c, self.p = map(nn.Parameter, weights)

        def initial_state(self, batch):
            zeros = tg.tensor(np.zeros((batch, self.U.shape[1]), np.float32))
            return zeros, zeros

        def forward(self, x, state):
            h, c = state
            a = tg.linear(x, self.W) + self.b + tg.linear(h, self.U) + self.c
            i, f, z, o = tg.split(a, 4, axis=-1)
            c = tg.sigmoid(f + self.p[1] * c) * c + tg.sigmoid(i + self.p[0] * c) * np.tanh(z)
            h = tg.sigmoid(o + self.p[2] * c) * np.tanh(c)
            return h, (h, c)

    if kind == "peephole":
        layer = nn.Recurrent(Peephole(), return_state=False)
    else:
        layer = getattr(nn, kind)(x.shape[2], g.shape[2], return_state=False)
        for p, w in zip(layer.parameters(), weights, strict=True):
            p.assign_(w)
    tg.compile(layer, backend=backend)
    x = tg.tensor(x, requires_grad=True)

    def step():
        layer.zero_grad()
        x.grad = None
        layer(x).backward(g)
        return [x.grad.numpy(), *[p.grad.numpy() for p in layer.parameters()]]

    return step


# ---------------------------------------------------------------------------------------------- PyTorch


def torch_cell(kind):
    import torch

    sigmoid, tanh = torch.sigmoid, torch.tanh

    def rnn(x, state, W, U, b, c):
        h = tanh(x @ W.T + b + state[0] @ U.T + c)
        return h, (h,)

    def lstm(x, state, W, U, b, d, p=None):
        h, c = state
        i, f, z, o = (x @ W.T + b + h @ U.T + d).chunk(4, -1)
        if p is not None:
            i, f = i + p[0] * c, f + p[1] * c
        c = sigmoid(f) * c + sigmoid(i) * tanh(z)
        o = o if p is None else o + p[2] * c
        h = sigmoid(o) * tanh(c)
        return h, (h, c)

    def gru(x, state, W, U, b, c):
        (h,) = state
        r_x, z_x, n_x = (x @ W.T + b).chunk(3, -1)
        r_h, z_h, n_h = (h @ U.T + c).chunk(3, -1)
        r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
        h = (1 - z) * tanh(n_x + r * n_h) + z * h
        return h, (h,)

    return {"RNN": rnn, "GRU": gru, "LSTM": lstm, "peephole": lstm}[kind]


def torch_loop(kind, x, g, weights, compiled=False):
    import torch

    cell = torch.compile(torch_cell(kind)) if compiled else torch_cell(kind)
    parameters = [torch.tensor(w, requires_grad=True) for w in weights]
    x, g = torch.tensor(x, requires_grad=True), torch.tensor(g)
    states = 2 if kind in ("LSTM", "peephole") else 1

    def step():
        for p in (x, *parameters):
            p.grad = None
        state = (torch.zeros(x.shape[0], g.shape[2]),) * states
        outputs = []
        for t in range(x.shape[1]):
            h, state = cell(x[:, t], state, *parameters)
            outputs.append(h)
        torch.stack(outputs, 1).backward(g)
        return [p.grad.numpy() for p in (x, *parameters)]

    return step


def torch_built_in(kind, x, g, weights):
    import torch

    layer = getattr(torch.nn, kind)(x.shape[2], g.shape[2], batch_first=True)
    with torch.no_grad():
        for p, w in zip(layer.parameters(), weights, strict=True):
            p.copy_(torch.tensor(w))
    x, g = torch.tensor(x, requires_grad=True), torch.tensor(g)

    def step():
        for p in (x, *layer.parameters()):
            p.grad = None
        layer(x)[0].backward(g)
        return [p.grad.numpy() for p in (x, *layer.parameters())]

    return step


# -------------------------------------------------------------------------------------------------- JAX


def jax_scan(kind, x, g, weights):
    import jax
    import jax.numpy as jnp

    sigmoid, tanh = jax.nn.sigmoid, jnp.tanh

    def cell(state, x_t, W, U, b, c, p=None):
        h = state[0]
        if kind == "RNN":
            h = tanh(x_t @ W.T + b + h @ U.T + c)
            return (h,), h
        if kind == "GRU":
            r_x, z_x, n_x = jnp.split(x_t @ W.T + b, 3, -1)
            r_h, z_h, n_h = jnp.split(h @ U.T + c, 3, -1)
            r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
            h = (1 - z) * tanh(n_x + r * n_h) + z * h
            return (h,), h
        s = state[1]
        i, f, z, o = jnp.split(x_t @ W.T + b + h @ U.T + c, 4, -1)
        if p is not None:
            i, f = i + p[0] * s, f + p[1] * s
        s = sigmoid(f) * s + sigmoid(i) * tanh(z)
        o = o if p is None else o + p[2] * s
        h = sigmoid(o) * tanh(s)
        return (h, s), h

    states = 2 if kind in ("LSTM", "peephole") else 1
    zeros = (jnp.zeros((x.shape[0], g.shape[2])),) * states

    def loss(x, g, weights):
        _, ys = jax.lax.scan(lambda s, x_t: cell(s, x_t, *weights), zeros, x.swapaxes(0, 1))
        return (ys.swapaxes(0, 1) * g).sum()

    gradients = jax.jit(jax.grad(loss, (0, 2)))
    x, g, weights = jnp.asarray(x), jnp.asarray(g), [jnp.asarray(w) for w in weights]

    def step():
        gx, gw = jax.block_until_ready(gradients(x, g, weights))
        return [np.asarray(a) for a in (gx, *gw)]

    return step


# ---------------------------------------------------------------------------------------------- the floor


def floor(x, g, weights):
    """The six products of a step, each in one call on the rows of all time steps."""
    W, U = weights[:2]
    rows = x.shape[0] * x.shape[1]
    X, Hs = x.reshape(rows, -1), g.reshape(rows, -1)
    D = np.ones((rows, len(W)), np.float32)

    def step():
        np.dot(X, W.T), np.dot(Hs, U.T), np.dot(D, W), np.dot(D, U), np.dot(D.T, X), np.dot(D.T, Hs)

    return step


# -------------------------------------------------------------------------------------------- measuring


def peers(kind, size, with_torch_compile):
    x, g, weights = data(kind, *size)
    made = {
        "ours": ours(kind, x, g, weights, "numba"),
        "ours, NumPy alone": ours(kind, x, g, weights, "numpy"),
    }
    if kind != "peephole":
        made["PyTorch built-in"] = torch_built_in(kind, x, g, weights)
    made["PyTorch own cell"] = torch_loop(kind, x, g, weights)
    if with_torch_compile:
        made["PyTorch own cell, torch.compile"] = torch_loop(kind, x, g, weights, compiled=True)
    made["JAX scan"] = jax_scan(kind, x, g, weights)
    wanted = made["PyTorch own cell"]()
    for name, step in made.items():
        for a, b in zip(step(), wanted, strict=True):
            error = np.abs(a - b).max() / np.abs(b).max()
            assert error < 1e-4, f"{name}, {kind} {size}: gradients differ by {error}"
    made["products alone"] = floor(x, g, weights)
    return made


def measure(arguments):
    """What a process with its number of threads measures: a list of records."""
    import torch
    from common import machine, medians

    threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    print(machine("numpy", "numba", "torch", "jax"), flush=True)
    records = []
    for number in arguments.sizes:
        for kind in KINDS:
            size = SIZES[number]
            times = medians(peers(kind, size, arguments.torch_compile), arguments.rounds, arguments.seconds)
            cells = [f"{name} {1e3 * s:9.3f} ({times['ours'] / s:.2f})" for name, s in times.items()]
            print(f"{threads} threads {size!s:20} {kind:8} " + "  ".join(cells), flush=True)
            records += [
                {"threads": threads, "size": size, "kind": kind, "peer": n, "seconds": s}
                for n, s in times.items()
            ]
    return records


def single_steps():
    """Streaming: one step of an LSTM cell at B = 1, H = 128, nothing recorded."""
    import torch

    import tinygrad_rnn as tg
    from tinygrad_rnn import nn

    torch.set_num_threads(1)
    cell, other = tg.compile(nn.LSTMCell(128, 128)), torch.nn.LSTMCell(128, 128)
    x = np.ones((1, 128), np.float32)
    mine, theirs = tg.tensor(x), torch.tensor(x)
    state, its = (mine, mine), (theirs, theirs)
    times = {"ours": [], "PyTorch": []}
    with tg.no_grad(), torch.no_grad():
        for _ in range(5000):
            start = time.perf_counter()
            cell.step(mine, state)
            middle = time.perf_counter()
            other(theirs, its)
            times["ours"].append(middle - start)
            times["PyTorch"].append(time.perf_counter() - middle)
    a, b = [1e6 * statistics.median(t) for t in times.values()]
    print(
        f"one step, B = 1, H = 128: ours {a:.1f} microseconds, PyTorch's LSTMCell {b:.1f} ({b / a:.2f} times)"
    )


ONCE = """
import sys, time, resource
import numpy as np
sys.path.insert(0, {folder!r})
import recurrent
kind, peer, size = {kind!r}, {peer!r}, {size!r}
x, g, weights = recurrent.data(kind, *size)
make = {{"ours": lambda: recurrent.ours(kind, x, g, weights, "numba"),
         "PyTorch": lambda: recurrent.torch_built_in(kind, x, g, weights)}}[peer]
step = make()
small = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
step()
first = time.perf_counter() - start
for _ in range(3): step()
print(first, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - small)
"""


def in_a_process(kind, peer, size, **environment):
    """Seconds of the first call, and kilobytes that a process grows by over four steps."""
    code = ONCE.format(folder=str(Path(__file__).parent), kind=kind, peer=peer, size=size)
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    first, grown = run.stdout.split()
    return float(first), int(grown)


def first_calls_and_memory():
    with tempfile.TemporaryDirectory() as folder:
        own = {"TINYGRAD_RNN_CACHE": folder, "NUMBA_CACHE_DIR": folder}
        for kind in KINDS:
            cold, _ = in_a_process(kind, "ours", SIZES[2], **own)
            warm, _ = in_a_process(kind, "ours", SIZES[2], **own)
            print(f"first call of a compiled {kind}: {cold:.1f} s, from the disk {warm:.2f} s", flush=True)
        for kind in ("LSTM", "GRU"):
            mine, theirs = [in_a_process(kind, peer, SIZES[3], **own)[1] for peer in ("ours", "PyTorch")]
            print(
                f"{kind} steps at {SIZES[3]}: a process grows by {mine / 1e3:.0f} MB, "
                f"PyTorch's by {theirs / 1e3:.0f}"
            )


def summary(records):
    """Geometric means of the ratios ours / peer, by threads and peer; and the largest ratio."""
    by = {(r["threads"], tuple(r["size"]), r["kind"], r["peer"]): r["seconds"] for r in records}
    for threads in sorted({r["threads"] for r in records}):
        for mine in ("ours", "ours, NumPy alone"):
            for peer in dict.fromkeys(r["peer"] for r in records):
                pairs = [
                    (s / by[t, size, kind, peer], kind, size)
                    for (t, size, kind, name), s in by.items()
                    if t == threads and name == mine and (t, size, kind, peer) in by
                ]
                if peer.startswith("ours"):
                    continue
                mean = np.exp(np.mean([np.log(ratio) for ratio, *_ in pairs]))
                worst, kind, size = max(pairs)
                print(
                    f"{threads} threads, {mine} / {peer}: geometric mean {mean:.2f}, "
                    f"largest {worst:.2f} ({kind} {size})"
                )


def plot(records, file):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    threads = max(r["threads"] for r in records)
    for axes, kind in zip(grid.flat, KINDS, strict=True):
        mine = [r for r in records if r["kind"] == kind and r["threads"] == threads]
        base = {tuple(r["size"]): r["seconds"] for r in mine if r["peer"] == "ours"}
        for peer in dict.fromkeys(r["peer"] for r in mine):
            points = [r["seconds"] / base[tuple(r["size"])] for r in mine if r["peer"] == peer]
            axes.plot(range(len(points)), points, marker="o", label=peer)
        axes.set(title=kind, yscale="log", xticks=range(len(base)), xticklabels=[str(s) for s in base])
        axes.tick_params(axis="x", labelrotation=20, labelsize=7)
        axes.grid(alpha=0.3)
    grid[0, 0].legend(fontsize=7)
    figure.supylabel(f"time of a training step / ours ({threads} threads)")
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument(
        "--sizes", type=lambda text: [int(n) for n in text.split(",")], default=list(range(len(SIZES)))
    )
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--torch-compile", action="store_true")
    parser.add_argument("--json", default=None)
    parser.add_argument("--plot", default=None)
    parser.add_argument("--part", default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        Path(arguments.part).write_text(json.dumps(measure(arguments)))
        return
    records = []
    for n in arguments.threads:
        one = str(n)
        limits = {f"{name}_NUM_THREADS": one for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
        limits["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=" + ("false" if n == 1 else "true")
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "part.json"
            subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--part", str(part)],
                check=True,
                env={**os.environ, **limits},
            )
            records += json.loads(part.read_text())
    summary(records)
    single_steps()
    first_calls_and_memory()
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(records, indent=1))
    if arguments.plot:
        plot(records, arguments.plot)


if __name__ == "__main__":
    main()
