"""The check of compiled forms: which faults it finds, and what it lets pass."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from comparing import compiled_twin

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.instructions import Instruction
from tinygrad_rnn.compiler.numpy_backend import NumpyWriter

STEP = Callable[[Any, Any, Any], Any]


class Cell(nn.Module):
    """A cell whose step is a function."""

    output_size = 3

    def __init__(self, step: STEP) -> None:
        self.step_function = step
        self.w = nn.Parameter(np.random.default_rng(0).standard_normal((3, 3)), "float64")

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, 3)))

    def forward(self, x: Any, h: Any) -> Any:
        h = self.step_function(self, x, h)
        return h, h


def plain(cell: Any, x: Any, h: Any) -> Any:
    return np.tanh(np.maximum(x, h @ cell.w))


def nothing(cell: Any, x: Any, h: Any) -> Any:
    return np.multiply(x + h, 0)


def changed(patch: pytest.MonkeyPatch, name: str, statement: str) -> None:
    """Write another statement for some ufunc: ``{right}`` is the right one, and ``{out}`` its target."""
    written = NumpyWriter.into

    def into(writer: Any, i: Instruction, out: str, rows: str) -> str | None:
        right = written(writer, i, out, rows)
        return statement.format(right=right, out=out) if i.name == name and right else right

    patch.setattr(NumpyWriter, "into", into)


X = np.random.default_rng(1).standard_normal((2, 5, 3))


def run(cell: Any) -> Any:
    """The output and the gradient of x."""
    x = tg.tensor(X, requires_grad=True)
    y, _ = nn.scan(cell, x)
    (y * y).sum().backward()
    return y.numpy(), x.grad.numpy()


def step(cell: Any) -> Any:
    with tg.no_grad():
        return [t.numpy() for t in getattr(cell, "step", cell)(tg.tensor(X[:, 0]), tg.tensor(X[:, 1]))]


@pytest.mark.parametrize("call", [run, step])
@pytest.mark.parametrize(
    ("function", "name", "statement", "message"),
    [
        (plain, "tanh", "nowhere({out})", "NameError: name 'nowhere' is not defined: this is a fault of tg"),
        (nothing, "multiply", "np.multiply({out}, 0, out={out})", "another output, by inf of its size"),
        (plain, "tanh", "{right}; {out}[len({out}) == 1] += 1", "another output, by"),
        (plain, "tanh", "{right}; {out}[len({out}) > 3] += 1", "another output, by"),
        (plain, "maximum", "{right}; np.nan_to_num({out}, copy=False)", "another output, by inf of its size"),
    ],
    ids=["an exception", "read before it is written", "for one row", "for many rows", "for NaN"],
)
def test_faults_are_found_and_the_composed_loop_runs(
    call: Any, function: STEP, name: str, statement: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, name, statement)
    composed = Cell(function)
    compiled = compiled_twin(composed, "numpy")
    with pytest.warns(RuntimeWarning, match=message):
        found = call(compiled)
    for wanted, got in zip(call(composed), found, strict=True):
        np.testing.assert_array_equal(got, wanted)


def rounding(cell: Any, x: Any, h: Any) -> Any:
    """The order of these sums is another when compiled, and decides on digits that count."""
    return np.sin(1e9 * (x + (h @ cell.w + cell.w[0])))


def test_what_rounding_of_its_inputs_changes_as_much_is_compiled() -> None:
    compiled = compiled_twin(Cell(rounding), "numpy")
    run(compiled)
    assert "loop" in str(compiled.plan())


def few_rows(cell: Any, x: Any, h: Any) -> Any:
    if len(x) == 40:
        raise ValueError("too many rows")
    return np.tanh(x + h @ cell.w)


def test_what_raises_on_other_numbers_is_not_compiled() -> None:
    with pytest.warns(RuntimeWarning, match="on random numbers, it gives ValueError: too many rows"):
        run(compiled_twin(Cell(few_rows), "numpy"))
