"""Recurrent layers against PyTorch with random weights; flags; bad input."""

import copy
import functools
import itertools

import numpy as np
import pytest
from rnn_oracles import (
    blocks,
    parts_of,
    randomise,
    results,
    state_of,
    states_for,
    torch_results,
    torch_twin,
)

import tinygrad_rnn as tg
from tinygrad_rnn import nn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests")

KINDS = ["RNN", "LSTM", "GRU"]
VARIANTS = {
    "RNN": ("RNN", {}),
    "RNN-relu": ("RNN", {"nonlinearity": "relu"}),
    "LSTM": ("LSTM", {}),
    "LSTM-proj": ("LSTM", {"proj_size": 2}),
    "GRU": ("GRU", {}),
}


def draw(kind, options, rng, **flags):
    """A layer of random sizes and random weights, in float64."""
    sizes = [int(n) for n in rng.integers([1, 3, 1], [5, 7, 4])]
    drawn = {"bidirectional": bool(rng.integers(2)), "batch_first": bool(rng.integers(2))}
    flags = {**drawn, "bias": bool(rng.random() < 0.8), **options, **flags}
    return randomise(getattr(nn, kind)(*sizes, rng=rng, dtype=np.float64, **flags), rng)


def weighted(tensors, weights, asarray):
    """A sum that gives every output, and every element of it, a cotangent of its own."""
    return sum((t * asarray(w)).sum() for t, w in zip(tensors, weights, strict=True))


def same(ours, theirs, tolerance=1e-10):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_torch(variant, padded, seed):
    """Outputs, final states and all gradients, in all flags that PyTorch has, at random sizes."""
    rng = np.random.default_rng([seed, padded, *variant.encode()])
    kind, options = VARIANTS[variant]
    ours = draw(kind, options, rng)
    without_bias = {} if ours.l0.bias_ih is not None else {"bias": False}
    theirs = torch_twin(ours, **options, **without_bias)
    batch, steps = int(rng.integers(1, 6)), int(rng.choice([1, 2, 5, 8]))
    x = rng.standard_normal((batch, steps, ours.input_size))
    lengths = rng.integers(1, steps + 1, batch) if padded else None
    if padded:
        lengths[rng.integers(batch)] = steps  # PyTorch cuts the output at the longest sequence
        x[np.arange(steps) >= lengths[:, None]] = np.nan  # padding may hold anything
    x = x if ours.batch_first else x.swapaxes(0, 1)
    states = states_for(ours, batch, rng) if rng.integers(2) else []
    leaves = [tg.tensor(a, requires_grad=True) for a in (x, *states)]
    twins = [torch.tensor(a, requires_grad=True) for a in (np.nan_to_num(x), *states)]
    y, state = ours(leaves[0], state_of(ours, leaves[1:]), lengths=lengths)
    computed = [y, *parts_of(state)]
    expected = torch_results(
        ours, theirs, twins[0], twins[1:], None if lengths is None else torch.tensor(lengths)
    )
    weights = [rng.standard_normal(r.shape) for r in computed]
    weighted(computed, weights, np.asarray).backward()
    weighted(expected, weights, torch.tensor).backward()
    same([r.numpy() for r in computed], [r.detach().numpy() for r in expected])
    same([leaf.grad.numpy() for leaf in leaves], [twin.grad.numpy() for twin in twins])
    gradients = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    assert list(gradients) == [name for name, _ in ours.named_parameters()]
    same([p.grad.numpy() for p in ours.parameters()], gradients.values())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("batch", "steps"), [(0, 3), (2, 50)])
def test_equals_torch_at_other_sizes(variant, batch, steps):
    kind, options = VARIANTS[variant]
    rng = np.random.default_rng(4)
    ours = draw(kind, options, rng, batch_first=True, bias=True)
    x = rng.standard_normal((batch, steps, ours.input_size))
    expected = torch_results(ours, torch_twin(ours, **options), torch.tensor(x), [], None)
    same(results(ours, x), [r.detach().numpy() for r in expected])


