import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nets_to_draw import bidirectional, gru, leaf, lstm, plain, steps, unused_outputs

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn
from tinygrad_rnn.draw.dot import dot_source

NETS = {f.__name__: f for f in (plain, unused_outputs, lstm, bidirectional, gru)}


def drawn(tensor):
    return draw.graph(tensor).view


def titles(view, kind):
    return [node.title for node in view.nodes if node.kind == kind]


def framed(view):
    """For each node its title and the titles of the frames around it, from the outermost."""
    found = []
    for node in view.nodes:
        path, k = [], node.cluster
        while k is not None:
            path.append(view.clusters[k].title)
            k = view.clusters[k].parent
        found.append((node.title, "/".join(reversed(path))))
    return found


def test_operations_constants_and_parameters_of_an_expression():
    view = drawn(plain())
    assert titles(view, "operation") == ["multiply", "add", "tanh", "multiply", "add", "divide", "sum"]
    assert titles(view, "number") == ["2", "1"]
    assert titles(view, "parameter") == ["a", "b"]
    assert not view.clusters
    assert [node.title for node in view.nodes if node.result] == ["sum"]
    assert not any(node.shared for node in view.nodes)
    ends = [(edge.tail, edge.head) for edge in view.edges]
    assert ends == [
        ("a", "multiply"), ("b", "multiply"), ("multiply", "add"), ("add.2", "add"), ("add", "tanh"),
        ("a", "multiply.2"), ("a", "multiply.2"), ("add.3.1", "add.3"), ("multiply.2", "add.3"),
        ("tanh", "divide"), ("add.3", "divide"), ("divide", "sum"),
    ]  # fmt: skip


def test_outputs_are_told_apart_and_unused_ones_counted():
    view = drawn(unused_outputs())
    split = next(node for node in view.nodes if node.title == "split")
    assert split.detail == "4 \N{MULTIPLICATION SIGN} (2, 2), 2 used"
    assert [edge.label for edge in view.edges if edge.tail == split.key] == ["0", "2"]


def test_a_result_that_is_one_of_several_outputs():
    view = drawn(tg.split(leaf("x", 4), [1])[1])
    assert [(n.title, n.detail, n.result) for n in view.nodes] == [
        ("x", "(4,)", False),
        ("split", "(1,), (3,), 1 used", True),
    ]


def test_a_leaf_alone():
    view = drawn(leaf("x", 2))
    assert [(n.title, n.kind, n.result) for n in view.nodes] == [("x", "parameter", True)]
    assert not view.edges


def test_several_results():
    x = leaf("x", 2)
    view = draw.graph(x * 2.0, x * 3.0, x).view
    assert [n.title for n in view.nodes if n.result] == ["x", "multiply", "multiply"]


def test_leaves_without_a_name_and_data_are_drawn_by_shape():
    view = drawn(tg.tensor(np.ones((2, 3)), requires_grad=True) @ np.ones((3, 4)))
    assert [(n.title, n.detail) for n in view.nodes] == [
        ("leaf0", "(2, 3)"), ("data", "(3, 4)"), ("matmul", "(2, 4)"),
    ]  # fmt: skip


def test_numbers_are_short():
    x = leaf("x", 2)
    view = drawn(x * (1 / 3) + np.float64(1e-12) + 7)
    assert titles(view, "number") == ["0.3333", "1e-12", "7"]


def test_the_index_is_part_of_the_title():
    assert titles(drawn(leaf("x", 4, 3)[1:, 2]), "operation") == ["getitem[(1:, 2)]"]


def test_modules_and_steps_are_frames():
    view = drawn(lstm(2))
    assert [(c.title, c.parent, c.step) for c in view.clusters] == [
        ("lstm", None, None), ("l0", 0, None), ("t=0", 1, 0), ("t=1", 1, 1),
        ("head", None, None), ("mse", None, None),
    ]  # fmt: skip
    where = framed(view)
    assert where.count(("split", "lstm/l0/t=0")) == where.count(("split", "lstm/l0/t=1")) == 1
    assert ("stack", "lstm/l0") in where
    assert ("weight", "head") in where
    assert ("mean", "mse") in where


