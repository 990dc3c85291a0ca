"""Keras: a list of arrays per layer, as ``layer.get_weights()`` gives it and ``set_weights`` takes it.

Kernels are (inputs, gates * H), the transpose of ours. The layouts stand in keras.layers: SimpleRNN, LSTM,
GRU, Bidirectional, Dense, Embedding, LayerNormalization.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import nn
from .functions import function_of
from .orders import reorder
from .steps import ACTIVATIONS, LAYERS, Recurrence, called, load_steps, option, refuse_step, retaining, steps

_TAKEN = dict.fromkeys(
    ("nonlinearity", "gate_activation", "cell_activation", "output_activation", "reset_after", "update_gate")
)
"""Options that Keras's layers have too, with any value."""


def from_keras(source: Any, into: Any = None) -> Any:
    """Take over weights, and the layer itself, from Keras.

    Parameters
    ----------
    source : Keras layer or Sequential, or list of arrays
        With ``into``, either; a list is what ``get_weights()`` gives, of one layer or of a whole Sequential.
        Without, SimpleRNN, LSTM, GRU, Bidirectional, Dense, Embedding, LayerNormalization, Dropout,
        Activation, or a Sequential of them, built: the equal layer is made, in evaluation mode, which is that
        of a Keras layer that is called. A Dense layer's activation becomes a step of its own.
    into : Module, optional
        Where to load the weights: a layer that Keras has, or a Sequential of such.

    Returns
    -------
    Module
        ``into``, or the new layer.

    Raises
    ------
    ValueError
        For too few or too many arrays, or arrays of another shape (with the layer), and for options that
        have no counterpart. Nothing has been changed then.
    TypeError
        For a layer that cannot be built here.

    Notes
    -----
    Keras has one bias where the layers here have two: it goes into ``bias_ih``, and ``bias_hh`` becomes 0;
    a GRU with ``reset_after=True`` has two there as well. A list does not tell options such as activations
    and the epsilon of LayerNormalization (by default 1e-3 there, 1e-5 here): ``into`` must have the same.
    """
    if into is None:
        if not hasattr(source, "get_config"):
            raise TypeError(
                "from_keras makes layers of Keras layers, and a list of weights does not tell them: pass the "
                "model to load it into, from_keras(weights, into=model)"
            )
        made = list(_built(source))
        into = made[0] if len(made) == 1 else nn.Sequential(*made)
        into = into.eval() if isinstance(into, nn.Module) else into
    arrays = list(source.get_weights() if hasattr(source, "get_weights") else source)
    table, place = [], 0
    for name, step in steps(into):
        count = len(_written(name, step))
        table.append((name, step, arrays[place : place + count]))
        place += count
    if place != len(arrays):
        raise ValueError(
            f"from_keras: this {type(into).__name__} takes {place} arrays, got {len(arrays)}: "
            + ", ".join(str(np.shape(a)) for a in arrays)
        )
    load_steps("from_keras", into, [(name, step, _read(name, step, given)) for name, step, given in table])
    return into


def to_keras(model: Any) -> list[np.ndarray]:
    """The weights as Keras's ``set_weights`` takes them.

    Parameters
    ----------
    model : Module
        RNN, LSTM, GRU, Bidirectional, Linear, Embedding, LayerNorm, Dropout, or a Sequential of them and of
        functions. A stack of layers is a Keras layer each.

    Returns
    -------
    list of array
        In the order of ``get_weights()``, layer after layer. Where Keras has one bias, it is the sum of both.

    Raises
    ------
    ValueError
        For options with which Keras's layers would compute something else.

    Notes
    -----
    Arrays do not tell options: make the Keras layers with the same ``reset_after``, activations,
    ``go_backwards`` and ``merge_mode``, and LayerNormalization with the same epsilon (by default 1e-3 there,
    1e-5 here)."""
    return [array for name, step in steps(model) for array in _written(name, step)]


# ---- arrays of one step


