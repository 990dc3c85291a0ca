"""TensorFlow 1: the variables of ``tf.nn.rnn_cell``, as a checkpoint names them.

The layouts and equations stand in tensorflow/python/ops/rnn_cell_impl.py (1.x). One kernel (I + H, gates * H)
takes inputs and hidden state side by side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .orders import ORDERS, reorder
from .steps import LAYERS, Recurrence, called, load_steps, option, refuse_step, retaining, steps

_VARIABLE = re.compile(
    r"^(?:(?P<scope>.*?)/)?(?P<name>(?:gates/|candidate/|projection/)?(?:kernel|bias)|w_[ifo]_diag)(?::0)?$"
)
_BACKWARD = re.compile(r"(^|/)bw(/|$)")
_SCOPES = {
    "basic_rnn_cell": "RNN", "lstm_cell": "LSTM", "basic_lstm_cell": "LSTM", "gru_cell": "GRU"
}  # fmt: skip
_TAKEN = {
    "peephole": ("diagonal",), "reset_after": (False,),
    **dict.fromkeys(("nonlinearity", "cell_activation", "output_activation", "proj_size", "update_gate")),
}  # fmt: skip


def from_tf1(variables: Mapping[str, Any], into: Any = None, *, forget_bias: float = 1.0) -> Any:
    """Take over the weights of TensorFlow 1's recurrent cells.

    Parameters
    ----------
    variables : mapping of str to array
        By name, such as ``rnn/lstm_cell/kernel``: of BasicRNNCell, BasicLSTMCell, LSTMCell (with peepholes
        and projection) or GRUCell; of a MultiRNNCell (``.../cell_0/...``) or a bidirectional pair
        (``.../fw/...``, ``.../bw/...``). Scopes may be left out.
    into : RNN, LSTM, GRU or Bidirectional, optional
        Where to load the weights. By default a new layer of the variables' sizes and dtype.
    forget_bias : float
        What the cell was made with: TensorFlow adds it to the forget gate at every step and does not store
        it. It goes into the bias here. (0.0 for checkpoints of CudnnLSTM.)

    Returns
    -------
    Module
        ``into``, or the new layer.

    Raises
    ------
    ValueError
        For names that are not such a cell's, arrays of another shape, and options of ``into`` that these
        cells do not have: their GRU resets before the product (``reset_after=False``).

    Notes
    -----
    An LSTM's state is (c, h) there, here it is (h, c). ``cell_clip``, ``proj_clip`` and other activations
    cannot be seen in the variables, and clipping the cell state has no counterpart here.
    """
    groups = _grouped(variables)
    into = _new(groups) if into is None else into
    table = list(steps(into))
    for name, step in table:
        if isinstance(step, Recurrence):
            refuse_step(called(name, step), step, _TAKEN, "TensorFlow 1")
    cells = [
        (name, step, cell) for name, step in table if isinstance(step, Recurrence) for cell in step.cells
    ]
    if len(cells) != len(groups):
        raise ValueError(
            f"from_tf1: the variables are those of {len(groups)} cell(s) ({', '.join(groups)}), and this "
            f"{type(into).__name__} has {len(cells)}"
        )
    states = {
        id(cell): _state(called(name, step), step.kind, cell, group, forget_bias)
        for (name, step, cell), group in zip(cells, groups.values(), strict=True)
    }
    load_steps(
        "from_tf1",
        into,
        [(n, s, [states[id(c)] for c in s.cells]) for n, s in table if isinstance(s, Recurrence)],
    )
    return into


def _grouped(variables: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of each cell by its scope: layer after layer, forward before backward."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, value in variables.items():
        found = _VARIABLE.match(name)
        if found is None:
            raise ValueError(
                f"from_tf1: {name} is no variable of BasicRNNCell, BasicLSTMCell, LSTMCell or GRUCell; pass "
                f"those of the recurrent layer alone"
            )
        groups.setdefault(found["scope"] or "", {})[found["name"]] = np.asarray(value)
    if not groups:
        raise ValueError("from_tf1 got no variables")

    places = {_place(scope): scope for scope in groups}
    if len(places) < len(groups):
        raise ValueError(
            f"from_tf1: {', '.join(groups)} are the scopes of several layers; pass the variables of one"
        )
    return {scope: groups[scope] for _, scope in sorted(places.items())}


def _place(scope: str) -> tuple[int, bool]:
    """The layer, and whether it reads backwards."""
    if re.search(r"(^|/)(fw|bw)/.*cell_\d", scope):
        raise ValueError(
            f"from_tf1: {scope} is part of a stack for one direction, and the two stacks meet at their tops "
            f"alone. Load the variables of each into a side of nn.Bidirectional(nn.LSTM(..., num_layers=...))"
        )
    number = re.search(r"(?:^|/)cell_(\d+)(?:/|$)", scope)
    return int(number[1]) if number else 0, _BACKWARD.search(scope) is not None


def _new(groups: Mapping[str, Mapping[str, np.ndarray]]) -> Any:
    """A layer of the variables' sizes."""
    scope, group = next(iter(groups.items()))
    if "gates/kernel" in group:
        kind = "GRU"
    elif "w_f_diag" in group or "projection/kernel" in group:
        kind = "LSTM"
    else:
        kind = _SCOPES.get(scope.rpartition("/")[2], "")
    if not kind:
        raise ValueError(
            f"from_tf1: a kernel and a bias alone do not tell the cell, and the scope {scope!r} is none of "
            f"{', '.join(_SCOPES)}; pass the layer to load them into, from_tf1(variables, into=layer)"
        )
    directions = 2 if any(map(_BACKWARD.search, groups)) else 1
    kernels = [g["candidate/kernel" if kind == "GRU" else "kernel"] for g in groups.values()]
    sizes = [kernel.shape[1] // (4 if kind == "LSTM" else 1) for kernel in kernels[::directions]]
    options: dict[str, Any] = {}
    if "w_f_diag" in group:
        options["peephole"] = "diagonal"
    if "projection/kernel" in group:
        options["proj_size"] = group["projection/kernel"].shape[1]
    if kind == "GRU":
        options["reset_after"] = False
    return LAYERS[kind](
        kernels[0].shape[0] - options.get("proj_size", sizes[0]),
        sizes[0] if len(set(sizes)) == 1 else sizes,
        len(sizes),
        bidirectional=directions == 2,
        dtype=kernels[0].dtype,
        **options,
    )


def _state(
    where: str, kind: str, cell: Any, group: Mapping[str, np.ndarray], forget_bias: float
) -> dict[str, np.ndarray]:
    """Our cell's parameters."""
    if kind == "GRU" and option(cell, "reset_after"):
        raise ValueError(
            f"from_tf1: {where} has reset_after=True, and TensorFlow 1's GRU resets before the product; make "
            f"the layer with reset_after=False"
        )
    wanted = {"gates/kernel", "gates/bias", "candidate/kernel", "candidate/bias"}
    wanted = wanted if kind == "GRU" else {"kernel", "bias"}
    state = cell.state_dict()
    if "peephole" in state:
        wanted |= {f"w_{gate}_diag" for gate in ORDERS["torch"]["peephole"]}
    if "weight_hr" in state:
        wanted.add("projection/kernel")
    if set(group) != wanted:
        raise ValueError(
            f"from_tf1: {where} takes {', '.join(sorted(wanted))}, got {', '.join(sorted(group))}"
        )
    if kind == "GRU":
        kernel = np.concatenate([group["gates/kernel"], group["candidate/kernel"]], axis=1)
        bias = np.concatenate([group["gates/bias"], group["candidate/bias"]])
    else:
        kernel, bias = group["kernel"], group["bias"]
    weight = reorder(kernel.T, kind, "tf1", "torch")
    bias = reorder(bias, kind, "tf1", "torch")
    if kind == "LSTM":
        place = ORDERS["torch"]["LSTM"].index("f")
        np.split(bias, 4)[place][...] += bias.dtype.type(forget_bias)
    result = {
        "weight_ih": weight[:, : cell.input_size],
        "weight_hh": weight[:, cell.input_size :],
        "bias_ih": bias,
        "bias_hh": np.zeros_like(bias),
    }
    result = retaining(where, cell, result)
    if "peephole" in state:
        result["peephole"] = np.concatenate([group[f"w_{gate}_diag"] for gate in ORDERS["torch"]["peephole"]])
    if "weight_hr" in state:
        result["weight_hr"] = group["projection/kernel"].T
    return result
