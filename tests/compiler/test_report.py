"""A plan in print: what it says of each entry is what is done with it."""

from typing import Any

import numpy as np
import pytest
from comparing import BACKENDS, NUMBA, assert_same

import tinygrad_rnn as tg
from tinygrad_rnn import nn

PHASES = {
    "hoisted": ["hoisted"],
    "looped": ["looped", "fused"],
    "local": ["local", "local looped", "local fused"],
    "looped back": ["looped back", "fused back"],
    "sunk": ["sunk"],
}
# Near the sketch that the passes were designed by: LSTM 1, 16, 11, 20, 8; peephole LSTM 1, 22, 11, 26, 17;
# GRU 5, 15, 7, 16, 15. A kernel keeps what is elementwise in the loop: there, only the product is hoisted.
# The GRU's 1 - z is computed again there, and the gates' cotangents are joined where they are made.
CELLS: list[Any] = [
    (nn.LSTM, {}, [2, 12, 10, 15, 5], [1, 13, 10, 15, 5]),
    (nn.LSTM, {"peephole": "diagonal"}, [2, 18, 10, 21, 12], [1, 19, 10, 21, 12]),
    (nn.GRU, {}, [3, 14, 5, 15, 8], [1, 16, 6, 16, 7]),
]


def planned(kind: Any, options: Any, backend: str, *shape: int) -> Any:
    layer = tg.compile(kind(3, 4, rng=0, **options), backend=backend)
    layer(np.zeros((*shape, 3), "float32"))
    return layer.l0.plan()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "options", "by_calls", "by_kernels"), CELLS)
def test_how_many_entries_run_when(
    kind: Any, options: Any, by_calls: list[int], by_kernels: list[int], backend: str
) -> None:
    plan = planned(kind, options, backend, 2, 5)
    counts = by_kernels if backend == "numba" else by_calls
    assert {phase: plan.count(*names) for phase, names in PHASES.items()} == dict(
        zip(PHASES, counts, strict=True)
    )
    for phase, products in (("hoisted", 1), ("looped", 1), ("local", 0), ("looped back", 1), ("sunk", 3)):
        texts = [text for when, text, *_ in plan.rows if when in PHASES[phase]]
        assert sum("= linear(" in t or "= matmul(" in t for t in texts) == products, phase


def test_local_derivatives_are_where_they_cost_less() -> None:
    """At once if a call of NumPy's costs more than memory does; else inside the loop, and so it says."""
    small, large = [planned(nn.LSTM, {}, "numpy", batch, 5) for batch in (2, 500)]
    assert (small.count("local"), small.count("local looped")) == (10, 0)
    assert (large.count("local"), large.count("local looped")) == (0, 10)
    line = next(row for row in large.rows if row[0] == "local looped")
    assert line[2:] == (500, 500 * 4 * 4, 500 * 4)
    assert f"  {500 * 4 * 4:,}  " in str(large)


@pytest.mark.parametrize("backend", [NUMBA])
def test_what_is_fused_is_told_from_products(backend: str) -> None:
    plan = planned(nn.LSTM, {}, backend, 2, 5)
    assert {when for when, *_ in plan.rows} == {
        "once", "hoisted", "looped", "fused", "local fused", "looped back", "fused back", "sunk",
    }  # fmt: skip
    assert [plan.count(when) for when in ("looped", "looped back")] == [1, 1]
    assert "each loop one kernel of numba" in str(plan)


@pytest.mark.parametrize("backend", [NUMBA])
def test_a_loop_that_is_no_kernel_is_not_fused(backend: str) -> None:
    plan = planned(nn.LSTM, {"cell_activation": "gelu"}, backend, 2, 5)
    assert plan.count("fused", "fused back", "local fused") == 0
    assert "gelu has no form in a kernel" in str(plan)


def test_a_tape_names_the_compiled_cell() -> None:
    y, _ = tg.compile(nn.LSTM(3, 4, rng=0), backend="numpy")(np.zeros((2, 5, 3), "float32"))
    assert "call=<compiled LSTMCell, 5 steps>)" in str(tg.Tape(y))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_no_state_needs_waits_for_the_end_of_the_loop(backend: str) -> None:
    """From a product on: elementwise work stays where its operands are."""
    rng = np.random.default_rng(0)
    w, v = (nn.Parameter(rng.standard_normal(s), "float64") for s in ((3, 3), (3, 7)))

    def cell(x: Any, h: Any) -> Any:
        gate = tg.sigmoid(x) * h
        h = tg.tanh(x + h @ w)
        return tg.softmax((h * gate) @ v, axis=-1), h

    def call(cell: Any, x: Any) -> Any:
        return nn.scan(cell, x, tg.tensor(np.zeros((3, 3))), lengths=[4, 0, 2])

    compiled = tg.compile(cell, backend=backend)
    assert_same(cell, compiled, call, [rng.standard_normal((3, 4, 3))])
    rows = compiled.plan().rows
    after = [text.split(" = ")[1] for when, text, *_ in rows if when == "after"]
    assert [text.partition("(")[0] for text in after] == ["matmul", "softmax"]
    assert not [text for when, text, *_ in rows if when in ("looped", "fused") and ", v)" in text]
    assert next(row for row in rows if row[0] == "after")[2:] == (8, 8 * 7 * 8, 8 * 2 * 3 * 7)


def test_sums_over_indices_and_what_has_no_rows_are_counted() -> None:
    class Contracting(nn.Module):
        output_size = 4

        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.w, self.u = [nn.Parameter(rng.standard_normal(s), "float64") for s in ((3, 4), (4, 4))]

        def initial_state(self, batch: int) -> Any:
            return tg.tensor(np.zeros((batch, 4)))

        def forward(self, x: Any, h: Any) -> Any:
            h = np.tanh(np.einsum("bi,ij->bj", x, self.w) + h @ (self.u / np.sqrt((self.u * self.u).sum())))
            return h, h

    cell = tg.compile(Contracting(), backend="numpy")
    x = tg.tensor(np.random.default_rng(1).standard_normal((2, 5, 3)), requires_grad=True)
    nn.scan(cell, x)[0].sum().backward()
    rows = [(text, n, work) for _, text, n, _, work in cell.plan().rows]
    (contracted,) = [(n, work) for text, n, work in rows if "'bi,ij->bj'" in text or "bi,ij->bj" in text]
    assert contracted[1] == contracted[0] * 2 * 3 * 4
    divisions = [(n, work) for text, n, work in rows if "(4, 4) = divide" in text]
    assert divisions
    assert set(divisions) == {(1, 16)}
