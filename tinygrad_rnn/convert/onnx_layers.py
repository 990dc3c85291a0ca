"""What `from_onnx` found, as layers: nodes with their weights, and the layers built of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import nn
from .functions import ATTRIBUTES, DEFAULTS, function_of
from .orders import reorder, without_forget
from .steps import ACTIVATIONS, LAYERS

_USUAL = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}


class Node:
    """A node with its attributes as Python values, and how errors call it."""

    def __init__(self, node: Any, onnx: Any) -> None:
        self.op, self.inputs, self.outputs = node.op_type, list(node.input), list(node.output)
        self.name = node.name or f"{node.op_type} that computes {node.output[0]}"
        self.attributes: dict[str, Any] = {}
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if isinstance(value, onnx.TensorProto):
                value = onnx.numpy_helper.to_array(value)
            if isinstance(value, list) and value and isinstance(value[0], bytes):
                value = [v.decode() for v in value]
            self.attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
        if node.domain not in ("", "ai.onnx"):
            raise self.refused(f"it is of the domain {node.domain}, and not ONNX's own")

    def input(self, k: int) -> str:
        """The name of an input, "" where it is left out."""
        return self.inputs[k] if k < len(self.inputs) else ""

    def axes(self, given: np.ndarray | None, rank: int) -> list[int]:
        """Axes that are an attribute in old files and an input in new ones."""
        axes = self.attributes.get("axes", []) if given is None else given.tolist()
        return [axis % rank for axis in axes]

    def constant(self) -> np.ndarray:
        """The value of a Constant."""
        kind, value = next(iter(self.attributes.items()))
        return np.asarray(value, {"value_float": np.float32, "value_floats": np.float32}.get(kind))

    def refused(self, why: str) -> ValueError:
        return ValueError(f"from_onnx: cannot read the node {self.name} ({self.op}): {why}")


@dataclass(frozen=True)
class RecurrentNode:
    """A recurrent node, and what the nodes behind it make of its outputs.

    ``states`` are our cells' arrays, ``starts`` their learned initial states; ``time`` and ``batch_first``
    tell the axes of the graph's input; ``turned`` that the sequences are reversed before the node,
    ``reverse`` that the node reads from the end.
    """

    node: Node
    kind: str
    states: tuple[Mapping[str, np.ndarray], ...]
    starts: tuple[tuple[np.ndarray, ...], ...]
    options: Mapping[str, Any]
    time: Any
    batch_first: bool
    turned: bool
    reverse: bool
    merge: str = "concat"
    return_sequences: bool = True

    @property
    def directions(self) -> int:
        return len(self.states)

    @property
    def hidden_size(self) -> int:
        return int(self.states[0]["weight_hh"].shape[1])

    @property
    def size(self) -> int:
        """Features of both directions side by side."""
        return self.directions * self.hidden_size

    @classmethod
    def read(
        cls,
        node: Node,
        arrays: Mapping[str, np.ndarray | None],
        starts: Sequence[np.ndarray | None],
        **axes: Any,
    ) -> RecurrentNode:
        """From the node, its constant inputs by their names in ONNX, and its initial states."""
        kind, given = node.op, node.attributes
        W, R, B, P = (arrays[name] for name in "WRBP")
        if W is None or R is None:
            raise node.refused("it has no weights")
        coupled = bool(given.get("input_forget", 0))
        states = []
        for d in range(len(W)):
            state = {"weight_ih": W[d], "weight_hh": R[d]}
            if B is not None:
                state["bias_ih"], state["bias_hh"] = np.split(B[d], 2)
            state = {name: reorder(a, kind, "onnx", "torch") for name, a in state.items()}
            if P is not None:
                state["peephole"] = reorder(P[d], "peephole", "onnx", "torch")
            states.append(without_forget(state) if coupled else state)
        options: dict[str, Any] = {"coupled": True} if coupled else {}
        if P is not None:
            options["peephole"] = "diagonal"
        if kind == "GRU":
            options["reset_after"] = bool(given.get("linear_before_reset", 0))
        if given.get("clip", 0):
            if kind != "LSTM":
                raise node.refused(f"it has clip={given['clip']}, and our {kind} has no such option")
            options["clip"] = float(str(np.float32(given["clip"])))
        direction = given.get("direction", "forward")
        learned = any(start is not None for start in starts)
        first = [np.zeros((len(W), 1, R.shape[2]), W.dtype) if s is None else s for s in starts]
        return cls(
            node,
            kind,
            tuple(states),
            tuple(zip(*[s[:, 0] for s in first[: 1 + (kind == "LSTM")]], strict=True)) if learned else (),
            options | _activations(node, len(W)),
            reverse=direction == "reverse",
            **axes,
        )


def _activations(node: Node, directions: int) -> dict[str, Any]:
    """The options for functions other than the usual ones."""
    usual = _USUAL[node.op]
    names = node.attributes.get("activations") or usual * directions
    left = {key: iter(node.attributes.get(f"activation_{key}", [])) for key in ("alpha", "beta")}
    functions = []
    for name in names:
        function = function_of(name, "onnx")
        wanted = ATTRIBUTES.get(name, {})
        got = {key: next(left[key], DEFAULTS[name, key]) for key in wanted}
        if function is None or not all(
            np.isclose(got[key], wanted[key], rtol=1e-6, atol=0) for key in wanted
        ):
            raise node.refused(f"it has the activation {name} {got or ''}, which has no counterpart here")
        functions.append(function)
    if len(set(map(tuple, np.array_split(np.array(functions), directions)))) > 1:
        raise node.refused("its two directions have different activations")
    options = zip(ACTIVATIONS[node.op], functions, names, usual, strict=False)
    return {option: function for option, function, name, plain in options if name != plain}


# ---- layers


def built(outputs: Sequence[Any]) -> Any:
    """The layers that compute the graph's outputs."""
    y, *states = outputs
    order = [axis if isinstance(axis, int) else len(y.axes) for axis in y.axes]
    if {"D", "H"} & set(y.axes) or y.turned is not None or order != sorted(order):
        raise ValueError(
            "from_onnx: the graph's first output has its axes in another order than its input, or both "
            "directions unmerged, and no layer gives its output so"
        )
    if [s.part for s in states] != ["h", "c"][: len(states)] or any(
        s.levels != states[0].levels for s in states
    ):
        raise ValueError(
            f"from_onnx reads graphs whose outputs are one of a layer, and perhaps the final h (and c) of "
            f"the last recurrent one; this one has {len(states)} others"
        )
    together = states[0].levels if states else ()
    groups = _grouped(y.steps, together)
    recurrent = [group for group in groups if isinstance(group[-1][1], RecurrentNode)]
    if states and (not recurrent or recurrent[-1] is not groups[-1] or _nodes(recurrent[-1]) != together):
        raise ValueError("from_onnx: the states in the graph's outputs are not those of its last layer")
    layers = [_layer(group, return_state=bool(states) and group is groups[-1]) for group in groups]
    model = layers[0] if len(layers) == 1 else nn.Sequential(*layers)
    return model.eval() if isinstance(model, nn.Module) else model