def test_parameters_are_drawn_in_each_step_and_marked_shared():
    view = drawn(lstm(3))
    copies = [n for n in view.nodes if n.title == "weight_hh"]
    assert [view.clusters[n.cluster].title for n in copies] == ["t=0", "t=1", "t=2"]
    assert all(n.shared for n in copies)
    assert not any(n.shared for n in view.nodes if n.title == "weight")
    assert "drawn in 3 places" in copies[0].tooltip


def test_a_parameter_used_inside_a_module_of_a_step_stands_inside_it():
    view = drawn(gru(2, layers=1))
    assert ("weight_hh_l0", "gru/l0/t=1/cell") in framed(view)


def test_a_parameter_of_two_modules_stands_in_the_frame_around_both():
    w = leaf("w", 2, 2)
    with tg.scope("net"):
        with tg.scope("encoder"):
            h = w * 2.0
        with tg.scope("decoder"):
            y = h @ w
    assert ("w", "net") in framed(drawn(y))


def test_a_weight_turned_once_before_the_loop_is_drawn_in_each_step():
    view = drawn(steps(range(3)))
    assert titles(view, "parameter") == ["Wᵀ"] * 3
    assert "transpose" not in titles(view, "operation")
    assert framed(view).count(("Wᵀ", "rnn/t=2")) == 1


def test_a_weight_turned_for_one_step_is_drawn_as_recorded():
    view = drawn(steps(range(1)))
    assert "transpose" in titles(view, "operation")
    assert titles(view, "parameter") == ["W"]


def loop_with(make):
    made = make()
    h = np.zeros(2)
    for t in range(2):
        with tg.scope(f"t={t}", step=t):
            h = tg.tanh(h + made)
    return h


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: leaf("b", 2) + leaf("c", 2), "b + c"),
        (lambda: leaf("b", 2, 1).reshape(2), "reshape(b)"),
        (lambda: ((leaf("b", 2, 1) + leaf("c", 2, 1)).T).reshape(2), "reshape((b + c)ᵀ)"),
        (lambda: 1.0 - leaf("b", 2), "1 \N{MINUS SIGN} b"),
        (lambda: leaf("b", 2) * 2.0 + leaf("c", 2), "(b \N{MULTIPLICATION SIGN} 2) + c"),
    ],
)
def test_computations_on_parameters_alone_are_named(make, name):
    view = drawn(loop_with(make))
    assert titles(view, "parameter") == [name, name]
    assert titles(view, "operation") == ["add", "tanh", "add", "tanh"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: leaf("b", 2) + np.ones(2),
        lambda: leaf("b" * 30, 2) + leaf("c" * 30, 2),
        lambda: tg.split(leaf("b", 4), 2)[0],
    ],
)
def test_other_computations_before_a_loop_are_drawn_as_recorded(make):
    view = drawn(loop_with(make))
    assert len(titles(view, "operation")) == 5


def test_a_result_is_drawn_even_if_it_is_a_computation_on_parameters():
    turned = leaf("W", 2, 2).T
    h = np.ones(2)
    for t in range(2):
        with tg.scope(f"t={t}", step=t):
            h = h @ turned
    view = draw.graph(h, turned).view
    assert titles(view, "operation") == ["transpose", "matmul", "matmul"]


def test_a_step_entered_twice_is_one_step_and_a_module_called_twice_is_two():
    x = leaf("x", 2)
    for _ in range(2):
        for t in range(2):
            with tg.scope(f"t={t}", step=t):
                x = x * 2.0
    assert [c.title for c in drawn(x).clusters] == ["t=0", "t=1"]
    for _ in range(2):
        with tg.scope("linear"):
            x = x * 2.0
    assert [c.title for c in drawn(x).clusters] == ["t=0", "t=1", "linear", "linear"]


