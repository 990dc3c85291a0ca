"""Norms of state gradients and parts of weight gradients, against gradients got in another way."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.draw.flows import flow, step_gradients
from tinygrad_rnn.observing import dense

rng = np.random.default_rng(7)


def by_name(flows):
    return {(f.path, f.state): f for f in flows}


def probe(state, probes):
    """The state with a leaf of zeros added, whose gradient is that of the state."""
    probes.append(tg.tensor(np.zeros(state.shape), requires_grad=True))
    return state + probes[-1]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_norms_are_those_of_what_is_added_to_the_states(kind):
    w, u = (tg.tensor(rng.standard_normal((4 * 4, n)), requires_grad=True) for n in (3, 4))
    x = tg.tensor(rng.standard_normal((2, 6, 3)))

    def run(look):
        """The states' gradients, by what ``look`` makes of the states as they are computed."""
        h = c = tg.tensor(np.zeros((2, 4)))
        probes, outputs = {"h": [], "c": []}, []
        for t in range(6):
            with tg.scope(f"t={t}", step=t):
                i, f, g, o = tg.split(x[:, t] @ w.T + h @ u.T, 4, axis=-1)
                if kind == "LSTM":
                    c = look(tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g), probes["c"])
                    h = tg.sigmoid(o) * tg.tanh(c)
                elif kind == "GRU":
                    h = (1 - tg.sigmoid(i)) * tg.tanh(f + g * o) + tg.sigmoid(i) * h
                else:
                    h = tg.tanh(i)
                h = look(h, probes["h"])
            outputs.append(h)
        return (tg.stack(outputs) ** 3).sum(), probes

    loss, probes = run(probe)
    loss.backward()
    found = by_name(flow(run(lambda state, _: state)[0]))
    assert set(found) == ({("", "h"), ("", "c")} if kind == "LSTM" else {("", "h")})
    for (_, name), f in found.items():
        expected = [np.linalg.norm(z.grad.numpy()) for z in probes[name]]
        np.testing.assert_allclose(f.norms, expected, rtol=1e-12)
        np.testing.assert_array_equal(f.steps, np.arange(6))
        np.testing.assert_allclose(f.factor, (expected[0] / expected[-1]) ** (1 / 5), rtol=1e-12)
        assert f.computed.all()


def test_layers_and_directions():
    net = nn.LSTM(2, 3, num_layers=2, bidirectional=True, rng=0, return_state=False)
    x = rng.standard_normal((2, 5, 2)).astype(np.float32)
    flows = flow((net(x)[:, -1] ** 2).sum())
    paths = [f"lstm/l{k}{suffix}" for k in (0, 1) for suffix in ("", "_reverse")]
    assert [(f.path, f.state) for f in flows] == [(p, s) for p in paths for s in "hc"]
    backwards = by_name(flows)["lstm/l1_reverse", "h"]
    assert backwards.steps.tolist() == [4, 3, 2, 1, 0]
    assert backwards.norms[0] > 0
    assert not backwards.norms[1:].any()  # exactly: the output at the last step is its first
    assert backwards.computed.all()
    assert np.isnan(backwards.factor)


def test_a_pass_leaves_the_tape_and_the_gradients_alone():
    net = nn.GRU(2, 3, rng=0, return_state=False)
    loss = net(rng.standard_normal((1, 4, 2)).astype(np.float32)).sum()
    flow(loss)
    step_gradients(loss, net.weight_hh_l0)
    assert all(p.grad is None for p in net.parameters())
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        flow(loss)
    with pytest.raises(RuntimeError, match="retain_graph"):
        step_gradients(loss, net.weight_hh_l0)


def test_not_computed_is_neither_zero_nor_not_finite():
    u = tg.tensor(rng.standard_normal((2, 2)), requires_grad=True)
    h, c = tg.tensor(np.ones((1, 2))), tg.tensor(np.ones((1, 2)))
    for t in range(4):
        with tg.scope(f"t={t}", step=t):
            h, c = tg.tanh(h @ u) + c, c * u[0] + h
    found = by_name(flow(h))["", "c"]  # h does not depend on the c of its own step
    assert found.computed.tolist() == [True, True, True, False]
    assert found.places[-1] is None
    h = w = tg.tensor([1.0, -1.0], requires_grad=True)
    for t in range(2):
        with tg.scope(f"t={t}", step=t):
            h = h * w
    with np.errstate(all="ignore"):
        (found,) = flow(tg.sqrt(h * 0.0 - 1.0).sum())
    assert np.isnan(found.norms).all()
    assert found.computed.all()


def test_large_float16_gradients_have_a_norm():
    h = tg.tensor(np.ones(100, np.float16), requires_grad=True)
    for t in range(3):
        with tg.scope(f"t={t}", step=t):
            h = h * 1.0
    (found,) = flow(h * 6e4)
    np.testing.assert_allclose(found.norms, 6e5, rtol=1e-2)


