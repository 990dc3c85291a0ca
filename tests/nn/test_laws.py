"""Laws that hold for every recurrent layer, at sizes, flags, lengths and gaps that Hypothesis chooses."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rnn_oracles import parts_of, randomise, results, states_for

from tinygrad_rnn import nn

VARIANTS = [
    (nn.RNN, {}),
    (nn.GRU, {}),
    (nn.GRU, {"reset_after": False, "update_gate": "replace"}),
    (nn.MGU, {}),
    (nn.LSTM, {}),
    (nn.LSTM, {"peephole": "full", "proj_size": 2}),
    (nn.LSTM, {"layer_norm": True, "coupled": True}),
]


@st.composite
def calls(draw, **flags):
    """A layer with random weights, a batch, a mask and initial states."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    make, options = draw(st.sampled_from(VARIANTS))
    flags = {"num_layers": draw(st.integers(1, 2)), "bidirectional": draw(st.booleans()), **flags}
    layer = randomise(make(2, 3, rng=rng, dtype=np.float64, **options, **flags), rng)
    batch, steps = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    if draw(st.booleans()):
        mask = np.arange(steps) < rng.integers(0, steps + 1, (batch, 1))
    else:
        mask = rng.random((batch, steps)) < draw(st.sampled_from([0.3, 0.8, 1.0]))
    count = layer.num_layers * (1 + layer.bidirectional)
    assert count
    states = state_arrays(layer, batch, rng)
    return layer, rng.standard_normal((batch, steps, 2)), mask, states, rng


def state_arrays(layer, batch, rng):
    if isinstance(layer, nn.LSTM):
        return states_for(layer, batch, rng)
    count = layer.num_layers * (1 + layer.bidirectional)
    return [rng.standard_normal((batch, count, 3))]


def same(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def single(layer, suffix):
    """One direction of a one-layer layer, as a layer."""
    return nn.Recurrent(getattr(layer, f"l0{suffix}"))


@given(calls(num_layers=1, bidirectional=True))
def test_bidirectional_is_forward_and_reversed_backward(call):
    layer, x, mask, states, _ = call
    y, *final = results(layer, x, states, mask=mask)

    def direction(k, x, mask):
        given = [s[:, k : k + 1] for s in states]
        out, state = single(layer, ["", "_reverse"][k])(
            x, tuple(given) if len(given) > 1 else given[0], mask=mask
        )
        return [out.numpy(), *[p.numpy() for p in parts_of(state)]]

    ahead, *h_ahead = direction(0, x, mask)
    behind, *h_behind = direction(1, x[:, ::-1], mask[:, ::-1])
    same([y], [np.concatenate([ahead, behind[:, ::-1]], axis=-1)])
    same(final, [np.concatenate(pair, axis=1) for pair in zip(h_ahead, h_behind, strict=True)])


@given(calls(bidirectional=False), st.integers(0, 6))
def test_chunks_are_the_whole(call, cut):
    layer, x, mask, states, _ = call
    whole = results(layer, x, states, mask=mask)
    first, *middle = results(layer, x[:, :cut], states, mask=mask[:, :cut])
    second, *final = results(layer, x[:, cut:], middle, mask=mask[:, cut:])
    same(whole, [np.concatenate([first, second], axis=1), *final])


@given(calls(), st.sampled_from([np.nan, np.inf, -1e300, 7.0]))
def test_padded_values_change_nothing_bit_for_bit(call, filling):
    layer, x, mask, states, _ = call
    before = results(layer, np.where(mask[..., None], x, 0), states, mask=mask)
    after = results(layer, np.where(mask[..., None], x, filling), states, mask=mask)
    for a, b in zip(before, after, strict=True):
        assert np.array_equal(a, b)
    assert not before[0][~mask].any()


@given(calls(), st.integers(1, 3))
def test_more_padding_changes_nothing_bit_for_bit(call, more):
    layer, x, mask, states, _ = call
    y, *final = results(layer, x, states, mask=mask)
    wide = np.pad(mask, ((0, 0), (0, more)))
    longer, *again = results(layer, np.pad(x, ((0, 0), (0, more), (0, 0))), states, mask=wide)
    if mask.all():  # the plain loop multiplies other memory layouts, with other rounding
        same([longer[:, : x.shape[1]], *again], [y, *final])
    else:
        assert all(
            np.array_equal(a, b) for a, b in zip([longer[:, : x.shape[1]], *again], [y, *final], strict=True)
        )
    assert not longer[:, x.shape[1] :].any()


@given(calls())
def test_permuting_the_batch_permutes_the_result(call):
    layer, x, mask, states, rng = call
    order = rng.permutation(len(x))
    permuted = results(layer, x[order], [s[order] for s in states], mask=mask[order])
    same(permuted, [r[order] for r in results(layer, x, states, mask=mask)])


@given(calls())
def test_each_sequence_is_as_if_it_were_alone(call):
    layer, x, mask, states, _ = call
    y, *final = results(layer, x, states, mask=mask)
    for b, own in enumerate(mask):
        alone, *state = results(layer, x[b : b + 1, own], [s[b : b + 1] for s in states])
        same([y[b : b + 1, own], *[s[b : b + 1] for s in final]], [alone, *state])


@given(calls(num_layers=2))
def test_a_stack_is_its_layers_one_after_another(call):
    layer, x, mask, states, _ = call
    n = 1 + layer.bidirectional
    y, *final = results(layer, x, states, mask=mask)
    out = x
    for k in range(2):
        cells = [getattr(layer, f"l{k}{suffix}") for suffix in ("", "_reverse")[:n]]
        one = nn.Recurrent([tuple(cells)], bidirectional=layer.bidirectional)
        given = [s[:, k * n : (k + 1) * n] for s in states]
        out, (state,) = one(out, [tuple(given) if len(given) > 1 else given[0]], mask=mask)
        same([s[:, k * n : (k + 1) * n] for s in final], [p.numpy() for p in parts_of(state)])
    same([y], [out.numpy()])


@given(calls(num_layers=1, bidirectional=False))
def test_a_cell_under_recurrent_is_the_built_in_layer(call):
    layer, x, mask, states, _ = call
    recurrent = nn.Recurrent(layer.l0)
    state = tuple(states) if len(states) > 1 else states[0]
    out, final = recurrent(x, state, mask=mask)
    again = [out.numpy(), *[p.numpy() for p in parts_of(final)]]
    for a, b in zip(results(layer, x, states, mask=mask), again, strict=True):
        assert np.array_equal(a, b)
    assert type(final) is type(layer(x)[1])