def _written(name: str, step: Any) -> list[np.ndarray]:
    if isinstance(step, Recurrence):
        where = called(name, step)
        refuse_step(where, step, _TAKEN, "Keras")
        return [array for cell in step.cells for array in _cell_written(where, step.kind, cell)]
    if isinstance(step, nn.Linear):
        bias = [] if step.bias is None else [step.bias.numpy().copy()]
        return [step.weight.numpy().T.copy(), *bias]
    if isinstance(step, nn.Embedding):
        return [step.weight.numpy().copy()]
    if isinstance(step, nn.LayerNorm):
        return [step.weight.numpy().copy(), step.bias.numpy().copy()]
    return []


def _cell_written(where: str, kind: str, cell: Any) -> list[np.ndarray]:
    if kind == "LSTM" and option(cell, "cell_activation") is not option(cell, "output_activation"):
        raise ValueError(
            f"{where} has cell_activation and output_activation of its own; Keras has one for both"
        )
    state = retaining(where, cell, cell.state_dict())
    state = {name: reorder(a, kind, "torch", "keras") for name, a in state.items()}
    arrays = [state["weight_ih"].T.copy(), state["weight_hh"].T.copy()]
    if "bias_ih" in state:
        biases = np.stack([state["bias_ih"], state["bias_hh"]])
        arrays.append(biases if _two_biases(kind, cell) else biases.sum(axis=0))
    return arrays


def _two_biases(kind: str, cell: Any) -> bool:
    return kind == "GRU" and bool(option(cell, "reset_after"))


def _read(name: str, step: Any, arrays: Sequence[Any]) -> list[dict[str, np.ndarray]]:
    """A state_dict for each module of the step."""
    arrays = [np.asarray(a) for a in arrays]
    if isinstance(step, Recurrence):
        share = len(arrays) // len(step.cells)
        return [
            _cell_read(called(name, step), step.kind, cell, arrays[k * share : (k + 1) * share])
            for k, cell in enumerate(step.cells)
        ]
    if isinstance(step, nn.Linear):
        return [dict(zip(("weight", "bias"), (arrays[0].T, *arrays[1:]), strict=False))]
    if isinstance(step, nn.Embedding):
        return [{"weight": arrays[0]}]
    if isinstance(step, nn.LayerNorm):
        return [{"weight": arrays[0], "bias": arrays[1]}]
    return []


