"""ONNX files of others, node by node: they compute what the ONNX reference does, or are refused."""

import io
import os

import numpy as np
import pytest
from exchange import KINDS, arrays, difference

import tinygrad_rnn as tg
from tinygrad_rnn import convert

onnx = pytest.importorskip("onnx", reason="ONNX models are made with it")
reference = pytest.importorskip("onnx.reference", reason="the ONNX reference is an oracle of these tests")
helper, numpy_helper = onnx.helper, onnx.numpy_helper


def data(*shape, dtype=np.float32, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def graph(nodes, constants, shape=("T", "B", 3), outputs=("y",), inputs=()):
    """A model of nodes, with the input x."""
    kind = onnx.TensorProto.FLOAT
    return helper.make_model(
        helper.make_graph(
            nodes,
            "theirs",
            [helper.make_tensor_value_info("x", kind, list(shape)), *inputs],
            [helper.make_tensor_value_info(name, kind, None) for name in outputs],
            [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
    )


def weights(kind, directions=1, hidden=4, bias=True, peephole=False):
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    shapes = {"W": (gates * hidden, 3), "R": (gates * hidden, hidden)}
    shapes |= {"B": (2 * gates * hidden,)} if bias else {}
    shapes |= {"P": (3 * hidden,)} if peephole else {}
    return {
        name: 0.5 * data(directions, *shape, seed=k)
        for k, (name, shape) in enumerate(shapes.items(), start=5)
    }


def recurrent(kind, directions=1, inputs=("x", "W", "R", "B"), outputs=("Y",), **attributes):
    direction = attributes.pop("direction", "bidirectional" if directions == 2 else "forward")
    return helper.make_node(
        kind, list(inputs), list(outputs), direction=direction, hidden_size=4, **attributes
    )


def agrees(proto, x, tolerance=1e-5):
    expected = reference.ReferenceEvaluator(proto).run(None, {"x": x})
    ours = arrays(convert.from_onnx(proto)(x))
    for a, b in zip(ours, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def squeeze(name, axis):
    return helper.make_node("Squeeze", [name, "axis"], ["y"]), {"axis": np.array([axis])}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_the_smallest_files(kind, bias):
    inputs = ("x", "W", "R", "B") if bias else ("x", "W", "R")
    node, axis = squeeze("Y", 1)
    agrees(graph([recurrent(kind, inputs=inputs), node], weights(kind, bias=bias) | axis), data(5, 2, 3))
    node, axis = squeeze("h", 0)
    final = recurrent(kind, inputs=inputs, outputs=("", "h"))
    agrees(graph([final, node], weights(kind, bias=bias) | axis), data(5, 2, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_reading_from_the_end_to_one_output(kind):
    node, axis = squeeze("h", 0)
    last = recurrent(kind, outputs=("", "h"), direction="reverse")
    proto = graph([last, node], weights(kind) | axis)
    back = convert.from_onnx(proto)
    assert back.go_backwards
    turned = helper.make_node("Slice", ["x", "m", "end", "zero", "m"], ["z"])
    forwards = recurrent(kind, inputs=("z", "W", "R", "B"), outputs=("", "h"))
    limits = {"m": [-1], "end": [-(2**62)], "zero": [0]}
    agrees(graph([turned, forwards, node], weights(kind) | axis | limits), data(5, 2, 3))
    mirrored = graph([recurrent(kind, outputs=("", "h")), node], weights(kind) | axis)
    x = data(5, 2, 3)
    (expected,) = reference.ReferenceEvaluator(mirrored).run(None, {"x": x[::-1]})
    assert difference(back(x), expected) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("directions", [1, 2])
def test_batch_first_files(kind, directions):
    """With the batch first by nodes around the layer, and by layout 1, which few programs run."""
    constants = weights(kind, directions) | {"shape": [0, 0, 4 * directions]}
    flat = helper.make_node("Reshape", ["Z", "shape"], ["y"])
    timed = graph(
        [
            helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
            recurrent(kind, directions, inputs=("xt", "W", "R", "B")),
            helper.make_node("Transpose", ["Y"], ["Z"], perm=[2, 0, 1, 3]),
            flat,
        ],
        constants,
        shape=("B", "T", 3),
    )
    x = data(2, 5, 3)
    agrees(timed, x)
    layer = convert.from_onnx(timed)
    assert layer.batch_first
    other = graph([recurrent(kind, directions, outputs=("Z",), layout=1), flat], constants, ("B", "T", 3))
    assert difference(convert.from_onnx(other)(x), layer(x)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_step_before_the_direction_is_squeezed(kind):
    nodes = [recurrent(kind), gather("Y", "g"), helper.make_node("Squeeze", ["g", "axis"], ["y"])]
    proto = graph(nodes, weights(kind) | {"k": -1, "axis": [0]})
    agrees(proto, data(5, 2, 3))
    assert not convert.from_onnx(proto).return_sequences


@pytest.mark.parametrize("layout", [0, 1])
def test_an_initial_state_in_either_layout(layout):
    """The same state for every sequence, which is learned here."""
    start = data(1, 1, 4)
    repeated = np.repeat(start, 2, axis=1 - layout)
    node = recurrent("GRU", inputs=("x", "W", "R", "B", "", "h0"), outputs=("Z",), layout=layout)
    if layout:
        nodes, extra = [node, helper.make_node("Reshape", ["Z", "s"], ["y"])], {"s": [0, 0, 4]}
    else:
        squeezed = helper.make_node("Squeeze", ["Z", "axis"], ["y"])
        nodes, extra = [node, squeezed], {"axis": [1]}
    layer = convert.from_onnx(graph(nodes, weights("GRU") | extra | {"h0": repeated}))
    np.testing.assert_array_equal(layer.h0_l0.numpy(), start[0, 0])
    assert layer.learn_initial_state


def test_softmax_before_opset_13():
    node = helper.make_node("Softmax", ["x"], ["y"])
    new = graph([node], {}, shape=("A", "B", 3))
    old = helper.make_model(new.graph, opset_imports=[helper.make_opsetid("", 11)])
    assert convert.from_onnx(new) is tg.softmax
    with pytest.raises(ValueError, match="axis=1, and ours has -1"):
        convert.from_onnx(old)


def test_ids_of_another_dtype():
    """Whose type the graph changes before the look-up."""
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["y"]),
    ]
    proto = graph(nodes, {"table": data(5, 3)}, shape=("B", "T"))
    ids = np.array([[1, 4, 0]])
    np.testing.assert_array_equal(convert.from_onnx(proto)(ids).numpy(), data(5, 3)[ids])


def test_constants_as_nodes_and_other_dense_layers():
    w, b = data(3, 2), data(2, seed=2)
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(w))
    for node in (
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        [helper.make_node("Gemm", ["x", "w", "b2"], ["y"])],
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["b", "m"], ["y"])],
        [helper.make_node("Gemm", ["x", "v", "b"], ["y"], transB=1)],
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Identity", ["m"], ["y"])],
    ):
        agrees(graph([constant, *node], {"b": b, "b2": b[None], "v": data(2, 3)}, shape=("B", 3)), data(4, 3))


def gather(name, out, index="k"):
    return helper.make_node("Gather", [name, index], [out], axis=0)


REFUSED = [
    ("Conv", [helper.make_node("Conv", ["x", "W"], ["y"])], {}, "Conv.*it has no counterpart here"),
    ("Exp", [helper.make_node("Exp", ["x"], ["y"], name="there")], {}, r"the node there \(Exp\)"),
    ("add", [helper.make_node("Add", ["x", "x"], ["y"])], {}, "must be a constant|adds to something else"),
    ("directions", [recurrent("LSTM", outputs=("y",))], {}, "both directions unmerged"),
    ("cell state", [recurrent("LSTM", outputs=("", "", "y"))], {}, "unmerged|cell state"),
    ("reversed", [recurrent("LSTM", direction="reverse"), squeeze("Y", 1)[0]], {"axis": [1]}, "go_backwards"),
    ("clip", [recurrent("GRU", clip=1.0), squeeze("Y", 1)[0]], {"axis": [1]}, "clip=1.0, and our GRU has no"),
    ("activation", [recurrent("RNN", activations=["Affine"]), squeeze("Y", 1)[0]], {"axis": [1]}, "Affine"),
    ("alpha", [helper.make_node("Elu", ["x"], ["y"], alpha=0.5)], {}, "alpha=0.5, and ours has 1.0"),
    ("softmax", [helper.make_node("Softmax", ["x"], ["y"], axis=0)], {}, "axis=0, and ours has -1"),
    ("transposed", [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0, 2])], {}, "in another order"),
    ("feature in", [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1])], {}, "in another order"),
    ("features turned", [helper.make_node("MatMul", ["x", "m"], ["z"]),
                         helper.make_node("Transpose", ["z"], ["y"], perm=[0, 2, 1])], {"m": data(3, 3)},
     "in another order"),
    ("domain", [helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")], {}, "domain com.microsoft"),
    ("slice", [helper.make_node("Slice", ["x", "a", "b"], ["y"])], {"a": [0], "b": [2]}, "reverse a whole"),
    ("third", [recurrent("LSTM", 1), gather("Y", "g"), helper.make_node("Squeeze", ["g", "axis"], ["y"])],
     {"k": 2, "axis": [0]}, "picks other than the last"),
    ("last of both", [recurrent("LSTM", 2), gather("Y", "g"), helper.make_node("Reshape", ["g", "s"], ["y"])],
     {"k": -1, "s": [0, 8]}, "reads backwards too"),
    ("first layer",
     [recurrent("RNN", outputs=("", "h")), helper.make_node("Concat", ["h", "h"], ["hh"], axis=0),
      gather("hh", "y")], {"k": 0}, "another layer than the last"),
    ("one direction", [recurrent("RNN", 2, outputs=("", "h")), gather("h", "g"),
                       helper.make_node("MatMul", ["g", "m"], ["y"])], {"k": 0, "m": data(4, 2)}, "before"),
    ("over time", [helper.make_node("Transpose", ["x"], ["z"], perm=[1, 2, 0]),
                   helper.make_node("Softmax", ["z"], ["y"])], {}, "last axis .* is not that of features"),
    ("features as time", [helper.make_node("Transpose", ["x"], ["z"], perm=[2, 1, 0]),
                          recurrent("RNN", inputs=("z", "W", "R")), squeeze("Y", 1)[0]], {"axis": [1]},
     "axes are not time, batch and features"),
    ("residual", [helper.make_node("Tanh", ["x"], ["z"]), helper.make_node("Add", ["x", "z"], ["y"])], {},
     "z is computed"),
    ("scrambled", [recurrent("LSTM", 2), helper.make_node("Reshape", ["Y", "s"], ["y"])], {"s": [0, 0, 8]},
     "does other than to put both directions side by side"),
    ("initial", [helper.make_node("Exp", ["q"], ["h0"]),
                 recurrent("GRU", inputs=("x", "W", "R", "B", "", "h0")), squeeze("Y", 1)[0]],
     {"axis": [1], "q": np.zeros((1, 2, 4), np.float32)}, "initial state h0 is computed"),
    ("initial rows", [recurrent("GRU", inputs=("x", "W", "R", "B", "", "h0")), squeeze("Y", 1)[0]],
     {"axis": [1], "h0": data(1, 2, 4)}, "differs from sequence to sequence"),
    ("cut from initial rows",
     [helper.make_node("Expand", ["q", "s"], ["h0s"]), helper.make_node("Slice", ["h0s", "a", "b"], ["h0"]),
      recurrent("GRU", inputs=("x", "W", "R", "B", "", "h0")), squeeze("Y", 1)[0]],
     {"axis": [1], "q": data(2, 1, 4), "s": [2, 7, 4], "a": [0], "b": [1]}, "initial state h0 is computed"),
    ("cell state as output", [recurrent("LSTM", outputs=("", "", "c")), squeeze("c", 0)[0]], {"axis": [0]},
     "reads a cell state"),
    ("several states",
     [recurrent("RNN", outputs=("", "h")), helper.make_node("Concat", ["h", "h"], ["g"], axis=0),
      helper.make_node("ReduceSum", ["g", "axis"], ["y"], keepdims=0)], {"axis": [0]}, "states of several"),
    ("outputs reversed", [recurrent("RNN"), helper.make_node("Slice", ["Y", "m", "e", "z", "m"], ["y"])],
     {"m": [-1], "e": [-(2**62)], "z": [0]}, "reverses what a recurrent node gives"),
    ("joined outputs", [recurrent("RNN"), helper.make_node("Concat", ["Y", "Y"], ["y"], axis=1)], {},
     "other than final states"),
    ("joined batches",
     [recurrent("RNN", outputs=("", "h")), helper.make_node("Concat", ["h", "h"], ["y"], axis=1)], {},
     "in their order"),
    ("swapped directions",
     [recurrent("RNN", 2, outputs=("", "h")), gather("h", "a", "one"), gather("h", "b", "two"),
      helper.make_node("Concat", ["a", "b"], ["y"], axis=1)], {"one": 1, "two": 0}, "in their order"),
    ("kept axis", [recurrent("RNN"), gather("Y", "y")], {"k": [-1]}, "keeps an axis"),
    ("constant first", [helper.make_node("MatMul", ["m", "x"], ["y"])], {"m": data(2, 2)}, "no product of"),
    ("bias alone", [helper.make_node("Add", ["x", "b"], ["y"])], {"b": data(3)}, "adds to something else"),
    ("wide bias", [helper.make_node("MatMul", ["x", "m"], ["z"]), helper.make_node("Add", ["z", "b"], ["y"])],
     {"m": data(3, 3), "b": data(1, 3)}, "no vector of one number per feature"),
    ("norm of two axes", [helper.make_node("LayerNormalization", ["x", "g"], ["y"], axis=1)], {"g": data(3)},
     "another shape than the axes"),
    ("cast",
     [helper.make_node("Cast", ["x"], ["z"], to=11), helper.make_node("Cast", ["z"], ["y"], to=1)], {},
     "changes the dtype"),
    ("two functions", [recurrent("RNN", 2, activations=["Relu", "Tanh"]), gather("Y", "y")], {"k": 0},
     "different activations"),
    ("unknown weights", [helper.make_node("Exp", ["W"], ["V"]),
                         recurrent("GRU", inputs=("x", "V", "R")), squeeze("Y", 1)[0]], {"axis": [1]},
     "V is computed, and must be a constant"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "constants", "why"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_has_no_counterpart_is_refused_with_the_node(nodes, constants, why):
    kind = next((n.op_type for n in nodes if n.op_type in KINDS), "LSTM")
    two = any(a.name == "direction" and a.s == b"bidirectional" for n in nodes for a in n.attribute)
    with pytest.raises(ValueError, match=why):
        convert.from_onnx(graph(nodes, weights(kind, 1 + two) | constants))


def test_states_of_other_layers_than_the_last_are_refused():
    """The second layer's function is another, so that the two are no stack."""
    names = {name: f"{name}2" for name in "WRB"}
    second = {names[name]: a for name, a in (weights("RNN") | {"W": data(1, 4, 4)}).items()}
    nodes = [
        recurrent("RNN", outputs=("Y", "h")),
        helper.make_node("Squeeze", ["Y", "axis"], ["z"]),
        recurrent("RNN", inputs=("z", *names.values()), outputs=("Y2", "h2"), activations=["Relu"]),
        helper.make_node("Squeeze", ["Y2", "axis"], ["y"]),
    ]
    constants = weights("RNN") | second | {"axis": [1]}
    assert convert.from_onnx(graph(nodes, constants, outputs=("y", "h2")))[1].return_state
    with pytest.raises(ValueError, match="are not those of its last layer"):
        convert.from_onnx(graph(nodes, constants, outputs=("y", "h")))
    with pytest.raises(ValueError, match="this one has 2 others"):
        convert.from_onnx(graph(nodes, constants, outputs=("y", "h2", "h")))


def test_an_input_without_shape_is_refused():
    proto = graph([helper.make_node("Tanh", ["x"], ["y"])], {})
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ValueError, match="input x must have a declared shape"):
        convert.from_onnx(proto)


def test_gemm_that_is_no_linear_layer_is_refused():
    for attributes in ({"alpha": 2.0}, {"transA": 1}):
        node = helper.make_node("Gemm", ["x", "m"], ["y"], **attributes)
        with pytest.raises(ValueError, match="transposes or scales its input"):
            convert.from_onnx(graph([node], {"m": data(3, 3)}, shape=("A", 3)))
    node = helper.make_node("Gemm", ["x", "m", "b"], ["y"])
    with pytest.raises(ValueError, match="no vector of one number per feature"):
        convert.from_onnx(graph([node], {"m": data(3, 3), "b": data(2, 3)}, shape=(2, 3)))


def test_an_invalid_file_is_refused():
    node = helper.make_node("MatMul", ["x", "m"], ["y"])
    with pytest.raises(ValueError, match="this is no valid ONNX model"):
        convert.from_onnx(graph([node], {"m": data(4, 4)}))


def test_several_inputs_are_refused():
    other = helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["B", 3])
    node, axis = squeeze("Y", 1)
    with pytest.raises(ValueError, match=r"reads graphs of one input.*x, z"):
        convert.from_onnx(graph([recurrent("GRU"), node], weights("GRU") | axis, inputs=[other]))


def computed_shapes(swapped):
    """As PyTorch's newer exporter writes an LSTM in both directions: the graph computes sizes of axes."""
    node, order = helper.make_node, [1, 0] if swapped else [0, 1]
    return graph(
        [
            node("Shape", ["x"], ["batch"], start=1, end=2),
            node("Concat", ["four", "batch", "four"], ["zeros shape"], axis=0),
            node("Expand", ["zero", "zeros shape"], ["zeros"]),
            node("Slice", ["zeros", "0", "2", "0"], ["initial"]),
            recurrent("LSTM", 2, inputs=("x", "W", "R", "B", "", "initial", "initial")),
            node("Transpose", ["Y"], ["Z"], perm=[0, 2, 1, 3]),
            node("Shape", ["Z"], ["shape"]),
            *(node("Slice", ["shape", str(k), str(k + 1)], [f"size {k}"]) for k in range(4)),
            node("Mul", ["size 2", "size 3"], ["product"]),
            node("Reshape", ["product", "-1"], ["features"]),
            node("Concat", [f"size {order[0]}", f"size {order[1]}", "features"], ["flat"], axis=0),
            node("Reshape", ["Z", "flat"], ["y"]),
        ],
        weights("LSTM", 2)
        | {str(k): np.array([k]) for k in range(-1, 5)}
        | {"four": np.array([4]), "zero": np.zeros(1, np.float32)},
    )


def test_shapes_computed_in_the_graph():
    agrees(computed_shapes(swapped=False), data(5, 2, 3))
    with pytest.raises(ValueError, match="does other than to put both directions side by side"):
        convert.from_onnx(computed_shapes(swapped=True))


def some_chain(seed):
    """A random chain of nodes, most of which make no sense together, from (T, B, 3) on."""
    rng = np.random.default_rng(seed)
    nodes, constants, name = [], {}, "x"
    for k in range(rng.integers(2, 7)):
        own, out = f"c{k}", f"v{k}"
        kind = rng.choice(
            ["RNN", "GRU", "Transpose", "Squeeze", "Gather", "Reshape", "MatMul", "Reduce", "Softmax"]
        )
        if kind in KINDS:
            directions = int(rng.integers(1, 3))
            given = {f"{own}{n}": a for n, a in weights(kind, directions, hidden=3, bias=False).items()}
            final = rng.random() < 0.4
            one_way = rng.choice(["forward", "reverse"], p=[0.8, 0.2])
            nodes.append(helper.make_node(
                kind, [name, *given], ["", out] if final else [out], hidden_size=3,
                direction="bidirectional" if directions == 2 else one_way,
            ))  # fmt: skip
            constants |= given
        elif kind == "Transpose":
            perms = [[1, 0, 2], [0, 2, 1, 3], [2, 0, 1, 3], [1, 0], [0, 2, 1], [1, 2, 0]]
            nodes.append(helper.make_node(kind, [name], [out], perm=perms[rng.integers(len(perms))]))
        elif kind == "MatMul":
            constants[own] = data(*((6, 3) if rng.random() < 0.3 else (3, 3)), seed=seed)
            nodes.append(helper.make_node(kind, [name, own], [out]))
        elif kind == "Softmax":
            nodes.append(helper.make_node(kind, [name], [out], axis=int(rng.choice([-1, 1, 2]))))
        else:
            value = {
                "Squeeze": [rng.integers(0, 2)],
                "Gather": rng.choice([-1, 0, 1]),
                "Reshape": [[0, 0, -1], [0, -1], [0, 0, 6], [-1, 2, 3]][rng.integers(4)],
                "Reduce": [rng.integers(0, 2)],
            }[kind]
            constants[own] = np.array(value, np.int64)
            more = {"Gather": {"axis": int(rng.integers(0, 3))}, "Reduce": {"keepdims": 0}}.get(kind, {})
            op = rng.choice(["ReduceSum", "ReduceProd", "ReduceMean"]) if kind == "Reduce" else kind
            nodes.append(helper.make_node(op, [name, own], [out], **more))
        name = out
    return graph(nodes, constants, outputs=(name,))


def test_random_files_are_refused_or_read_right():
    """Whatever nodes do to the axes, what comes of them is what the reference computes."""
    x = data(4, 2, 3)
    read = set()
    for seed in range(3000):
        proto = some_chain(seed)
        try:
            model = convert.from_onnx(proto)
        except ValueError:
            continue
        (expected,) = reference.ReferenceEvaluator(proto).run(None, {"x": x})
        assert difference(model(x), expected) < 1e-5, seed
        read.add(tuple(node.op_type for node in proto.graph.node))
    assert len(read) > 10


# ---- PyTorch's exporters


def exported(module, x, dynamo):
    torch = pytest.importorskip("torch", reason="PyTorch writes the files of these tests")
    if dynamo:
        pytest.importorskip("onnxscript", reason="PyTorch's newer exporter needs it")
        any_size = torch.export.Dim.AUTO
        program = torch.onnx.export(
            module, (x,), dynamo=True, verbose=False, dynamic_shapes=({0: any_size, 1: any_size},)
        )
        return program.model_proto
    file = io.BytesIO()
    torch.onnx.export(
        module, (x,), file, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "a", 1: "b"}}
    )
    return onnx.load_from_string(file.getvalue())


