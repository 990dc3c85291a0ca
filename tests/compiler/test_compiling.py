"""What compile promises besides equal numbers: one object, plans, steps, fallbacks, memory, threads."""

import copy
import gc
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from comparing import BACKENDS, NUMBA, assert_same, compiled_twin, everything, randomised

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import building, engine
from tinygrad_rnn.nn.states import tensors_of


def lstm(**options: Any) -> nn.LSTM:
    return randomised(nn.LSTM(3, 4, rng=0, dtype="float64", **options), 1)


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_the_same_layer(backend: str) -> None:
    layer = lstm(num_layers=2)
    before, text = layer.state_dict(), repr(layer)
    compiled = tg.compile(layer, backend=backend)
    assert compiled is layer
    assert isinstance(compiled, nn.LSTM)
    assert repr(compiled) == text
    assert list(compiled.state_dict()) == list(before)
    assert tg.compile(compiled) is compiled
    values = {name: v + 1 for name, v in before.items()}
    x = drawn(2, 3, 3)
    compiled(x)
    compiled.load_state_dict(values)
    plain = lstm(num_layers=2)
    plain.load_state_dict(values)
    assert_same(plain, compiled, lambda m, x: m(x), [x])


def test_a_copy_is_compiled_for_itself() -> None:
    layer = tg.compile(lstm(), backend="numpy")
    x = drawn(2, 3, 3)
    layer(x)
    twin = randomised(copy.deepcopy(layer), 5)
    plain = randomised(lstm(), 5)
    assert_same(plain, twin, lambda m, x: m(x), [x])


def test_models_and_wrappers() -> None:
    model = nn.Sequential(
        nn.Linear(3, 3, rng=0), nn.LSTM(3, 4, rng=0, return_state=False), nn.Linear(4, 1, rng=0)
    )
    both = nn.Bidirectional(nn.GRU(3, 4, rng=0), rng=0)
    for made in (model, both):
        compiled = compiled_twin(made, "numpy")
        x = drawn(2, 5, 3).astype("float32")
        assert_same(made, compiled, lambda m, x: m(x), [x])
        assert "looped back" in compiled.plan()
    with pytest.raises(ValueError, match="no recurrent cell in this Linear"):
        tg.compile(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="backend must be one of"):
        tg.compile(model, backend="fortran")


def test_a_function_is_a_cell() -> None:
    w = nn.Parameter(drawn(3, 3), "float64")

    def cell(x: Any, h: Any) -> Any:
        h = np.tanh(x + h @ w)
        return h, h

    compiled = tg.compile(cell, backend="numpy")
    x, h = tg.tensor(drawn(2, 5, 3)), tg.tensor(np.zeros((2, 3)))
    results = []
    for one in (cell, compiled):
        w.grad = None
        y, _ = nn.scan(one, x, h)
        (y * y).sum().backward()
        results.append((y.numpy(), w.grad.numpy()))
    np.testing.assert_allclose(results[1][0], results[0][0], rtol=1e-12)
    np.testing.assert_allclose(results[1][1], results[0][1], rtol=1e-11)


def test_the_plan_of_an_lstm() -> None:
    """Weight gradients are sunk, one product stays in each loop, and the input's product is hoisted."""
    plan = tg.compile(lstm(), backend="numpy").l0.plan()
    assert {p: plan.count(p) for p in ("once", "hoisted", "looped", "local", "looped back", "sunk")} == {
        "once": 1, "hoisted": 2, "looped": 12, "local": 10, "looped back": 15, "sunk": 5,
    }  # fmt: skip
    for phase, products in (("hoisted", 1), ("looped", 1), ("looped back", 1), ("sunk", 3)):
        rows = [text for when, text, *_ in plan.rows if when == phase]
        assert sum("= linear(" in t or "= matmul(" in t for t in rows) == products
    assert "weight_hh" in str(plan)


