"""Recurrent layers against PyTorch with random weights, and the laws that `scan` must keep."""

import itertools

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests")

KINDS = ["RNN", "LSTM", "GRU"]


def pair(kind, *sizes, seed=0, **options):
    """The same layer twice, with the same random weights: ours and PyTorch's, in float64."""
    ours = getattr(nn, kind)(*sizes, rng=seed, dtype=np.float64, **options)
    theirs = getattr(torch.nn, kind)(*sizes, **{"batch_first": True, **options}).double()
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    return ours, theirs


def as_tuple(state):
    return state if isinstance(state, tuple) else (state,)


def packed(kind, states):
    """Initial states as the layers take them: (h, c) for an LSTM, else h; None for none."""
    return None if not states else tuple(states) if kind == "LSTM" else states[0]


def weighted(tensors, weights, asarray):
    """A sum that gives every output, and every element of it, a cotangent of its own."""
    return sum((t * asarray(w)).sum() for t, w in zip(tensors, weights, strict=True))


def as_torch(states, batch_first=True):
    """States as PyTorch lays them out: the batch second, whatever batch_first; and the way back."""
    return [s.swapaxes(0, 1) if batch_first else s for s in states]


def compare(kind, ours, theirs, x, states, rng, rtol=1e-10):
    """Outputs, final states, and the gradients of input, initial states and all parameters."""
    leaves = [tg.tensor(a, requires_grad=True) for a in (x, *states)]
    twins = [torch.tensor(a, requires_grad=True) for a in (x, *states)]
    y, state = ours(leaves[0], packed(kind, leaves[1:]))
    y_t, state_t = theirs(twins[0], packed(kind, as_torch(twins[1:], ours.batch_first)))
    results, expected = [y, *as_tuple(state)], [y_t, *as_torch(as_tuple(state_t), ours.batch_first)]
    weights = [rng.standard_normal(r.shape) for r in results]
    weighted(results, weights, np.asarray).backward()
    weighted(expected, weights, torch.tensor).backward()
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=rtol, atol=rtol)
    for a, b in zip(leaves, twins, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=rtol, atol=rtol)
    twin_parameters = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), twin_parameters[name].grad.numpy(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [True, False])
def test_equals_torch(kind, num_layers, bidirectional, batch_first):
    rng = np.random.default_rng(3)
    ours, theirs = pair(
        kind, 3, 5, num_layers, bidirectional=bidirectional, batch_first=batch_first, seed=rng
    )
    x = rng.standard_normal((4, 6, 3) if batch_first else (6, 4, 3))
    count = num_layers * (2 if bidirectional else 1)
    shape = (4, count, 5) if batch_first else (count, 4, 5)
    states = [rng.standard_normal(shape) for _ in range(2 if kind == "LSTM" else 1)]
    compare(kind, ours, theirs, x, states, rng)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (0, 3), (2, 50)])
def test_equals_torch_at_other_sizes_and_from_zero_state(kind, batch, steps):
    rng = np.random.default_rng(4)
    ours, theirs = pair(kind, 2, 3, seed=rng)
    compare(kind, ours, theirs, rng.standard_normal((batch, steps, 2)), [], rng)


def test_relu_and_no_bias_equal_torch():
    rng = np.random.default_rng(5)
    ours, theirs = pair("RNN", 3, 4, 2, nonlinearity="relu", bias=False, seed=rng)
    compare("RNN", ours, theirs, rng.standard_normal((2, 5, 3)), [], rng)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_lengths_equal_torch_packed_sequences(kind, bidirectional):
    rng = np.random.default_rng(6)
    ours, theirs = pair(kind, 3, 4, 2, bidirectional=bidirectional, seed=rng)
    x = rng.standard_normal((5, 7, 3))
    lengths = np.array([3, 7, 1, 5, 7])
    x[np.arange(7) >= lengths[:, None]] = np.nan  # padding may hold anything
    x_t = torch.tensor(np.nan_to_num(x))
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x_t, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    y, state = ours(x, lengths=lengths)
    y_t, state_t = theirs(packed)
    y_t, _ = torch.nn.utils.rnn.pad_packed_sequence(y_t, batch_first=True)
    weights = [rng.standard_normal(r.shape) for r in (y, *as_tuple(state))]
    state_t = as_torch(as_tuple(state_t))
    weighted([y, *as_tuple(state)], weights, np.asarray).backward()
    weighted([y_t, *state_t], weights, torch.tensor).backward()
    for a, b in zip([y, *as_tuple(state)], [y_t, *state_t], strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-10)
    twins = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), twins[name].grad.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_every_wrong_gate_order_is_seen(kind):
    """The comparison with PyTorch must fail for each other order of the gates: random weights see it."""
    rng = np.random.default_rng(7)
    ours, theirs = pair(kind, 3, 5, seed=rng)
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    state = ours.state_dict()
    x = rng.standard_normal((2, 4, 3))
    expected = theirs(torch.tensor(x))[0].detach().numpy()
    for order in itertools.permutations(range(gates)):
        rows = np.concatenate([np.arange(5) + 5 * g for g in order])
        ours.load_state_dict({name: value[rows] for name, value in state.items()})
        agrees = np.allclose(ours(x)[0].numpy(), expected, rtol=1e-3, atol=1e-3)
        assert agrees == (order == tuple(range(gates)))


