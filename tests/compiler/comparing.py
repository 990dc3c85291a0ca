"""Two forms of one layer side by side: outputs, states and every gradient; and cells to try them on."""

import copy
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import building
from tinygrad_rnn.nn.states import tensors_of

NUMBA = pytest.param(
    "numba",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("numba") is None, reason="numba (extra fast) is absent"
    ),
)
BACKENDS = ["numpy", NUMBA]
TOLERANCE = {"float64": 1e-11, "float32": 1e-5}


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def randomised(module: Any, seed: int) -> Any:
    """A module with other random parameters: peepholes and gains, too."""
    rng = np.random.default_rng(seed)
    for p in module.parameters():
        p.assign_(rng.normal(0, 0.5, p.shape).astype(p.dtype))
    return module


def lstm(**options: Any) -> nn.LSTM:
    return randomised(nn.LSTM(3, 4, rng=0, dtype="float64", **options), 1)


class Cell(nn.Module):
    """A cell whose step is a function given to it."""

    output_size = 3

    def __init__(self, step: Any, size: int = 3, **attributes: Any) -> None:
        self.w = nn.Parameter(drawn(size, size) * 0.5, "float64")
        self.step_function = step
        for name, value in attributes.items():
            setattr(self, name, value)

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, len(self.w))))

    def forward(self, x: Any, h: Any) -> Any:
        h = self.step_function(self, x, h)
        return h, h


def plain_step(cell: Any, x: Any, h: Any) -> Any:
    return np.tanh(x + h @ cell.w)


def called(function: Any) -> Any:
    return lambda cell, x, h: np.tanh(function(cell, x) + h @ cell.w)


def scanned(cell: Any, x: Any) -> Any:
    return nn.scan(cell, x, tg.tensor(np.zeros((len(x), 3))))


X = drawn(2, 5, 3)


def compiled_twin(module: Any, backend: str) -> Any:
    return tg.compile(copy.deepcopy(module), backend=backend)


def everything(module: Any, call: Callable[..., Any], arrays: list[np.ndarray], seed: int) -> list[Any]:
    """What a call gives, and the gradients of a random function of it by its arrays and all parameters."""
    rng = np.random.default_rng(seed)
    leaves = [tg.tensor(a, requires_grad=True) for a in arrays]
    parameters = list(module.parameters()) if hasattr(module, "parameters") else []
    for p in parameters:
        p.grad = None
    outputs = tensors_of(call(module, *leaves))
    loss: Any = 0
    for y in outputs:
        weights = rng.standard_normal(y.shape).astype(y.dtype)
        loss = loss + (y * weights).sum() + (y * y * weights).sum()
    if loss.requires_grad:
        loss.backward()
    gradients = [None if t.grad is None else t.grad.numpy() for t in (*leaves, *parameters)]
    return [*[y.numpy() for y in outputs], *gradients]


def shaken(arrays: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """The same but for their last bits."""
    rng = np.random.default_rng(seed)
    ulps = [rng.integers(-1, 2, a.shape) * np.finfo(a.dtype).eps for a in arrays]
    return [(a * (1 + u)).astype(a.dtype) for a, u in zip(arrays, ulps, strict=True)]


def assert_same(
    composed: Any,
    compiled: Any,
    call: Callable[..., Any],
    arrays: list[np.ndarray],
    seed: int = 0,
    exact: Any = None,
) -> None:
    """Raise, with the plan, where two forms of a module differ by more than rounding.

    ``exact`` is a composed form in double precision: where single precision is not enough for the composed
    form itself, with these numbers or with ones that differ in their last bits, the compiled one may err as
    much, in its own way.
    """
    before = copy.deepcopy(composed) if exact else composed  # with its generators as they are
    wanted = everything(composed, call, arrays, seed)
    got = everything(compiled, call, arrays, seed)
    double = everything(exact, call, [a.astype("float64") for a in arrays], seed) if exact else wanted
    for k, (w, g, d) in enumerate(zip(wanted, got, double, strict=True)):
        what = f"result or gradient {k} of {len(wanted)}"
        assert (w is None) == (g is None), what
        if w is None:
            continue
        assert g.shape == w.shape, what
        assert g.dtype == w.dtype, what
        if w.size:
            scale = np.abs(w).max(initial=1e-3, where=~np.isnan(w))
            differences = np.where(np.isnan(w) & np.isnan(g), 0, np.abs(g - w))
            error, allowed = differences.max() / scale, 10 * np.abs(d - w).max() / scale
            if exact and error > max(TOLERANCE[w.dtype.name], allowed):
                others = [
                    everything(copy.deepcopy(before), call, shaken(arrays, n), seed)[k] for n in range(8)
                ]
                allowed = 10 * max([np.abs(d - other).max() / scale for other in others])
            if not error <= max(TOLERANCE[w.dtype.name], allowed):
                raise AssertionError(f"{what} differs by {error}\n{compiled.plan()}")


@contextmanager
def kernels_in_python() -> Iterator[None]:
    """Kernels run as they are written, element by element, without numba: slow, but there at once."""

    def product(
        a: Any, at: int, stride: int, w: Any, out: Any, to: int, out_stride: int, rows: int, inner: int,
        columns: int,
    ) -> None:  # fmt: skip
        for r in range(rows):
            i, o = at + r * stride, to + r * out_stride
            out.reshape(-1)[o : o + columns] = a.reshape(-1)[i : i + inner] @ w

    def product_in_place(*arguments: Any) -> None:
        product(*arguments[:3], arguments[3].reshape(arguments[-2:]), *arguments[4:])

    def dots(*arguments: Any) -> None:
        product(*arguments[:3], arguments[3].reshape(arguments[:-3:-1]).T, *arguments[4:])

    def store(a: Any, index: int, value: Any, which: int) -> None:
        a.reshape(-1)[index] = value

    def build(source: str, dtype: Any) -> Any:
        number = np.dtype(dtype).type
        names: dict[str, Any] = {
            "np": np, "number": number, "product": product, "store": store,
            "product_in_place": product_in_place, "dots": dots,
            "load": lambda a, index, which: a.reshape(-1)[index],
            "exp": np.exp, "tanh": np.tanh, "sigmoid": tg.sigmoid.forward,
            "larger": np.maximum, "smaller": np.minimum,
            "zero": number(0), "half": number(0.5), "one": number(1), "three": number(3), "six": number(6),
        }  # fmt: skip
        exec(source, names)
        return names["kernel"]

    def spread(kernel: Any, layout: Any, flops: int, *arrays: Any) -> None:
        kernel(0, layout.batch, layout.counts, layout.starts, layout.before, layout.batch, *arrays)

    names = {
        "pack": np.array, "flat": np.ravel, "rows": np.ascontiguousarray, "spread": spread,
        "multiply": np.dot, "multiply_columns": lambda a, b: a.T @ b, "column_sums": lambda a: a.sum(axis=0),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "build", build)
        patch.setattr(building, "names", lambda: names)
        yield
