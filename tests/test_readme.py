"""The README's code runs as it stands."""

import re
from pathlib import Path

import pytest

from tinygrad_rnn import draw

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:.* written instead of")  # where there is no Graphviz
def test_the_example_trains_and_compiles(tmp_path, tmp_path_factory, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path_factory.mktemp("kernels")))
    training, looking, compiling = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(compile(training, "README.md", "exec"), names)
    assert names["loss"].item() < 0.01
    assert "mean squared error" in capsys.readouterr().out
    assert list(tmp_path.iterdir())
    exec(compile(looking, "README.md", "exec"), names)
    assert {"tape.html", "flow.png", "influence.png", "gates.png", "hidden.png"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert "not kept" not in draw.graph(names["loss"], show="values").text()
    exec(compile(compiling, "README.md", "exec"), names)
    assert "sunk" in capsys.readouterr().out


def test_links_lead_somewhere():
    root = Path(__file__).parent.parent
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    assert not [t for t in targets if not t.startswith("http") and not (root / t).exists()]