def _cell_read(where: str, kind: str, cell: Any, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    state = {"weight_ih": arrays[0].T, "weight_hh": arrays[1].T}
    if len(arrays) == 3:
        two = _two_biases(kind, cell)
        if arrays[2].ndim != 1 + two:
            raise ValueError(
                f"from_keras: {where} has reset_after={two} and takes a bias of {1 + two} axes, got "
                f"{arrays[2].shape}, which is that of the other reset; make it with reset_after={not two}"
            )
        zero = np.zeros_like(arrays[2])
        state["bias_ih"], state["bias_hh"] = arrays[2] if two else (arrays[2], zero)
    return retaining(where, cell, {name: reorder(a, kind, "keras", "torch") for name, a in state.items()})


# ---- layers


def _built(layer: Any) -> Iterator[Any]:
    """Our steps for a Keras layer, with initial weights."""
    kind = type(layer).__name__
    if not type(layer).__module__.startswith("keras."):
        raise TypeError(f"from_keras makes what Keras has, and {kind} is a class of its own")
    if kind == "Sequential":
        for part in layer.layers:
            yield from _built(part)
    elif kind in _BUILDERS:
        config, weights = layer.get_config(), layer.get_weights()
        if not weights and kind not in ("Dropout", "Activation", "InputLayer"):
            raise ValueError(
                f"from_keras: {kind} {layer.name!r} is not built; call it once, or its build(shape)"
            )
        yield from _BUILDERS[kind](layer, config, weights)
    else:
        raise TypeError(
            f"from_keras makes no {kind}; it makes {', '.join(_BUILDERS)} and Sequential. Load the weights "
            f"into a model of your own, from_keras(layer, into=model)"
        )


def _recurrent(layer: Any, config: dict[str, Any], weights: list[np.ndarray], **more: Any) -> Iterator[Any]:
    kind = {"SimpleRNN": "RNN"}.get(type(layer).__name__, type(layer).__name__)
    _must_have(layer, config, dropout=0.0, recurrent_dropout=0.0, stateful=False)
    names = ["activation"] if kind == "RNN" else ["recurrent_activation", "activation", "activation"]
    options: dict[str, Any] = {
        option: _function(layer, config[name]) for option, name in zip(ACTIVATIONS[kind], names, strict=False)
    }
    if kind == "GRU":
        options["reset_after"] = config["reset_after"]
    yield LAYERS[kind](
        len(weights[0]),
        config["units"],
        bias=config["use_bias"],
        go_backwards=config["go_backwards"],
        return_sequences=config["return_sequences"],
        return_state=config["return_state"],
        dtype=weights[0].dtype,
        **options,
        **more,
    )


def _both_ways(layer: Any, config: dict[str, Any], weights: list[np.ndarray]) -> Iterator[Any]:
    ahead, behind = layer.forward_layer.get_config(), layer.backward_layer.get_config()
    same = set(ahead) - {"name", "go_backwards", "seed"}
    if type(layer.forward_layer) is not type(layer.backward_layer) or any(
        ahead[k] != behind[k] for k in same
    ):
        raise ValueError("from_keras: the two layers of this Bidirectional differ; convert them one by one")
    _must_have(layer.forward_layer, ahead, go_backwards=False)
    yield from _recurrent(layer.forward_layer, ahead, weights, bidirectional=True, merge=config["merge_mode"])


def _dense(layer: Any, config: dict[str, Any], weights: list[np.ndarray]) -> Iterator[Any]:
    rows, columns = weights[0].shape
    yield nn.Linear(rows, columns, config["use_bias"], dtype=weights[0].dtype)
    yield from _activation(layer, config, weights)


def _activation(layer: Any, config: dict[str, Any], weights: list[np.ndarray]) -> Iterator[Any]:
    if config["activation"] != "linear":
        yield _function(layer, config["activation"])


def _function(layer: Any, name: Any) -> Callable[[Any], Any]:
    """Our function for the name of a Keras activation."""
    function = function_of(name, "keras") if isinstance(name, str) else None
    if function is None:
        raise ValueError(
            f"from_keras: {type(layer).__name__} has the activation {name!r}, which is not known here; make "
            f"the model with tinygrad_rnn.nn and load the weights, from_keras(layer, into=model)"
        )
    return function


def _embedding(layer: Any, config: dict[str, Any], weights: list[np.ndarray]) -> Iterator[Any]:
    _must_have(layer, config, mask_zero=False)
    yield nn.Embedding(*weights[0].shape, dtype=weights[0].dtype)


def _layer_norm(layer: Any, config: dict[str, Any], weights: list[np.ndarray]) -> Iterator[Any]:
    _must_have(layer, config, center=True, scale=True, rms_scaling=False)
    if config["axis"] not in (-1, [-1]):
        raise ValueError(
            f"from_keras: LayerNormalization has axis={config['axis']}, and ours normalises the last one"
        )
    yield nn.LayerNorm(weights[0].shape, config["epsilon"], dtype=weights[0].dtype)


def _must_have(layer: Any, config: dict[str, Any], **wanted: Any) -> None:
    for name, value in wanted.items():
        got = config.get(name, value)
        if got != value:
            raise ValueError(
                f"from_keras: {type(layer).__name__} has {name}={got!r}, and is made with {value!r} alone; "
                f"make the model with tinygrad_rnn.nn and load the weights, from_keras(layer, into=model)"
            )


_BUILDERS: dict[str, Callable[..., Iterator[Any]]] = {
    "SimpleRNN": _recurrent,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "Bidirectional": _both_ways,
    "Dense": _dense,
    "Embedding": _embedding,
    "LayerNormalization": _layer_norm,
    "Activation": _activation,
    "Dropout": lambda layer, config, weights: iter([nn.Dropout(config["rate"])]),
    "InputLayer": lambda layer, config, weights: iter(()),
}
