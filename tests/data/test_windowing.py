"""Windows: shapes, contents, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn import data


@given(
    st.integers(1, 40), st.integers(1, 3), st.integers(1, 8), st.none() | st.integers(1, 5), st.integers(1, 4)
)
def test_windows_hold_what_stands_at_their_place(steps, features, length, horizon, stride):
    series = np.arange(steps * features).reshape(steps, features)
    following = horizon or 1
    if steps < length + following:
        with pytest.raises(ValueError, match=f"at least {length + following} steps, got {steps}"):
            data.windows(series, length, horizon, stride=stride)
        return
    inputs, targets = data.windows(series, length, horizon, stride=stride)
    starts = range(0, steps - length - following + 1, stride)
    assert inputs.shape == (len(starts), length, features)
    assert targets.shape == (len(starts), *(() if horizon is None else (horizon,)), features)
    for k, start in enumerate(starts):
        np.testing.assert_array_equal(inputs[k], series[start : start + length])
        after = series[start + length : start + length + following]
        np.testing.assert_array_equal(targets[k], after[0] if horizon is None else after)


def test_a_series_without_columns_is_one_feature():
    inputs, targets = data.windows([1.0, 2.0, 3.0], 2)
    assert inputs.tolist() == [[[1.0], [2.0]]]
    assert targets.tolist() == [[3.0]]


def test_windows_are_views_that_nobody_can_write_through():
    series = np.zeros(100_000, np.float32)
    inputs, targets = data.windows(series, 50, 10)
    assert np.shares_memory(inputs, series)
    assert np.shares_memory(targets, series)
    assert inputs.dtype == targets.dtype == np.float32
    assert not inputs.flags.writeable
    assert not targets.flags.writeable


@pytest.mark.parametrize(
    ("series", "options", "message"),
    [
        (np.zeros((2, 2, 2)), {"length": 1}, r"\(N,\) or \(N, features\), got float64\(2, 2, 2\)"),
        (["a", "b"], {"length": 1}, "series of numbers"),
        (np.zeros(5), {"length": 0}, "at least 1, got 0"),
        (np.zeros(5), {"length": 2, "horizon": 0}, "at least 1, got 2, 0"),
        (np.zeros(5), {"length": 2, "stride": 0}, "and 0"),
    ],
)
def test_refusals(series, options, message):
    with pytest.raises(ValueError, match=message):
        data.windows(series, **options)
