"""Layout of views that have a grid."""

from __future__ import annotations

from .layout import Drawing
from .view import View


def place_on_grid(view: View) -> Drawing:
    raise NotImplementedError
