"""One of our one-layer or stacked recurrent layers, run by PyTorch, ONNX or Keras with the same weights.

Each framework's gate order, bias layout and calling convention is spelled out here, independently of the
package's own converters.
"""

import numpy as np

from tinygrad_rnn import nn

# ------------------------------------------------------------------------------------------------- ours


def parts_of(state):
    """The tensors of a state in a list."""
    return list(state) if isinstance(state, tuple) else [state]


def state_of(layer, parts):
    """A list of tensors as the layer takes them; None for an empty one."""
    return None if not parts else tuple(parts) if isinstance(layer, nn.LSTM) else parts[0]


def states_for(layer, batch, rng):
    """Random initial states in the layer's layout."""
    count = layer.num_layers * (1 + layer.bidirectional)
    lead = (batch, count) if layer.batch_first else (count, batch)
    cell = layer.l0
    sizes = [cell.output_size, cell.hidden_size] if isinstance(layer, nn.LSTM) else [cell.hidden_size]
    return [rng.standard_normal((*lead, size)) for size in sizes]


def randomise(layer, rng, scale=0.8):
    """Random values for all parameters, of a size at which gates are neither open nor shut."""
    for p in layer.parameters():
        p.assign_(rng.standard_normal(p.shape) * scale)
    return layer


def results(layer, x, states=(), **options):
    """Output and final states of our layer, as arrays."""
    y, state = layer(x, state_of(layer, [np.asarray(s) for s in states]), **options)
    return [y.numpy(), *[part.numpy() for part in parts_of(state)]]


def blocks(values, order, known):
    """Rows of stacked gates taken from the order ``known`` into the order ``order``, such as "iofc"."""
    size = len(values) // len(known)
    return np.concatenate([values[known.index(gate) * size :][:size] for gate in order])


# ------------------------------------------------------------------------------------------------- PyTorch


def torch_twin(layer, **options):
    """The same layer in PyTorch, in float64."""
    import torch

    kind = type(layer).__name__
    sizes = layer.input_size, layer.hidden_size, layer.num_layers
    flags = {"bidirectional": layer.bidirectional, "batch_first": layer.batch_first}
    theirs = getattr(torch.nn, kind)(*sizes, **flags, **options).double()
    theirs.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    return theirs


def torch_results(layer, theirs, x, states, lengths):
    """PyTorch's output and final states, in our layout of states, of tensors that may require gradients."""
    from torch.nn.utils import rnn

    turned = [s.swapaxes(0, 1) if layer.batch_first else s for s in states]
    if lengths is not None:
        x = rnn.pack_padded_sequence(x, lengths, layer.batch_first, enforce_sorted=False)
    y, state = theirs(x, state_of(layer, turned))
    if lengths is not None:
        y, _ = rnn.pad_packed_sequence(y, layer.batch_first)
    return [y, *[s.swapaxes(0, 1) if layer.batch_first else s for s in parts_of(state)]]


# ---------------------------------------------------------------------------------------------------- ONNX

_ONNX_ORDERS = {"RNN": ("n", "n"), "GRU": ("zrn", "rzn"), "LSTM": ("iofg", "ifgo")}
"""Gate order in ONNX, and here."""