def orders(count):
    return list(itertools.permutations(range(count)))[1:]


@pytest.mark.parametrize(
    ("kind", "names", "order"),
    [
        (kind, names, order)
        for kind, gates in (("GRU", 3), ("LSTM", 4))
        for names in (["weight_ih", "weight_hh", "bias_ih", "bias_hh"], ["weight_hh"])
        for order in orders(gates)
    ],
)
def test_every_wrong_gate_order_is_seen(kind, names, order):
    """The comparison with PyTorch fails for each other order of the gates, of all parameters or of one."""
    rng = np.random.default_rng(7)
    ours = randomise(getattr(nn, kind)(3, 5, rng=rng, dtype=np.float64), rng)
    x = rng.standard_normal((2, 4, 3))
    expected = torch_twin(ours)(torch.tensor(x))[0].detach().numpy()
    same([results(ours, x)[0]], [expected])
    gates = "".join(ours.l0.gate_names)
    for name in names:
        p = getattr(ours.l0, name)
        p.assign_(blocks(p.numpy(), [gates[k] for k in order], gates))
    with pytest.raises(AssertionError):
        same([results(ours, x)[0]], [expected], 1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_flags_choose_what_is_returned(kind, bidirectional):
    rng = np.random.default_rng(10)
    x = rng.standard_normal((3, 5, 2))
    lengths = [5, 2, 4]
    sizes, options = (2, 4, 2), {"bidirectional": bidirectional, "rng": 1, "dtype": np.float64}
    y, *states = results(getattr(nn, kind)(*sizes, **options), x, lengths=lengths)
    only = getattr(nn, kind)(*sizes, **options, return_state=False)
    assert np.array_equal(only(x, lengths=lengths).numpy(), y)
    final, *again = results(getattr(nn, kind)(*sizes, **options, return_sequences=False), x, lengths=lengths)
    # Each direction's own final output is the top layer's final h of that direction.
    directions = 2 if bidirectional else 1
    assert np.array_equal(final, states[0][:, -directions:].reshape(3, -1))
    same(states, again, 0)


@pytest.mark.parametrize("kind", [*KINDS, "MGU"])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_all_states(kind, batch_first, masked):
    """The states at every step are the final states of every beginning, and are carried over padding."""
    rng = np.random.default_rng(11)
    options = {"bidirectional": False, "batch_first": batch_first, "rng": 1, "dtype": np.float64}
    x = rng.standard_normal((3, 5, 2))
    mask = rng.random((3, 5)) < 0.6 if masked else np.ones((3, 5), bool)

    def run(steps, **more):
        layer = getattr(nn, kind)(2, 4, 2, **options, **more)
        turned = (
            (x[:, :steps], mask[:, :steps])
            if batch_first
            else (x[:, :steps].swapaxes(0, 1), mask[:, :steps].T)
        )
        return parts_of(layer(turned[0], mask=turned[1])[1])

    whole = run(5, return_state="all")
    for steps in range(1, 6):
        for every, final in zip(whole, run(steps), strict=True):
            at = every.numpy()[:, steps - 1] if batch_first else every.numpy()[steps - 1]
            np.testing.assert_allclose(at, final.numpy(), rtol=1e-12, atol=1e-14)
    part = whole[0]
    assert part.shape == ((3, 5, 2, 4) if batch_first else (5, 2, 3, 4))
    assert part.layer(1).shape == ((3, 5, 1, 4) if batch_first else (5, 1, 3, 4))
    assert np.array_equal(part.index([2]).numpy(), np.take(part.numpy(), [2], 0 if batch_first else 2))


@pytest.mark.parametrize("kind", KINDS)
def test_all_states_of_the_backward_direction_end_at_the_beginning(kind):
    layer = getattr(nn, kind)(2, 3, bidirectional=True, rng=0, return_state="all", dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    every = layer(x, lengths=[4, 0, 2])[1].direction("backward")
    layer.return_state = True
    for part, final in zip(parts_of(every), parts_of(layer(x, lengths=[4, 0, 2])[1]), strict=True):
        assert np.array_equal(part.numpy()[:, 0], final.direction("backward").numpy())
        assert not part.numpy()[2, 2:].any()  # not begun yet: the initial state


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    layer = getattr(nn, kind)(2, 3, bidirectional=True, rng=0)
    rng = np.random.default_rng(1)
    lengths = np.array([2, 0, 4])
    padding = np.arange(4) >= lengths[:, None]
    data = rng.standard_normal((3, 4, 2)).astype(np.float32)
    weights = rng.standard_normal((3, 4, 6)).astype(np.float32)

    def everything(filling):
        data[padding] = filling
        x = tg.tensor(data.copy(), requires_grad=True)
        layer.zero_grad()
        y, state = layer(x, lengths=lengths)
        (y * weights).sum().backward()
        return [t.numpy() for t in (y, x.grad, *parts_of(state), *(p.grad for p in layer.parameters()))]

    y, x_grad, h, *rest = everything(0.0)
    for filling in (np.nan, 1e30):
        for a, b in zip(everything(filling), [y, x_grad, h, *rest], strict=True):
            assert np.array_equal(a, b)
    assert not y[padding].any()
    assert not x_grad[padding].any()
    assert not h[1].any()  # length 0: the final state is the initial one
    assert y[~padding].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, [0, 0]])
