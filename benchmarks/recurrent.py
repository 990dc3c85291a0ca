"""Recurrent layers that `tg.compile` has made fast, beside their peers: time, memory, steps, first calls.

A training step is forward and backward, to all parameters and to the input, in float32, with one and with
two threads. Peers, in turn in one process: PyTorch's built-in layers (`nn.LSTM` and friends), the same cell
written by hand in a Python loop in PyTorch (at one size also under `torch.compile`, which needs a C++
compiler), `jit` of `lax.scan` in JAX, and as the floor the bare matrix products of a step on the rows of all
time steps, by NumPy. Gradients are compared before anything is timed. Memory and first calls are measured in
processes of their own.

    python benchmarks/recurrent.py FOLDER               # figures.json and figures.png go into the folder
    python benchmarks/recurrent.py FOLDER --sizes 0,1,2
    python benchmarks/recurrent.py FOLDER --parts memory,steps,first
    python benchmarks/recurrent.py FOLDER --torch-compile 1

Needs torch, jax, numba and matplotlib.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import machine, medians
from recurrent_peers import KINDS, SIZES, data, ours, peers, torch_built_in

# -------------------------------------------------------------------------------------------------- time


def times(sizes, kinds, rounds, seconds, torch_compile=False):
    """Median seconds of a training step, by library: a list of records."""
    import torch

    threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    records = []
    for number in sizes:
        for kind in kinds:
            found = medians(peers(kind, SIZES[number], torch_compile), rounds, seconds)
            cells = [f"{name} {1e3 * s:9.3f} ({found['ours'] / s:.2f})" for name, s in found.items()]
            say(f"{threads} threads {SIZES[number]!s:20} {kind:8} " + "  ".join(cells))
            records += [
                {"threads": threads, "size": SIZES[number], "kind": kind, "peer": name, "seconds": s}
                for name, s in found.items()
            ]
    return records


def single_steps(rounds):
    """Streaming: one step of an LSTM cell at B = 1, H = 128, nothing recorded."""
    import torch

    import tinygrad_rnn as tg
    from tinygrad_rnn import nn

    torch.set_num_threads(1)
    cell, other = tg.compile(nn.LSTMCell(128, 128)), torch.nn.LSTMCell(128, 128)
    x = np.random.default_rng(0).standard_normal((1, 128)).astype(np.float32)
    mine, theirs = tg.tensor(x), torch.tensor(x)
    with tg.no_grad(), torch.no_grad():
        found = medians(
            {
                "ours": lambda: cell.step(mine, (mine, mine)),
                "PyTorch's LSTMCell": lambda: other(theirs, (theirs, theirs)),
            },
            5 * rounds,
            0.05,
        )
    a, b = [1e6 * s for s in found.values()]
    say(f"one step, B = 1, H = 128: ours {a:.1f} microseconds, PyTorch's LSTMCell {b:.1f}: {b / a:.2f} times")
    return [{"peer": name, "seconds": s} for name, s in found.items()]


# --------------------------------------------------------------------------- in a process of its own


def resident(what):
    """Bytes of this process: ``"VmRSS"``, now; ``"VmHWM"``, at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what + ":"))


def peak_of(steps, function):
    """By how many bytes the memory of this process is higher at its peak, during some calls, than before."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, peak = resident("VmRSS"), lambda: resident("VmHWM")
    except OSError:  # not on Linux, or not allowed: the peak so far, for what it is worth
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # noqa: E731
        before = peak()
    for _ in range(steps):
        function()
    return peak() - before


MAKERS = {
    "ours": lambda kind, *arrays: ours(kind, *arrays, "numba"),
    "PyTorch built-in": lambda kind, *arrays: torch_built_in(kind, *arrays),
}


def memory(kind, peer, number):
    """Bytes that three training steps take at their peak, all code having been loaded by a small batch."""
    B, T, I, H = SIZES[number]
    for size in ((min(B, 2), min(T, 8), I, H), (B, T, I, H)):
        arrays = data(kind, *size)
        step = MAKERS[peer](kind, *arrays)
        if size[1] != T:
            step()
    return peak_of(3, step)


def first_call(kind):
    """Seconds by the clock, and of the processor, that a compiled layer's first training step takes."""
    step = MAKERS["ours"](kind, *data(kind, *SIZES[2]))
    clock, processor = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - clock, time.process_time() - processor


def in_a_process(call, **environment):
    """What a call of a function of this module gives in a process that does nothing else, on one thread."""
    code = f"import json, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    code += f"import recurrent; print(json.dumps(recurrent.{call}))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **limits(1), **environment},
    )
    return json.loads(run.stdout.splitlines()[-1])


