"""Module: names, order, modes, state."""

import copy

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class Net(nn.Module):
    def __init__(self):
        self.embed = nn.Embedding(5, 3, rng=0)
        self.rnn = nn.LSTM(3, 4, rng=1, return_state=False)
        self.head = nn.Sequential(nn.Linear(4, 4, rng=2), tg.tanh, nn.Dropout(0.5), nn.Linear(4, 2, rng=3))
        self.scale = nn.Parameter([1.0])
        self.note = "not a parameter"

    def forward(self, ids):
        return self.head(self.rnn(self.embed(ids))) * self.scale


NAMES = [
    "scale", "embed.weight",
    "rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0",
    "head.0.weight", "head.0.bias", "head.3.weight", "head.3.bias",
]  # fmt: skip


def test_parameters_are_found_named_and_ordered():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert list(net.state_dict()) == NAMES
    # Tapes and errors call a parameter what the outermost module's state_dict calls it.
    assert [p.name for p in net.parameters()] == NAMES
    assert all(p.requires_grad for p in net.parameters())
    assert dict(net.named_children()) == {"embed": net.embed, "rnn": net.rnn, "head": net.head}


def test_a_call_runs_forward_in_a_scope_of_the_modules_name():
    net = Net()
    scopes = {str(e.scope) for e in tg.Tape(net(np.array([[0, 1]])).sum())}
    assert {"net/embed", "net/rnn/l0/t=1", "net/head/linear0", "net/head", "net"} <= scopes


def test_shared_parameters_come_once():
    net = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Linear(3, 3, rng=1))
    net[1].weight = net[0].weight
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    layer = nn.Linear(2, 2)
    assert len(list(nn.Sequential(layer, layer).parameters())) == 2
    assert len(list(nn.Sequential(layer, layer).modules())) == 2


def test_train_and_eval_reach_all_modules():
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())


def test_freezing_and_thawing():
    net = Net()
    net.rnn.requires_grad_(False)
    net(np.array([[0, 1]])).sum().backward()
    assert net.rnn.weight_ih_l0.grad is None
    assert net.head[0].weight.grad is not None
    assert list(net.state_dict()) == NAMES
    net.rnn.requires_grad_()
    net(np.array([[0, 1]])).sum().backward()
    assert net.rnn.weight_ih_l0.grad is not None
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_state_dict_is_a_copy_and_loads_back():
    net, other = Net(), Net()
    state = net.state_dict()
    for p in net.parameters():
        p.assign_(p.numpy() + 1)
    assert not np.array_equal(state["scale"], net.scale.numpy())
    other.load_state_dict(net.state_dict())
    ids = np.array([[0, 4, 2]])
    assert np.array_equal(net.eval()(ids).numpy(), other.eval()(ids).numpy())


def test_load_names_every_problem_in_one_error_and_changes_nothing():
    net = Net()
    before = net.state_dict()
    state = {**before, "extra": np.zeros(1), "scale": np.zeros((2, 1), np.float32)}
    del state["embed.weight"], state["rnn.bias_hh_l0"]
    state["head.0.bias"] = state["head.0.bias"].astype(np.float64)
    with pytest.raises(ValueError, match="does not fit this Net") as error:
        net.load_state_dict(state)
    text = str(error.value)
    for words in (
        "missing: embed.weight (5, 3)", "missing: rnn.bias_hh_l0 (16,)", "unexpected: extra",
        "shape of scale: expected (1,), got (2, 1)", "head.0.bias: float64 would lose digits in float32",
    ):  # fmt: skip
        assert words in text
    for name, value in net.state_dict().items():
        assert np.array_equal(value, before[name])
    net.load_state_dict({"scale": np.array([7.0], np.float32), "extra": np.zeros(1)}, strict=False)
    assert net.scale.item() == 7.0
    with pytest.raises(ValueError, match="shape of scale"):
        net.load_state_dict({"scale": np.zeros(3, np.float32)}, strict=False)


def test_a_parameter_is_not_overwritten_by_something_else():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"assign_\(array\)"):
        layer.weight = np.zeros((2, 2))
    del layer.weight
    with pytest.raises(AttributeError, match="weight"):
        layer.weight  # noqa: B018
    layer.weight = nn.Parameter(np.ones((2, 2)))
    assert [name for name, _ in layer.named_parameters()] == ["bias", "weight"]


def test_parameters_that_would_not_be_found_are_refused():
    class Lost(nn.Module):
        pass

    module = Lost()
    for value in ([nn.Linear(2, 2)], {"a": nn.Linear(2, 2)}, (nn.Parameter([1.0]),)):
        with pytest.raises(TypeError, match="would not be found"):
            module.inner = value
    module.sizes = [1, 2, 3]
    assert module.sizes == [1, 2, 3]


