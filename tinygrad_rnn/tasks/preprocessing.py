"""Making a series easy to learn, and undoing that: logarithm, differences, scaling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..nn.options import checked_size


class Preprocessing:
    """Logarithm, then differences, then scaling to mean 0 and standard deviation 1, column by column.

    ::

        u = log(x) or x
        d = (1 - B^l1) (1 - B^l2) ... u        with B u_t = u_(t-1) and the lags l1, l2, ...
        z = (d - mean) / scale

    Parameters
    ----------
    lags : sequence of int
        Of the differences: ``(1,)`` is the step from value to value, ``(12,)`` the change within a year of
        months, ``(1, 12)`` both. Empty for none.
    log : bool or sequence of bool
        For all columns, or for each.

    Attributes
    ----------
    lost : int
        How many values at the start have no difference: the sum of the lags.
    mean, scale : array, (features,)
        Set by `fit`, in units of the differences. The scale of a column that does not vary is 1.
    """

    def __init__(self, lags: Iterable[int] = (), log: bool | Sequence[bool] = False) -> None:
        self.lags = tuple(checked_size("Preprocessing", "each lag of the differences", lag) for lag in lags)
        self.log = log if isinstance(log, bool) else tuple(bool(flag) for flag in log)
        self.lost = sum(self.lags)
        self.mean: np.ndarray | None = None
        self.scale: np.ndarray | None = None
        # The product of the (1 - B^lag) as one polynomial in B: d_t = sum of c_k u_(t-k), with c_0 = 1.
        c = np.ones(1)
        for lag in self.lags:
            factor = np.zeros(lag + 1)
            factor[0], factor[-1] = 1, -1
            c = np.convolve(c, factor)
        self._past = [(k, float(c[k])) for k in range(1, len(c)) if c[k]]

    def fit(self, series: np.ndarray) -> Preprocessing:
        """Take mean and scale from a series (N, features). Returns itself.

        Raises
        ------
        ValueError
            For the logarithm of a value that is not positive, and for a series of no more than `lost` values.
        """
        u = self._logged(series)
        d = self._differences(u)
        if not len(d):
            raise ValueError(
                f"differences at lags {self.lags} need more than {self.lost} values, got {len(series)}"
            )
        self.mean = d.mean(axis=0)
        spread = d.std(axis=0)
        # What rounding leaves of a series that does not vary is no variation.
        floor = 1e-10 * np.abs(u).max(axis=0)
        self.scale = np.where(spread > floor, spread, 1.0)
        return self

    def apply(self, series: np.ndarray) -> np.ndarray:
        """(N, features) to (N - lost, features), without unit."""
        mean, scale = self._fitted()
        return (self._differences(self._logged(series)) - mean) / scale

    def undo(self, z: np.ndarray, history: np.ndarray) -> np.ndarray:
        """Continue a series by what was forecast of its transform: the inverse of `apply`.

        Parameters
        ----------
        z : array, (horizon, features)
            Without unit, as `apply` gives them.
        history : array, (N, features)
            The series up to the first forecast, at least `lost` values, in its own units.

        Returns
        -------
        array, (horizon, features)
            In the units of the series.
        """
        mean, scale = self._fitted()
        if len(history) < self.lost:
            raise ValueError(
                f"undoing differences at lags {self.lags} needs {self.lost} values, got {len(history)}"
            )
        u = np.concatenate([self._logged(history[len(history) - self.lost :]), z * scale + mean])
        for t in range(self.lost, len(u)):
            for k, c in self._past:
                u[t] -= c * u[t - k]
        u = u[self.lost :]
        return np.where(self._flags(u.shape[1]), np.exp(np.where(self._flags(u.shape[1]), u, 0)), u)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON can hold it; `from_json` is the inverse, exactly."""
        mean, scale = self._fitted()
        log = self.log if isinstance(self.log, bool) else list(self.log)
        return {"lags": list(self.lags), "log": log, "mean": mean.tolist(), "scale": scale.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocessing:
        """What `to_json` described."""
        self = cls(values["lags"], values["log"])
        self.mean = np.array(values["mean"], np.float64)
        self.scale = np.array(values["scale"], np.float64)
        return self

    def _fitted(self) -> tuple[np.ndarray, np.ndarray]:
        if self.mean is None or self.scale is None:
            raise RuntimeError("this Preprocessing has no mean and scale yet: call fit first")
        return self.mean, self.scale

    def _flags(self, features: int) -> np.ndarray:
        flags = np.broadcast_to(np.array(self.log), (features,)) if isinstance(self.log, bool) else None
        if flags is None:
            flags = np.array(self.log)
            if len(flags) != features:
                raise ValueError(f"log has {len(flags)} flags for a series of {features} columns")
        return flags

    def _logged(self, series: np.ndarray) -> np.ndarray:
        series = np.asarray(series)
        flags = self._flags(series.shape[1])
        wrong = flags & (series <= 0)
        if wrong.any():
            t, k = np.argwhere(wrong)[0]
            raise ValueError(
                f"the logarithm needs positive values, but value {t + 1} of column {k + 1} is "
                f"{series[t, k]:g}: leave out the logarithm"
            )
        return np.where(flags, np.log(np.where(flags, series, 1)), series)

    def _differences(self, u: np.ndarray) -> np.ndarray:
        for lag in self.lags:
            u = u[lag:] - u[:-lag]
        return u


def varies_with_level(series: np.ndarray, block: int) -> np.ndarray:
    """Whether the variation of each column grows with its level, so that its logarithm varies evenly.

    The two cases "as it is" and "logarithm" of the rule of Guerrero (1993, Time-series analysis supported by
    power transformations, Journal of Forecasting 12): take the one for which the standard deviation within
    blocks of the series, divided by the block's mean for the logarithm, is more equal from block to block.

    Parameters
    ----------
    series : array, (N, features)
    block : int
        Values in a block: the season where there is one.

    Returns
    -------
    array of bool, (features,)
        False for columns with values that are not positive, and for fewer than three blocks.
    """
    series = np.asarray(series)
    count = len(series) // block
    if count < 3 or block < 2:
        return np.zeros(series.shape[1], bool)
    blocks = series[len(series) - count * block :].reshape(count, block, -1)
    means, spreads = blocks.mean(axis=1), blocks.std(axis=1)
    positive = (series > 0).all(axis=0)
    relative = spreads / np.where(positive, means, 1)
    return positive & (_unevenness(relative) < _unevenness(spreads))


def wanders(series: np.ndarray, harmonics: np.ndarray) -> np.ndarray:
    """Whether each column drifts away from any level, so that its steps are what can be learnt.

    They are if they vary less than half as much (as variances) as the values around their level, which is to
    say that neighbouring values correlate by more than about 0.75. The season plays no part: a regression on
    its harmonics is taken away first.

    Parameters
    ----------
    series : array, (N, features)
    harmonics : array, (N, terms)
        See `harmonics_of`.

    Returns
    -------
    array of bool, (features,)
        False for columns that are nothing but level and season.
    """
    x = np.concatenate([np.ones((len(series), 1)), harmonics], axis=1)
    rest = series - x @ np.linalg.lstsq(x, series, rcond=None)[0]
    varies = rest.std(axis=0) > 1e-10 * np.abs(series).max(axis=0)
    return varies & (np.var(np.diff(rest, axis=0), axis=0) < 0.5 * np.var(rest, axis=0))


def harmonics_of(season: int | None, count: int, t: np.ndarray) -> np.ndarray:
    """Sines and cosines of the season at the times t: (N,) to (N, 2 count)."""
    if season is None or not count:
        return np.zeros((len(t), 0))
    angles = 2 * np.pi * (np.asarray(t) % season)[:, None] * np.arange(1, count + 1) / season
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def _unevenness(values: np.ndarray) -> np.ndarray:
    """The coefficient of variation of each column; 0 where all values are 0."""
    mean = values.mean(axis=0)
    return values.std(axis=0) / np.where(mean > 0, mean, 1)
