import importlib.util
import shutil
import sys

import pytest

from tinygrad_rnn.draw import rendering
from tinygrad_rnn.draw.rendering import RenderError, lay_out, render

DOT = shutil.which("dot")
PYGRAPHVIZ = importlib.util.find_spec("pygraphviz")
BEGINNINGS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
SOURCE = 'digraph { a [label="한국어" pos="9,50"] b [pos="9,9"] a -> b }'

find_spec = importlib.util.find_spec


def without_dot(monkeypatch):
    monkeypatch.setattr(rendering.shutil, "which", lambda name: None)


def without_pygraphviz(monkeypatch):
    monkeypatch.setattr(
        rendering.importlib.util, "find_spec", lambda name: None if name == "pygraphviz" else find_spec(name)
    )


def program(tmp_path, monkeypatch, text):
    """A program that stands in for dot."""
    if sys.platform == "win32":
        pytest.skip("a script with a #! line is not a program on Windows")
    path = tmp_path / "dot"
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setattr(rendering.shutil, "which", lambda name: str(path) if name == "dot" else None)


@pytest.mark.skipif(DOT is None, reason="the dot program is not installed")
@pytest.mark.parametrize("kind", BEGINNINGS)
def test_the_dot_program_draws(kind, monkeypatch):
    without_pygraphviz(monkeypatch)
    assert render(SOURCE, kind).startswith(BEGINNINGS[kind])


@pytest.mark.skipif(PYGRAPHVIZ is None, reason="pygraphviz is not installed")
@pytest.mark.parametrize("kind", BEGINNINGS)
def test_pygraphviz_draws_without_the_program(kind, monkeypatch):
    without_dot(monkeypatch)
    assert render(SOURCE, kind).startswith(BEGINNINGS[kind])


@pytest.mark.skipif(PYGRAPHVIZ is None, reason="pygraphviz is not installed")
def test_pygraphviz_reads_utf_8(monkeypatch):
    without_dot(monkeypatch)
    assert "한국어" in render(SOURCE, "svg").decode()


def test_the_program_comes_first(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "import sys; sys.stdout.write(sys.argv[2] + sys.stdin.read())")
    assert render("digraph {}", "svg") == b"-Tsvgdigraph {}"


def boxes(found):
    """What a layout says of nodes, whichever way it was made."""
    return [[(thing["name"], thing["pos"]) for thing in graph["objects"]] for graph in found]


GRAPHS = ["digraph { a -> b }", "digraph { a -> b; a -> c }", "digraph { lonely }"]


@pytest.mark.skipif(DOT is None, reason="the dot program is not installed")
def test_graphs_are_laid_out_together(monkeypatch):
    without_pygraphviz(monkeypatch)
    assert [len(graph) for graph in boxes(lay_out(GRAPHS))] == [2, 3, 1]


@pytest.mark.skipif(PYGRAPHVIZ is None, reason="pygraphviz is not installed")
def test_graphs_are_laid_out_together_by_pygraphviz(monkeypatch):
    without_dot(monkeypatch)
    assert [len(graph) for graph in boxes(lay_out(GRAPHS))] == [2, 3, 1]


@pytest.mark.skipif(PYGRAPHVIZ is None, reason="pygraphviz is not installed")
def test_a_diagram_is_made_without_the_program(monkeypatch, tmp_path):
    from nets_to_draw import lstm

    from tinygrad_rnn import draw

    without_dot(monkeypatch)
    for suffix in ".svg", ".png", ".pdf":
        assert draw.graph(lstm(2)).save(tmp_path / f"x{suffix}").stat().st_size > 5_000


def test_without_graphviz_the_ways_to_install_it_are_named(monkeypatch):
    without_dot(monkeypatch)
    without_pygraphviz(monkeypatch)
    with pytest.raises(RenderError) as caught:
        render(SOURCE, "svg")
    for command in "apt-get install graphviz", "brew install graphviz", 'pip install "tinygrad_rnn[dot]"':
        assert command in str(caught.value)


def test_a_slow_layout_is_stopped(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "import time; time.sleep(30)")
    monkeypatch.setattr(rendering, "SECONDS", 0.3)
    with pytest.raises(RenderError, match=r"dot program was stopped after 0\.3 seconds"):
        render(SOURCE, "svg")


@pytest.mark.skipif(PYGRAPHVIZ is None, reason="pygraphviz is not installed")
def test_a_slow_layout_in_pygraphviz_is_stopped(monkeypatch):
    without_dot(monkeypatch)
    monkeypatch.setattr(rendering, "SECONDS", 0.001)
    with pytest.raises(RenderError, match=r"pygraphviz was stopped after 0\.001 seconds"):
        render(SOURCE, "svg")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import sys; sys.exit('no layout engine')", "the dot program failed: no layout engine"),
        ("import os; os._exit(3)", "the dot program failed: exit status 3"),
        ("", "the dot program failed: exit status 0"),
    ],
)
def test_a_broken_program_is_reported(tmp_path, monkeypatch, text, said):
    program(tmp_path, monkeypatch, text)
    without_pygraphviz(monkeypatch)
    with pytest.raises(RenderError) as caught:
        render(SOURCE, "svg")
    assert str(caught.value) == said


@pytest.mark.skipif(PYGRAPHVIZ is None, reason="pygraphviz is not installed")
def test_pygraphviz_steps_in_for_a_broken_program(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "raise SystemExit('broken')")
    assert render(SOURCE, "svg").startswith(b"<?xml")


def test_a_program_that_does_not_start(tmp_path, monkeypatch):
    monkeypatch.setattr(rendering.shutil, "which", lambda name: str(tmp_path / "gone"))
    without_pygraphviz(monkeypatch)
    with pytest.raises(RenderError, match="could not be started"):
        render(SOURCE, "svg")


def test_the_limit_is_twenty_seconds():
    assert rendering.SECONDS == 20
