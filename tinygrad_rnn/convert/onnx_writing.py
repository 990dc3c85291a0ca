"""A model as an ONNX file: one node per layer in time, its gates in ONNX's order.

The operators and their layouts stand at https://onnx.ai/onnx/operators/ (RNN, GRU, LSTM). Sequences are time
first there (layout 0, the only one that ONNX Runtime runs), so that transpositions stand around the nodes.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .. import nn
from ..nn.files import write_atomically
from .functions import ATTRIBUTES, listed, name_of
from .orders import reorder, with_forget
from .steps import ACTIVATIONS, Backwards, Recurrence, called, need, option, refuse_step, retaining, steps

_OPSET = 18
_TAKEN = {
    "peephole": ("diagonal",),
    **dict.fromkeys(
        (
            *ACTIVATIONS["RNN"],
            *ACTIVATIONS["LSTM"],
            "clip",
            "coupled",
            "reset_after",
            "update_gate",
            "learn_initial_state",
        )
    ),
}
_MERGES = {"sum": "ReduceSum", "mul": "ReduceProd", "ave": "ReduceMean"}


def to_onnx(model: Any, path: str | os.PathLike[str] | None = None, *, lengths: bool = False) -> Any:
    """Write a model as ONNX, for evaluation.

    Parameters
    ----------
    model : Module
        RNN, LSTM, GRU, Bidirectional, Linear, Embedding, LayerNorm, Dropout (which does nothing), or a
        Sequential of them and of functions that ONNX has (tanh, relu, sigmoid, softmax, ...).
    path : path, optional
        The file, written atomically.
    lengths : bool
        Give the graph a second input, ``lengths`` (B,) int32, for all recurrent layers.

    Returns
    -------
    onnx.ModelProto
        Inputs ``x``, as the model's own, with batch and time of any size (ids are int64), and ``lengths``.
        Outputs ``y``, and ``h`` (and ``c``) where the model returns a state, all its layers and directions
        side by side; in the model's own layout.

    Raises
    ------
    ValueError
        For options that ONNX's operators do not have.
    TypeError
        For layers and functions that ONNX has no operator for.

    Notes
    -----
    The values' dtype is the parameters'. ONNX Runtime runs recurrent layers in float32 alone.
    """
    onnx = need("onnx", "to_onnx")
    chain = list(steps(model))
    graph = _Graph(onnx, lengths)
    x = "x"
    finals: list[list[str]] = []
    for name, step in chain:
        if isinstance(step, Recurrence):
            x, final = _recurrence(graph, name, step, x)
            if step.return_state:
                finals.append(final)
        elif isinstance(step, Backwards):
            x = _backwards(graph, name, step, x)
        else:
            x = _plain(graph, name, step, x)
    outputs = [x]
    stacked = [step for _, step in chain if isinstance(step, Recurrence) and step.return_state]
    if len({(step.kind, step.cells[0].hidden_size) for step in stacked}) > 1:
        raise ValueError(
            "to_onnx: states of layers of different kinds or sizes cannot stand side by side in one output; "
            "make the layers with return_state=False"
        )
    for name, part in zip("hc", zip(*finals, strict=True), strict=False):
        outputs.append(_stacked(graph, name, part, chain[-1][1]))
    proto = _finished(graph, chain, model, outputs)
    if path is not None:
        write_atomically(path, proto.SerializeToString())
    return proto


class _Graph:
    """Nodes and constants so far."""

    def __init__(self, onnx: Any, lengths: bool) -> None:
        self.onnx = onnx
        self.lengths = "lengths" if lengths else ""
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node of one output, called as the output is."""
        self.nodes.append(self.onnx.helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, array: Any) -> str:
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, np.int64))


# ---- one step each


def _plain(graph: _Graph, name: str, step: Any, x: str) -> str:
    """A step without time; returns the name of its output."""
    name = name or type(step).__name__.lower()
    if isinstance(step, nn.Linear):
        x = graph.node("MatMul", [x, graph.constant(f"{name}.weight", step.weight.numpy().T)], name)
        if step.bias is None:
            return x
        return graph.node("Add", [x, graph.constant(f"{name}.bias", step.bias.numpy())], f"{name}.out")
    if isinstance(step, nn.Embedding):
        return graph.node("Gather", [graph.constant(f"{name}.weight", step.weight.numpy()), x], name)
    if isinstance(step, nn.LayerNorm):
        parameters = [graph.constant(f"{name}.{p}", getattr(step, p).numpy()) for p in ("weight", "bias")]
        return graph.node(
            "LayerNormalization", [x, *parameters], name, axis=-len(step.normalized_shape), epsilon=step.eps
        )
    if isinstance(step, nn.Dropout):
        ratio = graph.constant(f"{name}.ratio", np.array(step.p, np.float32))
        return graph.node("Dropout", [x, ratio], name)
    op = name_of(step, "onnx")
    if op is None:
        raise TypeError(
            f"to_onnx: ONNX has no operator that is known for {called(name, step)}; known are "
            f"{listed('onnx')}"
        )
    return graph.node(op, [x], name, **ATTRIBUTES.get(op, {}))