def test_sequences_of_no_steps(kind, lengths):
    steps = 0 if lengths is None else 3
    x = np.zeros((2, steps, 2), np.float32)
    options = {"bidirectional": True, "learn_initial_state": True, "rng": 0}
    layer = getattr(nn, kind)(2, 3, **options)
    randomise(layer, np.random.default_rng(0))
    y, state = layer(x, lengths=lengths)
    assert y.shape == (2, steps, 6)
    assert not y.numpy().any()
    assert np.array_equal(
        parts_of(state)[0].numpy()[1], np.stack([layer.h0_l0.numpy(), layer.h0_l0_reverse.numpy()])
    )
    layer.return_state = "all"
    assert parts_of(layer(x, lengths=lengths)[1])[0].shape == (2, steps, 2, 3)
    layer.return_sequences, layer.return_state = False, False
    y = layer(x, lengths=lengths)
    assert y.shape == (2, 6)
    assert not y.numpy().any()


def test_a_sequence_of_no_steps_among_others_gives_zeros_at_the_end():
    layer = nn.LSTM(2, 3, bidirectional=True, return_sequences=False, rng=0)
    x = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    state = tuple(np.ones((3, 2, 3), np.float32) for _ in "hc")
    y, (h, c) = layer(x, state, lengths=[2, 0, 4])
    assert not y.numpy()[1].any()
    assert y.numpy()[[0, 2]].all()
    assert np.array_equal(h.numpy()[1], state[0][1])
    assert np.array_equal(c.numpy()[1], state[1][1])


def test_dropout_between_layers_only_while_training():
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    plain = nn.LSTM(3, 4, 2, rng=0, return_state=False)
    dropped = nn.LSTM(3, 4, 2, rng=0, return_state=False, dropout=0.5)
    one, two = dropped(x).numpy(), dropped(x).numpy()
    assert not np.array_equal(one, two)
    assert np.array_equal(dropped.eval()(x).numpy(), plain(x).numpy())


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("LSTM", lambda: nn.LSTM(3, 4, rng=0, return_state=False, dropout=0.5)),
        ("GRU", lambda: nn.GRU(3, [4], rng=0, return_state=False, dropout=0.5, bidirectional=True)),
        ("Recurrent", lambda: nn.Recurrent(nn.RNNCell(3, 4, rng=0), return_state=False, dropout=0.5)),
        ("Stacked", lambda: nn.Stacked([nn.RNN(3, 4, rng=0, return_state=False)], dropout=0.5)),
    ],
)
def test_dropout_of_a_single_layer_has_nothing_to_drop_and_says_so(kind, make):
    with pytest.warns(UserWarning, match=f"{kind}: dropout=0.5 has no effect on a single layer") as said:
        single = make()
    assert [w.filename for w in said] == [__file__]
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    assert np.array_equal(single(x).numpy(), single(x).numpy())


