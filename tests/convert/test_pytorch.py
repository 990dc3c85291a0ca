"""PyTorch: whole modules and state_dicts both ways, with random weights, in float64."""

import itertools
import sys

import numpy as np
import pytest
from exchange import KINDS, arrays, difference, randomised, same_weights

import tinygrad_rnn as tg
from tinygrad_rnn import convert, nn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests")


def random_module(module, seed):
    torch.manual_seed(seed)
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return module.double().eval()


def state_of(parts):
    """A state as both libraries take it: h, or (h, c)."""
    parts = tuple(parts)
    return parts if len(parts) == 2 else parts[0]


SHAPES = list(itertools.product(KINDS, (1, 2), (False, True), (False, True), (True, False)))


@pytest.mark.parametrize(("kind", "layers", "both", "batch_first", "bias"), SHAPES)
def test_recurrent_layers_come_over_and_go_back(kind, layers, both, batch_first, bias):
    options = {"num_layers": layers, "bidirectional": both, "batch_first": batch_first, "bias": bias}
    theirs = random_module(getattr(torch.nn, kind)(3, 4, **options), seed=layers)
    ours = convert.from_torch(theirs)
    rng = np.random.default_rng(1)
    time_first = rng.standard_normal((5, 2, 3))
    x = time_first.swapaxes(0, 1) if batch_first else time_first
    before = [rng.standard_normal((layers * (1 + both), 2, 4)) for _ in range(2 if kind == "LSTM" else 1)]
    y, *after = arrays(theirs(torch.tensor(x), state_of(map(torch.tensor, before))))
    if batch_first:  # states are batch first here, too
        before, after = ([s.swapaxes(0, 1) for s in states] for states in (before, after))
    assert difference(ours(x, state_of(map(tg.tensor, before))), [y, *after]) < 1e-12
    again = convert.to_torch_module(ours)
    assert difference(again(torch.tensor(x)), theirs(torch.tensor(x))) == 0
    assert list(again.state_dict()) == list(theirs.state_dict())
    assert not again.training


