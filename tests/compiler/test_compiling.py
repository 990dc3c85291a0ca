"""What compile promises besides equal numbers: one object, plans, options, copies."""

import copy
from typing import Any

import numpy as np
import pytest
from comparing import BACKENDS, Cell, assert_same, compiled_twin, drawn, lstm, randomised

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import building
from tinygrad_rnn.nn.states import tensors_of


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


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_x_may_hold_integers(dtype: str, backend: str) -> None:
    """They have no gradient, and the weights that they meet have one."""

    def gradients(layer: Any) -> Any:
        layer.zero_grad()
        y = layer(np.abs(4 * drawn(2, 5, 3)).astype(dtype))
        (y * y).sum().backward()
        return [y.numpy(), *[p.grad.numpy() for p in layer.parameters()]]

    layer = nn.GRU(3, 4, rng=0, dtype="float64", return_state=False)
    compiled = compiled_twin(layer, backend)
    for wanted, got in zip(gradients(layer), gradients(compiled), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-11)
    assert "looped back" in compiled.plan()


def test_the_output_of_a_cell_may_be_an_array() -> None:
    """As `nn.scan` has it, and as long as it was made of tensors: else nothing is compiled."""

    def cell(x: Any, h: Any) -> Any:
        return (x + h).numpy(), x + h

    x, h = drawn(2, 5, 3), tg.tensor(np.zeros((2, 3)))
    with pytest.warns(RuntimeWarning, match="its output depends on nothing that is on the tape"):
        y, _ = nn.scan(tg.compile(cell, backend="numpy"), x, h)
    np.testing.assert_array_equal(y.numpy(), nn.scan(cell, x, h)[0].numpy())
