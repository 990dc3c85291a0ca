"""How good a forecast is: errors, baselines, and the hold-out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..nn.options import checked_size
from .forecasting import Forecaster, Progress, TooShortError, as_series


def rmse(truth: Any, forecast: Any) -> float:
    """Root of the mean squared error, over all elements of two arrays of one shape; in their units."""
    truth, forecast = _pair(truth, forecast)
    return float(np.sqrt(np.mean((forecast - truth) ** 2)))


def mae(truth: Any, forecast: Any) -> float:
    """Mean absolute error, over all elements of two arrays of one shape; in their units."""
    truth, forecast = _pair(truth, forecast)
    return float(np.mean(np.abs(forecast - truth)))


def mape(truth: Any, forecast: Any) -> float | None:
    """Mean absolute error in percent of the truth; None, for undefined, where a true value is 0."""
    truth, forecast = _pair(truth, forecast)
    if (truth == 0).any():
        return None
    return float(100 * np.mean(np.abs((forecast - truth) / truth)))


def _pair(truth: Any, forecast: Any) -> tuple[np.ndarray, np.ndarray]:
    truth, forecast = np.asarray(truth, np.float64), np.asarray(forecast, np.float64)
    if truth.shape != forecast.shape or not truth.size:
        raise ValueError(
            f"errors need truth and forecast of one shape, not empty, got {truth.shape} and {forecast.shape}"
        )
    return truth, forecast


@dataclass(frozen=True)
class Errors:
    """Errors of a forecast: ``rmse`` and ``mae`` in its units, ``mape`` in percent, or None if undefined."""

    rmse: float
    mae: float
    mape: float | None


def measure(truth: Any, forecast: Any) -> Errors:
    """All three errors of a forecast; arrays of one shape."""
    return Errors(rmse(truth, forecast), mae(truth, forecast), mape(truth, forecast))


def last_value(series: Any, horizon: int) -> np.ndarray:
    """The baseline that nothing changes: the last value, ``horizon`` times.

    (horizon,) or (horizon, features), as the series.
    """
    series = np.asarray(series, np.float64)
    _at_least("last_value", len(series), 1, horizon)
    return np.repeat(series[-1:], horizon, axis=0)


def seasonal_naive(series: Any, horizon: int, season: int) -> np.ndarray:
    """The baseline of the same time last season: the last ``season`` values, as often as ``horizon`` needs.

    (horizon,) or (horizon, features), as the series.
    """
    series = np.asarray(series, np.float64)
    if season < 1:
        raise ValueError(f"a season has at least 1 value, got {season}")
    _at_least("seasonal_naive", len(series), season, horizon)
    return series[len(series) - season + np.arange(horizon) % season]


def _at_least(name: str, have: int, need: int, horizon: int) -> None:
    if have < need or horizon < 1:
        raise ValueError(f"{name} needs at least {need} values and a horizon of 1, got {have} and {horizon}")


@dataclass(frozen=True)
class HoldOut:
    """What came of training without the last values and forecasting them.

    Attributes
    ----------
    truth : array, (horizon, features)
        The values held out, in their units.
    forecasts : dict of str to array, (horizon, features)
        By name: ``"forecast"``, ``"last value"`` and, with a season, ``"last season"``.
    forecaster : Forecaster
        Trained on all but the held-out values.
    """

    truth: np.ndarray
    forecasts: dict[str, np.ndarray]
    forecaster: Forecaster

    def errors(self, column: int) -> dict[str, Errors]:
        """The errors of each forecast in one column, by the forecast's name."""
        return {name: measure(self.truth[:, column], f[:, column]) for name, f in self.forecasts.items()}


def hold_out(series: Any, horizon: int, forecaster: Forecaster, *, progress: Progress = False) -> HoldOut:
    """Train on all but the last ``horizon`` values, forecast those, and compare with the baselines.

    Parameters
    ----------
    series : array, (N,) or (N, features)
    horizon : int
    forecaster : Forecaster
        Is fitted here, to the first N - horizon values alone.
    progress
        As for `Forecaster.fit`.

    Raises
    ------
    TooShortError
        With the count of values that the whole series must have.
    ValueError
        As `Forecaster.fit`.
    """
    values = as_series(series)
    horizon = checked_size("hold_out", "horizon", horizon)
    need, words = forecaster.needs, forecaster.needs_in_words
    if (forecaster.season or 0) > need:
        need, words = forecaster.season or 0, f"{forecaster.season} for a season"
    if len(values) < need + horizon:
        raise TooShortError(
            f"the series has {len(values)} values, but holding out {horizon} needs at least "
            f"{need + horizon}: {words}, and {horizon} held out"
        )
    past, truth = values[:-horizon], values[-horizon:]
    forecaster.fit(past, progress=progress)
    forecasts = {
        "forecast": forecaster.forecast(horizon),
        "last value": last_value(past, horizon),
    }
    if forecaster.season is not None:
        forecasts["last season"] = seasonal_naive(past, horizon, forecaster.season)
    return HoldOut(truth, forecasts, forecaster)
