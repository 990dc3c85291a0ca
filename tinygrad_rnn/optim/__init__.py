"""Optimisers and gradient clipping. See README.md beside this file."""

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
