"""Printed tapes."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.listing import describe_static

GOLDEN = """\
leaf0: leaf (4, 3) float64
w: leaf (3, 2) float32
entry  scope        operation                             shape       dtype
%1     encoder      matmul(leaf0, w)                      (4, 2)      float64
%2     encoder      add(%1, const(2,))                    (4, 2)      float64
%3     encoder/t=3  tanh(%2)                              (4, 2)      float64
%4                  multiply(%3, 2.0)                     (4, 2)      float64
%5                  getitem(%4, index=(:, 0, None, ...))  (4, 1)      float64
%6                  split(%5, sections=2)                 2 x (2, 1)  float64
%7                  add(%6.0, %6.1)                       (2, 1)      float64
%8                  getitem(%7, index=array(3,))          (3, 1)      float64
%9                  sum(%8, axis=(0, 1), keepdims=False)  ()          float64"""


def example() -> tg.Tensor:
    w = tg.tensor(np.ones((3, 2), np.float32), requires_grad=True)
    w.name = "w"
    x = tg.tensor(np.ones((4, 3)), requires_grad=True)
    with tg.scope("encoder"):
        y = x @ w + np.zeros(2)
        with tg.scope("t", step=3):
            y = tg.tanh(y)
    y = (y * 2.0)[:, 0, None, ...]
    a, b = tg.split(y, 2)
    return (a + b)[np.array([0, 1, 1])].sum(axis=(0, 1), keepdims=False)


def test_a_small_tape_in_print() -> None:
    """The same before and after backward() has released the arrays."""
    y = example()
    assert str(tg.Tape(y)) == GOLDEN
    y.backward()
    assert str(tg.Tape(y)) == GOLDEN


def test_what_a_tape_offers() -> None:
    y = example()
    tape = tg.Tape(y)
    assert len(tape) == 9
    assert [e.number for e in tape] == sorted(e.number for e in tape)
    assert tape.entries[-1] is y.place
    assert list(tape.leaves.values()) == ["leaf0", "w"]
    assert tape.rows()[2] == ("%3", "encoder/t=3", "tanh(%2)", "(4, 2)", "float64")
    assert repr(tape) == "<Tape: 9 entries, 2 leaves>"


def test_several_results_and_leaves_alone() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    a, b = tg.exp(x), tg.stack([x, x], axis=1)
    assert [e.primitive.name for e in tg.Tape(a, b)] == ["exp", "stack"]
    assert str(tg.Tape(x)).startswith("leaf0: leaf (2,) float32\nentry")
    first, _ = tg.split(x, 2)
    assert tg.Tape(first).label(first.place) == "%1.0"


def test_off_the_tape_is_an_error() -> None:
    x = tg.tensor([1.0], requires_grad=True)
    with tg.no_grad():
        y = x * 2
    for wrong in (tg.tensor([1.0]), x.detach(), y, 3.0):
        with pytest.raises(ValueError, match=r"tg\.Tape needs a tensor that is on the tape"):
            tg.Tape(x, wrong)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (slice(None), ":"),
        (slice(1, None), "1:"),
        (slice(None, 3), ":3"),
        (slice(None, None, -1), "::-1"),
        (slice(0, 4, 2), "0:4:2"),
        (..., "..."),
        ((1,), "(1,)"),
        ((slice(None), None, np.zeros((2, 3))), "(:, None, array(2, 3))"),
        (None, "None"),
        ("constant", "'constant'"),
    ],
)
def test_static_arguments_in_a_few_characters(value: object, text: str) -> None:
    assert describe_static(value) == text


def test_summary_counts_by_primitive():
    x = tg.tensor(np.ones(3), requires_grad=True)
    summary = tg.Tape(tg.tanh(x * x) * x).summary()
    assert summary == {"multiply": 2, "tanh": 1}
    assert str(summary) == "primitive  entries\nmultiply         2\ntanh             1"


def test_memory_counts_every_array_once_by_entry_module_and_step():
    x = tg.tensor(np.ones((4, 5)), requires_grad=True)
    with tg.scope("net"):
        with tg.scope("t=0", step=0):
            a = tg.tanh(x)  # keeps its result, 160 bytes
        with tg.scope("t=1", step=1):
            b = a[:2] * a[2:]  # keeps two views of that same result
            c = tg.exp(b)  # keeps its result, 80 bytes
    y = (c * 2.0).sum()  # keeps nothing but a number
    memory = tg.Tape(y).memory()
    assert memory.total == 240
    assert memory.by_step == {0: 160, 1: 80}
    assert memory.by_module == {"net": 240}
    assert memory.by_entry == {"%1 tanh": 160, "%5 exp": 80}
    assert str(memory) == (
        "240 bytes held for backward\n\nmodule  bytes\nnet       240\n\n"
        "time step  bytes\n0            160\n1             80\n\n"
        "entry    bytes\n%1 tanh    160\n%5 exp      80"
    )
    tape = tg.Tape(y)
    y.backward()
    assert tape.memory().total == 0
    assert str(tape.memory()) == "0 bytes held for backward"


def test_memory_prints_time_steps_in_order_and_the_largest_entries():
    y = tg.tensor(np.ones(1), requires_grad=True)
    for step, n in enumerate([1, 12, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1]):
        with tg.scope(f"t={step}", step=step):
            y = tg.tanh(y[:1] * np.ones(n))
    memory = tg.Tape(y).memory()
    lines = str(memory).splitlines()
    start = lines.index("time step  bytes") + 1
    assert [int(line.split()[0]) for line in lines[start : start + 12]] == list(range(12))
    assert lines[start + 12] == ""
    assert lines[start + 13].split() == ["entry", "bytes"]
    sizes = [int(line.split()[-1]) for line in lines[start + 14 : -1]]
    assert len(sizes) == 10
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 96
    more = len(memory.by_entry) - 10
    assert lines[-1] == f"... and {more} entries more, {memory.total - sum(sizes)} bytes"
    x = tg.tensor(np.ones(2), requires_grad=True)
    assert "time step" not in str(tg.Tape(tg.tanh(x)).memory())


def test_memory_counts_what_stays_among_static_arguments():
    x = tg.tensor(np.ones(5), requires_grad=True)
    index, low = np.arange(4), np.zeros(5)
    y = x[index[::2]].sum() + x[(index, None)].sum() + tg.clip(x, low, 2.0).sum()
    tape = tg.Tape(y)
    assert tape.memory().total == index.nbytes + low.nbytes + x.numpy().nbytes
    y.backward()
    assert tape.memory().total == index.nbytes + low.nbytes
    assert sorted(tape.memory().by_entry.values()) == [index.nbytes, low.nbytes]


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["w", "w", "w"], ["w", "w#2", "w#3"]),
        (["w#2", "w", "w", "w"], ["w#2", "w", "w#3", "w#4"]),
        (["w", "w", "w#2", "w"], ["w", "w#2", "w#2#2", "w#3"]),
        (["leaf1", None, None], ["leaf1", "leaf1#2", "leaf2"]),
        (["a#b", "a", "a#b"], ["a#b", "a", "a#b#2"]),
    ],
)
def test_leaves_of_one_name_are_told_apart(names, labels):
    leaves = [tg.tensor(np.ones(2), requires_grad=True) for _ in names]
    for t, name in zip(leaves, names, strict=True):
        t.name = name
    assert list(tg.Tape(tg.stack(leaves)).leaves.values()) == labels


def test_outputs_that_differ_are_told_one_by_one():
    x = tg.tensor(np.eye(3), requires_grad=True)
    (_, _, _, shape, dtype) = tg.Tape(tg.eigh(x)[0]).rows()[0]
    assert (shape, dtype) == ("(3,), (3, 3)", "float64")
    parts = tg.split(x, [1], axis=1)
    assert tg.Tape(parts[0]).rows()[0][3] == "(3, 1), (3, 2)"
    assert tg.Tape(tg.unstack(x)[1]).rows()[0][3] == "3 x (3,)"
    y, z = tg.checkpoint(lambda x: (x * 2, x.astype(np.float32)))(x)
    assert tg.Tape(y, z).rows()[0][3:] == ("2 x (3, 3)", "float64, float32")
