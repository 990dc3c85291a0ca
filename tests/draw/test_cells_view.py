import itertools

import numpy as np
import pytest
from measured import along
from nets_to_draw import gru, leaf, steps

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn
from tinygrad_rnn.draw.describing import SHOWN
from tinygrad_rnn.draw.layout import place

RNG = np.random.default_rng(0)


def data(batch=2, time=3, size=2):
    return RNG.standard_normal((batch, time, size)).astype(np.float32)


def cells(tensor, view="cells", **options):
    return draw.graph(tensor, view=view, **options).view


def rows(view):
    """Titles of cells, row by row from the bottom, each from left to right."""
    found = {}
    for node in view.nodes:
        if node.kind in ("cell", "gap"):
            found.setdefault(node.at[1], []).append((node.at[0], node.title))
    return [[title for _, title in sorted(found[row])] for row in sorted(found)]


def edges(view, kind):
    return {(e.tail, e.head, e.label) for e in view.edges if e.kind == kind}


def lstm(layers=1, bidirectional=False, time=3):
    layer = nn.LSTM(2, 4, layers, bidirectional=bidirectional, return_state=False, rng=0)
    return layer(data(time=time))


def test_one_box_per_step_with_states_between():
    view = cells(lstm())
    assert rows(view) == [["LSTM"] * 3]
    key = "lstm.l0.t00{}".format
    assert edges(view, "state") == {
        *((key(t), key(t + 1), f"{s}{'₀₁'[t]}") for t in range(2) for s in "hc"),
        *((f"{key(0)}.{s}.before", key(0), "") for s in "hc"),
    }
    inputs = {node.title for node in view.nodes if node.kind == "data"}
    assert inputs == {"x₀", "x₁", "x₂"}


def test_layers_are_rows_and_each_step_reads_its_own_step_below():
    view = cells(lstm(layers=3))
    assert rows(view) == [["LSTM"] * 3] * 3
    upwards = {(tail, head) for tail, head, _ in edges(view, "data")}
    for layer in range(2):
        for t in range(3):
            pair = f"lstm.l{layer}.t00{t}", f"lstm.l{layer + 1}.t00{t}"
            assert pair in upwards
    assert ("lstm.l0.t000", "lstm.l1.t001") not in upwards


def test_directions_are_lanes_whose_arrows_run_opposite_ways():
    view = cells(nn.Linear(8, 1, rng=0)(lstm(bidirectional=True)))
    at = {node.key: node.at for node in view.nodes}
    ways = {"lstm.l0": set(), "lstm.l0_reverse": set()}
    for tail, head, label in edges(view, "state"):
        if label:
            ways[tail.rpartition(".")[0]].add(np.sign(at[head][0] - at[tail][0]))
    assert ways == {"lstm.l0": {1}, "lstm.l0_reverse": {-1}}
    together = [node for node in view.nodes if node.title == "concatenate"]
    assert len(together) == 3
    for node in together:
        assert len([edge for edge in view.edges if edge.head == node.key]) == 2
    initial = {node.title for node in view.nodes if node.key.endswith(".before")}
    assert initial == {"h₋₁", "c₋₁", "h₃", "c₃"}


def test_an_encoder_hands_its_state_to_the_decoder_beside_it():
    encoder, decoder = nn.GRU(2, 4, rng=0), nn.GRU(2, 4, rng=0, return_state=False)
    with tg.scope("enc"):
        _, state = encoder(data(time=3))
    with tg.scope("dec"):
        y = decoder(data(time=2), state)
    view = cells(y)
    assert rows(view) == [["GRU"] * 5]
    states = edges(view, "state")
    assert ("enc.gru.l0.t002", "dec.gru.l0.t000", "h₂") in states
    # Its own inputs and states have other names.
    assert ("dec.gru.l0.t000", "dec.gru.l0.t001", "h\N{PRIME}₀") in states
    given = [node.title for node in view.nodes if node.kind == "data"]
    assert given == ["x₀", "x₁", "x₂", "x\N{PRIME}₀", "x\N{PRIME}₁"]
    ribbons = [n for n in cells(y, show="gradients").nodes if n.kind == "ribbon"]
    named = [(n.title.partition(" ")[0], n.key.rpartition(".")[0].rpartition(".")[0]) for n in ribbons]
    assert named == [
        (f"{of}:", f"{of}.gru.l0.t00{t}") for of, k in (("enc", 3), ("dec", 2)) for t in range(k)
    ]


