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
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))  # a tutorial may declare primitives
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
