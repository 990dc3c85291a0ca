"""The figure of a forecast: what was, what was held out, what was said instead, and what comes next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .judging import HoldOut

# Okabe and Ito's colours, which the colour-blind tell apart.
_LOOKS: dict[str, dict[str, Any]] = {
    "history": {"color": "0.45", "linewidth": 1.2},
    "held out": {"color": "black", "linewidth": 1.8},
    "last value": {"color": "#E69F00", "linewidth": 1.3, "linestyle": ":"},
    "last season": {"color": "#009E73", "linewidth": 1.3, "linestyle": "--"},
    "forecast": {"color": "#D55E00", "linewidth": 2.0},
    "future": {"color": "#0072B2", "linewidth": 2.0},
}


def save_figure(
    path: str | os.PathLike[str],
    series: np.ndarray,
    held: HoldOut | None = None,
    future: np.ndarray | None = None,
    *,
    title: str,
    labels: Sequence[str],
    names: dict[str, str] | None = None,
    time: np.ndarray | None = None,
    time_label: str = "position",
) -> None:
    """Draw a series with its forecasts, one panel for each column, and write it as PNG, SVG or PDF.

    Only as much of the past is shown as lets the forecasts be seen.

    Parameters
    ----------
    path : path
        Its ending says the format.
    series : array, (N, features)
    held : HoldOut, optional
        Of the last values of the series.
    future : array, (horizon, features), optional
        The forecast of what follows the series.
    title : str
    labels : sequence of str
        Of the vertical axes, one per column, with units where there are any.
    names : dict, optional
        Other words for the legend, for the keys "history", "held out", "future" and the forecasts' names.
    time : array, (N + horizon,), optional
        The horizontal axis, with as many values as are drawn; 1, 2, ... by default.
    time_label : str
    """
    from ..draw import figures

    horizon = len(held.truth) if held is not None else 0
    ahead = 0 if future is None else len(future)
    count, features = series.shape
    time = np.arange(1, count + ahead + 1) if time is None else time
    start = max(0, count - max(6 * max(horizon, ahead), 96))
    words = {name: name for name in _LOOKS} | (names or {})
    figure = figures.new_picture(10, 1.6 + 3.4 * features, title)
    panels = figure.subplots(features, 1, sharex=True, squeeze=False)[:, 0]
    for k, axes in enumerate(panels):
        cut = count - horizon
        past = series[start:cut, k]
        axes.plot(time[start:cut], past, label=words["history"], **_LOOKS["history"])
        if held is not None:
            axes.axvspan(time[cut], time[count - 1], color="0.95", zorder=0)
            curves = {"held out": held.truth, **held.forecasts}
            for name in sorted(curves, key=list(_LOOKS).index):
                _continue(axes, time, series, cut, k, curves[name], words[name], _LOOKS[name])
        if future is not None:
            _continue(axes, time, series, count, k, future, words["future"], _LOOKS["future"])
        axes.set_ylabel(figures.plain_text(labels[k]))
        axes.margins(x=0.01)
        figures.tidy(axes)
    panels[-1].set_xlabel(figures.plain_text(time_label))
    figures.legend(figure, panels[0])
    figures.finish(figure).savefig(path, dpi=150)


def _continue(
    axes: Any,
    time: np.ndarray,
    series: np.ndarray,
    at: int,
    column: int,
    values: np.ndarray,
    label: str,
    look: dict[str, Any],
) -> None:
    """A curve that starts at the last value before it, so that no gap parts it from the past."""
    y = np.concatenate([series[at - 1 : at, column], values[:, column]])
    axes.plot(time[at - 1 : at + len(values)], y, label=label, **look)
