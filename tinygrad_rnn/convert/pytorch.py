"""PyTorch: parameters have its names, shapes and gate order already, so little is left to translate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import nn, ops
from .pytorch_modules import built, torch_module
from .steps import CELLS, cell_names, kind_of, need, refuse, retaining, single

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
        For a module that cannot be built here, and for weights to be loaded into what is no model.
    """
    if into is None:
        if not hasattr(source, "state_dict"):
            raise TypeError(
                f"from_torch builds layers from modules, and a {type(source).__name__} has names and values "
                f"alone: pass the model to load them into, from_torch(state, into=model)"
            )
        into = built(source)
    elif not isinstance(into, nn.Module):
        raise TypeError(
            f"from_torch loads into a Module of this package, got {type(into).__name__}: "
            f"from_torch(source, into=model)"
        )
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
    module = torch_module(torch, model, "")
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
    names = list(module.state_dict())
    if isinstance(module, nn.Bidirectional):
        layers = [single(module.forward_layer), single(module.backward_layer)]
        _alike("Bidirectional", [layer.l0 for layer in layers])
        for child, suffix, layer in zip(
            ("forward_layer", "backward_layer"), ("", "_reverse"), layers, strict=True
        ):
            for entry in _entries(layer):
                yield replace(entry, ours=f"{child}.{entry.ours}", theirs=entry.theirs + suffix)
    elif isinstance(module, (nn.Recurrent, *CELLS)):
        where = type(module).__name__
        cells: list[Any] = [module]
        if isinstance(module, nn.Recurrent):
            cells = [getattr(module, name) for level in cell_names(module) for name in level]
            if module.learn_initial_state:
                raise ValueError(
                    f"{where} has learn_initial_state=True, and PyTorch's layers have no such parameters. "
                    f"Hold them in a module of your own, which passes them to the layer"
                )
        _alike(where, cells)
        yield from (_Entry(name, name, cells[0]) for name in names)
    else:
        below = dict(module.named_children())
        yield from (_Entry(n, n) for n in names if n.partition(".")[0] not in below)
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
