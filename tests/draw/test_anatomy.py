import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn

FIGURES = {
    "rnn": lambda: nn.RNNCell(3, 4, rng=0),
    "lstm": lambda: nn.LSTMCell(3, 4, rng=0),
    "peephole": lambda: nn.LSTMCell(3, 4, peephole="diagonal", rng=0),
    "gru": lambda: nn.GRUCell(3, 4, rng=0),
    "gru, reset before": lambda: nn.GRUCell(3, 4, reset_after=False, rng=0),
    "gru, reset before, no bias": lambda: nn.GRUCell(3, 4, reset_after=False, bias=False, rng=0),
}

SIGNS = {
    "sigmoid": "\N{GREEK SMALL LETTER SIGMA}",
    "add": "+",
    "multiply": "\N{MULTIPLICATION SIGN}",
    "subtract": "1\N{MINUS SIGN}",
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_operation_is_in_the_figure(name):
    diagram = draw.anatomy(FIGURES[name]())
    keys = {node.key for node in diagram.view.nodes}
    assert set(diagram.view.stands) == set(range(1, len(diagram.tape) + 1))
    assert all(set(found) <= keys for found in diagram.view.stands.values())
    for node in diagram.view.nodes:
        if node.entry:
            primitive = diagram.tape.entries[node.entry - 1].primitive.name
            sign = SIGNS.get(primitive, primitive)
            assert node.title == sign


@pytest.mark.parametrize("name", FIGURES)
def test_arrows_are_those_of_the_tape(name):
    """What an operation of the figure reads is what its entry reads, through branchings."""
    diagram = draw.anatomy(FIGURES[name]())
    view, tape = diagram.view, diagram.tape
    nodes = {node.key: node for node in view.nodes}
    into = {}
    for edge in view.edges:
        into.setdefault(edge.head, set()).add(edge.tail)

    def sources(key):
        found, stack = set(), list(into.get(key, ()))
        while stack:
            tail = stack.pop()
            if nodes[tail].kind == "point":
                stack += into[tail]
            elif nodes[tail].title != "0":  # what stands for no bias
                found.add(tail)
        return found

    standing = {n: set(keys) for n, keys in view.stands.items()}
    for node in view.nodes:
        if not node.entry or node.kind not in ("gate", "operation"):
            continue
        read = set()
        for place in tape.entries[node.entry - 1].parents:
            if place is None:
                continue
            if isinstance(place, tg.tape.Leaf):
                read |= {f"{tape.leaves[place]}.before"} & set(nodes)
                continue
            entry = place.entry if isinstance(place, tg.tape.Output) else place
            read |= standing[tape.numbers[entry]]
        drawn = sources(node.key)
        assert drawn <= read
        # Of the three pieces of an affine map that a GRU's figure has, an operation reads one.
        assert drawn or not read


@pytest.mark.parametrize("name", [name for name in FIGURES if name.startswith("gru")])
def test_each_gates_share_has_its_own_shape_and_reads_no_other(name):
    view = draw.anatomy(FIGURES[name]()).view
    kinds = {node.key: node.kind for node in view.nodes}
    shares = {node.key: node.detail for node in view.nodes if node.kind == "module"}
    assert shares == dict.fromkeys((f"{gate}.{of}" for gate in "zrn" for of in ("hh", "ih")), "(2, 4)")
    for share in shares:
        read = [edge.tail for edge in view.edges if edge.head == share]
        while kinds[read[0]] == "point":
            read = [edge.tail for edge in view.edges if edge.head == read[0]]
        of_h = "r*h" if name != "gru" and share == "n.hh" else "h.before"
        assert read == [of_h if share.endswith(".hh") else "x"]


def test_layers_and_variants():
    assert "tanh" in draw.anatomy(nn.LSTM(3, 4, rng=0)).text()
    assert "relu" in draw.anatomy(nn.RNN(3, 4, nonlinearity="relu", bias=False, rng=0)).text()
    replaced = draw.anatomy(nn.GRUCell(3, 4, update_gate="replace", rng=0)).view
    arrows = {(edge.tail, edge.head) for edge in replaced.edges}
    assert ("1-z", "old") in arrows
    assert ("1-z", "new") in {(e.tail, e.head) for e in draw.anatomy("gru").view.edges}


class Swapped(nn.LSTMCell):
    """An LSTM in which f and i have changed places in the new cell state."""

    def forward(self, x, state=None):
        h, c = self.initial_state(len(x)) if state is None else state
        i, f, g, o = tg.split(self._input_terms(x) + self._hidden_terms(h), 4, axis=-1)
        c = tg.sigmoid(i) * c + tg.sigmoid(f) * tg.tanh(g)
        h = tg.sigmoid(o) * tg.tanh(c)
        return h, (h, c)


class Extra(nn.LSTMCell):
    def forward(self, x, state=None):
        h, (h2, c) = super().forward(x, state)
        return h, (h2 * 1.0, c)


class OldC(nn.LSTMCell):
    """An LSTM whose output looks at the old cell state."""

    def forward(self, x, state=None):
        h, c = self.initial_state(len(x)) if state is None else state
        i, f, g, o = tg.split(self._input_terms(x) + self._hidden_terms(h), 4, axis=-1)
        new = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
        h = tg.sigmoid(o) * tg.tanh(c)
        return h, (h, new)


class OtherOutput(nn.LSTMCell):
    def forward(self, x, state=None):
        h, state = super().forward(x, state)
        return tg.relu(h), state


class TwoGates(nn.GRUCell):
    """A GRU in which one gate lets the new state in, and another keeps the old one."""

    def forward(self, x, h=None):
        r_x, z_x, n_x = tg.split(self._input_terms(x), 3, axis=-1)
        r_h, z_h, n_h = tg.split(self._hidden_terms(h), 3, axis=-1)
        r, z = tg.sigmoid(r_x + r_h), tg.sigmoid(z_x + z_h)
        h = (1 - r) * tg.tanh(n_x + r * n_h) + z * h
        return h, h


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (Swapped, r"Swapped is none .* 'lstm' the same operations are connected in another way"),
        (OldC, r"OldC is none .* 'lstm' the same operations are connected in another way"),
        (OtherOutput, r"OtherOutput is none .* 'lstm' it has activation besides"),
        (TwoGates, r"TwoGates is none .* 'gru' the same operations are connected in another way"),
        (Extra, r"Extra is none .* 'lstm' it has multiply besides"),
    ],
)
def test_a_cell_that_is_not_the_figures_is_refused_by_name(cell, message):
    with pytest.raises(ValueError, match=message):
        draw.anatomy(cell(3, 4, rng=0))


