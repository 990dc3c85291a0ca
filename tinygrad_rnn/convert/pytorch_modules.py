"""PyTorch's modules as layers, and layers as PyTorch's modules; all with initial weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import nn, ops
from .functions import function_of, listed, name_of
from .steps import CELLS, called, joined, option

_LAYERS = (nn.RNN, nn.LSTM, nn.GRU)


def built(module: Any) -> Any:
    """Our layer for a PyTorch module, with initial weights."""
    kind = type(module).__name__
    if not type(module).__module__.startswith("torch.nn."):
        raise TypeError(
            f"from_torch builds what torch.nn has, and {kind} is a class of its own: write the same model "
            f"with tinygrad_rnn.nn and load the weights, from_torch(module, into=model)"
        )
    if kind == "Sequential":
        return nn.Sequential(*map(built, module)).train(module.training)
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


def torch_module(torch: Any, model: Any, name: str) -> Any:
    """PyTorch's module for a layer or function of ours, with initial weights."""
    where = called(name, model)
    theirs = torch.nn
    if isinstance(model, nn.Sequential):
        parts = [torch_module(torch, step, joined(name, str(k))) for k, step in enumerate(model)]
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
    if isinstance(model, CELLS):
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
