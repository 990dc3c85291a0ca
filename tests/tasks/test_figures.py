"""Figures: written whole, for one column and several, with Korean names and without a window system."""

import sys

import numpy as np
import pytest

from tinygrad_rnn import data, tasks

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def held():
    series = np.stack([data.airline(), data.airline() ** 0.5], axis=1)
    model = tasks.Forecaster(12, difference=(12,), members=1, epochs=1, rng=0)
    return series, tasks.hold_out(series, 24, model)


@pytest.mark.parametrize("with_hold_out", [True, False])
@pytest.mark.parametrize("with_future", [True, False])
def test_a_png_is_written(tmp_path, held, with_hold_out, with_future):
    series, out = held
    path = tmp_path / "그림.png"
    tasks.save_figure(
        path,
        series,
        out if with_hold_out else None,
        series[-12:] if with_future else None,
        title="승객 수",
        labels=["승객 (천 명)", "root"],
    )
    assert path.read_bytes().startswith(PNG)


def test_the_legend_and_the_axes_say_what_they_show(tmp_path, held):
    series, out = held
    path = tmp_path / "figure.svg"
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none"}):
        tasks.save_figure(
            path,
            series,
            out,
            series[-12:],
            title="A title",
            labels=["thousands", "root of thousands"],
            names={"last season": "same month last year"},
            time=1949 + np.arange(156) / 12,
            time_label="year",
        )
    text = path.read_text(encoding="utf-8")
    for words in ("A title", "thousands", "root of thousands", "year", "history", "held out", "forecast"):
        assert f">{words}</text>" in text
    for words in ("last value", "same month last year", "future"):
        assert f">{words}</text>" in text
    assert ">last season</text>" not in text


def test_letters_that_no_font_has_are_no_failure(tmp_path, held):
    series, _ = held
    tasks.save_figure(tmp_path / "x.png", series[:, :1], title="\U000e0100 \u0a91\U0001f9ff", labels=["가"])


def test_no_figure_is_kept(tmp_path, held):
    series, out = held
    tasks.save_figure(tmp_path / "x.png", series, out, title="", labels=["", ""])
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
