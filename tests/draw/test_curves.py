"""Curves of a training, from every form of history, with gaps and what is not finite."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinygrad_rnn import draw


def curves(figure, tmp_path):
    assert isinstance(figure, Figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(tmp_path / "figure.png")
    axes = figure.axes[0]
    return axes, {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


@pytest.mark.parametrize(
    "history",
    [
        {"loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 1.5, 2.0]},
        [{"loss": 3.0, "val_loss": 3.0}, {"loss": 2.0, "val_loss": 1.5}, {"loss": 1.0, "val_loss": 2.0}],
        {"loss": np.array([3.0, 2.0, 1.0], np.float32), "val_loss": np.array([3.0, 1.5, 2.0])},
    ],
)
def test_all_forms_of_history_give_the_same_curves(tmp_path, history):
    axes, found = curves(draw.loss_curves(history), tmp_path)
    assert found["loss"].get_ydata().tolist() == [3, 2, 1]
    assert found["val_loss"].get_ydata().tolist() == [3, 1.5, 2]
    assert found["loss"].get_xdata().tolist() == [1, 2, 3]
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["1.5"]


def test_one_curve_gaps_and_what_is_not_finite(tmp_path):
    axes, found = curves(draw.loss_curves([1.0, -2.0, np.nan, np.inf], xlabel="세대"), tmp_path)
    np.testing.assert_array_equal(found["loss"].get_ydata(), [1, -2, np.nan, np.nan])
    assert axes.get_yscale() == "linear"
    assert axes.lines[1].get_xdata().tolist() == [4]
    assert axes.get_xlabel() == "세대"
    _, found = curves(draw.loss_curves([{"a$": 1}, {"b": 2}]), tmp_path)
    np.testing.assert_array_equal(found["b"].get_ydata(), [np.nan, 2])


def test_nothing_finite_and_nothing_at_all(tmp_path):
    curves(draw.loss_curves({"val": [np.nan, np.inf]}), tmp_path)
    for empty in ({}, [], {"loss": []}):
        with pytest.raises(ValueError, match="the history is empty"):
            draw.loss_curves(empty)
