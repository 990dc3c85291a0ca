"""A step as a list of instructions that hold for any number of rows.

The step is recorded several times, with other numbers of rows and other values; what differs between the
recordings tells what depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..nn.states import refilled, tensors_of
from ..nn.steps import Bare
from ..random import default_generator
from ..tensors import Tensor, _make
from .instructions import Shape, Step, Unsupported
from .recording import Recording
from .surroundings import Surroundings
from .unifying import looks_at_values, unified


@dataclass(frozen=True)
class Signature:
    """What a step is traced for.

    Attributes
    ----------
    x : (features, dtype)
    states : tuple of (features, dtype)
    like : State
        A state of the same structure; only its structure is used.
    """

    x: tuple[Shape, Any]
    states: tuple[tuple[Shape, Any], ...]
    like: Any = field(compare=False)


@contextmanager
def on_tape(tensors: Sequence[Tensor]) -> Iterator[None]:
    """All of them leaves for a while, frozen ones too, so that what is made of them is recorded."""
    frozen = [t for t in tensors if t.place is None and t.dtype.kind == "f"]
    for t in frozen:
        t.requires_grad = True
    try:
        yield
    finally:
        for t in frozen:
            t.requires_grad = False


def twin(cell: Any) -> Any:
    """A copy of a cell to try things on, so that neither its generators nor anything else in it moves on."""
    try:
        return deepcopy(cell)
    except (TypeError, RuntimeError):
        return cell  # what cannot be copied is used as it is


_SEED = 20
_ROWS = (6, 9)
"""Rows of the recordings. A length is the number of rows if it is the one here and the other there."""


def trace(cell: Any, signature: Signature, names: Sequence[str]) -> Step:
    """Record one step of a cell.

    Parameters
    ----------
    cell : callable
        ``cell(x_t, state) -> (y_t, state)``.
    signature : Signature
    names : sequence of str
        Of the tensors that the cell uses besides its arguments (see `Surroundings`).

    Raises
    ------
    Unsupported
        With the reason, and the entry, if the step differs from call to call in more than its numbers, or
        if its rows are not independent.
    """
    cell = twin(cell)
    tensors = Surroundings(cell).tensors()
    function = Bare(cell)
    generator = default_generator()
    before = generator.bit_generator.state
    opaque: set[tuple[int, int]] = set()
    try:
        with on_tape(tensors), np.errstate(all="ignore"):
            while True:
                recordings = [_record(function, signature, k, opaque) for k in range(5)]
                news = {at for r in recordings[1:] for at in looks_at_values(recordings[0], r)} - opaque
                if not news:
                    break
                opaque |= news
            step = unified(recordings, tensors, names)
            _check_rows(function, signature, recordings[0])
    finally:
        generator.bit_generator.state = before
    return step


def _example(signature: Signature, k: int) -> tuple[list[np.ndarray], np.random.Generator]:
    """Inputs for recording number k: ordinary numbers twice, positive, negative, and of all magnitudes."""
    rng = np.random.default_rng(_SEED + k)
    rows = _ROWS[k == 2]
    changes: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda a: a,
        lambda a: 0.5 * a,
        np.abs,
        lambda a: -3 * np.abs(a),
        lambda a: a * 10 ** rng.uniform(-3, 3, a.shape),
    ]
    arrays = [
        changes[k](rng.standard_normal((rows, *f))).astype(d) for f, d in (signature.x, *signature.states)
    ]
    return arrays, rng


def _record(function: Any, signature: Signature, k: int, opaque: set[tuple[int, int]]) -> Recording:
    (x, *states), rng = _example(signature, k)
    recording = Recording(function, opaque)
    try:
        recording.run(x, states, signature.like, rng)
    except Unsupported:
        raise
    except Exception as error:
        raise Unsupported(f"recording it gave {type(error).__name__}: {error}") from error
    return recording


def _check_rows(function: Any, signature: Signature, recording: Recording) -> None:
    """Raise if changing one row of the inputs changes another row of the outputs."""
    arrays, rng = _example(signature, 0)
    for k, array in enumerate(recording.arrays):
        if not array.ndim or len(array) != recording.rows:
            what = "output" if not k else "new state"
            raise Unsupported(f"its {what} has shape {array.shape}, with another first axis than x")
    for a in arrays:
        a[0] = 4 * rng.standard_normal(a.shape[1:])
    tensors = [_make(a, None) for a in arrays]
    y, new = function(tensors[0], refilled(signature.like, tensors[1:]))
    for old, t in zip(recording.arrays, (y, *tensors_of(new)), strict=True):
        tolerance = 100 * np.finfo(old.dtype).eps
        if not np.allclose(old[1:], t.numpy()[1:], rtol=tolerance, atol=tolerance, equal_nan=True):
            raise Unsupported(
                "its rows are not independent: a change in one row of x or of the state changes others"
            )
