"""Bounding gradients before a step, against explosion over many time steps (Pascanu et al. 2013)."""

from __future__ import annotations

import inspect
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
    check_number("clip_grad_norm: max_norm", max_norm, positive=True)
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
    check_number("clip_grad_value: clip_value", clip_value, positive=True)
    for p in _several("clip_grad_value", parameters):
        if p.grad is not None:
            p.grad = p.grad.detach().clip(-clip_value, clip_value)


def _several(what: str, parameters: Iterable[Tensor] | Tensor) -> list[Tensor]:
    refuse_module(what, parameters)
    several = [parameters] if isinstance(parameters, Tensor) else list(parameters)  # not its rows
    for p in several:
        if not isinstance(p, Tensor):
            refuse_module(what, p)
            raise TypeError(f"{what} takes a list of tensors, got {type(p).__name__} in it")
    return several


def refuse_module(what: str, parameters: Any) -> None:
    """Raise for a module, or its method, in place of its parameters."""
    if is_module(parameters):
        raise TypeError(
            f"{what} takes a list of tensors, got a {type(parameters).__name__}: pass model.parameters()"
        )
    if not isinstance(parameters, Iterable):
        mend = ": call it, model.parameters()" * inspect.isroutine(parameters)
        raise TypeError(f"{what} takes a list of tensors, got {type(parameters).__name__}{mend}")


def check_number(what: str, value: float, positive: bool = False) -> None:
    """Raise unless it is a number from 0 on, or larger than 0."""
    wanted = "larger than 0" if positive else "from 0 on"
    try:
        right = value > 0 if positive else value >= 0
    except TypeError:
        raise TypeError(f"{what} must be a number {wanted}, such as 1e-3, got {value!r}") from None
    if not right:  # NaN is not, either
        raise ValueError(f"{what} must be a number {wanted}, got {value}")


def _finite(g: Tensor) -> bool:
    return bool(np.isfinite(g.numpy()).all())
