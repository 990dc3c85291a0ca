"""Single steps, for streams: equal to the loop, in step with what changes, from several threads."""

import copy
import re
import threading
from typing import Any

import numpy as np
import pytest
from comparing import BACKENDS, Cell, called, compiled_twin, drawn, lstm, plain_step, randomised

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import single
from tinygrad_rnn.nn.states import tensors_of


@pytest.mark.parametrize("backend", BACKENDS)
def test_single_steps(backend: str) -> None:
    cell = randomised(nn.LSTMCell(3, 4, rng=0, dtype="float64", peephole="diagonal"), 1)
    compiled = compiled_twin(cell, backend)
    state: Any = None
    with tg.no_grad():
        for t in range(3):
            x = tg.tensor(drawn(2, 3, seed=t))
            wanted = cell(x, state)
            y, new = compiled.step(x, state)
            np.testing.assert_allclose(y.numpy(), wanted[0].numpy(), rtol=1e-12)
            for got, w in zip(new, wanted[1], strict=True):
                np.testing.assert_allclose(got.numpy(), w.numpy(), rtol=1e-12)
            state = new
            for p, q in zip(cell.parameters(), compiled.parameters(), strict=True):
                p.assign_(p.numpy() * 0.9)
                q.assign_(q.numpy() * 0.9)
    y, _ = compiled.step(x, state)
    assert y.requires_grad  # something is to be recorded: the composed step


STEPPED = [
    lambda: nn.RNNCell(5, 17, rng=0, nonlinearity="relu"),
    lambda: nn.GRUCell(5, 17, rng=0, reset_after=False),
    lambda: nn.LSTMCell(5, 17, rng=0, proj_size=3, layer_norm=True),
    lambda: Cell(plain_step, 19),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", STEPPED)
def test_single_steps_of_any_cell(backend: str, make: Any) -> None:
    """Of batches and arrays of all kinds: each call finds, or not, what an earlier one has made ready."""
    cell = randomised(make(), 1)
    compiled = compiled_twin(cell, backend)
    dtype, n = next(iter(cell.parameters())).dtype, getattr(cell, "input_size", 19)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12}
    with tg.no_grad():
        for batch, turned in ((1, False), (5, False), (1, False), (5, True), (5, False), (0, False)):
            x = drawn(n, batch).astype(dtype).T if turned else drawn(batch, n).astype(dtype)
            state = state2 = cell.initial_state(batch)
            for _ in range(3):
                y, state = cell(tg.tensor(x), state)
                y2, state2 = compiled.step(x, state2)
                assert type(state2) is type(state)
                for a, b in zip((y2, *tensors_of(state2)), (y, *tensors_of(state)), strict=True):
                    np.testing.assert_allclose(a.numpy(), b.numpy(), **tolerance)
    held = y2.numpy().copy()
    compiled.step(x, state2)
    np.testing.assert_array_equal(y2.numpy(), held)


@pytest.mark.parametrize("backend", BACKENDS)
def test_single_steps_see_what_has_changed(backend: str) -> None:
    cell = tg.compile(nn.LSTMCell(3, 4, rng=0, dtype="float64", clip=50.0), backend=backend)
    plain = nn.LSTMCell(3, 4, rng=0, dtype="float64", clip=50.0)
    x = drawn(2, 3)

    def write(c: Any) -> None:
        c.weight_hh.data[1] = 7
        c.bias_ih.data[...] += 1

    def replace(c: Any) -> None:
        c.weight_ih = nn.Parameter(drawn(16, 3), "float64")

    def turn(c: Any) -> None:
        c.weight_ih.assign_(drawn(3, 16).T)

    def limit(c: Any) -> None:
        c.clip = 0.1

    state = tuple(tg.tensor(drawn(2, 4, seed=k)) for k in range(2))
    few = tuple(tg.tensor(s.numpy()[:1]) for s in state)
    with tg.no_grad():
        for change in (write, replace, turn, write, limit):
            cell.step(x, state)
            cell.step(x, state)
            before = cell.step(x, state)[0].numpy()
            cell.step(x[:1], few)
            change(cell)
            change(plain)
            wanted = plain(tg.tensor(x), state)[0].numpy()
            assert np.abs(wanted - before).max() > 1e-3
            np.testing.assert_allclose(cell.step(x, state)[0].numpy(), wanted, rtol=1e-12)
            np.testing.assert_allclose(cell.step(x[:1], few)[0].numpy(), wanted[:1], rtol=1e-12)
    assert cell.step(x, state)[0].requires_grad
    for p in cell.parameters():
        p.requires_grad = False
    for _ in range(3):
        assert not cell.step(x, state)[0].requires_grad
    cell.weight_hh.requires_grad = True
    assert cell.step(x, state)[0].requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_single_steps(backend: str) -> None:
    cell, wrong = tg.compile(nn.LSTMCell(3, 4, rng=0), backend=backend), []
    with tg.no_grad():
        wanted = [cell.step(drawn(1, 3, seed=k).astype("f"))[0].numpy() for k in range(4)]

    def work(k: int) -> None:
        x = drawn(1, 3, seed=k).astype("f")
        with tg.no_grad():
            results = [cell.step(x)[0].numpy() for _ in range(300)]
        wrong.extend(k for y in results if not np.allclose(y, wanted[k]))

    running = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in running:
        t.start()
    for t in running:
        t.join()
    assert not wrong