def _nodes(group: Sequence[tuple[str, Any]]) -> tuple[str, ...]:
    return tuple(name for name, step in group if isinstance(step, RecurrentNode))


def _grouped(steps: Sequence[tuple[str, Any]], together: Sequence[str]) -> list[list[tuple[str, Any]]]:
    """The steps of each layer: one, or the stack that `to_onnx` wrote, or whose states are joined."""
    groups: list[list[tuple[str, Any]]] = []
    for name, step in steps:
        if groups and _stacks(groups[-1], name, step, together):
            groups[-1].append((name, step))
        else:
            groups.append([(name, step)])
    return [part for group in groups for part in _without_loose_end(group)]


def _without_loose_end(group: list[tuple[str, Any]]) -> Iterator[list[tuple[str, Any]]]:
    """A dropout that no layer of the stack follows is a step of its own."""
    if len(group) > 1 and not isinstance(group[-1][1], RecurrentNode):
        yield group[:-1]
        yield group[-1:]
    else:
        yield group


def _stacks(group: Sequence[tuple[str, Any]], name: str, step: Any, together: Sequence[str]) -> bool:
    """Whether a step continues the layer before."""
    below = [own for _, own in group if isinstance(own, RecurrentNode)]
    if not below:
        return False
    own = re.fullmatch(r"(.*)(l|dropout)(\d+)", name)
    before = re.fullmatch(r"(.*)l(\d+)", _nodes(group)[-1])
    named = own is not None and before is not None and own[1] == before[1]
    number = int(own[3]) - int(before[2]) if own and before and named else None
    if isinstance(step, nn.Dropout):
        return number == 0 and own is not None and own[2] == "dropout"
    if not isinstance(step, RecurrentNode):
        return False
    last = below[-1]
    same = (step.kind, step.options, step.batch_first, step.merge, step.directions, bool(step.starts))
    fits = (
        same == (last.kind, last.options, last.batch_first, last.merge, last.directions, bool(last.starts))
        and last.return_sequences
        and not (step.turned or step.reverse or last.reverse)
        and set(step.states[0]) == set(last.states[0])
    )
    return fits and (number == 1 or {name, _nodes(group)[-1]} <= set(together))


