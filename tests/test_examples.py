"""The examples in docstrings run by themselves, with the usual imports, and print what they say."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import convert, data, draw, nn, optim, tasks
from tinygrad_rnn.ops.registry import REGISTRY

NAMES = {
    "np": np, "tg": tg, "convert": convert, "data": data, "draw": draw, "nn": nn, "optim": optim,
    "tasks": tasks,
}  # fmt: skip


def _examples():
    """Of everything in the package, each once."""
    find = doctest.DocTestFinder(exclude_empty=True).find
    for found in pkgutil.walk_packages(tg.__path__, "tinygrad_rnn."):
        if not found.name.endswith("__main__"):
            yield from find(importlib.import_module(found.name), found.name, globs=NAMES)
    parser = doctest.DocTestParser()
    for operation in REGISTRY.values():  # no functions to doctest
        yield parser.get_doctest(operation.__doc__ or "", NAMES, f"tg.{operation.name}", None, None)


EXAMPLES = {example.name: example for example in _examples() if example.examples}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tg.ops.registry, "REGISTRY", dict(REGISTRY))  # what an example declares is forgotten
    said = []
    with np.errstate(all="ignore"):
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(EXAMPLES[name], out=said.append)
    assert not said, "".join(said)


def test_there_are_examples_where_they_help_most():
    assert {name.rpartition(".")[2] for name in EXAMPLES} >= {
        "grad", "vjp", "jvp", "jacobian", "hessian", "hvp", "per_example_grad", "checkpoint",
        "detect_anomaly", "gradcheck", "summary", "memory",
    }  # fmt: skip
