"""A model as a chain of steps: what Keras's lists and ONNX's nodes are written from and read into."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn, ops
from .orders import opposite_update


@dataclass(frozen=True)
class Recurrence:
    """One recurrent layer of a stack: a cell, or a forward and a backward one.

    ``starts`` holds, for each cell, the learned states before the first step: (h,), or (h, c); or nothing.
    """

    kind: str
    cells: tuple[Any, ...]
    merge: str | None = "concat"
    return_sequences: bool = True
    return_state: bool | str = False
    batch_first: bool = True
    starts: tuple[tuple[np.ndarray, ...], ...] = ()


@dataclass(frozen=True)
class Backwards:
    """Each sequence from its end: what ``go_backwards`` does before the first layer."""

    batch_first: bool


KINDS: dict[type[Any], str] = {nn.RNNCell: "RNN", nn.LSTMCell: "LSTM", nn.GRUCell: "GRU"}
CELLS: Any = tuple(KINDS)
LAYERS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}

Step = Any
"""A `Recurrence`, `Backwards`, a Linear, Embedding, LayerNorm or Dropout, or a function of one tensor."""


def steps(model: Any, name: str = "") -> Iterator[tuple[str, Step]]:
    """The steps of a layer or a Sequential, in order, with their names in it."""
    if isinstance(model, nn.Sequential):
        for k, step in enumerate(model):
            if k < len(model) - 1 and getattr(step, "return_state", False):
                raise ValueError(
                    f"step {k} of this Sequential returns a tuple, which the next step cannot read; make it "
                    f"with return_state=False"
                )
            yield from steps(step, joined(name, str(k)))
    elif isinstance(model, nn.Stacked):
        parts = dict(model.named_children())
        for k in range(model.num_layers):
            if k and model.dropout.p:
                yield joined(name, f"dropout{k - 1}"), model.dropout
            yield from steps(parts[str(k)], joined(name, str(k)))
    elif isinstance(model, nn.Recurrent):
        yield from _levels(model, name)
    elif isinstance(model, nn.Bidirectional):
        yield joined(name, "l0"), _pair(model, name)
    elif isinstance(model, (nn.Linear, nn.Embedding, nn.LayerNorm, nn.Dropout)) or (
        callable(model) and not isinstance(model, nn.Module)
    ):
        yield name, model
    else:
        raise TypeError(
            f"{called(name, model)} is no layer that other frameworks have: convertible are RNN, LSTM, GRU, "
            f"Bidirectional, Linear, Embedding, LayerNorm, Dropout, functions, and Sequential of them"
        )


def _levels(layer: Any, name: str) -> Iterator[tuple[str, Step]]:
    """The layers of a stack, with the dropout between them."""
    if layer.go_backwards:
        yield joined(name, "backwards"), Backwards(layer.batch_first)
    for k, names in enumerate(cell_names(layer)):
        top = k == layer.num_layers - 1
        cells = tuple(getattr(layer, own) for own in names)
        kind = kind_of(joined(name, f"l{k}"), cells)
        starts: tuple[Any, ...] = ()
        if layer.learn_initial_state:
            parts = ("h0", "c0") if kind == "LSTM" else ("h0",)
            starts = tuple(tuple(getattr(cell, part).numpy() for part in parts) for cell in cells)
        level = Recurrence(
            kind=kind,
            cells=cells,
            merge=layer.merge if top else layer.merge or "concat",
            return_sequences=layer.return_sequences or not top,
            return_state=layer.return_state,
            batch_first=layer.batch_first,
            starts=starts,
        )
        yield joined(name, f"l{k}"), level
        if not top and layer.dropout.p:
            yield joined(name, f"dropout{k}"), layer.dropout


def cell_names(layer: Any) -> list[list[str]]:
    """Where a layer holds its cells: for each level, forward before backward."""
    return [[f"l{k}", f"l{k}_reverse"][: 1 + layer.bidirectional] for k in range(layer.num_layers)]


def _pair(model: Any, name: str) -> Recurrence:
    """A `Bidirectional` of two layers of one cell each."""
    layers = [single(model.forward_layer), single(model.backward_layer)]
    cells = tuple(layer.l0 for layer in layers)
    return Recurrence(
        kind=kind_of(name, cells),
        cells=cells,
        merge=model.merge,
        return_sequences=layers[0].return_sequences,
        return_state=layers[0].return_state,
        batch_first=layers[0].batch_first,
    )


def single(layer: Any) -> Any:
    """A side of a `Bidirectional`, after a look whether it is one cell in time and nothing else."""
    plain = isinstance(layer, nn.Recurrent) and layer.num_layers == 1 and not layer.bidirectional
    if not plain or layer.go_backwards or layer.learn_initial_state:
        raise ValueError(
            "each side of a Bidirectional must be an RNN, LSTM or GRU of one layer and direction, without "
            "go_backwards and learn_initial_state, to be converted; see the flag bidirectional=True"
        )
    return layer


def kind_of(name: str, cells: Sequence[Any]) -> str:
    """What all cells are: "RNN", "LSTM" or "GRU". A subclass is neither: it may compute anything."""
    # What tg.compile has made faster is of a class of its own.
    kinds = {KINDS.get(getattr(cell, "uncompiled_type", type(cell))) for cell in cells}
    kind = kinds.pop()
    if kinds or kind is None:
        raise TypeError(
            f"{name}: {' and '.join(type(cell).__name__ for cell in cells)} cannot be converted; other "
            f"frameworks' layers have cells of one kind, RNNCell, LSTMCell or GRUCell"
        )
    if len({tuple(own for own, _ in cell.named_parameters()) for cell in cells}) > 1:
        raise ValueError(
            f"{name}: its cells differ in their parameters; other frameworks' layers have the same in all"
        )
    return kind


def joined(prefix: str, name: str) -> str:
    """The name of a child."""
    return f"{prefix}.{name}" if prefix else name


def called(name: str, step: Any) -> str:
    """How errors call a step."""
    kind = step.kind if isinstance(step, Recurrence) else getattr(step, "__name__", type(step).__name__)
    return f"{name} ({kind})" if name else kind


def load_steps(
    caller: str, model: Any, table: Iterable[tuple[str, Step, Sequence[Mapping[str, np.ndarray]]]]
) -> None:
    """Give every module of every step its arrays; all of them, or none."""
    before = model.state_dict()
    try:
        for name, step, states in table:
            modules = step.cells if isinstance(step, Recurrence) else (step,)
            for module, state in zip(modules, states, strict=False):
                where = called(name, step)
                module.load_state_dict(state)
    except ValueError as error:
        model.load_state_dict(before)
        raise ValueError(f"{caller}: {where}: {error}") from error


# ---- options


ACTIVATIONS = {
    "RNN": ("nonlinearity",),
    "LSTM": ("gate_activation", "cell_activation", "output_activation"),
    "GRU": ("gate_activation", "cell_activation"),
}
"""The options that are functions, in the order in which ONNX lists them."""

_PLAIN: dict[str, Any] = {
    "nonlinearity": ops.tanh,
    "gate_activation": ops.sigmoid,
    "cell_activation": ops.tanh,
    "output_activation": ops.tanh,
    "peephole": False,
    "clip": None,
    "coupled": False,
    "layer_norm": False,
    "zoneout": (0.0, 0.0),
    "proj_size": 0,
    "reset_after": True,
    "update_gate": "retain",
}
"""The cells' options, each with what every framework does."""

