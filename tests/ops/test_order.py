"""Sorting and placing: ties and repeats by name, PyTorch as an oracle, and nothing written in place."""

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.tensors import Tensor


def gradient(f: Any, *values: Any, seed: Any = None) -> list[np.ndarray]:
    leaves = [tg.tensor(np.array(v, float), requires_grad=True) for v in values]
    y = f(*leaves)
    y.backward(np.ones(y.shape) if seed is None else np.array(seed, float))
    return [x.grad.numpy() for x in leaves]


def test_equal_elements_keep_their_order() -> None:
    """The first of them counts as the smallest: its cotangent is the first."""
    (g,) = gradient(tg.sort, [2.0, 1.0, 2.0, 1.0], seed=[1, 2, 3, 4])
    np.testing.assert_array_equal(g, [3, 1, 4, 2])
    (g,) = gradient(lambda x: tg.sort(x, axis=0), [[1.0, 2.0], [1.0, 0.0]], seed=[[1, 2], [3, 4]])
    np.testing.assert_array_equal(g, [[1, 4], [3, 2]])


def test_sorting_leaves_the_tensor_as_it_is() -> None:
    x = tg.tensor(np.array([3.0, np.nan, 1.0]), requires_grad=True)
    y = x.sort()
    np.testing.assert_array_equal(y.numpy(), [1, 3, np.nan])
    np.testing.assert_array_equal(x.numpy(), [3, np.nan, 1])
    y.backward(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(x.grad.numpy(), [2, 3, 1])


def test_partition_puts_the_kth_in_its_place() -> None:
    data = np.random.default_rng(0).permutation(50.0 + np.arange(50))
    for kth in (0, 7, -1, [3, 20]):
        x = tg.tensor(data, requires_grad=True)
        y = np.partition(x, kth)
        np.testing.assert_array_equal(y.numpy()[kth], np.sort(data)[kth])
        assert np.array_equal(np.sort(y.numpy()), np.sort(data))
        first = np.atleast_1d(kth)[0]
        y[first].backward()
        np.testing.assert_array_equal(x.grad.numpy(), data == np.sort(data)[first])


# -------------------------------------------------------------------------------------------- placing

X = np.arange(6.0).reshape(2, 3)


def test_the_last_of_several_values_for_one_place_counts() -> None:
    index = np.array([0, 2, 0, -1])
    x, v = gradient(lambda x, v: tg.index_put(x, index, v), [1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0])
    np.testing.assert_array_equal(tg.index_put(np.ones(3), index, np.arange(4.0)), [2, 1, 3])
    np.testing.assert_array_equal(x, [0, 1, 0])
    np.testing.assert_array_equal(v, [0, 0, 1, 1])
    x, v = gradient(lambda x, v: tg.index_put(x, index, v, accumulate=True), [1.0, 2, 3], [4.0, 5, 6, 7])
    np.testing.assert_array_equal(x, [1, 1, 1])
    np.testing.assert_array_equal(v, [1, 1, 1, 1])
    x, v = gradient(lambda x, v: tg.put_along_axis(x, np.array([[1, 1]]), v, axis=1), X[:1], [[3.0, 4.0]])
    np.testing.assert_array_equal(x, [[1, 0, 1]])
    np.testing.assert_array_equal(v, [[0, 1]])


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        (slice(None), 1),
        ...,
        (..., slice(None, None, -1)),
        [1, 1],
        ([0, 1], [2, 0]),
        X > 2,
        np.array([1]),
        None,
    ],
    ids=str,
)
@pytest.mark.parametrize("accumulate", [False, True])
def test_every_kind_of_index(index: Any, accumulate: bool) -> None:
    wanted = X.copy()
    if accumulate:
        np.add.at(wanted, index, 0.5)
    else:
        wanted[index] = 0.5
    x, v = tg.tensor(X, requires_grad=True), tg.tensor(np.array(0.5), requires_grad=True)
    y = tg.index_put(x, index, v, accumulate=accumulate)
    np.testing.assert_array_equal(y.numpy(), wanted)
    np.testing.assert_array_equal(x.numpy(), np.arange(6.0).reshape(2, 3))
    assert tg.gradcheck(lambda x, v: tg.index_put(x, index, v, accumulate=accumulate) ** 2, X, np.array(0.5))
    assert tg.gradgradcheck(
        lambda x, v: tg.index_put(x, index, v, accumulate=accumulate) ** 2, X, np.array(0.5)
    )


