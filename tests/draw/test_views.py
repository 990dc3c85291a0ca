"""What can be asked of `draw.graph`, and random programs."""

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_to_draw import loss
from nets_to_draw import bidirectional, gru, leaf, lstm, needs_graphviz, plain, steps

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn
from tinygrad_rnn.draw.dot import dot_source
from tinygrad_rnn.draw.selection import Selection
from tinygrad_rnn.draw.unrolled import Unrolled

RNG = np.random.default_rng(0)


def shown(view):
    """The time steps that are drawn."""
    return [c.step for c in view.clusters if c.kind == "step"]


def gaps(view):
    return [node.detail for node in view.nodes if node.kind == "gap"]


# ---- folding


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [0, 1, 48, 49]),
        ({"view": "folded"}, [0, 1, 48, 49]),
        ({"fold": 3}, [0, 1, 2, 47, 48, 49]),
        ({"fold": (1, 2)}, [0, 48, 49]),
        ({"steps": (0, 20, 21)}, [0, 20, 21]),
        ({"steps": range(48, 60)}, [48, 49]),
        ({"view": "ops"}, list(range(50))),
        ({"fold": False}, list(range(50))),
    ],
)
def test_steps_that_are_drawn(options, wanted):
    view = draw.graph(steps(range(50)), **options).view
    assert shown(view) == wanted
    left = sum(int(detail.split()[0]) for detail in gaps(view))
    assert left + len(wanted) == 50


def test_six_steps_are_not_folded_and_seven_are():
    assert shown(draw.graph(steps(range(6))).view) == [0, 1, 2, 3, 4, 5]
    assert shown(draw.graph(steps(range(7))).view) == [0, 1, 5, 6]


def test_a_gap_of_one_step_is_not_worth_it():
    assert shown(draw.graph(steps(range(5)), fold=True).view) == [0, 1, 2, 3, 4]


def test_states_pass_through_gaps():
    view = draw.graph(lstm(50)).view
    states = [(e.tail, e.head) for e in view.edges if e.kind == "state"]
    gap = "lstm.l0.t002-t047.gap"
    assert sum(head == gap for _, head in states) == 2
    assert sorted(head for tail, head in states if tail == gap) == [
        "lstm.l0.t048.c.before", "lstm.l0.t048.h.before",
    ]  # fmt: skip
    titles = {node.key: node.title for node in view.nodes}
    assert titles["lstm.l0.t048.c.before"] == "c₄₇"
    assert titles["lstm.l0.t048.h.before"] == "h₄₇"


@pytest.mark.parametrize("fold", [0, (0, 1), -1])
def test_folding_leaves_both_ends(fold):
    with pytest.raises(ValueError, match="at least one step at either end"):
        draw.graph(steps(range(9)), fold=fold)


def test_a_budget_folds_and_says_so():
    diagram = draw.graph(steps(range(9)), view="ops", budget=20)
    assert shown(diagram.view) == [0, 1, 7, 8]
    assert "more than the budget of 20" in diagram.view.notes[0]
    assert "more than the budget" in repr(diagram)
    assert (
        "more than the budget"
        in draw.graph(steps(range(9)), view="cells", budget=5).svg().split("</desc>")[1]
    )
    closed = draw.graph(gru(4), view="ops", budget=20)
    assert "modules closed at depth 2" in closed.view.notes[0]
    y = leaf("x", 1)
    for _ in range(50):
        y = tg.tanh(y)
    assert "as a table" in draw.graph(y, budget=20).view.notes[0]
    assert not draw.graph(y, budget=None).view.notes


# ---- modules


def test_depth_closes_modules():
    layer, head = nn.LSTM(2, 3, 2, return_state=False, rng=0), nn.Linear(3, 1, rng=0)
    y = nn.Sequential(layer, head)(tg.tensor(np.ones((1, 2, 2), np.float32)))
    view = draw.graph(y, depth=1).view
    assert [(n.kind, n.title, n.detail) for n in view.nodes] == [
        ("module", "lstm0", "LSTM"), ("module", "linear1", "Linear"),
    ]  # fmt: skip
    assert [(e.tail, e.head) for e in view.edges] == [("sequential.lstm0", "sequential.linear1")]
    assert [c.title for c in draw.graph(y, depth=2).view.clusters] == ["sequential", "lstm0", "linear1"]