@pytest.mark.parametrize("kind", KINDS)
def test_cells_equal_torch_cells(kind):
    rng = np.random.default_rng(8)
    ours = getattr(nn, f"{kind}Cell")(3, 4, rng=rng, dtype=np.float64)
    theirs = getattr(torch.nn, f"{kind}Cell")(3, 4).double()
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    x = rng.standard_normal((2, 3))
    h = rng.standard_normal((2, 4))
    c = rng.standard_normal((2, 4))
    if kind == "LSTM":
        y, (h1, c1) = ours(tg.tensor(x), (tg.tensor(h), tg.tensor(c)))
        h_t, c_t = theirs(torch.tensor(x), (torch.tensor(h), torch.tensor(c)))
        np.testing.assert_allclose(c1.numpy(), c_t.detach().numpy(), rtol=1e-12)
    else:
        y, h1 = ours(tg.tensor(x), tg.tensor(h))
        h_t = theirs(torch.tensor(x), torch.tensor(h))
    np.testing.assert_allclose(y.numpy(), h_t.detach().numpy(), rtol=1e-12)
    assert y is h1
    first = ours(tg.tensor(x))[0].numpy()
    expected = theirs(torch.tensor(x))
    expected = expected[0] if kind == "LSTM" else expected
    np.testing.assert_allclose(first, expected.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives_through_time(kind):
    rng = np.random.default_rng(9)
    layer = getattr(nn, kind)(2, 2, bidirectional=True, rng=rng, dtype=np.float64)
    names, values = zip(*layer.state_dict().items(), strict=True)

    def run(x, *values):
        for name, value in zip(names, values, strict=True):
            setattr(layer, name, value)
        y, state = layer(x, lengths=[x.shape[1], 1])
        return (y, *as_tuple(state))

    assert tg.gradcheck(run, rng.standard_normal((2, 3, 2)), *values)
    assert tg.gradgradcheck(run, rng.standard_normal((2, 2, 2)), *values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_flags_choose_what_is_returned(kind, bidirectional):
    rng = np.random.default_rng(10)
    x = rng.standard_normal((3, 5, 2))
    lengths = [5, 2, 4]
    whole = getattr(nn, kind)(2, 4, 2, bidirectional=bidirectional, rng=1)
    y, state = whole(x, lengths=lengths)
    only = getattr(nn, kind)(2, 4, 2, bidirectional=bidirectional, rng=1, return_state=False)
    assert np.array_equal(only(x, lengths=lengths).numpy(), y.numpy())
    last = getattr(nn, kind)(2, 4, 2, bidirectional=bidirectional, rng=1, return_sequences=False)
    final, state_again = last(x, lengths=lengths)
    h = as_tuple(state)[0].numpy()
    directions = 2 if bidirectional else 1
    # Each direction's own final output is the top layer's final h of that direction.
    assert np.array_equal(final.numpy(), h[:, -directions:].reshape(3, -1))
    for a, b in zip(as_tuple(state), as_tuple(state_again), strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_state_passed_in_continues_a_sequence_bit_for_bit(kind):
    layer = getattr(nn, kind)(2, 3, 2, rng=0)
    x = np.random.default_rng(0).standard_normal((2, 6, 2)).astype(np.float32)
    y, state = layer(x)
    first, middle = layer(x[:, :4])
    second, end = layer(x[:, 4:], middle)
    assert np.array_equal(np.concatenate([first.numpy(), second.numpy()], axis=1), y.numpy())
    for a, b in zip(as_tuple(state), as_tuple(end), strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


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
        return [t.numpy() for t in (y, x.grad, *as_tuple(state), *(p.grad for p in layer.parameters()))]

    y, x_grad, h, *rest = everything(0.0)
    for filling in (np.nan, 1e30):
        for a, b in zip(everything(filling), [y, x_grad, h, *rest], strict=True):
            assert np.array_equal(a, b)
    assert not y[padding].any()
    assert not x_grad[padding].any()
    assert not h[1].any()  # length 0: the final state is the initial one
    assert y[~padding].all()


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_of_no_steps(kind):
    layer = getattr(nn, kind)(2, 3, bidirectional=True, rng=0)
    y, state = layer(np.zeros((2, 0, 2), np.float32))
    assert y.shape == (2, 0, 6)
    assert all(s.shape == (2, 2, 3) and not s.numpy().any() for s in as_tuple(state))
    layer = getattr(nn, kind)(2, 3, bidirectional=True, return_sequences=False, return_state=False)
    assert layer(np.zeros((2, 0, 2), np.float32)).shape == (2, 6)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
@pytest.mark.parametrize("return_sequences", [True, False])
def test_bidirectional_wrapper_equals_the_flag(batch_first, lengths, return_sequences):
    options = {"batch_first": batch_first, "return_sequences": return_sequences, "dtype": np.float64}
    flagged = nn.LSTM(2, 3, bidirectional=True, rng=0, **options)
    wrapped = nn.Bidirectional(nn.LSTM(2, 3, **options), rng=1)
    values = flagged.state_dict()
    wrapped.forward_layer.load_state_dict({k: v for k, v in values.items() if "reverse" not in k})
    wrapped.backward_layer.load_state_dict(
        {k.removesuffix("_reverse"): v for k, v in values.items() if "reverse" in k}
    )
    x = np.random.default_rng(0).standard_normal((3, 4, 2) if batch_first else (4, 3, 2))
    y, (h, c) = flagged(x, lengths=lengths)
    y2, ((h_f, c_f), (h_b, c_b)) = wrapped(x, lengths=lengths)
    np.testing.assert_allclose(y2.numpy(), y.numpy(), rtol=1e-12, atol=1e-15)
    axis = 1 if batch_first else 0
    for both, whole in [((h_f, h_b), h), ((c_f, c_b), c)]:
        joined = np.concatenate([part.numpy() for part in both], axis)
        np.testing.assert_allclose(joined, whole.numpy(), rtol=1e-12, atol=1e-15)


def test_bidirectional_copy_has_parameters_of_its_own():
    wrapped = nn.Bidirectional(nn.GRU(2, 3, rng=0), rng=1)
    assert len(list(wrapped.parameters())) == 8
    for a, b in zip(wrapped.forward_layer.parameters(), wrapped.backward_layer.parameters(), strict=True):
        assert a is not b
        assert not np.array_equal(a.numpy(), b.numpy())
    with pytest.raises(ValueError, match="return_sequences"):
        nn.Bidirectional(nn.GRU(2, 3), nn.GRU(2, 3, return_sequences=False))


def test_a_cell_of_ones_own_runs_under_scan():
    """Anything with the call, initial_state and output_size; here with a state of two tensors."""

    class Leaky:
        output_size = 2

        def initial_state(self, batch):
            return tg.tensor(np.zeros((batch, 2))), tg.tensor(np.ones((batch, 2)))

        def __call__(self, x, state):
            slow, fast = state
            fast = 0.5 * fast + x
            slow = 0.9 * slow + 0.1 * fast
            return slow * fast, (slow, fast)

    x = tg.tensor(np.random.default_rng(0).standard_normal((2, 3, 2)), requires_grad=True)
    y, (slow, fast) = nn.scan(Leaky(), x, lengths=[3, 2])
    s, f = np.zeros((2, 2)), np.ones((2, 2))
    for t in range(3):
        running = np.array([[True], [t < 2]])
        f = np.where(running, 0.5 * f + x.numpy()[:, t], f)
        s = np.where(running, 0.9 * s + 0.1 * f, s)
        np.testing.assert_allclose(y.numpy()[:, t], np.where(running, s * f, 0), rtol=1e-12)
    np.testing.assert_allclose(fast.numpy(), f, rtol=1e-12)
    np.testing.assert_allclose(slow.numpy(), s, rtol=1e-12)


def test_dropout_between_layers_only_while_training():
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    plain = nn.LSTM(3, 4, 2, rng=0, return_state=False)
    dropped = nn.LSTM(3, 4, 2, rng=0, return_state=False, dropout=0.5)
    one, two = dropped(x).numpy(), dropped(x).numpy()
    assert not np.array_equal(one, two)
    assert np.array_equal(dropped.eval()(x).numpy(), plain(x).numpy())
    single = nn.LSTM(3, 4, 1, rng=0, return_state=False, dropout=0.5)
    assert np.array_equal(single(x).numpy(), single(x).numpy())  # nothing between layers to drop


def test_step_scopes_are_named_and_numbered():
    layer = nn.GRU(2, 3, bidirectional=True, return_state=False)
    entries = tg.Tape(layer(np.zeros((1, 3, 2), np.float32))).entries
    steps = [(str(e.scope), e.scope.step) for e in entries if e.scope.step is not None]
    assert list(dict.fromkeys(steps)) == [
        *((f"gru/l0/t={t}", t) for t in (0, 1, 2)),
        *((f"gru/l0_reverse/t={t}", t) for t in (2, 1, 0)),
    ]


def test_flat_names_reach_the_cells():
    layer = nn.LSTM(2, 3, 2, rng=0)
    assert layer.weight_hh_l1 is dict(layer.named_parameters())["weight_hh_l1"]
    assert layer.weight_hh_l1.name == "weight_hh_l1"
    replacement = nn.Parameter(np.zeros((12, 3), np.float32))
    layer.weight_hh_l1 = replacement
    assert dict(layer.named_parameters())["weight_hh_l1"] is replacement
    with pytest.raises(AttributeError, match="weight_hh_l2"):
        layer.weight_hh_l2  # noqa: B018


X = np.zeros((2, 3, 8), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: m(np.zeros((32, 10, 7))), ValueError, "LSTM expected features of size 8 in the last axis"),
        (lambda m: m(np.zeros((32, 10, 7))), ValueError, r"got \(32, 10, 7\); input_size was 8"),
        (lambda m: m(np.zeros((10, 8))), ValueError, r"\(batch, time, features\), got \(10, 8\)"),
        (lambda m: m(np.zeros((2, 3, 8)), np.zeros((1, 2, 4))), ValueError, "a state of 2 tensors"),
        (lambda m: m(np.zeros((2, 3, 8)), (np.zeros((1, 3, 4)),) * 2), ValueError, r"got \(1, 3, 4\)"),
        (lambda m: m(np.zeros((2, 3, 8)), lengths=[1, 4]), ValueError, "between 0 and the 3 steps"),
        (lambda m: m(np.zeros((2, 3, 8)), lengths=[1]), ValueError, "2 integers, one per sequence"),
        (lambda m: m(np.zeros((2, 3, 8)), lengths=[1.5, 2]), ValueError, "integers"),
        (lambda m: nn.LSTM(8, 0), ValueError, "hidden_size"),
        (lambda m: nn.LSTM(8, 4, 0), ValueError, "num_layers"),
        (lambda m: nn.LSTM(8, 4, dropout=1.5), ValueError, "probability"),
        (lambda m: nn.RNN(8, 4, nonlinearity="than"), ValueError, "'sigmoid', 'tanh', 'relu', .* got 'than'"),
        (lambda m: nn.LSTM(8, 4, bidirectonal=True), TypeError, "no option 'bidirectonal'; it takes bias"),
        (lambda m: nn.GRU(8, 4, nonlinearity="relu"), TypeError, "GRU has no option 'nonlinearity'"),
        (lambda m: nn.GRU(8, 4)(X, (np.zeros((1, 2, 4)),)), ValueError, "GRU expected h, .* got tuple of 1"),
        (lambda m: nn.scan(lambda x, s: (x, s), tg.tensor(X)), TypeError, r"no initial_state\(batch\)"),
        (
            lambda m: nn.scan(nn.RNNCell(8, 4), tg.tensor([1.0])),
            ValueError,
            r"\(batch, time, ...\), got \(1,\)",
        ),
        (
            lambda m: nn.scan(lambda x, s: (x, [x]), tg.tensor(X), [tg.tensor(X[:, 0])], lengths=[1, 2]),
            TypeError,
            "a tensor or a tuple of tensors, got list",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call(nn.LSTM(8, 4, rng=0))
