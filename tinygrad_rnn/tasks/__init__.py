"""Jobs that a user brings data to. See README.md beside this file."""

from .figures import save_figure
from .forecasting import Forecaster, Recipe, TooShortError
from .judging import Errors, HoldOut, hold_out, last_value, mae, mape, measure, rmse, seasonal_naive
from .preprocessing import Preprocessing, harmonics_of, varies_with_level, wanders

__all__ = [
    "Errors",
    "Forecaster",
    "HoldOut",
    "Preprocessing",
    "Recipe",
    "TooShortError",
    "harmonics_of",
    "hold_out",
    "last_value",
    "mae",
    "mape",
    "measure",
    "rmse",
    "save_figure",
    "seasonal_naive",
    "varies_with_level",
    "wanders",
]