@pytest.mark.parametrize("group", ["l0", ["rnn/l0"], ("rnn.l0", "l0_reverse")])
def test_modules_are_grouped_by_name_or_path(group):
    view = draw.graph(bidirectional(3, layers=1), group=group).view
    boxes = [node.title for node in view.nodes if node.kind == "module"]
    assert boxes == (["l0", "l0_reverse"] if len(group) == 2 and isinstance(group, tuple) else ["l0"])


def test_an_unknown_group_is_refused():
    with pytest.raises(
        ValueError, match=r"group='l7' names no module of this tape; it has l0, l0_reverse, rnn, rnn\.l0"
    ):
        draw.graph(bidirectional(2, layers=1), group="l7")


# ---- what is shown


def test_everything_that_can_be_shown():
    x = leaf("x", 2, 3)
    y = tg.tanh(x * 2.0).sum()
    told = {node.key: node.detail for node in draw.graph(y, show=draw_shown()).view.nodes}
    values = np.tanh(2 * x.numpy())
    assert told["tanh"].splitlines()[:3] == ["(2, 3)", "float64", f"{values.min():.3g} … {values.max():.3g}"]
    assert told["tanh"].splitlines()[3] == f"|grad| {np.sqrt(6):.3g}"
    assert told["tanh"].splitlines()[4].endswith(" B")
    assert told["x"].splitlines()[3] == f"|grad| {np.linalg.norm(2 * (1 - values**2)):.3g}"


def draw_shown():
    return ["shapes", "dtypes", "values", "gradients", "memory"]


def test_values_come_from_what_was_kept():
    with draw.keep_values() as kept:
        y = (leaf("x", 2) + leaf("y", 2)).sum()
    y.backward()
    bare = {node.key: node.detail for node in draw.graph(y, show="values").view.nodes}
    assert bare["add"] == "value: not kept"
    told = {node.key: node.detail for node in draw.graph(y, show="values", kept=kept).view.nodes}
    assert told["add"] == "-2 … 2"


def test_showing_gradients_changes_none():
    y = lstm(2)
    leaves = tg.Tape(y).leaves
    draw.graph(y, show="gradients")
    assert all(leaf.grad is None for leaf in leaves)
    y.backward()


def test_leaves_show_the_gradient_of_this_loss():
    w = tg.tensor(RNG.standard_normal(3), requires_grad=True)
    w.name = "w"
    (w * w).sum().backward()
    first = w.grad.numpy().copy()
    y = (w * 3.0).sum() * 1000.0

    def told():
        view = draw.graph(y, show="gradients").view
        return {node.key: node.detail for node in view.nodes if node.detail}, view.notes

    norm = f"|grad| {3000 * np.sqrt(3):.3g}"
    assert told() == (
        {
            "w": norm,
            "multiply": f"|grad| {1000 * np.sqrt(3):.3g}",
            "sum": "|grad| 1e+03",
            "multiply.3": "|grad| 1",
        },
        [],
    )
    np.testing.assert_array_equal(w.grad.numpy(), first)
    y.backward()
    after, (note,) = told()
    total = np.linalg.norm(first + 3000)
    assert after == {"w": f"|.grad| {total:.3g}"} | dict.fromkeys(
        ("multiply", "sum", "multiply.3"), "grad: not computed"
    )
    assert "backward() has released the gradients" in note


def test_unknown_things_to_show_are_refused():
    with pytest.raises(ValueError, match="show takes any of shapes, dtypes, values, gradients, memory"):
        draw.graph(plain(), show="colours")
    with pytest.raises(ValueError, match="has the views ops, folded, cells, rolled, tape, got '3d'"):
        draw.graph(plain(), view="3d")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": [99]}, ValueError, "none of these is on the tape, which has steps 0 to 2"),
        ({"steps": "a"}, ValueError, "none of these is on the tape"),
        ({"depth": -1}, ValueError, "depth must not be negative, got -1"),
        ({"fold": "x"}, TypeError, "fold is True, False, a number of steps or a pair"),
        ({"fold": (1, 2, 3)}, TypeError, "fold is True, False, a number of steps or a pair"),
        ({"fold": 0}, ValueError, "fold leaves at least one step"),
    ],
)
def test_wrong_selections_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        draw.graph(lstm(3), view="cells", **options)


