"""Mutation testing of the engine: change one thing in a copy of the package, and see whether a test fails.

    python tests/mutation/run.py                          # everything: about an hour on two cores
    python tests/mutation/run.py ops/reduce.py tape.py    # these files
    python tests/mutation/run.py --log killed.txt         # again, after mending tests: only what survived

Prints every survivor that the README beside it does not explain, and a table: how many mutants were killed,
of all and of those not explained; exits with 1 if the latter are below 95 %. Needs the extra ``mutation``.

The mutants are Cosmic Ray's. They are run here and not by its ``exec``, which starts Python anew for each:
importing pytest, Hypothesis and PyTorch takes longer than most tests, and is done here once, before forking.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import functools
import gc
import hashlib
import importlib
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from mutants import PACKAGE, Mutant, mutants

LIMIT = 30  # seconds of processor time, twice what the tests of a file may take before it is changed, and
MEMORY = 16 * 2**30  # bytes of address space: a mutant that takes more is killed

VALUES, CONVENTIONS = "ops/test_values.py", "ops/test_conventions.py"
PROPERTIES = "ops/test_registry.py"
TENSORS = "test_tensors.py test_misuse.py"
WATCHED = "test_observing.py test_state.py"
TRANSFORMED = "test_autodiff.py test_anomaly.py test_machine.py test_checks.py"
REDUCED = "ops/test_reductions.py ops/test_rearrange.py"
CALLED = f"{CONVENTIONS} ops/test_linalg.py ops/test_products.py ops/test_elementwise.py"
WALKED = "test_tape.py test_backpropagation.py test_writes.py"
ENGINE = f"{WALKED} {TENSORS} {TRANSFORMED}"
TESTS = {
    "ops/activations.py": f"{VALUES} ops/test_elementwise.py {CONVENTIONS} {PROPERTIES}",
    "ops/arithmetic.py": f"{VALUES} ops/test_elementwise.py {CONVENTIONS} {PROPERTIES}",
    "ops/decompositions.py": f"{VALUES} ops/test_linalg.py {PROPERTIES}",
    "ops/determinants.py": f"{VALUES} ops/test_linalg.py {PROPERTIES}",
    "ops/einstein.py": f"{VALUES} ops/test_products.py {PROPERTIES}",
    "ops/elementwise.py": f"{VALUES} ops/test_elementwise.py {CONVENTIONS} test_misuse.py {PROPERTIES}",
    "ops/forms.py": "test_protocols.py test_misuse.py",
    "ops/index.py": f"{VALUES} {CONVENTIONS} {PROPERTIES}",
    "ops/linalg.py": f"{VALUES} ops/test_linalg.py {PROPERTIES}",
    "ops/logarithms.py": f"{VALUES} ops/test_elementwise.py {PROPERTIES}",
    "ops/norms.py": f"{VALUES} ops/test_reductions.py ops/test_linalg.py {PROPERTIES}",
    "ops/order.py": f"{VALUES} ops/test_order.py {CONVENTIONS} {PROPERTIES}",
    "ops/placing.py": f"{VALUES} ops/test_order.py {CONVENTIONS} test_misuse.py {PROPERTIES}",
    "ops/products.py": f"{VALUES} ops/test_products.py {CONVENTIONS} test_misuse.py {PROPERTIES}",
    "ops/rearrange.py": f"{VALUES} ops/test_rearrange.py test_misuse.py {PROPERTIES}",
    "ops/reduce.py": f"{VALUES} ops/test_reductions.py {CONVENTIONS} test_misuse.py {PROPERTIES}",
    "ops/registry.py": f"{ENGINE} {VALUES} {PROPERTIES}",
    "ops/operations.py": f"{ENGINE} {VALUES} test_columns.py {PROPERTIES}",
    "ops/messages.py": f"{TENSORS} ops/test_registry.py",
    "ops/running.py": f"{VALUES} ops/test_reductions.py {PROPERTIES}",
    "ops/shape.py": f"{VALUES} ops/test_rearrange.py {CONVENTIONS} {PROPERTIES}",
    "ops/special.py": f"{VALUES} ops/test_elementwise.py {PROPERTIES}",
    "ops/statistics.py": f"{VALUES} ops/test_reductions.py {PROPERTIES}",
    "ops/triangles.py": f"{VALUES} ops/test_rearrange.py {PROPERTIES}",
    "ops/trigonometry.py": f"{VALUES} ops/test_elementwise.py {PROPERTIES}",
    "autodiff.py": "test_autodiff.py test_misuse.py test_checks.py",
    "checkpointing.py": "test_checkpointing.py",
    "checks.py": "test_checks.py test_misuse.py",
    "tape.py": f"{ENGINE} test_lifetime.py",
    "backpropagation.py": f"{ENGINE} test_lifetime.py",
    "writes.py": f"{ENGINE} test_lifetime.py",
    "arrays.py": TENSORS,
    "methods.py": f"{TENSORS} test_elsewhere.py {VALUES} {CONVENTIONS}",
    "tensors.py": f"{TENSORS} {WATCHED} {VALUES} {CONVENTIONS} {WALKED} {TRANSFORMED}",
    "protocols.py": f"test_protocols.py {TENSORS} {VALUES} {REDUCED} {CALLED}",
}
"""What is mutated, and the test modules that are tried on it, quickest first: the first failure ends it."""

SLOW = "tests/test_tape.py::test_a_million_operations"
RANDOM = (
    "test_registry and (test_first_derivatives or test_second_derivatives or test_float32 or test_nothing)"
)
"""What takes longest of the tests that are made for every operation: not tried where all are concerned."""


class Survivor(NamedTuple):
    """The lines that differ."""

    file: str
    old: str
    new: str


def copied(folder: Path) -> None:
    """Copy the package and its tests, as they lie in the working tree, and compile them."""
    for name in ("tinygrad_rnn", "tests"):
        shutil.copytree(
            PACKAGE.parent / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "mutation")
        )
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PACKAGE.parent / name, folder)
    # By hash, not by date: a file that is changed twice in a second is compiled twice.
    compiling = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "."]
    subprocess.run(compiling, cwd=folder, check=True)


def ended(folder: Path, tests: list[str], concerned: str, limit: int = LIMIT) -> int:
    """How tests end in a copy: 0 if they pass. Of those that are made for every operation, some are run."""
    child = os.fork()
    if not child:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            # Plain asserts: that pytest rewrites them for its messages takes longer than most tests do.
            options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--deselect", SLOW]
            chosen = f"not (test_values or test_registry) or {concerned}" if concerned else f"not ({RANDOM})"
            good = {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
            # One after the other: most mutants fall to the first, and need not wait for the others' imports.
            code = int(
                not all(pytest.main([*options, "-k", chosen, f"tests/{name}"]) in good for name in tests)
            )
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def work(folder: Path, tasks: Any, results: Any) -> None:
    """One process: makes mutants in its own copy until there are no more."""
    quick = set()  # for which the tests, before anything is changed, are far from the limit
    while (mutant := tasks.get()) is not None:
        path = folder / "tinygrad_rnn" / mutant.file
        source = path.read_text(encoding="utf-8")
        changed = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
        path.write_text(changed, encoding="utf-8")
        tests = TESTS[mutant.file].split()
        try:
            code = ended(folder, tests, mutant.concerned)
        finally:
            path.write_text(source, encoding="utf-8")
        if code < 0 and (mutant.file, mutant.concerned) not in quick:
            if ended(folder, tests, mutant.concerned, LIMIT // 2) != 0:
                results.put((mutant, f"the tests of {mutant.file} take more than half of {LIMIT} s"))
            quick.add((mutant.file, mutant.concerned))
        results.put((mutant, None if code else survivor(mutant.file, source, changed)))


def survivor(file: str, source: str, changed: str) -> Survivor:
    difference = list(difflib.unified_diff(source.splitlines(), changed.splitlines(), n=0))[3:]
    old, new = (" ".join(line[1:].strip() for line in difference if line[0] == sign) for sign in "-+")
    return Survivor(file, old, new)


def explained() -> set[Survivor]:
    """The survivors for which `README.md` gives a reason: its `old` and `new` lines, by file."""
    known = set()
    file = old = ""
    for line in Path(__file__).with_name("README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            file = line[3:]
        elif line.startswith("- `"):
            old = line[3:-1]
        elif line.startswith("  `"):
            known.add(Survivor(file, old, line[3:-1]))
    return known


class Log:
    """Notes what was killed: more tests kill no less, so that holds while the file is the same."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        self.known = set(lines)

    def line(self, m: Mutant) -> str:
        return f"{digest(m.file)} {m.file} {m.operator} {m.occurrence}"

    def note(self, m: Mutant) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(self.line(m) + "\n")


