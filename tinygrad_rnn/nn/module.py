"""Module: something with parameters, named and ordered, that can be called, saved and loaded."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..arrays import as_array, get_default_dtype
from ..state import scope
from ..tape import Leaf
from ..tensors import Tensor, tensor
from .files import load_state, save_state


def Parameter(data: Any, dtype: Any = None) -> Tensor:  # noqa: N802 (a class elsewhere, a plain tensor here)
    """A tensor that requires gradients; assigned to an attribute of a module, it is one of its parameters."""
    return tensor(data, dtype, requires_grad=True)


def uniform(rng: np.random.Generator, bound: float, shape: tuple[int, ...], dtype: Any) -> Tensor:
    """A parameter drawn from U(-bound, bound)."""
    return Parameter(rng.uniform(-bound, bound, shape), dtype or get_default_dtype())


def _holds_parameters(value: Any) -> bool:
    """Whether a module, or a leaf on the tape, is somewhere inside of nested containers."""
    if isinstance(value, (dict, list, tuple, set)):
        return any(map(_holds_parameters, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Module) or (isinstance(value, Tensor) and isinstance(value.place, Leaf))


class Module:
    """Base of all layers.

    Assigning a tensor that requires gradients to an attribute makes it a parameter; assigning a module makes
    it a child. Both are kept in order of assignment. Subclasses define ``forward``; call the module, not
    ``forward``, so that its operations are recorded under its name.

    Attributes
    ----------
    training : bool
        Whether dropout and the like are active; see `train` and `eval`.
    """

    training: bool
    _parameters: dict[str, Tensor]
    _children: dict[str, Module]
    _name: str | None
    _parent: weakref.ref[Module] | None
    _key: str

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # Here and not in __init__, so that subclasses need not remember super().__init__().
        module = super().__new__(cls)
        vars(module).update(training=True, _parameters={}, _children={}, _name=None, _parent=None)
        return module

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._parameters and not (isinstance(value, Tensor) and value.is_leaf):
            raise TypeError(
                f"{type(self).__name__}.{name} is a parameter: assign a leaf tensor such as "
                f"nn.Parameter(array), set its values with {name}.assign_(array), or remove it with del"
            )
        if isinstance(value, (dict, list, tuple, set)) and _holds_parameters(value):
            raise TypeError(
                f"{type(self).__name__}.{name}: parameters inside a {type(value).__name__} would not be "
                f"found; assign them one by one, or hold modules in nn.Sequential, which can be indexed"
            )
        if isinstance(value, Tensor) and (isinstance(value.place, Leaf) or name in self._parameters):
            table: dict[str, Any] = self._parameters
        elif isinstance(value, Module):
            if any(module is self for module in value.modules()):
                raise ValueError(f"{type(self).__name__}.{name}: a module cannot contain itself")
            table = self._children
        else:
            table = vars(self)
        if table is not vars(self) and hasattr(type(self), name):
            raise TypeError(
                f"{type(self).__name__} has an attribute {name!r} of its class, which would hide the "
                f"{type(value).__name__}: choose another name"
            )
        self._let_go(name, value)
        for other in (self._parameters, self._children, vars(self)):
            if other is not table:
                other.pop(name, None)
        table[name] = value
        if table is self._children:
            value._name = value._name or name
            value._parent, value._key = weakref.ref(self), name
            value._name_parameters()
        elif table is self._parameters and value.requires_grad:
            top, full = self._outermost(name)
            shared = value.name and value.name in [n for n, p in top.named_parameters() if p is value]
            value.name = value.name if shared else full

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_parent": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy's children belong to the copy, and the copy to nobody yet.
        vars(self).update(state)
        for child in self.children():
            child._parent = weakref.ref(self)
        self._name_parameters()

    def _let_go(self, name: str, following: Any = None) -> None:
        """A child that is replaced or deleted is nobody's."""
        child = self._children.get(name)
        if child is not None and child is not following and child._key == name:
            child._parent = None

    def __getattr__(self, name: str) -> Any:
        # Reached only where ordinary lookup fails.
        for table in ("_parameters", "_children"):
            found = vars(self).get(table, {})
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if name in self._parameters:
            del self._parameters[name]
        elif name in self._children:
            self._let_go(name)
            del self._children[name]
        else:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._children]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} defines no forward method")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with scope(self._name or type(self).__name__.strip("_").lower(), owner=self):
            return self.forward(*args, **kwargs)

    # ---- walking

    def children(self) -> Iterator[Module]:
        """The modules assigned to this one's attributes."""
        yield from self._children.values()

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The attributes that hold modules, with the modules."""
        yield from self._children.items()

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        yield from dict.fromkeys([self, *(m for child in self.children() for m in child.modules())])

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Dotted names and parameters, in order; a shared parameter comes once, under its first name."""
        seen: set[int] = set()
        for name, p in self._all_parameters():
            if id(p) not in seen:
                seen.add(id(p))
                yield name, p

    def _all_parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield from self._parameters.items()
        for child_name, child in self._children.items():
            for name, p in child._all_parameters():
                yield self._join(child_name, name), p

    def _outermost(self, name: str = "") -> tuple[Module, str]:
        """The outermost module, and what its state_dict calls a parameter of this one."""
        module = self
        while module._parent is not None and (parent := module._parent()) is not None:
            name, module = parent._join(module._key, name), parent
        return module, name

    def _name_parameters(self) -> None:
        """Let tapes, diagrams and errors call each parameter by its full name."""
        for name, p in self.named_parameters():
            if p.requires_grad:
                p.name = self._outermost(name)[1]

    def _join(self, child: str, name: str) -> str:
        """The name, in this module, of a child's parameter."""
        return f"{child}.{name}"

    def parameters(self) -> Iterator[Tensor]:
        """All parameters, in order, each once."""
        for _, p in self.named_parameters():
            yield p

    # ---- modes

    def train(self, mode: bool = True) -> Any:
        """Switch to training mode (dropout active), this module and all below. Returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Any:
        """Switch to evaluation mode (dropout off). Returns the module."""
        return self.train(False)

    def requires_grad_(self, wanted: bool = True) -> Any:
        """Freeze (False) or unfreeze all parameters. Returns the module."""
        for p in self.parameters():
            p.requires_grad = wanted
        self._name_parameters()
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters():
            if p.requires_grad:
                p.grad = None

    # ---- state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters' values by name, in order; PyTorch's names where PyTorch has the layer."""
        return {name: p.numpy().copy() for name, p in self._all_parameters()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Set all parameters' values.

        Parameters
        ----------
        state : mapping of str to array
            Arrays, or anything that converts to one; a PyTorch ``state_dict`` as it is.
        strict : bool
            Refuse missing and unexpected names. Misshapen values are refused always.

        Raises
        ------
        ValueError
            Naming every missing, unexpected and misshapen key, and values whose dtype would lose digits.
            Nothing has been changed then.
        """
        own = dict(self._all_parameters())
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict takes a mapping of names to arrays, got {type(state).__name__}")
        arrays = {name: as_array(value) for name, value in state.items() if name in own}
        problems = []
        if strict:
            problems += [f"missing: {name} {p.shape}" for name, p in own.items() if name not in arrays]
            problems += [f"unexpected: {name}" for name in state if name not in own]
        for name, array in arrays.items():
            if array.shape != own[name].shape:
                problems.append(f"shape of {name}: expected {own[name].shape}, got {array.shape}")
            elif not np.can_cast(array.dtype, own[name].dtype, "safe"):
                problems.append(f"dtype of {name}: {array.dtype} would lose digits in {own[name].dtype}")
        if problems:
            raise ValueError(
                f"the state does not fit this {type(self).__name__}:\n  " + "\n  ".join(problems)
            )
        for name, array in arrays.items():
            own[name].assign_(array.astype(own[name].dtype))

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
        """Write the parameters to a safetensors file, with metadata (JSON) and a checksum, atomically."""
        save_state(self.state_dict(), path, metadata)

    def load(self, path: str | os.PathLike[str]) -> Any:
        """Read parameters that `save` wrote. Returns the module."""
        state, _ = load_state(path)
        self.load_state_dict(state)
        return self

    # ---- printing

    def _describe(self) -> str:
        """What stands between the parentheses of the printed form."""
        return ""

    def __repr__(self) -> str:
        head = f"{type(self).__name__}({self._describe()}"
        if not self._children:
            return head + ")"
        lines = [
            f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._children.items()
        ]
        return "\n".join([head, *lines, ")"])


class Sequential(Module):
    """Modules one after another: ``Sequential(Linear(8, 4), Linear(4, 1))``.

    Plain functions of one tensor (``tg.tanh``) may stand between them. A recurrent layer in the middle must
    have ``return_state=False``.
    """

    def __init__(self, *steps: Any) -> None:
        for k, step in enumerate(steps):
            if not callable(step):
                raise TypeError(f"Sequential takes modules and functions, got {type(step).__name__} at {k}")
        self._steps = [step if not isinstance(step, Module) else None for step in steps]
        for k, step in enumerate(steps):
            if isinstance(step, Module):
                step._name = step._name or f"{type(step).__name__.lower()}{k}"
                setattr(self, str(k), step)

    def forward(self, x: Any) -> Any:
        for k, step in enumerate(self):
            if isinstance(x, tuple):
                raise TypeError(
                    f"Sequential: step {k - 1} returned a tuple; "
                    f"a recurrent layer needs return_state=False here"
                )
            x = step(x)
        return x

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, k: int) -> Any:
        k = range(len(self))[k]
        step = self._steps[k]
        return self._children[str(k)] if step is None else step

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))
