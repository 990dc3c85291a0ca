import warnings

import pytest
from nets_to_draw import leaf, needs_graphviz, plain, steps, unused_outputs

import tinygrad_rnn as tg
from tinygrad_rnn import draw
from tinygrad_rnn.draw import diagram as module
from tinygrad_rnn.draw import pieces
from tinygrad_rnn.draw.dot import dot_source
from tinygrad_rnn.draw.rendering import RenderError


@pytest.fixture
def pictures(monkeypatch):
    """Stands in for Graphviz's drawing: a picture is its format and the DOT text."""
    monkeypatch.setattr(module, "render", lambda source, kind: f"{kind}:{source}".encode())


@pytest.fixture
def no_pictures(monkeypatch):
    def fail(*args):
        raise RenderError("no Graphviz here; draw less with fold=True")

    monkeypatch.setattr(module, "render", fail)
    monkeypatch.setattr(pieces, "lay_out", fail)


@needs_graphviz
@pytest.mark.parametrize("kind", ["png", "pdf"])
@pytest.mark.usefixtures("pictures")
def test_graphviz_draws_pixels_and_pages(tmp_path, kind):
    diagram = draw.graph(plain(), theme="paper")
    for name in f"x.{kind}", f"y.{kind.upper()}":
        path = diagram.save(tmp_path / name)
        assert path == tmp_path / name
        source = dot_source(diagram.view, diagram.drawing, "paper", sized=True)
        assert path.read_bytes() == f"{kind}:{source}".encode()


@needs_graphviz
def test_the_suffix_says_what_is_written(tmp_path):
    diagram = draw.graph(plain())
    written = {
        ".svg": diagram.svg(), ".dot": diagram.source, ".tex": diagram.tikz(), ".mmd": diagram.mermaid(),
        ".txt": diagram.text(),
    }  # fmt: skip
    assert len(set(written.values())) == len(written)
    for suffix, text in written.items():
        for path in tmp_path / f"x{suffix}", str(tmp_path / f"y{suffix.upper()}"):
            assert diagram.save(path).read_text(encoding="utf-8") == text


@pytest.mark.usefixtures("no_pictures")
def test_dot_text_needs_no_graphviz(tmp_path):
    x = leaf("가중치", 2)
    diagram = draw.graph(x * 2.0)
    path = diagram.save(tmp_path / "x.dot")
    assert path.read_bytes() == diagram.source.encode("utf-8")


def test_a_layout_that_failed_is_not_tried_again(tmp_path, monkeypatch):
    """It may have taken all the seconds that Graphviz is given."""
    tried = []

    def fail(*args):
        tried.append(args)
        raise RenderError("the dot program was stopped")

    monkeypatch.setattr(pieces, "lay_out", fail)
    diagram = draw.graph(plain())
    for _ in range(2):
        with pytest.raises(RenderError, match="was stopped"):
            diagram.svg()
    diagram.save(tmp_path / "x.dot")
    assert len(tried) == 1


@pytest.mark.parametrize("name", ["x.gif", "x", "x.svg.bmp", ".svg"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"\.svg, \.png, \.pdf, \.dot, \.tex, \.mmd, \.txt"):
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
    assert "fold=" in str(caught[0].message)
    assert path == tmp_path / "x.dot"
    assert path.read_text(encoding="utf-8") == diagram.source
    assert [p.name for p in tmp_path.iterdir()] == ["x.dot"]
    assert len(caught) == 1
    assert "no Graphviz here" in str(caught[0].message)
    assert "x.dot written instead of" in str(caught[0].message)
    assert caught[0].filename == __file__


@needs_graphviz
def test_a_notebook_shows_the_picture():
    diagram = draw.graph(plain())
    shown = diagram._repr_mimebundle_()
    assert shown["image/svg+xml"] == diagram.svg()
    assert shown["text/plain"] == repr(diagram) == "<Diagram: 11 nodes, 12 edges>"


@pytest.mark.usefixtures("no_pictures")
def test_a_notebook_without_graphviz_shows_the_reason_and_the_tape():
    y = plain()
    shown = draw.graph(y)._repr_mimebundle_(include=None, exclude=None)
    assert list(shown) == ["text/plain"]
    assert "no Graphviz here" in shown["text/plain"]
    assert str(tg.Tape(y)) in shown["text/plain"]


@pytest.mark.usefixtures("no_pictures")
def test_views_with_a_grid_need_no_graphviz(tmp_path):
    y = steps(range(3))
    for view in "cells", "rolled", "tape":
        diagram = draw.graph(y, view=view)
        assert "image/svg+xml" in diagram._repr_mimebundle_()
        for suffix in ".svg", ".tex", ".txt", ".dot":
            assert diagram.save(tmp_path / f"x{suffix}").suffix == suffix
        assert "pos=" in diagram.source


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
    monkeypatch.setattr(module, "place", fail)
    assert (str(error) or "MemoryError") in diagram._repr_mimebundle_()["text/plain"]
    monkeypatch.setattr(tg.Tape, "__str__", fail)
    assert "No text" in draw.graph(plain())._repr_mimebundle_()["text/plain"]


def test_ids_have_a_prefix_of_their_own():
    one, other = draw.graph(plain()), draw.graph(unused_outputs())
    assert one.prefix != other.prefix
    assert one.prefix == draw.graph(plain()).prefix
    assert draw.graph(plain(), prefix="fig1").ids[1] == "fig1.multiply"


def test_an_unknown_theme_is_refused():
    with pytest.raises(ValueError, match="theme is one of auto, light, dark, paper"):
        draw.graph(plain(), theme="solarized")


@pytest.mark.parametrize("prefix", ["", "1", "a b", 'x"', "<", "a{}"])
def test_a_prefix_that_cannot_begin_an_id_is_refused(prefix):
    with pytest.raises(ValueError, match="prefix begins ids"):
        draw.graph(plain(), prefix=prefix)