_MENDS = {
    "nonlinearity": "Train with tanh or relu",
    "gate_activation": "Train with the default",
    "cell_activation": "Train with the default",
    "output_activation": "Train with the default",
    "peephole": "ONNX and TensorFlow 1 have diagonal peepholes; train with these, or without",
    "clip": "ONNX alone bounds what goes into the gates; train without",
    "coupled": "ONNX alone couples gates; train with coupled=False",
    "layer_norm": "No other layer normalises inside of its step; train with layer_norm=False",
    "zoneout": "In evaluation it mixes old and new states, so that leaving it out changes results; train "
    "with zoneout=0.0, and recurrent_dropout if need be",
    "proj_size": "PyTorch and TensorFlow 1 have projections; train with proj_size=0",
    "reset_after": "A reset before the product and one after it are different functions, and no weights turn "
    "one into the other; train with the other value",
    "update_gate": "Train with update_gate='retain'",
}


def option(cell: Any, name: str) -> Any:
    """The value of a cell's option; activations as functions."""
    # The LSTM's attribute peephole is the parameter.
    value = getattr(cell, "peepholes" if name == "peephole" else name, _PLAIN[name])
    return getattr(ops, value) if callable(_PLAIN[name]) and isinstance(value, str) else value


def refuse(where: str, cell: Any, taken: Mapping[str, Collection[Any] | None], framework: str) -> None:
    """Raise for the first option of a cell whose value a framework has no counterpart for.

    ``taken`` has the options that the framework does have, with the values that it takes; None for any.
    """
    for name, plain in _PLAIN.items():
        value = option(cell, name)
        known = taken.get(name, ())
        if value != plain and known is not None and value not in known:
            said = getattr(value, "__name__", repr(value))
            raise ValueError(
                f"{where} has {name}={said}, for which {framework} has no counterpart. {_MENDS[name]}"
            )


def refuse_step(
    where: str, step: Recurrence, taken: Mapping[str, Collection[Any] | None], framework: str
) -> None:
    """`refuse` for all cells of a step, and its learned initial states."""
    for cell in step.cells:
        refuse(where, cell, taken, framework)
    if step.starts and "learn_initial_state" not in taken:
        raise ValueError(
            f"{where} has learn_initial_state=True, and {framework}'s layers hold no initial states. Pass "
            f"them to the layer there, and make it with learn_initial_state=False here"
        )


def retaining(where: str, cell: Any, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A cell's arrays for an update gate that retains, as other frameworks have it, and back from these."""
    if option(cell, "update_gate") == "retain":
        return dict(state)
    if option(cell, "gate_activation") not in (ops.sigmoid, ops.hard_sigmoid):
        raise ValueError(
            f"{where} has update_gate='replace', which becomes 'retain' by a change of signs if the gate's "
            f"activation has s(-a) = 1 - s(a), as sigmoid and hard_sigmoid have; train with one of these"
        )
    return {name: opposite_update(array) for name, array in state.items()}


def need(package: str, purpose: str) -> Any:
    """Import what only one framework needs, or say how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{purpose} needs {package}: pip install {package}") from error