@pytest.mark.parametrize("view", ["ops", "cells"])
def test_the_flow_of_gradients(view):
    y = lstm(4)
    made = draw.graph(y, view=view, show="gradients").view
    flows = {(f.state, int(t)): norm for f in draw.flow(y) for t, norm in zip(f.steps, f.norms, strict=True)}
    ribbons = {
        node.title.replace("|", "").removeprefix("∂L/∂"): node for node in made.nodes if node.kind == "ribbon"
    }
    subscript = "₀₁₂₃"
    assert len(ribbons) == 8
    weights = {e.entry: e.weight for e in made.edges if e.kind == "state" and e.entry}
    assert len(weights) == 6
    for (state, t), norm in flows.items():
        assert f"{state}{subscript[t]} {norm:.2g}" in ribbons
    tape = tg.Tape(y)
    norms = draw_norms(tape)
    ordered = sorted(weights, key=lambda number: norms[tape.entries[number - 1]])
    assert [weights[n] for n in ordered] == sorted(weights.values())


def scaled(factor):
    """Weights of the state arrows and levels of the ribbons where each step multiplies by a factor."""
    h = tg.tensor(RNG.standard_normal(2), requires_grad=True)
    for t in range(5):
        with tg.scope(f"t={t}", step=t):
            h = h * factor
    made = draw.graph(h, view="cells", show="gradients").view
    states = [edge.weight for edge in made.edges if edge.kind == "state" and edge.entry]
    return states, [node.level for node in made.nodes if node.kind == "ribbon"]


def test_close_gradients_look_alike_and_vanishing_ones_do_not():
    weights, levels = scaled(0.7)
    np.testing.assert_allclose(np.diff(weights), 2.2 * np.log10(1 / 0.7) / 4, rtol=1e-9)
    assert levels[-3:] == [4, 4, 4]
    weights, levels = scaled(1e-3)
    np.testing.assert_allclose(weights, 0.6 + 2.2 * np.array([0, 1, 2, 3]) / 4, rtol=1e-9)
    assert levels == [0, 1, 2, 3, 4]


def test_a_rolled_cell_tells_the_range_of_its_gradients():
    y = loss("lstm", 4)
    made = draw.graph(y, view="rolled", show="gradients").view
    for f in draw.flow(y):
        (ribbon,) = [n for n in made.nodes if n.kind == "ribbon" and f"{f.state}ₜ|" in n.title]
        assert ribbon.title.endswith(f"| {f.norms.min():.2g} … {f.norms.max():.2g}")


def draw_norms(tape):
    from tinygrad_rnn.draw.describing import gradient_norms

    return gradient_norms(tape)


# ---- marks


def test_routes_are_highlighted():
    a, b = leaf("a", 2), leaf("b", 2)
    y = (tg.tanh(a) * b).sum()
    for what in a, "a", ["a"]:
        view = draw.graph(y, highlight=what).view
        marks = {node.key: node.mark for node in view.nodes}
        assert marks == {"a": "highlighted", "tanh": "highlighted", "multiply": "highlighted",
                         "sum": "highlighted", "b": "faded"}  # fmt: skip
        assert {(e.tail, e.head) for e in view.edges if e.mark == "highlighted"} == {
            ("a", "tanh"), ("tanh", "multiply"), ("multiply", "sum"),
        }  # fmt: skip
    with pytest.raises(ValueError, match="'c' is no leaf of this tape; its leaves are a, b"):
        draw.graph(y, highlight="c")


@pytest.mark.parametrize("view", ["ops", "folded", "cells", "rolled", "tape"])
def test_routes_in_every_view(view):
    made = draw.graph(lstm(9), view=view, highlight="weight_hh").view
    assert {"highlighted"} <= {node.mark for node in made.nodes}
    assert all(node.mark == "highlighted" for node in made.nodes if node.result)


def test_errors_are_levels():
    y = plain()
    tape = tg.Tape(y)
    errors = dict(zip(tape.entries, [0.0, 1e-14, 1e-9, 1e-6, 1e-3, 1.0, float("nan")], strict=True))
    view = draw.graph(y, errors=errors).view
    assert [n.level for n in view.nodes if n.kind == "operation"] == [0, 0, 1, 2, 3, 4, None]
    assert "error 1.0e-06" in next(n.detail for n in view.nodes if n.entry == 4)


