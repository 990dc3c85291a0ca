"""The shipped series against the public file, where that is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn import data


def test_airline_is_monthly_and_each_call_gives_its_own():
    series = data.airline()
    assert series.shape == (144,)
    assert series.dtype == np.float64
    assert (series[0], series[-1], series.max()) == (112, 432, 622)
    series[:] = 0
    assert data.airline()[0] == 112


def test_airline_equals_the_public_file():
    folder = os.environ.get("TINYGRAD_RNN_DATA")
    if not folder:
        pytest.skip("TINYGRAD_RNN_DATA names no folder of sample data")
    path = Path(folder, "series", "airline-passengers.csv")
    if not path.exists():
        pytest.skip(f"{path} is not there")
    np.testing.assert_array_equal(data.airline(), data.read_csv(path, "Passengers")[:, 0])
