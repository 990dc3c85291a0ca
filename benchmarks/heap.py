"""What keeping the memory of freed arrays is worth: training steps with it and without, and the memory held.

Each time in a process of its own, in turn; "without" is the package with `tinygrad_rnn.heap` left out.

    python benchmarks/heap.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
from common import machine

SIZES = [(16, 32, 16, 32), (32, 64, 64, 128), (64, 100, 128, 256)]
SECONDS = 1.5


def elementwise(tg, size):
    x = tg.tensor(np.random.default_rng(0).standard_normal(size).astype(np.float32), requires_grad=True)
    seed = np.ones(size, np.float32)

    def step():
        y = x
        for _ in range(200):
            y = tg.tanh(y)
        y.backward(seed)

    return step


def lstm(tg, B, T, I, H, compiled=False):
    rng = np.random.default_rng(0)
    layer = tg.nn.LSTM(I, H, batch_first=True, rng=rng)
    layer = tg.compile(layer) if compiled else layer
    x = rng.standard_normal((B, T, I)).astype(np.float32)

    def step():
        layer.zero_grad()
        outputs = layer(x)[0]
        (outputs * outputs).sum().backward()

    return step


CASES = {"200 tanh of 16,384 elements": lambda tg: elementwise(tg, 16_384)}
CASES |= {f"LSTM {size}": lambda tg, size=size: lstm(tg, *size) for size in SIZES}
CASES |= {f"LSTM {size}, compiled": lambda tg, size=size: lstm(tg, *size, compiled=True) for size in SIZES}


def child(case, kept):
    """Median seconds of a step, and the process's memory at its peak, in bytes."""
    if not kept:
        sys.modules["tinygrad_rnn.heap"] = types.ModuleType("heap")
        sys.modules["tinygrad_rnn.heap"].keep_freed_memory = lambda: None
    import tinygrad_rnn as tg

    step = CASES[case](tg)
    for _ in range(3):
        step()
    times = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_a_process(case, kept):
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import heap, json; "
    code += f"print(json.dumps(heap.child({case!r}, {kept})))"
    return json.loads(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout)


def main(rounds):
    print("milliseconds per step, and megabytes of the process at its peak")
    for case in CASES:
        runs = {True: [], False: []}
        for _ in range(rounds):
            for kept, found in runs.items():
                found.append(in_a_process(case, kept))
        # The fastest of the processes: on a shared machine whole processes run at half of the speed.
        (a, m), (b, n) = [map(min, zip(*found, strict=True)) for found in runs.values()]
        print(
            f"{case:35} kept {1e3 * a:8.2f}, {m / 1e6:4.0f} MB   not {1e3 * b:8.2f}, {n / 1e6:4.0f} MB"
            f"   ({a / b:.2f} of the time, {m / n:.2f} of the memory)"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind, in turn")
    arguments = parser.parse_args()
    print(machine("numpy"))
    main(arguments.rounds)