def onnx_model(layer, dtype, filler=None, **attributes):
    """A model of one node for a one-layer RNN, GRU or LSTM; its inputs are X, sequence_lens and states.

    A coupled LSTM has no forget gate: ONNX wants values there all the same, and reads none of them.
    """
    from onnx import TensorProto, helper, numpy_helper

    kind = type(layer).__name__
    theirs, ours = _ONNX_ORDERS[kind]
    cells = [layer.l0, layer.l0_reverse] if layer.bidirectional else [layer.l0]
    coupled = kind == "LSTM" and layer.l0.coupled
    if coupled:
        ours = "igo"
        attributes["input_forget"] = 1

    def arranged(values):
        if coupled:
            f = filler.standard_normal(values[: len(values) // 3].shape)
            return blocks(np.concatenate([values, f]), theirs, ours + "f")
        return blocks(values, theirs, ours)

    W = np.stack([arranged(c.weight_ih.numpy()) for c in cells])
    R = np.stack([arranged(c.weight_hh.numpy()) for c in cells])
    B = np.stack([np.concatenate([arranged(b.numpy()) for b in (c.bias_ih, c.bias_hh)]) for c in cells])
    weights = {"W": W, "R": R, "B": B}
    inputs = ["X", "W", "R", "B", "lengths", "h"] + (["c"] if kind == "LSTM" else [])
    if kind == "LSTM" and layer.l0.peepholes:
        known = "iof" if not coupled else "io"
        P = [c.peephole.numpy() for c in cells]
        if coupled:
            P = [np.concatenate([p, filler.standard_normal(len(p) // 2)]) for p in P]
            weights["P"] = np.stack(P)
        else:
            weights["P"] = np.stack([blocks(p, known, "ifo") for p in P])
        inputs.append("P")
    outputs = ["Y", "Y_h"] + (["Y_c"] if kind == "LSTM" else [])
    direction = "bidirectional" if layer.bidirectional else "forward"
    node = helper.make_node(
        kind, inputs, outputs, hidden_size=layer.hidden_size, direction=direction, **attributes
    )
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    given = [helper.make_tensor_value_info("X", code, [None] * 3)]
    given.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [None]))
    given += [
        helper.make_tensor_value_info(name, code, [None] * 3) for name in ("h", "c")[: len(outputs) - 1]
    ]
    graph = helper.make_graph(
        [node],
        "layer",
        given,
        [helper.make_tensor_value_info(name, code, None) for name in outputs],
        [numpy_helper.from_array(w.astype(dtype), name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def onnx_feed(layer, x, states, lengths, dtype):
    """The node's inputs: x is (B, T, F), states are (B, D, H)."""
    batch, steps = x.shape[:2]
    lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    feed = {"X": x.swapaxes(0, 1), "h": states[0].swapaxes(0, 1)}
    feed |= {"c": states[1].swapaxes(0, 1)} if len(states) > 1 else {}
    feed = {name: np.ascontiguousarray(values, dtype) for name, values in feed.items()}
    return feed | {"lengths": lengths.astype(np.int32)}


def onnx_arranged(outputs):
    """Y (T, D, B, H) as (B, T, D * H), and states (D, B, H) as (B, D, H)."""
    y, *states = outputs
    steps, directions, batch, size = y.shape
    y = y.transpose(2, 0, 1, 3).reshape(batch, steps, directions * size)
    return [y, *[s.swapaxes(0, 1) for s in states]]


def onnx_reference(layer, x, states, **attributes):
    """The ONNX reference evaluator, in float64. It ignores lengths, clip and custom activations."""
    from onnx.reference import ReferenceEvaluator

    model = onnx_model(layer, np.float64, **attributes)
    feed = onnx_feed(layer, x, states, None, np.float64)
    return onnx_arranged(ReferenceEvaluator(model).run(None, feed))


def onnx_runtime(layer, x, states, lengths=None, **attributes):
    """ONNX Runtime, in float32."""
    import onnxruntime

    model = onnx_model(layer, np.float32, **attributes).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return onnx_arranged(session.run(None, onnx_feed(layer, x, states, lengths, np.float32)))


# --------------------------------------------------------------------------------------------------- Keras


def keras_results(layer, x, states, mask=None, **options):
    """A one-layer, one-directional layer in Keras: output and final states.

    x is (B, T, F), states are (B, 1, H). Keras gives float64, but rounds as in float32 on its way.
    """
    import keras

    theirs = _keras_twin(keras, layer, **options)
    given = [keras.ops.convert_to_tensor(s[:, 0]) for s in states]
    mask = None if mask is None else keras.ops.convert_to_tensor(mask)
    outputs = theirs(keras.ops.convert_to_tensor(x), initial_state=given, mask=mask, training=False)
    y, *final = [keras.ops.convert_to_numpy(o) for o in outputs]
    return [y, *[s[:, None] for s in final]]


def _keras_twin(keras, layer, **options):
    kind = type(layer).__name__
    cell = layer.l0
    order, known = {"RNN": ("n", "n"), "GRU": ("zrn", "rzn"), "LSTM": ("ifgo", "ifgo")}[kind]
    both = kind == "GRU" and cell.reset_after
    if kind == "GRU":
        options["reset_after"] = cell.reset_after
    made = {"RNN": keras.layers.SimpleRNN, "GRU": keras.layers.GRU, "LSTM": keras.layers.LSTM}[kind]
    theirs = made(
        layer.hidden_size,
        return_sequences=True,
        return_state=True,
        zero_output_for_mask=True,
        dtype="float64",
        **options,
    )
    theirs.build((None, None, layer.input_size))
    W, U = (blocks(w.numpy(), order, known).T for w in (cell.weight_ih, cell.weight_hh))
    b, d = (blocks(p.numpy(), order, known) for p in (cell.bias_ih, cell.bias_hh))
    theirs.set_weights([W, U, np.stack([b, d]) if both else b + d])
    return theirs
