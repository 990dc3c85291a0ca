"""A step as a list of instructions that hold for any number of rows.

The step is recorded several times, with other numbers of rows and other values; what differs between the
recordings tells what depends on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..nn.steps import Bare
from ..tape import Leaf
from ..tensors import Tensor, _make
from .drawing import Randomness
from .instructions import Shape, Step, Unsupported
from .recording import ROW_BY_ROW, Recording
from .surroundings import Surroundings
from .unifying import check_path, looks_at_values, unified, where


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


class Changing(Unsupported):
    """The step changes something, and so, perhaps in every call, what the cell would be compiled for."""


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
    around = Surroundings(cell)
    # A weight may be a result, which is not to be copied: in the twin it is a leaf.
    results = [t for t in around.tensors() if t.place is not None and not t.is_leaf]
    leaves = {id(t): _make(t._data.copy(), Leaf(t.shape, t.dtype)) for t in results}
    try:
        copy = deepcopy(cell, {**around.shared, **leaves})
    except Exception:  # a lock, a module, an open file: what is none of this library's can be shared
        try:
            copy = deepcopy(cell, {**{id(o): o for o in around.foreign}, **around.shared, **leaves})
        except Exception as error:
            raise Unsupported(
                f"it cannot be copied, to be tried out: {type(error).__name__}: {error}"
            ) from None
    # A tensor that is also found outside of the cell is one in the cell, and another one in its copy.
    return copy if Surroundings(copy).names == around.names else cell


@contextmanager
def _values(tensors: Sequence[Tensor], arrays: Sequence[np.ndarray]) -> Iterator[None]:
    """Other arrays in tensors for a while, unnoticed by the tape."""
    before = [t._data for t in tensors]
    try:
        for t, array in zip(tensors, arrays, strict=True):
            t._data = array
        yield
    finally:
        for t, array in zip(tensors, before, strict=True):
            t._data = array


_SEED = 20


@dataclass(frozen=True)
class _Probe:
    """What a recording is made with.

    Attributes
    ----------
    rows : int
        A length is the number of rows if it is the one here and the other there.
    inputs : callable
        Makes x and the states of standard normal numbers.
    parameters : callable or None
        Makes other values of the parameters, given theirs and standard normal numbers.
    backward : bool
        Whether the backward half is recorded, too. Gradient rules are this package's: what they do differs
        for one row, where there is nothing to sum, and means the same.
    """

    rows: int
    inputs: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    parameters: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    backward: bool = True


def _spoilt(a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """NaN in one row, infinities in two others."""
    a = a.copy()
    a[0], a[2], a[3] = np.nan, np.inf, -np.inf
    return a


def _huge(a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Numbers beyond any threshold that somebody may have set: float32 can still square most of them."""
    return a * 10 ** rng.uniform(6, 18, a.shape)


_PROBES = (
    _Probe(6, lambda a, rng: a),
    _Probe(6, lambda a, rng: 0.5 * a, lambda w, z: w * (1 + 0.3 * z) + 0.1 * z),
    _Probe(9, lambda a, rng: np.abs(a)),
    _Probe(6, lambda a, rng: -3 * np.abs(a), lambda w, z: -w * (1 + np.abs(z))),
    _Probe(6, lambda a, rng: a * 10 ** rng.uniform(-3, 3, a.shape), lambda w, z: np.abs(z)),
    _Probe(6, _huge, lambda w, z: -np.abs(z)),
    _Probe(6, _spoilt),
    _Probe(1, lambda a, rng: a, backward=False),
    _Probe(300, lambda a, rng: a, lambda w, z: 1e6 * z, backward=False),
)