def test_a_frozen_parameter_can_be_assigned_and_stays_one():
    layer = nn.Linear(2, 2)
    layer.requires_grad_(False)
    layer.weight = tg.tensor(np.ones((2, 2)))
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_deepcopy_gives_independent_parameters():
    net = Net()
    twin = copy.deepcopy(net)
    ids = np.array([[1, 2]])
    assert np.array_equal(net.eval()(ids).numpy(), twin.eval()(ids).numpy())
    twin.scale.assign_([5.0])
    assert net.scale.item() == 1.0
    twin(ids).sum().backward()
    assert net.scale.grad is None


def test_sequential():
    net = nn.Sequential(nn.Linear(2, 3, rng=0), tg.relu, nn.Linear(3, 1, rng=1))
    assert len(net) == 3
    assert net[1] is tg.relu
    assert isinstance(net[-1], nn.Linear)
    x = np.ones((4, 2), np.float32)
    expected = net[2](tg.relu(net[0](tg.tensor(x))))
    assert np.array_equal(net(tg.tensor(x)).numpy(), expected.numpy())
    with pytest.raises(TypeError, match="return_state=False"):
        nn.Sequential(nn.GRU(2, 3), nn.Linear(3, 1))(np.ones((1, 2, 2), np.float32))
    with pytest.raises(TypeError, match="takes modules and functions, got int"):
        nn.Sequential(3)


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(TypeError, match="Empty defines no forward"):
        Empty()(1)


def test_printed_form():
    assert repr(nn.Linear(2, 3, bias=False)) == "Linear(2, 3, bias=False)"
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.1))) == (
        "Sequential(\n  (0): Linear(2, 3)\n  (1): Dropout(p=0.1)\n)"
    )


def test_parameters_are_called_by_their_full_names_whatever_is_changed_below():
    """Replaced, thawed, copied: the name is the one that the outermost module's state_dict has."""
    net = Net()
    net.head[0].weight = nn.Parameter(np.zeros((4, 4)))
    net.rnn.l0.weight_hh = nn.Parameter(np.zeros(net.rnn.l0.weight_hh.shape))
    net.head.requires_grad_(False).requires_grad_(True)
    assert [p.name for p in net.parameters()] == NAMES
    copied = copy.deepcopy(net)
    copied.head[3].bias = nn.Parameter(np.zeros(copied.head[3].bias.shape))
    part = copy.deepcopy(net.head)
    part[0].bias = nn.Parameter(np.zeros(4))
    assert [p.name for p in copied.parameters()] == NAMES == [p.name for p in net.parameters()]
    assert [p.name for p in part.parameters()] == ["0.weight", "0.bias", "3.weight", "3.bias"]


def test_a_child_that_is_replaced_or_deleted_is_nobodys():
    net = Net()
    old, head = net.embed, net.head
    net.embed = nn.Embedding(5, 3)
    del net.head
    for child, own in ((old, ["weight"]), (head, ["0.weight", "0.bias", "3.weight", "3.bias"])):
        child.requires_grad_(True)
        assert [p.name for p in child.parameters()] == own
    assert net.embed.weight.name == "embed.weight"


def test_a_shared_parameter_keeps_its_first_name():
    net = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Linear(3, 3, rng=1))
    net[1].weight = net[0].weight
    assert net[1].weight.name == "0.weight" == next(name for name, p in net.named_parameters())


def test_many_layers_are_put_together_in_linear_time():
    """Naming is the business of what is new: each parameter is named a few times, however many there are."""
    named = []

    class Counted(nn.Linear):
        def _name_parameters(self):
            named.append(self)
            super()._name_parameters()

    nn.Sequential(*[Counted(1, 1) for _ in range(300)])
    assert len(named) == 300


@pytest.mark.parametrize(
    ("assign", "error", "words"),
    [
        (lambda net: setattr(net, "me", net), ValueError, "Net.me: a module cannot contain itself"),
        (
            lambda net: setattr(net.head, "up", net),
            ValueError,
            "Sequential.up: a module cannot contain itself",
        ),
        (lambda net: setattr(net, "train", nn.Linear(1, 1)), TypeError, "'train' of its class"),
        (lambda net: setattr(net, "deep", [[nn.Linear(1, 1)]]), TypeError, "inside a list"),
        (lambda net: setattr(net, "some", {nn.Linear(1, 1)}), TypeError, "inside a set"),
        (lambda net: net.load_state_dict([1]), TypeError, "mapping of names to arrays, got list"),
    ],
)
def test_assignments_that_would_be_lost_or_endless_are_refused(assign, error, words):
    with pytest.raises(error, match=words):
        assign(Net())


def test_a_state_may_be_of_tensors():
    net, other = Net(), Net()
    net.load_state_dict(dict(other.named_parameters()))
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])
