"""Losses that depend on some of what a loop gives: the other cotangents do not arrive."""

from typing import Any

import numpy as np
import pytest
from comparing import BACKENDS

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.states import tensors_of


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


class Cell(nn.Module):
    """A cell with a weight, one or two states, and a step that is given to it."""

    output_size = 4

    def __init__(self, step: Any, states: int = 1) -> None:
        self.step_function, self.states = step, states
        self.w = nn.Parameter(drawn(4, 4) * 0.5, "float64")

    def initial_state(self, batch: int) -> Any:
        parts = tuple(tg.tensor(np.zeros((batch, 4))) for _ in range(self.states))
        return parts if self.states > 1 else parts[0]

    def forward(self, x: Any, state: Any) -> Any:
        return self.step_function(self.w, x, state)


def integrator(w: Any, x: Any, h: Any) -> Any:
    return h * 2, h + x


def delay(w: Any, x: Any, h: Any) -> Any:
    return h @ w, x


def overflowing_output(w: Any, x: Any, h: Any) -> Any:
    h = np.tanh(x @ w + h)
    return np.exp(30 * (x @ w)) * h, h


def overflowing_state(w: Any, x: Any, state: Any) -> Any:
    h, m = state
    h = np.tanh(x @ w + h)
    return h, (h, np.exp(m + 30 * (x @ w)))


def turned(w: Any, x: Any, state: Any) -> Any:
    """A cotangent that does not arrive has its rows along the second axis."""
    h, m = state
    z = (x @ w).T
    h = np.tanh(z.T + h)
    return h, (h, (z * 2 + m.T).T)


def two_heads(w: Any, x: Any, state: Any) -> Any:
    h, c = state
    h = np.tanh(x @ w + h)
    return h, (h, np.tanh(c + h))


LOSSES = {
    "output": lambda y, *states: (y * y + y).sum(),
    "last state": lambda y, *states: (states[-1] * 3).sum(),
    "first state": lambda y, *states: (states[0] * 3).sum(),
    "both": lambda y, *states: y.sum() + (states[0] * 2).sum(),
}
CASES = [
    (step, states, loss, steps)
    for step, states, losses in (
        (integrator, 1, ("output", "last state", "both")),
        (delay, 1, ("output", "last state")),
        (overflowing_output, 1, ("last state",)),
        (overflowing_state, 2, ("output", "first state")),
        (turned, 2, ("output", "first state", "both")),
        (two_heads, 2, ("output", "last state", "both")),
    )
    for loss in losses
    for steps in (1, 5)
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("step", "states", "loss", "steps"), CASES)
def test_gradients_are_those_of_the_composed_cell(
    step: Any, states: int, loss: str, steps: int, backend: str
) -> None:
    def gradients(cell: Any) -> Any:
        cell.zero_grad()
        x = tg.tensor(30 * drawn(2, steps, 4, seed=3), requires_grad=True)
        start = cell.initial_state(2)
        for part in tensors_of(start):
            part.requires_grad = True
        y, final = nn.scan(cell, x, start)
        LOSSES[loss](y, *tensors_of(final)).backward()
        leaves = (x, *tensors_of(start), *cell.parameters())
        return [None if t.grad is None else t.grad.numpy() for t in leaves]

    with np.errstate(all="ignore"):
        wanted = gradients(Cell(step, states))
        compiled = tg.compile(Cell(step, states), backend=backend)
        for _ in range(2):  # the second call knows what arrives
            for w, g in zip(wanted, gradients(compiled), strict=True):
                assert (w is None) == (g is None)
                if w is not None:
                    assert np.isfinite(w).all()
                    np.testing.assert_allclose(g, w, rtol=0, atol=1e-11 * max(1, np.abs(w).max()))
        assert "Cell: 2 sequences" in str(compiled.plan())


def turned_output(w: Any, x: Any, state: Any) -> Any:
    """The half for the second state alone cannot be made: y's cotangent has its rows along another axis."""
    h, m = state
    z = (x @ w).T
    u = z.T
    h = np.tanh(u + h)
    return (z * 3).T + h, (h, u * 0.5 + m * 0.9)


@pytest.mark.parametrize("step", [turned_output, turned, two_heads])
def test_losses_in_turn(step: Any) -> None:
    """Each call begins with the half that the one before has needed."""
    composed, compiled = Cell(step, 2), tg.compile(Cell(step, 2), backend="numpy")
    x = tg.tensor(drawn(2, 5, 4, seed=3), requires_grad=True)
    for loss in ("output", "last state", "both", "first state", "last state", "output", "first state"):
        found = []
        for cell in (composed, compiled):
            x.grad = cell.w.grad = None
            y, final = nn.scan(cell, x)
            LOSSES[loss](y, *final).backward()
            found.append([None if t.grad is None else t.grad.numpy() for t in (x, cell.w)])
        for wanted, got in zip(*found, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11)


def test_losses_of_one_kind_cost_no_second_pass_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygrad_rnn.compiler.programs import Program

    passes = []
    forward = Program.forward
    monkeypatch.setattr(Program, "forward", lambda *a: passes.append(1) or forward(*a))
    compiled = tg.compile(Cell(overflowing_output), backend="numpy")
    counts = []
    for _ in range(3):
        passes.clear()
        with np.errstate(all="ignore"):
            nn.scan(compiled, 30 * drawn(2, 5, 4))[1].sum().backward()
        counts.append(len(passes))
    assert counts[1:] == [1, 1]
    assert counts[0] > 1


def test_a_half_may_be_made_when_the_cell_is_another_one() -> None:
    """It is made of the step of the forward pass, and the calls that follow have it."""

    def step(w: Any, x: Any, h: Any) -> Any:
        h = np.tanh(x @ w + h) * cell.gain
        return np.exp(30 * (x @ w)) * h, h

    cell: Any = Cell(step)
    cell.gain = 1.0
    compiled = tg.compile(cell, backend="numpy")
    x = tg.tensor(30 * drawn(2, 5, 4, seed=3), requires_grad=True)
    with np.errstate(all="ignore"):
        for gain in (2.0, 1.0):
            _, state = nn.scan(compiled, x)
            cell.gain = gain
            x.grad = None
            state.sum().backward()
            assert np.isfinite(x.grad.numpy()).all()


def swapping(w: Any, x: Any, state: Any) -> Any:
    a, b = state
    return b @ w, (x, a)


@pytest.mark.parametrize("lengths", [[1, 1], [2, 2], [3, 3], [4, 4], [5, 5], [3, 5], [5, 4]])
@pytest.mark.parametrize("loss", LOSSES)
def test_none_for_what_a_loss_does_not_depend_on(loss: str, lengths: list[int]) -> None:
    """States that change places: which of the first ones reach the last depends on the number of steps."""

    def rotating(w: Any, x: Any, state: Any) -> Any:
        a, b = state
        return a @ w, (b * 2, a + x)

    def gradients(cell: Any) -> Any:
        x = tg.tensor(drawn(2, max(lengths), 4), requires_grad=True)
        start = tuple(tg.tensor(drawn(2, 4, seed=k), requires_grad=True) for k in (1, 2))
        y, final = nn.scan(cell, x, start, lengths=lengths)
        LOSSES[loss](y, *final).backward()
        return [None if t.grad is None else t.grad.numpy() for t in (x, *start, cell.w)]

    for step in (swapping, rotating):
        wanted = gradients(Cell(step, 2))
        for w, g in zip(wanted, gradients(tg.compile(Cell(step, 2), backend="numpy")), strict=True):
            assert (w is None) == (g is None)
            if w is not None:
                np.testing.assert_allclose(g, w, rtol=1e-11)
