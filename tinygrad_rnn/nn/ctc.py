"""Connectionist temporal classification (Graves, Fernandez, Gomez, Schmidhuber 2006): loss and decoders.

The network says at every step how likely each label is, or none (the blank). An alignment is one of these per
step; merging repeats and then dropping blanks makes it a label sequence: ``a a - a b b`` gives ``a a b``. The
probability of a label sequence is the sum over all its alignments.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays import as_array
from ..ops import concatenate, expand_dims, logsumexp, stack, take_along_axis, unstack, where
from ..state import scope
from ..tensors import Tensor, as_tensor, tensor
from .decoding import largest
from .losses import _reduced
from .packing import valid_lengths


class Labelling(NamedTuple):
    """A label sequence that was read out of log-probabilities.

    Attributes
    ----------
    labels : integers, (S,)
    log_prob : float
        Natural logarithm; the decoders say of what.
    """

    labels: np.ndarray
    log_prob: float


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Negative log-probability of target sequences, summed over all their alignments.

    The arguments and reductions are those of ``torch.nn.functional.ctc_loss``. The recursion of the paper's
    section 4.1 runs in the log space; it is recorded, so its gradient is that of the sum itself.

    Parameters
    ----------
    log_probs : Tensor or array, (T, B, C), or (T, C) for one sequence
        Log-probabilities of C labels, the blank among them: ``tg.log_softmax(logits, axis=-1)``. Time comes
        first, as in PyTorch: ``np.swapaxes(x, 0, 1)`` for the output (B, T, C) of a layer.
    targets : integers, (B, S) padded at will, or (sum of target_lengths,) one after another
        Labels without the blank.
    input_lengths, target_lengths : integers, (B,)
        Both may be 0. What lies beyond them does not count, and log_probs get gradient 0 there.
    blank : int
        The label that stands for none.
    reduction : {"mean", "sum", "none"}
        "mean" divides each loss by its target's length (by 1 where that is 0), then takes the batch's mean.
    zero_infinity : bool
        Where a target is impossible, let loss and gradient be 0 in place of an error.

    Returns
    -------
    Tensor
        One number; (B,) for "none".

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match, labels or lengths out of range, and targets that are longer than their
        input: each label takes a step, and equal neighbours one more for the blank between them.
    """
    log_probs = as_tensor(log_probs)
    if log_probs.ndim == 2:
        n, m = (np.reshape(a, -1) for a in (input_lengths, target_lengths))
        batch_of_one = expand_dims(log_probs, 1)
        loss = ctc_loss(batch_of_one, targets, n, m, blank, reduction, zero_infinity)
        return loss[0] if reduction == "none" else loss
    _check_log_probs("ctc_loss", log_probs, blank)
    steps, batch, _ = log_probs.shape
    inputs = valid_lengths(input_lengths, batch, steps, "ctc_loss: input_lengths")
    labels, lengths = _labels(targets, target_lengths, log_probs.shape, blank)
    if not zero_infinity:
        _refuse_impossible(labels, inputs, lengths)
    with scope("ctc_loss"):
        values = -_log_likelihood(log_probs, labels, inputs, lengths, blank)
        if zero_infinity:
            values = where(np.isinf(values.numpy()), 0, values)
        if reduction == "mean":
            values = values / np.maximum(lengths, 1).astype(values.dtype)
        return _reduced(values, reduction)