class Remembering(nn.RNNCell):
    """Keeps the masks that it is given."""

    def forward(self, x, h=None, recurrent_mask=None):
        self.seen = [*getattr(self, "seen", []), recurrent_mask]
        return super().forward(x, h, recurrent_mask)


class Sized:
    """A cell of one's own, elementwise: what broadcasts would be a result, and a wrong one."""

    def __init__(self, *features, **sizes):
        self.features = features
        vars(self).update(sizes)

    def initial_state(self, batch):
        return np.zeros((batch, *self.features))

    def __call__(self, x, h):
        h = 0.5 * h + (x if np.ndim(x) == h.ndim else x[:, None])
        return h, h


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("cell", "shape", "words"),
    [
        (Sized(3), (2, 3), r"\(batch, time, features\), got \(2, 3\); a cell .* tuple for its input_size"),
        (Sized(3), (3,), r"\(batch, time, features\), got \(3,\); a cell"),
        (Sized(3), (2, 4, 2, 3), r"\(batch, time, features\), got \(2, 4, 2, 3\); a cell"),
        (Sized(3, input_size=3), (2, 4), r"\(batch, time, features\), got \(2, 4\)$"),
        (Sized(3, input_size=3), (2, 4, 1), r"features of size 3 in the last axis of x, got \(2, 4, 1\)"),
        (Sized(2, 3, input_size=(2, 3)), (2, 4, 3), r"\(batch, time, 2, 3\), got \(2, 4, 3\)$"),
        (Sized(2, 3, input_size=(2, 3)), (2, 4, 1, 3), r"\(batch, time, 2, 3\), got \(2, 4, 1, 3\)$"),
        (Sized(3, input_size=()), (2, 4, 3), r"\(batch, time\), got \(2, 4, 3\)$"),
    ],
)
def test_x_of_another_rank_or_size_than_the_cell_reads(cell, shape, words, compiled):
    make = tg.compile if compiled else lambda layer: layer
    layer = make(nn.Recurrent(copy.copy(cell)))
    with pytest.raises(ValueError, match=f"Recurrent expected .*{words}"):
        layer(np.ones(shape))
    layer.batch_first = False
    with pytest.raises(
        ValueError, match=f"Recurrent expected .*{words.replace('batch, time', 'time, batch')}"
    ):
        layer(np.ones(shape))


@pytest.mark.parametrize(("features", "size"), [((3,), 3), ((2, 3), (2, 3)), ((3,), ())])
def test_a_cell_says_by_a_tuple_that_it_reads_other_features(features, size):
    cell = Sized(*features, input_size=size)
    x = np.random.default_rng(0).standard_normal((2, 4, *np.atleast_1d(np.array(size, int))))
    expected = nn.scan(cell, x)[0].numpy()
    compiled = tg.compile(nn.Recurrent(copy.copy(cell)), backend="numpy")
    assert "looped" in compiled.plan()
    for layer in (nn.Recurrent(cell), compiled):
        np.testing.assert_array_equal(layer(x)[0].numpy(), expected)


def test_recurrent_dropout_is_one_mask_for_all_steps_of_a_sequence():
    cell = Remembering(2, 50, rng=0)
    layer = nn.Recurrent(cell, recurrent_dropout=0.25, rng=1)
    x = np.ones((3, 4, 2), np.float32)
    layer(x, lengths=[2, 4, 3])
    masks = cell.seen
    assert [len(m) for m in masks] == [3, 3, 2, 1]
    for mask in masks:
        assert np.array_equal(mask, masks[0][: len(mask)])
    assert set(np.unique(masks[0])) == {np.float32(0), np.float32(1 / 0.75)}
    assert 0.1 < (masks[0] == 0).mean() < 0.4
    layer(x)
    assert not np.array_equal(cell.seen[-1], masks[0])  # drawn anew in every call
    layer.eval()(x)
    assert cell.seen[-1] is None


