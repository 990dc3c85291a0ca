"""PyTorch: parameters have its names, shapes and gate order already, so little is left to translate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import nn, ops
from .functions import function_of, listed, name_of
from .steps import called, cell_names, kind_of, need, option, refuse, retaining, single

_LAYERS = (nn.RNN, nn.LSTM, nn.GRU)
_CELLS = (nn.RNNCell, nn.LSTMCell, nn.GRUCell)
_TAKEN = {"nonlinearity": (ops.relu,), "proj_size": None, "update_gate": None}
"""Options with which PyTorch's layers compute the same, given the right weights."""


def from_torch(source: Any, into: Any = None, *, names: Mapping[str, str] | None = None) -> Any:
    """Take over weights, and the layer itself, from PyTorch.

    Parameters
    ----------
    source : torch.nn.Module, or mapping of str to tensor or array
        With ``into``, a module of any class or its ``state_dict()``. Without, RNN, LSTM, GRU, their cells,
        Linear, Embedding, LayerNorm, Dropout, activations, or a Sequential of them: the equal layer is built,
        of the same dtype and mode (training or not).
    into : Module, optional
        Where to load the weights.
    names : mapping of str to str, optional
        Where children are called otherwise: our name and theirs, e.g. ``{"0": "lstm", "2": "head"}``.

    Returns
    -------
    Module
        ``into``, or the new layer.

    Raises
    ------
    ValueError
        Naming missing and unexpected entries, entries of another shape, and options for which PyTorch has no
        counterpart. Nothing has been changed then.
    TypeError
        For a module that cannot be built here.
    """
    if into is None:
        if not hasattr(source, "state_dict"):
            raise TypeError(
                f"from_torch builds layers from modules, and a {type(source).__name__} has names and values "
                f"alone: pass the model to load them into, from_torch(state, into=model)"
            )
        into = _build(source)
    given = source.state_dict() if hasattr(source, "state_dict") else source
    table = {_renamed(entry.theirs, names or {}): entry for entry in _entries(into)}
    problems = [f"missing: {name}" for name in table if name not in given]
    problems += [f"unexpected: {name}" for name in given if name not in table]
    if problems:
        raise ValueError(
            f"from_torch: the state does not fit this {type(into).__name__} (where children are called "
            f"otherwise, pass names={{ours: theirs}}):\n  " + "\n  ".join(problems)
        )
    into.load_state_dict({e.ours: e.changed(_array(name, given[name])) for name, e in table.items()})
    return into