@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_state_handed_over_does_not_cross_the_loop_of_a_rolled_cell(layer, layers):
    _, state = layer(2, 4, layers, rng=0)(data(time=3))
    y = layer(2, 4, layers, rng=0, return_state=False)(data(time=2), state)
    lines = [line for line in place(cells(y, "rolled")).lines if line.edge.kind == "state"]
    handed = [line for line in lines if line.edge.tail != line.edge.head]
    assert len(handed) == layers * (1 + (layer is nn.LSTM))
    assert len(lines) == 3 * len(handed)
    for line, other in itertools.combinations(lines, 2):
        gaps = along(line)[:, None] - along(other)[None]
        assert np.hypot(*np.moveaxis(gaps, -1, 0)).min() > 4, (line.edge, other.edge)


def test_a_decoder_reads_both_directions_and_begins_with_one_or_both():
    class Decoding(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.GRU(2, 4, bidirectional=True, merge="sum", rng=0)
            self.cell = nn.GRUCell(4, 4, rng=0)

        def forward(self, x, both):
            memory, states = self.encoder(x)
            h = memory[:, -1] if both else states[:, 0]
            for t in range(2):
                with tg.scope(f"t={t}", step=t):
                    _, h = self.cell(memory.mean(axis=1), h)
            return h

    for both in True, False:
        view = cells(Decoding()(data(time=3), both))
        read, state = edges(view, "data"), edges(view, "state")
        into = {tail for tail, head, _ in read if head == "decoding.t000"}
        assert {f"decoding.encoder.l0.add.t{t:03d}" for t in range(3)} <= into or not both
        handed = ("decoding.encoder.l0.t002", "decoding.t000", "h₂")
        assert (handed in state) == (not both)


def test_modules_are_bars_over_what_they_read():
    lstm_, head = nn.LSTM(2, 4, return_state=False, rng=0), nn.Linear(4, 1, rng=0)
    view = cells(head(lstm_(data(time=4))))
    (bar,) = [node for node in view.nodes if node.kind == "module"]
    assert (bar.title, bar.at[0], bar.span, bar.result) == ("linear", 1.5, 4, True)
    only_last = nn.LSTM(2, 4, return_state=False, return_sequences=False, rng=0)
    view = cells(head(only_last(data(time=4))))
    (bar,) = [node for node in view.nodes if node.kind == "module"]
    assert (bar.at[0], bar.span) == (3, 1)


def test_folded_cells():
    view = cells(lstm(time=50), fold=True)
    assert rows(view) == [["LSTM", "LSTM", "⋯", "LSTM", "LSTM"]]
    (gap,) = [node for node in view.nodes if node.kind == "gap"]
    assert gap.detail == "46 steps"
    state = edges(view, "state")
    assert ("lstm.l0.t001", gap.key, "c₁") in state
    assert (gap.key, "lstm.l0.t048", "c₄₇") in state


def test_rolled_cells_read_their_own_state():
    view = cells(lstm(layers=2, bidirectional=True, time=50), view="rolled")
    loops = {(e.tail, e.label) for e in view.edges if e.tail == e.head}
    assert loops == {
        (f"lstm.l{k}{suffix}.cell", f"{state}{index}")
        for k in range(2)
        for suffix, index in (("", "ₜ₋₁"), ("_reverse", "ₜ₊₁"))
        for state in "hc"
    }
    assert rows(view) == [["LSTM"]] * 4


def test_all_entries_are_in_a_box():
    for y in lstm(2, True), gru(3), steps(range(4)):
        view = cells(y)
        keys = {node.key for node in view.nodes}
        tape = tg.Tape(y)
        inside = [
            n
            for n, e in enumerate(tape.entries, 1)
            if e.scope and any(s.step is not None for s in e.scope.path())
        ]
        assert all(set(view.stands[n]) <= keys for n in inside)


def test_a_users_cell_is_called_by_its_class():
    class Leaky(nn.Module):
        input_size = output_size = 2

        def __init__(self):
            self.w = nn.Parameter(np.ones((2, 2)), np.float32)

        def initial_state(self, batch):
            return tg.tensor(np.zeros((batch, 2), np.float32))

        def forward(self, x, h):
            h = 0.9 * h + tg.tanh(x @ self.w)
            return h, h

    y, _ = nn.scan(Leaky(), tg.tensor(data()))
    assert rows(cells(y)) == [["Leaky"] * 3]
    assert {label for *_, label in edges(cells(y), "state")} == {"", "h₀", "h₁"}


def test_a_detached_state_is_drawn_as_a_cut():
    w, h = leaf("w", 2, 2), tg.tensor(np.ones((1, 2)))
    kept = []
    for t in range(4):
        with tg.scope(f"t={t}", step=t):
            h = tg.tanh((h.detach() if t == 2 else h) @ w)
        kept.append(h)
    view = draw.graph(*kept).view
    (cut,) = [edge for edge in view.edges if edge.kind == "cut"]
    assert (cut.tail, cut.head) == ("t001.tanh", "t002.h.before")
    assert "no gradient" in cut.tooltip


@pytest.mark.parametrize("view", ["cells", "rolled"])
def test_without_loops_there_is_one_box(view):
    made = cells(leaf("x", 2) * 2.0, view=view)
    assert [(node.kind, node.result) for node in made.nodes] == [("module", True)]


def test_states_of_sequences_that_begin_later_are_no_data():
    """Backwards, short sequences begin in a later step, where initial states join those of the others."""
    layer = nn.LSTM(3, 4, 2, bidirectional=True, rng=0)
    y, _ = layer(data(3, 5, 3), lengths=[5, 3, 1])
    view = draw.graph(y, view="cells").view
    given = {node.key for node in view.nodes if node.kind == "data"}
    readers = {edge.head.rpartition(".t")[0] for edge in view.edges if edge.tail in given}
    assert readers == {"lstm.l0", "lstm.l0_reverse"}


def test_long_loops_are_folded_unless_told_otherwise():
    y, _ = nn.GRU(3, 4, rng=0)(data(2, 50, 3))
    assert any(node.detail == "46 steps" for node in draw.graph(y, view="cells").view.nodes)
    whole = draw.graph(y, view="cells", fold=False).view
    assert sum(node.kind == "cell" for node in whole.nodes) == 50


def test_rows_are_as_high_as_their_boxes():
    y, _ = nn.LSTM(3, 4, rng=0)(data(2, 3, 3))
    drawing = place(draw.graph(y.sum(), view="cells", show=SHOWN).view)
    boxes = [s for s in drawing.shapes.values() if s.node.kind in ("cell", "module", "data")]
    for a, b in itertools.combinations(boxes, 2):
        aside = abs(a.x - b.x) >= (a.width + b.width) / 2
        assert aside or abs(a.y - b.y) > (a.height + b.height) / 2 + 5


def test_a_compiled_loop_is_said_to_be_one_operation():
    layer = tg.compile(nn.GRU(3, 4, rng=0), backend="numpy")
    x = data(2, 3, 3)
    for view in draw.VIEWS:
        diagram = draw.graph(layer(x)[0], view=view)
        assert any("a compiled loop over time is one operation" in note for note in diagram.view.notes)
        assert diagram.source == draw.graph(layer(x)[0], view=view).source
        assert " at 0x" not in diagram.source
    given = [n for n in draw.graph(layer(x)[0], view="ops").view.nodes if n.kind == "data"]
    assert [n.detail for n in given] == ["(2, 3, 3)", "(2, 4)"]
    with draw.keep_values():
        y, _ = layer(x)
    composed = draw.graph(y, view="cells").view
    assert sum(node.kind == "cell" for node in composed.nodes) == 3
    assert not composed.notes


def test_initial_states_are_no_data_where_no_two_steps_do_the_same():
    """Sequences of three lengths: the second and the third step each leave rows behind, the first none."""
    layer = nn.GRU(2, 3, 2, rng=0, return_state=False)
    y = layer(data(3, 3), lengths=[3, 2, 1])
    made = draw.graph(y, view="ops").view
    assert [n.title for n in made.nodes if n.kind == "state"] == ["h₋₁", "h₀", "h₁"] * 2
    made = draw.graph(y, view="cells").view
    assert {e.head.rpartition(".t")[0] for e in made.edges if ".x." in e.tail} == {"gru.l0"}


def test_an_lstm_that_joins_h_and_x_first():
    w = leaf("w", 5, 8)
    h = c = tg.tensor(np.zeros((1, 2)))
    for t in range(3):
        with tg.scope(f"t={t}", step=t):
            i, f, g, o = tg.split(tg.concatenate([h, np.ones((1, 3))], axis=1) @ w, 4, axis=1)
            c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
            h = tg.sigmoid(o) * tg.tanh(c)
    view = cells(h)
    assert {label for *_, label in edges(view, "state")} == {"", "h₀", "c₀", "h₁", "c₁"}
    assert [node.title for node in view.nodes if node.kind == "data"] == ["x₀", "x₁", "x₂"]


def test_three_states_are_numbered():
    w = leaf("w", 2, 2)
    a, b, c = (leaf(name, 1, 2) for name in "abc")
    for t in range(4):
        with tg.scope(f"t={t}", step=t):
            a, b, c = b @ w + a, tg.tanh(c @ w), a * b
    made = draw.graph(a, b, c, view="cells")
    assert {label for *_, label in edges(made.view, "state")} == {
        "",
        *(f"s{k}{t}" for k in (1, 2, 3) for t in "₀₁₂"),
    }
    assert ">s1<" in made.svg()
    assert "$s1_{0}$" in made.tikz()


def test_the_text_is_the_same_in_every_run_of_a_program():
    """What a box reads is in the order of the tape, not in that of addresses."""
    texts = {draw.graph(nn.Linear(8, 1, rng=0)(lstm(2, True)), view="cells").source for _ in range(6)}
    assert len(texts) == 1
