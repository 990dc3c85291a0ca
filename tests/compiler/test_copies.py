"""Copies of what is compiled: by `copy`, and through pickle where what is compiled can be pickled at all."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from comparing import X, drawn, lstm

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class Arrays:
    """A cell without a tensor of its own."""

    input_size = output_size = 3

    def __init__(self) -> None:
        self.w = drawn(3, 3)

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, 3)))

    def __call__(self, x: Any, h: Any) -> Any:
        h = np.tanh(x + h @ self.w)
        return h, h


class Reduced(Arrays):
    """One that says itself how to copy it."""

    def __init__(self, scale: float) -> None:
        self.w = drawn(3, 3) * scale

    def __reduce__(self) -> Any:
        return type(self), (0.5,)


class Named(Arrays):
    """One that is a global, by its name."""

    def __reduce__(self) -> str:
        return "NAMED"


NAMED = Named()

WAYS: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *[lambda o, p=p: pickle.loads(pickle.dumps(o, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)],
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [Arrays, lambda: Reduced(0.5)])
@pytest.mark.parametrize("called", [False, True])
def test_copies_are_compiled(make: Any, way: Any, called: bool) -> None:
    expected = nn.scan(make(), X)[0].numpy()
    cell = tg.compile(make(), backend="numpy")
    layer = tg.compile(nn.Recurrent(make()), backend="numpy")
    if called:
        nn.scan(cell, X)
        layer(X)
    twin, layers = way(cell), way(layer)
    assert type(twin) is type(cell)
    assert type(layers) is type(layer)
    assert "looped" in str(twin.plan())
    assert "looped" in layers.plan()
    assert twin._tg_engine.backend == layers.l0._tg_engine.backend == "numpy"
    np.testing.assert_allclose(nn.scan(twin, X)[0].numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(layers(X)[0].numpy(), expected, rtol=1e-12)
    assert layers.dropout._parent() is layers


@pytest.mark.parametrize("way", WAYS)
def test_what_goes_by_its_name_is_itself(way: Any) -> None:
    assert way(tg.compile(NAMED, backend="numpy")) is NAMED


def test_what_holds_tensors_is_pickled_neither_compiled_nor_before() -> None:
    for layer in (lstm(), tg.compile(lstm(), backend="numpy")):
        with pytest.raises(TypeError, match=r"tensors are not pickled, .* state with its save\(\)"):
            pickle.dumps(layer)