def test_a_plan_counts_bytes_and_operations() -> None:
    layer = tg.compile(lstm(), backend="numpy")
    layer(drawn(5, 7, 3))
    rows = {
        text.split(" = ")[1].split("(")[0]: rest
        for when, text, *rest in layer.l0.plan().rows
        if when == "hoisted"
    }
    assert rows["linear"] == [35, 35 * 16 * 8, 35 * 2 * 3 * 16]
    assert "5 sequences of 7 steps" in str(layer.plan())


def test_a_plan_adds_up() -> None:
    """An RNN of 3 and 4 features, 5 sequences of 7 steps: counted by hand."""
    rnn = tg.compile(nn.RNN(3, 4, rng=0, dtype="float64"), backend="numpy")
    rnn(drawn(5, 7, 3))
    plan = rnn.l0.plan()
    x_by_w, h_by_w, elements = 2 * 3 * 4, 2 * 4 * 4, 4
    assert plan.forward_flops == 4 + 35 * (x_by_w + elements + h_by_w + 2 * elements)
    # 1 - h * h; its product with the sum of two cotangents; gradients of h, of both biases, of U, x and W
    assert plan.backward_flops == 35 * (2 * elements + 2 * elements + h_by_w + elements + h_by_w + 2 * x_by_w)
    assert plan.kept == {"state0": 8 * 4 * 5 * (7 + 1)}
    assert str(plan).endswith("in all 2,384 flops forward, 4,620 back, 1,280 bytes kept (state0)")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gru_keeps_little(backend: str) -> None:
    """For backward r, z, n, h, and of U h the part for n; what is joined of gates lies nowhere else."""
    I, H, B, T = 4, 32, 40, 10
    layer = tg.compile(nn.GRU(I, H, rng=0, dtype="float64"), backend=backend)
    y, _ = layer(tg.tensor(drawn(B, T, I), requires_grad=True))
    held = tg.Tape(y).memory().total
    parameters = sum(p.size for p in layer.parameters())
    assert held <= 8 * (B * T * (5 * H + I) + 5 * B * H + 2 * parameters)
    program = layer.l0._tg_engine._traced.popitem()[1].programs.popitem()[1]
    assert len([v for v in program.plan.saved if v.features == (H,)]) == 4
    assert "concatenate" not in [i.name for i in program.plan.sunk]


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
    lambda: Cell(plain_cell, 19),
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
    with pytest.raises(TypeError, match="does not go forwards"):
        tg.compile(lstm(bidirectional=True)).step(x[:, 0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_is_not_lost(backend: str) -> None:
    for options in ({"cell_activation": "relu"}, {"clip": 1.0}, {"gate_activation": "hard_sigmoid"}):
        layer = tg.compile(lstm(**options), backend=backend)
        x = drawn(2, 3, 3)
        x[1, 1] = np.nan
        y = layer(x)[0].numpy()
        assert np.isnan(y[1, 1:]).all()
        assert np.isfinite(y[0]).all()


# ------------------------------------------------------------------------------------------- fallbacks


class Cell(nn.Module):
    """A cell whose step is a function given to it."""

    output_size = 3

    def __init__(self, step: Any, size: int = 3) -> None:
        self.w = nn.Parameter(drawn(size, size) * 0.5, "float64")
        self.step_function = step

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, len(self.w))))

    def forward(self, x: Any, h: Any) -> Any:
        h = self.step_function(self, x, h)
        return h, h


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


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [None, [5, 0, 2]])
@pytest.mark.parametrize(
    "options",
    [{"return_state": "all"}, {"recurrent_dropout": 0.5}, {"return_state": "all", "recurrent_dropout": 0.5}],
    ids=str,
)
def test_states_of_all_steps_and_dropout_of_the_state(options: Any, lengths: Any, backend: str) -> None:
    def run(layer: Any, x: Any) -> Any:
        layer.recurrent_dropout.rng = np.random.default_rng(3)  # the same masks for both
        return layer(x, lengths=lengths)

    plain = lstm(num_layers=2, bidirectional=True, **options)
    compiled = compiled_twin(plain, backend)
    assert_same(plain, compiled, run, [drawn(3, 5, 3)])
    plan = str(compiled.l1_reverse.plan())
    assert "looped back" in plan
    assert ("getitem(gy" in plan) == ("return_state" in options)
    plain.eval()
    compiled.eval()
    assert_same(plain, compiled, run, [drawn(3, 5, 3)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_states_of_all_steps_of_any_structure(backend: str) -> None:
    """Nested, of several axes and dtypes, in front of an output that is none of them."""

    def cell(x: Any, state: Any) -> Any:
        h, (k, m) = state
        h, k = np.tanh(x + h), k + 1
        m = m * 0.5 + h.reshape(len(h), 3, 1) * x.reshape(len(x), 1, 3)
        return (m * m).sum(1), (h, (k, m))

    def run(cell: Any, x: Any) -> Any:
        start = (np.zeros((2, 3)), (np.zeros((2, 1), "float32"), np.zeros((2, 3, 3))))
        start = (tg.tensor(start[0]), tuple(map(tg.tensor, start[1])))
        return nn.scan(cell, x, start, return_state="all", lengths=[4, 3], reverse=True)

    compiled = tg.compile(cell, backend=backend)
    assert_same(cell, compiled, run, [drawn(2, 4, 3)])
    assert "getitem(gy" in str(compiled.plan())


def test_states_of_all_steps_beside_outputs_of_several_axes_are_composed() -> None:
    def cell(x: Any, h: Any) -> Any:
        h = np.tanh(x + h)
        return h.reshape(len(h), 3, 1), h

    def run(cell: Any, x: Any) -> Any:
        return nn.scan(cell, x, tg.tensor(np.zeros((2, 3))), return_state="all")

    assert_same(cell, tg.compile(cell, backend="numpy"), run, [drawn(2, 4, 3)])


def test_zoneout_in_evaluation_is_compiled() -> None:
    plain = lstm(zoneout=0.3).eval()
    compiled = compiled_twin(plain, "numpy")
    assert_same(plain, compiled, lambda m, x: m(x), [drawn(3, 5, 3)])
    assert "looped back" in compiled.plan()


def test_an_option_that_is_changed_is_seen() -> None:
    plain, compiled = lstm(clip=5.0), tg.compile(lstm(clip=5.0), backend="numpy")
    compiled(drawn(3, 5, 3))
    plain.l0.clip = compiled.l0.clip = 0.1
    assert_same(plain, compiled, lambda m, x: m(x), [drawn(3, 5, 3)])


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


# -------------------------------------------------------------------------------------- memory, threads


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_forwards_before_their_backwards(backend: str) -> None:
    layer, plain = tg.compile(lstm(), backend=backend), lstm()
    xs = [drawn(2, 5, 3, seed=k) for k in range(3)]
    layer(xs[0])[0].sum().backward()  # so that there are buffers to be lent again
    for one in (layer, plain):
        one.zero_grad()
        outputs = [one(x)[0] for x in xs]
        kept = [y.numpy().copy() for y in outputs]
        for y in outputs[::-1]:
            (y * y).sum().backward(retain_graph=True)
            (y * y).sum().backward()
        for y, k in zip(outputs, kept, strict=True):
            np.testing.assert_array_equal(y.numpy(), k)
    for p, q in zip(layer.parameters(), plain.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-11)


def plain_cell(cell: Any, x: Any, h: Any) -> Any:
    return np.tanh(x + h @ cell.w)


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_among_the_attributes_are_looked_at(backend: str) -> None:
    cells = [Cell(lambda cell, x, h: tg.tanh(x * cell.mask + h @ cell.w)) for _ in range(2)]
    for cell in cells:
        cell.mask = drawn(3)
    composed, compiled = cells[0], tg.compile(cells[1], backend=backend)
    x = tg.tensor(drawn(4, 2, 3))

    def write(cell: Any) -> None:
        cell.mask[1] = 5.0

    def replace(cell: Any) -> None:
        cell.mask = drawn(3, seed=9)

    for change in (write, replace):
        before = nn.scan(compiled, x)[0].numpy()
        for cell in cells:
            change(cell)
        wanted = nn.scan(composed, x)[0].numpy()
        assert np.abs(wanted - before).max() > 1e-3
        np.testing.assert_allclose(nn.scan(compiled, x)[0].numpy(), wanted, rtol=1e-11)


class Reading(nn.Module):
    """A cell whose output depends on its input alone."""

    output_size = 3

    def __init__(self) -> None:
        self.w = nn.Parameter(drawn(3, 3) * 0.5, "float64")

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, 3)))

    def forward(self, x: Any, h: Any) -> Any:
        return np.tanh(x @ self.w), np.tanh(x + h @ self.w)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_given_out_is_not_lent_again(backend: str) -> None:
    """Layers that hand each other what stood in buffers: cotangents of x, outputs of no loop."""
    cells = [Cell(plain_cell), Reading(), Cell(plain_cell), Reading()]
    composed = nn.Recurrent(cells, return_state=False)
    compiled = compiled_twin(composed, backend)
    with tg.no_grad():
        outputs = [compiled(drawn(4, 5, 3, seed=k)) for k in range(3)]
        for k, y in enumerate(outputs):
            np.testing.assert_allclose(y.numpy(), composed(drawn(4, 5, 3, seed=k)).numpy(), rtol=1e-12)
    for _ in range(3):
        assert_same(composed, compiled, lambda m, x: m(x), [drawn(4, 5, 3)])