@pytest.mark.parametrize("backend", BACKENDS)
def test_single_steps_of_a_layer(backend: str) -> None:
    layer = tg.compile(lstm(num_layers=2), backend=backend)
    x = drawn(2, 5, 3)
    with tg.no_grad():
        wanted, final = layer(x)
        state: Any = None
        for t in range(5):
            y, state = layer.step(x[:, t], state)
            np.testing.assert_allclose(y.numpy(), wanted.numpy()[:, t], rtol=1e-12)
    np.testing.assert_allclose(state.c.numpy(), final.c.numpy(), rtol=1e-12)
    for options in ({"bidirectional": True}, {"return_state": "all"}, {"return_state": False}):
        with pytest.raises(TypeError, match="does not go forwards"):
            tg.compile(lstm(**options), backend=backend).step(x[:, 0])
    for wrong in (x, x[0, 0]):
        with pytest.raises(ValueError, match=rf"\(batch, features\), got {re.escape(str(wrong.shape))}"):
            layer.step(wrong)


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 3, "batch_first": False, "dropout": 0.5},
        {"learn_initial_state": True, "proj_size": 2},
        {"recurrent_dropout": 0.5, "return_sequences": False},
    ],
)
def test_steps_of_a_layer_are_those_of_its_cells(options: Any, recording: bool) -> None:
    """In evaluation, whatever the options: outputs and states of the shapes that the layer gives."""
    layer = tg.compile(lstm(**options).eval(), backend="numpy")
    x, state, wanted = drawn(2, 3, 3), None, None
    with tg.enable_grad() if recording else tg.no_grad():
        for t in range(3):
            y, state = layer.step(x[:, t], state)
            one = x[:, t : t + 1] if layer.batch_first else x[None, :, t]
            output, wanted = layer(one, wanted)
            if layer.return_sequences:
                output = tg.squeeze(output, 1 if layer.batch_first else 0)
            for got, right in zip((y, *state), (output, *wanted), strict=True):
                assert type(got) is type(right)
                assert got.requires_grad is recording
                np.testing.assert_allclose(got.numpy(), right.numpy(), rtol=1e-12)


class Doubled(nn.LSTM):
    def forward(self, *args: Any, **named: Any) -> Any:
        y, state = super().forward(*args, **named)
        return 2 * y, state


class Called(nn.LSTM):
    def __call__(self, *args: Any, **named: Any) -> Any:
        y, state = super().__call__(*args, **named)
        return 2 * y, state


def halved() -> Any:
    layer = nn.LSTM(3, 4, rng=0)
    forward = layer.forward

    def half(*args: Any, **named: Any) -> Any:
        y, state = forward(*args, **named)
        return 0.5 * y, state

    layer.forward = half  # type: ignore[method-assign]
    return layer


