"""A cell as it is composed, and the check that what is compiled gives the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from .. import backpropagation, tape
from ..nn.packing import pack
from ..nn.scan import run
from ..nn.states import State, refilled, tensors_of
from ..nn.steps import Bare
from ..state import enable_grad, no_grad
from ..tape import Output, Place, source_of
from ..tensors import Tensor, _make
from .arriving import Given
from .instructions import Step, Unsupported
from .layout import Layout, Lease, Pool
from .programs import Program, Single
from .surroundings import Surroundings
from .tracing import Signature, on_tape, positive, twin


class _Composed(Bare):
    """A cell as it is composed."""

    __slots__ = ()
    scan_packed = None


def composed(
    cell: Any, rows: Tensor, state: State, counts: Sequence[int], reverse: bool
) -> tuple[Tensor, State]:
    """The loop over time, step by step on the tape."""
    lengths = (np.asarray(counts)[:, None] > np.arange(counts[0])).sum(0)
    packing = pack(counts[0], len(counts), lengths)
    output, final = run(_Composed(cell), packing.from_rows(rows), state, packing, reverse)
    return packing.to_rows(output), final


def spoil(a: np.ndarray) -> np.ndarray:
    """The array filled with NaN, or the most absurd integer: what reads it before it is written shows it."""
    a.fill(np.iinfo(a.dtype).max if a.dtype.kind in "iu" else np.nan)
    return a


class _SpoiledPool(Pool):
    """A pool whose arrays are spoilt, when they are lent and once more when they are given back."""

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return spoil(super().take(shape, dtype))

    def give(self, arrays: Any) -> None:
        super().give([spoil(a) for a in arrays])


class _SpoiledLayout(Layout):
    new = staticmethod(lambda shape, dtype: spoil(np.empty(shape, dtype)))


Results = Callable[[Sequence[Tensor]], Sequence[Any]]

_BATCHES = ([3, 3, 2], [1, 1], [40, 40])
"""Rows of each step."""


def check(
    cell: Any, step: Step, signature: Signature, program: Program, needs: Sequence[bool] | None
) -> None:
    """Raise `Unsupported` if, for random numbers, compiled and composed loops differ, or forward for NaN.

    All memory that the compiled loop takes is full of NaN: where it is read before it is written, that shows.

    Parameters
    ----------
    cell, step, signature
        The cell, and what it was traced to.
    program : Program
        Made of the step.
    needs : sequence of bool, or None
        Of x and each parameter, whether the program gives its gradient; None for one without a way back.
    """
    cell = twin(cell)
    parameters = Surroundings(cell).tensors()
    names = _names(step, needs)
    for counts in _BATCHES:
        layout = _SpoiledLayout(counts, counts[0])
        inputs, rng = _inputs(signature, layout)
        gs = _cotangents(step, layout, rng)
        right = partial(_composed_results, cell, signature, parameters, layout, gs)
        for given in (inputs, _positive(inputs)) if counts is _BATCHES[0] else (inputs,):
            _compare(names, right, partial(_results, program, needs, parameters, layout, gs), given)
    # Not backward: there, zeros that one of the forms knows to be zeros are NaN in the other.
    layout = _SpoiledLayout([3, 3], 3)
    right = partial(_composed_forward, cell, signature, layout)
    found = partial(_results, program, None, parameters, layout, ())
    _compare(names[: 1 + len(step.states)], right, found, _with_nan(_inputs(signature, layout)[0]))


def check_restricted(
    step: Step, signature: Signature, whole: Program, program: Program, needs: Sequence[bool], given: Given
) -> None:
    """The same for a program whose cotangents do not all arrive, beside one that takes zeros for them.

    It may be made within a backward pass, when the cell is no longer what it was in its forward pass.
    """
    names = _names(step, needs)
    for counts in _BATCHES:
        layout = _SpoiledLayout(counts, counts[0])
        inputs, rng = _inputs(signature, layout)
        parameters = [_make(rng.standard_normal(v.shape).astype(v.dtype), None) for v in step.parameters]
        all_gs = _cotangents(step, layout, rng)
        gs = [g if there else np.zeros_like(g) for g, there in zip(all_gs, given, strict=True)]
        right, found = [partial(_results, p, needs, parameters, layout, gs) for p in (whole, program)]
        _compare(names, partial(_filled, right, found), found, inputs)


def _filled(right: Results, found: Results, inputs: Sequence[Tensor]) -> list[Any]:
    """Results with others where they are NaN: there, zeros have met what has overflown."""
    pairs = zip(right(inputs), found(inputs), strict=True)
    return [w if w is None or f is None else np.where(np.isnan(w), f, w) for w, f in pairs]


def _names(step: Step, needs: Sequence[bool] | None) -> list[str | None]:
    """What a program gives; None for gradients that nobody wants."""
    states = [v.name for v in step.states]
    if needs is None:
        return ["output", *states]
    wanted = [needs[0], *[True] * len(states), *needs[1:]]
    sources = zip(wanted, ("x", *states, *step.names), strict=True)
    return ["output", *states, *[f"gradient of {name}" if there else None for there, name in sources]]


def _cotangents(step: Step, layout: Layout, rng: np.random.Generator) -> list[np.ndarray]:
    """Random ones of y and of the final states."""
    ends = zip((layout.rows, *[layout.batch] * len(step.states)), (step.y, *step.new_states), strict=True)
    return [rng.standard_normal((n, *v.features)).astype(v.dtype) for n, v in ends]


def check_single(cell: Any, step: Step, signature: Signature, single: Single) -> None:
    """The same for one step, without a way back."""
    cell = twin(cell)
    parameters = Surroundings(cell).tensors()
    names = ["output", *[v.name for v in step.states]]
    for counts in _BATCHES:
        layout = _SpoiledLayout(counts[:1], counts[0])
        inputs, _ = _inputs(signature, layout)
        right = partial(_composed_forward, cell, signature, layout)
        for given in (inputs, _with_nan(inputs)):
            _compare(names, right, partial(_single_results, single, parameters, layout), given)


def _inputs(signature: Signature, layout: Layout) -> tuple[list[Tensor], np.random.Generator]:
    """Random numbers for x and the states."""
    rng = np.random.default_rng(0)
    rows = [layout.rows, *[layout.batch] * len(signature.states)]
    shapes = zip(rows, (signature.x, *signature.states), strict=True)
    return [_make(rng.standard_normal((n, *f)).astype(d), None) for n, (f, d) in shapes], rng


def _positive(inputs: Sequence[Tensor]) -> list[Tensor]:
    """The same for steps that take no others."""
    return [_make(positive(t.numpy()).astype(t.dtype), None) for t in inputs]


def _with_nan(inputs: Sequence[Tensor]) -> list[Tensor]:
    """The same with NaN in the first row of the first step."""
    arrays = [t.numpy().copy() for t in inputs]
    for a in arrays:
        if a.dtype.kind == "f":
            a[0] = np.nan
    return [_make(a, None) for a in arrays]


def _compare(names: Sequence[str | None], composed: Results, compiled: Results, inputs: Any) -> None:
    """Raise if two forms differ in results that have a name."""
    with np.errstate(all="ignore"):
        try:
            wanted = composed(inputs)
        except Exception as reason:
            raise Unsupported(f"on random numbers, it gives {_text(reason)}") from None
        try:
            found = compiled(inputs)
        except Exception as reason:
            raise Unsupported(f"its compiled loop gives {_text(reason)}: {FAULT}") from None
        for k, name in enumerate(names):
            if name is None or wanted[k] is None:
                continue
            error = _difference(wanted[k], found[k])
            if error <= min(_TOLERANCE * _rounding(wanted[k]), _MOST):
                continue
            arrays = [t.numpy() for t in inputs]
            moved = composed([_make((a * (1 + _rounding(a))).astype(a.dtype), None) for a in arrays])
            if error <= _ILL * _difference(wanted[k], moved[k]):
                continue
            raise Unsupported(
                f"its compiled loop gives another {name}, by {error:.0e} of its size: what it does at one "
                f"step depends on more than its rows' values (such as requires_grad), or is so "
                f"ill-conditioned that rounding decides"
            )


_TOLERANCE = 1e4
"""Units in the last place by which results may differ."""

_MOST = 0.1
"""Of a result's size, by which it may differ in any case: float16 has no ten thousand units."""

