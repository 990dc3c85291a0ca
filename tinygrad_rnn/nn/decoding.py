"""Decoding: sequences out of a model that gives one step's logits at a time.

The model is a function ``step(tokens, state) -> (logits, state)``: integers (B,) and the state before them to
(B, V) and the state after them. Logits need not be normalised; those of forbidden tokens are -inf::

    def step(tokens, state):
        y, state = lstm(embedding(tokens)[:, None], state)
        return head(y[:, 0]), state

    found = nn.greedy_search(step, start, state, end=2, max_steps=50)

Every function carries the state, so that no prefix runs twice, and records nothing on the tape. Switch
dropout off with ``model.eval()`` before. What was read already (a prompt, an encoder's input) is in the first
``state``; ``start`` is the token that follows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..arrays import as_array
from ..random import default_generator
from ..state import no_grad
from ..tensors import Tensor
from .states import rebuilt

Rng = np.random.Generator | int | None
Step = Callable[[np.ndarray, Any], tuple[Any, Any]]
Choose = Callable[[np.ndarray], np.ndarray]


class Decoded(NamedTuple):
    """One sequence per start token.

    Attributes
    ----------
    tokens : integers, (B, T)
        The end token included where it was reached, and repeated behind it; without the start token.
    lengths : integers, (B,)
        How many tokens count, the end token among them.
    log_probs : float64, (B,)
        Of the whole sequences under the model: the sum over their tokens, natural logarithms.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    log_probs: np.ndarray


