"""The Forecaster: what it learns, refuses, keeps in files, and never does."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, tasks

QUICK = {"members": 1, "epochs": 2, "hidden": 4, "rng": 0}


def quick(season=None, **options):
    return tasks.Forecaster(season, **{**QUICK, **options})


def test_a_wave_on_a_slope_is_continued():
    t = np.arange(120)
    series = 20 + 0.5 * t + 5 * np.sin(2 * np.pi * t / 12)
    model = tasks.Forecaster(12, log=False, difference=(12,), rng=0).fit(series[:96])
    np.testing.assert_allclose(model.forecast(24)[:, 0], series[96:], atol=0.1)


def test_columns_are_forecast_from_each_other():
    # y follows x one step behind; x is unforeseeable, so that only a network that reads x can know y.
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    series = np.stack([x, np.concatenate([[0], x[:-1]])], axis=1)
    model = tasks.Forecaster(difference=(), log=False, window=4, members=1, epochs=40, rng=0).fit(series[:-1])
    np.testing.assert_allclose(model.forecast(1)[0, 1], series[-1, 1], atol=0.2)
    assert model.losses[0][-1] < 0.6 < model.losses[0][0]


def test_the_forecast_is_recursive():
    # Two steps at once are one step, appended to the series, and the next one from there.
    series = data.airline()[:, None]
    model = quick(12, difference=(1,), harmonics=2, window=6).fit(series)
    both = model.forecast(2)
    first = model.forecast(1)
    np.testing.assert_array_equal(first, both[:1])
    second = model.forecast(1, np.concatenate([series, first]))
    np.testing.assert_allclose(second, both[1:], rtol=1e-6)


def test_the_window_and_the_differences_are_all_that_is_read():
    series = data.airline()
    model = quick(12, difference=(12,), window=6).fit(series)
    changed = series.copy()
    changed[: -(12 + 6)] *= 2
    np.testing.assert_array_equal(model.forecast(5, changed), model.forecast(5))
    changed[-(12 + 6)] += 1
    assert not np.array_equal(model.forecast(5, changed), model.forecast(5))


@pytest.mark.parametrize("columns", [None, 1])
def test_what_the_caller_does_to_the_series_later_changes_nothing(columns):
    series = data.airline() if columns is None else data.airline()[:, None]
    model = quick(12, difference=(12,), window=6).fit(series)
    before = model.forecast(3)
    series *= 2
    assert model.forecast(3).tobytes() == before.tobytes()


def test_harmonics_follow_the_time_of_the_season():
    series = data.airline()
    model = quick(12, difference=(), harmonics=2, window=6).fit(series)
    a_month_later = model.forecast(3, series[1:])
    assert not np.allclose(a_month_later, model.forecast(3), rtol=1e-6)
    np.testing.assert_array_equal(model.forecast(3, series[12:]), model.forecast(3))


def test_one_seed_gives_one_forecast_and_no_state_is_shared():
    series = data.airline()
    before = tg.random.default_generator().bit_generator.state
    one, again, other = (quick(12, rng=seed).fit(series).forecast(6) for seed in (1, 1, 2))
    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != other.tobytes()
    assert tg.random.default_generator().bit_generator.state == before


def test_the_default_dtype_of_the_process_plays_no_part():
    series = data.airline()
    one = quick(12).fit(series).forecast(3)
    tg.set_default_dtype(np.float64)
    try:
        assert quick(12).fit(series).forecast(3).tobytes() == one.tobytes()
    finally:
        tg.set_default_dtype(np.float32)


def test_the_mean_of_the_members_is_forecast():
    series = data.airline()
    model = quick(12, members=3, difference=(12,), log=False).fit(series)
    assert len(model.networks) == len(model.losses) == 3
    together = model.forecast(4)
    networks = model.networks
    single = []
    for network in networks:
        model.networks = [network]
        single.append(model.forecast(4))
    assert not np.allclose(single[0], single[1])
    np.testing.assert_allclose(np.mean(single, axis=0), together, rtol=1e-12)


def test_steps_are_learnt_of_series_without_a_level():
    t = np.arange(400)
    noise = np.random.default_rng(0).normal(size=400)
    seasonal = 10 * np.sin(2 * np.pi * t / 40) + 2 * noise
    chosen = quick(40, epochs=1).fit(seasonal).recipe
    assert (chosen.difference, chosen.harmonics) == ((), 3)
    assert quick(epochs=1).fit(noise).recipe.difference == ()
    for wandering in (np.cumsum(noise), seasonal + 0.1 * t, np.stack([noise, np.cumsum(noise)], axis=1)):
        assert quick(40, epochs=1).fit(wandering).recipe.difference == (1,)
    short = quick(12).fit(data.airline()[:30])
    assert "lag 1, 3 harmonics of the season, windows of 24" in str(short.recipe)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9, -3.0])
def test_a_constant_series_stays_what_it_is(value):
    model = quick(4).fit(np.full(60, value))
    np.testing.assert_allclose(model.forecast(8)[:, 0], value, rtol=1e-5, atol=2.0)
    assert np.isfinite(model.losses).all()


def test_one_constant_column_among_others():
    series = np.stack([data.airline(), np.zeros(144)], axis=1)
    forecast = quick(12, difference=(12,)).fit(series).forecast(5)
    assert forecast.shape == (5, 2)
    assert np.isfinite(forecast).all()


@pytest.mark.parametrize(
    ("options", "series", "message"),
    [
        ({}, [1.0, np.nan] * 20, "value 2 of column 1 of the series is nan"),
        ({}, [1.0, np.inf] * 20, "value 2 of column 1 of the series is inf"),
        ({}, np.zeros((2, 2, 2)), "expected a series"),
        ({}, [], "expected a series"),
        ({"log": True}, [1.0, -2.0] * 20, "value 2 of column 1 is -2: leave out the logarithm"),
        (
            {"difference": (1, 12), "window": 10},
            np.ones(26),
            "has 26 values, but training needs at least 27: 13 for differences, 10 for a window, 4 to learn",
        ),
        ({}, np.ones(10), "needs at least 17: 1 for differences, 12 for a window, 4 to learn from"),
    ],
)
def test_series_that_are_refused(options, series, message):
    with pytest.raises(ValueError, match=message):
        quick(**options).fit(series)


def test_the_shortest_series_is_enough():
    model = quick(difference=(1, 12), window=10)
    assert model.needs == 27
    assert model.fit(np.arange(27.0)).forecast(2).shape == (2, 1)
    assert model.forecast(1, np.arange(23.0)).shape == (1, 1)
    with pytest.raises(tasks.TooShortError, match="at least 23 values of it, got 22"):
        model.forecast(1, np.arange(22.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"season": 1}, "season >= 2, got 1"),
        ({"hidden": 0}, "hidden >= 1, got 0"),
        ({"members": 0}, "members >= 1, got 0"),
        ({"epochs": 0}, "epochs >= 1, got 0"),
        ({"window": 0}, "window >= 1, got 0"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"learning_rate": np.inf}, "learning_rate must be positive"),
        ({"weight_decay": -1}, "weight_decay must be from 0"),
        (
            {"weight_decay": 100},
            "weight_decay must be from 0 to below 1 / learning_rate, which is 100, got 100",
        ),
        ({"harmonics": 1}, "needs a season for harmonics"),
        ({"season": 12, "harmonics": -1}, "harmonics >= 0, got -1"),
        ({"difference": (0,)}, "each lag of the differences >= 1, got 0"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tasks.Forecaster(**options)


@pytest.mark.parametrize("name", ["season", "hidden", "members", "epochs", "window", "harmonics"])
def test_fractions_of_counts_are_refused(name):
    with pytest.raises(TypeError, match=rf"needs a whole number for {name}, got 12\.5"):
        tasks.Forecaster(**{"season": 12, name: 12.5})
    with pytest.raises(TypeError, match=r"whole number for each lag of the differences, got 1\.5"):
        tasks.Forecaster(difference=(1.5,))


def test_use_before_fit_and_wrong_use_after():
    model = quick(difference=(), window=4)
    for use in (lambda: model.forecast(1), model.loss, lambda: model.save("nowhere")):
        with pytest.raises(RuntimeError, match="call fit first"):
            use()
    with pytest.raises(ValueError, match="got 2 names for a series of 1 columns"):
        model.fit(np.arange(30.0), names=["a", "b"])
    model.fit(np.arange(30.0), names=["a"])
    with pytest.raises(ValueError, match="learnt 1 columns, got a series of 2"):
        model.forecast(1, np.zeros((30, 2)))
    with pytest.raises(ValueError, match="horizon >= 1, got 0"):
        model.forecast(0)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        model.loss(0)


def test_a_forecast_beyond_all_numbers_is_an_error():
    model = quick(log=True, difference=(1,), window=4).fit(np.exp(np.arange(60.0) * 10))
    with pytest.raises(OverflowError, match="without the logarithm"):
        model.forecast(60)


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("recipe", [{"difference": (12,)}, {"difference": (1,), "harmonics": 2, "window": 7}])
def test_a_file_gives_the_same_forecasts(tmp_path, columns, recipe):
    series = np.stack([data.airline(), data.airline()[::-1]], axis=1)[:, :columns]
    model = quick(12, members=2, **recipe).fit(series, names=["승객", "b"][:columns])
    path = tmp_path / "모델.safetensors"
    model.save(path)
    again = tasks.Forecaster.load(path)
    assert again.forecast(30).tobytes() == model.forecast(30).tobytes()
    longer = np.concatenate([series, series[-12:]])
    assert again.forecast(3, longer).tobytes() == model.forecast(3, longer).tobytes()
    assert again.names == model.names
    assert again.recipe == model.recipe
    assert again.loss().item() == model.loss().item()
    again.save(tmp_path / "twice")
    (arrays, metadata), (arrays_again, metadata_again) = (
        nn.load_state(p) for p in (path, tmp_path / "twice")
    )
    assert metadata == metadata_again
    assert arrays.keys() == arrays_again.keys()
    assert all(a.tobytes() == arrays_again[name].tobytes() for name, a in arrays.items())


def test_a_file_of_another_kind_is_refused(tmp_path):
    nn.save_state({"x": np.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="holds no forecaster"):
        tasks.Forecaster.load(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        tasks.Forecaster.load(tmp_path / "none")


def test_the_loss_is_that_of_the_last_window_with_its_tape():
    series = data.airline()
    model = quick(12, difference=(12,), window=6, log=False).fit(series)
    loss = model.loss()
    assert loss.shape == ()
    error = (model.forecast(1, series[:-1]) - series[-1]) / model.preprocessing.scale
    np.testing.assert_allclose(loss.item(), error[0, 0] ** 2, rtol=1e-4)
    tape = tg.Tape(loss)
    steps = {s.step for e in tape.entries if e.scope for s in e.scope.path() if s.step is not None}
    assert steps == set(range(6))
    loss.backward()
    assert {name for name, p in model.networks[0].named_parameters() if p.grad is not None} == set(
        model.networks[0].state_dict()
    )
    shorter = tg.Tape(model.loss(2)).entries
    assert len(shorter) < len(tape.entries)


class _Bar:
    def __init__(self, **options):
        self.options, self.count, self.closed = options, 0, False

    def update(self, n):
        self.count += n

    def close(self):
        self.closed = True


def test_progress_is_told_of_every_epoch(capfd):
    bars = []

    def progress(**options):
        bars.append(_Bar(**options))
        return bars[-1]

    quick(12, members=2).fit(data.airline(), progress=progress)
    (bar,) = bars
    assert bar.options["total"] == bar.count == 2 * 2
    assert bar.closed
    assert capfd.readouterr() == ("", "")
    quick(12).fit(data.airline(), progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "training: 100%" in err


def test_a_bar_that_nobody_sees_any_more_stops_no_training():
    class Gone(_Bar):
        def update(self, n=0):
            raise BrokenPipeError

        close = update

    model = quick(12).fit(data.airline(), progress=Gone)
    assert model.forecast(1).shape == (1, 1)


def test_long_series_cost_no_more_than_an_epoch_may(monkeypatch):
    seen = []
    original = nn.mse

    def counting(prediction, target):
        seen.append(len(target))
        return original(prediction, target)

    monkeypatch.setattr(nn, "mse", counting)
    quick(difference=(), window=4, epochs=1).fit(np.sin(np.arange(3000.0)))
    assert sum(seen) == 512
    assert max(seen) == 64