def trace(cell: Any, signature: Signature, around: Surroundings) -> Step:
    """Record one step of a cell.

    Parameters
    ----------
    cell : callable
        ``cell(x_t, state) -> (y_t, state)``.
    signature : Signature
    around : Surroundings
        What the cell uses besides its arguments.

    Raises
    ------
    Unsupported
        With the reason, and the entry, if the step differs from call to call in more than its numbers, or
        if its rows are not independent; `Changing`, if it changes something.
    """
    for features, dtype in signature.states:
        if np.dtype(dtype).kind != "f":
            raise Unsupported(
                f"a part of its state, {features} in each row, is {np.dtype(dtype)}: only states of "
                f"floating-point numbers are compiled"
            )
    hidden = around.hidden()
    if hidden is not None:
        raise Unsupported(f"it can read {hidden}, which cannot be compared from one call to the next")
    names, cell = around.names, twin(cell)
    around = Surroundings(cell)
    tensors = around.tensors()
    function = Bare(cell)
    opaque: set[tuple[int, int]] = set()

    def recorded(probe: _Probe) -> Recording:
        return _record(function, signature, around, probe, opaque)

    randomness = Randomness(around.generators)

    def refuse_changes(when: str = "") -> None:
        change = around.difference()
        if change is not None:
            raise Changing(
                f"its step changes {change}{when}, which no compiled step would do (if only this once, the "
                f"next call is compiled)"
            )

    with around.kept(), randomness.undone(), on_tape(tensors), np.errstate(all="ignore"):
        first = recorded(_PROBES[0])
        refuse_changes()
        halves = [recorded(p) for p in _PROBES if not p.backward]
        while True:
            recordings = [first, *[recorded(p) for p in _PROBES[1:] if p.backward]]
            news = {at for r in recordings[1:] for at in looks_at_values(first, r)} - opaque
            if not news:
                break
            opaque |= news
            first = recorded(_PROBES[0])
        try:
            step = unified([*recordings, *halves], tensors, names)
        except Unsupported as reason:
            source = randomness.drawn_from()
            if source is not None:
                raise Unsupported(f"its step draws random numbers, from {source}; {reason}") from None
            raise
        if not any([_check_rows(function, signature, around, probe) for probe in _ROWS]):
            raise Unsupported(
                "its results are NaN for all numbers that it was tried with: nothing to compare"
            )
        refuse_changes(" for some values")
        source = randomness.drawn_from()
        if source is not None:
            raise Unsupported(f"its step draws random numbers, from {source}")
    return step


def _example(signature: Signature, probe: _Probe) -> tuple[list[np.ndarray], np.random.Generator]:
    """Inputs for a recording."""
    rng = np.random.default_rng(_SEED + _PROBES.index(probe) if probe in _PROBES else _SEED)
    arrays = []
    for features, dtype in (signature.x, *signature.states):
        array = probe.inputs(rng.standard_normal((probe.rows, *features)), rng)
        largest = np.sqrt(np.finfo(dtype).max) if np.dtype(dtype).kind == "f" else 100
        limited = np.where(np.isfinite(array), np.clip(array, -largest, largest), array)
        if np.dtype(dtype).kind not in "fc":
            limited = np.nan_to_num(limited, posinf=100, neginf=0)
        arrays.append(limited.astype(dtype))
    return arrays, rng


def _parameters(tensors: Sequence[Tensor], probe: _Probe, rng: np.random.Generator) -> list[np.ndarray]:
    """Copies of the parameters, or other values of them."""
    if probe.parameters is None:
        return [t._data.copy() for t in tensors]
    some = rng.standard_normal(997)
    # In their own dtype: twice as wide, some copies of all weights would be more than a step needs.
    made = [probe.parameters(t._data, np.resize(some.astype(t.dtype), t.shape)) for t in tensors]
    return [np.array(a, t.dtype, copy=None) for a, t in zip(made, tensors, strict=True)]