@pytest.mark.parametrize("kind", KINDS)
def test_options_come_over(kind):
    options = {"LSTM": {"proj_size": 2}, "RNN": {"nonlinearity": "relu"}, "GRU": {"dropout": 0.5}}[kind]
    theirs = random_module(getattr(torch.nn, kind)(3, 4, 2, **options), seed=3)
    ours = convert.from_torch(theirs)
    x = np.random.default_rng(2).standard_normal((6, 2, 3))
    assert difference(ours(x), theirs(torch.tensor(x))) < 1e-12
    again = convert.to_torch_module(ours)
    assert difference(again(torch.tensor(x)), theirs(torch.tensor(x))) == 0
    assert again.dropout == theirs.dropout
    assert repr(again) == repr(theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_come_over_and_go_back(kind):
    options = {"nonlinearity": "relu"} if kind == "RNN" else {}
    theirs = random_module(getattr(torch.nn, f"{kind}Cell")(3, 4, **options), seed=4)
    ours = convert.from_torch(theirs)
    x = np.random.default_rng(3).standard_normal((2, 3))
    expected = theirs(torch.tensor(x))
    assert difference(ours(tg.tensor(x))[1], expected) < 1e-12
    assert difference(convert.to_torch_module(ours)(torch.tensor(x)), expected) == 0


T = torch.nn
FUNCTIONS = [
    T.Tanh(), T.ReLU(), T.Sigmoid(), T.Softmax(dim=-1), T.LogSoftmax(dim=-1), T.ELU(), T.LeakyReLU(),
    T.Hardsigmoid(), T.SiLU(), T.GELU(),
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: type(f).__name__)
def test_a_whole_sequential(function):
    theirs = random_module(
        torch.nn.Sequential(
            torch.nn.Embedding(7, 3),
            torch.nn.Linear(3, 4, bias=False),
            torch.nn.Sequential(torch.nn.LayerNorm(4, eps=1e-3), function, torch.nn.Dropout(0.3)),
            torch.nn.Linear(4, 3),
            torch.nn.LSTM(3, 4, batch_first=True),
        ),
        seed=5,
    )
    ours = convert.from_torch(theirs)
    ids = np.random.default_rng(4).integers(0, 7, (2, 5))
    y, (h, c) = theirs(torch.tensor(ids))
    assert difference(ours(ids), (y, h.transpose(0, 1), c.transpose(0, 1))) < 1e-12
    again = convert.to_torch_module(ours)
    assert difference(again(torch.tensor(ids)), (y, h, c)) == 0
    assert repr(again) == repr(theirs)
    assert convert.from_torch(theirs.train()).training
    assert convert.from_torch(theirs)[2][2].training


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(6, 3)
        self.encoder = torch.nn.GRU(3, 4, batch_first=True, bidirectional=True)
        self.scale = torch.nn.Parameter(torch.ones(8))
        self.head = torch.nn.Linear(8, 2)

    def forward(self, ids):
        return self.head(self.encoder(self.embedding(ids))[0] * self.scale)


class Ours(nn.Module):
    def __init__(self):
        self.embedding = nn.Embedding(6, 3, dtype=np.float64)
        self.encoder = nn.GRU(3, 4, bidirectional=True, return_state=False, dtype=np.float64)
        self.scale = nn.Parameter(np.ones(8))
        self.head = nn.Linear(8, 2, dtype=np.float64)

    def forward(self, ids):
        return self.head(self.encoder(self.embedding(ids)) * self.scale)


def test_a_model_of_ones_own_by_its_names():
    theirs = random_module(Theirs(), seed=6)
    ids = np.random.default_rng(5).integers(0, 6, (2, 4))
    for source in (theirs, theirs.state_dict(), {k: v.numpy() for k, v in theirs.state_dict().items()}):
        ours = convert.from_torch(source, into=Ours())
        assert difference(ours(ids), theirs(torch.tensor(ids))) < 1e-12
    empty = Theirs().double()
    empty.load_state_dict(convert.to_torch(ours))
    assert difference(empty(torch.tensor(ids)), theirs(torch.tensor(ids))) == 0


def test_other_names_of_children():
    theirs = random_module(Theirs(), seed=7)
    both_ways = nn.Bidirectional(nn.GRU(3, 4, return_state=False, dtype=np.float64))
    ours = nn.Sequential(nn.Embedding(6, 3, dtype=np.float64), both_ways, nn.Linear(8, 2, dtype=np.float64))
    state = theirs.state_dict()
    del state["scale"]
    names = {"0": "embedding", "1": "encoder", "2": "head"}
    convert.from_torch(state, ours, names=names)
    ids = np.random.default_rng(6).integers(0, 6, (2, 4))
    theirs.scale.data[:] = 1
    assert difference(ours(ids), theirs(torch.tensor(ids))) < 1e-12
    back = convert.to_torch(ours, names=names)
    assert set(back) == set(state)
    assert all(torch.equal(back[name], state[name]) for name in state)
    whole = {f"model.{name}": value for name, value in state.items()}
    convert.from_torch(whole, ours, names={"": "model", **{k: f"model.{v}" for k, v in names.items()}})
    with pytest.raises(ValueError, match=r"(?s)missing: 0\.weight\n.*unexpected: embedding\.weight"):
        convert.from_torch(state, ours)


@pytest.mark.parametrize("update_gate", ["retain", "replace"])
def test_an_update_gate_that_replaces_changes_signs(update_gate):
    theirs = random_module(torch.nn.GRU(3, 4, 2, bidirectional=True), seed=8)
    ours = nn.GRU(3, 4, 2, bidirectional=True, batch_first=False, update_gate=update_gate, dtype=np.float64)
    convert.from_torch(theirs, ours)
    x = np.random.default_rng(7).standard_normal((5, 2, 3))
    assert difference(ours(x), theirs(torch.tensor(x))) < 1e-12
    back = convert.to_torch(ours)
    assert all(torch.equal(back[name], value) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_every_wrong_gate_order_is_seen(kind):
    theirs = random_module(getattr(torch.nn, kind)(3, 5), seed=9)
    ours = convert.from_torch(theirs)
    x = np.random.default_rng(8).standard_normal((4, 2, 3))
    gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind]
    for order in itertools.permutations(range(gates)):
        rows = np.concatenate([np.arange(5) + 5 * gate for gate in order])
        convert.from_torch({name: value[rows] for name, value in theirs.state_dict().items()}, ours)
        right = order == tuple(range(gates))
        assert (difference(ours(x), theirs(torch.tensor(x))) < 1e-3) == right


def test_a_state_that_does_not_fit_names_every_problem_and_changes_nothing():
    ours = randomised(nn.Sequential(nn.LSTM(3, 4, return_state=False), nn.Linear(4, 2)), 0)
    before = ours.state_dict()
    state = convert.to_torch(ours)
    state["extra"] = state.pop("1.bias")
    with pytest.raises(ValueError, match=r"missing: 1\.bias\n  unexpected: extra"):
        convert.from_torch(state, ours)
    state = convert.to_torch(ours)
    state["0.weight_ih_l0"] = torch.zeros(16, 2)
    with pytest.raises(ValueError, match=r"weight_ih_l0: expected \(16, 3\), got \(16, 2\)"):
        convert.from_torch(state, ours)
    assert all((before[name] == value).all() for name, value in ours.state_dict().items())


def test_a_wrapper_becomes_one_layer_in_both_directions():
    ours = randomised(nn.Bidirectional(nn.LSTM(3, 4, dtype=np.float64)), 0)
    theirs = convert.to_torch_module(ours)
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    assert theirs.bidirectional
    assert difference(ours(x)[0], theirs(torch.tensor(x))[0]) < 1e-12


def test_values_that_numpy_does_not_have_are_refused():
    with pytest.raises(TypeError, match=r"no torch.bfloat16 \(weight\): convert with \.float\(\) first"):
        convert.from_torch(torch.nn.Linear(2, 2).bfloat16(), nn.Linear(2, 2))


def test_the_model_to_load_into_is_one_of_ours():
    with pytest.raises(
        TypeError, match=r"a Module of this package, got OrderedDict: from_torch\(source, into"
    ):
        convert.from_torch(nn.Linear(2, 2), torch.nn.Linear(2, 2).state_dict())


def test_values_are_copies():
    ours = randomised(nn.LSTM(3, 4), 0)
    state = convert.to_torch(ours)
    before = ours.state_dict()
    for value in state.values():
        value.zero_()
    assert all((before[name] == value).all() for name, value in ours.state_dict().items())
    theirs = torch.nn.Linear(2, 2)
    copy = convert.from_torch(theirs)
    theirs.weight.data.zero_()
    assert copy.weight.numpy().any()


REFUSED = [
    (nn.LSTM(3, 4, peephole="diagonal"), "peephole='diagonal', for which PyTorch has no counterpart"),
    (nn.LSTM(3, 4, clip=1.0), "clip=1.0"),
    (nn.LSTM(3, 4, coupled=True), "coupled=True"),
    (nn.LSTM(3, 4, layer_norm=True), "layer_norm=True"),
    (nn.LSTM(3, 4, zoneout=0.1), r"zoneout=\(0.1, 0.1\).*train with zoneout=0"),
    (nn.LSTM(3, 4, gate_activation="hard_sigmoid"), "gate_activation=hard_sigmoid"),
    (nn.GRU(3, 4, reset_after=False), "reset_after=False.*no weights turn one into the other"),
    (nn.RNN(3, 4, nonlinearity="sigmoid"), "nonlinearity=sigmoid"),
    (nn.LSTM(3, 4, learn_initial_state=True), "learn_initial_state"),
    (nn.LSTM(3, [4, 5]), "cells of hidden_size 4, 5; a PyTorch layer has one for all"),
    (nn.MGU(3, 4), "MGUCell"),
    (nn.Recurrent([nn.LSTMCell(3, 4), nn.GRUCell(4, 4)]), "LSTMCell and GRUCell|kind"),
    (nn.Bidirectional(nn.LSTM(3, 4, 2)), "Bidirectional must be"),
    (nn.Bidirectional(nn.LSTM(3, 4), nn.GRU(3, 4)), "LSTMCell and GRUCell"),
]


@pytest.mark.parametrize(("model", "why"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_what_pytorch_does_not_have_is_refused(model, why):
    with pytest.raises((TypeError, ValueError), match=why):
        convert.to_torch(model)
    with pytest.raises((TypeError, ValueError), match=why):
        convert.from_torch({}, model)


NO_MODULE = [
    (nn.LSTM(3, 4, return_state=False), "always gives all outputs and the state"),
    (nn.LSTM(3, 4, return_sequences=False), "always gives all outputs and the state"),
    (nn.LSTM(3, 4, bidirectional=True, merge="sum"), "merge='sum'"),
    (nn.LSTM(3, 4, recurrent_dropout=0.1), "recurrent_dropout"),
    (nn.LSTM(3, 4, go_backwards=True), "go_backwards"),
    (nn.Sequential(nn.LSTM(3, 4, return_state=False), nn.Linear(4, 1)), "always gives"),
    (nn.Stacked([nn.LSTM(3, 4)]), "Stacked"),
    (nn.Sequential(tg.exp), "no counterpart that is known for 0"),
]


@pytest.mark.parametrize(("model", "why"), NO_MODULE, ids=lambda v: v if isinstance(v, str) else "")
def test_modules_that_pytorch_does_not_have_are_refused(model, why):
    with pytest.raises((TypeError, ValueError), match=why):
        convert.to_torch_module(model)
    convert.to_torch(model)  # their weights go over


NOT_BUILT = [
    (Theirs(), "Theirs is a class of its own.*into=model"),
    (torch.nn.Conv1d(1, 1, 1), "builds no Conv1d"),
    (torch.nn.Embedding(3, 2, padding_idx=0), "padding_idx=0"),
    (torch.nn.LayerNorm(3, elementwise_affine=False), "elementwise_affine=False"),
    (torch.nn.LayerNorm(3, bias=False), "bias=False"),
    (torch.nn.Softmax(dim=1), "dim=1"),
    (torch.nn.GELU(approximate="tanh"), "approximate='tanh'"),
    (torch.nn.ELU(0.5), "alpha=0.5"),
    ({"weight": np.zeros(3)}, r"from_torch\(state, into=model\)"),
    (torch.nn.Linear(2, 2).bfloat16(), "bfloat16"),
]


@pytest.mark.parametrize(("source", "why"), NOT_BUILT, ids=lambda v: v if isinstance(v, str) else "")
def test_what_cannot_be_built_is_refused(source, why):
    with pytest.raises((TypeError, ValueError), match=why):
        convert.from_torch(source)


def test_round_trip_of_weights_is_exact():
    ours = randomised(nn.LSTM(3, 4, 2, bidirectional=True), 3)
    back = convert.from_torch(convert.to_torch(ours), nn.LSTM(3, 4, 2, bidirectional=True))
    assert same_weights(ours, back)
    assert {a.dtype for a in arrays(list(convert.to_torch(ours).values()))} == {np.dtype(np.float32)}


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="to_torch needs torch: pip install torch"):
        convert.to_torch(nn.Linear(1, 1))