def test_a_changed_weight_is_refused() -> None:
    layer = tg.compile(lstm(), backend="numpy")
    y, _ = layer(drawn(2, 5, 3))
    layer.weight_hh_l0.assign_(layer.weight_hh_l0.numpy() * 2)
    with pytest.raises(RuntimeError, match=r"weight_hh_l0.*changed in place"):
        y.sum().backward()


def test_the_tape_holds_one_entry_and_lets_go_of_it() -> None:
    layer = tg.compile(lstm(), backend="numpy")
    y, _ = layer(tg.tensor(drawn(2, 5, 3), requires_grad=True))
    names = [e.primitive.name for e in tg.Tape(y)]
    assert names.count("scan") == 1
    assert "sigmoid" not in names
    str(tg.Tape(y))
    assert tg.Tape(y).memory().total > 2 * 5 * 4 * 8
    y.sum().backward()
    held = tg.Tape(y).memory().total
    assert held == 0
    with pytest.raises(RuntimeError, match="released"):
        y.sum().backward()
    with tg.no_grad():
        quiet, _ = layer(drawn(2, 5, 3))
    assert not quiet.requires_grad


def test_buffers_go_back_to_the_pool() -> None:
    layer = tg.compile(lstm(), backend="numpy")
    pool = layer.l0._tg_engine.pool
    for _ in range(3):
        layer(drawn(2, 5, 3))[0].sum().backward()
        gc.collect()
    size = sum(len(free) for free in pool._free.values())
    for _ in range(5):
        layer(drawn(2, 5, 3))[0].sum().backward()
        gc.collect()
    assert sum(len(free) for free in pool._free.values()) == size


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_a_layer(backend: str) -> None:
    layer, plain = tg.compile(lstm(), backend=backend), lstm()
    xs = [drawn(4, 30, 3, seed=k) for k in range(4)]
    wanted = [plain(x)[0].numpy() for x in xs]
    wrong: list[int] = []
    layer(xs[0])

    def work(k: int) -> None:
        results = [layer(xs[k])[0].numpy() for _ in range(20)]
        wrong.extend(k for y in results if not np.allclose(y, wanted[k], rtol=1e-12))

    running = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in running:
        t.start()
    for t in running:
        t.join()
    assert not wrong


