import itertools
import re
import shutil
from pathlib import Path

import pytest
from nets_to_draw import RECURRENT, leaf, steps, unused_outputs

import tinygrad_rnn as tg
from tinygrad_rnn import draw
from tinygrad_rnn.draw.dot import dot_source
from tinygrad_rnn.draw.rendering import RenderError, render
from tinygrad_rnn.draw.view import Cluster, Edge, Node, View


def can_render():
    try:
        render("digraph { a }", "plain")
    except RenderError:
        return False
    return True


needs_graphviz = pytest.mark.skipif(
    not can_render(), reason="neither the dot program nor pygraphviz is installed"
)


def positions(source):
    """Where Graphviz puts each node: x, y (upwards), width, height."""
    found = {}
    for line in render(source, "plain").decode().splitlines():
        if line.startswith("node "):
            name, *numbers = line.split()[1:6]
            found[name] = [float(n) for n in numbers]
    return found


@pytest.mark.parametrize(
    ("name", "net"), [("unused_outputs", unused_outputs), ("two_steps", lambda: steps(range(2)))]
)
def test_golden_text(name, net):
    golden = Path(__file__).with_name(f"{name}.dot")
    assert draw.graph(net()).source == golden.read_text(encoding="utf-8")


def test_golden_lines_of_two_steps():
    source = draw.graph(steps(range(2))).source
    lines = [line.strip() for line in source.splitlines() if "style=invis" not in line]
    frames = [line for line in lines if line.startswith(("subgraph", "graph [color"))]
    assert frames == [
        "subgraph cluster_1 {",
        'graph [color="#AAAAAA" fillcolor=white label=rnn labeljust=l style=rounded]',
        "subgraph cluster_2 {",
        'graph [color="#AAAAAA" fillcolor="#F4F4F4" label="t=0" labeljust=l style="rounded,filled"]',
        "subgraph cluster_3 {",
        'graph [color="#AAAAAA" fillcolor="#F4F4F4" label="t=1" labeljust=l style="rounded,filled"]',
    ]
    assert [re.sub(r" \[.*", "", line) for line in lines if " -> " in line] == [
        "e2_0 -> e2", "e1_c1 -> e2", "e2 -> e3", "e3_1 -> e3", "e3 -> e4",
        "e1_c2 -> e5", "e5 -> e6", "e6_1 -> e6", "e6 -> e7",
        "e4 -> _w0_bottom", "_w0_top -> _w0_bottom", "_w0_top -> e5",
    ]  # fmt: skip
    assert sum('style="filled,dashed"' in line for line in lines) == 2


def test_steps_come_in_time_order_however_they_were_run():
    source = draw.graph(steps([10, 2, 0, -1])).source
    assert re.findall(r'label="t=(-?\d+)"', source) == ["-1", "0", "2", "10"]


def test_one_wire_serves_all_readers_in_a_step():
    x = leaf("x", 2)
    with tg.scope("t=0", step=0):
        h = tg.tanh(x)
    with tg.scope("t=1", step=1):
        y = h * h
    parts = re.findall(r"(\w+ -> \w+) \[(?!.*style=invis)", draw.graph(y).source)
    assert [part for part in parts if "_w" in part] == [
        "e1 -> _w0_bottom", "_w0_top -> _w0_bottom", "_w0_top -> e2", "_w0_top -> e2",
    ]  # fmt: skip


def test_no_two_shapes_and_line_styles_alike():
    kinds = "operation", "parameter", "data", "number"
    nodes = [Node(f"n{k}", kind, "x") for k, kind in enumerate(kinds)]
    lines = [line for line in dot_source(View(nodes)).splitlines() if re.search(r"\bn\d", line)]
    shapes = [
        (re.search(r"shape=\w+", line) or [""])[0] + ("rounded" if k == 0 else "")
        for k, line in enumerate(lines)
    ]
    assert len(set(shapes)) == 4


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
    "",
]


@pytest.mark.parametrize("text", HARD)
def test_labels_are_escaped(text):
    view = View(
        [Node("a", "operation", text, "(2,)", text), Node("b", "data", text)], [Edge("a", "b", text, text)]
    )
    view.clusters.append(Cluster(text))
    view.nodes[1].cluster = 0
    source = dot_source(view)
    escaped = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    if text:
        assert f'"{escaped}\\n(2,)"' in source
    assert "label=<" not in source


