"""A cell as it is composed, and the check that the compiled one gives the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import backpropagation
from ..nn.module import Module
from ..nn.packing import pack
from ..nn.scan import run
from ..nn.states import State, refilled, tensors_of
from ..state import enable_grad
from ..tensors import Tensor, _make
from .instructions import Step, Unsupported
from .layout import Layout, Lease, Pool
from .numpy_backend import NumpyWriter
from .planning import split_step
from .programs import Program
from .surroundings import Surroundings
from .tracing import Signature, twin


class _Plain:
    """A cell as it is composed."""

    def __init__(self, cell: Any) -> None:
        self._cell = getattr(cell, "_cell", cell)  # whom the scopes of its steps belong to
        self._call = cell.forward if isinstance(cell, Module) else cell

    def __call__(self, x: Tensor, state: State) -> Any:
        return self._call(x, state)


def composed(
    cell: Any, rows: Tensor, state: State, counts: Sequence[int], reverse: bool
) -> tuple[Tensor, State]:
    """The loop over time, step by step on the tape."""
    lengths = (np.asarray(counts)[:, None] > np.arange(counts[0])).sum(0)
    packing = pack(counts[0], len(counts), lengths)
    output, final = run(_Plain(cell), packing.from_rows(rows), state, packing, reverse)
    return packing.to_rows(output), final


def check(cell: Any, step: Step, signature: Signature) -> None:
    """Raise `Unsupported` if, for random numbers, compiled and composed loops differ."""
    rng = np.random.default_rng(0)
    layout = Layout([3, 3, 2], 3)
    cell = twin(cell)
    parameters = Surroundings(cell).tensors()
    rows = [layout.rows, *[layout.batch] * len(signature.states)]
    inputs = [
        _make(rng.standard_normal((n, *f)).astype(d), None)
        for n, (f, d) in zip(rows, (signature.x, *signature.states), strict=True)
    ]
    ends = zip(rows, (step.y, *step.new_states), strict=True)
    gs = [rng.standard_normal((n, *v.features)).astype(v.dtype) for n, v in ends]
    wanted = _composed_results(cell, signature, inputs, parameters, layout, gs)
    program = Program(split_step(step, [True] * (1 + len(parameters)), False), NumpyWriter)
    with np.errstate(all="ignore"):
        arrays, pool = [t.numpy() for t in (*inputs, *parameters)], Pool()
        n, lease = len(inputs), Lease(pool)
        y, finals, saved = program.forward(layout, lease, arrays[0], arrays[1:n], arrays[n:])
        gradients = program.backward(layout, Lease(pool), saved, arrays[0], arrays[n:], gs[0], gs[1:])
    states = [v.name for v in step.states]
    names = ["output", *states, *[f"gradient of {name}" for name in ("x", *states, *step.names)]]
    for name, w, got in zip(names, wanted, (y, *finals, *gradients), strict=True):
        error = _difference(w, got)
        if error > _TOLERANCE * np.finfo(w.dtype).eps:
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
    for t in (*inputs, *parameters):
        t.requires_grad = t.dtype.kind == "f"
    with enable_grad(), np.errstate(all="ignore"):
        state = refilled(signature.like, list(inputs[1:]))
        y, final = composed(cell, inputs[0], state, layout.counts.tolist(), False)
        outputs = [y, *tensors_of(final)]
        roots = [(t.place, g) for t, g in zip(outputs, gs, strict=True) if t.place is not None]
        found = backpropagation.backward(roots)
    gradients = [found.get(t.place) for t in (*inputs, *parameters)]
    return [
        *[t.numpy() for t in outputs],
        *[np.zeros(t.shape, t.dtype) if g is None else np.asarray(g)
          for t, g in zip((*inputs, *parameters), gradients, strict=True)],
    ]  # fmt: skip


def _difference(wanted: np.ndarray, got: Any) -> float:
    """The largest difference between two arrays, as a part of the first's largest element, 1 at least."""
    got = np.zeros_like(wanted) if got is None else got
    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    with np.errstate(all="ignore"):
        error = np.where(same, 0, np.abs(got - wanted)).max(initial=0)
    scale = np.abs(wanted).max(initial=1, where=np.isfinite(wanted))
    return np.inf if np.isnan(error) else float(error / scale)