@pytest.mark.parametrize("backend", [NUMBA])
def test_rows_are_shared_among_threads(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "threads", lambda: 3)
    monkeypatch.setattr(building, "_WORTH", 1)
    plain = lstm()
    compiled = compiled_twin(plain, backend)
    assert_same(plain, compiled, lambda m, x: m(x), [drawn(17, 5, 3)])
    lengths = np.arange(17) % 6
    assert_same(plain, compiled, lambda m, x: m(x, lengths=lengths), [drawn(17, 5, 3)])


class Normalised(nn.Module):
    """A cell whose weights are results: what they are made of is learnt."""

    output_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.v, self.g, self.u = (
            nn.Parameter(drawn(*s, seed=k)) for k, s in enumerate([(3, 4), (4,), (4, 4)])
        )
        self.prepare()

    def prepare(self) -> None:
        self.w = self.v * (self.g / tg.sqrt((self.v * self.v).sum(0)))

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, 4)))

    def forward(self, x: Any, h: Any) -> Any:
        h = np.tanh(x @ self.w + h @ self.u)
        return h, h


def test_weights_may_be_results() -> None:
    def run(cell: Any, x: Any) -> Any:
        cell.prepare()
        return nn.scan(cell, x)

    plain, compiled = Normalised(), tg.compile(Normalised(), backend="numpy")
    for seed in (0, 1):  # other results the second time
        assert_same(plain, compiled, run, [drawn(2, 5, 3, seed=seed)])


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


