import subprocess
import sys
import warnings

import pytest
from nets_to_draw import leaf, plain

import tinygrad_rnn as tg
from tinygrad_rnn import draw
from tinygrad_rnn.draw import diagram as module
from tinygrad_rnn.draw.rendering import RenderError


@pytest.fixture
def pictures(monkeypatch):
    """Stands in for Graphviz: a picture is its format and the DOT text."""
    monkeypatch.setattr(module, "render", lambda source, kind: f"{kind}:{source}".encode())


@pytest.fixture
def no_pictures(monkeypatch):
    def fail(source, kind):
        raise RenderError("no Graphviz here")

    monkeypatch.setattr(module, "render", fail)


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
@pytest.mark.usefixtures("pictures")
def test_the_suffix_says_what_is_written(tmp_path, kind):
    diagram = draw.graph(plain())
    for name in f"x.{kind}", f"y.{kind.upper()}":
        path = diagram.save(tmp_path / name)
        assert path == tmp_path / name
        assert path.read_bytes() == f"{kind}:{diagram.source}".encode()
    assert diagram.save(str(tmp_path / f"z.{kind}")) == tmp_path / f"z.{kind}"


@pytest.mark.usefixtures("no_pictures")
def test_dot_text_needs_no_graphviz(tmp_path):
    x = leaf("가중치", 2)
    diagram = draw.graph(x * 2.0)
    path = diagram.save(tmp_path / "x.dot")
    assert path.read_bytes() == diagram.source.encode("utf-8")


@pytest.mark.parametrize("name", ["x.gif", "x", "x.svg.txt", ".svg"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"\.svg, \.png, \.pdf or \.dot"):
        draw.graph(plain()).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("pictures")
def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*missing"):
        draw.graph(plain()).save(tmp_path / "missing" / "x.svg")


@pytest.mark.usefixtures("no_pictures")
def test_without_a_picture_the_dot_text_is_written_and_one_warning_given(tmp_path):
    diagram = draw.graph(plain())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = diagram.save(tmp_path / "x.svg")
    assert path == tmp_path / "x.dot"
    assert path.read_text(encoding="utf-8") == diagram.source
    assert [p.name for p in tmp_path.iterdir()] == ["x.dot"]
    assert len(caught) == 1
    assert "no Graphviz here" in str(caught[0].message)
    assert "x.dot written instead of" in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.usefixtures("pictures")
def test_a_notebook_shows_the_picture():
    diagram = draw.graph(plain())
    shown = diagram._repr_mimebundle_()
    assert shown["image/svg+xml"] == f"svg:{diagram.source}"
    assert shown["text/plain"] == repr(diagram) == "<Diagram: 11 nodes, 12 edges>"


@pytest.mark.usefixtures("no_pictures")
def test_a_notebook_without_graphviz_shows_the_reason_and_the_text():
    diagram = draw.graph(plain())
    shown = diagram._repr_mimebundle_(include=None, exclude=None)
    assert list(shown) == ["text/plain"]
    assert "no Graphviz here" in shown["text/plain"]
    assert diagram.source.rstrip() in shown["text/plain"]


@pytest.mark.usefixtures("no_pictures")
def test_a_notebook_shows_the_beginning_of_a_long_text():
    y = leaf("x", 2)
    for _ in range(500):
        y = tg.tanh(y)
    shown = draw.graph(y)._repr_mimebundle_()["text/plain"]
    assert "more lines" in shown
    assert len(shown.splitlines()) < 220


@pytest.mark.parametrize(
    "error", [OSError("disk"), MemoryError(), UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")]
)
def test_a_notebook_display_never_raises(monkeypatch, error):
    def fail(*args):
        raise error

    diagram = draw.graph(plain())
    monkeypatch.setattr(module, "render", fail)
    assert (str(error) or "MemoryError") in diagram._repr_mimebundle_()["text/plain"]
    monkeypatch.setattr(module, "dot_source", fail)
    broken = draw.graph(plain())
    assert "No DOT text" in broken._repr_mimebundle_()["text/plain"]


def test_importing_the_package_does_not_import_graphviz():
    program = "import sys, tinygrad_rnn; sys.exit('graphviz' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
