"""What is not compiled runs as it is composed, and says why."""

import copy
import types
import warnings
from typing import Any

import numpy as np
import pytest
from comparing import (
    BACKENDS,
    Cell,
    assert_same,
    called,
    compiled_twin,
    drawn,
    everything,
    lstm,
    plain_step,
    randomised,
    scanned,
)

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
        (mixing, r"rows are not independent, or .*, from entry 1, mean \(.* in mixing.*\) on$"),
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


@pytest.mark.parametrize("options", [{"return_state": "all"}, {"recurrent_dropout": 0.5}])
def test_cells_made_of_a_cell_follow_it(options: Any) -> None:
    def other(cell: Any, x: Any, h: Any) -> Any:
        h = np.tanh(x - h @ cell.w)
        return h, h

    def run(layer: Any) -> Any:
        layer.recurrent_dropout.rng = np.random.default_rng(3)
        return layer(drawn(2, 5, 3))[0].numpy()

    layers = [nn.Recurrent(Cell(plain_step), **options) for _ in range(2)]
    tg.compile(layers[1], backend="numpy")
    before = run(layers[1])
    for layer in layers:
        layer.l0.forward = types.MethodType(other, layer.l0)
    np.testing.assert_allclose(run(layers[1]), run(layers[0]), rtol=1e-11)
    assert np.abs(run(layers[1]) - before).max() > 1e-3


def test_a_cell_and_one_made_of_it_warn_once() -> None:
    layer = tg.compile(nn.Recurrent(Cell(mixing)), backend="numpy")
    with pytest.warns(RuntimeWarning, match="rows are not independent"):
        layer(drawn(2, 5, 3))
    layer.return_state = "all"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(drawn(2, 5, 3))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float16", "longdouble"])
