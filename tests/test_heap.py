"""The memory of freed arrays stays with the process, unless the user wants otherwise."""

import os
import platform
import subprocess
import sys

import pytest

PAGES = 100 * 16384 * 4 // 4096
"""Of what a step holds at once."""

STEPS = """
import resource
import numpy as np
import tinygrad_rnn as tg

x = tg.tensor(np.random.default_rng(0).standard_normal(16384).astype(np.float32), requires_grad=True)


def step():
    y = x
    for _ in range(100):
        y = tg.tanh(y)
    y.backward(np.ones(y.shape, np.float32))


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


for _ in range(3):
    step()
before = faults()
for _ in range(10):
    step()
print((faults() - before) // 10)
"""


def faults_of_a_step(**environment: str) -> int:
    """Pages that the system hands out anew in a training step, in a process of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "LD_PRELOAD"))}
    run = subprocess.run(
        [sys.executable, "-c", STEPS],
        capture_output=True,
        text=True,
        check=True,
        env={**inherited, **environment},
    )
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is kept is a matter of glibc's heap")
def test_a_step_takes_up_the_memory_of_the_one_before() -> None:
    theirs = faults_of_a_step(MALLOC_TRIM_THRESHOLD_="131072")
    if theirs < PAGES // 2:
        pytest.skip("the system does not count pages, or hands them out in larger pieces")
    assert faults_of_a_step() < PAGES // 100