class Beams(NamedTuple):
    """The hypotheses of a beam search for each start token, best first: ``tokens[:, 0]`` are the best.

    Attributes
    ----------
    tokens : integers, (B, W, T)
    lengths : integers, (B, W)
    log_probs : float64, (B, W)
        As in `Decoded`. W is the width, or less if there are not so many sequences. Where one start token
        has fewer than another, the rest of its row has length 0 and log-probability -inf.
    scores : float64, (B, W)
        Log-probabilities over the length penalty, by which they are ranked.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    log_probs: np.ndarray
    scores: np.ndarray


def greedy_search(
    step: Step, start: Any, state: Any = None, *, end: int | None = None, max_steps: int
) -> Decoded:
    """Take the likeliest token at every step; of equally likely ones, the one with the lowest number.

    Parameters
    ----------
    step : callable
        ``step(tokens, state) -> (logits, state)``, see the module's docstring.
    start : integers, (B,)
        The tokens that come before the first step.
    state : optional
        The state before them: whatever ``step`` takes.
    end : int, optional
        The token that ends a sequence. None: all sequences have ``max_steps`` tokens.
    max_steps : int
        No sequence gets longer.

    Returns
    -------
    Decoded

    Raises
    ------
    ValueError, TypeError
        For arguments out of range, and for logits that are misshapen, NaN, or -inf for every token.
    """
    return _decoded(step, start, state, end, max_steps, _likeliest)


def sample(
    step: Step,
    start: Any,
    state: Any = None,
    *,
    end: int | None = None,
    max_steps: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: Rng = None,
) -> Decoded:
    """Draw every token at random, as likely as the model says.

    Parameters
    ----------
    step, start, state, end, max_steps
        As for `greedy_search`.
    temperature : float
        Logits are divided by it: below 1 likely tokens become likelier, towards 0 the search greedy.
    top_k : int, optional
        Draw from the k likeliest tokens only; among equally likely ones, lower numbers come first.
    top_p : float, optional
        Draw from the smallest set of likeliest tokens whose probability reaches p, at least one token
        (Holtzman et al. 2020, arXiv:1904.09751): after temperature and ``top_k``, renormalised.
    rng : Generator or int, optional
        One number is drawn per sequence and step, whether the sequence has ended or not.

    Returns
    -------
    Decoded
        ``log_probs`` are the model's, without temperature and cuts.
    """
    return _decoded(step, start, state, end, max_steps, _sampler(temperature, top_k, top_p, rng))


def generate(
    step: Step,
    start: Any,
    state: Any = None,
    *,
    end: int | None = None,
    max_steps: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: Rng = None,
) -> Iterator[np.ndarray]:
    """What `sample` draws, one step at a time, as soon as it is there; with ``top_k=1``, greedily.

    Parameters are those of `sample`; ``max_steps=None`` goes on until every sequence has ended.

    Yields
    ------
    tokens : integers, (B,)
        Of one step; the end token for sequences that have ended.
    """
    # What is wrong with the arguments is said by this call, not by the first step.
    tokens, steps = _checked_start(start), None if max_steps is None else _checked_steps(max_steps)
    unrolled = _unrolled(step, tokens, state, end, steps, _sampler(temperature, top_k, top_p, rng))
    return (drawn for drawn, _, _ in unrolled)


def beam_search(
    step: Step,
    start: Any,
    state: Any = None,
    *,
    width: int,
    end: int | None = None,
    max_steps: int,
    length_penalty: float = 0.0,
) -> Beams:
    """Keep the best ``width`` hypotheses at every step.

    A hypothesis that has ended stays in the beam with its score, and competes with those that go on; the
    search is over when all have ended. It is exact if the beam is as wide as there are prefixes, and with
    width 1 it is `greedy_search`. Beams are folded into the batch: ``step`` sees up to B * width sequences.

    Parameters
    ----------
    step, start, end, max_steps
        As for `greedy_search`.
    state : optional
        Tensors or arrays with the sequences along their first axis, or tuples of such, nested at will; a
        part with a method ``index(batch_ids)`` is reordered by that.
    width : int
    length_penalty : float
        Alpha of Wu et al. 2016 (arXiv:1609.08144, equation 14): hypotheses of length n rank by
        ``log_prob / ((5 + n) / 6) ** alpha``. 0 ranks by probability; above, longer ones gain.

    Returns
    -------
    Beams
        Ties go to the hypothesis whose prefix ranked better, then to the lower token.
    """
    if width < 1:
        raise ValueError(f"beam_search needs a width of at least 1, got {width}")
    max_steps = _checked_steps(max_steps)
    tokens = _checked_start(start)[:, None]
    batch = len(tokens)
    log_probs = scores = np.zeros((batch, 1))
    lengths, ended = np.zeros((batch, 1), np.intp), np.zeros((batch, 1), bool)
    back: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(max_steps):
        if ended.all():
            break
        gains, state = _advance(step, tokens.ravel(), state, end, ~ended.ravel())
        candidates = log_probs[:, :, None] + gains.reshape(*tokens.shape, -1)
        _, beams, vocabulary = candidates.shape
        candidates[ended] = -np.inf
        if end is not None:  # one that has ended has one continuation, itself
            candidates[ended, end] = log_probs[ended]
        lengths = lengths + ~ended
        ranked = (candidates / (((5 + lengths) / 6) ** length_penalty)[:, :, None]).reshape(batch, -1)
        exist = int((ranked > -np.inf).sum(axis=1).max(initial=1))
        best = largest(ranked, min(width, exist))
        parents, tokens = np.divmod(best, vocabulary)
        scores = np.take_along_axis(ranked, best, axis=1)
        log_probs = np.take_along_axis(candidates.reshape(batch, -1), best, axis=1)
        lengths = np.take_along_axis(lengths, parents, axis=1)
        ended = np.isneginf(log_probs) | (False if end is None else tokens == end)
        rows = parents + beams * np.arange(batch)[:, None]
        state = _reordered(state, rows.ravel(), batch * beams)
        back.append((parents, tokens))
    lengths = np.where(np.isneginf(log_probs), 0, lengths)
    return Beams(_traced(back, lengths, end), lengths, log_probs, scores)


def largest(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest values of each row, (N, k), in order; equal ones keep their order."""
    rows = np.empty((len(values), k), np.intp)
    for n, row in enumerate(-values):
        # Sorting all that is not smaller than the k-th, and not everything: vocabularies are large.
        near = np.flatnonzero(row <= np.partition(row, k - 1)[k - 1])
        rows[n] = near[np.argsort(row[near], kind="stable")[:k]]
    return rows


# ------------------------------------------------------------------------------------------- one step