def test_recurrent_dropout_multiplies_the_state_of_a_cell_that_takes_no_mask():
    seen = []

    class Plain:
        output_size = 50

        def initial_state(self, batch):
            return tg.tensor(np.ones((batch, 50))), tg.tensor(np.ones((batch, 50)))

        def __call__(self, x, state):
            seen.append([part.numpy() for part in state])
            return state[0], self.initial_state(len(x))

    layer = nn.Recurrent(Plain(), recurrent_dropout=0.5, rng=1)
    layer(np.ones((3, 2, 1)))
    (first, other), (second, _) = seen
    assert set(np.unique(first)) == {0.0, 2.0}
    assert np.array_equal(first, second)
    assert (other == 1).all()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in ["RNN", "GRU", "LSTM", "MGU"]),
        ("GRU", {"reset_after": False}),
        ("LSTM", {"layer_norm": True}),
    ],
)
def test_a_recurrent_mask_is_what_the_products_see_of_h(kind, options):
    """It is the same as a matrix whose columns are multiplied: nothing else of h is touched."""
    rng = np.random.default_rng(0)
    cell = getattr(nn, f"{kind}Cell")(2, 4, rng=rng, dtype=np.float64, **options)
    mask = np.array([[0.0, 2.0, 2.0, 0.0]])
    x = tg.tensor(rng.standard_normal((3, 2)))
    h = tg.tensor(rng.standard_normal((3, 4)))
    state = (h, tg.tensor(rng.standard_normal((3, 4)))) if kind == "LSTM" else h
    masked = cell(x, state, recurrent_mask=np.repeat(mask, 3, axis=0))[0].numpy()
    cell.weight_hh.assign_(cell.weight_hh.numpy() * mask)
    np.testing.assert_allclose(masked, cell(x, state)[0].numpy(), rtol=1e-12)


def test_a_recurrent_mask_goes_to_what_a_wrapper_hands_it_on_to():
    """A wrapper that takes x and the state alone sees h with the mask, like any cell that takes no more."""

    class Plain(nn.GRUCell):
        def forward(self, x, state):
            return super().forward(x, state)

    class Narrow(nn.GRUCell):
        @functools.wraps(nn.GRUCell.forward)
        def forward(self, x, state):
            return nn.GRUCell.forward(self, x, state)

    class Wide(nn.GRUCell):
        @functools.wraps(nn.GRUCell.forward)
        def forward(self, *args, **kwargs):
            return nn.GRUCell.forward(self, *args, **kwargs)

    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    plain, narrow, wide, own = (
        nn.Recurrent(kind(3, 4, rng=0), recurrent_dropout=0.5, return_state=False, rng=1)(x).numpy()
        for kind in (Plain, Narrow, Wide, nn.GRUCell)
    )
    np.testing.assert_array_equal(narrow, plain)
    np.testing.assert_array_equal(wide, own)
    assert np.abs(plain - own).max() > 1e-3


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("return_sequences", [True, False])
def test_merging_of_directions(merge, return_sequences):
    rng = np.random.default_rng(0)
    options = {"return_sequences": return_sequences, "return_state": False, "dtype": np.float64, "rng": 1}
    x = rng.standard_normal((2, 5, 3))
    both = nn.GRU(3, 4, bidirectional=True, merge=merge, **options)
    pair = nn.GRU(3, 4, bidirectional=True, merge=None, **options)
    one, two = (t.numpy() for t in pair(x, lengths=[3, 5]))
    expected = {
        "concat": np.concatenate([one, two], -1),
        "sum": one + two,
        "mul": one * two,
        "ave": (one + two) / 2,
    }
    merged = both(x, lengths=[3, 5])
    if merge is None:
        same([t.numpy() for t in merged], [one, two], 0)
        assert both.output_size == (4, 4)
    else:
        np.testing.assert_allclose(merged.numpy(), expected[merge], rtol=1e-12)
        assert both.output_size == merged.shape[-1]
    wrapped = nn.Bidirectional(nn.GRU(3, 4, **options), nn.GRU(3, 4, **options), merge=merge)
    for name, p in both.l0.named_parameters():
        getattr(wrapped.forward_layer.l0, name).assign_(p.numpy())
        getattr(wrapped.backward_layer.l0, name).assign_(getattr(both.l0_reverse, name).numpy())
    again = wrapped(x, lengths=[3, 5])
    same(*[[t.numpy() for t in (y if isinstance(y, tuple) else (y,))] for y in (again, merged)], 1e-12)
    assert wrapped.output_size == both.output_size
    stacked = nn.GRU(3, 4, 2, bidirectional=True, merge=merge, dtype=np.float64)
    assert stacked.weight_ih_l1.shape == (12, 8 if merge in ("concat", None) else 4)
    stacked(x)


