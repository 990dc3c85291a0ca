"""Flax (linen): nested mappings of arrays, one kernel per gate, its name the gate's.

The layout stands in flax.linen.recurrent (LSTMCell, OptimizedLSTMCell, GRUCell, SimpleCell): kernels are
(inputs, H); biases stand with the hidden kernels of an LSTM, and with the input kernels of the others, to
which a GRU adds one with ``hn``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .orders import ORDERS
from .steps import LAYERS, Recurrence, called, load_steps, refuse_step, retaining, steps

_TAKEN = dict.fromkeys(
    ("nonlinearity", "gate_activation", "cell_activation", "output_activation", "update_gate")
)

_NAMES = {
    kind: {gate: ("i" + own, "h" + own) for gate, own in zip(gates, names, strict=True)}
    for kind, gates, names in (
        ("RNN", "h", [""]),
        ("LSTM", "ifgo", "ifgo"),
        ("GRU", "rzn", "rzn"),
    )
}
"""By cell and gate: what Flax calls the two kernels."""


def from_flax(params: Mapping[str, Any], into: Any = None) -> Any:
    """Take over the weights of a recurrent cell or layer of Flax.

    Parameters
    ----------
    params : mapping
        The parameters of SimpleCell, LSTMCell, OptimizedLSTMCell or GRUCell, of an RNN of such a cell, or of
        a Bidirectional of two such RNNs; the whole ``variables`` with its "params" is taken too. NumPy's or
        JAX's arrays.
    into : RNN, LSTM, GRU or Bidirectional, optional
        Where to load the weights: one layer. By default a new layer of the parameters' sizes and dtype, which
        returns all outputs and the state.

    Returns
    -------
    Module
        ``into``, or the new layer.

    Raises
    ------
    ValueError
        For parameters of another cell, missing or left-over entries, arrays of another shape, and options of
        ``into`` that Flax's cells do not have.

    Notes
    -----
    Flax orders an LSTM's state (c, h), here it is (h, c). What only the code of a Flax model tells cannot be
    seen in its parameters: other activations, ``residual``, a ``merge_fn``.
    """
    cells = _cells(params.get("params", params))
    kind = _kind(cells[0])
    states = [_state(kind, cell) for cell in cells]
    if into is None:
        rows, features = states[0]["weight_ih"].shape
        hidden = rows // len(ORDERS["torch"][kind])
        dtype = states[0]["weight_ih"].dtype
        into = LAYERS[kind](features, hidden, bidirectional=len(cells) == 2, dtype=dtype)
    table = list(steps(into))
    name, step = table[0]
    if (
        len(table) > 1
        or not isinstance(step, Recurrence)
        or (step.kind, len(step.cells)) != (kind, len(cells))
    ):
        raise ValueError(
            f"from_flax: these are the parameters of one {kind} layer in {len(cells)} direction(s), and "
            f"{type(into).__name__} is another; take the parameters of a deep model layer by layer"
        )
    refuse_step(called(name, step), step, _TAKEN, "Flax")
    for k, cell in enumerate(step.cells):
        states[k] = retaining(called(name, step), cell, states[k])
    load_steps("from_flax", into, [(name, step, states)])
    return into


def _cells(params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parameters of each cell, the forward one first."""
    if set(params) == {"forward_rnn", "backward_rnn"}:
        return [_cells(params[name])[0] for name in ("forward_rnn", "backward_rnn")]
    return [params["cell"] if set(params) == {"cell"} else params]


def _kind(params: Mapping[str, Any]) -> str:
    for kind, gates in _NAMES.items():
        if set(params) == {name for pair in gates.values() for name in pair}:
            return kind
    raise ValueError(
        f"from_flax knows the parameters of SimpleCell, LSTMCell, OptimizedLSTMCell and GRUCell, of RNN and "
        f"of Bidirectional, got the entries {', '.join(params)}"
    )


def _state(kind: str, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Our cell's parameters."""
    state = {}
    for own, side in (("ih", 0), ("hh", 1)):
        parts = [params[_NAMES[kind][gate][side]] for gate in ORDERS["torch"][kind]]
        for part in parts:
            if not set(part) <= {"kernel", "bias"} or "kernel" not in part:
                raise ValueError(f"from_flax: expected a kernel and perhaps a bias, got {', '.join(part)}")
        kernels = [np.asarray(part["kernel"]) for part in parts]
        biases = [
            np.asarray(part.get("bias", np.zeros(kernel.shape[-1:], kernel.dtype)))
            for part, kernel in zip(parts, kernels, strict=True)
        ]
        state[f"weight_{own}"] = np.concatenate([kernel.T for kernel in kernels])
        state[f"bias_{own}"] = np.concatenate(biases)
    return state