def _unrolled(
    step: Step, tokens: np.ndarray, state: Any, end: int | None, max_steps: int | None, choose: Choose
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Tokens, their log-probabilities, and which sequences were still going on, of one step after another."""
    going = np.ones(len(tokens), bool)
    for _ in itertools.count() if max_steps is None else range(max_steps):
        if not going.any():
            return
        log_probs, state = _advance(step, tokens, state, end, going)
        tokens = choose(log_probs)
        gains = np.take_along_axis(log_probs, tokens[:, None], axis=1)[:, 0]
        if end is not None:
            tokens = np.where(going, tokens, end)
        yield tokens, np.where(going, gains, 0), going
        if end is not None:
            going = going & (tokens != end)


def _decoded(step: Step, start: Any, state: Any, end: int | None, max_steps: int, choose: Choose) -> Decoded:
    first, steps = _checked_start(start), _checked_steps(max_steps)
    columns = [np.zeros((len(first), 0), np.intp)]
    lengths, log_probs = np.zeros(len(first), np.intp), np.zeros(len(first))
    for tokens, gains, going in _unrolled(step, first, state, end, steps, choose):
        columns.append(tokens[:, None])
        lengths += going
        log_probs += gains
    return Decoded(np.concatenate(columns, axis=1), lengths, log_probs)


def _advance(
    step: Step, tokens: np.ndarray, state: Any, end: int | None, going: np.ndarray
) -> tuple[np.ndarray, Any]:
    """Log-probabilities of the next tokens, (N, V) in float64, and the next state.

    What the model says of sequences that are not going on does not matter, be it NaN.
    """
    with no_grad():
        result = step(tokens, state)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"step must return a pair (logits, state), got {type(result).__name__}")
    logits = as_array(result[0])
    if logits.ndim != 2 or len(logits) != len(tokens) or not logits.shape[1]:
        raise ValueError(
            f"step must return logits (tokens, vocabulary) for {len(tokens)} tokens, got {logits.shape}"
        )
    if end is not None and not 0 <= end < logits.shape[1]:
        raise ValueError(f"end={end} is no token: step gives logits of 0 to {logits.shape[1] - 1}")
    logits = np.where(going[:, None], logits.astype(np.float64), 0)
    broken = np.flatnonzero(~np.isfinite(logits.max(axis=1)))
    if len(broken):
        raise ValueError(
            f"step gave no distribution for row {broken[0]} of {len(tokens)}: its logits are NaN or inf, or "
            f"-inf for all tokens"
        )
    return ops.log_softmax(logits, axis=-1), result[1]


def _likeliest(log_probs: np.ndarray) -> np.ndarray:
    return log_probs.argmax(axis=1)


def _sampler(temperature: float, top_k: int | None, top_p: float | None, rng: Rng) -> Choose:
    """A function that draws one token per row of log-probabilities."""
    if not 0 < temperature < np.inf:
        raise ValueError(
            f"temperature must be positive and finite, got {temperature}; for the likeliest tokens, "
            f"greedy_search or top_k=1"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    rng = default_generator(rng)

    def choose(log_probs: np.ndarray) -> np.ndarray:
        vocabulary = log_probs.shape[1]
        if (
            top_k is None and top_p is None
        ):  # in any order, then, since sorting takes longer than all the rest
            tokens = np.broadcast_to(np.arange(vocabulary), log_probs.shape)
        else:
            tokens = largest(log_probs, min(top_k or vocabulary, vocabulary))
        kept = np.take_along_axis(log_probs, tokens, axis=1)
        p = np.exp((kept - kept.max(axis=1, keepdims=True)) / temperature)
        if top_p is not None:
            reached = np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1)
            p[:, 1:][reached[:, :-1] >= top_p] = 0
        total = np.cumsum(p, axis=1)
        # The first place where the running sum exceeds u: never one of probability 0.
        u = rng.random((len(p), 1)) * total[:, -1:]
        place = (total <= u).sum(axis=1, keepdims=True)
        return np.take_along_axis(tokens, place, axis=1)[:, 0]

    return choose


def _reordered(state: Any, rows: np.ndarray, count: int) -> Any:
    """The state of the sequences ``rows`` out of ``count``."""
    if state is None:
        return None
    if getattr(type(state), "index", tuple.index) not in (tuple.index, list.index):
        return state.index(rows)
    if isinstance(state, (tuple, list)):
        return rebuilt(state, [_reordered(part, rows, count) for part in state])
    if not isinstance(state, (Tensor, np.ndarray)):
        raise TypeError(
            f"beam_search cannot reorder a state that holds {type(state).__name__}: it takes tensors, "
            f"arrays, tuples of them, and what has a method index(batch_ids)"
        )
    if not state.ndim or len(state) != count:
        raise ValueError(
            f"beam_search reorders states along their first axis, which must have the {count} sequences of "
            f"the step, got {state.shape}; a state of another layout needs a method index(batch_ids)"
        )
    return state[rows]


def _traced(back: list[tuple[np.ndarray, np.ndarray]], lengths: np.ndarray, end: int | None) -> np.ndarray:
    """The beams' tokens, (B, W, T), followed back from the last step to the first."""
    tokens = np.empty((*lengths.shape, len(back)), np.intp)
    slots = np.broadcast_to(np.arange(lengths.shape[1]), lengths.shape)
    for t in reversed(range(len(back))):
        parents, chosen = back[t]
        tokens[:, :, t] = np.take_along_axis(chosen, slots, axis=1)
        slots = np.take_along_axis(parents, slots, axis=1)
    return np.where(np.arange(len(back)) < lengths[..., None], tokens, end or 0)


def _checked_start(start: Any) -> np.ndarray:
    tokens = np.asarray(start)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise ValueError(
            f"start must be integer tokens (batch,), one per sequence, got {tokens.dtype}{tokens.shape}; "
            f"np.full(batch, token) starts all with the same"
        )
    return tokens.astype(np.intp)


def _checked_steps(max_steps: int) -> int:
    if max_steps < 0:
        raise ValueError(f"max_steps must be 0 or more, got {max_steps}")
    return max_steps