_ILL = 100
"""How often as much as it changes by rounding of the inputs a result may differ."""

FAULT = "this is a fault of tg.compile, please report it"


Form = TypeVar("Form")


def tried(make: Callable[[], Form]) -> Form | Unsupported:
    """What a function makes, or why it could not: then the composed cell runs, whosever fault it is."""
    try:
        return make()
    except Unsupported as reason:
        return reason.with_traceback(None)
    except Exception as error:
        return Unsupported(f"making it gave {type(error).__name__}: {error}; {FAULT}")


def _rounding(a: np.ndarray) -> float:
    return float(np.finfo(a.dtype).eps) if a.dtype.kind == "f" else 0.0


def _text(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _results(
    program: Program, needs: Sequence[bool] | None, parameters: Sequence[Tensor], layout: Layout,
    gs: Sequence[np.ndarray], inputs: Sequence[Tensor],
) -> list[Any]:  # fmt: skip
    """The same of the compiled loop."""
    x, *states = [t.numpy() for t in inputs]
    arrays, pool = [t.numpy() for t in parameters], _SpoiledPool()
    lease = Lease(pool)
    y, finals, saved = program.forward(layout, lease, x, states, arrays)
    if needs is None:
        return [y, *finals]
    return [y, *finals, *program.backward(layout, Lease(pool), saved, x, arrays, gs[0], gs[1:])]


def _composed_forward(
    cell: Any, signature: Signature, layout: Layout, inputs: Sequence[Tensor]
) -> list[np.ndarray]:
    """Output and states."""
    with no_grad():
        state = refilled(signature.like, inputs[1:])
        y, new = composed(cell, inputs[0], state, layout.counts.tolist(), False)
    return [t.numpy() for t in (y, *tensors_of(new))]


def _single_results(
    single: Single, parameters: Sequence[Tensor], layout: Layout, inputs: Sequence[Tensor]
) -> list[np.ndarray]:
    """The same of the compiled one."""
    run, _ = single.prepare(layout, [t.numpy() for t in parameters])
    y, new = run(*[t.numpy() for t in inputs])
    return [t.numpy() for t in (y, *new)]


def _composed_results(
    cell: Any, signature: Signature, parameters: Sequence[Tensor], layout: Layout,
    gs: Sequence[np.ndarray], inputs: Sequence[Tensor],
) -> list[np.ndarray]:  # fmt: skip
    """Output, states and, for cotangents of these, gradients of all inputs and parameters."""
    since = next(tape.clock)  # weights may be results: what they were made of is none of the loop's business
    with on_tape([*inputs, *parameters]), enable_grad():
        state = refilled(signature.like, list(inputs[1:]))
        y, final = composed(cell, inputs[0], state, layout.counts.tolist(), False)
        outputs = [y, *tensors_of(final)]
        roots = [(t.place, g) for t, g in zip(outputs, gs, strict=True) if t.place is not None]
        found = backpropagation.backward(roots, since=since)
        gradients = [
            np.zeros(t.shape, t.dtype) if g is None else np.asarray(g)
            for t in (*inputs, *parameters)
            for g in [t.place and arrived(found, t.place)]
        ]
    return [*[t.numpy() for t in outputs], *gradients]


def arrived(found: dict[Any, Any], place: Place) -> Any:
    """What a backward pass found for a place; None if it did not reach it."""
    g = found.get(source_of(place))
    return g[place.index] if g is not None and isinstance(place, Output) else g


def _difference(wanted: np.ndarray, got: Any) -> float:
    """The largest difference between two arrays, as a part of the first's largest element, 1 at least."""
    wanted = wanted.astype(np.float64)
    got = np.zeros_like(wanted) if got is None else got
    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    error = np.where(same, 0, np.abs(got - wanted)).max(initial=0)
    scale = np.abs(wanted).max(initial=1, where=np.isfinite(wanted))
    return np.inf if np.isnan(error) else float(error / scale)
