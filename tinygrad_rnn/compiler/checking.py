"""A cell as it is composed, and the check that what is compiled gives the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backpropagation, tape
from ..nn.packing import pack
from ..nn.scan import run
from ..nn.states import State, refilled, tensors_of
from ..nn.steps import Bare
from ..state import enable_grad, no_grad
from ..tape import Output, Place, source_of
from ..tensors import Tensor, _make
from .instructions import Step, Unsupported
from .layout import Layout, Lease, Pool
from .programs import Program, Single
from .surroundings import Surroundings
from .tracing import Signature, on_tape, twin


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


def check(
    cell: Any, step: Step, signature: Signature, program: Program, needs: Sequence[bool] | None
) -> None:
    """Raise `Unsupported` if, for random numbers, compiled and composed loops differ.

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
    layout = Layout([3, 3, 2], 3)
    inputs, rng = _inputs(signature, layout)
    ends = zip((layout.rows, *[layout.batch] * len(step.states)), (step.y, *step.new_states), strict=True)
    gs = [rng.standard_normal((n, *v.features)).astype(v.dtype) for n, v in ends]
    wanted = _composed_results(cell, signature, inputs, parameters, layout, gs)
    n, pool = len(inputs), Pool()
    arrays, lease = [t.numpy() for t in (*inputs, *parameters)], Lease(pool)
    with np.errstate(all="ignore"):
        y, finals, saved = program.forward(layout, lease, arrays[0], arrays[1:n], arrays[n:])
        results, given = [y, *finals], [True] * n
        if needs is not None:
            results += program.backward(layout, Lease(pool), saved, arrays[0], arrays[n:], gs[0], gs[1:])
            given += [needs[0], *[True] * len(finals), *needs[1:]]
    names = [v.name for v in step.states]
    names = ["output", *names, *[f"gradient of {name}" for name in ("x", *names, *step.names)]]
    for name, right, result, there in zip(names, wanted, results, given, strict=False):
        if there:
            _compare(name, right, result)


def check_single(cell: Any, step: Step, signature: Signature, single: Single) -> None:
    """The same for one step, without a way back."""
    cell = twin(cell)
    layout = Layout([3], 3)
    inputs, _ = _inputs(signature, layout)
    with no_grad(), np.errstate(all="ignore"):
        y, new = composed(
            cell, inputs[0], refilled(signature.like, inputs[1:]), layout.counts.tolist(), False
        )
        run, _ = single.prepare(layout, [t.numpy() for t in Surroundings(cell).tensors()])
        got, states = run(*[t.numpy() for t in inputs])
    names = ["output", *[v.name for v in step.states]]
    for name, right, result in zip(names, (y, *tensors_of(new)), (got, *states), strict=True):
        _compare(name, right.numpy(), result.numpy())


def _inputs(signature: Signature, layout: Layout) -> tuple[list[Tensor], np.random.Generator]:
    """Random numbers for x and the states."""
    rng = np.random.default_rng(0)
    rows = [layout.rows, *[layout.batch] * len(signature.states)]
    shapes = zip(rows, (signature.x, *signature.states), strict=True)
    return [_make(rng.standard_normal((n, *f)).astype(d), None) for n, (f, d) in shapes], rng


def _compare(name: str, wanted: np.ndarray, got: Any) -> None:
    error = _difference(wanted, got)
    if error > _TOLERANCE * np.finfo(wanted.dtype).eps:
        raise Unsupported(
            f"its compiled loop gives another {name}, by {error:.0e} of its size: what it does at one "
            f"step depends on more than its rows, or is so ill-conditioned that rounding decides"
        )


_TOLERANCE = 1e4
"""Units in the last place by which results may differ."""


def _composed_results(
    cell: Any, signature: Signature, inputs: Sequence[Tensor], parameters: Sequence[Tensor], layout: Layout,
    gs: Sequence[np.ndarray],
) -> list[np.ndarray]:  # fmt: skip
    """Output, states and, for cotangents of these, gradients of all inputs and parameters."""
    since = next(tape.clock)  # weights may be results: what they were made of is none of the loop's business
    with on_tape([*inputs, *parameters]), enable_grad(), np.errstate(all="ignore"):
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
    got = np.zeros_like(wanted) if got is None else got
    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    with np.errstate(all="ignore"):
        error = np.where(same, 0, np.abs(got - wanted)).max(initial=0)
    scale = np.abs(wanted).max(initial=1, where=np.isfinite(wanted))
    return np.inf if np.isnan(error) else float(error / scale)
