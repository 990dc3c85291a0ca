"""An ONNX file as layers: one chain of nodes, walked with a name for each axis of every value.

With names for axes it does not matter how a file turns, squeezes and joins what a recurrent node gives: where
directions stand side by side, they were concatenated; where time is gone, only final outputs were asked for.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .functions import ATTRIBUTES, DEFAULTS, function_of
from .onnx_aside import Aside
from .onnx_layers import Node, RecurrentNode, built
from .onnx_nodes import HANDLERS, Value
from .steps import need


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
        For an invalid model; else naming the first node that has no counterpart, and why.
    """
    onnx = need("onnx", "from_onnx")
    proto = source if isinstance(source, onnx.ModelProto) else _loaded(onnx, source)
    try:
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise ValueError(f"from_onnx: this is no valid ONNX model: {error}") from error
    walk = Walk(onnx, proto)
    for node in proto.graph.node:
        walk.read(node)
    outputs = [walk.value(output.name, "the graph's output") for output in proto.graph.output]
    return built(outputs)


def _loaded(onnx: Any, path: Any) -> Any:
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(os.fspath(path))
    except DecodeError as error:
        raise ValueError(f"from_onnx: {path} is no ONNX model: {error}") from error
    if not proto.opset_import:
        raise ValueError(f"from_onnx: {path} is no ONNX model: it is empty, or names no operator set")
    return proto


class Walk:
    """Values and constants so far."""

    def __init__(self, onnx: Any, proto: Any) -> None:
        self.onnx, graph = onnx, proto.graph
        self.opset = max(own.version for own in proto.opset_import if own.domain in ("", "ai.onnx"))
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
        elif given.op in HANDLERS:
            self.values[given.outputs[0]] = HANDLERS[given.op](self, given, self.values[known[0]])
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
            # Before opset 13 the default axis was 1.
            plain = 1 if name == "axis" and self.opset < 13 else DEFAULTS[node.op, name]
            got = node.attributes.get(name, plain)
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
        if array.ndim == 3 and node.attributes.get("layout", 0):
            array = array.swapaxes(0, 1)
        if array.ndim != 3 or (array != array[:, :1]).any():
            raise node.refused(f"its initial state {name} differs from sequence to sequence")
        return array[:, :1]


def _rank(value: Any) -> int | None:
    kind = value.type.tensor_type
    return len(kind.shape.dim) if kind.HasField("shape") else None