def test_what_changed():
    def program(activation, size):
        w = leaf("w", size, 2)
        with tg.scope("net"):
            return activation((w * 2.0) @ np.ones((2, 1))).sum()

    same = draw.diff(program(tg.tanh, 3), program(tg.tanh, 3))
    assert same.view.notes == ["nothing changed"]
    assert not any(node.mark for node in same.view.nodes)
    changed = draw.diff(program(tg.tanh, 3), program(tg.relu, 4)).view
    marks = {node.title: node.mark for node in changed.nodes}
    assert (marks["tanh"], marks["relu"], marks["sum"]) == ("removed", "added", "")
    assert next(n.detail for n in changed.nodes if n.title == "w") == "(3, 2) → (4, 2)"
    assert {(e.tail, e.head, e.mark) for e in changed.edges if e.mark} == {
        ("net.matmul", "net.relu", "added"), ("net.relu", "net.sum", "added"),
        ("net.matmul", "net.tanh", "removed"), ("net.tanh", "net.sum", "removed"),
    }  # fmt: skip
    text = draw.diff(program(tg.tanh, 3), program(tg.relu, 4)).text()
    assert "+ net.relu" in text
    assert "- net.tanh" in text


def test_diagrams_are_compared_too():
    one, other = (draw.graph(steps(range(n)), view="cells") for n in (3, 4))
    view = draw.diff(one, other).view
    assert [node.key for node in view.nodes if node.mark == "added"] == ["rnn.t003", "rnn.x.t003"]
    assert not any(node.mark == "removed" for node in view.nodes)


# ---- one step and none


@pytest.mark.parametrize(
    "options", [{}, {"learn_initial_state": True}, {"num_layers": 2, "bidirectional": True}]
)
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("layer", "names"), [(nn.RNN, "h"), (nn.GRU, "h"), (nn.LSTM, "ch")])
def test_one_step_has_initial_states_as_the_first_of_several(layer, names, size, options):
    net = layer(size, 3, rng=0, return_state=False, **options)

    def drawn(length, view):
        y = net(np.ones((2, length, size), np.float32)).sum()
        before = draw.graph(y, view=view).source
        y.backward()
        assert draw.graph(y, view=view).source == before
        made = draw.graph(y, view=view).view
        states = {
            node.key: node.title for node in made.nodes if ".t000." in node.key and ".before" in node.key
        }
        return states, {(edge.tail, edge.head) for edge in made.edges if edge.tail in states}

    lanes = net.num_layers * (1 + net.bidirectional)
    for view in "ops", "cells":
        (one, readers), (_, of_two) = drawn(1, view), drawn(2, view)
        assert sorted(one.values()) == sorted([f"{name}₋₁" for name in names] * lanes)
        if view == "cells":  # backwards, the first step of two is another one
            readers, of_two = (
                {edge for edge in both if "_reverse" not in edge[0]} for both in (readers, of_two)
            )
        assert readers == of_two


def test_a_single_step_of_a_gru_that_takes_its_weight_apart():
    net = nn.GRU(3, 3, rng=0, reset_after=False, return_state=False)
    readers = [
        {edge.head for edge in draw.graph(y, view="ops").view.edges if edge.tail == "gru.l0.t000.h.before"}
        for y in (net(np.ones((2, length, 3), np.float32)).sum() for length in (1, 2))
    ]
    assert readers[0] == readers[1]
    assert len(readers[0]) == 4  # two gates, r * h and z * h


def test_what_only_looks_like_a_state_in_a_single_step_is_none():
    """Zoneout adds a part of the old h and c, each a constant like c itself."""
    net = nn.LSTM(2, 3, rng=0, zoneout=0.1, return_state=False).eval()
    view = draw.graph(net(np.ones((2, 1, 2), np.float32)).sum(), view="ops").view
    assert [node.title for node in view.nodes if node.kind == "state"] == ["h₋₁"]