def test_go_backwards_reads_each_sequence_from_its_end():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4, 2))
    options = {"rng": 1, "dtype": np.float64}
    ahead, behind = nn.LSTM(2, 3, 2, **options), nn.LSTM(2, 3, 2, go_backwards=True, **options)
    same(results(behind, x), results(ahead, x[:, ::-1]))
    mask = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 1, 0]], bool)
    turned = x.copy()
    turned[0, [0, 2, 3]] = x[0, [3, 2, 0]]
    turned[2, [1, 2]] = x[2, [2, 1]]
    same(results(behind, x, mask=mask), results(ahead, turned, mask=mask))


@pytest.mark.parametrize("kind", KINDS)
def test_learned_initial_states(kind):
    rng = np.random.default_rng(0)
    options = {"bidirectional": True, "dtype": np.float64, "rng": 0}
    layer = getattr(nn, kind)(2, 3, 2, learn_initial_state=True, **options)
    x = rng.standard_normal((2, 4, 2))
    same(results(layer, x), results(getattr(nn, kind)(2, 3, 2, **options), x))  # zeros to begin with
    randomise(layer, rng)
    names = ["h", "c"] if kind == "LSTM" else ["h"]
    cells = ["l0", "l0_reverse", "l1", "l1_reverse"]
    given = [np.stack([getattr(layer, f"{n}0_{cell}").numpy() for cell in cells]) for n in names]
    same(results(layer, x), results(layer, x, [np.stack([g, g]) for g in given]))
    layer(x)[0].sum().backward()
    assert all(getattr(layer, f"{n}0_l0").grad.numpy().all() for n in names)


def test_a_list_of_arrays_is_padded():
    rng = np.random.default_rng(0)
    layer = nn.GRU(2, 3, 2, bidirectional=True, rng=0)
    sequences = [rng.standard_normal((n, 2)).astype(np.float32) for n in (3, 0, 5)]
    x, lengths = nn.pad(sequences)
    same(results(layer, x, lengths=lengths), results(layer, sequences), 0)
    with pytest.raises(ValueError, match="neither lengths nor a mask"):
        layer(sequences, lengths=[3, 0, 5])


def test_hidden_sizes_in_a_list():
    rng = np.random.default_rng(0)
    layer = nn.LSTM(2, [5, 3], bidirectional=True, rng=0, dtype=np.float64)
    assert layer.weight_ih_l1.shape == (12, 10)
    y, state = layer(rng.standard_normal((4, 6, 2)))
    assert isinstance(state, nn.LayerStates)
    assert [s.h.shape for s in state] == [(4, 2, 5), (4, 2, 3)]
    assert np.array_equal(state.layer(-1).direction("forward").h.numpy()[:, 0], y.numpy()[:, -1, :3])
    layer(rng.standard_normal((4, 2, 2)), state)
    with pytest.raises(ValueError, match=r"\(h, c\), a state of 2 tensors, got HiddenState"):
        layer(rng.standard_normal((4, 2, 2)), state[0])
    with pytest.raises(ValueError, match="a tuple of 2 states, one per layer, got HiddenState"):
        layer(rng.standard_normal((4, 2, 2)), state[0].h)