@needs_graphviz
@pytest.mark.parametrize("text", HARD[:-1])
def test_labels_survive_graphviz(text):
    import xml.etree.ElementTree as ElementTree

    view = View([Node("a", "operation", text)], clusters=[])
    svg = ElementTree.fromstring(render(dot_source(view), "svg"))
    shown = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    # Graphviz writes spaces that nobody may break as no-break spaces.
    assert [line.replace("\xa0", " ") for line in shown] == text.split("\n")


@needs_graphviz
def test_characters_that_no_picture_can_hold_are_replaced():
    view = View([Node("a", "operation", "nul\0 bell\a half\ud800")])
    source = dot_source(view)
    assert "nul\ufffd bell\ufffd half\ufffd" in source
    assert render(source, "svg")


@needs_graphviz
@pytest.mark.parametrize("name", RECURRENT)
def test_steps_are_columns_in_time_order_and_nothing_runs_upwards(name):
    net, length = RECURRENT[name]
    diagram = draw.graph(net(length))
    at = positions(diagram.source)
    view, steps_of = diagram.view, diagram.view.steps()
    sides = {}
    for node in view.nodes:
        step = None if node.cluster is None else steps_of[node.cluster]
        if step is not None:
            x, _, width, _ = at[node.key]
            sides.setdefault(step, []).append((x - width / 2, x + width / 2))
    loops = {}
    for step in sides:
        loops.setdefault(view.clusters[step].parent, []).append(step)
    assert loops
    for columns in loops.values():
        columns.sort(key=lambda k: view.clusters[k].step)
        assert [view.clusters[k].step for k in columns] == list(range(length))
        for left, right in itertools.pairwise(columns):
            assert max(high for _, high in sides[left]) < min(low for low, _ in sides[right])
    steps_at = {n.key: None if n.cluster is None else steps_of[n.cluster] for n in view.nodes}
    for edge in view.edges:
        tail, head = steps_at[edge.tail], steps_at[edge.head]
        carried = (
            tail is not None and head is not None and view.clusters[tail].parent == view.clusters[head].parent
        )
        if tail == head or not carried:
            assert at[edge.tail][1] > at[edge.head][1]


@needs_graphviz
@pytest.mark.parametrize("name", [name for name in RECURRENT if not name.startswith("gru")])
def test_columns_have_the_same_rows(name):
    net, length = RECURRENT[name]
    diagram = draw.graph(net(length))
    at, steps_of = positions(diagram.source), diagram.view.steps()
    rows = {}
    for node in diagram.view.nodes:
        step = None if node.cluster is None else steps_of[node.cluster]
        if step is not None and node.kind == "operation":
            rows.setdefault(step, []).append(round(at[node.key][1], 1))
    loops = {}
    for step, heights in rows.items():
        loops.setdefault(diagram.view.clusters[step].parent, []).append(sorted(heights))
    for columns in loops.values():
        assert all(heights == columns[0] for heights in columns)


@needs_graphviz
def test_modules_with_loops_stand_below_each_other():
    net, length = RECURRENT["bidirectional-3"]
    diagram = draw.graph(net(length))
    at = positions(diagram.source)
    heights = {}
    for node in diagram.view.nodes:
        k = node.cluster
        while k is not None:
            if diagram.view.clusters[k].title.startswith("l"):
                heights.setdefault(diagram.view.clusters[k].title, []).append(at[node.key][1])
            k = diagram.view.clusters[k].parent
    names = ["l0", "l0_reverse", "l1", "l1_reverse"]
    for upper, lower in itertools.pairwise(names):
        assert min(heights[upper]) > max(heights[lower])


@needs_graphviz
def test_loops_within_steps_are_laid_out_too():
    h = leaf("x", 2)
    for t in range(3):
        with tg.scope(f"t={t}", step=t):
            for k in range(2):
                with tg.scope(f"k={k}", step=k):
                    h = tg.tanh(h)
    at = positions(draw.graph(h).source)
    assert [at[f"e{n}"][0] for n in range(1, 7)] == sorted(at[f"e{n}"][0] for n in range(1, 7))


@pytest.mark.skipif(shutil.which("dot") is None, reason="the dot program is not installed")
def test_graphviz_has_nothing_to_complain_about():
    import subprocess

    for net, length in RECURRENT.values():
        source = draw.graph(net(length)).source
        done = subprocess.run(["dot", "-Tplain"], input=source.encode(), capture_output=True, check=True)
        assert done.stderr == b""
