"""What nodes other than recurrent ones do to a value: turn and join its axes, or apply a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn
from .onnx_layers import Node, RecurrentNode

if TYPE_CHECKING:
    from .onnx_reading import Walk

_MERGES = {"ReduceSum": "sum", "ReduceProd": "mul", "ReduceMean": "ave"}


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


# ---- nodes that turn and join


def _transpose(walk: Walk, node: Node, x: Value) -> Value:
    perm = node.attributes.get("perm", list(range(len(x.axes)))[::-1])
    if sorted(perm) != list(range(len(x.axes))):
        raise node.refused(f"its perm {perm} does not permute the {len(x.axes)} axes of what it reads")
    return replace(x, axes=tuple(x.axes[k] for k in perm))


def _merged(node: Node, x: Value, merge: str | None, axes: tuple[Any, ...]) -> Value:
    """What a recurrent node gives, after both directions became one (or were one from the beginning)."""
    name, step = x.steps[-1]
    if x.part == "c":
        raise node.refused("it reads a cell state, which no layer gives as its output")
    if len(x.levels) > 1:
        raise node.refused("it reads the states of several nodes")
    step = replace(step, merge=merge or step.merge, return_sequences=x.part == "y" and step.return_sequences)
    return Value(axes, (*x.steps[:-1], (name, step)))


def _reshape(walk: Walk, node: Node, x: Value) -> Value:
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


def _squeeze(walk: Walk, node: Node, x: Value) -> Value:
    axes = node.axes(walk.constant(node, 1), len(x.axes))
    if [x.axes[k] for k in axes] != ["D"] or x.steps[-1][1].directions != 1:
        raise node.refused("it removes another axis than that of a single direction")
    return _merged(node, x, None, _undirected(x))


def _reduce(walk: Walk, node: Node, x: Value) -> Value:
    axes = node.axes(walk.constant(node, 1), len(x.axes))
    if [x.axes[k] for k in axes] != ["D"] or node.attributes.get("keepdims", 1):
        raise node.refused("it reduces another axis than that of the directions")
    return _merged(node, x, _MERGES[node.op], _undirected(x))


def _undirected(x: Value) -> tuple[Any, ...]:
    return tuple("F" if a == "H" else a for a in x.axes if a != "D")


def _slice(walk: Walk, node: Node, x: Value) -> Value:
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


def _reverse_sequence(walk: Walk, node: Node, x: Value) -> Value:
    if node.input(1) not in walk.lengths or "D" in x.axes or x.turned is not None:
        raise node.refused("it does other than to reverse the sequences that the input has")
    return replace(x, turned=x.axes[node.attributes.get("time_axis", 0)])


def _concat(walk: Walk, node: Node, x: Value) -> Value:
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


def _gather(walk: Walk, node: Node, x: Value) -> Value:
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


def _picked(walk: Walk, node: Node, x: Value, axis: Any, k: int, axes: tuple[Any, ...]) -> Value:
    """The last step of all, or the final state of one layer and direction."""
    name, step = x.steps[-1]
    if axis == "D" and x.part == "h":
        count = step.directions
        from_the_end = k if k < 0 else k - count * len(x.levels)
        if from_the_end not in range(-count, 0) or x.levels[-1] != name:
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


def _matmul(walk: Walk, node: Node, x: Value) -> Value:
    weight = walk.constant(node, 1) if node.inputs[0] in walk.values else None
    if weight is None or weight.ndim != 2:
        raise node.refused("it is no product of values with a matrix")
    return walk.then(node, x, ("Linear", {"weight": weight.T}), (*x.axes[:-1], "F"))


def _add(walk: Walk, node: Node, x: Value) -> Value:
    bias = walk.constant(node, 1 if node.inputs[0] in walk.values else 0)
    name, step = x.steps[-1] if x.steps else ("", None)
    if not isinstance(step, tuple) or step[0] != "Linear" or "bias" in step[1]:
        raise node.refused("it adds to something else than the product of a Linear layer")
    if bias is None or bias.shape != step[1]["weight"].shape[:1]:
        raise node.refused("what it adds is no vector of one number per feature")
    return replace(x, steps=(*x.steps[:-1], (name, ("Linear", {**step[1], "bias": bias}))))


def _gemm(walk: Walk, node: Node, x: Value) -> Value:
    a = node.attributes
    weight, bias = walk.constant(node, 1), walk.constant(node, 2)
    if weight is None or a.get("transA", 0) or a.get("alpha", 1.0) != 1 or a.get("beta", 1.0) != 1:
        raise node.refused("it transposes or scales its input")
    arrays = {"weight": weight if a.get("transB", 0) else weight.T}
    if bias is not None:
        if bias.size not in (1, len(arrays["weight"])):
            raise node.refused("what it adds is no vector of one number per feature")
        arrays["bias"] = np.broadcast_to(bias.reshape(-1), arrays["weight"].shape[:1])
    return walk.then(node, x, ("Linear", arrays), (*x.axes[:-1], "F"))


def _layer_norm(walk: Walk, node: Node, x: Value) -> Value:
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


def _dropout(walk: Walk, node: Node, x: Value) -> Value:
    ratio = walk.constant(node, 1)
    p = node.attributes.get("ratio", 0.5) if ratio is None else ratio
    return walk.then(node, x, nn.Dropout(float(str(np.float32(p)))))


def _same(walk: Walk, node: Node, x: Value) -> Value:
    return x


def _cast(walk: Walk, node: Node, x: Value) -> Value:
    if x.steps or node.attributes["to"] not in (6, 7):
        raise node.refused("it changes the dtype of values")
    return x


HANDLERS: dict[str, Callable[[Walk, Node, Value], Value]] = {
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