def test_step_scopes_are_named_and_numbered():
    layer = nn.GRU(2, 3, bidirectional=True, return_state=False)
    entries = tg.Tape(layer(np.zeros((1, 3, 2), np.float32))).entries
    steps = [(str(e.scope), e.scope.step) for e in entries if e.scope.step is not None]
    assert list(dict.fromkeys(steps)) == [
        *((f"gru/l0/t={t}", t) for t in (0, 1, 2)),
        *((f"gru/l0_reverse/t={t}", t) for t in (2, 1, 0)),
    ]


def test_lengths_that_are_all_full_cost_nothing():
    layer = nn.LSTM(2, 3, 2, bidirectional=True, rng=0)
    x = np.zeros((2, 4, 2), np.float32)
    plain = [e.primitive.name for e in tg.Tape(layer(x)[0]).entries]
    assert [e.primitive.name for e in tg.Tape(layer(x, lengths=[4, 4])[0]).entries] == plain
    assert [e.primitive.name for e in tg.Tape(layer(x, mask=np.ones((2, 4), bool))[0]).entries] == plain


def test_a_default_lstm_step_records_what_is_published_and_no_more():
    layer = nn.LSTM(2, 3, rng=0, return_state=False)
    entries = tg.Tape(layer(np.zeros((2, 3, 2), np.float32))).entries
    step = sorted(e.primitive.name for e in entries if e.scope.step == 1)
    gates = ["linear", "add", "linear", "add", "add", "split"]
    cell = ["sigmoid", "multiply", "sigmoid", "tanh", "multiply", "add"]
    assert step == sorted([*gates, *cell, "sigmoid", "tanh", "multiply"])


def test_flat_names_reach_the_cells():
    layer = nn.LSTM(2, 3, 2, rng=0)
    assert layer.weight_hh_l1 is dict(layer.named_parameters())["weight_hh_l1"]
    assert layer.weight_hh_l1.name == "weight_hh_l1"
    replacement = nn.Parameter(np.zeros((12, 3), np.float32))
    layer.weight_hh_l1 = replacement
    assert dict(layer.named_parameters())["weight_hh_l1"] is replacement
    with pytest.raises(AttributeError, match="weight_hh_l2"):
        layer.weight_hh_l2  # noqa: B018


def test_the_printed_form_shows_what_is_not_the_default():
    layer = nn.LSTM(2, 3, proj_size=1, zoneout=(0.1, 0.2), bias=False, bidirectional=True, return_state=False)
    lines = repr(layer).splitlines()
    assert lines[0] == "LSTM(2, 3, bidirectional=True, return_state=False"
    assert repr(nn.GRU(2, 3, 2, go_backwards=True)).startswith("GRU(2, 3, 2, go_backwards=True\n")
    assert repr(nn.GRU(2, [3, 4])).startswith("GRU(2, [3, 4]\n")
    assert lines[1] == "  (l0): LSTMCell(2, 3, bias=False, proj_size=1, zoneout=(0.1, 0.2))"
    cells = [
        (nn.RNNCell(2, 3, nonlinearity=np.sin), "RNNCell(2, 3, nonlinearity=<ufunc 'sin'>)"),
        (nn.RNNCell(2, 3, nonlinearity="relu"), "RNNCell(2, 3, nonlinearity='relu')"),
        (nn.RNNCell(2, 3, nonlinearity=tg.relu), "RNNCell(2, 3, nonlinearity='relu')"),
        (nn.GRUCell(2, 3, update_gate="replace"), "GRUCell(2, 3, update_gate='replace')"),
        (nn.GRUCell(2, 3, gate_activation=activation), "GRUCell(2, 3, gate_activation=activation)"),
        (nn.LSTMCell(2, 3, peephole="full", clip=2.0), "LSTMCell(2, 3, peephole='full', clip=2.0)"),
        (nn.LSTMCell(2, 3, forget_bias=1.0, zoneout=0.1), "LSTMCell(2, 3, zoneout=0.1)"),
        (nn.MGUCell(2, 3, rng=1, dtype="float64"), "MGUCell(2, 3)"),
    ]
    assert [repr(cell) for cell, _ in cells] == [text for _, text in cells]
    both = nn.Bidirectional(nn.Recurrent(nn.GRUCell(2, 3), return_state=False), merge="sum")
    assert repr(both).startswith(
        "Bidirectional(merge='sum'\n  (forward_layer): Recurrent(return_state=False\n"
    )


