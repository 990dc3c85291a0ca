"""Batches: everything once, together, in the order of the generator."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import data


@given(st.integers(0, 30), st.integers(1, 8), st.booleans(), st.booleans(), st.none() | st.integers(1, 40))
def test_every_example_comes_once_and_with_its_own(count, batch_size, shuffle, drop_last, limit):
    x = np.arange(count)
    y = -x[:, None]
    got = list(
        data.batches(x, y, batch_size=batch_size, shuffle=shuffle, rng=0, drop_last=drop_last, limit=limit)
    )
    expected = min(count, limit or count)
    if drop_last:
        expected -= expected % batch_size
    sizes = [len(a) for a, _ in got]
    assert sum(sizes) == expected
    assert all(size == batch_size for size in sizes[:-1])
    seen = np.concatenate([a for a, _ in got]) if got else x[:0]
    assert len(set(seen.tolist())) == expected
    for a, b in got:
        np.testing.assert_array_equal(-a[:, None], b)
    if not shuffle:
        assert seen.tolist() == list(range(expected))


def test_one_seed_gives_one_order_and_a_generator_goes_on():
    x = np.arange(50)
    first, again = ([a.tolist() for (a,) in data.batches(x, batch_size=7, rng=3)] for _ in range(2))
    assert first == again
    rng = np.random.default_rng(3)
    epochs = [[a.tolist() for (a,) in data.batches(x, batch_size=7, rng=rng)] for _ in range(2)]
    assert epochs[0] == first
    assert epochs[1] != first


def test_batches_are_copies():
    x = np.arange(4)
    for (a,) in data.batches(x, batch_size=2, shuffle=False):
        a[:] = -1
    assert x.tolist() == [0, 1, 2, 3]


def test_lists_of_numbers_are_arrays_and_lists_of_arrays_stay_lists():
    sequences = [np.full(k, float(k)) for k in range(1, 5)]
    got = list(data.batches([1, 2, 3, 4], sequences, batch_size=3, shuffle=False))
    assert [ids.tolist() for ids, _ in got] == [[1, 2, 3], [4]]
    assert [[s.tolist() for s in some] for _, some in got] == [[[1], [2, 2], [3, 3, 3]], [[4, 4, 4, 4]]]


def test_masked_arrays_and_tensors_stay_what_they_are():
    masked = np.ma.masked_array(np.arange(4), [True, False, False, True])
    ((one, two),) = data.batches(masked, tg.tensor(np.eye(4)), batch_size=4, shuffle=False)
    assert one.mask.tolist() == [True, False, False, True]
    assert isinstance(two, tg.Tensor)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ([], {"batch_size": 1}, "at least one array"),
        ([np.zeros(3), np.zeros(4)], {"batch_size": 1}, r"one length, got \[3, 4\]"),
        ([[[1.0], [1.0, 2.0]]], {"batch_size": 1}, r"different lengths.*np.array\(s\)"),
        ([np.zeros(3)], {"batch_size": 0}, "at least 1, got 0"),
        ([np.zeros(3)], {"batch_size": 1, "limit": 0}, "and 0"),
    ],
)
def test_refusals_come_at_the_call(arrays, options, message):
    with pytest.raises(ValueError, match=message):
        data.batches(*arrays, **options)