def _layer(group: Sequence[tuple[str, Any]], return_state: bool) -> Any:
    step = group[-1][1]
    if isinstance(step, RecurrentNode):
        return _recurrent([own for _, own in group], return_state)
    if not isinstance(step, tuple):
        return step
    kind, arrays = step
    eps = {"eps": arrays["eps"]} if "eps" in arrays else {}
    weight = arrays["weight"]
    if kind == "Linear":
        layer: Any = nn.Linear(weight.shape[1], weight.shape[0], "bias" in arrays, dtype=weight.dtype)
    elif kind == "Embedding":
        layer = nn.Embedding(*weight.shape, dtype=weight.dtype)
    else:
        layer = nn.LayerNorm(weight.shape, dtype=weight.dtype, **eps)
    layer.load_state_dict({name: a for name, a in arrays.items() if name != "eps"})
    return layer


def _recurrent(stack: Sequence[Any], return_state: bool) -> Any:
    """RNN, LSTM or GRU from the nodes of its layers and the dropout between them."""
    nodes = [step for step in stack if isinstance(step, RecurrentNode)]
    rates = {step.p for step in stack if isinstance(step, nn.Dropout)}
    first, last = nodes[0], nodes[-1]
    if last.reverse and (last.return_sequences or last.turned):
        raise last.node.refused(
            "it reads backwards alone and gives all outputs at their own steps; go_backwards gives them in "
            "the order of reading. Only its final output can be read"
        )
    sizes = [node.hidden_size for node in nodes]
    weight = first.states[0]["weight_ih"]
    layer = LAYERS[first.kind](
        weight.shape[1],
        sizes[0] if len(set(sizes)) == 1 else sizes,
        len(nodes),
        bias="bias_ih" in first.states[0],
        bidirectional=first.directions == 2,
        merge=first.merge,
        dropout=rates.pop() if rates else 0.0,
        return_sequences=last.return_sequences,
        return_state=return_state,
        go_backwards=first.turned or first.reverse,
        learn_initial_state=bool(first.starts),
        batch_first=first.batch_first,
        dtype=weight.dtype,
        **first.options,
    )
    state = {}
    for k, node in enumerate(nodes):
        for suffix, arrays, starts in itertools.zip_longest(("", "_reverse"), node.states, node.starts):
            for name, array in (arrays or {}).items():
                state[f"{name}_l{k}{suffix}"] = array
            for part, start in zip("hc", starts or (), strict=False):
                state[f"{part}0_l{k}{suffix}"] = start
    layer.load_state_dict(state)
    return layer
