"""Layers around layers, and long sequences in chunks."""

import numpy as np
import pytest
from rnn_oracles import parts_of, randomise, results, state_of, states_for

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

KINDS = ["RNN", "LSTM", "GRU"]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("padding", ["none", "lengths", "mask"])
@pytest.mark.parametrize("return_sequences", [True, False])
def test_bidirectional_wrapper_equals_the_flag(batch_first, padding, return_sequences):
    options = {"batch_first": batch_first, "return_sequences": return_sequences, "dtype": np.float64}
    flagged = nn.LSTM(2, 3, bidirectional=True, rng=0, **options)
    wrapped = nn.Bidirectional(nn.LSTM(2, 3, **options), rng=1)
    values = flagged.state_dict()
    wrapped.forward_layer.load_state_dict({k: v for k, v in values.items() if "reverse" not in k})
    wrapped.backward_layer.load_state_dict(
        {k.removesuffix("_reverse"): v for k, v in values.items() if "reverse" in k}
    )
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    mask = np.array([[1, 1, 1, 1], [0, 1, 0, 0], [1, 0, 0, 1]], bool)
    given = {"none": {}, "lengths": {"lengths": [4, 1, 0]}, "mask": {"mask": mask if batch_first else mask.T}}
    x = x if batch_first else x.swapaxes(0, 1)
    y, state = flagged(x, **given[padding])
    y2, both = wrapped(x, **given[padding])
    np.testing.assert_allclose(y2.numpy(), y.numpy(), rtol=1e-12, atol=1e-15)
    for k, whole in enumerate(state):
        joined = np.concatenate([both.forward[k].numpy(), both.backward[k].numpy()], whole.layer_axis)
        np.testing.assert_allclose(joined, whole.numpy(), rtol=1e-12, atol=1e-15)


def test_bidirectional_copy_has_parameters_of_its_own():
    wrapped = nn.Bidirectional(nn.GRU(2, 3, rng=0), rng=1)
    assert len(list(wrapped.parameters())) == 8
    for a, b in zip(wrapped.forward_layer.parameters(), wrapped.backward_layer.parameters(), strict=True):
        assert a is not b
        assert not np.array_equal(a.numpy(), b.numpy())


def test_bidirectional_takes_two_kinds_of_layers():
    x = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    both = nn.Bidirectional(nn.GRU(2, 3, rng=0), nn.LSTM(2, 5, rng=0))
    y, state = both(x, lengths=[2, 0, 4])
    assert y.shape == (3, 4, 8)
    assert both.output_size == 8
    assert state.backward.c.shape == (3, 1, 5)


def stack_by_hand(layers, x, **options):
    after = []
    for layer in layers:
        x, state = layer(x, **options)
        after.append(state)
    return x, after


def test_stacked_layers_of_different_kinds():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 2))
    options = {"rng": rng, "dtype": np.float64}
    layers = [
        nn.GRU(2, 4, bidirectional=True, **options),
        nn.Bidirectional(nn.LSTM(8, 3, **options), rng=rng),
        nn.RNN(6, 2, return_sequences=False, **options),
    ]
    stacked = nn.Stacked(layers)
    for given in ({}, {"lengths": [3, 0, 5]}, {"mask": rng.random((3, 5)) < 0.5}):
        y, state = stacked(x, **given)
        expected, after = stack_by_hand(layers, x, **given)
        assert np.array_equal(y.numpy(), expected.numpy())
        assert isinstance(state, nn.LayerStates)
        for a, b in zip(nn.states.tensors_of(state), nn.states.tensors_of(tuple(after)), strict=True):
            assert np.array_equal(a.numpy(), b.numpy())
    assert stacked.output_size == 2
    assert next(stacked.named_parameters())[0] == "0.weight_ih_l0"
    lists = [x[0, :3], x[1, :0], x[2]]
    assert np.array_equal(stacked(lists)[0].numpy(), stacked(x, lengths=[3, 0, 5])[0].numpy())


def test_stacked_cells_and_dropout():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 2))
    cells = [nn.GRUCell(2, 4, rng=0, dtype=np.float64), nn.LSTMCell(4, 3, rng=0, dtype=np.float64)]
    stacked = nn.Stacked(cells, dropout=0.5, rng=1)
    assert not np.array_equal(stacked(x)[0].numpy(), stacked(x)[0].numpy())
    stacked.eval()
    expected = nn.Stacked([nn.Recurrent(cell) for cell in cells])(x)[0]
    assert np.array_equal(stacked(x)[0].numpy(), expected.numpy())