@pytest.mark.parametrize("net", NETS)
def test_the_text_is_the_same_before_and_after_backward(net):
    y = NETS[net]()
    before = draw.graph(y).source
    y.backward(np.ones(y.shape))
    assert draw.graph(y).source == before


@pytest.mark.parametrize("net", NETS)
def test_the_text_does_not_depend_on_what_was_recorded_earlier(net):
    first = draw.graph(NETS[net]()).source
    plain()
    assert draw.graph(NETS[net]()).source == first


def test_the_text_does_not_depend_on_how_an_operation_was_called():
    one, other = leaf("x", 2, 8), leaf("x", 2, 8)
    first = tg.split(one, sections=4, axis=1)[0]
    assert draw.graph(first).source == draw.graph(tg.split(other, axis=1, sections=4)[0]).source


def test_the_text_does_not_depend_on_the_hash_seed():
    program = (
        "import sys; sys.stdout.reconfigure(encoding='utf-8')\n"
        "from nets_to_draw import *\n"
        "from tinygrad_rnn import draw\n"
        "for net in (plain, unused_outputs, lstm, bidirectional, gru): print(draw.graph(net()).source)"
    )
    here = Path(__file__).parent
    texts = []
    for seed in "0", "1", "42":
        path = os.pathsep.join([str(here), str(here.parents[1]), *(p for p in sys.path if p)])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, env=environment, check=True
        )
        texts.append(done.stdout)
    assert len(texts[0]) > 10_000
    assert texts[0] == texts[1] == texts[2]


def test_addresses_in_static_arguments_do_not_reach_the_text():
    class Odd:
        def __index__(self):
            return 0

    y = leaf("x", 3)[Odd()]
    assert " at 0x" not in draw.graph(y).source


def test_a_second_derivative_is_drawn_in_the_steps_it_belongs_to():
    w = leaf("w", 2, 2)
    h = w
    for t in range(2):
        with tg.scope(f"t={t}", step=t):
            h = tg.tanh(h @ w)
    h.sum().backward(create_graph=True)
    view = drawn(w.grad)
    assert len(view.nodes) > 10
    assert {c.title for c in view.clusters} == {"t=0", "t=1"}


def test_a_tape_of_30_000_entries():
    y = leaf("x", 1)
    for _ in range(30_000):
        y = tg.tanh(y)
    view = draw.graph(y, budget=None).view
    assert len(view.nodes) == 30_001
    assert dot_source(view).count(" -> ") == 30_000


def test_scopes_nested_deeply():
    y = leaf("x", 1)
    scopes = [tg.scope(f"s{k}") for k in range(1_100)]
    for scope in scopes:
        scope.__enter__()
    y = tg.tanh(y)
    for scope in reversed(scopes):
        scope.__exit__(None, None, None)
    assert draw.graph(y).source.count("subgraph") == 1_100


def test_what_is_not_a_tensor_on_the_tape_is_refused():
    with pytest.raises(TypeError, match="got nothing"):
        draw.graph()
    with pytest.raises(TypeError, match="argument 2 of type ndarray"):
        draw.graph(leaf("x", 2), np.ones(2))
    with pytest.raises(ValueError, match=r"its argument of shape \(2,\) off the tape"):
        draw.graph(tg.tensor(np.ones(2)))


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
def test_steps_are_no_gates_where_there_are_as_many(layer):
    count = len(layer.cell.gate_names)
    view = draw.graph(layer(2, 3, 2, return_state=False, rng=0)(np.ones((1, count, 2), np.float32))).view
    taken_apart = [edge for edge in view.edges if edge.tail.endswith("unstack")]
    assert len(taken_apart) == count
    assert {edge.label for edge in taken_apart} == {""}
    late = tg.unstack(tg.tensor(np.ones((4, 2)), requires_grad=True))
    with tg.scope("t=0", step=0):
        y = tg.tanh(late[3])
    assert [edge.label for edge in draw.graph(y).view.edges if edge.head.endswith("tanh")] == ["3"]