def test_a_single_step_that_gives_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(engine.Single):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            right = self.prepare

            def prepare(*args: Any) -> Any:
                run, made = right(*args)
                return lambda *arrays: (run(*arrays)[0] * 1.001, run(*arrays)[1]), made

            self.prepare = prepare

    monkeypatch.setattr(engine, "Single", Wrong)
    plain, compiled = lstm().l0, tg.compile(lstm().l0, backend="numpy")
    x = tg.tensor(drawn(2, 3))
    with tg.no_grad():
        with pytest.warns(RuntimeWarning, match="runs as it is composed, .* gives another output"):
            compiled.step(x)
        y, _ = compiled.step(x)
        np.testing.assert_array_equal(y, plain(x, plain.initial_state(2))[0])


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


def test_what_a_class_has_of_its_own_stays() -> None:
    class Own(Cell):
        def __init__(self) -> None:
            super().__init__(self.step)

        def step(self, _cell: Any, x: Any, h: Any) -> Any:
            return np.tanh(x + h)

    made: list[type] = []

    class Trainer(nn.Module):
        def __init_subclass__(cls) -> None:
            made.append(cls)

        def __init__(self) -> None:
            super().__init__()
            self.lstm = lstm()

        def initial_state(self, batch: int) -> Any:
            return self.lstm.l0.initial_state(batch)

        def plan(self) -> str:
            return "to train"

        def forward(self, x: Any) -> Any:
            return self.lstm(x)

    assert_same(Own(), tg.compile(Own(), backend="numpy"), nn.scan, [drawn(2, 4, 3)])
    models = [tg.compile(Trainer(), backend="numpy") for _ in range(3)]
    assert [m.plan() for m in models] == ["to train"] * 3
    assert "looped back" in str(models[0].lstm.l0.plan())  # a model with initial_state is no cell
    assert len(made) == 1


def test_a_call_of_ones_own_is_honoured() -> None:
    class Scaled(nn.RNNCell):
        def __call__(self, x: Any, state: Any = None) -> Any:
            return super().__call__(x * 2.0, state)

    for make in (
        lambda: Scaled(3, 4, rng=0, dtype="float64"),
        lambda: nn.Recurrent(Scaled(3, 4, rng=0, dtype="float64")),
    ):
        plain, compiled = make(), tg.compile(make(), backend="numpy")
        run = nn.scan if isinstance(plain, Scaled) else lambda m, x: m(x)
        assert_same(plain, compiled, run, [drawn(2, 4, 3)])
        doubled = nn.RNNCell(3, 4, rng=0, dtype="float64")
        y = nn.scan(doubled, 2 * drawn(2, 4, 3))[0]
        np.testing.assert_allclose(
            tensors_of(run(compiled, drawn(2, 4, 3)))[0].numpy(), y.numpy(), rtol=1e-12
        )