@functools.cache
def digest(file: str) -> str:
    """Of the file as it was when the run began: it may be edited while its mutants are tried."""
    return hashlib.sha256((PACKAGE / file).read_bytes()).hexdigest()[:16]


def row(name: str, made: int, survived: int, explained: int) -> str:
    killed = made - survived
    share, of_rest = (100 * killed / max(n, 1) for n in (made, made - explained))
    return f"| {name:21} | {made:7} | {killed:6} | {explained:9} | {share:8.1f} | {of_rest:13.1f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutation testing of the engine.")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help=f"of {', '.join(TESTS)}; all if none is given"
    )
    parser.add_argument(
        "--sample", type=int, metavar="N", help="of each file at most N mutants, drawn at random"
    )
    parser.add_argument(
        "--log", type=Path, help="a file to note in what was killed, and not to try that again"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    options = parser.parse_args()
    files = list(dict.fromkeys(options.files)) or list(TESTS)
    if unknown := set(files) - set(TESTS):
        parser.error(f"no tests are named for {', '.join(sorted(unknown))}")
    made = {file: mutants(file) for file in files}
    if options.sample is not None:
        made = {file: random.Random(0).sample(ms, min(options.sample, len(ms))) for file, ms in made.items()}
    log, known = Log(options.log), explained()
    for s in sorted(known):
        if s.file in files and s.old not in (PACKAGE / s.file).read_text(encoding="utf-8"):
            print(f"no longer in {s.file}, but explained: {s.old}")
    survivors: dict[str, list[Survivor]] = {file: [] for file in files}
    todo = [m for ms in made.values() for m in ms if log.line(m) not in log.known]
    for mutant, found in tried(todo, options.jobs):
        if found is None:
            log.note(mutant)
            continue
        survivors[mutant.file].append(found)
        if found not in known:
            print(f"{mutant.file}\n- `{found.old}`\n  `{found.new}`", flush=True)
    print(f"\n| {'file':21} | mutants | killed | explained | % killed | % of the rest |")
    print("|---|---:|---:|---:|---:|---:|")
    explained_in = {file: sum(s in known for s in found) for file, found in survivors.items()}
    for file in files:
        print(row(file, len(made[file]), len(survivors[file]), explained_in[file]))
    number, lived = sum(map(len, made.values())), sum(map(len, survivors.values()))
    equivalent = sum(explained_in.values())
    print(row("all", number, lived, equivalent))
    return int(number - lived < 0.95 * (number - equivalent))


def tried(todo: list[Mutant], jobs: int) -> Iterator[tuple[Mutant, Survivor | None]]:
    """Run the tests on every mutant, in several processes."""
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"
    for library in ("hypothesis.extra.numpy", "hypothesis.stateful", "torch"):
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    gc.freeze()  # else each child's collector goes through all that has been imported
    processes = multiprocessing.get_context("fork")
    tasks, results = processes.Queue(), processes.Queue()
    with tempfile.TemporaryDirectory(prefix="mutation-") as base:
        folders = [Path(base) / str(k) for k in range(jobs)]
        for folder in folders:
            copied(folder)
        tests = sorted({name for m in todo for name in TESTS[m.file].split()})
        if ended(folders[0], tests, concerned="test", limit=600) != 0:  # which is in the names of all
            sys.exit(f"the tests fail before anything is changed: pytest tests/{' tests/'.join(tests)}")
        for task in [*todo, *[None] * jobs]:
            tasks.put(task)
        for folder in folders:
            processes.Process(target=work, args=(folder, tasks, results), daemon=True).start()
        for _ in todo:
            mutant, found = results.get()
            if isinstance(found, str):
                sys.exit(found)
            yield mutant, found


if __name__ == "__main__":
    sys.exit(main())
