"""Two forms of one layer side by side: outputs, states and every gradient."""

import copy
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.nn.states import tensors_of

NUMBA = pytest.param(
    "numba",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("numba") is None, reason="numba (extra fast) is absent"
    ),
)
BACKENDS = ["numpy", NUMBA]
TOLERANCE = {"float64": 1e-11, "float32": 1e-5}


def randomised(module: Any, seed: int) -> Any:
    """A module with other random parameters: peepholes and gains, too."""
    rng = np.random.default_rng(seed)
    for p in module.parameters():
        p.assign_(rng.normal(0, 0.5, p.shape).astype(p.dtype))
    return module


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


def assert_same(
    composed: Any, compiled: Any, call: Callable[..., Any], arrays: list[np.ndarray], seed: int = 0
) -> None:
    """Raise, with the plan, where two forms of a module differ by more than rounding."""
    wanted = everything(composed, call, arrays, seed)
    got = everything(compiled, call, arrays, seed)
    for k, (w, g) in enumerate(zip(wanted, got, strict=True)):
        what = f"result or gradient {k} of {len(wanted)}"
        assert (w is None) == (g is None), what
        if w is None:
            continue
        assert g.shape == w.shape, what
        assert g.dtype == w.dtype, what
        if w.size:
            error = np.abs(g - w).max() / max(np.abs(w).max(), 1e-3)
            if not error <= TOLERANCE[w.dtype.name]:
                raise AssertionError(f"{what} differs by {error}\n{compiled.plan()}")