@pytest.mark.parametrize(
    "cell",
    [
        nn.LSTMCell(3, 4, coupled=True, rng=0),
        nn.LSTMCell(3, 4, layer_norm=True, rng=0),
        nn.LSTMCell(3, 4, proj_size=2, rng=0),
        nn.LSTMCell(3, 4, peephole="full", rng=0),
        nn.MGUCell(3, 4, rng=0),
    ],
    ids=str,
)
def test_variants_without_a_figure_are_refused(cell):
    with pytest.raises(ValueError, match=f"{type(cell).__name__} is none of the textbook's cells"):
        draw.anatomy(cell)


def test_the_wrong_figure_is_refused():
    with pytest.raises(ValueError, match="RNNCell is none of the textbook's cells: beside the figure 'gru'"):
        draw.anatomy(nn.RNNCell(3, 4, rng=0), figure="gru")
    with pytest.raises(ValueError, match="has the figures rnn, lstm, peephole, gru, got 'cnn'"):
        draw.anatomy("cnn")
    with pytest.raises(ValueError, match="has the figures"):
        draw.anatomy(nn.RNNCell(3, 4, rng=0), figure="cnn")


def test_what_is_no_cell_is_refused():
    for thing in nn.Linear(2, 2), 3, np.ones(2):
        with pytest.raises(TypeError, match="draws a cell with"):
            draw.anatomy(thing)


def test_nothing_of_the_cell_changes():
    cell = nn.LSTMCell(3, 4, rng=0)
    before = cell.state_dict()
    draw.anatomy(cell)
    assert all(p.grad is None for p in cell.parameters())
    np.testing.assert_equal(cell.state_dict(), before)
