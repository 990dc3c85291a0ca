"""Optimisers and gradient clipping. See README.md beside this file."""

import sys as _sys
from typing import TYPE_CHECKING

from ..elsewhere import missing as _missing
from .clipping import clip_grad_norm, clip_grad_value
from .optimisers import SGD, Adagrad, Adam, AdamW, Optimiser, RMSprop

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimiser",
    "RMSprop",
    "clip_grad_norm",
    "clip_grad_value",
]


if not TYPE_CHECKING:

    def __getattr__(name):
        raise _missing(_sys.modules[__name__], "optim", name, f"module {__name__!r}")