def _record(
    function: Any, signature: Signature, around: Surroundings, probe: _Probe, opaque: set[tuple[int, int]]
) -> Recording:
    (x, *states), rng = _example(signature, probe)
    tensors = around.tensors()
    arrays = _parameters(tensors, probe, rng)
    before = [_digest(a) for a in arrays]
    recording = Recording(function, tensors, opaque)
    try:
        with _values(tensors, arrays):
            recording.forward(x, states, signature.like)
            for t, name, array, same in zip(tensors, around.names, arrays, before, strict=True):
                if t._data is not array or _digest(array) != same:
                    raise Changing(f"its step changes {name}, which no compiled step would do")
            if probe.backward:
                recording.backward(rng)
            recording.let_go()
    except Unsupported:
        raise
    except Exception as error:
        if x.dtype.kind not in "fc":
            raise Unsupported(
                f"its x is {x.dtype}: only steps that compute with floating-point numbers are compiled. Look "
                f"tokens up before the loop, for all steps at once (nn.Embedding)"
            ) from error
        raise Unsupported(
            f"on numbers that were made up to try it ({probe.rows} rows, with huge numbers and NaN) it gave "
            f"{type(error).__name__}: {error}{ROW_BY_ROW if 'broadcast' in str(error) else ''}"
        ) from error
    return recording


def _digest(array: np.ndarray) -> bytes:
    return hashlib.sha256(array.data).digest()


_SAMPLE = np.array([4, 1, 1, 0, 3, 2])
_ROWS = (
    _PROBES[0],
    _Probe(6, lambda a, rng: a, lambda w, z: 0.5 * z),
    _Probe(6, lambda a, rng: positive(a), lambda w, z: 0.1 * np.abs(z)),
)
"""What rows are compared with: a weight that is 0 may mix them when it has learnt, and of negative numbers
there is no logarithm."""


def positive(a: np.ndarray) -> np.ndarray:
    """Between 0 and 1, most of them: numbers in the domain of logarithms and roots, and of arcsines."""
    return 0.1 + 0.1 * np.abs(a)


def _check_rows(function: Any, signature: Signature, around: Surroundings, probe: _Probe) -> bool:
    """Raise if the step of other rows is not these rows of the step: in another order, one of them twice.

    Returns
    -------
    bool
        Whether there was something to compare: more than NaN.
    """
    tensors = around.tensors()
    arrays, rng = _example(signature, probe)
    one, other = [Recording(function, tensors, set()) for _ in range(2)]
    with _values(tensors, _parameters(tensors, probe, rng)):
        _compare_rows(one, other, signature, arrays)
    return not all(a.size and np.isnan(a).all() for a in one.arrays)


def _compare_rows(
    one: Recording, other: Recording, signature: Signature, arrays: Sequence[np.ndarray]
) -> None:
    one.forward(arrays[0], arrays[1:], signature.like)
    for k, array in enumerate(one.arrays):
        if not array.ndim or len(array) != one.rows:
            what = "output" if not k else "new state"
            raise Unsupported(f"its {what} has shape {array.shape}, with another first axis than x")
    sample = [a[_SAMPLE] for a in arrays]
    other.forward(sample[0], sample[1:], signature.like)
    check_path(one, other)
    if all(map(_same_rows, one.arrays, other.arrays)):
        return
    pairs = zip(one.results, other.results, strict=True)
    mixing = next((k for (k, a), (_, b) in pairs if not _same_rows(a, b)), None)
    raise Unsupported(
        "its rows are not independent, or rounding decides: some of them alone have other results"
        + (f", from {where(one, mixing)} on" if mixing is not None else "")
    )


def _same_rows(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the rows of the sample are the same as in the whole, and so is what has no rows."""
    if one.ndim and len(one) == len(_SAMPLE):
        one = one[_SAMPLE]
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    # A product's rows may be rounded otherwise elsewhere in a batch.
    size = np.abs(one).max(initial=1, where=np.isfinite(one))
    tolerance = min(1000 * np.finfo(one.dtype).eps, 0.01)  # float16 has no thousand units
    return np.allclose(one, other, rtol=0, atol=tolerance * size, equal_nan=True)
