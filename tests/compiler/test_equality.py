"""Compiled against composed: layers with their options, cells of one's own, and random cells."""

from typing import Any

import numpy as np
import pytest
from comparing import BACKENDS, NUMBA, assert_same, compiled_twin, kernels_in_python, randomised
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import engine
from tinygrad_rnn.compiler.numpy_backend import NumpyWriter
from tinygrad_rnn.nn.states import tensors_of

OPTIONS: list[tuple[Any, dict[str, Any]]] = [
    (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu", "bias": False}),
    (nn.LSTM, {}),
    (nn.LSTM, {"peephole": "diagonal", "forget_bias": 1.0}),
    (nn.LSTM, {"peephole": "full", "clip": 0.7}),
    (nn.LSTM, {"proj_size": 2, "coupled": True}),
    (nn.LSTM, {"layer_norm": True}),
    (nn.LSTM, {"gate_activation": "hard_sigmoid", "output_activation": "softplus"}),
    (nn.LSTM, {"cell_activation": "elu", "output_activation": "leaky_relu"}),
    (nn.LSTM, {"cell_activation": "gelu", "output_activation": "silu"}),
    (nn.GRU, {}),
    (nn.GRU, {"reset_after": False, "update_gate": "replace"}),
    (nn.MGU, {}),
]
LAYERS = [(kind, options, dtype) for kind, options in OPTIONS for dtype in ("float32", "float64")]
SIZES = (3, 4)


def ids(layer: Any) -> str:
    kind, options, dtype = layer
    return "-".join([kind.__name__, *[f"{k}={v}" for k, v in options.items()], dtype])


def forms(layer: Any, backend: str, **more: Any) -> tuple[Any, Any]:
    kind, options, dtype = layer
    composed = randomised(kind(*SIZES, rng=0, dtype=dtype, **options, **more), 1)
    return composed, compiled_twin(composed, backend)


def in_double(layer: Any, composed: Any, **more: Any) -> Any:
    """The composed form in double precision, with the same parameters, where it is in single."""
    kind, options, dtype = layer
    if dtype != "float32":
        return None
    exact = kind(*SIZES, rng=0, dtype="float64", **options, **more)
    for p, q in zip(exact.parameters(), composed.parameters(), strict=True):
        p.assign_(q.numpy().astype("float64"))
    return exact


def inputs(rng: np.random.Generator, layer: Any, batch: int, steps: int) -> list[np.ndarray]:
    return [rng.standard_normal((batch, steps, SIZES[0])).astype(layer[2])]


@pytest.mark.parametrize("layer", LAYERS, ids=ids)
def test_layers_with_numpy(layer: Any) -> None:
    composed, compiled = forms(layer, "numpy")
    rng = np.random.default_rng(2)
    for batch, steps in ((5, 17), (1, 1), (5, 2), (300, 3)):
        assert_same(composed, compiled, lambda m, x: m(x), inputs(rng, layer, batch, steps))


KERNELS = [LAYERS[k] for k in (0, 3, 4, 7, 9, 10, 13, 14, 17, 20, 22, 24)]


@pytest.mark.parametrize("layer", KERNELS, ids=ids)
@pytest.mark.parametrize("backend", [NUMBA])
def test_layers_with_numba(layer: Any, backend: str) -> None:
    composed, compiled = forms(layer, backend)
    rng = np.random.default_rng(2)
    for batch, steps in ((5, 17), (1, 1), (9, 2)):
        assert_same(composed, compiled, lambda m, x: m(x), inputs(rng, layer, batch, steps))


def test_all_but_a_few_run_as_kernels() -> None:
    """What has no form in a kernel is known: a change that loses one is seen here."""
    pytest.importorskip("numba")
    for kind, options in OPTIONS:
        composed = kind(*SIZES, rng=0, **options)
        compiled = compiled_twin(composed, "numba")
        kernels = "kernel of numba" in str(compiled.plan())
        assert kernels == ("gelu" not in options.values()), (kind, options)


@pytest.mark.filterwarnings('ignore:.*return_state="all" is not compiled')
@pytest.mark.parametrize("backend", BACKENDS)
@given(data=st.data())
def test_shapes_lengths_and_directions(backend: str, data: Any) -> None:
    few = [LAYERS[k] for k in (5, 6, 20)]  # each costs a kernel's compilation
    layer = data.draw(st.sampled_from(LAYERS if backend == "numpy" else few), "layer")
    steps, batch = data.draw(st.sampled_from([0, 1, 2, 17])), data.draw(st.sampled_from([0, 1, 5]))
    layers = data.draw(st.sampled_from([1, 2]))
    flags = {
        "num_layers": layers,
        "dropout": data.draw(st.sampled_from([0.0, 0.5])) if layers > 1 else 0.0,
        "recurrent_dropout": data.draw(st.sampled_from([0.0, 0.5])),
        "bidirectional": data.draw(st.booleans()),
        "return_sequences": data.draw(st.booleans()),
        "return_state": data.draw(st.sampled_from([True, False, "all"])),
        "learn_initial_state": data.draw(st.booleans()),
        "batch_first": data.draw(st.booleans()),
    }
    flags["go_backwards"] = not flags["bidirectional"] and data.draw(st.booleans())
    composed, compiled = forms(layer, backend, **flags)
    exact = in_double(layer, composed, **flags)
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    call: dict[str, Any] = {}
    padding = data.draw(st.sampled_from(["none", "lengths", "mask"]))
    if padding == "lengths":
        call["lengths"] = rng.integers(0, steps + 1, batch)
    if padding == "mask":
        mask = rng.random((batch, steps)) < 0.7
        call["mask"] = mask if flags["batch_first"] else mask.T
    arrays = inputs(rng, layer, batch, steps)
    if not flags["batch_first"]:
        arrays[0] = arrays[0].swapaxes(0, 1)
    with_state = data.draw(st.booleans())
    parts = 2 if layer[0] is nn.LSTM else 1
    if with_state:
        count = flags["num_layers"] * (1 + flags["bidirectional"])
        front = (batch, count) if flags["batch_first"] else (count, batch)
        widths = [layer[1].get("proj_size", SIZES[1]), SIZES[1]][:parts]
        arrays += [rng.standard_normal((*front, n)).astype(layer[2]) for n in widths]

    def run(module: Any, x: Any, *state: Any) -> Any:
        start = None if not state else state if parts == 2 else state[0]
        return module(x, start, **call)

    assert_same(composed, compiled, run, arrays, exact=exact)


class PeepholeLSTM(nn.Module):
    """As a user writes it, from Gers and Schmidhuber (2000)."""

    def __init__(self, input_size: int, hidden_size: int, dtype: Any) -> None:
        rng = np.random.default_rng(0)
        self.input_size, self.output_size = input_size, hidden_size
        self.w = nn.Parameter(rng.standard_normal((input_size + hidden_size, 4 * hidden_size)) * 0.3, dtype)
        self.b = nn.Parameter(rng.standard_normal(4 * hidden_size), dtype)
        self.p = nn.Parameter(rng.standard_normal((3, hidden_size)), dtype)

    def initial_state(self, batch: int) -> Any:
        zeros = np.zeros((batch, self.output_size), self.w.dtype)
        return tg.tensor(zeros), tg.tensor(zeros)

    def forward(self, x: Any, state: Any) -> Any:
        h, c = state
        gates = np.concatenate([x, h], axis=1) @ self.w + self.b
        i, f, g, o = np.split(gates, 4, axis=1)
        i, f = tg.sigmoid(i + self.p[0] * c), tg.sigmoid(f + self.p[1] * c)
        c = f * c + i * np.tanh(g)
        h = tg.sigmoid(o + self.p[2] * c) * np.tanh(c)
        return h, (h, c)


def scanned(cell: Any, x: Any) -> Any:
    return nn.scan(cell, x)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_peephole_lstm_of_ones_own(backend: str, dtype: str) -> None:
    composed = PeepholeLSTM(3, 4, dtype)
    compiled = compiled_twin(composed, backend)
    x = np.random.default_rng(0).standard_normal((5, 17, 3)).astype(dtype)
    assert_same(composed, compiled, scanned, [x])


class Passing(nn.Module):
    """States that change places, pass through, or come from x alone; an output that is none of them."""

    def __init__(self) -> None:
        self.output_size = 3
        self.w = nn.Parameter(np.random.default_rng(0).standard_normal((3, 3)), "float64")

    def initial_state(self, batch: int) -> Any:
        return tuple([tg.tensor(np.full((batch, 3), float(k))) for k in range(4)])

    def forward(self, x: Any, state: Any) -> Any:
        a, b, c, _ = state
        return a * b + x, (b, np.tanh(a @ self.w) + c, c, x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_states_that_pass_through(backend: str) -> None:
    composed = Passing()
    compiled = compiled_twin(composed, backend)
    rng = np.random.default_rng(0)
    for lengths in (None, np.array([2, 4, 0, 1])):

        def run(cell: Any, x: Any, lengths: Any = lengths) -> Any:
            return nn.scan(cell, x, lengths=lengths)

        assert_same(composed, compiled, run, [rng.standard_normal((4, 4, 3))])
    x, state = tg.tensor(rng.standard_normal((4, 3))), composed.initial_state(4)
    with tg.no_grad():
        wanted, got = composed(x, state), compiled.step(x, state)
    for w, g in zip(tensors_of(wanted), tensors_of(got), strict=True):
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-12)


# ------------------------------------------------------------------------------------------ random cells

WIDTH = 4
UNARY = {
    "tanh": np.tanh,
    "sigmoid": tg.sigmoid,
    "relu": tg.relu,
    "softplus": tg.softplus,
    "square": lambda a: np.square(np.tanh(a)),
    "exp": lambda a: np.exp(-a * a),
    "sin": np.sin,
    "abs": np.abs,
    "clip": lambda a: np.clip(a, -0.5, 0.8),
    "hard": tg.hard_tanh,
    "softmax": tg.softmax,
    "centred": lambda a: a - a.mean(axis=-1, keepdims=True),
    "total": lambda a: a * a.sum(axis=1, keepdims=True),
    "turned": lambda a: a[:, ::-1],
    "shifted": lambda a: tg.concatenate([a[:, 1:], a[:, :1]], axis=-1),
    "halves": lambda a: tg.concatenate([h * h for h in np.split(a, 2, axis=-1)], axis=1),
    "first": lambda a: a[:, :1] + a,
    "reshaped": lambda a: (
        a.reshape(len(a), 2, 2).sum(axis=1).reshape(-1, 2) @ np.eye(2, WIDTH, dtype=a.dtype)
    ),
    "half": lambda a: a / 2 - 1,
    "detached": lambda a: a * a.detach(),
    "shared": lambda a: a + np.full((len(a), 1), 0.5, a.dtype),
    "ones": lambda a: a * np.ones((len(a), WIDTH), a.dtype),
    "bounded above": lambda a: np.clip(a, -np.inf, 0.5),
    "unbounded": lambda a: np.minimum(np.maximum(a, -np.inf), np.inf),
    "normalised": lambda a: (
        (a - a.mean(axis=-1, keepdims=True)) / np.sqrt(a.var(axis=-1, keepdims=True) + 0.1)
    ),
    "spread": lambda a: np.exp(-a.var(axis=1, keepdims=True)) * a,
    "gated": lambda a: tg.sigmoid(a[:, 1:2]) * a,
    "led": lambda a: tg.concatenate([np.ones((len(a), 1), a.dtype), a[:, 1:]], axis=1),
    "unequal": lambda a: tg.concatenate([a[:, :3] * a[:, 1:], np.tanh(a[:, 3:])], axis=1),
}
BINARY = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (1 + b * b),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "crossed": lambda a, b: tg.concatenate([b[:, 1:3], a[:, :2]], axis=1),
    "beside": lambda a, b: tg.concatenate([a, np.tanh(b)], axis=-1)[:, 3:7],
    "weighted": lambda a, b: a * b.mean(axis=-1, keepdims=True),
    "led by": lambda a, b: a + np.exp(-b[:, :1] * b[:, :1]),
}
MIXED = {
    "linear": lambda a, p: tg.linear(a, p),
    "matmul": lambda a, p: a @ p,
    "bias": lambda a, p: a + p[0],
    "gain": lambda a, p: a * np.exp(-np.square(p[1])),
    "column": lambda a, p: (p @ a.T).T,
    "everywhere": lambda a, p: a + np.ones((len(a), 1), a.dtype) * p[0],
    "joined": lambda a, p: tg.concatenate([a, a * a], axis=1) @ tg.concatenate([p, p / 2], axis=0),
    "biased": lambda a, p: tg.linear(tg.concatenate([np.ones((len(a), 1), a.dtype), a[:, 1:]], axis=1), p),
}