def test_tensors_as_positions() -> None:
    i = tg.tensor(np.array([1, 0]))
    x = tg.tensor(X, requires_grad=True)
    for accumulate in (False, True):
        y = tg.index_put(x, (i, i), np.array([10.0, 20.0]), accumulate=accumulate)
        np.testing.assert_array_equal(y.numpy()[[0, 1], [0, 1]], [20, 10 + 4 * accumulate])
    np.testing.assert_array_equal(tg.segment_sum(x, i).numpy(), X[::-1])
    np.testing.assert_array_equal(x.index_add(i, np.ones((2, 3))).numpy(), X + 1)
    np.testing.assert_array_equal(
        tg.put_along_axis(x, i.numpy()[:, None], 9.0).numpy(), [[0, 9, 2], [9, 4, 5]]
    )


def test_placing_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs PyTorch")
    rng = np.random.default_rng(1)
    x, source, g = (rng.uniform(-1, 1, s) for s in ((3, 4), (3, 5), (3, 4)))
    index = np.array([0, 2, 2, 3, 0])
    mine = gradient(lambda x, s: tg.index_add(x, index, s, axis=1) ** 2, x, source, seed=g)
    a, b = torch.tensor(x, requires_grad=True), torch.tensor(source, requires_grad=True)
    y = a.index_add(1, torch.tensor(index), b)
    (y**2).backward(torch.tensor(g))
    np.testing.assert_allclose(tg.index_add(x, index, source, axis=1), y.detach().numpy())
    for got, wanted in zip(mine, (a, b), strict=True):
        np.testing.assert_allclose(got, wanted.grad.numpy(), rtol=1e-13)


def test_sums_of_segments() -> None:
    y = tg.segment_sum(np.arange(4.0), np.array([1, 0, 1, 3]))
    np.testing.assert_array_equal(y, [1, 2, 0, 3])
    assert tg.segment_sum(np.zeros((0, 2)), np.zeros(0, int)).shape == (0, 2)
    (g,) = gradient(
        lambda x: tg.segment_sum(x, [0, 1, 0], 4), np.ones((3, 2)), seed=np.arange(8.0).reshape(4, 2)
    )
    np.testing.assert_array_equal(g, [[0, 1], [2, 3], [0, 1]])


ERRORS: list[tuple[Any, Any, str]] = [
    (lambda: tg.segment_sum(X, [0, 2], 2), IndexError, "segment_sum: segment_ids must be from 0 to 1"),
    (lambda: tg.segment_sum(X, [0, -1]), IndexError, "segment_sum: segment_ids must be from 0 to 0"),
    (lambda: tg.segment_sum(X, [0, 1, 1]), ValueError, r"segment_sum: segment_ids must be \(2,\) integers"),
    (lambda: tg.segment_sum(X, [0.0, 1.0]), ValueError, "segment_sum: .* integers, got float64"),
    (lambda: tg.index_add(X, [0], X), ValueError, r"index_add: source must have shape \(1, 3\)"),
    (lambda: tg.index_add(X, [0, 1], 1.0), ValueError, r"index_add: source must have shape \(2, 3\)"),
    (lambda: tg.index_put(tg.tensor(X), 5, 1.0), IndexError, r"index_put: assign\(float64\(2, 3\)"),
    (lambda: tg.put_along_axis(X, [[0]], 1.0, 2), np.exceptions.AxisError, "put_along_axis: axis 2"),
    (lambda: np.put_along_axis(tg.tensor(X), np.array([[0]]), 1.0, 1), TypeError, "not assigned into"),
    (lambda: np.copyto(tg.tensor(X), X), TypeError, "np.copyto would write .* tensors are not assigned into"),
    (lambda: np.fill_diagonal(tg.tensor(X), 1.0), TypeError, "tensors are not assigned into"),
]  # fmt: skip


@pytest.mark.parametrize("case", ERRORS, ids=[e[2][:24] for e in ERRORS])
def test_errors_name_the_operation(case: Any) -> None:
    call, kind, words = case
    with pytest.raises(kind, match=words):
        call()


def test_results_are_tensors() -> None:
    assert isinstance(np.sort(tg.tensor(X)), Tensor)
    assert isinstance(tg.segment_sum(tg.tensor(X), [0, 0]), Tensor)
