"""Bounding gradients before a step, against explosion over many time steps (Pascanu et al. 2013)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tensors import Tensor
from ..trees import is_module


def clip_grad_norm(parameters: Iterable[Tensor] | Tensor, max_norm: float) -> float:
    """Scale all gradients together so that their joint Euclidean norm is at most ``max_norm``.

    Parameters
    ----------
    parameters : iterable of Tensor, or Tensor
        Those without a gradient are passed over.
    max_norm : float
        Larger than 0.

    Returns
    -------
    float
        The norm before scaling.

    Raises
    ------
    ValueError
        If the norm is not finite: scaling would spread the NaN to every parameter.
    """
    _check_bound("clip_grad_norm: max_norm", max_norm)
    with_grad = [p for p in _several("clip_grad_norm", parameters) if p.grad is not None]
    # In float64, so that squares of float32 gradients do not overflow.
    squares = [np.square(p.grad.numpy(), dtype=np.float64).sum() for p in with_grad if p.grad is not None]
    norm = float(np.sqrt(np.sum(squares)))
    if not np.isfinite(norm):
        names = [p.name or "(unnamed)" for p in with_grad if p.grad is not None and not _finite(p.grad)]
        raise ValueError(f"clip_grad_norm: the gradient norm is {norm}; not finite in: {', '.join(names)}")
    scale = max_norm / (norm + 1e-6)
    if scale < 1:
        for p in with_grad:
            assert p.grad is not None
            p.grad = p.grad.detach() * scale
    return norm


def clip_grad_value(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Bound every element of every gradient to ``[-clip_value, clip_value]``, a number larger than 0."""
    _check_bound("clip_grad_value: clip_value", clip_value)
    for p in _several("clip_grad_value", parameters):
        if p.grad is not None:
            p.grad = p.grad.detach().clip(-clip_value, clip_value)


def _several(what: str, parameters: Iterable[Tensor] | Tensor) -> Iterable[Tensor]:
    refuse_module(what, parameters)
    return [parameters] if isinstance(parameters, Tensor) else parameters  # not its rows


def refuse_module(what: str, parameters: Any) -> None:
    """Raise for a module in place of its parameters."""
    if is_module(parameters):
        raise TypeError(
            f"{what} takes a list of tensors, got a {type(parameters).__name__}: pass model.parameters()"
        )


def _check_bound(what: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{what} must be larger than 0, got {value}")


def _finite(g: Tensor) -> bool:
    return bool(np.isfinite(g.numpy()).all())
