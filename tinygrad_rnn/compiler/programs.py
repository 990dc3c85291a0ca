"""A plan as functions of arrays: over time, and for one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import halves
from .layout import Layout, Lease
from .planning import Plan
from .writing import Writer


class Program:
    """The two halves of a plan as functions of arrays; see `forward` and `backward`.

    Attributes
    ----------
    source : str
        What was generated, for those who want to read it.
    """

    def __init__(self, plan: Plan, writer: type[Writer]) -> None:
        self.plan = plan
        w = writer(plan)
        self.kernels, self.notes = w.kernels, w.notes
        self.source = halves.forward(w) + "\n\n" + halves.backward(w)
        exec(compile(self.source, "<compiled cell>", "exec"), w.namespace)
        self._forward, self._backward = w.namespace["forward"], w.namespace["backward"]

    def forward(
        self, layout: Layout, lease: Lease, x: Any, states: Sequence[Any], parameters: Sequence[Any]
    ) -> Any:
        """Run over time.

        Parameters
        ----------
        layout : Layout
        lease : Lease
            Where what backward will read comes from.
        x : array, (N, ...)
            Rows of all steps.
        states : sequence of array, (B, ...)
        parameters : sequence of array

        Returns
        -------
        y : array, (N, F)
        final states : list of array, (B, ...)
        saved : tuple of array
            For `backward`.
        """
        scratch = Lease(lease._pool)
        y, finals, saved = self._forward(layout, lease.take, scratch.take, x, states, parameters)
        given = (x, *states, *parameters)
        if not y.flags.owndata and any(np.may_share_memory(y, a) for a in given):
            y = y.copy()
        return lease.kept(scratch.kept(y)), finals, tuple([scratch.kept(a) for a in saved])

    def backward(
        self, layout: Layout, lease: Lease, saved: Any, x: Any, parameters: Any, gy: Any, gstates: Any
    ) -> Any:
        """Carry cotangents of y and of the final states back to x, the first states and the parameters."""
        gx, first, gs = self._backward(layout, lease.take, saved, x, parameters, gy, gstates)
        return [g if g is None else lease.kept(g) for g in (gx, *first, *gs)]


class Single:
    """A plan for one step, as functions of arrays.

    Attributes
    ----------
    prepare : callable
        ``prepare(layout, parameters) -> run, made``: ``run(x, *states) -> y, new states`` takes arrays of the
        plan's dtypes, in C order, aligned and writable, and gives tensors; and what was made of the
        parameters beforehand.
    """

    def __init__(self, plan: Plan, writer: type[Writer]) -> None:
        w = writer(plan)
        self.source = halves.single(w)
        self._namespace = w.namespace
        exec(compile(self.source, "<compiled step>", "exec"), w.namespace)
        self.prepare = w.namespace["prepare"]

    def settle(self) -> None:
        """Once it has run: pass over numba's look at its arguments' types, which stay what they are."""
        overloads = getattr(self._namespace.get("kernel"), "overloads", {})
        if len(overloads) == 1:
            self._namespace["kernel"] = next(iter(overloads.values())).entry_point
