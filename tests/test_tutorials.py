"""Every tutorial runs to its end, in its own words and with its own checks."""

import runpy
from pathlib import Path

import pytest

from tinygrad_rnn.ops import registry

TUTORIALS = sorted((Path(__file__).parent.parent / "tutorials").glob("[0-9]*.py"))


def test_there_are_tutorials():
    assert TUTORIALS


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:.* written instead of")  # where there is no Graphviz
def test_tutorial_runs(path, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = (registry.REGISTRY, registry.NUMPY)
    before = [dict(table) for table in tables]
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        for table, entries in zip(tables, before, strict=True):  # a tutorial may declare primitives
            table.clear()
            table.update(entries)
    assert capsys.readouterr().out
