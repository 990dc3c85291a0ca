"""Forecasting series with LSTMs: prepare, train, continue."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import nn, optim
from ..data import batches, windows
from ..nn.options import checked_size
from ..random import default_generator
from ..state import no_grad
from ..tensors import Tensor, tensor
from .preprocessing import Preprocessing, harmonics_of, varies_with_level, wanders

Rng = np.random.Generator | int | None
Progress = bool | Callable[..., Any]
"""True for tqdm's bar on stderr, False for none, or what is called as ``tqdm(total=..., desc=...)``."""

_FEWEST_WINDOWS = 4
"""Below this there is nothing to learn from."""
_BATCH = 64
_WINDOWS_PER_EPOCH = 512
"""An epoch visits at most so many windows, each time a new random part, so long series take no longer."""
_CLIP = 1.0
_KIND = "forecaster/1"


class TooShortError(ValueError):
    """A series has fewer values than are needed; the message says how many, and what for."""


@dataclass(frozen=True)
class Recipe:
    """How a series is prepared for the network.

    Attributes
    ----------
    difference : tuple of int
        Lags, see `Preprocessing`.
    harmonics : int
        How many sines and cosines of the season the network is given with each value, so that it knows the
        time of the year; 0 for none.
    window : int
        Past values that the network reads.
    """

    difference: tuple[int, ...]
    harmonics: int
    window: int

    @property
    def needs(self) -> int:
        """How many values a series must have."""
        return sum(self.difference) + self.window + _FEWEST_WINDOWS

    def __str__(self) -> str:
        parts = [f"differences at lag {lag}" for lag in self.difference] or ["no differences"]
        if self.harmonics:
            parts.append(f"{self.harmonics} harmonics of the season")
        return ", ".join([*parts, f"windows of {self.window}"])


class _Network(nn.Module):
    """One LSTM over a window, and a linear layer from its last output to the next value."""

    def __init__(self, inputs: int, hidden: int, outputs: int, rng: np.random.Generator) -> None:
        self.lstm = nn.LSTM(
            inputs, hidden, return_sequences=False, return_state=False, rng=rng, dtype=np.float32
        )
        self.head = nn.Linear(hidden, outputs, rng=rng, dtype=np.float32)

    def forward(self, x: Any) -> Tensor:
        """(B, T, inputs) to (B, outputs)."""
        y: Tensor = self.head(self.lstm(x))
        return y


