"""Columns of tables, whose index goes by label, count as arrays: by position, whatever is done with them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, tasks

RNG = np.random.default_rng(0)
SORTED = RNG.permutation(8)
"""The labels of a column's rows, as sorting by another column leaves them."""


class Labelled:
    """As little of a column as a library of tables could offer: rows go by label, operators align labels."""

    def __init__(self, values: np.ndarray, labels: np.ndarray) -> None:
        self.values, self.labels = values, labels
        self.ndim, self.shape, self.dtype = values.ndim, values.shape, values.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Labelled(self.values[index], self.labels[index])
        return self.values[np.argsort(self.labels)[index]]

    def __sub__(self, other: Any) -> Any:
        own, others = np.argsort(self.labels), np.argsort(other.labels)
        return self.values[own] - other.values[others]


def labelled(values: np.ndarray) -> Labelled:
    return Labelled(values, SORTED[: len(values)])


def pandas(values: np.ndarray) -> Any:
    pd = pytest.importorskip("pandas")
    return (pd.Series if values.ndim == 1 else pd.DataFrame)(values, index=SORTED[: len(values)])


FLOATS, INTEGERS, ROWS = RNG.standard_normal(8), RNG.integers(0, 3, 8), RNG.standard_normal((8, 3))
X, LSTM = RNG.standard_normal((8, 4, 3)), nn.LSTM(3, 2, rng=0, dtype="float64")
T = tg.tensor(RNG.standard_normal((8, 3)), requires_grad=True)


def _square(x: Any) -> Any:
    return (x * x).sum()


def _scaled(p: Any, example: Any) -> Any:
    row, factor = example
    return (p * row).sum() * factor


USES: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "batches, beside an array": (
        lambda s: list(data.batches(np.arange(8), s, batch_size=3, shuffle=False)),
        (FLOATS,),
    ),
    "batches, shuffled": (lambda s, f: list(data.batches(s, f, T, batch_size=3, rng=0)), (FLOATS, ROWS)),
    "batches of sequences": (
        lambda f, s: list(data.batches([f, f, ROWS], s, batch_size=2, rng=0)),
        (ROWS, FLOATS[:3]),
    ),
    "windows": (lambda f: data.windows(f, 3), (ROWS,)),
    "sequences of a layer": (lambda f, short: LSTM([f, short]), (ROWS, ROWS[:5])),
    "lengths": (lambda n: LSTM(X, lengths=n), (INTEGERS,)),
    "mask": (lambda m: LSTM(X, mask=m), (RNG.random((8, 4)) < 0.7,)),
    "lengths in chunks": (lambda n: [y for _, y, _ in nn.tbptt(LSTM, X, 2, lengths=n)], (INTEGERS,)),
    "sequences of a state": (lambda n: LSTM(X)[1].index(n), (INTEGERS,)),
    "embedding": (nn.Embedding(4, 2, rng=0), (INTEGERS,)),
    "mse": (lambda y: nn.mse(T, y), (ROWS,)),
    "cross_entropy": (lambda ids: nn.cross_entropy(T, ids), (INTEGERS,)),
    "tensor": (tg.tensor, (FLOATS,)),
    "tensor of a list": (lambda s: tg.tensor([s, s]), (FLOATS,)),
    "product": (lambda f: f * T, (ROWS,)),
    "diff": (tg.diff, (FLOATS,)),
    "getitem": (lambda s: tg.getitem(s, [0, 1]), (FLOATS,)),
    "getitem by it": (lambda n: T[n], (INTEGERS,)),
    "median": (tg.median, (FLOATS,)),
    "grad": (tg.grad(_square), (FLOATS,)),
    "per_example_grad": (lambda f, s: tg.per_example_grad(_scaled, np.ones(3), (f, s)), (ROWS, FLOATS)),
    "preprocessing": (lambda f: tasks.Preprocessing((1,), True).fit(f).apply(f), (np.exp(ROWS),)),
    "varies_with_level": (lambda f: tasks.varies_with_level(f, 2), (np.exp(ROWS),)),
    "harmonics_of": (lambda t: tasks.harmonics_of(4, 1, t), (INTEGERS,)),
}


@pytest.mark.parametrize("column", [labelled, pandas])
@pytest.mark.parametrize("name", USES)
def test_a_column_gives_what_its_array_gives(name: str, column: Callable[[np.ndarray], Any]) -> None:
    use, arrays = USES[name]
    got, expected = _arrays(use(*map(column, arrays))), _arrays(use(*arrays))
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def _arrays(result: Any) -> list[np.ndarray]:
    """All arrays in nested lists and tuples."""
    if isinstance(result, (list, tuple)):
        return [array for part in result for array in _arrays(part)]
    return [np.asarray(result.detach() if isinstance(result, tg.Tensor) else result)]
