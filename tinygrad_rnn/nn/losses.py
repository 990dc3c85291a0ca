"""Losses: how far predictions are from targets, as one number to differentiate."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays import is_masked
from ..tensors import Tensor, as_tensor, tensor
from .options import INTEGERS

__all__ = ["binary_cross_entropy_with_logits", "cross_entropy", "huber", "mae", "mse"]


_ONE_HOT = "of one-hot rows pass the ids, target.argmax(-1)"


def _reduced(values: Tensor, reduction: str, count: float | None = None) -> Tensor:
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    if reduction == "mean":
        return values.mean() if count is None and values.size else values.sum() / max(count or 0, 1)
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def _pair(name: str, prediction: Any, target: Any) -> tuple[Tensor, Any]:
    prediction = as_tensor(prediction)
    if not isinstance(target, Tensor):
        target = tensor(target, prediction.dtype if prediction.dtype.kind == "f" else None)
    if prediction.shape != target.shape:
        raise ValueError(
            f"{name} expected prediction and target of one shape, got {prediction.shape} and {target.shape}; "
            f"they are not broadcast, since that is nearly always a mistake here"
        )
    return prediction, target


def mse(prediction: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """Mean squared error.

    Parameters
    ----------
    prediction, target : Tensor or array
        Of one shape.
    reduction : {"mean", "sum", "none"}
    """
    prediction, target = _pair("mse", prediction, target)
    return _reduced(ops.square(prediction - target), reduction)


def mae(prediction: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """Mean absolute error; parameters as for `mse`."""
    prediction, target = _pair("mae", prediction, target)
    return _reduced(ops.abs(prediction - target), reduction)


def huber(prediction: Tensor, target: Any, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """Huber's loss (1964): d^2 / 2 for errors |d| up to delta, delta (|d| - delta / 2) beyond.

    Parameters
    ----------
    prediction, target : Tensor or array
        Of one shape.
    delta : float
        Where the loss turns linear; positive.
    reduction : {"mean", "sum", "none"}
    """
    if delta <= 0:
        raise ValueError(f"huber needs a positive delta, got {delta}")
    prediction, target = _pair("huber", prediction, target)
    distance = ops.abs(prediction - target)
    near = ops.clip(distance, max=delta)
    # The clipped part counts squared, the rest linearly: one expression for both branches.
    return _reduced(near * (distance - 0.5 * near), reduction)


def cross_entropy(logits: Tensor, target: Any, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Cross-entropy of class ids against unnormalised log-probabilities.

    Parameters
    ----------
    logits : Tensor, (..., C)
        Classes stand in the last axis, also for sequences: (B, T, C).
    target : integers, (...)
        Class ids, 0 to C - 1, or ``ignore_index``.
    ignore_index : int
        Positions with this target count for nothing, in the mean too; if all do, the mean is 0.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ValueError, TypeError, IndexError
        For shapes that do not match, targets that are no integers, ids out of range.
    """
    logits = as_tensor(logits)
    if is_masked(target):
        raise TypeError(
            "cross_entropy: a masked target would lose its mask; pass target.filled(ignore_index), whose "
            "positions count for nothing"
        )
    ids = np.asarray(target)
    if ids.dtype.kind not in "iu":
        mend = _ONE_HOT if ids.shape == logits.shape else INTEGERS
        raise TypeError(f"cross_entropy expected integer class ids, got {ids.dtype}{ids.shape}; {mend}")
    if logits.shape[:-1] != ids.shape or not logits.ndim:
        mend = f"; {_ONE_HOT}" if ids.shape == logits.shape else ""
        if ids.shape == (*logits.shape[:-1], 1):
            mend = "; leave out the last axis of the target, target[..., 0]"
        if logits.ndim > 2 and (*logits.shape[:1], *logits.shape[2:]) == ids.shape:
            mend = "; classes that stand second, as in PyTorch, go last: np.moveaxis(logits, 1, -1)"
        raise ValueError(
            f"cross_entropy expected logits (..., classes) and target (...), "
            f"got {logits.shape} and {ids.shape}{mend}"
        )
    counted = ids != ignore_index
    classes = logits.shape[-1]
    wrong = counted & ((ids < 0) | (ids >= classes))
    if wrong.any():
        raise IndexError(
            f"cross_entropy: target {ids[wrong].flat[0]} is no class id of 0 to {classes - 1}, "
            f"nor ignore_index={ignore_index}"
        )
    safe = np.where(counted, ids, 0)[..., None]
    picked = ops.take_along_axis(ops.log_softmax(logits, axis=-1), safe, axis=-1)
    values = ops.where(counted, -ops.squeeze(picked, axis=-1), 0)
    return _reduced(values, reduction, float(counted.sum()))


def binary_cross_entropy_with_logits(logits: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """Binary cross-entropy of probabilities in [0, 1] against logits, stable for any logit.

    ``-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)) = softplus(x) - t x``

    Parameters
    ----------
    logits, target : Tensor or array
        Of one shape; targets are 0, 1 or between.
    reduction : {"mean", "sum", "none"}
    """
    logits, target = _pair("binary_cross_entropy_with_logits", logits, target)
    return _reduced(ops.softplus(logits) - target * logits, reduction)
