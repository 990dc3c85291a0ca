"""Generated source: the same for the same cell, and readable."""

import ast
import re
from typing import Any

import numpy as np
import pytest
from comparing import BACKENDS, randomised
from test_equality import Passing, PeepholeLSTM

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.numpy_backend import NumpyWriter
from tinygrad_rnn.compiler.planning import Plan, split_step
from tinygrad_rnn.compiler.programs import Program
from tinygrad_rnn.compiler.surroundings import Surroundings
from tinygrad_rnn.compiler.tracing import Signature, trace
from tinygrad_rnn.nn.states import tensors_of


def plan_of(cell: Any, fused: bool = True) -> Plan:
    state = cell.initial_state(1)
    states = tensors_of(state)
    signature = Signature(
        ((cell.input_size,), states[0].dtype), tuple([(s.shape[1:], s.dtype) for s in states]), state
    )
    step = trace(cell, signature, Surroundings(cell))
    return split_step(step, (True,) * (1 + len(step.parameters)), fused)


def passing() -> Any:
    cell: Any = Passing()
    cell.input_size = 3
    return cell


CELLS = {
    "LSTM": lambda: nn.LSTM(3, 4, rng=0, layer_norm=True).l0,
    "GRU": lambda: nn.GRU(3, 4, rng=0).l0,
    "own": lambda: PeepholeLSTM(3, 4, "float64"),
    "passing": passing,
}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
def test_source_is_the_same_each_time_and_names_are_short(make: Any, fused: bool) -> None:
    first, second = [Program(plan_of(randomised(make(), 1), fused), NumpyWriter).source for _ in range(2)]
    assert first == second
    assert not re.search(r"[a-z]_?\d{4}", first), "names with long numbers"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
def test_all_that_is_computed_is_read(make: Any, backend: str) -> None:
    writer = tg.compile(make(), backend=backend)._tg_engine.writer()
    for function in ast.parse(Program(plan_of(randomised(make(), 1)), writer).source).body:
        names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
        made, read = [{n.id for n in names if isinstance(n.ctx, kind)} for kind in (ast.Store, ast.Load)]
        assert {n for n in made - read if not re.match(r"[hpn]\d*$", n)} == set()


@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
def test_values_of_a_plan_have_numbers_of_their_own(make: Any) -> None:
    plan = plan_of(make())
    phases = (plan.once, plan.hoisted, plan.loop, plan.local, plan.back, plan.sunk)
    values = {v for phase in phases for i in phase for v in (*i.read, *i.outputs)}
    numbers = np.array([v.number for v in values])
    assert len(np.unique(numbers)) == len(values)
    assert numbers.min() > 0
