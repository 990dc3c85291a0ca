"""What a cell uses besides its arguments: tensors, and plain options that its step may depend on."""

from __future__ import annotations

import hashlib
import inspect
from copy import copy
from typing import Any

import numpy as np

from ..nn.module import Module
from ..nn.steps import Bare
from ..ops.operations import Operation
from ..tensors import Tensor

_PLAIN = (bool, int, float, str, type(None))


class Surroundings:
    """What a cell uses besides its arguments, and a quick look whether that is still so.

    Attributes
    ----------
    names : list of str
        Of the tensors: dotted paths from the cell.
    options : tuple of (str, value)
        Numbers, strings and flags among its attributes, and among those of the modules in it; of arrays a
        digest, as what is compiled holds their values.
    """

    def __init__(self, cell: Any) -> None:
        self.cell = cell
        self.names: list[str] = []
        self._tensors: list[tuple[Any, Any]] = []
        self._options: list[tuple[str, Any]] = []
        self._copies: list[tuple[Any, Any]] = []
        self._single: list[tuple[Any, Any, Any]] = []
        self._arrays: list[tuple[np.ndarray, np.ndarray]] = []
        self._seen: set[int] = set()
        self._visit("", cell)
        self._seen.clear()
        self.options = tuple(self._options)

    def tensors(self) -> list[Tensor]:
        """The tensors as they are now."""
        return [owner[key] for owner, key in self._tensors]

    def changed(self) -> bool:
        """Whether something has been added, removed, or set to something else."""
        try:
            for owner, copy in self._copies:
                if owner != copy:  # compares what is not the very same object, and raises for other arrays
                    return True
            for owner, key, value in self._single:
                now = owner[key]
                if now is not value and now != value:
                    return True
            for array, values in self._arrays:
                if not np.array_equal(array, values):
                    return True
        except (KeyError, ValueError):
            return True
        return False

    def _visit(self, prefix: str, owner: Any) -> None:
        if id(owner) in self._seen or isinstance(owner, (type, np.ndarray, np.random.Generator, Operation)):
            return
        self._seen.add(id(owner))
        if inspect.ismethod(owner):
            self._visit(prefix, owner.__self__)
            self._visit(prefix, owner.__func__)
        elif inspect.isfunction(owner):
            if not owner.__module__.startswith(
                __name__.split(".")[0] + "."
            ):  # ours close over nothing of interest
                self._visit_function(prefix, owner)
        elif isinstance(owner, Bare):
            self._visit(prefix, owner._cell)
        elif isinstance(owner, Module):
            own = vars(owner)
            self._look(prefix, owner._parameters)
            self._look(prefix, owner._children)
            self._look(prefix, own, skip=("_parameters", "_children", "_name", "_engine"))
        elif isinstance(owner, (dict, list, tuple)):
            self._look(prefix, owner)
        elif hasattr(owner, "__dict__") and not inspect.ismodule(owner):
            self._look(prefix, vars(owner), skip=("_engine",))

    def _visit_function(self, prefix: str, function: Any) -> None:
        closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        for name, cell in closure.items():
            self._alone(prefix + name, _Contents(cell), 0)
        for name in function.__code__.co_names:
            if name in function.__globals__ and not inspect.ismodule(function.__globals__[name]):
                self._alone(prefix + name, function.__globals__, name)

    def _alone(self, name: str, owner: Any, key: Any) -> None:
        try:
            self._single.append((owner, key, owner[key]))
        except ValueError:  # a closed-over name that has no value yet
            return
        self._one(name, owner, key)

    def _look(self, prefix: str, owner: Any, skip: tuple[str, ...] = ()) -> None:
        """All values of a dictionary, a list or a tuple."""
        self._copies.append((owner, copy(owner)))
        for key in owner if isinstance(owner, dict) else range(len(owner)):
            if key not in skip:
                self._one(f"{prefix}{key}", owner, key)

    def _one(self, name: str, owner: Any, key: Any) -> None:
        value = owner[key]
        if isinstance(value, Tensor):
            if not any(o[k] is value for o, k in self._tensors):
                self.names.append(name)
                self._tensors.append((owner, key))
        elif isinstance(value, _PLAIN):
            self._options.append((name, value))
        elif isinstance(value, np.ndarray):
            digest = hashlib.sha256(value.tobytes()).hexdigest()
            self._options.append((name, (value.shape, value.dtype.str, digest)))
            self._arrays.append((value, value.copy()))
        else:
            self._visit(name + ".", value)


class _Contents:
    """A closed-over variable."""

    def __init__(self, cell: Any) -> None:
        self._cell = cell

    def __getitem__(self, key: Any) -> Any:
        return self._cell.cell_contents