def test_dtypes_without_kernels(dtype: str, backend: str) -> None:
    """So many rows that a kernel would multiply them."""
    layer = randomised(nn.LSTM(5, 3, dtype=dtype, rng=0), 1)
    compiled = compiled_twin(layer, backend)
    x, g = drawn(60, 20, 5).astype(dtype), drawn(60, 20, 3, seed=1).astype(dtype)
    gradients = []
    for model in (layer, compiled):
        model(x)[0].backward(g)
        gradients.append([p.grad.numpy() for p in model.parameters()])
    for wanted, got in zip(*gradients, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=0.03 * np.abs(wanted).max())
    assert "LSTMCell: 60 sequences" in str(compiled.l0.plan())


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_states_that_are_no_floating_point_numbers(dtype: str) -> None:
    def cell(x: Any, state: Any) -> Any:
        h, k = state
        h = np.tanh(x + h)
        return h, (h, k)

    compiled = tg.compile(cell, backend="numpy")
    start = (tg.tensor(np.zeros((2, 3))), tg.tensor(np.ones((2, 1), dtype)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y, (_, k) = nn.scan(compiled, drawn(2, 5, 3), start)
        compiled.step(drawn(2, 3), start)
    np.testing.assert_allclose(y, nn.scan(cell, drawn(2, 5, 3), start)[0], rtol=1e-12)
    assert k.dtype == dtype


def test_cells_without_a_state() -> None:
    def cell(x: Any, state: Any) -> Any:
        return np.tanh(x), state

    compiled = tg.compile(cell, backend="numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y, state = compiled.step(drawn(2, 3), ())
    np.testing.assert_allclose(y, np.tanh(drawn(2, 3)), rtol=1e-12)
    assert state == ()


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("lengths", [None, [2, 5]])
def test_states_may_be_arrays(lengths: Any, compile: bool) -> None:
    cell: Any = Cell(plain_step)
    if compile:
        tg.compile(cell, backend="numpy")
    x, h = drawn(2, 5, 3), drawn(2, 3, seed=1)
    y, final = nn.scan(cell, x, h, lengths=lengths)
    wanted = nn.scan(Cell(plain_step), x, tg.tensor(h), lengths=lengths)
    for got, w in zip((y, final), wanted, strict=True):
        np.testing.assert_allclose(got.numpy(), w.numpy(), rtol=1e-12)
    with pytest.raises(TypeError, match="a cell's state must be a tensor or a tuple of tensors, got float"):
        nn.scan(cell, x, 0.0, lengths=lengths)


def test_attributes_of_a_wrapper_are_those_of_its_cell() -> None:
    class Slotted:
        __slots__ = ("gain",)

        def __init__(self) -> None:
            self.gain = 2.0

        def __call__(self, x: Any, h: Any) -> Any:
            h = np.tanh(x * self.gain + h)
            return h, h

    cell = Slotted()
    compiled, x, h = tg.compile(cell, backend="numpy"), drawn(2, 5, 3), np.zeros((2, 3))
    nn.scan(compiled, x, h)
    compiled.gain = 3.0
    assert cell.gain == 3.0
    np.testing.assert_allclose(nn.scan(compiled, x, h)[0], nn.scan(cell, x, h)[0], rtol=1e-12)


def test_models_whose_class_refuses_subclasses() -> None:
    class Registered(nn.Module):
        def __init_subclass__(cls, *, name: str) -> None:
            """Asks for a word that nobody else knows."""

    model = nn.Module.__new__(Registered)
    model.layer = nn.Recurrent(Cell(plain_step), return_state=False)
    assert tg.compile(model, backend="numpy") is model
    model.layer(drawn(2, 5, 3))
    assert "Cell: 2 sequences" in str(model.layer.l0.plan())


def test_a_shallow_copy_gives_states_of_all_steps_of_its_own() -> None:
    cell = Cell(lambda c, x, h: np.tanh(x + c.gain * (h @ c.w)))
    cell.gain = 1.0
    compiled = tg.compile(cell, backend="numpy")
    other = copy.copy(compiled)
    other.gain = 2.0
    for _ in range(2):
        for one in (compiled, other):
            plain = Cell(cell.step_function)
            plain.gain = one.gain
            got, wanted = [nn.scan(c, drawn(2, 5, 3), return_state="all")[1].numpy() for c in (one, plain)]
            np.testing.assert_allclose(got, wanted, rtol=1e-11)


def test_initial_states_may_be_arrays() -> None:
    class Summing:
        def initial_state(self, batch: int) -> Any:
            return np.zeros((batch, 3))

        def __call__(self, x: Any, h: Any) -> Any:
            h = np.tanh(h * 0.5 + x)
            return h, h

    wanted = nn.Recurrent(Summing())(drawn(2, 5, 3))[0].numpy()
    layer = tg.compile(nn.Recurrent(Summing()), backend="numpy")
    np.testing.assert_allclose(layer(drawn(2, 5, 3))[0].numpy(), wanted, rtol=1e-11)
    state = None
    for t in range(5):
        y, state = layer.step(drawn(2, 5, 3)[:, t], state)
        np.testing.assert_allclose(y.numpy(), wanted[:, t], rtol=1e-11)


def guarded(cell: Any, x: Any, h: Any) -> Any:
    if not np.isfinite(x.numpy()).all():
        raise ValueError("x is not finite")
    return np.tanh(x + h @ cell.w)


@pytest.mark.parametrize(
    ("step", "start", "reason"),
    [
        (
            lambda c, x, h: np.tanh(x + h) * np.float64(2),
            np.zeros((2, 3), "float32"),
            r"a state of float32 comes back as float64, first given by multiply \(.*test_fallbacks.py",
        ),
        (
            lambda c, x, h: np.tanh(x + h),
            np.zeros((2, 3), "float32"),
            "x is float64, and should have the dtype",
        ),
        (lambda c, x, h: h + 1, np.zeros((2, 3), "int64"), "a part of its state, .* in each row, is int64"),
        (
            guarded,
            np.zeros((2, 3)),
            "on numbers that were made up to try it .* it gave ValueError: x is not finite",
        ),
        (
            lambda c, x, h: np.tanh(x + h) * np.ones((2, 3)),
            np.zeros((2, 3)),
            r"it gave ValueError: multiply.* belongs into x or into the state",
        ),
        (
            lambda c, x, h: np.tanh(x + h) * np.ones((6, 3)),
            np.zeros((6, 3)),
            r"a state of \d rows becomes one of shape \(6, 3\); what has a row for each .* belongs into x",
        ),
        (noisy, np.zeros((2, 3)), r"draws random numbers, from tg.default_generator\(\); entry .*, multiply"),
    ],
)
def test_reasons_name_the_cause(step: Any, start: Any, reason: str) -> None:
    x = drawn(len(start), 5, 3)
    if "float64, first" in reason:
        x = x.astype("float32")
    with pytest.warns(RuntimeWarning, match=reason):
        nn.scan(tg.compile(Cell(step), backend="numpy"), x, start)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda x: tg.softmax(x, axis=0),
        lambda x: tg.roll(x, 1, axis=0),
        lambda x: tg.cumsum(x, axis=0),
        lambda x: x.mean(axis=0),
        lambda x: tg.softmax(x @ x.T, axis=-1) @ x - x.mean(axis=0),
    ],
)
def test_rows_that_will_depend_on_each_other_are_found(mixed: Any) -> None:
    """Once a weight that is 0 has learnt."""
    cell = Cell(called(lambda c, x: x + c.mix * mixed(x)))
    cell.mix = nn.Parameter(np.zeros(1), "float64")
    with tg.no_grad(), pytest.warns(RuntimeWarning, match="rows|another first axis|differs"):
        scanned(tg.compile(cell, backend="numpy"), drawn(3, 6, 3))


@pytest.mark.parametrize(
    "mixed",
    [
        lambda x: np.log(x) - np.log(x).mean(axis=0, keepdims=True),
        lambda x: np.roll(np.log(x), 1, axis=0),
        lambda x: np.sqrt(np.cumsum(x, axis=0)),
        lambda x: np.arcsin(x) * x.mean(axis=0),
    ],
)
def test_rows_of_positive_numbers_that_depend_on_each_other_are_found(mixed: Any) -> None:
    cell = tg.compile(Cell(called(lambda c, x: mixed(x))), backend="numpy")
    with tg.no_grad(), pytest.warns(RuntimeWarning, match="its rows are not independent"):
        scanned(cell, 0.3 + 0.1 * np.abs(drawn(3, 6, 3)))


def test_what_is_nan_for_all_numbers_that_can_be_made_up_is_not_compiled() -> None:
    cell = tg.compile(Cell(called(lambda c, x: np.log(x - 40.0))), backend="numpy")
    with pytest.warns(RuntimeWarning, match="its results are NaN for all numbers"):
        scanned(cell, 41 + np.abs(drawn(3, 6, 3)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rows_that_depend_on_each_other_are_found(dtype: str) -> None:
    w = drawn(3, 3).astype(dtype)

    def cell(x: Any, h: Any) -> Any:
        h = np.tanh(x @ w + h + 0.3 * h[-1:])
        return h, h

    with pytest.warns(RuntimeWarning, match="its rows are not independent, or rounding decides"):
        nn.scan(tg.compile(cell, backend="numpy"), drawn(3, 6, 3).astype(dtype), np.zeros((3, 3), dtype))
