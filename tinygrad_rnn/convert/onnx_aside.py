"""What the nodes of a graph compute beside the layers: constants, sizes for a reshape, initial states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .onnx_layers import Node

Size = int | tuple[Any, ...]
"""A number, or the names of the axes whose lengths are multiplied."""


class Aside:
    """What is known of names that are not values of the chain of layers.

    Attributes
    ----------
    constants : dict of str to array
    filled : dict of str to array
        Constants that are repeated along axes to lengths that the input decides.
    sizes : dict of str to list of Size
        What was computed of the shapes of values.
    """

    def __init__(self, constants: dict[str, np.ndarray]) -> None:
        self.constants = constants
        self.filled: dict[str, np.ndarray] = {}
        self.sizes: dict[str, list[Size]] = {}

    def shape(self, node: Node, axes: Sequence[Any]) -> None:
        """Follow a Shape of a value with these axes."""
        names: list[Size] = [(axis,) for axis in axes]
        span = slice(node.attributes.get("start", 0), node.attributes.get("end", len(names)))
        self.sizes[node.outputs[0]] = names[span]

    def read(self, node: Node) -> None:
        """Follow a node that reads no value of the chain; what it gives may stay unknown."""
        out, first = node.outputs[0], node.input(0)
        if node.op == "Constant":
            self.constants[out] = node.constant()
        elif node.op == "ConstantOfShape":
            self.filled[out] = node.attributes.get("value", np.zeros(1, np.float32))
        elif node.op == "Expand" and (first in self.constants or first in self.filled):
            self.filled[out] = self.filled[first] if first in self.filled else self.constants[first]
        elif first in self.filled and (self.filled[first] == self.filled[first].flat[0]).all():
            # One number everywhere: whatever is cut out of it and however it is turned, it stays that.
            self.filled[out] = self.filled[first].reshape(-1)[:1]
        elif node.op == "Identity" and first in self.constants:
            self.constants[out] = self.constants[first]
        else:
            self._sizes(node)

    def target(self, name: str) -> list[Size] | None:
        """What a Reshape is to make of its input, as far as it is known."""
        if name in self.constants:
            return [int(n) for n in self.constants[name].reshape(-1)]
        return self.sizes.get(name)

    def _sizes(self, node: Node) -> None:
        """Follow what is computed of shapes."""
        parts = [self.target(name) for name in node.inputs]
        known = [part for part in parts if part is not None]
        if not known or len(known) < len(parts):
            return
        first, *others = known
        numbers = [part[0] for part in others if part]
        found: list[Size] | None = None
        if node.op == "Concat":
            found = [size for part in known for size in part]
        elif node.op == "Mul":
            found = [_product(first[0], numbers[0])]
        elif node.op == "Gather" and isinstance(numbers[0], int):
            found = [first[numbers[0]]]
        elif node.op == "Slice" and len(numbers) == 2:
            start, end = numbers
            found = first[start:end] if isinstance(start, int) and isinstance(end, int) else None
        elif node.op in ("Unsqueeze", "Squeeze", "Reshape", "Cast"):
            found = first
        if found is not None:
            self.sizes[node.outputs[0]] = found


def _product(a: Size, b: Size) -> Size:
    """A size as the product of two."""
    axes = [size if isinstance(size, tuple) else (size,) for size in (a, b)]
    return axes[0] + axes[1]
