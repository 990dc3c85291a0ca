"""Leaves of random values, and how gradients are compared, for the tests of the engine."""

from typing import Any

import numpy as np

import tinygrad_rnn as tg


def leaf(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Any:
    return tg.tensor(
        np.asarray(np.random.default_rng(seed).uniform(0.5, 2, shape), dtype), requires_grad=True
    )


def same(t: Any, wanted: Any) -> None:
    np.testing.assert_allclose(t.numpy(), wanted, rtol=1e-13, atol=1e-15)