def test_without_steps_there_is_no_flow():
    assert flow(tg.tensor([1.0], requires_grad=True) * 2.0) == []


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("lengths", [None, [5, 2, 3]])
def test_parts_add_up_to_the_gradient(layer, lengths):
    net = layer(2, 3, num_layers=2, bidirectional=True, rng=0, dtype=np.float64, return_state=False)
    x = rng.standard_normal((3, 5, 2))
    loss = (net(x, lengths=None if lengths is None else np.array(lengths)) ** 2).sum()
    parts = {name: step_gradients(loss, p) for name, p in net.named_parameters()}
    loss.backward()
    for name, p in net.named_parameters():
        np.testing.assert_allclose(sum(parts[name].values()), p.grad.numpy(), rtol=1e-12, atol=1e-14)
        paths = {path for path, _ in parts[name]}
        assert paths == {f"{layer.__name__.lower()}/l" + name.rpartition("_l")[2]}
        steps = [t for _, t in parts[name]]
        assert steps == sorted(steps, reverse=name.endswith("_reverse"))


def test_parts_of_what_is_computed_before_the_loop_belong_to_the_steps():
    """By hand: the loss is a sum over steps, so each part is the gradient of one of its terms."""
    w = tg.tensor(rng.standard_normal((3, 2)), requires_grad=True)
    x = rng.standard_normal((4, 3))

    def loss(steps, head):
        turned = (w * 2.0).T
        projected = tg.unstack(np.asarray(x) @ turned.T, axis=0)
        total = 0.0
        for t in steps:
            with tg.scope(f"t={t}", step=t):
                total = total + (tg.tanh(projected[t]) * (x[t] @ turned.T) + projected[t] ** 2).sum()
        return total + (w * w).sum() * head

    parts = step_gradients(loss(range(4), 1.0), w)
    assert list(parts) == [("", 0), ("", 1), ("", 2), ("", 3), ("", None)]
    for (_, t), part in parts.items():
        w.grad = None
        (loss([], 1.0) if t is None else loss([t], 0.0)).backward()
        np.testing.assert_allclose(part, w.grad.numpy(), rtol=1e-12)


def test_what_a_checkpoint_computes_again_is_not_counted_twice():
    w = tg.tensor(rng.standard_normal((2, 2)), requires_grad=True)
    h = tg.tensor(np.ones((1, 2)), requires_grad=True)
    for t in range(3):
        with tg.scope(f"t={t}", step=t):
            h = tg.checkpoint(lambda h: tg.tanh(h @ w))(h)
    parts = step_gradients(h, w)
    h.sum().backward()
    assert list(parts) == [("", 0), ("", 1), ("", 2)]
    np.testing.assert_allclose(sum(parts.values()), w.grad.numpy(), rtol=1e-12)


def test_norms_of_states_among_several_outputs():
    w = tg.tensor(rng.standard_normal((2, 4)), requires_grad=True)
    h, c = (tg.tensor(rng.standard_normal((1, 2)), requires_grad=True) for _ in range(2))
    probes = []
    for t in range(3):
        with tg.scope(f"t={t}", step=t):
            h, c = tg.split(h @ w + tg.concatenate([c, c * 3.0], axis=1), 2, axis=1)
        probes.append((h, c))
    loss = (h * 2.0 + c).sum()
    found = by_name(flow(loss))
    for k, name in enumerate("hc"):
        for t, states in enumerate(probes):
            direct = np.linalg.norm(cotangent(loss, states[k].place))
            np.testing.assert_allclose(found["", name].norms[t], direct, rtol=1e-12)


def cotangent(loss, place):
    """What arrives at a place, added up from the shares."""
    total = 0

    class Add(tg.Observer):
        def carried(self, entry, k, g, gk):
            nonlocal total
            if entry.parents[k] is place:
                total = total + dense(gk, place)

    with Add():
        loss.backward(retain_graph=True)
    return total


def test_the_only_step_has_a_norm():
    net = nn.GRU(2, 3, rng=0, return_state=False)
    (found,) = flow(net(np.ones((1, 1, 2), np.float32)).sum())
    np.testing.assert_allclose(found.norms, [np.sqrt(3)], rtol=1e-6)


def test_an_empty_sequence_is_named():
    nothing = nn.RNN(2, 2, rng=0, return_state=False)(np.ones((1, 0, 2), np.float32))
    with pytest.raises(ValueError, match="it is empty, as of a sequence without time steps"):
        flow(nothing)
    with pytest.raises(ValueError, match=r"no_grad\(\) or of a sequence without time steps"):
        flow(nothing.sum())


def test_parts_without_any_loop():
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    assert step_gradients(w, w)["", None].tolist() == [1.0, 1.0]
    assert step_gradients((w * w).sum(), w)["", None].tolist() == [2.0, 4.0]
    assert step_gradients([w, w * 3.0], w)["", None].tolist() == [4.0, 4.0]


def test_what_cannot_be_asked():
    w, v = (tg.tensor([1.0], requires_grad=True) for _ in range(2))
    with pytest.raises(ValueError, match="does not depend on this tensor"):
        step_gradients(w * 2.0, v)
    with pytest.raises(ValueError, match="does not depend on this tensor"):
        step_gradients(w * 2.0, tg.tensor([1.0]))
    with pytest.raises(TypeError, match=r"draw\.flow takes a tensor or a sequence of them, got float"):
        flow(1.0)
    with pytest.raises(ValueError, match="off the tape"):
        flow(tg.tensor([1.0]))
    with pytest.raises(TypeError, match="needs a tensor, got none"):
        flow([])
