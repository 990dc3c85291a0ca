"""What the benchmarks share: timing in turn, ratios, and the naming of machine and versions."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def machine(*packages: str) -> str:
    """One line on the processor, one on the versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    threads = os.environ.get("OMP_NUM_THREADS", "default")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (
        f"{model}, {os.cpu_count()} cores, OMP_NUM_THREADS={threads}\n"
        f"Python {platform.python_version()}, {versions}"
    )


def medians(
    functions: Mapping[str, Callable[[], object]], rounds: int, seconds: float = 0.2
) -> dict[str, float]:
    """Median seconds per call of each function, taken in turn.

    In each of ``rounds`` rounds every function runs in a burst of about ``seconds``, so that a drift in the
    machine's speed meets all alike; the result is the median over rounds of the bursts' medians.
    """
    bursts: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            gc.collect()
            function()
            times: list[float] = []
            end = time.perf_counter() + seconds
            while time.perf_counter() < end or len(times) < 3:
                start = time.perf_counter()
                function()
                times.append(time.perf_counter() - start)
            bursts[name].append(statistics.median(times))
    return {name: statistics.median(values) for name, values in bursts.items()}
