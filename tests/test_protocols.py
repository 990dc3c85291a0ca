"""How calls of NumPy's functions reach the operations, whatever NumPy says of their parameters."""

import types
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import protocols

X, Y = np.array([1.0, -2.0, 3.0]), np.array([0.5, 4.0, -1.0])
WRITTEN_IN_C = {
    "concatenate": lambda x, y: np.concatenate([x, y], None),
    "concatenate-named": lambda x, y: np.concatenate((x, y), axis=-1, dtype=None, casting="same_kind"),
    "dot": lambda x, y: np.dot(x, b=y),
    "dot-out": lambda x, y: np.dot(x, y, None),
    "inner": lambda x, y: np.inner(x, y),
    "where": lambda x, y: np.where(X > 0, x, y),
}


@pytest.mark.parametrize("name", WRITTEN_IN_C)
@pytest.mark.parametrize("known", [True, False])
def test_functions_that_do_not_tell_their_parameters(
    name: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are written in C do since NumPy 2.4."""

    def signature(function: Any) -> Any:
        raise ValueError(f"no signature found for {function}")

    protocols._parameters.cache_clear()
    if not known:
        monkeypatch.setattr(protocols, "inspect", types.SimpleNamespace(signature=signature))
    f = WRITTEN_IN_C[name]
    got = f(tg.tensor(X), tg.tensor(Y))
    protocols._parameters.cache_clear()
    np.testing.assert_array_equal(got.numpy(), f(X, Y))


def test_all_arguments_by_position() -> None:
    x = tg.tensor(X)
    np.testing.assert_array_equal(np.cumsum(x, 0, None, None).numpy(), X.cumsum())
    np.testing.assert_array_equal(np.outer(x, Y, None).numpy(), np.outer(X, Y))


def test_one_argument_under_two_names() -> None:
    """Where one of them says the default, the other holds, as for NumPy."""
    x = tg.tensor(X)
    np.testing.assert_array_equal(np.var(x, ddof=0, correction=1).numpy(), np.var(X, correction=1))
    np.testing.assert_array_equal(np.var(x, correction=1, ddof=0).numpy(), np.var(X, correction=1))
    for both in ({"ddof": 1, "correction": 2}, {"correction": 0, "ddof": 1}, {"ddof": 1, "correction": 0}):
        with pytest.raises(TypeError, match=r"np\.var got two values of 'ddof', under different names"):
            np.var(x, **both)
        with pytest.raises(ValueError, match="simultaneously"):
            np.var(X, **both)
