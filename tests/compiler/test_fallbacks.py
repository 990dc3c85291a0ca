"""What is not compiled runs as it is composed, and says why."""

import warnings
from typing import Any

import numpy as np
import pytest
from comparing import Cell, assert_same, drawn, everything, lstm

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import engine


def branching(cell: Any, x: Any, h: Any) -> Any:
    return np.tanh(x + h @ cell.w) if x.numpy().sum() > 0 else np.tanh(x - h @ cell.w)


def clamped(cell: Any, x: Any, h: Any) -> Any:
    return np.tanh(tg.where(h > 2.5, x, x + h @ cell.w))


def mixing(cell: Any, x: Any, h: Any) -> Any:
    return np.tanh(x + (h - h.mean(axis=0, keepdims=True)) @ cell.w)


def noisy(cell: Any, x: Any, h: Any) -> Any:
    return np.tanh(x + h @ cell.w * tg.default_generator().random(3))


def counting_rows(cell: Any, x: Any, h: Any) -> Any:
    return np.tanh(x + h @ cell.w / len(x))


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (branching, "subtract"),
        (clamped, "entry 3, where"),
        (mixing, r"rows are not independent: .*, from entry 1, mean \(.* in mixing.*\) on$"),
        (noisy, "multiply"),
        (counting_rows, "divide"),
    ],
)
def test_what_cannot_be_compiled_says_why_once(step: Any, reason: str) -> None:
    compiled = tg.compile(Cell(step), backend="numpy")
    plain = Cell(step)
    x = drawn(4, 5, 3)
    with pytest.warns(RuntimeWarning, match=f"Cell runs as it is composed.*{reason}"):
        nn.scan(compiled, x)
    tg.manual_seed(0)
    wanted = everything(plain, nn.scan, [x], 0) if step is not noisy else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = everything(compiled, nn.scan, [x], 0)
    if wanted is not None:
        for w, g in zip(wanted, got, strict=True):
            np.testing.assert_array_equal(g, w)
    with pytest.raises(RuntimeError, match="not compiled"):
        compiled.plan()


def test_tracing_leaves_random_generators_alone() -> None:
    draws = []
    for compile in (False, True):
        tg.manual_seed(3)
        layer = nn.LSTM(3, 4, zoneout=0.5, rng=np.random.default_rng(1))
        if compile:
            tg.compile(layer, backend="numpy")
            with pytest.warns(RuntimeWarning, match="where"):
                y, _ = layer(drawn(2, 3, 3).astype("float32"))
        else:
            y, _ = layer(drawn(2, 3, 3).astype("float32"))
        draws.append((y.numpy(), tg.default_generator().random()))
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    assert draws[0][1] == draws[1][1]


def test_states_of_all_steps_beside_outputs_of_several_axes_are_composed() -> None:
    def cell(x: Any, h: Any) -> Any:
        h = np.tanh(x + h)
        return h.reshape(len(h), 3, 1), h

    def run(cell: Any, x: Any) -> Any:
        return nn.scan(cell, x, tg.tensor(np.zeros((2, 3))), return_state="all")

    assert_same(cell, tg.compile(cell, backend="numpy"), run, [drawn(2, 4, 3)])


@pytest.mark.parametrize("lengths", [None, [3, 1]])
def test_a_recorded_backward_pass_runs_the_composed_cell(lengths: Any) -> None:
    def second(layer: Any) -> Any:
        x = tg.tensor(drawn(2, 3, 3), requires_grad=True)
        y, _ = layer(x, lengths=lengths)
        (y * y).sum().backward(create_graph=True)
        g = x.grad
        x.grad = None
        layer.zero_grad()
        (g * g).sum().backward()
        return [x.grad.numpy(), *[p.grad.numpy() for p in layer.parameters()]]

    compiled = tg.compile(lstm(bidirectional=True), backend="numpy")
    with pytest.warns(RuntimeWarning, match="create_graph=True"):
        got = second(compiled)
    for g, w in zip(got, second(lstm(bidirectional=True)), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-12)


