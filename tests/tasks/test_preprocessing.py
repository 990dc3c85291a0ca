"""Preparation of series: what it computes, and that it is undone."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_rnn.tasks import Preprocessing, harmonics_of, varies_with_level, wanders

LAGS = [(), (1,), (3,), (1, 3), (2, 2), (12,), (1, 12)]


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(20, 40), st.integers(1, 3)), elements=st.floats(0.01, 1000)),
    st.sampled_from(LAGS),
    st.booleans(),
    st.integers(0, 5),
)
def test_what_is_prepared_is_undone(series, lags, log, later):
    # The statistics come from the first part alone; the rest is prepared with them, and continued from it.
    cut = len(series) - later
    prep = Preprocessing(lags, log).fit(series[:cut])
    z = prep.apply(series)
    assert z.shape == (len(series) - sum(lags), series.shape[1])
    back = prep.undo(z, series[: prep.lost])
    np.testing.assert_allclose(back, series[prep.lost :], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(
        prep.undo(z[cut - prep.lost :], series[:cut]), series[cut:], rtol=1e-9, atol=1e-9
    )


@given(
    hnp.arrays(np.int64, st.tuples(st.integers(20, 40), st.just(2)), elements=st.integers(-1000, 1000)),
    st.sampled_from(LAGS),
)
def test_differences_of_whole_numbers_are_undone_exactly(series, lags):
    series = series.astype(np.float64)
    prep = Preprocessing(lags)
    prep.mean, prep.scale = np.zeros(2), np.ones(2)
    np.testing.assert_array_equal(prep.undo(prep.apply(series), series[: prep.lost]), series[prep.lost :])


def test_by_hand():
    series = np.array([[1.0], [2.0], [4.0], [8.0], [64.0]])
    prep = Preprocessing([1]).fit(series)
    assert prep.mean.tolist() == [15.75]
    np.testing.assert_allclose(prep.scale, [np.std([1, 2, 4, 56])])
    np.testing.assert_allclose(prep.apply(series)[:, 0] * prep.scale + prep.mean, [1, 2, 4, 56])
    both = Preprocessing([1, 2])
    both.mean, both.scale = np.zeros(1), np.ones(1)
    assert both.apply(series).tolist() == [[(8 - 4) - (2 - 1)], [(64 - 8) - (4 - 2)]]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("lags", LAGS)
@pytest.mark.parametrize("value", [0.1, 1e-8, 3.7e9])
def test_a_constant_series_is_all_zeros_and_comes_back(lags, log, value):
    series = np.full((30, 1), value)
    prep = Preprocessing(lags, log).fit(series)
    assert prep.scale.tolist() == [1.0]
    z = prep.apply(series)
    np.testing.assert_allclose(z, 0, atol=1e-6 * max(value, 1))
    np.testing.assert_allclose(prep.undo(np.zeros((5, 1)), series), value, rtol=1e-9)


def test_a_mean_slope_is_continued():
    series = 5.0 + 3.0 * np.arange(20.0)[:, None]
    prep = Preprocessing([1]).fit(series)
    np.testing.assert_allclose(prep.undo(np.zeros((3, 1)), series)[:, 0], 5 + 3 * np.arange(20, 23))


def test_columns_may_differ_in_their_logarithm():
    series = np.stack([np.exp(np.arange(10.0)), np.arange(-5.0, 5.0)], axis=1)
    prep = Preprocessing([1], [True, False]).fit(series)
    np.testing.assert_allclose(prep.mean, [1, 1])
    np.testing.assert_allclose(prep.undo(np.zeros((2, 2)), series), [[np.exp(10), 5], [np.exp(11), 6]])
    with pytest.raises(ValueError, match="2 flags for a series of 3 columns"):
        prep.apply(np.ones((4, 3)))


def test_json_round_trip_is_exact():
    prep = Preprocessing([1, 12], [True]).fit(np.random.default_rng(0).uniform(1, 2, (40, 1)))
    again = Preprocessing.from_json(json.loads(json.dumps(prep.to_json())))
    series = np.random.default_rng(1).uniform(1, 2, (40, 1))
    np.testing.assert_array_equal(again.apply(series), prep.apply(series))
    assert again.lags == prep.lags


def test_refusals():
    with pytest.raises(ValueError, match="differences >= 1, got 0"):
        Preprocessing([0])
    with pytest.raises(ValueError, match="value 2 of column 1 is 0: leave out the logarithm"):
        Preprocessing(log=True).fit(np.array([[1.0], [0.0]]))
    with pytest.raises(ValueError, match="need more than 3 values, got 3"):
        Preprocessing([1, 2]).fit(np.zeros((3, 1)))
    with pytest.raises(RuntimeError, match="call fit first"):
        Preprocessing().apply(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="needs 3 values, got 2"):
        Preprocessing([1, 2]).fit(np.zeros((9, 1))).undo(np.zeros((1, 1)), np.zeros((2, 1)))


def test_the_logarithm_is_for_variation_that_grows_with_the_level():
    t = np.arange(96)
    wave = np.sin(2 * np.pi * t / 12)
    growing = np.exp(0.03 * t) * (10 + wave)
    even = 50 + 0.5 * t + 5 * wave
    below = growing - 12
    chosen = varies_with_level(np.stack([growing, even, below], axis=1), 12)
    assert chosen.tolist() == [True, False, False]
    assert not varies_with_level(growing[:30, None], 12).any()
    assert not varies_with_level(np.ones((96, 1)), 12).any()


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_the_rule_does_not_depend_on_the_unit(seed, unit):
    series = np.random.default_rng(seed).uniform(1, 100, (36, 1))
    chosen = varies_with_level(series, 6)
    blocks = series.reshape(6, 6)
    spreads, relative = blocks.std(axis=1), blocks.std(axis=1) / blocks.mean(axis=1)
    margin = spreads.std() / spreads.mean() - relative.std() / relative.mean()
    assume(abs(margin) > 1e-9)
    assert varies_with_level(series * unit, 6).tolist() == chosen.tolist() == [margin > 0]


def test_what_wanders_has_small_steps():
    t = np.arange(120)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=120)
    season = harmonics_of(12, 3, t)
    walk = np.cumsum(noise)
    columns = np.stack(
        [noise, walk, 9 * season[:, 0], 9 * season[:, 0] + walk, 0.3 * t, np.full(120, 0.1)], 1
    )
    assert wanders(columns, season).tolist() == [False, True, False, True, True, False]
    assert wanders(1e6 * columns + 1e9, season)[:5].tolist() == [False, True, False, True, True]
    # An even wave has small steps too, unless it is known for a season.
    assert wanders(columns, season[:, :0]).tolist() == [False, True, True, True, True, False]
    # Where neighbours correlate by 0.75, steps vary half as much.
    for correlation, answer in ((0.65, False), (0.85, True)):
        x = rng.normal(size=20_000)
        for k in range(1, len(x)):
            x[k] += correlation * x[k - 1]
        assert wanders(x[:, None], np.zeros((len(x), 0))).tolist() == [answer]


def test_harmonics_by_hand():
    half = np.sqrt(3) / 2
    np.testing.assert_allclose(
        harmonics_of(12, 2, np.array([0, 1, 14])),
        [[0, 0, 1, 1], [0.5, half, half, 0.5], [half, half, 0.5, -0.5]],
        atol=1e-12,
    )
    assert harmonics_of(None, 0, np.arange(3)).shape == (3, 0)
