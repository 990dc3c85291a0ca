"""The figure of a training: losses and other measures over its epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_curves(history: Mapping[str, Any] | Sequence[Any], *, xlabel: str = "epoch") -> Figure:
    """Curves of losses over a training, on a logarithmic scale if all are positive.

    A validation loss (its name begins with ``val``) has its lowest point marked. What is not finite is a
    triangle on the upper edge; what is missing is a gap.

    Parameters
    ----------
    history : dict of str to sequence of numbers, sequence of dicts, or sequence of numbers
        The values of each curve; or one dict for each epoch, which need not have all names; or one curve.
    xlabel : str
        What is counted.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        For what is no sequence and no dict of them.
    ValueError
        If there is nothing to draw.

    Examples
    --------
    >>> figure = draw.loss_curves({"loss": [1.0, 0.5, 0.3], "val_loss": [1.1, 0.7, 0.8]})
    """
    if not isinstance(history, (Mapping, Sequence, np.ndarray)):
        raise TypeError(
            f"loss_curves takes the values of a training, a list of numbers or {{'loss': [...], ...}}; got "
            f"{type(history).__name__}"
        )
    from . import figures

    curves = _curves(history)
    figure = figures.new_picture(8, 4.4)
    axes = figure.subplots()
    finite = [v[np.isfinite(v)] for v in curves.values()]
    if any(v.size for v in finite) and all((v > 0).all() for v in finite):
        axes.set_yscale("log")
    for k, (name, values) in enumerate(curves.items()):
        colour = figures.COLOURS[k % len(figures.COLOURS)]
        epochs = np.arange(1, len(values) + 1)
        shown = np.where(np.isfinite(values), values, np.nan)
        few: dict[str, Any] = {"marker": "o", "markersize": 3} if len(values) <= 30 else {}
        dash = figures.DASHES[k % len(figures.DASHES)]
        axes.plot(epochs, shown, color=colour, linestyle=dash, label=figures.plain_text(name), **few)
        if name.startswith("val") and np.isfinite(values).any():
            best = int(np.nanargmin(shown))
            axes.plot(epochs[best], shown[best], marker="*", markersize=12, color=colour)
            axes.annotate(
                f"{shown[best]:.4g}", (epochs[best], shown[best]), (0, 8), textcoords="offset points"
            )
        bad = epochs[np.isinf(values)]
        if bad.size:
            axes.plot(
                bad, np.ones(len(bad)), "^", color=colour, transform=axes.get_xaxis_transform(), clip_on=False
            )
    axes.set_xlabel(figures.plain_text(xlabel))
    figures.whole_numbers(axes.xaxis)
    figures.tidy(axes)
    figures.legend(figure, axes)
    return figures.finish(figure)


def _curves(history: Any) -> dict[str, np.ndarray]:
    if isinstance(history, Mapping):
        curves = {str(name): np.asarray(values, np.float64).ravel() for name, values in history.items()}
    elif len(history) and isinstance(history[0], Mapping):
        names = dict.fromkeys(name for epoch in history for name in epoch)
        curves = {
            str(name): np.array([float(epoch.get(name, np.nan)) for epoch in history]) for name in names
        }
    else:
        curves = {"loss": np.asarray(history, np.float64).ravel()}
    if not any(values.size for values in curves.values()):
        raise ValueError("draw.loss_curves: the history is empty")
    return curves
