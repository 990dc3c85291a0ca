import io
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from models_to_draw import loss
from nets_to_draw import RECURRENT, leaf, needs_graphviz, plain, steps, unused_outputs

import tinygrad_rnn as tg
from tinygrad_rnn import draw
from tinygrad_rnn.draw.dot import dot_source
from tinygrad_rnn.draw.layout import MARGIN, place
from tinygrad_rnn.draw.metrics import DETAIL, TITLE, lines, node_size, text_width
from tinygrad_rnn.draw.rendering import render
from tinygrad_rnn.draw.view import Cluster, Edge, Node, View

GOLDEN = {
    "unused_outputs": (unused_outputs, {}),
    "two_steps": (lambda: steps(range(2)), {}),
    "two_cells": (lambda: steps(range(2)), {"view": "cells"}),
    "expression_on_paper": (plain, {"theme": "paper"}),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_text(name):
    """Without places where Graphviz finds them, as its versions differ; with them where they are ours."""
    net, options = GOLDEN[name]
    diagram = draw.graph(net(), **options)
    placed = diagram.drawing if diagram.view.on_grid else None
    golden = Path(__file__).with_name(f"{name}.dot")
    assert dot_source(diagram.view, placed, diagram.theme) == golden.read_text(encoding="utf-8")


def test_steps_come_in_time_order_however_they_were_run():
    source = dot_source(draw.graph(steps([10, 2, 0, -1])).view)
    assert re.findall(r'label="t=(-?\d+)"', source) == ["-1", "0", "2", "10"]


def test_no_two_shapes_and_line_styles_alike():
    kinds = "operation", "parameter", "data", "number", "state"
    nodes = [Node(f"n{k}", kind, "x") for k, kind in enumerate(kinds)]
    lines = [line for line in dot_source(View(nodes)).splitlines() if re.search(r'^"n\d', line)]
    shapes = [re.sub(r'.* (shape="\w*" style="[^"]*").*', r"\1", line) for line in lines]
    # A state is told from an operation by its roundness, which Graphviz does not have, and by its arrows.
    assert len(set(shapes[:4])) == 4


HARD = [
    "a<b>c",
    "<b>bold</b>",
    "{x|y}",
    'say "hi"',
    "back\\slash\\",
    "two\nlines",
    "한국어 가중치",
    "&lt; &amp; &",
    "\\N\\l",
    "'; -->",
    "#35; #quot; 100 %",
    "",
]


def hard_view(text):
    """A view in which everything is called by a text."""
    nodes = [Node("a", "operation", text, "(2,)", text), Node("b", "data", text, tooltip=text)]
    view = View(nodes, [Edge("a", "b", text, text)], [Cluster("frame", text)], title=text)
    view.nodes[1].cluster = 0
    return view


@pytest.mark.parametrize("text", HARD)
def test_labels_are_escaped(text):
    source = dot_source(hard_view(text))
    escaped = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    assert f'label="{escaped}\\n(2,)"' in source
    assert "label=<" not in source


@needs_graphviz
@pytest.mark.parametrize("text", HARD[:-1])
def test_labels_survive_graphviz(text):
    view = hard_view(text)
    svg = ElementTree.fromstring(render(dot_source(view, place(view)), "svg"))
    shown = [t.text.replace("\xa0", " ") for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    # The frame's title, the label, and both nodes; Graphviz writes spaces that nobody may break as such.
    assert sorted(shown) == sorted(text.split("\n") * 4 + ["(2,)"])


@needs_graphviz
@pytest.mark.parametrize("text", HARD)
def test_lines_have_their_own_sizes_in_pictures(text):
    view = hard_view(text)
    made = render(dot_source(view, place(view), sized=True), "svg")
    written = list(ElementTree.fromstring(made).iter("{http://www.w3.org/2000/svg}text"))
    sizes = {(t.text or "").replace("\xa0", " "): float(t.get("font-size")) for t in written[-3:]}
    assert sizes["(2,)"] == (DETAIL if "\\" not in text else TITLE)
    assert all(sizes.get(line, TITLE) == TITLE for line in text.split("\n"))
    shown = sorted(t.text.replace("\xa0", " ") for t in written if t.text.strip("\xa0 "))
    assert shown == sorted([*filter(None, text.split("\n") * 4), "(2,)"])


@needs_graphviz
@pytest.mark.parametrize("kind", ["parameter", "operation"])
@pytest.mark.parametrize("details", [["(5,)"], ["(5,)", "(5,)"], ["(5,)", "(5,)", "(5,)"]])
@pytest.mark.parametrize("above", range(3))
def test_lines_do_not_run_into_each_other(kind, details, above):
    """Whatever pixels they come to lie on: underscores, which are the deepest, and brackets, the highest."""
    nodes = [
        Node("above", "operation", "x", "\n".join("x" * above)),
        Node("a", kind, "____", "\n".join(details)),
    ]
    view = View(nodes, [Edge("above", "a")])
    drawing = place(view)
    picture = imread(io.BytesIO(render(dot_source(view, drawing, "paper", sized=True), "png")))
    # Graphviz leaves out the margins, and has its own of 4 points.
    shape, scale, shift = drawing.shapes["a"], 96 / 72, 4 - MARGIN
    half = text_width("(5,)", DETAIL) / 2
    left, right = ((shape.x + shift + side * half) * scale for side in (-1, 1))
    top, low = ((shape.y + shift + side * (shape.height / 2 - 3)) * scale for side in (-1, 1))
    dark = picture[int(top) : int(low), int(left) : int(right), :3].max(axis=2) < 0.6
    written = dark.any(axis=1).astype(int)
    assert (np.diff(written, prepend=0) == 1).sum() == 1 + len(details)


@pytest.mark.parametrize(
    "details", [[], ["(5,)"], ["(16, 4)", "grad: not computed"], ["(2,)", "float64", "x" * 40]]
)
@pytest.mark.parametrize("title", ["b", "weight_hh_l0_reverse"])
def test_what_is_written_in_an_ellipse_ends_within_it(title, details):
    node = Node("a", "parameter", title, "\n".join(details))
    width, height = node_size(node)
    top = -sum(size * 1.2 for _, size in lines(node)) / 2
    for text, size in lines(node):
        for y in top + 0.2 * size, top + 1.15 * size:
            assert (text_width(text, size) / width) ** 2 + (2 * y / height) ** 2 < 1
        top += 1.2 * size


@needs_graphviz
@pytest.mark.parametrize("name", ["gru", "attention"])
@pytest.mark.parametrize("view", ["ops", "cells"])
def test_arrows_do_not_turn_back_at_their_heads(name, view):
    """Graphviz leaves out a piece of a curve that does."""
    for course in re.findall(r' pos="e,([^"]*)"', draw.graph(loss(name, 2), view=view).source):
        head, *points = (tuple(map(float, point.split(","))) for point in course.split())
        (ax, ay), (bx, by) = points[-2:]
        assert (bx - ax) * (head[0] - bx) + (by - ay) * (head[1] - by) >= -1e-6, course


@needs_graphviz
def test_what_is_not_on_the_way_is_faded():
    source = draw.graph(loss("rnn"), highlight="weight_hh_l0").source
    nodes = {m[1]: m[2] for m in re.finditer(r'^"([^"]+)" \[(.*)\]$', source, re.M)}
    for text in nodes["headed.head.bias"], nodes["headed.rnn.l0.t000.weight_ih_l0"]:
        assert set(map(len, re.findall(r'color="(#\w+)"', text))) == {9}
    for text in nodes["headed.rnn.l0.t000.weight_hh_l0"], nodes["mean"]:
        assert set(map(len, re.findall(r'color="(#\w+)"', text))) == {7}
    assert re.search(r'"headed.head.bias" -> .* color="#\w{8}"', source.replace("[color", " color"))


@needs_graphviz
def test_characters_that_no_picture_can_hold_are_replaced():
    view = View([Node("a", "operation", "nul\0 bell\a half\ud800")])
    source = dot_source(view, place(view))
    assert "nul\ufffd bell\ufffd half\ufffd" in source
    assert render(source, "png")


@pytest.mark.skipif(shutil.which("dot") is None, reason="the dot program is not installed")
def test_graphviz_has_nothing_to_complain_about():
    diagrams = [draw.graph(net(length)) for net, length in list(RECURRENT.values())[::3]]
    diagrams += [draw.graph(steps(range(9)), view=view) for view in ("folded", "cells", "rolled", "tape")]
    h = leaf("x", 2)
    for t in range(3):
        with tg.scope(f"t={t}", step=t):
            h = tg.tanh(h)
    diagrams.append(draw.graph(h, show=("shapes", "gradients")))
    for diagram in diagrams:
        placed = []
        for command in ["dot", "-Tplain"], ["dot", "-Kneato", "-n2", "-Tplain"]:
            done = subprocess.run(command, input=diagram.source.encode(), capture_output=True, check=True)
            assert done.stderr == b""
            placed.append(done.stdout)
        assert placed[0] == placed[1]  # whichever program is asked, the places are ours
        done = subprocess.run(
            ["dot", "-Tplain"], input=dot_source(diagram.view).encode(), capture_output=True
        )
        assert (done.returncode, done.stderr) == (0, b"")
