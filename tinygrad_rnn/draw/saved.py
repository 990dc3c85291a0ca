"""Networks from saved parameters, to be drawn: what the names and shapes of their arrays tell.

A file of parameters says nothing of the program that they belong to. But recurrent layers have PyTorch's
names, and with the shapes these tell the kind, the sizes, the number of layers and the directions; and a
Linear layer of a fitting size that follows is told from its names too. That much needs no metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import nn

_KINDS = {1: nn.RNN, 3: nn.GRU, 4: nn.LSTM}
"""By how many blocks of rows, one for each gate, the weights have."""

_NAME = re.compile(r"(?:(.*)\.)?(weight_ih|weight_hh|bias_ih|bias_hh|peephole)_l(\d+)(_reverse)?")


def network(state: Mapping[str, np.ndarray]) -> tuple[nn.Module, int]:
    """The network that parameters belong to, and the size of its inputs.

    Parameters
    ----------
    state : mapping of str to array
        As ``state_dict()`` gives it: one recurrent layer, stacked or not, and Linear layers after it.

    Returns
    -------
    module : Module
        Of (B, T, I) to (B, T, F), with these parameters.
    input_size : int

    Raises
    ------
    TypeError
        For what has no names.
    ValueError
        Naming the parameters for which nothing can be drawn.
    """
    if not isinstance(state, Mapping):
        raise TypeError(
            f"network takes parameters by name, {{'weight_ih_l0': array, ...}}, as state_dict() or a file "
            f"gives them; got {type(state).__name__}"
        )
    recurrent: dict[str, dict[tuple[str, int, bool], np.ndarray]] = {}
    others: dict[str, dict[str, np.ndarray]] = {}
    for name, array in state.items():
        match = _NAME.fullmatch(name)
        if match is not None:
            prefix, what, layer, reverse = match.groups()
            recurrent.setdefault(prefix or "", {})[what, int(layer), reverse is not None] = array
        else:
            prefix, _, what = name.rpartition(".")
            others.setdefault(prefix, {})[what] = array
    if len(recurrent) != 1:
        found = ", ".join(prefix or "(the model itself)" for prefix in recurrent) or "none"
        raise ValueError(
            f"only a model with one recurrent layer can be drawn from its file, as the file does not say how "
            f"several are connected; recurrent layers in it: {found}. Draw it in Python: draw.graph(model(x))"
        )
    ((prefix, arrays),) = recurrent.items()
    layer, size = _recurrent(arrays)
    modules: list[Any] = [layer]
    layer.load_state_dict({n.removeprefix(f"{prefix}."): a for n, a in state.items() if _NAME.fullmatch(n)})
    width, left = layer.output_size, []
    for name, parts in others.items():
        weight = parts.get("weight")
        fits = weight is not None and weight.ndim == 2 and weight.shape[1] == width
        if not fits or weight is None or set(parts) - {"weight", "bias"}:
            left += [f"{name}.{part}" if name else part for part in parts]
            continue
        linear = nn.Linear(width, len(weight), bias="bias" in parts, dtype=weight.dtype)
        linear.load_state_dict(parts)
        modules.append(linear)
        width = len(weight)
    if left:
        raise ValueError(
            f"{', '.join(left)}: no layer that follows the recurrent one is known by these names and shapes. "
            f"Draw the model in Python: draw.graph(model(x))"
        )
    return (modules[0] if len(modules) == 1 else nn.Sequential(*modules)), size


def _recurrent(arrays: Mapping[tuple[str, int, bool], np.ndarray]) -> tuple[Any, int]:
    first = ("weight_ih", 0, False), ("weight_hh", 0, False)
    if any(key not in arrays for key in first):
        raise ValueError("a recurrent layer without weight_ih_l0 and weight_hh_l0 cannot be drawn")
    inputs, states = (arrays[key] for key in first)
    hidden = states.shape[1]
    kind = _KINDS.get(len(states) // hidden)
    if kind is None or len(states) % hidden or len(inputs) != len(states):
        raise ValueError(
            f"weights of shapes {inputs.shape} and {states.shape} are those of no RNN, GRU or LSTM: their "
            f"rows would be 1, 3 or 4 times {hidden}"
        )
    options: dict[str, Any] = {"peephole": "diagonal"} if ("peephole", 0, False) in arrays else {}
    layer = kind(
        inputs.shape[1],
        hidden,
        1 + max(number for _, number, _ in arrays),
        bias=("bias_ih", 0, False) in arrays,
        bidirectional=any(reverse for *_, reverse in arrays),
        return_state=False,
        dtype=inputs.dtype,
        **options,
    )
    return layer, inputs.shape[1]
