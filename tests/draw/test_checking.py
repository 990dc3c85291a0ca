"""A wrong rule is found where it stands; right ones pass; what cannot be checked says why."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn
from tinygrad_rnn.ops import registry

rng = np.random.default_rng(4)


@pytest.fixture
def declared(monkeypatch):
    """Operations declared in a test are forgotten after it."""
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))


def recorded(f):
    with draw.keep_values() as kept:
        return f(), kept


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_networks_pass_to_rounding(layer, dtype):
    net = layer(2, 3, bidirectional=True, rng=0, dtype=dtype, return_state=False)
    x = rng.standard_normal((2, 4, 2)).astype(dtype)
    loss, kept = recorded(lambda: nn.mse(net(x, lengths=np.array([4, 2])), np.zeros((2, 4, 6), dtype)))
    found = draw.check(loss, kept=kept)
    assert found
    assert len(found.entries) == len(tg.Tape(loss))
    assert all(check.method == "complex" and check.error < 1e-13 for check in found.entries)
    loss.backward()
    assert draw.check(loss, kept=kept)


def test_a_wrong_rule_is_named_with_its_step(declared):
    @tg.primitive(elementwise=True)
    def wave(x, /):
        """Sine."""
        return np.sin(x)

    wave.defvjp(lambda g, _y, x: g * np.cos(x) * 1.0001)

    def run():
        h = tg.tensor(rng.standard_normal(5), requires_grad=True)
        for t in range(3):
            with tg.scope(f"t={t}", step=t):
                h = tg.tanh(wave(h) if t == 1 else h * 2.0)
        return h.sum()

    loss, kept = recorded(run)
    found = draw.check(loss, kept=kept)
    assert not found
    (wrong,) = [check for check in found.entries if not check.ok]
    assert (wrong.entry.primitive.name, str(wrong.entry.scope)) == ("wave", "t=1")
    assert 1e-6 < found.errors[wrong.entry] < 1e-3
    lines = str(found).splitlines()
    assert lines[0] == "7 of 7 operations checked, 1 FAILED"
    assert lines[1].startswith(f"FAILED  %{wrong.number} wave, in scope t=1: relative error ")


def test_one_wrong_element_of_many_and_a_rule_of_nan(declared):
    @tg.primitive(elementwise=True)
    def almost(x, /):
        """The same."""
        return x * 1

    almost.defvjp(lambda g, _y, _x: g * np.where(np.arange(500) == 321, 0, 1))

    @tg.primitive(elementwise=True)
    def nothing(x, /):
        """The same."""
        return x * 1

    nothing.defvjp(lambda g, _y, _x: g * np.nan)
    x = tg.tensor(rng.standard_normal(500), requires_grad=True)
    for operation in almost, nothing:
        loss, kept = recorded(lambda op=operation: op(x).sum())
        found = draw.check(loss, kept=kept)
        assert [check.ok for check in found.entries] == [False, True]


def test_one_wrong_input_of_a_great_many(declared):
    @tg.primitive()
    def total(*arrays):
        """The sum of all."""
        return sum(arrays[1:], start=arrays[0])

    total.defvjp(joint=lambda g, _y, *_arrays: [g] * 20 + [g * 1.01] + [g] * 9)
    xs = [tg.tensor(rng.standard_normal(2), requires_grad=True) for _ in range(30)]
    loss, kept = recorded(lambda: total(xs))
    assert not draw.check(loss, kept=kept)
    good, kept = recorded(lambda: tg.stack(xs))
    assert draw.check(good, kept=kept)


def test_kinks_and_what_declares_to_be_analytic_and_is_not(declared):
    @tg.primitive(elementwise=True)
    def ramp(x, /):
        """max(x, 0), which takes no complex numbers here."""
        if np.iscomplexobj(x):
            raise TypeError("real numbers only")
        return np.maximum(x, 0)

    ramp.defvjp(lambda g, _y, x: g * (x > 0))
    x = tg.tensor([-1.0, 2.0], requires_grad=True)
    loss, kept = recorded(lambda: tg.relu(x * np.array([1.0, 0.0])).sum() + ramp(x).sum())
    by_name = {check.entry.primitive.name: check for check in draw.check(loss, kept=kept).entries}
    assert by_name["relu"].reason == "at a point without a derivative"
    assert np.isnan(by_name["relu"].error)
    assert by_name["ramp"].method == "central"
    assert by_name["ramp"].ok


def test_several_outputs_joint_rules_numbers_and_empty_arrays():
    def run():
        a = tg.tensor(rng.standard_normal((4, 6)), requires_grad=True)
        empty = tg.tensor(np.zeros((0, 3)), requires_grad=True)
        left, right, _ = tg.split(a, 3, axis=1)
        joined = tg.concatenate([left, right, left[:, [0, 0]]], axis=1)
        u, s, _ = tg.svd(a @ a.T)
        return joined.sum() + s.sum() + empty.sum() + tg.norm(2.0 * a) + u.sum() * 0

    loss, kept = recorded(run)
    assert draw.check(loss, kept=kept)


def test_without_what_was_kept_the_reason_is_said():
    net = nn.GRU(2, 3, rng=0, return_state=False)
    loss = net(rng.standard_normal((2, 3, 2)).astype(np.float32)).sum()
    # The parameters are there, so that all can be computed again.
    assert all(check.method for check in draw.check(loss).entries)
    gone = tg.tensor(rng.standard_normal((3, 2)), requires_grad=True)
    some = tg.tanh(rng.standard_normal((4, 3)) @ gone).sum()
    del gone
    assert [bool(check.method) for check in draw.check(some).entries] == [False, False, True]
    loss.backward()
    none = draw.check(loss)
    assert not none
    assert "not checked: " in str(none)
    assert "(inputs not kept; record it inside draw.keep_values())" in str(none)


def test_a_checkpoint_cannot_be_checked_by_itself():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    loss, kept = recorded(lambda: tg.checkpoint(tg.tanh)(x).sum())
    check = draw.check(loss, kept=kept).entries[0]
    assert not check.method
    assert check.reason.startswith("checkpoint cannot be computed again")
