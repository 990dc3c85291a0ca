"""Recording a step leaves everything as it was, and says what it cannot record."""

import collections
import random
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from comparing import Cell, X, called, drawn, scanned

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import reading, surroundings, tracing

FACTOR = 2.0


class Scaled(Cell):
    scale = 2.0


@pytest.mark.parametrize("fails", [False, True])
def test_a_function_finds_everything_as_it_was(fails: bool) -> None:
    w, seen, known, members = nn.Parameter(drawn(3, 3), "float64"), [1], {"a": 1, "b": 2}, {1}
    frozen, buffer, rng, t = tg.tensor(drawn(3)), np.zeros(3), np.random.default_rng(0), 0
    arrays = (w.data, frozen.data)

    def cell(x: Any, h: Any) -> Any:
        nonlocal t
        t += 1
        seen.append(t)
        known["a"] = t
        known[t] = t
        known.pop("b", None)
        members.add(t)
        buffer[0] += rng.random() + np.random.random() + random.random()  # noqa: NPY002
        globals()["FACTOR"] += 1
        globals()["round"] = round
        Scaled.scale += 1
        if fails:
            raise ValueError("too much")
        h = np.tanh(x @ w + h * frozen * t + FACTOR)
        return h, h

    compiled = tg.compile(cell, backend="numpy")
    states = (rng.bit_generator.state, random.getstate(), str(np.random.get_state()))  # noqa: NPY002
    before = (FACTOR, Scaled.scale)
    compiled._cell.input_size = 3
    compiled._cell.initial_state = lambda batch: tg.tensor(np.zeros((batch, 3)))
    with pytest.raises(RuntimeError, match="ValueError: too much" if fails else "its step changes"):
        compiled.plan()
    assert (seen, known, members, t) == ([1], {"a": 1, "b": 2}, {1}, 0)
    assert (FACTOR, Scaled.scale) == before
    assert rng.bit_generator.state == states[0]
    assert random.getstate() == states[1]
    assert str(np.random.get_state()) == states[2]  # noqa: NPY002
    assert "round" not in globals()
    np.testing.assert_array_equal(buffer, np.zeros(3))
    assert w.data is arrays[0]
    assert frozen.data is arrays[1]
    assert w.requires_grad
    assert not frozen.requires_grad


def test_members_of_a_set_and_tensors_of_integers_are_put_back() -> None:
    members, counts = {1}, tg.tensor(np.array([1, 2, 3]))
    for change, name in (
        (lambda x: members.add(len(x)), "members"),
        (lambda x: setattr(counts, "data", counts.numpy() + 1), "counts"),
    ):
        compiled = tg.compile(Cell(called(lambda c, x, f=change: (f(x), x)[1])), backend="numpy")
        with pytest.warns(RuntimeWarning, match=f"its step changes .*{name}"):
            scanned(compiled, X)
    assert members == {1, len(X)}
    np.testing.assert_array_equal(counts.numpy(), np.array([1, 2, 3]) + X.shape[1])


def test_a_state_of_another_kind_of_tuple_is_refused() -> None:
    def cell(x: Any, state: Any) -> Any:
        h = np.tanh(x + state[0])
        return h, (h,)

    start = collections.namedtuple("Start", "h")(tg.tensor(np.zeros((2, 3))))
    with pytest.warns(
        RuntimeWarning,
        match=r"a state of the structure Start\(tensor\) becomes one of the structure \(tensor,\)",
    ):
        _, state = nn.scan(tg.compile(cell, backend="numpy"), X, start)
    np.testing.assert_array_equal(state[0], nn.scan(cell, X, start)[1][0])


def test_a_cell_that_looks_tokens_up_says_that_its_x_is_of_integers() -> None:
    table = nn.Embedding(7, 3, rng=0)

    def cell(x: Any, h: Any) -> Any:
        h = np.tanh(table(x) + h)
        return h, h

    x, start = np.arange(6).reshape(2, 3), tg.tensor(np.zeros((2, 3), "float32"))
    with pytest.warns(RuntimeWarning, match="its x is int64: only .*nn.Embedding"):
        y, _ = nn.scan(tg.compile(cell, backend="numpy"), x, start)
    np.testing.assert_array_equal(y.numpy(), nn.scan(cell, x, start)[0].numpy())


def test_recordings_let_go_of_weights_and_their_gradients() -> None:
    cell = nn.LSTMCell(200, 400, rng=0, dtype="float32")
    weights = sum(p.numpy().nbytes for p in cell.parameters())
    f4 = np.dtype("f4")
    signature = tracing.Signature(((200,), f4), (((400,), f4),) * 2, cell.initial_state(1))
    around = surroundings.Surroundings(cell)
    tracing.trace(cell, signature, around)  # what is imported on the way takes memory, too
    tracemalloc.start()
    try:
        tracing.trace(cell, signature, around)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * weights, "all nine at once would be twice as much and more"


def test_other_threads_draw_no_number_twice() -> None:
    """Tracing leaves the generators alone that all threads share."""
    tg.manual_seed(0)
    seen, done = [], threading.Event()

    def draw() -> None:
        while not done.is_set():
            seen.append((tg.default_generator().random(), np.random.random(), random.random()))  # noqa: NPY002

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for _ in range(5):
            scanned(tg.compile(Cell(lambda c, x, h: np.tanh(x + h @ c.w)), backend="numpy"), X)
    finally:
        done.set()
        thread.join()
    for numbers in zip(*seen, strict=True):
        assert len(set(numbers)) == len(numbers)


class Summed:
    """A cell whose copy would have the same tensors in another order."""

    def __init__(self) -> None:
        self.few = {tg.tensor(drawn(3, seed=k)) for k in range(4)}

    def __call__(self, x: Any, h: Any) -> Any:
        h = np.tanh(x + h * sum(self.few))
        return h, h


def test_tensors_in_a_set_are_told_apart() -> None:
    cell = Summed()
    compiled = tg.compile(cell, backend="numpy")
    assert tracing.twin(cell) is cell
    for seed in (1, 2):
        got, wanted = scanned(compiled, X)[0], scanned(lambda x, h: cell(x, h), X)[0]
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-11)
        for t in cell.few:
            t.assign_(drawn(3, seed=seed))
    assert "looped" in str(compiled.plan())


def test_libraries_are_not_visited() -> None:
    around = surroundings.Surroundings(nn.LSTMCell(3, 4, rng=0))
    assert not around._spaces
    assert not any(reading.is_library(name) for name in ("__main__", __name__))
    assert all(reading.is_library(name) for name in ("numpy", "json", "tinygrad_rnn.nn", "pytest"))
