"""What the matplotlib figures of this room share: how they are made, their letters and their colours.

Imported only by the functions that draw: matplotlib takes longer to import than all the rest.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.patches import Patch
from matplotlib.text import Text

# Okabe and Ito's colours, which the colour-blind tell apart; the yellow is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
NOT_FINITE, ZERO = "#D55E00", "#E8E8E8"

LETTERS = (
    "DejaVu Sans",
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "NanumGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "Noto Sans CJK JP",
)
"""Fonts to take letters from, in turn: matplotlib's own has no Korean ones."""


class Picture(Figure):
    """A figure of its own: no window and no register of figures keeps it. A notebook shows it.

    Where no font has a letter a box stands for it, and nobody is warned.
    """

    def draw(self, renderer: Any) -> None:
        with _quiet():
            super().draw(renderer)

    def get_tightbbox(self, *args: Any, **options: Any) -> Any:
        with _quiet():
            return super().get_tightbbox(*args, **options)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support .* natively")
        yield


def new_picture(width: float, height: float, title: str = "") -> Picture:
    """An empty figure with a canvas, sizes in inches."""
    figure = Picture(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(plain_text(title))
    return figure


def finish(figure: Picture) -> Picture:
    """Give every text fonts that have Korean letters, also when it is drawn long after."""
    there = set(fontManager.get_font_names())
    fonts = [font for font in LETTERS if font in there] or ["sans-serif"]
    for text in figure.findobj(Text):
        text.set_fontfamily(fonts)
    return figure


def plain_text(text: str) -> str:
    """A text with its dollar signs, which else would begin a formula."""
    return text.replace("$", r"\$")


def legend(figure: Picture, axes: Any) -> None:
    """A legend below all panels, if anything has a label, in as many columns as there is room for.

    A figure that is too narrow for one of them is widened.
    """
    handles, labels = axes.get_legend_handles_labels()
    canvas: Any = figure.canvas
    for columns in range(min(3, len(handles)), 0, -1):
        made = figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
        )
        with _quiet():
            width = made.get_window_extent(canvas.get_renderer()).width / figure.dpi + 0.2
        if width <= figure.get_figwidth():
            break
        if columns > 1:
            made.remove()
        else:
            figure.set_figwidth(width)


def tidy(axes: Any) -> None:
    """The looks of a panel with curves or bars."""
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def heat_map(
    axes: Any,
    values: np.ndarray,
    *,
    norm: Any,
    colours: str,
    grey: np.ndarray | None = None,
) -> Any:
    """An image of a matrix. What is not finite is shown in a colour of its own, and `grey` in grey."""
    values = np.asarray(values, np.float64)
    grey = np.zeros(values.shape, bool) if grey is None else grey
    image = axes.imshow(
        np.ma.masked_array(values, ~np.isfinite(values) | grey),
        aspect="auto",
        interpolation="nearest",
        norm=norm,
        cmap=matplotlib.colormaps[colours],
    )
    for mask, colour in ((grey, ZERO), (~np.isfinite(values) & ~grey, NOT_FINITE)):
        if mask.any():
            rgba = np.zeros((*values.shape, 4))
            rgba[mask] = matplotlib.colors.to_rgba(colour)
            axes.imshow(rgba, aspect="auto", interpolation="nearest")
    return image


def key(axes: Any, grey: str = "", not_finite: bool = False) -> None:
    """Say below a heat map what its two special colours are."""
    special = [(ZERO, grey)] if grey else []
    special += [(NOT_FINITE, "not finite")] if not_finite else []
    if special:
        patches(axes, special, loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2)


def patches(axes: Any, named: Sequence[tuple[str, str]], **options: Any) -> None:
    """A legend of colours."""
    handles = [Patch(facecolor=c, edgecolor="0.5", label=plain_text(text)) for c, text in named]
    axes.legend(handles=handles, frameon=False, fontsize=9, **options)


def whole_numbers(axis: Any) -> None:
    """Ticks at integers only."""
    axis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))


def time_axis(axes: Any, labels: Sequence[Any] | None, most: int = 30) -> None:
    """Time steps along the horizontal axis: their numbers, or as many of their names as there is room for."""
    if labels is None:
        whole_numbers(axes.xaxis)
        return
    at = range(0, len(labels), max(1, -(-len(labels) // most)))
    axes.set_xticks(list(at), [plain_text(str(labels[k])) for k in at])