def activation(x):
    return tg.tanh(x)


X = np.zeros((2, 3, 8), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: m(np.zeros((32, 10, 7))), ValueError, "LSTM expected features of size 8 in the last axis"),
        (lambda m: m(np.zeros((32, 10, 7))), ValueError, r"got \(32, 10, 7\); input_size was 8"),
        (lambda m: m(np.zeros((10, 8))), ValueError, r"\(batch, time, features\), got \(10, 8\)"),
        (lambda m: m(X, np.zeros((2, 1, 4))), ValueError, r"\(h, c\), a state of 2 tensors, got ndarray"),
        (lambda m: m(X, (np.zeros((3, 1, 4)),) * 2), ValueError, r"\(2, 1, 4\), .* got \(3, 1, 4\)$"),
        (lambda m: m(X, (np.zeros((1, 2, 4)),) * 2), ValueError, r"got \(1, 2, 4\): that is .* swap its"),
        (lambda m: m(X, lengths=[1, 4]), ValueError, "lengths must be between 0 and 3, the padded length"),
        (lambda m: m(X, lengths=[1]), ValueError, "2 integers, one per sequence"),
        (lambda m: m(X, lengths=[1.5, 2]), ValueError, "integers"),
        (lambda m: m(X, mask=np.ones((2, 3))), ValueError, r"booleans, .* \(2, 3\), .* got float64"),
        (lambda m: m(X, mask=np.ones((3, 2), bool)), ValueError, r"got bool\(3, 2\)"),
        (lambda m: m(X, lengths=[1, 2], mask=np.ones((2, 3), bool)), ValueError, "not both"),
        (lambda m: nn.LSTM(8, 0), ValueError, "needs hidden_size >= 1, got 0"),
        (lambda m: nn.LSTM(8, 4.0), TypeError, "whole number for hidden_size, got 4.0"),
        (lambda m: nn.LSTM(8.5, 4), TypeError, "whole number for input_size, got 8.5"),
        (lambda m: nn.LSTM(8, 4, 0), ValueError, "LSTM needs num_layers >= 1, got 0"),
        (lambda m: nn.LSTM(8, 4, 1.5), TypeError, "LSTM needs a whole number for num_layers, got 1.5"),
        (lambda m: nn.LSTM(8, 4, return_state=1), ValueError, "return_state must be one of .* got 1"),
        (lambda m: nn.LSTM(8, [4, 3], 3), ValueError, "num_layers=3"),
        (lambda m: nn.LSTM(8, []), ValueError, "num_layers"),
        (lambda m: nn.LSTM(8, 4, dropout=1.5), ValueError, "probability"),
        (lambda m: nn.LSTM(8, 4, merge="max"), ValueError, "merge must be one of 'concat', .*'max'"),
        (lambda m: nn.LSTM(8, 4, return_state="last"), ValueError, "must be one of True, False, 'all'"),
        (lambda m: nn.LSTM(8, 4, go_backwards=True, bidirectional=True), ValueError, "go_backwards"),
        (lambda m: nn.RNN(8, 4, nonlinearity="than"), ValueError, "'sigmoid', 'tanh', 'relu', .* got 'than'"),
        (lambda m: nn.LSTM(8, 4, bidirectonal=True), TypeError, "'bidirectonal'; it takes bias, .*peephole"),
        (lambda m: nn.GRU(8, 4, nonlinearity="relu"), TypeError, "GRU has no option 'nonlinearity'"),
        (lambda m: nn.GRU(8, 4)(X, (np.zeros((2, 1, 4)),)), ValueError, "GRU expected h, .* got tuple of 1"),
    ],
)  # fmt: skip
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call(nn.LSTM(8, 4, rng=0))