def _backwards(graph: _Graph, name: str, step: Backwards, x: str) -> str:
    """Each sequence from its end: its own, if the graph is given lengths."""
    time, batch = (1, 0) if step.batch_first else (0, 1)
    if graph.lengths:
        lengths = graph.node("Cast", [graph.lengths], f"{name}.lengths", to=graph.onnx.TensorProto.INT64)
        return graph.node("ReverseSequence", [x, lengths], name, time_axis=time, batch_axis=batch)
    limits = zip(("starts", "ends", "axes", "steps"), (-1, np.iinfo(np.int64).min, time, -1), strict=True)
    return graph.node("Slice", [x, *(graph.integers(f"{name}.{own}", n) for own, n in limits)], name)


def _recurrence(graph: _Graph, name: str, step: Recurrence, x: str) -> tuple[str, list[str]]:
    """A recurrent node and what stands around it; returns its output and its final states, (D, B, H) each."""
    where = called(name, step)
    if step.merge not in ("concat", *_MERGES):
        raise ValueError(f"to_onnx: {where} has merge={step.merge!r}; in a graph a layer gives one output")
    if step.return_state == "all":
        raise ValueError(f"to_onnx: {where} has return_state='all', and ONNX gives final states alone")
    if step.batch_first:
        x = graph.node("Transpose", [x], f"{name}.time_first", perm=[1, 0, 2])
    refuse_step(where, step, _TAKEN, "ONNX")
    attributes = _attributes(where, step)
    W, R, B, P = _weights(where, step)
    inputs = [x, graph.constant(f"{name}.W", W), graph.constant(f"{name}.R", R)]
    inputs.append("" if B is None else graph.constant(f"{name}.B", B))
    inputs += [graph.lengths, *_starts(graph, name, step, x)]
    if P is not None:
        inputs += [*[""] * (7 - len(inputs)), graph.constant(f"{name}.P", P)]
    final = [f"{name}.Y_h", f"{name}.Y_c"][: 2 if step.kind == "LSTM" else 1]
    outputs = [f"{name}.Y", *final]
    make = graph.onnx.helper.make_node
    graph.nodes.append(make(step.kind, inputs, outputs, name, **attributes))
    return _merged(graph, name, step, outputs), final


def _starts(graph: _Graph, name: str, step: Recurrence, x: str) -> list[str]:
    """Learned initial states, (D, 1, H), repeated for every sequence of x (T, B, F)."""
    if not step.starts:
        return []
    batch = graph.node("Shape", [x], f"{name}.batch", start=1, end=2)
    one = graph.integers(f"{name}.one", 1)
    shape = graph.node("Concat", [one, batch, one], f"{name}.initial", axis=0)
    return [
        graph.node(
            "Expand", [graph.constant(f"{name}.{part}0", np.stack(rows)[:, None]), shape], f"{name}.{part}"
        )
        for part, rows in zip("hc", zip(*step.starts, strict=True), strict=False)
    ]


def _merged(graph: _Graph, name: str, step: Recurrence, outputs: list[str]) -> str:
    """One output of both directions: from Y (T, D, B, H), or from Y_h (D, B, H) for the final ones alone."""
    y, axis = (outputs[0], 1) if step.return_sequences else (outputs[1], 0)
    if step.merge != "concat" and len(step.cells) == 2:
        axes = graph.integers(f"{name}.directions", axis)
        y = graph.node(_MERGES[str(step.merge)], [y, axes], f"{name}.merged", keepdims=0)
        if step.return_sequences and step.batch_first:
            y = graph.node("Transpose", [y], f"{name}.out", perm=[1, 0, 2])
        return y
    perm = ([2, 0, 1, 3] if step.batch_first else [0, 2, 1, 3]) if step.return_sequences else [1, 0, 2]
    y = graph.node("Transpose", [y], f"{name}.side_by_side", perm=perm)
    # The size, and not -1, which cannot be told when a batch is empty.
    size = len(step.cells) * step.cells[0].hidden_size
    shape = graph.integers(f"{name}.shape", *([0] * (len(perm) - 2)), size)
    return graph.node("Reshape", [y, shape], f"{name}.out")


def _weights(where: str, step: Recurrence) -> list[Any]:
    """W, R, B and P, the directions stacked; None for those that there are not."""
    parts: list[list[Any]] = [[], [], [], []]
    for cell in step.cells:
        state = {n: a for n, a in cell.state_dict().items() if n not in ("h0", "c0")}
        state = retaining(where, cell, state)
        state = with_forget(state) if option(cell, "coupled") else state
        peephole = state.pop("peephole", None)
        state = {name: reorder(a, step.kind, "torch", "onnx") for name, a in state.items()}
        parts[0].append(state["weight_ih"])
        parts[1].append(state["weight_hh"])
        if "bias_ih" in state:
            parts[2].append(np.concatenate([state["bias_ih"], state["bias_hh"]]))
        if peephole is not None:
            parts[3].append(reorder(peephole, "peephole", "torch", "onnx"))
    return [np.stack(part) if part else None for part in parts]