@pytest.mark.parametrize("kind", [*KINDS, "MGU"])
@pytest.mark.parametrize("k", [1, 3, 4, 100])
@pytest.mark.parametrize("lengths", [None, [5, 11, 0, 4, 11, 7]])
@pytest.mark.parametrize("batch_first", [True, False])
def test_chunks_have_the_same_forward_bit_for_bit(kind, k, lengths, batch_first):
    layer = getattr(nn, kind)(3, 16, 2, batch_first=batch_first, rng=0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 11, 3)).astype(np.float32)
    x = x if batch_first else x.swapaxes(0, 1)
    time = 1 if batch_first else 0
    for start in (None, [s.astype(np.float32) for s in states_for(layer, 6, rng)]):
        given = None if start is None else state_of(layer, start)
        whole, final = layer(x, given, lengths=lengths)
        chunks = list(nn.tbptt(layer, x, k, given, lengths=lengths))
        assert np.array_equal(np.concatenate([y.numpy() for _, y, _ in chunks], axis=time), whole.numpy())
        for a, b in zip(parts_of(chunks[-1][2]), parts_of(final), strict=True):
            assert np.array_equal(a.numpy(), b.numpy())
            assert isinstance(a, nn.HiddenState)
            assert not a.requires_grad
        assert [(s.start, s.stop) for s, _, _ in chunks] == [(t, min(t + k, 11)) for t in range(0, 11, k)]


@pytest.mark.parametrize("batch_first", [True, False])
def test_chunks_with_masks(batch_first):
    layer = nn.LSTM(3, 4, batch_first=batch_first, rng=0, dtype=np.float64)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 7, 3))
    mask = rng.random((4, 7)) < 0.7
    x, mask = (x, mask) if batch_first else (x.swapaxes(0, 1), mask.T)
    whole, *final = results(layer, x, mask=mask)
    chunks = list(nn.tbptt(layer, x, 3, mask=mask))
    joined = np.concatenate([y.numpy() for _, y, _ in chunks], axis=1 if batch_first else 0)
    np.testing.assert_allclose(joined, whole, rtol=1e-12, atol=1e-14)
    for a, b in zip(chunks[-1][2], final, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-12, atol=1e-14)


def test_gradients_reach_back_to_the_chunks_first_step():
    layer = nn.GRU(2, 3, rng=0, dtype=np.float64)
    x = tg.tensor(np.random.default_rng(0).standard_normal((2, 6, 2)), requires_grad=True)
    reached = []
    for _, y, _ in nn.tbptt(layer, x, 2):
        x.grad = None
        y[:, -1].sum().backward()
        reached.append(np.flatnonzero(np.abs(x.grad.numpy()).sum((0, 2))).tolist())
    assert reached == [[0, 1], [2, 3], [4, 5]]


