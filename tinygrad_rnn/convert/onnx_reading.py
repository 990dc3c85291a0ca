"""An ONNX file as layers: one chain of nodes, walked with a name for each axis of every value.

With names for axes it does not matter how a file turns, squeezes and joins what a recurrent node gives: where
directions stand side by side, they were concatenated; where time is gone, only final outputs were asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import nn
from .functions import ATTRIBUTES, DEFAULTS, function_of
from .onnx_aside import Aside
from .onnx_layers import Node, RecurrentNode, built
from .steps import need

_MERGES = {"ReduceSum": "sum", "ReduceProd": "mul", "ReduceMean": "ave"}


def from_onnx(source: Any) -> Any:
    """Read layers from an ONNX model.

    Parameters
    ----------
    source : path or onnx.ModelProto
        What `to_onnx` wrote, or another chain of nodes: LSTM, GRU and RNN in any direction and layout, with
        what PyTorch's exporter puts around them; Gemm, or MatMul and Add; Gather in a table;
        LayerNormalization; Dropout; activations. Initial states must be constant.

    Returns
    -------
    Module
        The layer, or a Sequential of several, that computes the same, in evaluation mode; weights are bit for
        bit those in the file. ``batch_first`` follows from which axis of the input is time. A second and
        third output that are final states of the last layer make it return its state, in this library's
        layout. A second input, of lengths, becomes the argument ``lengths=``.

    Raises
    ------
    ValueError
        Naming the first node that has no counterpart, and why.
    """
    onnx = need("onnx", "from_onnx")
    proto = source if isinstance(source, onnx.ModelProto) else onnx.load(os.fspath(source))
    walk = _Walk(onnx, proto.graph)
    for node in proto.graph.node:
        walk.read(node)
    outputs = [walk.value(output.name, "the graph's output") for output in proto.graph.output]
    return built(outputs)


@dataclass(frozen=True)
class Value:
    """What a name stands for: the steps that compute it, and what its axes are.

    Axes are called 0, 1, ... as they stand in the graph's input, "D" and "H" for directions and hidden units,
    and "F" for features.

    Attributes
    ----------
    part : {"y", "h", "c"}
        Which output of the last step, if that is recurrent.
    levels : tuple of str
        Of states: the nodes whose states are stacked.
    turned : axis, optional
        Along which the values stand in reverse order.
    picked : int, optional
        Of a state: the only direction that is left.
    """

    axes: tuple[Any, ...]
    steps: tuple[Any, ...] = ()
    part: str = "y"
    levels: tuple[str, ...] = ()
    turned: Any = None
    picked: int | None = None


class _Walk:
    """Values and constants so far."""

    def __init__(self, onnx: Any, graph: Any) -> None:
        self.onnx = onnx
        self.constants = {c.name: onnx.numpy_helper.to_array(c) for c in graph.initializer}
        self.aside = Aside(self.constants)
        self.values: dict[str, Value] = {}
        self.sizes: dict[Any, int] = {}
        self.lengths: set[str] = set()
        inputs = [i for i in graph.input if i.name not in self.constants]
        for given in inputs[1:]:
            if (
                self.lengths
                or given.type.tensor_type.elem_type not in (6, 7)
                or _rank(given) not in (1, None)
            ):
                raise ValueError(
                    f"from_onnx reads graphs of one input, and perhaps another one of lengths; this one has "
                    f"{', '.join(i.name for i in inputs)}"
                )
            self.lengths.add(given.name)
        rank = _rank(inputs[0])
        if not rank:
            raise ValueError(f"from_onnx: the graph's input {inputs[0].name} must have a declared shape")
        self.features = ("F", rank - 1)
        self.values[inputs[0].name] = Value(tuple(range(rank)))
        for axis, size in enumerate(inputs[0].type.tensor_type.shape.dim):
            if size.dim_value:
                self.sizes[axis] = size.dim_value

    def value(self, name: str, reader: str) -> Value:
        if name not in self.values:
            raise ValueError(f"from_onnx: {reader} reads {name}, which is not computed by a chain of layers")
        return self.values[name]

    def read(self, node: Any) -> None:
        """Follow one node."""
        given = Node(node, self.onnx)
        known = [name for name in given.inputs if name in self.values]
        if given.op == "Shape" and known:
            self.aside.shape(given, self.values[known[0]].axes)
        elif given.op == "Cast" and given.inputs[0] in self.lengths:
            self.lengths.add(given.outputs[0])
        elif not known:
            self.aside.read(given)
        elif given.op in ("LSTM", "GRU", "RNN"):
            self._recurrent(given)
        elif given.op in _HANDLERS:
            self.values[given.outputs[0]] = _HANDLERS[given.op](self, given, self.values[known[0]])
        else:
            self.values[given.outputs[0]] = self._function(given, self.values[known[0]])

    def constant(self, node: Node, k: int) -> np.ndarray | None:
        """An input that must be constant; None where there is none."""
        name = node.inputs[k] if k < len(node.inputs) else ""
        if not name:
            return None
        if name not in self.constants:
            raise node.refused(f"its input {name} is computed, and must be a constant")
        return self.constants[name]

    def _function(self, node: Node, x: Value) -> Value:
        function = function_of(node.op, "onnx")
        wanted = ATTRIBUTES.get(node.op, {})
        if function is None:
            raise node.refused(
                "it has no counterpart here. Read are LSTM, GRU, RNN, MatMul, Gemm, Add, Gather, "
                "LayerNormalization, Dropout, activations, and nodes that turn, squeeze or join their results"
            )
        for name, value in wanted.items():
            got = node.attributes.get(name, DEFAULTS[node.op, name])
            last = name == "axis" and got == len(x.axes) - 1
            if not last and not np.isclose(got, value, rtol=1e-6, atol=0):
                raise node.refused(f"it has {name}={got}, and ours has {value}")
        return self.then(node, x, function)

    def then(self, node: Node, x: Value, step: Any, axes: tuple[Any, ...] | None = None) -> Value:
        """The value after one more step."""
        if {"D", "H"} & set(x.axes) or x.turned is not None:
            raise node.refused(
                "it reads what a recurrent node gives before its directions are merged, or reversed values"
            )
        if x.axes[-1] not in self.features:
            raise node.refused("the last axis of what it reads is not that of features")
        return Value(x.axes if axes is None else axes, (*x.steps, (node.name, step)))

    def _recurrent(self, node: Node) -> None:
        x = self.value(node.inputs[0], node.name)
        if len(x.axes) != 3 or "D" in x.axes or node.inputs[0] not in self.values:
            raise node.refused(
                f"it reads a value of {len(x.axes)} axes, where (time, batch, features) is expected"
            )
        batch_first = node.attributes.get("layout", 0) == 1
        T, B = x.axes[1::-1] if batch_first else x.axes[:2]
        if node.input(4) and node.input(4) not in self.lengths:
            raise node.refused(
                f"its lengths {node.input(4)} are computed; they must be an input of the graph"
            )
        if {T, B} != {0, 1} or x.axes[2] not in self.features or x.turned not in (None, T):
            raise node.refused(
                "it reads a value whose axes are not time, batch and features, or are reversed"
            )
        arrays = {name: self.constant(node, k) for name, k in (("W", 1), ("R", 2), ("B", 3), ("P", 7))}
        starts = [self._start(node, k) for k in (5, 6)]
        turned = x.turned is not None
        step = RecurrentNode.read(node, arrays, starts, time=T, batch_first=B == 0, turned=turned)
        steps = (*x.steps, (node.name, step))
        axes = {
            "y": (B, T, "D", "H") if batch_first else (T, "D", B, "H"),
            "h": (B, "D", "H") if batch_first else ("D", B, "H"),
        }
        axes["c"] = axes["h"]
        for name, part in zip(node.outputs, "yhc", strict=False):
            self.values[name] = Value(axes[part], steps, part, () if part == "y" else (node.name,))

    def _start(self, node: Node, k: int) -> np.ndarray | None:
        """An initial state, (D, 1, H); None for zeros."""
        name = node.input(k)
        array = self.aside.filled.get(name, self.constants.get(name))
        if name and array is None:
            raise node.refused(f"its initial state {name} is computed; it must be constant")
        if array is None or not array.any():
            return None
        if array.ndim != 3 or (array != array[:, :1]).any():
            raise node.refused(f"its initial state {name} differs from sequence to sequence")
        return array[:, :1]


def _rank(value: Any) -> int | None:
    kind = value.type.tensor_type
    return len(kind.shape.dim) if kind.HasField("shape") else None


# ---- nodes that turn and join


def _transpose(walk: _Walk, node: Node, x: Value) -> Value:
    perm = node.attributes.get("perm", list(range(len(x.axes)))[::-1])
    return replace(x, axes=tuple(x.axes[k] for k in perm))


def _merged(node: Node, x: Value, merge: str | None, axes: tuple[Any, ...]) -> Value:
    """What a recurrent node gives, after both directions became one (or were one from the beginning)."""
    name, step = x.steps[-1]
    if x.part == "c":
        raise node.refused("it reads a cell state, which no layer gives as its output")
    if len(x.levels) > 1:
        raise node.refused("it reads the states of several nodes")
    step = replace(step, merge=merge or step.merge, return_sequences=x.part == "y")
    return Value(axes, (*x.steps[:-1], (name, step)))


def _reshape(walk: _Walk, node: Node, x: Value) -> Value:
    shape = walk.aside.target(node.input(1))
    if x.axes[-2:] == ("D", "H") and shape is not None and len(shape) == len(x.axes) - 1:
        *leading, last = shape
        kept = all(
            size in (0, -1, (axis,), walk.sizes.get(axis))
            for size, axis in zip(leading, x.axes, strict=False)
        )
        if kept and last in (-1, x.steps[-1][1].size, ("D", "H")) and shape.count(-1) < 2:
            return _merged(node, x, "concat", (*x.axes[:-2], "F"))
    raise node.refused(f"its shape {shape} does other than to put both directions side by side")


def _squeeze(walk: _Walk, node: Node, x: Value) -> Value:
    axes = node.axes(walk.constant(node, 1), len(x.axes))
    if [x.axes[k] for k in axes] != ["D"] or x.steps[-1][1].directions != 1:
        raise node.refused("it removes another axis than that of a single direction")
    return _merged(node, x, None, _undirected(x))


def _reduce(walk: _Walk, node: Node, x: Value) -> Value:
    axes = node.axes(walk.constant(node, 1), len(x.axes))
    if [x.axes[k] for k in axes] != ["D"] or node.attributes.get("keepdims", 1):
        raise node.refused("it reduces another axis than that of the directions")
    return _merged(node, x, _MERGES[node.op], _undirected(x))


def _undirected(x: Value) -> tuple[Any, ...]:
    return tuple("F" if a == "H" else a for a in x.axes if a != "D")


def _slice(walk: _Walk, node: Node, x: Value) -> Value:
    starts, ends, axes, by = (walk.constant(node, k) for k in (1, 2, 3, 4))
    if (
        [a is not None and a.tolist() for a in (starts, by)] != [[-1], [-1]]
        or ends is None
        or ends[0] > -(2**31)
    ):
        raise node.refused("it does other than to reverse a whole axis")
    axis = x.axes[0 if axes is None else int(axes[0])]
    if "D" in x.axes or x.turned is not None:
        raise node.refused("it reverses what a recurrent node gives")
    return replace(x, turned=axis)


def _reverse_sequence(walk: _Walk, node: Node, x: Value) -> Value:
    if node.input(1) not in walk.lengths or "D" in x.axes or x.turned is not None:
        raise node.refused("it does other than to reverse the sequences that the input has")
    return replace(x, turned=x.axes[node.attributes.get("time_axis", 0)])


def _concat(walk: _Walk, node: Node, x: Value) -> Value:
    parts = [walk.value(name, node.name) for name in node.inputs]
    axis = x.axes[node.attributes["axis"]]
    if any(p.part == "y" or p.part != x.part or p.axes != x.axes for p in parts):
        raise node.refused("it joins other than final states of one kind")
    last = max(parts, key=lambda p: len(p.steps))
    if axis == "D":
        return replace(last, levels=tuple(name for p in parts for name in p.levels))
    if axis == "H" and [(p.picked, p.levels) for p in parts] == [(0, last.levels), (1, last.levels)]:
        return _merged(node, last, "concat", tuple("F" if a == "H" else a for a in x.axes))
    raise node.refused("it joins other than the states of layers and directions, in their order")


# ---- layers without time


def _gather(walk: _Walk, node: Node, x: Value) -> Value:
    axis = node.attributes.get("axis", 0)
    if node.inputs[0] in walk.constants:
        table = walk.constants[node.inputs[0]]
        if table.ndim != 2 or axis or x.steps or x.turned is not None:
            raise node.refused("it is no look-up of the input's ids in the rows of a matrix")
        return Value((*x.axes, "F"), (*x.steps, (node.name, ("Embedding", {"weight": table}))))
    index = walk.constant(node, 1)
    if not x.steps or not isinstance(x.steps[-1][1], RecurrentNode) or index is None or index.size != 1:
        raise node.refused("it picks an entry of something else than a recurrent node's output")
    if index.ndim:
        raise node.refused("it keeps an axis of length 1")
    axes = tuple(a for k, a in enumerate(x.axes) if k != axis % len(x.axes))
    return _picked(walk, node, x, x.axes[axis], int(index), axes)


def _picked(walk: _Walk, node: Node, x: Value, axis: Any, k: int, axes: tuple[Any, ...]) -> Value:
    """The last step of all, or the final state of one layer and direction."""
    name, step = x.steps[-1]
    if axis == "D" and x.part == "h":
        count = step.directions
        states = count * len(x.levels)
        if k % states < states - count:
            raise node.refused("it picks a final state of another layer than the last")
        if count == 1:
            return _merged(
                node, replace(x, levels=(name,)), None, tuple("F" if a == "H" else a for a in axes)
            )
        return replace(x, axes=axes, levels=(name,), picked=k % count)
    if axis != step.time or x.part != "y" or k != -1:
        raise node.refused("it picks other than the last step of all, or a final h")
    if step.directions == 2 or step.reverse or step.turned or walk.lengths:
        raise node.refused(
            "it picks the last step of a layer that reads backwards too, or is given lengths; only of one "
            "that reads whole sequences forwards is that the final output"
        )
    return Value(axes, (*x.steps[:-1], (name, replace(step, return_sequences=False))))


def _matmul(walk: _Walk, node: Node, x: Value) -> Value:
    weight = walk.constant(node, 1)
    if node.inputs[0] not in walk.values or weight is None or weight.ndim != 2:
        raise node.refused("it is no product of values with a matrix")
    return walk.then(node, x, ("Linear", {"weight": weight.T}), (*x.axes[:-1], "F"))


def _add(walk: _Walk, node: Node, x: Value) -> Value:
    bias = walk.constant(node, 1 if node.inputs[0] in walk.values else 0)
    name, step = x.steps[-1] if x.steps else ("", None)
    if not isinstance(step, tuple) or step[0] != "Linear" or "bias" in step[1]:
        raise node.refused("it adds to something else than the product of a Linear layer")
    if bias is None or bias.shape != step[1]["weight"].shape[:1]:
        raise node.refused("what it adds is no vector of one number per feature")
    return replace(x, steps=(*x.steps[:-1], (name, ("Linear", {**step[1], "bias": bias}))))


def _gemm(walk: _Walk, node: Node, x: Value) -> Value:
    a = node.attributes
    weight, bias = walk.constant(node, 1), walk.constant(node, 2)
    if weight is None or a.get("transA", 0) or a.get("alpha", 1.0) != 1 or a.get("beta", 1.0) != 1:
        raise node.refused("it transposes or scales its input")
    arrays = {"weight": weight if a.get("transB", 0) else weight.T}
    if bias is not None:
        arrays["bias"] = np.broadcast_to(bias.reshape(-1), arrays["weight"].shape[:1])
    return walk.then(node, x, ("Linear", arrays), (*x.axes[:-1], "F"))


def _layer_norm(walk: _Walk, node: Node, x: Value) -> Value:
    weight, bias = walk.constant(node, 1), walk.constant(node, 2)
    axis = node.attributes.get("axis", -1)
    if weight is None or weight.ndim != (-axis if axis < 0 else len(x.axes) - axis):
        raise node.refused("its scale has another shape than the axes that it normalises")
    if x.axes[-weight.ndim :] != tuple(sorted(x.axes, key=str))[-weight.ndim :]:
        raise node.refused("it normalises axes that stand in another order than in the graph's input")
    # An attribute has single precision: its shortest decimal form is what was meant.
    eps = float(str(np.float32(node.attributes.get("epsilon", 1e-5))))
    arrays = {"weight": weight, "bias": np.zeros_like(weight) if bias is None else bias}
    return walk.then(node, x, ("LayerNorm", {**arrays, "eps": eps}))


def _dropout(walk: _Walk, node: Node, x: Value) -> Value:
    ratio = walk.constant(node, 1)
    p = node.attributes.get("ratio", 0.5) if ratio is None else ratio
    return walk.then(node, x, nn.Dropout(float(str(np.float32(p)))))


def _same(walk: _Walk, node: Node, x: Value) -> Value:
    return x


def _cast(walk: _Walk, node: Node, x: Value) -> Value:
    if x.steps or node.attributes["to"] not in (6, 7):
        raise node.refused("it changes the dtype of values")
    return x


_HANDLERS: dict[str, Callable[[_Walk, Node, Value], Value]] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "ReduceSum": _reduce,
    "ReduceProd": _reduce,
    "ReduceMean": _reduce,
    "Slice": _slice,
    "ReverseSequence": _reverse_sequence,
    "Concat": _concat,
    "Gather": _gather,
    "MatMul": _matmul,
    "Add": _add,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "Dropout": _dropout,
    "Identity": _same,
    "Cast": _cast,
}