def to_torch(model: Any, *, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The weights as PyTorch's ``load_state_dict`` takes them.

    Parameters
    ----------
    model : Module
        Of any class: a layer, a Sequential, or a model of your own whose children PyTorch has too.
    names : mapping of str to str, optional
        Where the children of the PyTorch module are called otherwise: our name and theirs.

    Returns
    -------
    dict of str to torch.Tensor
        Copies, under PyTorch's names.

    Raises
    ------
    ValueError
        For options with which PyTorch's layer of the same name would compute something else.
    """
    torch = need("torch", "to_torch")
    state = model.state_dict()
    return {
        _renamed(entry.theirs, names or {}): torch.from_numpy(entry.changed(state[entry.ours]))
        for entry in _entries(model)
    }


def to_torch_module(model: Any) -> Any:
    """The equal PyTorch module, for the layers that PyTorch has.

    Parameters
    ----------
    model : Module
        RNN, LSTM, GRU, their cells, Bidirectional, Linear, Embedding, LayerNorm, Dropout, or a Sequential of
        them and of activations.

    Returns
    -------
    torch.nn.Module
        Of the same dtype and mode, with copies of the weights.

    Raises
    ------
    ValueError
        For options that PyTorch's layer does not have. It always gives all outputs and the state.
    TypeError
        For other layers.
    """
    torch = need("torch", "to_torch_module")
    module = _build_torch(torch, model, "")
    dtypes = {p.dtype for p in model.parameters()}
    if len(dtypes) == 1:
        module.to(getattr(torch, dtypes.pop().name))
    module.load_state_dict(to_torch(model))
    return module.train(model.training)


# ---- names


@dataclass(frozen=True)
class _Entry:
    """A parameter under both names, and the recurrent cell that it belongs to, if it does."""

    ours: str
    theirs: str
    cell: Any = None

    def under(self, child: str) -> _Entry:
        return replace(self, ours=f"{child}.{self.ours}", theirs=f"{child}.{self.theirs}")

    def changed(self, array: np.ndarray) -> np.ndarray:
        """The values of either for the other."""
        return array if self.cell is None else retaining(self.ours, self.cell, {"": array})[""]


def _entries(module: Any) -> Iterator[_Entry]:
    """All parameters of a module."""
    if isinstance(module, nn.Bidirectional):
        layers = [single(module.forward_layer), single(module.backward_layer)]
        _alike("Bidirectional", [layer.l0 for layer in layers])
        for child, suffix, layer in zip(
            ("forward_layer", "backward_layer"), ("", "_reverse"), layers, strict=True
        ):
            for entry in _entries(layer):
                yield replace(entry, ours=f"{child}.{entry.ours}", theirs=entry.theirs + suffix)
    elif isinstance(module, (nn.Recurrent, *_CELLS)):
        where, cells = type(module).__name__, [module]
        if isinstance(module, nn.Recurrent):
            cells = [getattr(module, name) for level in cell_names(module) for name in level]
            if module.learn_initial_state:
                raise ValueError(
                    f"{where} has learn_initial_state=True, and PyTorch's layers have no such parameters. "
                    f"Hold them in a module of your own, which passes them to the layer"
                )
        _alike(where, cells)
        yield from (_Entry(name, name, cells[0]) for name in module.state_dict())
    else:
        below = dict(module.named_children())
        yield from (_Entry(n, n) for n in module.state_dict() if n.partition(".")[0] not in below)
        for child, part in below.items():
            yield from (entry.under(child) for entry in _entries(part))


def _alike(where: str, cells: list[Any]) -> None:
    """Refuse cells that are not those of one PyTorch layer."""
    kind_of(where, cells)
    for cell in cells:
        refuse(where, cell, _TAKEN, "PyTorch")
    for name in ("hidden_size", "proj_size", "update_gate", "nonlinearity"):
        values = list(dict.fromkeys(getattr(cell, name, None) for cell in cells))
        if len(values) > 1:
            raise ValueError(
                f"{where} has cells of {name} {', '.join(map(str, values))}; a PyTorch layer has one for "
                f"all. Use nn.Stacked, and a PyTorch layer for each of its layers"
            )


def _renamed(theirs: str, names: Mapping[str, str]) -> str:
    """A parameter's name after its longest prefix in ``names`` is replaced."""
    parts = theirs.split(".")
    for k in reversed(range(len(parts))):
        prefix = ".".join(parts[:k])
        if prefix in names:
            return ".".join([names[prefix], *parts[k:]])
    return theirs


def _array(name: str, value: Any) -> np.ndarray:
    value = value.detach().cpu() if hasattr(value, "detach") else value
    try:
        return np.asarray(value)
    except TypeError as error:
        raise TypeError(
            f"from_torch: NumPy has no {value.dtype} ({name}): convert with .float() first"
        ) from error


# ---- layers


def _build(module: Any) -> Any:
    """Our layer for a PyTorch module, with initial weights."""
    kind = type(module).__name__
    if not type(module).__module__.startswith("torch.nn."):
        raise TypeError(
            f"from_torch builds what torch.nn has, and {kind} is a class of its own: write the same model "
            f"with tinygrad_rnn.nn and load the weights, from_torch(module, into=model)"
        )
    if kind == "Sequential":
        return nn.Sequential(*map(_build, module)).train(module.training)
    dtype = next((str(p.dtype).removeprefix("torch.") for p in module.parameters()), None)
    function = function_of(kind, "torch")
    if function is not None:
        _must_have(module, dim=-1, alpha=1.0, approximate="none", negative_slope=0.01)
        return function
    if kind not in _BUILDERS:
        raise TypeError(
            f"from_torch builds no {kind}; it builds {', '.join(_BUILDERS)}, activations and Sequential. "
            f"Load weights into a model of your own with from_torch(module, into=model)"
        )
    return _BUILDERS[kind](module, dtype).train(module.training)


def _recurrent(module: Any, dtype: Any) -> Any:
    options = {"nonlinearity": module.nonlinearity} if module.mode.startswith("RNN") else {}
    if module.proj_size:
        options["proj_size"] = module.proj_size
    return getattr(nn, type(module).__name__)(
        module.input_size,
        module.hidden_size,
        module.num_layers,
        bias=module.bias,
        dropout=module.dropout,
        bidirectional=module.bidirectional,
        batch_first=module.batch_first,
        dtype=dtype,
        **options,
    )


def _cell(module: Any, dtype: Any) -> Any:
    options = {"nonlinearity": module.nonlinearity} if hasattr(module, "nonlinearity") else {}
    kind = getattr(nn, type(module).__name__)
    return kind(module.input_size, module.hidden_size, module.bias, dtype=dtype, **options)


def _embedding(module: Any, dtype: Any) -> Any:
    _must_have(module, padding_idx=None, max_norm=None)
    return nn.Embedding(module.num_embeddings, module.embedding_dim, dtype=dtype)


def _layer_norm(module: Any, dtype: Any) -> Any:
    _must_have(module, elementwise_affine=True)
    if module.bias is None:
        raise ValueError("from_torch: LayerNorm has bias=False, and ours has one: load with into= instead")
    return nn.LayerNorm(module.normalized_shape, module.eps, dtype=dtype)


def _must_have(module: Any, **wanted: Any) -> None:
    for name, value in wanted.items():
        got = getattr(module, name, value)
        if got != value:
            raise ValueError(
                f"from_torch: {type(module).__name__} has {name}={got!r}, which is built with {value!r} "
                f"alone; write the model with tinygrad_rnn.nn and load the weights, from_torch(module, "
                "into=model)"
            )


_BUILDERS: dict[str, Callable[[Any, Any], Any]] = {
    "RNN": _recurrent,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNNCell": _cell,
    "LSTMCell": _cell,
    "GRUCell": _cell,
    "Linear": lambda m, dtype: nn.Linear(m.in_features, m.out_features, m.bias is not None, dtype=dtype),
    "Embedding": _embedding,
    "LayerNorm": _layer_norm,
    "Dropout": lambda m, dtype: nn.Dropout(m.p),
}


def _build_torch(torch: Any, model: Any, name: str) -> Any:
    """PyTorch's module for a layer or function of ours, with initial weights."""
    where = called(name, model)
    theirs = torch.nn
    if isinstance(model, nn.Sequential):
        parts = [_build_torch(torch, step, f"{name}.{k}" if name else str(k)) for k, step in enumerate(model)]
        if any(isinstance(step, (*_LAYERS, nn.Bidirectional)) for step in list(model)[:-1]):
            raise ValueError(
                f"to_torch_module: {where} has a recurrent layer before its last step; PyTorch's give a pair "
                f"(output, state), which its Sequential cannot pass on. Write the module with a forward "
                f"method of its own and load to_torch(model) into it"
            )
        return theirs.Sequential(*parts)
    if isinstance(model, nn.Bidirectional):
        return _recurrent_torch(theirs, model.forward_layer, where, merge=model.merge, bidirectional=True)
    if isinstance(model, _LAYERS):
        return _recurrent_torch(theirs, model, where, merge=model.merge, bidirectional=model.bidirectional)
    if isinstance(model, _CELLS):
        options = _nonlinearity(model)
        kind = getattr(theirs, type(model).__name__)
        return kind(model.input_size, model.hidden_size, model.bias_ih is not None, **options)
    if isinstance(model, nn.Linear):
        return theirs.Linear(model.in_features, model.out_features, model.bias is not None)
    if isinstance(model, nn.Embedding):
        return theirs.Embedding(model.num_embeddings, model.embedding_dim)
    if isinstance(model, nn.LayerNorm):
        return theirs.LayerNorm(model.normalized_shape, model.eps)
    if isinstance(model, nn.Dropout):
        return theirs.Dropout(model.p)
    kind_name = name_of(model, "torch")
    if kind_name is None:
        raise TypeError(
            f"to_torch_module: torch.nn has no counterpart that is known for {where}; known functions are "
            f"{listed('torch')}"
        )
    needs_axis = kind_name in ("Softmax", "LogSoftmax")
    return getattr(theirs, kind_name)(**({"dim": -1} if needs_axis else {}))


def _recurrent_torch(theirs: Any, layer: Any, where: str, *, merge: Any, bidirectional: bool) -> Any:
    """PyTorch's layer with the sizes and flags of ours."""
    for flag in ("recurrent_dropout", "go_backwards"):
        value = getattr(layer, flag)
        if getattr(value, "p", value):
            raise ValueError(f"to_torch_module: {where} has {flag}, which PyTorch's layers do not have")
    if bidirectional and merge != "concat":
        raise ValueError(f"to_torch_module: {where} has merge={merge!r}, and PyTorch concatenates")
    if not (layer.return_sequences and layer.return_state):
        raise ValueError(
            f"to_torch_module: {where} has return_sequences={layer.return_sequences} and "
            f"return_state={layer.return_state}; PyTorch's layer always gives all outputs and the state. "
            f"Load to_torch(model) into a module of your own that picks what it needs"
        )
    options = _nonlinearity(layer.l0)
    if option(layer.l0, "proj_size"):
        options["proj_size"] = layer.l0.proj_size
    return getattr(theirs, type(layer).__name__)(
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        bias=layer.l0.bias_ih is not None,
        dropout=layer.dropout.p,
        bidirectional=bidirectional,
        batch_first=layer.batch_first,
        **options,
    )


def _nonlinearity(cell: Any) -> dict[str, Any]:
    """PyTorch's option for an RNN's function; nothing for other cells."""
    if not isinstance(cell, nn.RNNCell):
        return {}
    return {"nonlinearity": "relu" if option(cell, "nonlinearity") is ops.relu else "tanh"}
