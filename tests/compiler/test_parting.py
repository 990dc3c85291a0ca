"""Products of joined features: what of them is left in the loop."""

from typing import Any

import numpy as np
import pytest
from comparing import assert_same, compiled_twin, kernels_in_python
from test_equality import PeepholeLSTM, scanned
from test_program_source import plan_of

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.instructions import Instructions


class Joined(nn.Module):
    """A cell of three joined parts, two of which are of x alone, with weights either way round."""

    input_size, output_size = 3, 4

    def __init__(self, linear: bool) -> None:
        rng = np.random.default_rng(0)
        self.linear = linear
        self.w = nn.Parameter(rng.standard_normal((4, 10) if linear else (10, 4)) * 0.5, "float64")

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, self.output_size)))

    def forward(self, x: Any, h: Any) -> Any:
        joined = tg.concatenate([x, h, np.tanh(x)], axis=-1)
        h = np.tanh(tg.linear(joined, self.w) if self.linear else joined @ self.w)
        return h, h


def products(phase: Instructions) -> list[tuple[int, int]]:
    """Inner features and columns of the products of a phase."""
    return sorted(
        (i.read[0].shape[1], i.outputs[0].shape[1])
        for i in phase
        if i.name in ("matmul", "linear") and i.outputs[0].rowwise
    )


@pytest.mark.parametrize("fused", [True, False])
def test_only_the_product_of_the_state_is_left_in_the_loop(fused: bool) -> None:
    plan = plan_of(PeepholeLSTM(3, 4, "float64"), fused)
    assert products(plan.hoisted) == [(3, 16)]
    assert products(plan.loop) == [(4, 16)]
    assert products(plan.back) == [(16, 4)]
    assert products(plan.sunk) == [(16, 3)]
    # Of what is joined, nothing is kept: it is joined again for all steps at once.
    assert not any(i.name == "concatenate" for i in plan.loop)
    assert not any(v.shape[-1] == 7 for v in plan.saved)


@pytest.mark.parametrize("linear", [True, False])
def test_parts_on_both_sides(linear: bool) -> None:
    composed = Joined(linear)
    plan = plan_of(composed)
    assert products(plan.hoisted) == [(3, 4), (3, 4)]
    assert products(plan.loop) == [(4, 4)]
    assert products(plan.back) == [(4, 4)]
    x = np.random.default_rng(0).standard_normal((3, 5, 3))
    with kernels_in_python():
        for backend in ("numpy", "numba"):
            assert_same(composed, compiled_twin(composed, backend), scanned, [x])


def test_what_is_all_carried_stays_one_product() -> None:
    cell: Any = Joined(False)
    cell.forward = lambda x, h: (
        h,
        np.tanh(tg.concatenate([h, h * x[:, :1], h[:, :2]], axis=1) @ cell.w + x[:, :1]),
    )
    plan = plan_of(cell)
    assert products(plan.loop) == [(10, 4)]