def test_watched_passes_are_composed() -> None:
    """Who looks on wants to see the steps."""
    layer = tg.compile(lstm(), backend="numpy")
    x = drawn(2, 3, 3)
    x[1, 2] = np.nan
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match="t=2"):
        layer(x)


@pytest.mark.parametrize("half", ["forward", "backward"])
def test_a_program_that_gives_something_else_is_not_used(half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(engine.Program):
        def forward(self, *args: Any) -> Any:
            y, finals, saved = super().forward(*args)
            return y * (1.001 if half == "forward" else 1), finals, saved

        def backward(self, *args: Any) -> Any:
            return [g * (1.001 if half == "backward" else 1) for g in super().backward(*args)]

    monkeypatch.setattr(engine, "Program", Wrong)
    plain, compiled = lstm(), tg.compile(lstm(), backend="numpy")
    with pytest.warns(
        RuntimeWarning, match="runs as it is composed, .* gives another (output|gradient of x)"
    ):
        compiled(tg.tensor(drawn(2, 4, 3), requires_grad=True))
    assert_same(plain, compiled, lambda m, x: m(x), [drawn(2, 4, 3)])
    with pytest.raises(RuntimeError, match="is not compiled: its compiled loop gives another"):
        compiled.l0.plan()


def test_a_cell_that_was_changed_before_a_recorded_pass_is_refused() -> None:
    def replaced(layer: Any) -> None:
        layer.l0.weight_hh = nn.Parameter(layer.l0.weight_hh.numpy() * 2)

    def clipped(layer: Any) -> None:
        layer.l0.clip = 0.1

    for change in (replaced, clipped):
        layer = tg.compile(lstm(clip=5.0), backend="numpy")
        y, _ = layer(tg.tensor(drawn(2, 3, 3), requires_grad=True))
        change(layer)
        with (
            pytest.warns(RuntimeWarning, match="itself recorded"),
            pytest.raises(
                RuntimeError, match="LSTMCell was changed between its call and a pass with create_graph"
            ),
        ):
            (y * y).sum().backward(create_graph=True)


def test_a_wrong_call_is_its_own_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = tg.compile(lstm().l0, backend="numpy")
        with pytest.raises(ValueError, match=r"LSTMCell expected x of shape \(batch, 3\), got \(2, 5\)"):
            nn.scan(compiled, drawn(2, 4, 5))


def test_warnings_name_the_users_line() -> None:
    with pytest.warns(RuntimeWarning, match="runs as it is composed") as found:
        nn.scan(tg.compile(Cell(noisy), backend="numpy"), drawn(4, 5, 3))
    assert found[0].filename == __file__


def test_the_plan_of_a_model_says_what_is_not_compiled() -> None:
    model = nn.Sequential(
        lstm(proj_size=3, return_state=False), nn.Recurrent(Cell(noisy), return_state=False)
    )
    tg.compile(model, backend="numpy")
    with pytest.warns(RuntimeWarning, match="Cell runs as it is composed"):
        model(drawn(2, 3, 3))
    assert "looped back" in model.plan()
    assert "l0: Cell is not compiled: " in model.plan()


def test_a_fault_of_the_compiler_does_not_reach_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_args: Any, **_options: Any) -> Any:
        raise KeyError("a value")

    monkeypatch.setattr(engine, "split_step", faulty)
    plain, compiled = lstm(), tg.compile(lstm(), backend="numpy")
    with pytest.warns(
        RuntimeWarning, match="making it gave KeyError: 'a value'; this is a fault of tg.compile"
    ):
        compiled(drawn(2, 4, 3))
    assert_same(plain, compiled, lambda m, x: m(x), [drawn(2, 4, 3)])
    with tg.no_grad():
        y, _ = compiled.l0.step(drawn(2, 3))
    np.testing.assert_array_equal(y.numpy(), plain.l0(tg.tensor(drawn(2, 3)))[0].numpy())