@pytest.mark.parametrize("make", [lambda: Doubled(3, 4, rng=0), lambda: Called(3, 4, rng=0), halved])
def test_a_step_of_a_layer_with_a_forward_of_its_own_is_that(make: Any) -> None:
    layer, x = tg.compile(make(), backend="numpy"), drawn(2, 3).astype("float32")
    with tg.no_grad():
        np.testing.assert_allclose(layer.step(x)[0], layer(x[:, None])[0][:, 0], rtol=1e-5)


def test_a_single_step_that_gives_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(single.Single):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            right = self.prepare

            def prepare(*args: Any) -> Any:
                run, made = right(*args)
                return lambda *arrays: (run(*arrays)[0] * 1.001, run(*arrays)[1]), made

            self.prepare = prepare

    monkeypatch.setattr(single, "Single", Wrong)
    plain, compiled = lstm().l0, tg.compile(lstm().l0, backend="numpy")
    x = tg.tensor(drawn(2, 3))
    with tg.no_grad():
        with pytest.warns(RuntimeWarning, match="runs as it is composed, .* gives another output"):
            compiled.step(x)
        y, _ = compiled.step(x)
        np.testing.assert_array_equal(y, plain(x, plain.initial_state(2))[0])


def test_a_step_of_a_shallow_copy_is_the_copys() -> None:
    cell = tg.compile(Cell(called(lambda c, x: x * c.gain), gain=1.0), backend="numpy")
    other = copy.copy(cell)
    other.gain = 3.0
    x, h = tg.tensor(drawn(2, 3)), tg.tensor(np.zeros((2, 3)))
    with tg.no_grad():
        for _ in range(2):
            for one in (cell, other):
                np.testing.assert_allclose(one.step(x, h)[0], np.tanh(x.numpy() * one.gain), rtol=1e-12)


def test_what_is_written_into_weights_is_seen_by_what_is_made_of_them() -> None:
    cell = tg.compile(Cell(lambda c, x, h: np.tanh(x @ (c.w * 2.0) + h)), backend="numpy")
    x, h = tg.tensor(drawn(2, 3)), tg.tensor(np.zeros((2, 3)))
    with tg.no_grad():
        for _ in range(3):
            wanted = np.tanh(x.numpy() @ (cell.w.numpy() * 2))
            np.testing.assert_allclose(cell.step(x, h)[0], wanted, rtol=1e-12)
            cell.w.data[...] *= 0.5


def test_a_step_that_was_changed_while_it_was_compiled_is_compiled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By another thread, which has its own step in between."""
    cell = tg.compile(Cell(called(lambda c, x: x * c.gain), gain=1.0), backend="numpy")
    x, h = tg.tensor(drawn(2, 3)), tg.tensor(np.zeros((2, 3)))
    form = single.SingleSteps._form

    def interrupted(steps: Any, *arguments: Any) -> Any:
        found = form(steps, *arguments)
        if cell.gain == 1.0:
            cell.gain = 3.0
            cell.step(x, h)
        return found

    monkeypatch.setattr(single.SingleSteps, "_form", interrupted)
    with tg.no_grad():
        for wanted in (1.0, 3.0, 3.0):
            y, _ = cell.step(x, h)
            np.testing.assert_allclose(y.numpy(), np.tanh(x.numpy() * wanted), rtol=1e-12)


def test_a_step_of_another_number_of_rows_is_refused() -> None:
    compiled = tg.compile(lstm().l0, backend="numpy")
    with tg.no_grad():
        for rows in (1, 7):
            state = (tg.tensor(drawn(rows, 4)), tg.tensor(drawn(rows, 4)))
            with pytest.raises(ValueError, match=rf"x \(5, 3\) has 5 rows, .*another number, \({rows}, 4\)"):
                compiled.step(drawn(5, 3), state)


def test_a_step_takes_arrays() -> None:
    plain, compiled = lstm().l0, tg.compile(lstm().l0, backend="numpy")
    x, state = drawn(2, 3), (drawn(2, 4, seed=1), drawn(2, 4, seed=2))
    with tg.no_grad():
        y, (h, c) = compiled.step(x, state)
        wanted, (h2, c2) = plain(tg.tensor(x), tuple(map(tg.tensor, state)))
    for got, w in ((y, wanted), (h, h2), (c, c2)):
        np.testing.assert_allclose(got.numpy(), w.numpy(), rtol=1e-12)