class RandomCell(nn.Module):
    """A cell that computes what it is told to: instructions (name, operands) over a list of values."""

    output_size = WIDTH

    def __init__(self, program: list[Any], states: int, dtype: Any) -> None:
        self.program = program
        self.states = states
        rng = np.random.default_rng(len(program))
        for k in range(2):
            setattr(self, f"p{k}", nn.Parameter(rng.standard_normal((WIDTH, WIDTH)) * 0.5, dtype))
        self.dtype = np.dtype(dtype)

    def initial_state(self, batch: int) -> Any:
        return tuple([tg.tensor(np.full((batch, WIDTH), 0.1, self.dtype)) for _ in range(self.states)])

    def forward(self, x: Any, state: Any) -> Any:
        values = [x, *state]
        for name, a, b in self.program:
            if name in UNARY:
                made = UNARY[name](values[a % len(values)])  # type: ignore[no-untyped-call]
            elif name in BINARY:
                made = BINARY[name](values[a % len(values)], values[b % len(values)])  # type: ignore[no-untyped-call]
            else:
                made = MIXED[name](values[a % len(values)], getattr(self, f"p{b % 2}"))  # type: ignore[no-untyped-call]
            values.append(made)
        news = [np.tanh(v) if k % 2 else tg.sigmoid(v) for k, v in enumerate(values[-self.states :])]
        return values[-1] * news[0], tuple(news)


