"""Windows over series: what a network reads, and what it should say next."""

from __future__ import annotations

from typing import Any

import numpy as np


def windows(
    series: Any, length: int, horizon: int | None = None, *, stride: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a series into all its windows, each with the value or values that follow it.

    Parameters
    ----------
    series : array, (N,) or (N, features)
        One value, or one row of values, per time step. (N,) is one feature.
    length : int
        Time steps in a window, at least 1.
    horizon : int, optional
        How many following steps are the target. None, the default, is the next one without a time axis.
    stride : int
        Steps between the starts of neighbouring windows.

    Returns
    -------
    inputs : array, (n, length, features)
    targets : array, (n, features), or (n, horizon, features) with a horizon
        Both are read-only views of the series, which take no memory of their own, and keep its dtype;
        indexing with an array of window numbers copies.

    Raises
    ------
    ValueError
        For a series that is too short for one window with its target, or of another number of axes.

    Examples
    --------
    >>> inputs, targets = data.windows([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], 4)
    >>> inputs.shape, targets.tolist()
    ((2, 4, 1), [[0.4], [0.5]])
    """
    series = np.asarray(series)
    if series.ndim not in (1, 2) or series.dtype.kind not in "biuf":
        raise ValueError(
            f"windows expected a series of numbers (N,) or (N, features), got {series.dtype}{series.shape}"
        )
    following = 1 if horizon is None else horizon
    if length < 1 or following < 1 or stride < 1:
        raise ValueError(
            f"windows needs length, horizon and stride of at least 1, got {length}, {horizon} and {stride}"
        )
    if series.ndim == 1:
        series = series[:, None]
    if len(series) < length + following:
        raise ValueError(
            f"windows of {length} steps with {following} to follow need a series of at least "
            f"{length + following} steps, got {len(series)}"
        )
    whole = np.lib.stride_tricks.sliding_window_view(series, length + following, axis=0)[::stride]
    whole = whole.swapaxes(1, 2)
    inputs, targets = whole[:, :length], whole[:, length:]
    return inputs, targets[:, 0] if horizon is None else targets