class TwoHeads(nn.Module):
    """The state does not depend on v, which only the output does."""

    output_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.w, self.v = (nn.Parameter(drawn(3, n, seed=n), "float64") for n in (3, 2))

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, 3)))

    def forward(self, x: Any, h: Any) -> Any:
        h = np.tanh(x + h @ self.w)
        return h @ self.v, h


@pytest.mark.parametrize("recorded", [False, True])
def test_what_a_loss_does_not_depend_on_gets_no_gradient(recorded: bool) -> None:
    grads = []
    for cell in (TwoHeads(), tg.compile(TwoHeads(), backend="numpy")):
        _, h = nn.scan(cell, drawn(2, 4, 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of the recorded pass
            (h * h).sum().backward(create_graph=recorded)
        assert cell.v.grad is None
        grads.append(cell.w.grad.numpy())
    np.testing.assert_allclose(*grads, rtol=1e-12)


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


def test_a_shallow_copy_is_compiled_for_itself() -> None:
    cell = tg.compile(lstm(clip=5.0).l0, backend="numpy")
    x = drawn(2, 3, 3)
    nn.scan(cell, x)
    other = copy.copy(cell)
    other.clip = 0.1
    plain = lstm(clip=0.1).l0
    for _ in range(2):
        np.testing.assert_allclose(nn.scan(other, x)[0].numpy(), nn.scan(plain, x)[0].numpy(), rtol=1e-12)
        with tg.no_grad():
            steps = [c.step(x[:, 0])[0].numpy() for c in (cell, other)]
            wanted = [
                c(tg.tensor(x[:, 0]), c.initial_state(2))[0].numpy() for c in (lstm(clip=5.0).l0, plain)
            ]
        np.testing.assert_allclose(steps, wanted, rtol=1e-12)


def test_another_backend_only_where_it_is_named() -> None:
    layer = tg.compile(lstm(), backend="numpy")
    assert tg.compile(layer).l0._tg_engine.backend == "numpy"
    assert tg.compile(layer, backend="numba").l0._tg_engine.backend == "numba"


def test_a_decorator() -> None:
    @tg.compile(backend="numpy")
    def cell(x: Any, h: Any) -> Any:
        h = np.tanh(x + h)
        return h, h

    nn.scan(cell, drawn(2, 4, 3), tg.tensor(np.zeros((2, 3))))
    assert "looped back" in str(cell.plan())


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


def test_kernels_are_kept_where_it_is_possible(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "kept"))
    assert building.cache_folder() == tmp_path / "kept"
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "file" / "kept"))
    folder = building.cache_folder()
    assert folder.is_dir()
    assert folder == building.cache_folder()
    assert tmp_path not in folder.parents


def test_a_compiled_layer_is_converted_as_the_plain_one() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch runs what is converted to it")
    plain = lstm(num_layers=2, bidirectional=True)
    compiled = compiled_twin(plain, "numpy")
    x = drawn(2, 5, 3)
    wanted = compiled(x)[0].numpy()
    got = tg.convert.to_torch_module(compiled)(torch.tensor(x))[0]
    np.testing.assert_allclose(got.detach().numpy(), wanted, rtol=1e-12)
    for name, value in tg.convert.to_torch(plain).items():
        np.testing.assert_array_equal(tg.convert.to_torch(compiled)[name], value)
    pytest.importorskip("onnx", reason="onnx writes the file")
    models = [nn.Sequential(layer) for layer in (plain, compiled)]
    files = [tg.convert.to_onnx(model).SerializeToString() for model in models]
    assert files[0] == files[1]


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


def test_what_copying_leaves_in_a_class_is_no_change() -> None:
    class Fresh(TwoHeads):
        """Never copied before."""

    cell = tg.compile(Fresh(), backend="numpy")
    _, h = nn.scan(cell, drawn(2, 4, 3))
    nn.scan(cell, drawn(2, 4, 3))
    assert len(cell._tg_engine._traced) == 1
    with pytest.warns(RuntimeWarning, match="itself recorded"):
        (h * h).sum().backward(create_graph=True)
    assert cell.w.grad is not None