instructions = st.tuples(
    st.sampled_from([*UNARY, *BINARY, *BINARY, *MIXED, *MIXED]), st.integers(0, 30), st.integers(0, 30)
)
programs = st.lists(instructions, min_size=3, max_size=20)
LONG = settings().max_examples > 100


def shuffled(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """States that are views of each other: parts of them, folded, or in another order."""
    folded = a.reshape(-1, 2, 2).swapaxes(1, 2).reshape(-1, WIDTH)
    return x * a, (tg.concatenate([c, a[:, 2:]], axis=1), b[:, ::-1] * folded, a[:, :2])


def turned(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """A view of an array for one step, which is read when the array itself is not any more."""
    view = (a @ cell.p0)[:, ::-1]
    other = b / 2 - 1
    return b * b, (tg.sigmoid(view), np.tanh(other), c * c)


def joined(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """A cotangent that is joined of parts narrower than what else is read of the one before it."""
    total = np.exp(-np.square(x + b))
    parts = tg.concatenate([h * h for h in np.split(a, 2, axis=1)], axis=1)
    gate = tg.sigmoid(total)
    return parts * gate, (gate, np.tanh(parts), c)


def multiplied(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """A cotangent that is a product, while the one before it is added to another product."""
    from_a = a @ cell.p0
    p = x + b
    q = np.tanh(from_a + p @ cell.p1)
    return x * q, (p, q, c)


def mirrored(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """A view of what comes in, which is taken for all steps at once and read in the loop."""
    view = x[:, ::-1]
    return view * a, (tg.sigmoid(a), np.tanh(view), c)


class Threefold(RandomCell):
    """A cell with three states, whose step is a function."""

    def __init__(self, step: Any) -> None:
        super().__init__([], 3, "float64")
        self.step_function = step

    def initial_state(self, batch: int) -> Any:
        rng = np.random.default_rng(0)
        return tuple([tg.tensor(rng.standard_normal((batch, n))) for n in (WIDTH, WIDTH, 2)])

    def forward(self, x: Any, state: Any) -> Any:
        return self.step_function(self, x, *state)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("step", [shuffled, turned, joined, multiplied, mirrored])
def test_nothing_is_overwritten_that_is_still_read(step: Any, backend: str) -> None:
    composed = Threefold(step)
    compiled = compiled_twin(composed, backend)
    assert_same(composed, compiled, scanned, [np.random.default_rng(0).standard_normal((3, 5, WIDTH))])


def repeated(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """A product of one feature that is repeated."""
    a = np.tanh(x + np.broadcast_to(a.mean(axis=1, keepdims=True), (len(x), WIDTH)) @ cell.p0)
    return a, (a, np.broadcast_to(c[:, :1], (len(x), WIDTH)) @ cell.p1, c)


def of_several_widths(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """Results of one width that are made of those of another, and these of them again."""
    v = x + a @ cell.p0
    normal = (v - v.mean(axis=-1, keepdims=True)) / np.sqrt(v.var(axis=-1, keepdims=True) + 1e-3)
    gate = np.exp(np.tanh(b[:, :1]))
    return normal * 2, (normal, (b + gate) * x, np.tanh(c * (b + gate * x)[:, 1:3]))


def moved(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """Cotangents that are parts of others, of other widths."""
    return x * a, (tg.concatenate([c, np.tanh(a[:, 2:])], axis=1), b * x, a[:, :2])


def constant(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """Constants, and parameters, of which each row has its own."""
    ones, zeros = np.ones((len(x), 1)), np.zeros_like(b.numpy())
    bias = ones * cell.p1[0]
    joined = tg.concatenate([x[:, :3], ones * cell.p0[0, :1]], axis=1)
    a = np.tanh(joined + tg.concatenate([ones, a[:, 1:]], axis=1) @ cell.p0)
    return a + zeros + bias @ cell.p1, (a + 2 * ones, bias, c + zeros[:, :2])


def unbounded(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """Constants that are not finite."""
    a = np.tanh(np.clip(x, -np.inf, 0.5) + np.minimum(np.maximum(a, -np.inf), np.inf) @ cell.p0)
    return a, (a, np.clip(b * x, -0.5, np.inf), c * np.nan)


@pytest.mark.parametrize("step", [repeated, of_several_widths, moved, constant, unbounded])
def test_constants_and_widths(step: Any) -> None:
    composed = Threefold(step)
    rng = np.random.default_rng(0)
    with kernels_in_python():
        for backend in ("numpy", "numba"):
            compiled = compiled_twin(composed, backend)
            assert_same(composed, compiled, scanned, [rng.standard_normal((3, 5, WIDTH))])
            fused = backend == "numba" and step is not constant
            assert ("kernel of numba" in str(compiled.plan())) == fused
            x, state = tg.tensor(rng.standard_normal((4, WIDTH))), composed.initial_state(4)
            with tg.no_grad():
                wanted, got = composed(x, state), compiled.step(x, state)
            for w, g in zip(tensors_of(wanted), tensors_of(got), strict=True):
                np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", [NUMBA])
def test_constants_that_are_not_finite(backend: str) -> None:
    composed = Threefold(unbounded)
    compiled = compiled_twin(composed, backend)
    assert_same(composed, compiled, scanned, [np.random.default_rng(0).standard_normal((3, 5, WIDTH))])
    assert "kernel of numba" in str(compiled.plan())


class Narrow(nn.Module):
    """A cell with as many features as it is told, be it none."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        rng = np.random.default_rng(0)
        self.output_size = hidden_size
        self.w = nn.Parameter(rng.standard_normal((input_size, hidden_size)), "float64")
        self.u = nn.Parameter(rng.standard_normal((hidden_size, hidden_size)), "float64")

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, self.output_size)))

    def forward(self, x: Any, h: Any) -> Any:
        h = np.tanh(x @ self.w + h @ self.u)
        return h, h


@pytest.mark.parametrize("sizes", [(0, 4), (3, 0), (0, 0)])
def test_no_features(sizes: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal((3, 5, sizes[0]))
    with kernels_in_python():
        for composed in (Narrow(*sizes), *([nn.LSTM(*sizes, rng=0, dtype="float64")] if sizes[1] else [])):
            for backend in ("numpy", "numba"):
                compiled = compiled_twin(composed, backend)
                for lengths in (None, np.array([2, 5, 0])):

                    def run(module: Any, x: Any, lengths: Any = lengths) -> Any:
                        if isinstance(module, nn.LSTM):
                            return module(x, lengths=lengths)
                        return nn.scan(module, x, lengths=lengths)

                    assert_same(composed, compiled, run, [x])


def positive_only(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    a = np.tanh(np.log(x) + a @ cell.p0)
    return a, (a, b, c)


def cancelling(cell: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    a = np.tanh((x + 1e14) + (a @ cell.p0 + -1e14))
    return a, (a, b, c)


def test_what_is_not_a_number_elsewhere_is_compiled() -> None:
    composed = Threefold(positive_only)
    compiled = compiled_twin(composed, "numpy")
    x = np.random.default_rng(0).uniform(0.5, 2, (3, 5, WIDTH))
    assert_same(composed, compiled, scanned, [x])


@pytest.mark.parametrize("step", [cancelling, multiplied])
def test_what_differs_is_refused_with_its_name_and_size(step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if step is multiplied:
        monkeypatch.setattr(NumpyWriter, "into", lambda writer, i, out, rows: f"{out}[...] = 0.5")
    compiled = compiled_twin(Threefold(step), "numpy")
    with pytest.warns(RuntimeWarning, match=r"gives another output, by \de[-+]\d+ of its size: .* rounding"):
        nn.scan(compiled, np.ones((3, 5, WIDTH)))


def run_random(program: Any, states: int, dtype: str, backend: str, steps: int, batch: int) -> None:
    composed = RandomCell(program, states, dtype)
    exact = RandomCell(program, states, "float64") if dtype == "float32" else None
    if exact:
        for p, q in zip(exact.parameters(), composed.parameters(), strict=True):
            p.assign_(q.numpy().astype("float64"))
    compiled = compiled_twin(composed, backend)
    x = np.random.default_rng(steps).standard_normal((batch, steps, WIDTH)).astype(dtype)
    lengths = None if steps % 2 else np.arange(batch) % (steps + 1)
    with np.errstate(all="ignore"):
        assert_same(composed, compiled, lambda cell, x: nn.scan(cell, x, lengths=lengths), [x], exact=exact)


DTYPES, STEPS, BATCHES = (st.sampled_from(v) for v in (["float64", "float32"], [0, 1, 2, 17], [0, 1, 5]))


@pytest.mark.parametrize("large", [0, engine._LARGE], ids=["local in the loop", "local at once"])
@given(programs, st.integers(1, 3), DTYPES, STEPS, BATCHES)
def test_random_cells_with_numpy(
    large: int, program: Any, states: int, dtype: str, steps: int, batch: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_LARGE", large)
        run_random(program, states, dtype, "numpy", steps, batch)


@given(programs, st.integers(1, 3), DTYPES, STEPS, BATCHES)
def test_random_cells_as_kernels(program: Any, states: int, dtype: str, steps: int, batch: int) -> None:
    with kernels_in_python():
        run_random(program, states, dtype, "numba", steps, batch)


@pytest.mark.parametrize("backend", [NUMBA])
@settings(max_examples=100 if LONG else 4)
@given(programs, st.integers(1, 3), DTYPES, STEPS, BATCHES)
def test_random_cells_with_numba(
    backend: str, program: Any, states: int, dtype: str, steps: int, batch: int
) -> None:
    run_random(program, states, dtype, backend, steps, batch)