def limits(threads):
    """The environment of a process with so many threads."""
    found = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    found["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=" + ("false" if threads == 1 else "true")
    return found


def all_memory(sizes):
    """The peaks of training steps by ours and by PyTorch's built-in layers."""
    records = []
    for number in sizes:
        for kind in [k for k in KINDS if k != "peephole"]:
            found = {peer: in_a_process(f"memory({kind!r}, {peer!r}, {number})") for peer in MAKERS}
            a, b = [max(n, 1) / 1e6 for n in found.values()]
            say(
                f"{kind} steps at {SIZES[number]}: ours {a:.1f} MB at the peak, PyTorch {b:.1f} ({a / b:.2f})"
            )
            records += [
                {"size": SIZES[number], "kind": kind, "peer": p, "bytes": n} for p, n in found.items()
            ]
    return records


def all_first_calls():
    """First calls in processes that find nothing on the disk, and in ones that find all."""
    records = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            own = {"TINYGRAD_RNN_CACHE": folder, "NUMBA_CACHE_DIR": folder}
            found = {name: in_a_process(f"first_call({kind!r})", **own) for name in ("new", "from the disk")}
        say(
            f"first call of a compiled {kind}: "
            + ", ".join([f"{name} {a:.2f} s ({b:.2f} s of the processor)" for name, (a, b) in found.items()])
        )
        records += [
            {"kind": kind, "cache": name, "seconds": a, "processor_seconds": b}
            for name, (a, b) in found.items()
        ]
    return records


# ------------------------------------------------------------------------------------------------ reports


def say(text):
    print(text, file=sys.stderr, flush=True)


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
                say(
                    f"{threads} threads, {mine} / {peer}: geometric mean {mean:.2f}, "
                    f"largest {worst:.2f} ({kind} {size})"
                )


def plot(records, file):
    """Each library's time over ours, by size, for the largest number of threads."""
    from matplotlib.figure import Figure

    threads = max(r["threads"] for r in records)
    records = [r for r in records if r["threads"] == threads]
    sizes = list(dict.fromkeys(tuple(r["size"]) for r in records))
    figure = Figure(figsize=(9, 6), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for number, peer in enumerate(dict.fromkeys(r["peer"] for r in records)):
        for axes, kind in zip(grid.flat, KINDS, strict=True):
            by = {(r["peer"], tuple(r["size"])): r["seconds"] for r in records if r["kind"] == kind}
            points = [(k, by[peer, s] / by["ours", s]) for k, s in enumerate(sizes) if (peer, s) in by]
            axes.plot(
                *zip(*points, strict=True) if points else ([], []), "o-", color=f"C{number}", label=peer
            )
            axes.set(title=kind, yscale="log", xticks=range(len(sizes)), xticklabels=map(str, sizes))
            axes.tick_params(axis="x", labelrotation=20, labelsize=7)
            axes.grid(alpha=0.3)
    grid[0, 0].legend(fontsize=7)
    figure.supylabel(f"time of a training step / ours (threads: {threads})")
    figure.savefig(file, dpi=150)


def timed(arguments):
    """Training steps, with each number of threads in a process of its own."""
    records = []
    fast = f"{arguments.rounds}, {arguments.seconds}"
    for threads in arguments.threads:
        call = f"times({arguments.sizes}, {KINDS}, {fast})"
        records += in_a_process(call, **limits(threads))
    summary(records)
    if arguments.torch_compile is not None:
        call = f"times([{arguments.torch_compile}], ['LSTM', 'peephole'], {fast}, torch_compile=True)"
        records += [r for r in in_a_process(call) if r["peer"].endswith("torch.compile")]
    return records


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = lambda text: [int(n) for n in text.split(",")]  # noqa: E731
    parser.add_argument("folder", type=Path, help="where figures.json and figures.png go")
    parser.add_argument(
        "--parts", type=lambda text: text.split(","), default=["time", "memory", "steps", "first"]
    )
    parser.add_argument("--sizes", type=numbers, default=list(range(len(SIZES))), help="numbers, from 0 on")
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a burst of calls")
    parser.add_argument("--torch-compile", type=int, help="the number of a size")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - {"time", "memory", "steps", "first"}:
        parser.error(f"--parts has time, memory, steps and first, not {', '.join(sorted(unknown))}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    figures = {"machine": machine("numpy", "numba", "torch", "jax")}
    say(figures["machine"])
    parts = {
        "steps": lambda: in_a_process(f"single_steps({arguments.rounds})"),
        "first": all_first_calls,
        "memory": lambda: all_memory(arguments.sizes),
        "time": lambda: timed(arguments),
    }
    for name, part in parts.items():
        if name in arguments.parts:
            figures[name] = part()
    (arguments.folder / "figures.json").write_text(json.dumps(figures, indent=1))
    if "time" in figures:
        plot(figures["time"], arguments.folder / "figures.png")
    say(f"done in {(time.perf_counter() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