def torch_model(rnn, use):
    """A PyTorch module that uses a recurrent layer in one of the ways in which people do."""
    torch = pytest.importorskip("torch", reason="PyTorch writes the files of these tests")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = rnn
            self.head = torch.nn.Linear(rnn.hidden_size * (1 + rnn.bidirectional), 2)

        def forward(self, x):
            y, state = self.rnn(x)
            h = state[0] if isinstance(state, tuple) else state
            picked = {
                "all steps": lambda: y,
                "last step": lambda: y[:, -1] if self.rnn.batch_first else y[-1],
                "last state": lambda: h[-1],
                "both last states": lambda: torch.cat([h[-2], h[-1]], 1),
            }
            return (y, state) if use == "everything" else self.head(picked[use]())

    return Model().eval()


USES = [
    (1, False, True, "all steps"), (1, True, False, "all steps"), (2, True, True, "all steps"),
    (1, False, True, "last step"), (2, False, True, "last state"), (2, True, True, "both last states"),
    (1, False, False, "everything"), (2, True, False, "everything"),
]  # fmt: skip
EXPORTS = [(False, kind, *use) for kind in KINDS for use in USES]
SLOW = pytest.mark.skipif(
    os.environ.get("HYPOTHESIS_PROFILE") != "thorough",
    reason="PyTorch's newer exporter takes seconds for a file; HYPOTHESIS_PROFILE=thorough tries it",
)
EXPORTS += [pytest.param(True, kind, *use, marks=SLOW) for kind in ("LSTM", "GRU") for use in USES if use[2]]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dynamo", "kind", "layers", "both", "batch_first", "use"), EXPORTS)
def test_what_pytorch_exports(dynamo, kind, layers, both, batch_first, use):
    torch = pytest.importorskip("torch", reason="PyTorch writes the files of these tests")
    torch.manual_seed(0)
    rnn = getattr(torch.nn, kind)(3, 4, layers, bidirectional=both, batch_first=batch_first)
    theirs = torch_model(rnn, use)
    ours = convert.from_onnx(exported(theirs, torch.randn(2, 5, 3), dynamo))
    x = data(3, 7, 3)
    assert difference(ours(x), theirs(torch.tensor(x))) < 1e-5
    assert list(ours.modules())[0 if use == "everything" else 1].batch_first == batch_first
