"""How long ``import tinygrad_rnn`` takes beside ``import numpy``, in fresh interpreters taken in turn.

Both from compiled bytecode, as installed packages have it, also where the environment forbids writing any.

python benchmarks/import_time.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from common import machine

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str, bytecode: str) -> float:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = bytecode
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(module)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return float(done.stdout)


if __name__ == "__main__":
    print(machine("numpy"))
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(seconds("numpy", folder), seconds("tinygrad_rnn", folder)) for _ in range(21)][1:]
    numpy, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = ours / numpy
    print(f"import numpy {numpy * 1e3:.1f} ms, import tinygrad_rnn {ours * 1e3:.1f} ms: {ratio:.2f} times")