class Forecaster:
    """Forecasts the next values of one series, or of several that belong together.

    The series is prepared (logarithm, differences, scaling), a few LSTMs that start from different random
    weights learn to tell the next value from a window of past ones, and each of them continues the series
    value by value, reading its own forecasts; the mean of the continuations is brought back into the units of
    the series. All columns are forecast together, each from the past of all.

    What is left None is chosen from the data, by rules that need no training. The logarithm: by Guerrero's
    (see `varies_with_level`). Whether values or their steps are learnt: by whether the series keeps to a
    level, beside its season (see `wanders`); columns are treated alike, and one that wanders is enough. The
    season itself is left to the networks, which are told the time of it.

    Parameters
    ----------
    season : int, optional
        Values in a season: 12 for months, 365 for days, 24 for hours.
    log : bool, optional
        Take the logarithm of all columns, or of none.
    difference : sequence of int, optional
        Lags of the differences; empty for none. ``(season,)`` suits a season of many values with sharp
        edges, which few harmonics cannot follow.
    harmonics : int, optional
        See `Recipe`; needs a season. By default 3, but at most half a season; 0 where differences are given.
    window : int, optional
        See `Recipe`. By default two seasons, but from 8 to 24 values; 12 without a season.
    hidden : int
        Size of the LSTM's hidden state.
    members : int
        How many networks are trained; their mean depends less on the random weights than any of them.
    epochs : int
        Each at most 512 windows, in batches of 64.
    learning_rate : float
        Of AdamW, at the start; it falls to 0 along a cosine.
    weight_decay : float
        Of AdamW. It keeps the weights of long training within +-1 / weight_decay or so, so that more epochs
        cannot fit the noise of a short series ever more closely.
    rng : Generator or int, optional
        For weights and batches. An int makes every `fit` the same.

    Attributes
    ----------
    recipe : Recipe
        After `fit`: what was given or chosen.
    preprocessing : Preprocessing
        After `fit`.
    networks : list of Module
        After `fit`.
    losses : list of list of float
        After `fit`: for each network and epoch, the mean squared error of the prepared series.
    names : list of str
        After `fit`.

    Examples
    --------
    >>> from tinygrad_rnn import data, tasks
    >>> model = tasks.Forecaster(season=12, rng=0).fit(data.airline())
    >>> model.forecast(24).shape
    (24, 1)
    """

    def __init__(
        self,
        season: int | None = None,
        *,
        log: bool | None = None,
        difference: Sequence[int] | None = None,
        harmonics: int | None = None,
        window: int | None = None,
        hidden: int = 24,
        members: int = 3,
        epochs: int = 50,
        learning_rate: float = 1e-2,
        weight_decay: float = 1.0,
        rng: Rng = None,
    ) -> None:
        self.season = None if season is None else checked_size("Forecaster", "season", season, 2)
        self.hidden = checked_size("Forecaster", "hidden", hidden)
        self.members = checked_size("Forecaster", "members", members)
        self.epochs = checked_size("Forecaster", "epochs", epochs)
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, got {learning_rate}")
        if not 0 <= weight_decay * learning_rate < 1:
            raise ValueError(
                f"weight_decay must be from 0 to below 1 / learning_rate, which is {1 / learning_rate:g}, "
                f"got {weight_decay}"
            )
        self.learning_rate, self.weight_decay, self.log, self.rng = learning_rate, weight_decay, log, rng
        self.difference = None if difference is None else Preprocessing(difference).lags
        if harmonics is None:
            harmonics = 0 if self.season is None or difference is not None else min(3, self.season // 2)
        self.harmonics = checked_size("Forecaster", "harmonics", harmonics, 0)
        if self.harmonics and self.season is None:
            raise ValueError(f"Forecaster needs a season for harmonics, got harmonics={harmonics}")
        if window is None:
            window = 12 if self.season is None else min(max(2 * self.season, 8), 24)
        self.window = checked_size("Forecaster", "window", window)
        self.recipe: Recipe | None = None
        self.preprocessing: Preprocessing | None = None
        self.networks: list[_Network] = []
        self.losses: list[list[float]] = []
        self.names: list[str] = []
        self._history = np.zeros((0, 0))

    # ---- what is needed

    @property
    def needs(self) -> int:
        """The fewest values that `fit` takes, whatever it chooses."""
        return self._recipe(steps=True).needs

    @property
    def needs_in_words(self) -> str:
        """How `needs` comes about."""
        recipe = self._recipe(steps=True)
        lost = sum(recipe.difference)
        return (
            f"{f'{lost} for differences, ' if lost else ''}{recipe.window} for a window, "
            f"{_FEWEST_WINDOWS} to learn from"
        )

    # ---- training

    def fit(
        self,
        series: Any,
        *,
        names: Sequence[str] | None = None,
        progress: Progress = False,
    ) -> Forecaster:
        """Choose a recipe and train.

        Parameters
        ----------
        series : array, (N,) or (N, features)
            In time order, evenly spaced.
        names : sequence of str, optional
            Of the columns, kept with the model.
        progress : bool or callable
            See `Progress`.

        Returns
        -------
        Forecaster
            This one.

        Raises
        ------
        TooShortError
            For a series with too few values.
        ValueError
            For a series with a missing or infinite value, or one that is not positive where the logarithm was
            asked for.
        """
        values = as_series(series)
        if len(values) < self.needs:
            raise TooShortError(
                f"the series has {len(values)} values, but training needs at least {self.needs}: "
                f"{self.needs_in_words}"
            )
        names = [f"column {k + 1}" for k in range(values.shape[1])] if names is None else list(names)
        if len(names) != values.shape[1]:
            raise ValueError(f"got {len(names)} names for a series of {values.shape[1]} columns")
        log = self._logarithms(values)
        recipe = self._recipe(steps=self._wanders(values, log))
        training = _Training(values, recipe, log, self.season, self.hidden)
        rng = default_generator(self.rng)
        with _bar(progress, self.members * self.epochs) as tick:
            trained = [training.run(self, r, tick) for r in rng.spawn(self.members)]
        self.networks = [network for network, _ in trained]
        self.losses = [losses for _, losses in trained]
        self.recipe, self.preprocessing, self.names = recipe, training.preprocessing, names
        self._history = values.copy()
        return self

    def _logarithms(self, values: np.ndarray) -> list[bool]:
        if self.log is None:
            return [bool(flag) for flag in varies_with_level(values, self.season or 12)]
        return [self.log] * values.shape[1]

    def _wanders(self, values: np.ndarray, log: list[bool]) -> bool:
        z = Preprocessing((), log).fit(values).apply(values)
        # Steps of a steady column can be learnt still; the level of one that wanders cannot.
        return bool(wanders(z, harmonics_of(self.season, self.harmonics, np.arange(len(z)))).any())

    def _recipe(self, steps: bool) -> Recipe:
        """What was asked for; differences that were not: of the steps from value to value, or none."""
        difference = ((1,) if steps else ()) if self.difference is None else self.difference
        return Recipe(difference, self.harmonics, self.window)

    # ---- use

    def forecast(self, horizon: int, series: Any = None) -> np.ndarray:
        """The values that follow.

        Parameters
        ----------
        horizon : int
            How many.
        series : array, (N,) or (N, features), optional
            A series to continue in place of the one that was given to `fit`: the same, grown by new values.
            It must start at the same time of the season. Nothing is trained.

        Returns
        -------
        array, (horizon, features), float64
            In the units of the series.

        Raises
        ------
        RuntimeError
            Before `fit`.
        TooShortError
            For a series that is too short to continue.
        ValueError
            For one that has not the columns that were learnt.
        OverflowError
            If the continuation leaves the range of numbers.
        """
        recipe, training = self._trained(series)
        horizon = checked_size("forecast", "horizon", horizon)
        needed = sum(recipe.difference) + recipe.window
        if len(training.series) < needed:
            raise TooShortError(
                f"continuing a series needs at least {needed} values of it, got {len(training.series)}"
            )
        result = training.forecast(self.networks, horizon)
        if not np.isfinite(result).all():
            raise OverflowError("the forecast grew beyond all numbers: fit without the logarithm")
        return result

    def loss(self, steps: int | None = None) -> Tensor:
        """The loss of the first network at the last value of the series, with its tape: for a diagram.

        Parameters
        ----------
        steps : int, optional
            Time steps to unroll: the last of the window, all by default.

        Returns
        -------
        Tensor
            A scalar, recorded anew at each call.
        """
        recipe, training = self._trained(None)
        steps = recipe.window if steps is None else min(steps, recipe.window)
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        inputs, target = training.examples()
        return nn.mse(self.networks[0](tensor(inputs[-1:, -steps:])), target[-1:])

    def _trained(self, series: Any) -> tuple[Recipe, _Training]:
        if self.recipe is None or self.preprocessing is None:
            raise RuntimeError("this Forecaster knows no series yet: call fit first")
        values = self._history if series is None else as_series(series)
        if values.shape[1] != len(self.names):
            raise ValueError(
                f"the forecaster has learnt {len(self.names)} columns, got a series of {values.shape[1]}"
            )
        training = _Training(values, self.recipe, [], self.season, self.hidden, self.preprocessing)
        return self.recipe, training

    # ---- files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that a forecast needs to one safetensors file: weights, preparation, the series.

        The weights are named ``networks.0.lstm.weight_ih_l0`` and so on, as in PyTorch.
        """
        recipe, training = self._trained(None)
        state = {
            f"networks.{k}.{name}": values
            for k, network in enumerate(self.networks)
            for name, values in network.state_dict().items()
        }
        metadata = {
            "kind": _KIND,
            "names": self.names,
            "season": self.season,
            "recipe": asdict(recipe),
            "hidden": self.hidden,
            "members": self.members,
            "preprocessing": training.preprocessing.to_json(),
        }
        nn.save_state({**state, "series": self._history}, path, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Forecaster:
        """Read what `save` wrote: the same forecasts, bit by bit.

        Raises
        ------
        ValueError
            For a damaged file, or one that holds something else.
        """
        state, metadata = nn.load_state(path)
        if metadata.get("kind") != _KIND:
            raise ValueError(f"{path} holds no forecaster (its kind is {metadata.get('kind')!r})")
        recipe = Recipe(**{**metadata["recipe"], "difference": tuple(metadata["recipe"]["difference"])})
        self = cls(
            metadata["season"],
            difference=recipe.difference,
            harmonics=recipe.harmonics,
            window=recipe.window,
            hidden=metadata["hidden"],
            members=metadata["members"],
        )
        self.recipe = recipe
        self.preprocessing = Preprocessing.from_json(metadata["preprocessing"])
        self.names = metadata["names"]
        self._history = state.pop("series")
        _, training = self._trained(None)
        for k in range(self.members):
            network = training.network(np.random.default_rng(0))
            prefix = f"networks.{k}."
            network.load_state_dict(
                {name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)}
            )
            self.networks.append(network)
        return self


class _Training:
    """A series, prepared after a recipe: what networks learn from, and what their forecasts start from."""

    def __init__(
        self,
        series: np.ndarray,
        recipe: Recipe,
        log: list[bool],
        season: int | None,
        hidden: int,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self.series, self.recipe, self.season, self.hidden = series, recipe, season, hidden
        self.preprocessing = preprocessing or Preprocessing(recipe.difference, log).fit(series)

    def network(self, rng: np.random.Generator) -> _Network:
        features = self.series.shape[1]
        return _Network(features + 2 * self.recipe.harmonics, self.hidden, features, rng)

    def inputs(self, z: np.ndarray, start: int) -> np.ndarray:
        """What a network reads: prepared values, each with the time of the season of the value after it.

        ``z`` is (n, features), and its first row stands at the time ``start`` of the series.
        """
        t = np.arange(start + 1, start + 1 + len(z))
        return np.concatenate([z, harmonics_of(self.season, self.recipe.harmonics, t)], 1).astype(np.float32)

    def examples(self) -> tuple[np.ndarray, np.ndarray]:
        """All windows (n, window, inputs) with the value after each (n, features)."""
        z = self.preprocessing.apply(self.series)
        inputs, _ = windows(self.inputs(z, self.preprocessing.lost), self.recipe.window)
        return inputs, z[self.recipe.window :].astype(np.float32)

    def run(
        self, options: Forecaster, rng: np.random.Generator, tick: Callable[[], Any]
    ) -> tuple[_Network, list[float]]:
        """Train one network; the network, and its loss in each epoch."""
        network = self.network(rng)
        parameters = list(network.parameters())
        optimiser = optim.AdamW(parameters, lr=options.learning_rate, weight_decay=options.weight_decay)
        inputs, targets = self.examples()
        steps = math.ceil(min(len(inputs), _WINDOWS_PER_EPOCH) / _BATCH) * options.epochs
        done = 0
        losses = []
        for _ in range(options.epochs):
            total = count = 0.0
            for x, y in batches(inputs, targets, batch_size=_BATCH, rng=rng, limit=_WINDOWS_PER_EPOCH):
                optimiser.lr = options.learning_rate * 0.5 * (1 + math.cos(math.pi * done / steps))
                optimiser.zero_grad()
                loss = nn.mse(network(tensor(x)), y)
                loss.backward()
                optim.clip_grad_norm(parameters, _CLIP)
                optimiser.step()
                done += 1
                total += loss.item() * len(x)
                count += len(x)
            losses.append(total / count)
            tick()
        return network, losses

    def forecast(self, networks: Sequence[_Network], horizon: int) -> np.ndarray:
        """The series continued, in its units: (horizon, features)."""
        recipe, prep = self.recipe, self.preprocessing
        end = len(self.series)
        known = prep.apply(self.series[end - prep.lost - recipe.window :])
        continuations = []
        with no_grad():
            for network in networks:
                z = np.concatenate([known, np.empty((horizon, known.shape[1]))])
                for h in range(horizon):
                    read = self.inputs(z[h : h + recipe.window], end - recipe.window + h)
                    z[recipe.window + h] = network(tensor(read[None])).numpy()[0]
                continuations.append(z[recipe.window :])
        with np.errstate(over="ignore"):
            return prep.undo(np.mean(continuations, axis=0), self.series)


def as_series(series: Any) -> np.ndarray:
    """A series as (N, features), float64.

    Raises
    ------
    ValueError
        For other shapes, no values, and values that are missing or infinite, with their place.
    """
    values = np.asarray(series, np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size:
        raise ValueError(f"expected a series (N,) or (N, features) with values, got {values.shape}")
    wrong = ~np.isfinite(values)
    if wrong.any():
        t, k = np.argwhere(wrong)[0]
        raise ValueError(
            f"value {t + 1} of column {k + 1} of the series is {values[t, k]}: a gap must be filled"
        )
    return values


@contextmanager
def _bar(progress: Progress, total: int) -> Iterator[Callable[[], Any]]:
    """What is to be called after each epoch."""
    if isinstance(progress, bool):
        if not progress:
            yield lambda: None
            return
        from tqdm import tqdm as make
    else:
        make = progress
    bar = make(total=total, desc="training")

    def tick() -> None:
        with suppress(BrokenPipeError):  # a bar that nobody sees any more is no reason to stop
            bar.update(1)

    try:
        yield tick
    finally:
        with suppress(BrokenPipeError):
            bar.close()
