"""Errors and baselines against hand-computed ones; the hold-out never sees what it holds out."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_rnn import data, tasks


def test_errors_by_hand():
    truth, forecast = [2.0, 4.0, -5.0], [3.0, 4.0, -7.0]
    assert tasks.rmse(truth, forecast) == pytest.approx(np.sqrt(5 / 3))
    assert tasks.mae(truth, forecast) == pytest.approx(1.0)
    assert tasks.mape(truth, forecast) == pytest.approx(100 * (0.5 + 0 + 0.4) / 3)
    errors = tasks.measure(truth, forecast)
    assert (errors.rmse, errors.mae, errors.mape) == (
        tasks.rmse(truth, forecast),
        tasks.mae(truth, forecast),
        tasks.mape(truth, forecast),
    )


def test_a_percentage_of_zero_is_undefined():
    assert tasks.mape([1.0, 0.0], [1.0, 0.0]) is None


@pytest.mark.parametrize(("truth", "forecast"), [([1.0, 2.0], [1.0]), ([], []), ([[1.0]], [1.0])])
def test_errors_need_one_shape(truth, forecast):
    for error in (tasks.rmse, tasks.mae, tasks.mape, tasks.measure):
        with pytest.raises(ValueError, match="one shape, not empty"):
            error(truth, forecast)


def test_baselines_by_hand():
    assert tasks.last_value([1, 2, 3], 2).tolist() == [3, 3]
    assert tasks.last_value([[1, 2], [3, 4]], 2).tolist() == [[3, 4], [3, 4]]
    assert tasks.seasonal_naive([9, 1, 2, 3], 7, 3).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert tasks.seasonal_naive([[1, 2], [3, 4]], 3, 2).tolist() == [[1, 2], [3, 4], [1, 2]]
    with pytest.raises(ValueError, match="at least 3 values and a horizon of 1, got 2"):
        tasks.seasonal_naive([1, 2], 1, 3)
    with pytest.raises(ValueError, match="at least 1 value"):
        tasks.seasonal_naive([1, 2], 1, 0)
    with pytest.raises(ValueError, match="got 0 and 1"):
        tasks.last_value([], 1)
    with pytest.raises(ValueError, match="got 1 and 0"):
        tasks.last_value([1], 0)


@settings(max_examples=8)
@given(hnp.arrays(np.float64, (24,), elements=st.floats(-1e6, 1e6)), st.sampled_from([None, (12,), (1,)]))
def test_a_forecast_does_not_depend_on_what_is_held_out(other, difference):
    series = data.airline()
    changed = series.copy()
    changed[-24:] = other

    def run(values):
        model = tasks.Forecaster(12, difference=difference, epochs=1, hidden=4, members=1, window=6, rng=0)
        return tasks.hold_out(values, 24, model)

    one, two = run(series), run(changed)
    assert one.forecaster.recipe == two.forecaster.recipe
    assert one.forecasts.keys() == two.forecasts.keys() == {"forecast", "last value", "last season"}
    for name, forecast in one.forecasts.items():
        assert forecast.tobytes() == two.forecasts[name].tobytes()
    np.testing.assert_array_equal(two.truth[:, 0], other)


def test_the_baselines_of_a_hold_out():
    series = data.airline()
    held = tasks.hold_out(series, 24, tasks.Forecaster(12, epochs=1, members=1, rng=0))
    np.testing.assert_array_equal(held.forecasts["last value"][:, 0], np.full(24, 337.0))
    np.testing.assert_array_equal(held.forecasts["last season"][:, 0], np.tile(series[108:120], 2))
    np.testing.assert_array_equal(held.truth[:, 0], series[120:])
    assert held.errors(0)["last value"] == tasks.measure(series[120:], np.full(24, 337.0))
    no_season = tasks.hold_out(series, 24, tasks.Forecaster(epochs=1, members=1, rng=0))
    assert no_season.forecasts.keys() == {"forecast", "last value"}


def test_the_seasonal_baseline_needs_its_season_too():
    # Without differences the networks would make do with fewer values than a season has.
    model = tasks.Forecaster(12, difference=(), window=2, epochs=1, members=1, rng=0)
    with pytest.raises(
        tasks.TooShortError, match="the series has 12 values, but holding out 3 needs at least 15"
    ):
        tasks.hold_out(np.arange(12.0), 3, model)
    assert tasks.hold_out(np.arange(15.0), 3, model).truth.shape == (3, 1)


def test_refusals():
    with pytest.raises(ValueError, match="horizon >= 1, got 0"):
        tasks.hold_out(np.zeros(50), 0, tasks.Forecaster())
    model = tasks.Forecaster(difference=(1,), window=5, epochs=1, rng=0)
    with pytest.raises(
        tasks.TooShortError,
        match="has 12 values, but holding out 3 needs at least 13: 1 for differences, 5 for a window, "
        "4 to learn from, and 3 held out",
    ):
        tasks.hold_out(np.zeros(12), 3, model)
    assert tasks.hold_out(np.zeros(13), 3, model).forecasts["forecast"].shape == (3, 1)


@pytest.fixture(scope="module")
def airline():
    """Training epochs and seed to the hold-out of two years."""
    return functools.cache(
        lambda epochs, seed: tasks.hold_out(data.airline(), 24, tasks.Forecaster(12, epochs=epochs, rng=seed))
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_airline_forecast_beats_both_baselines_by_far(airline, seed):
    errors = airline(50, seed).errors(0)
    ours = errors.pop("forecast")
    assert len(errors) == 2
    for baseline in errors.values():
        assert baseline.mape is not None
        assert ours.mape is not None
        assert ours.rmse < 0.5 * baseline.rmse
        assert ours.mae < 0.5 * baseline.mae
        assert ours.mape < 0.5 * baseline.mape


def test_training_makes_the_airline_forecast_better_and_more_of_it_not_much_worse(airline):
    seeds = (0, 1, 2)
    rmse = {e: [airline(e, s).errors(0)["forecast"].rmse for s in seeds] for e in (1, 10, 25, 50, 100)}
    mean = {epochs: np.mean(values) for epochs, values in rmse.items()}
    assert mean[1] > 1.3 * mean[10]
    assert mean[10] > 1.3 * mean[25]
    for epochs in (25, 50, 100):
        assert mean[epochs] < 1.3 * min(mean.values())
        assert max(rmse[epochs]) < 1.3 * min(rmse[epochs])


def test_weights_that_decay_do_not_learn_the_noise():
    def error(**options):
        model = tasks.Forecaster(12, members=1, epochs=200, rng=0, **options)
        return tasks.hold_out(data.airline(), 24, model).errors(0)["forecast"].rmse

    assert 1.3 * error() < error(weight_decay=0)