def test_training_in_chunks_learns():
    """Tell the running parity of a sequence of bits."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (32, 40))
    x, target = bits[..., None].astype(np.float32), (bits.cumsum(1) % 2).astype(np.float32)[..., None]
    layer, head = nn.GRU(1, 8, rng=rng), nn.Linear(8, 1, rng=rng)
    optimiser = optim.Adam([*layer.parameters(), *head.parameters()], lr=0.03)
    for _ in range(30):
        for steps, y, _ in nn.tbptt(layer, x, 8):
            loss = nn.binary_cross_entropy_with_logits(head(y), target[:, steps])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert loss.item() < 0.1


def test_a_copied_layer_draws_new_parameters_for_each_direction():
    cell = randomise(nn.GRUCell(2, 3, dtype=np.float64), np.random.default_rng(0))
    layer = nn.Recurrent(cell, bidirectional=True, rng=0)
    assert layer.l0 is cell
    assert not np.array_equal(layer.l0_reverse.weight_hh.numpy(), cell.weight_hh.numpy())


@pytest.mark.parametrize("no_cell", [nn.GRU(2, 3), lambda x, state: (x, state), nn.Linear(2, 3), None])
def test_recurrent_takes_cells_only(no_cell):
    with pytest.raises(TypeError, match=r"runs cells, cell\(x_t, state\) .* is none"):
        nn.Recurrent(no_cell)


@pytest.mark.parametrize("options", [{"recurrent_dropout": 0.5}, {"zoneout": 0.5}])
def test_a_copied_layer_draws_masks_of_its_own(options):
    layer = nn.Bidirectional(nn.LSTM(2, 40, rng=0, **options), rng=1)
    for one, other in zip(layer.forward_layer.parameters(), layer.backward_layer.parameters(), strict=True):
        other.assign_(one.numpy())
    x = np.ones((1, 3, 2), np.float32)  # reads the same in both directions
    y, _ = layer(x)
    assert not np.allclose(y.numpy()[..., :40], y.numpy()[:, ::-1, 40:])
    y, _ = layer.eval()(x)
    np.testing.assert_allclose(y.numpy()[..., :40], y.numpy()[:, ::-1, 40:], atol=1e-6)


def test_a_cell_in_both_directions():
    cell = nn.GRUCell(2, 3, rng=0)
    wrapped, flag = nn.Bidirectional(cell, rng=1), nn.Recurrent(cell, bidirectional=True, rng=1)
    np.testing.assert_allclose(wrapped(X)[0].numpy(), flag(X)[0].numpy(), atol=1e-6)


def test_chunks_with_unsigned_lengths():
    layer = nn.GRU(2, 3, rng=0)
    lengths = np.array([1, 3], np.uint8)
    y, state = layer(X, lengths=lengths)
    parts = list(nn.tbptt(layer, X, 1, lengths=lengths))
    assert np.array_equal(np.concatenate([part.numpy() for _, part, _ in parts], axis=1), y.numpy())
    assert np.array_equal(parts[-1][2].numpy(), state.numpy())


def test_chunks_of_a_list_of_arrays():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((n, 2)) for n in (3, 7, 0)]
    layer = nn.GRU(2, 3, rng=0, dtype=np.float64)
    whole, final = layer(arrays)
    parts = list(nn.tbptt(layer, arrays, 2))
    assert np.array_equal(np.concatenate([y.numpy() for _, y, _ in parts], axis=1), whole.numpy())
    assert np.array_equal(parts[-1][2].numpy(), final.numpy())


@pytest.mark.parametrize("other", [nn.GRUCell(2, 3), nn.Linear(2, 3)])
def test_chunks_are_for_layers(other):
    with pytest.raises(TypeError, match="tbptt needs a recurrent layer, got"):
        next(nn.tbptt(other, X, 2))


X = np.random.default_rng(9).standard_normal((2, 3, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: nn.Bidirectional(nn.GRU(2, 3), nn.GRU(2, 3, return_sequences=False)),
            "differ in return_sequ",
        ),
        (lambda: nn.Bidirectional(nn.GRU(2, 3, return_state="all")), "for those of all steps use"),
        (lambda: nn.Bidirectional(nn.GRU(2, 3), merge="max"), "merge must be one of 'concat'"),
        (
            lambda: nn.Bidirectional(nn.GRU(2, 3), nn.GRU(2, 4), merge="sum"),
            "outputs of one size, got 3 and 4",
        ),
        (lambda: nn.Bidirectional(*[nn.GRU(2, 3)] * 2), "the two layers are one"),
        (lambda: nn.Recurrent([]), "at least one cell"),
        (lambda: nn.Recurrent([(nn.GRUCell(2, 3), nn.GRUCell(2, 3))]), "layer 0 has 2 cells"),
        (lambda: nn.Stacked([]), "at least one layer"),
        (
            lambda: nn.Stacked([nn.GRU(2, 3, return_sequences=False), nn.GRU(3, 3)]),
            "layer 0 must have return_seq",
        ),
        (
            lambda: nn.Stacked([nn.GRU(2, 3, return_state=False), nn.GRU(3, 3)]),
            "0 and 1 differ in return_state",
        ),
        (lambda: nn.Stacked([nn.GRU(2, 3)])(X, np.zeros((2, 1, 3))), "a tuple of 1 states, one per layer"),
        (lambda: nn.Bidirectional(nn.GRU(2, 3), nn.GRU(2, 3, go_backwards=True)), "leave it out of both"),
        (lambda: nn.Bidirectional(nn.GRU(2, 3, go_backwards=True)), "would turn them back"),
        (lambda: nn.Bidirectional(nn.GRU(2, 3, bidirectional=True, merge=None)), "gives two outputs"),
        (lambda: nn.Bidirectional(nn.GRU(2, 3))(X[0, 0]), r"GRU expected x of shape \(batch, time"),
        (lambda: nn.Bidirectional(nn.GRU(2, 3))(X, (None, None, None)), "a pair of states"),
        (
            lambda: nn.Stacked([nn.GRU(2, 3, bidirectional=True, merge=None), nn.GRU(3, 3)]),
            "layer 0 must not have merge=None",
        ),
        (lambda: next(nn.tbptt(nn.GRU(2, 3), X, 0)), "chunks of at least 1 step"),
        (lambda: next(nn.tbptt(nn.GRU(2, 3), X, 1.5)), "chunks of at least 1 step, got k=1.5"),
        (lambda: next(nn.tbptt(nn.Bidirectional(nn.GRU(2, 3)), X, 2)), "reads forwards"),
        (lambda: next(nn.tbptt(nn.GRU(2, 3, bidirectional=True), X, 2)), "reads forwards"),
        (lambda: next(nn.tbptt(nn.GRU(2, 3, go_backwards=True), X, 2)), "reads forwards"),
        (lambda: next(nn.tbptt(nn.GRU(2, 3, return_state=False), X, 2)), "return_state=True"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