def _attributes(where: str, step: Recurrence) -> dict[str, Any]:
    cell = step.cells[0]
    for name in ("hidden_size", "clip", "coupled", "reset_after"):
        if len({getattr(one, name, None) for one in step.cells}) > 1:
            raise ValueError(
                f"to_onnx: the two directions of {where} differ in {name}; ONNX has one for both"
            )
    direction = "bidirectional" if len(step.cells) == 2 else "forward"
    attributes: dict[str, Any] = {"direction": direction, "hidden_size": cell.hidden_size}
    if step.kind == "GRU":
        attributes["linear_before_reset"] = int(cell.reset_after)
    if option(cell, "clip") is not None:
        attributes["clip"] = float(cell.clip)
    if option(cell, "coupled"):
        attributes["input_forget"] = 1
    return attributes | _activations(where, step)


def _activations(where: str, step: Recurrence) -> dict[str, Any]:
    """The attributes that name the functions of all directions, and set them."""
    functions = [option(cell, name) for cell in step.cells for name in ACTIVATIONS[step.kind]]
    names = [name_of(function, "onnx") for function in functions]
    if None in names or {"Softmax", "LogSoftmax"} & set(names):
        raise ValueError(f"to_onnx: ONNX's {step.kind} takes no such activation as one of {where}")
    given = [ATTRIBUTES.get(str(name), {}) for name in names]
    values = {f"activation_{key}": [g[key] for g in given if key in g] for key in ("alpha", "beta")}
    return {"activations": names, **{key: value for key, value in values.items() if value}}


def _stacked(graph: _Graph, name: str, states: tuple[str, ...], last: Recurrence) -> str:
    """The final states of all layers, (L * D, B, H); batch first as the layer has them."""
    x = graph.node("Concat", list(states), f"{name}.layers", axis=0)
    if last.batch_first:
        return graph.node("Transpose", [x], name, perm=[1, 0, 2])
    return graph.node("Identity", [x], name)


def _finished(graph: _Graph, chain: list[Any], model: Any, outputs: list[str]) -> Any:
    """The model with its inputs and outputs declared."""
    onnx = graph.onnx
    helper = onnx.helper
    dtypes = {p.dtype for p in model.parameters()}
    if len(dtypes) > 1:
        raise ValueError(
            f"to_onnx: the parameters are of several dtypes, {', '.join(map(str, dtypes))}; use one"
        )
    kind = helper.np_dtype_to_tensor_dtype(dtypes.pop() if dtypes else np.dtype(np.float32))
    graph.node("Identity", [outputs[0]], "y")
    shape, y, state = _shapes(chain)
    ids = isinstance(chain[0][1], nn.Embedding)
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.INT64 if ids else kind, shape)]
    if graph.lengths:
        inputs.append(helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, ["batch"]))
    names = ["y", "h", "c"][: len(outputs)]
    declared = [helper.make_tensor_value_info(n, kind, y if n == "y" else state) for n in names]
    proto = helper.make_model(
        helper.make_graph(graph.nodes, type(model).__name__, inputs, declared, graph.constants),
        producer_name="tinygrad_rnn",
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    proto.ir_version = helper.find_min_ir_version_for(proto.opset_import)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _shapes(chain: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """The shapes of x, y and the states, with names for sizes that may be any."""
    recurrent = [step for _, step in chain if isinstance(step, Recurrence)]
    ids = isinstance(chain[0][1], nn.Embedding)
    leading = ["batch", "time"] if not recurrent or recurrent[0].batch_first else ["time", "batch"]
    x: list[Any] = leading if recurrent or ids else ["batch"]
    x = x if ids else [*x, _features(chain[0][1])]
    y = [*x, ""] if ids else list(x)
    for _, step in chain:
        if isinstance(step, Recurrence):
            sizes = [cell.hidden_size for cell in step.cells]
            y = y[:-1] if step.return_sequences else ["batch"]
            y.append(sum(sizes) if step.merge == "concat" else sizes[0])
        elif isinstance(step, nn.Linear):
            y[-1] = step.out_features
        elif isinstance(step, nn.Embedding):
            y[-1] = step.embedding_dim
    if not recurrent:
        return x, y, []
    last = recurrent[-1]
    layers = len(last.cells) * sum(bool(step.return_state) for step in recurrent)
    size = last.cells[0].hidden_size
    return x, y, ["batch", layers, size] if last.batch_first else [layers, "batch", size]


def _features(step: Any) -> Any:
    """The size of the input's last axis, where the first step tells it."""
    if isinstance(step, Recurrence):
        return step.cells[0].input_size
    if isinstance(step, nn.LayerNorm):
        return step.normalized_shape[-1]
    return getattr(step, "in_features", "features")
