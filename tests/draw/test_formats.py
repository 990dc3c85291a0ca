"""The texts that are written: SVG, TikZ, Mermaid, and plain words."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
from nets_to_draw import leaf, lstm, needs_graphviz, plain, steps
from test_dot import HARD, hard_view

import tinygrad_rnn as tg
from tinygrad_rnn import draw
from tinygrad_rnn.draw.layout import place
from tinygrad_rnn.draw.looks import DARK, LIGHT, PAPER, THEMES
from tinygrad_rnn.draw.mermaid import mermaid
from tinygrad_rnn.draw.metrics import HEADING, text_width
from tinygrad_rnn.draw.rendering import render
from tinygrad_rnn.draw.svg import svg
from tinygrad_rnn.draw.text import plain_text
from tinygrad_rnn.draw.tikz import latex, tikz
from tinygrad_rnn.draw.view import Node, View

SVG = "{http://www.w3.org/2000/svg}"


def read(text):
    return ElementTree.fromstring(text)


@pytest.fixture(scope="module")
def folded():
    return draw.graph(steps(range(9)), view="cells", fold=True, title="Nine <steps>")


# ---- SVG


def test_svg_says_what_it_is(folded):
    root = read(folded.svg())
    assert root.get("role") == "img"
    top = f"{folded.drawing.top:.1f}"
    assert root.get("viewBox").split() == ["0", top, root.get("width")[:-2], root.get("height")[:-2]]
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title.text == "Nine <steps>"
    assert "4 cells" in desc.text
    assert root.get("aria-labelledby").split() == [title.get("id"), desc.get("id")]


@needs_graphviz
@pytest.mark.parametrize("view", ["cells", "ops"])
@pytest.mark.parametrize("title", ["Five", "Five <steps>\nof h₁", "wider-than-the-picture" * 30])
def test_a_title_stands_above_the_picture(view, title):
    bare = draw.graph(steps(range(5)), view=view)
    titled = draw.graph(steps(range(5)), view=view, title=title)
    for of_both, sign in ((svg, 'class="heading"'), (tikz, title.split("\n")[0][:4])):
        assert sign not in of_both(bare.drawing)
        assert sign in of_both(titled.drawing)
    root = read(titled.svg())
    (written,) = [group for group in root.iter(f"{SVG}g") if group.get("class") == "heading"]
    assert ["".join(text.itertext()) for text in written] == [
        line.replace("h₁", "h1") for line in title.split("\n")
    ]
    left, top, width, height = map(float, root.get("viewBox").split())
    for text, line in zip(written, title.split("\n"), strict=True):
        x, y, half = float(text.get("x")), float(text.get("y")), text_width(line, HEADING) / 2
        assert top < y - HEADING * 0.8
        assert y + 2 < 0 <= min(shape.y - shape.height / 2 for shape in titled.drawing.shapes.values())
        assert left < x - half
        assert x + half < left + width
    assert height >= titled.drawing.height - top
    # Graphviz writes it too, at its own place, and no frame inherits it.
    graphviz = read(render(titled.source, "svg"))
    shown = [(t.text or "").replace("\xa0", " ") for t in graphviz.iter(f"{SVG}text")]
    assert [shown.count(line) for line in title.split("\n")] == [1] * len(title.split("\n"))
    size, before = (render(d.source, "png")[16:24] for d in (titled, bare))
    assert int.from_bytes(size[4:], "big") > int.from_bytes(before[4:], "big")


@needs_graphviz
def test_ids_are_readable_unique_and_prefixed():
    diagram = draw.graph(lstm(2), prefix="fig1")
    ids = [thing.get("id") for thing in read(diagram.svg()).iter() if thing.get("id")]
    assert len(ids) == len(set(ids))
    assert all(name == "fig1" or name.startswith("fig1.") for name in ids)
    assert {"fig1.lstm.l0.t001.sigmoid", "fig1.lstm.l0.t001.h.before", "fig1.head.matmul"} <= set(ids)
    assert set(diagram.ids) == set(range(1, len(diagram.tape) + 1))
    assert set(diagram.ids.values()) <= set(ids)


def test_gates_are_part_of_ids():
    from tinygrad_rnn import nn

    layer = nn.LSTM(2, 3, rng=0, return_state=False)
    keys = {node.key for node in draw.graph(layer(tg.tensor([[[1.0, 2.0]] * 2]))).view.nodes}
    wanted = {f"lstm.l0.t001.{gate}" for gate in ("i.sigmoid", "f.sigmoid", "g.tanh", "o.sigmoid")}
    assert wanted <= keys


def test_gates_of_a_gru_reach_through_sums():
    from tinygrad_rnn import nn

    view = draw.graph(nn.GRU(2, 3, rng=0, return_state=False)(tg.tensor([[[1.0, 2.0]]]))).view
    titles = {node.title for node in view.nodes}
    assert {"r = sigmoid", "z = sigmoid", "n = tanh"} <= titles


@pytest.mark.parametrize("theme", THEMES)
def test_themes(folded, theme):
    text = svg(folded.drawing, "x", theme)
    style = read(text).find(f"{SVG}style").text
    assert ("prefers-color-scheme:dark" in style) == (theme == "auto")
    papers = {"auto": LIGHT, "light": LIGHT, "dark": DARK, "paper": PAPER}
    assert f".paper{{fill:{papers[theme].paper}}}" in style
    if theme == "paper":
        greys = set(re.findall(r"#([0-9a-f]{6})", style))
        assert all(colour[:2] == colour[2:4] == colour[4:] for colour in greys)


def contrast(one, other):
    """The contrast of two colours as the Web Content Accessibility Guidelines 2.1 define it."""

    def luminance(colour):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK, PAPER])
def test_text_and_outlines_can_be_seen(palette):
    for ink in (*palette.kinds.values(), *palette.frames.values(), palette.result):
        fill = palette.paper if ink.fill == "none" else ink.fill
        assert contrast(ink.text, fill) >= 4.5
        if ink.stroke != "none" and ink not in palette.frames.values():
            assert contrast(ink.stroke, palette.paper) >= 2.4
    for colour in palette.edges.values():
        assert contrast(colour, palette.paper) >= 2.9


def test_meaning_does_not_depend_on_colour(folded):
    """A cut, a shared and a padded thing are broken lines, and marks have signs, in black and white too."""
    nodes = [
        Node("a", "operation", "a", at=(0, 0), mark="added"),
        Node("b", "parameter", "b", at=(1, 0), shared=True),
    ]
    text = svg(place(View(nodes)), "x", "paper")
    assert ">+ a<" in text
    assert "stroke-dasharray" in text


@needs_graphviz
@pytest.mark.parametrize("text", HARD)
def test_labels_survive_svg(text):
    root = read(svg(place(hard_view(text)), "fig-1.a"))
    shown = ["".join(t.itertext()) for t in root.iter(f"{SVG}text")]
    for line in filter(None, text.split("\n")):
        assert any(line in words for words in shown), line


def test_letters_with_an_index_are_mathematics():
    view = View([Node("h", "text", "hₜ₋₁ and c₁₂ + x", at=(0, 0))])
    spans = list(read(svg(place(view))).iter(f"{SVG}tspan"))
    assert [s.text for s in spans] == [
        "h",
        "t\N{MINUS SIGN}1",
        " and ",
        "c",
        "12",
        " + x",
    ]
    shifts = [float(s.get("dy", 0)) for s in spans]
    assert sum(shifts) == pytest.approx(0)
    assert latex("hₜ₋₁ and c₁₂ + x") == "$h_{t-1}$ and $c_{12}$ + x"


# ---- TikZ


def compiled(tmp_path, *pictures):
    """The log of a real LaTeX run."""
    body = "\n\n".join(rf"\resizebox{{10cm}}{{!}}{{{picture}}}" for picture in pictures)
    document = (
        r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage[T1]{fontenc}"
        rf"\usepackage{{tikz}}\begin{{document}}{body}\end{{document}}"
    )
    (tmp_path / "x.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    log = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, log[-2000:]
    assert (tmp_path / "x.pdf").stat().st_size > 1000
    return log


def have_tikz():
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return False
    return subprocess.run(["kpsewhich", "tikz.sty"], capture_output=True).returncode == 0


@needs_graphviz
@pytest.mark.skipif(not have_tikz(), reason="pdfLaTeX with the package tikz is not installed")
def test_tikz_compiles(tmp_path):
    y = lstm(2)
    diagrams = [draw.graph(y), draw.graph(y, theme="paper", highlight="weight_hh"), draw.anatomy("peephole")]
    diagrams += [draw.graph(steps(range(9)), view=view, fold=True) for view in ("cells", "rolled", "tape")]
    diagrams.append(draw.graph(y, view="cells", show="gradients"))
    hard = [tikz(place(hard_view(text))) for text in HARD if text.isascii()]
    compiled(tmp_path, *(diagram.tikz() for diagram in diagrams), *hard)


def test_tikz_has_mathematics_and_its_own_colours(folded):
    text = folded.tikz()
    assert "$h_{0}$" in text
    used = set(re.findall(r"(?:draw|fill|text)=(rnn[A-Z])", text))
    assert used == set(re.findall(r"\\definecolor\{(rnn[A-Z])\}", text))
    assert text.count("{") == text.count("}")
    assert text.startswith("% Nine <steps>\n")


@needs_graphviz
def test_tikz_fades_what_is_not_on_the_way():
    diagram = draw.graph(lstm(2), highlight="weight_hh")
    marked = [*diagram.view.nodes, *diagram.view.edges]
    faded = sum(thing.mark == "faded" for thing in marked)
    numbers = sum(node.mark == "faded" and node.kind == "number" for node in diagram.view.nodes)
    # The outline and the text of a node, the line of an edge; a number has no outline.
    twice = sum(node.mark == "faded" for node in diagram.view.nodes)
    assert 0 < faded < len(marked)
    assert diagram.tikz().count(",opacity=.25") == faded + twice - numbers


@pytest.mark.parametrize("text", HARD)
def test_latex_is_escaped(text):
    made = latex(text)
    bare = re.sub(
        r"\\(textbackslash|textasciicircum|textasciitilde)\{\}|\\[{}$&#%_]|\\\\|\$[<>|]\$", "", made
    )
    assert not set("\\{}$&#%_^~") & set(bare)


# ---- Mermaid and words


def test_mermaid_of_folded_cells(folded):
    text = folded.mermaid()
    lines = text.splitlines()
    assert lines[:4] == ["---", 'title: "Nine #60;steps#62;"', "---", "flowchart LR"]
    names = dict(re.findall(r'(n\d+)[\[(]+"([^"<]*)', text))
    arrows = re.findall(r'(n\d+) (-->|==>)(?:\|"([^"]*)"\|)? (n\d+)', text)
    state = [(names[a], label, names[b]) for a, kind, label, b in arrows if kind == "==>"]
    assert ("rnn", "h₀", "rnn") in state
    assert ("rnn", "h₁", "⋯") in state
    assert ("⋯", "h₆", "rnn") in state


def test_mermaid_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match=r"at most 500 arrows, this diagram has .*fold=True"):
        draw.graph(lstm(40), view="ops").mermaid()


@pytest.mark.parametrize("text", HARD)
def test_labels_survive_mermaid(text):
    made = mermaid(hard_view(text))
    inside = re.findall(r'"([^"]*)"', made)
    assert made.count('"') == 2 * len(inside)
    shown = [re.sub(r"#(\d+);", lambda m: chr(int(m[1])), words.replace("<br/>", "\n")) for words in inside]
    assert sum((text or " ") in words for words in shown) >= (3 if text else 2)


def test_words(folded):
    words = folded.text()
    assert words.startswith("Nine <steps>\n")
    assert "h₁ of %" in words
    plainly = plain_text(draw.graph(plain()).view)
    assert "%2 add (3,)  <- %1 multiply, 2\n" in plainly
    assert plainly.rstrip().endswith("[result]")


def test_words_of_a_table_are_the_listing():
    y = steps(range(2))
    assert draw.graph(y, view="tape").text().splitlines()[1:] == [
        line + ("  [result]" if k == len(str(tg.Tape(y)).splitlines()) - 1 else "")
        for k, line in enumerate(str(tg.Tape(y)).splitlines())
    ]


def test_a_long_table_leaves_its_middle_out():
    y = leaf("x", 1)
    for _ in range(7_000):
        y = tg.tanh(y)
    diagram = draw.graph(y, view="tape")
    assert len(diagram.view.nodes) < 100
    assert "lines in the middle left out" in diagram.view.notes[0]