@pytest.mark.parametrize("view", draw.VIEWS)
def test_an_empty_sequence_is_named(view):
    net, head = nn.LSTM(2, 3, rng=0, return_state=False), nn.Linear(3, 1, rng=0)
    nothing = net(np.ones((2, 0, 2), np.float32))
    with pytest.raises(
        ValueError, match=r"shape \(2, 0, 3\) off the tape: it is empty, as of a sequence without"
    ):
        draw.graph(nothing, view=view)
    with pytest.raises(ValueError, match=r"shape \(\) off the tape: .* or of a sequence without time steps"):
        draw.graph(nothing.sum(), view=view)
    made = draw.graph(head(nothing).sum(), view=view)
    assert made.view.notes == ["empty, as of a sequence without time steps: linear (2, 0, 1)"]
    assert made.text()
    assert not draw.graph(head(net(np.ones((2, 1, 2), np.float32))), view=view).view.notes


# ---- random programs


MOVES = st.lists(
    st.tuples(
        st.integers(0, 9), st.integers(-3, 4), st.integers(0, 99), st.integers(0, 99), st.integers(0, 5)
    ),
    min_size=1,
    max_size=25,
)


def program(moves):
    """A program: operations on earlier results, in nested scopes and steps; what is left of it last."""
    pool = [leaf("a", 2, 2), leaf("b", 2, 2)]
    operations = [
        lambda x, y: x + y,
        lambda x, y: x * 2.0,
        lambda x, y: tg.tanh(x),
        lambda x, y: np.ones((2, 2)) @ y + x[:1],
        lambda x, y: x.detach() + y,
    ]
    with contextlib.ExitStack() as everything:
        scopes = []
        for move, step, i, j, kind in moves:
            if move == 0 and len(scopes) < 4:
                scopes.append(contextlib.ExitStack())
                everything.callback(scopes[-1].close)
                scopes[-1].enter_context(tg.scope("m") if step < -2 else tg.scope(f"t={step}", step=step))
            elif move == 1 and scopes:
                scopes.pop().close()
            x, y = pool[i % len(pool)], pool[j % len(pool)]
            if kind == 5:
                pool += tg.split(x, 2, axis=0) if x.shape[0] == 2 else []
            else:
                with contextlib.suppress(ValueError):
                    pool.append(operations[kind](x, y))
    return [t for t in pool[-3:] if t.place is not None]


@needs_graphviz
@settings(deadline=None, max_examples=60)
@given(MOVES, st.sampled_from([None, True]), st.sampled_from([None, 1, 2]))
def test_random_programs_are_drawn(moves, fold, depth):
    results = program(moves)
    for view in "ops", "cells", "rolled", "tape":
        diagram = draw.graph(*results, view=view, fold=fold, depth=depth, show=("shapes", "gradients"))
        keys = [node.key for node in diagram.view.nodes]
        assert len(keys) == len(set(keys))
        assert {edge.tail for edge in diagram.view.edges} | {e.head for e in diagram.view.edges} <= set(keys)
        assert set(itertools.chain(*diagram.view.stands.values())) <= set(keys)
        if view != "ops" or len(keys) < 60:
            assert diagram.svg().count("<title>") >= 0
        assert diagram.tikz()
        assert diagram.text()
        assert dot_source(diagram.view)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@settings(deadline=None, max_examples=8)
@given(
    layers=st.integers(1, 3),
    both=st.booleans(),
    time=st.integers(1, 9),
    batch=st.integers(1, 3),
    data=st.data(),
)
def test_random_networks_are_drawn(kind, layers, both, time, batch, data):
    lengths = data.draw(st.one_of(st.none(), st.lists(st.integers(1, time), min_size=batch, max_size=batch)))
    layer = getattr(nn, kind)(2, 3, layers, bidirectional=both, rng=0)
    x = np.ones((batch, time, 2), np.float32)
    y, state = layer(x, lengths=lengths)
    for view in "cells", "rolled":
        made = draw.graph(y, *(state if isinstance(state, tuple) else [state]), view=view, fold=False)
        lanes = layers * (1 + both)
        cells = [node for node in made.view.nodes if node.kind == "cell"]
        assert len(cells) == lanes * (1 if view == "rolled" else max(lengths or [time]))
        assert made.svg()
    unrolled = Unrolled(tg.Tape(y))
    assert Selection(unrolled).size("ops") > 0