def _log_likelihood(
    log_probs: Tensor, labels: np.ndarray, inputs: np.ndarray, lengths: np.ndarray, blank: int
) -> Tensor:
    """Of each target, (B,): the forward variables alpha of the paper, equations 6 to 8, in the log space."""
    batch = len(labels)
    longest = int(inputs.max(initial=0))
    if not longest:  # all targets are empty, or about to be zeroed; the sum over no step is on the tape
        return log_probs[:0].sum(axis=(0, 2))
    extended = np.full((batch, 2 * labels.shape[1] + 1), blank)
    extended[:, 1::2] = labels  # l': a blank before, between and after the labels
    skips = np.zeros(extended.shape, bool)  # a blank may be left out between two labels that differ
    skips[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    dtype = log_probs.dtype
    skip = np.where(skips, 0, -np.inf).astype(dtype)
    y = take_along_axis(log_probs[:longest], extended[None], axis=2)
    # Padding becomes 0 first: a NaN in it would meet a cotangent of 0, and 0 * NaN is NaN.
    y = unstack(where((np.arange(longest)[:, None] < inputs)[:, :, None], y, 0), axis=0)
    # alpha, with two columns of nothing on its left. All begin in the first blank without having read
    # anything: one step on are the two beginnings that the paper has.
    start = np.full((batch, 2 + extended.shape[1]), -np.inf, dtype)
    start[:, 2] = 0
    alpha, found, order = tensor(start), [], []
    for t in range(longest + 1):
        ended = np.flatnonzero(inputs == t)
        if len(ended):  # in the last label or in the blank behind it
            at = 2 * lengths[ended, None] + [1, 2]
            found.append(logsumexp(alpha[ended[:, None], at], axis=1))
            order.append(ended)
        if t < longest:
            with scope(f"t={t}", step=t):
                ways = stack([alpha[:, 2:], alpha[:, 1:-1], alpha[:, :-2] + skip])
                alpha = concatenate([start[:, :2], logsumexp(ways, axis=0) + y[t]], axis=1)
    return concatenate(found)[np.argsort(np.concatenate(order))]


def ctc_greedy_decode(log_probs: Any, input_lengths: Any = None, blank: int = 0) -> list[Labelling]:
    """The label sequences of the likeliest alignments: the best label at each step.

    Parameters
    ----------
    log_probs : Tensor or array, (T, B, C)
        As for `ctc_loss`.
    input_lengths : integers, (B,), optional
        All T for None.
    blank : int

    Returns
    -------
    list of B `Labelling`
        With the log-probability of that one alignment. Other alignments of the same labels add to it, and
        the labels of several less likely ones may be likelier together: `ctc_beam_decode` looks for those.
    """
    array, lengths = _decodable("ctc_greedy_decode", log_probs, input_lengths, blank)
    found = []
    for rows, n in zip(array.swapaxes(0, 1), lengths, strict=True):
        path = rows[:n].argmax(axis=1)
        new = np.concatenate([np.ones(min(n, 1), bool), path[1:] != path[:-1]])
        found.append(Labelling(path[new & (path != blank)], float(rows[:n].max(axis=1).sum())))
    return found


def ctc_beam_decode(
    log_probs: Any, input_lengths: Any = None, blank: int = 0, *, width: int = 10
) -> list[list[Labelling]]:
    """The likeliest label sequences by prefix beam search (Hannun et al. 2014, arXiv:1408.2873).

    Parameters
    ----------
    log_probs, input_lengths, blank
        As for `ctc_greedy_decode`.
    width : int
        How many prefixes are kept at each step. With all of them the search is exact.

    Returns
    -------
    list of B lists of `Labelling`
        The best ones, best first, at most ``width``; less if there are no more. Their log-probabilities sum
        over the alignments whose prefixes were kept: never more than the whole, which is ``-ctc_loss``.
        Ties go to prefixes that are not new at the last step, then to lower labels.
    """
    if width < 1:
        raise ValueError(f"ctc_beam_decode needs a width of at least 1, got {width}")
    array, lengths = _decodable("ctc_beam_decode", log_probs, input_lengths, blank)
    return [
        _prefix_beams(rows[:n], blank, width) for rows, n in zip(array.swapaxes(0, 1), lengths, strict=True)
    ]


def _prefix_beams(log_probs: np.ndarray, blank: int, width: int) -> list[Labelling]:
    """The best label sequences of one sequence of log-probabilities, (T, C)."""
    prefixes: list[tuple[int, ...]] = [()]
    # Of the alignments of each prefix: of those that end in a blank, and of those that end in a label.
    b, n = np.zeros(1), np.full(1, -np.inf)
    for y in log_probs:
        last = np.array([prefix[-1] if prefix else blank for prefix in prefixes])
        total = np.logaddexp(b, n)
        stay_b, stay_n = total + y[blank], n + y[last]
        grow = total[:, None] + y
        grow[np.arange(len(last)), last] = b + y[last]  # the same label again needs a blank between
        grow[:, blank] = -np.inf
        slots = {prefix: k for k, prefix in enumerate(prefixes)}
        for prefix, k in slots.items():
            parent = slots.get(prefix[:-1]) if prefix else None
            if parent is not None:
                stay_n[k] = np.logaddexp(stay_n[k], grow[parent, prefix[-1]])
                grow[parent, prefix[-1]] = -np.inf
        b = np.concatenate([stay_b, np.full(grow.size, -np.inf)])
        n = np.concatenate([stay_n, grow.ravel()])
        total = np.logaddexp(b, n)
        best = largest(total[None], min(width, max(1, int((total > -np.inf).sum()))))[0]
        parents, new = np.divmod(best - len(prefixes), len(y))
        prefixes = [
            prefixes[k] if k < len(prefixes) else (*prefixes[parent], label)
            for k, parent, label in zip(best.tolist(), parents.tolist(), new.tolist(), strict=True)
        ]
        b, n = b[best], n[best]
    return [
        Labelling(np.array(prefix, np.intp), float(total))
        for prefix, total in zip(prefixes, np.logaddexp(b, n), strict=True)
    ]


# -------------------------------------------------------------------------------------------- arguments


def _check_log_probs(name: str, log_probs: Any, blank: int) -> None:
    if log_probs.ndim != 3 or log_probs.dtype.kind not in "fc":
        raise ValueError(
            f"{name} expected floating-point log_probs (time, batch, labels), "
            f"got {log_probs.dtype}{log_probs.shape}"
        )
    if not 0 <= blank < log_probs.shape[2]:
        raise ValueError(f"{name}: blank={blank} is no label of 0 to {log_probs.shape[2] - 1}")


def _decodable(name: str, log_probs: Any, lengths: Any, blank: int) -> tuple[np.ndarray, np.ndarray]:
    array = as_array(log_probs)
    _check_log_probs(name, array, blank)
    steps, batch, _ = array.shape
    lengths = np.full(batch, steps) if lengths is None else lengths
    return array.astype(np.float64), valid_lengths(lengths, batch, steps, f"{name}: input_lengths")


def _labels(
    targets: Any, target_lengths: Any, shape: tuple[int, ...], blank: int
) -> tuple[np.ndarray, np.ndarray]:
    """Targets as an array (B, longest), padded with blanks, and their lengths."""
    targets = np.asarray(targets)
    batch, classes = shape[1:]
    if targets.ndim not in (1, 2) or (targets.size and targets.dtype.kind not in "iu"):
        raise TypeError(
            f"ctc_loss expected integer targets (batch, labels) or (labels of all,), "
            f"got {targets.dtype}{targets.shape}"
        )
    lengths = valid_lengths(target_lengths, batch, targets.shape[-1], "ctc_loss: target_lengths")
    labels = np.full((batch, lengths.max(initial=0)), blank)
    inside = np.arange(labels.shape[1]) < lengths[:, None]
    if targets.ndim == 1:
        if len(targets) != lengths.sum():
            raise ValueError(
                f"ctc_loss got {len(targets)} labels one after another, but target_lengths add up to "
                f"{lengths.sum()}"
            )
        labels[inside] = targets
    elif len(targets) != batch:
        raise ValueError(f"ctc_loss got {len(targets)} targets for a batch of {batch}")
    else:
        labels[inside] = targets[:, : labels.shape[1]][inside]
    wrong = inside & ((labels < 0) | (labels >= classes) | (labels == blank))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"ctc_loss: target {row} has the label {labels[row, column]}; labels are 0 to {classes - 1} "
            f"without the blank {blank}"
        )
    return labels, lengths


def _refuse_impossible(labels: np.ndarray, inputs: np.ndarray, lengths: np.ndarray) -> None:
    """Raise for targets that have no alignment within their input's length."""
    inside = np.arange(1, labels.shape[1]) < lengths[:, None]
    repeats = (inside & (labels[:, 1:] == labels[:, :-1])).sum(axis=1)
    short = np.flatnonzero(inputs < lengths + repeats)
    if len(short):
        listed = "; ".join(
            f"target {k} has {lengths[k]} labels and {repeats[k]} repeats, which take "
            f"{lengths[k] + repeats[k]} steps, and its input has {inputs[k]}"
            for k in short[:8]
        )
        more = f"; and {len(short) - 8} more" if len(short) > 8 else ""
        raise ValueError(
            f"ctc_loss: impossible targets: {listed}{more}. Leave them out, make the inputs longer, or pass "
            f"zero_infinity=True to count them as 0"
        )
