"""The cells and their options, each against its equations written once more in PyTorch; random weights."""

import numpy as np
import pytest
from rnn_oracles import blocks, randomise

import tinygrad_rnn as tg
from tinygrad_rnn import nn

torch = pytest.importorskip("torch", reason="PyTorch runs the equations of these tests")


def norm(a):
    return torch.nn.functional.layer_norm(a, a.shape[-1:])


def zoned(old, new, p, kept):
    """With ``kept`` None the expectation, else the choice that was made."""
    return p * old + (1 - p) * new if kept is None else torch.where(kept, old, new)


def lstm(
    p,
    x,
    h,
    c,
    peephole=False,
    clip=None,
    coupled=False,
    layer_norm=False,
    zoneout=(0.0, 0.0),
    kept=(None, None),
):
    """One step of an LSTM in all its variants; p holds the parameters."""
    H = c.shape[1]
    rows = {"i": 0, "f": 1, "g": 2, "o": 3} if not coupled else {"i": 0, "g": 1, "o": 2}
    a, b = x @ p["weight_ih"].T, h @ p["weight_hh"].T
    if layer_norm:
        a, b = norm(a) * p["norm_ih"], norm(b) * p["norm_hh"]
    z = a + p["bias_ih"] + b + p["bias_hh"]
    gate = {name: z[:, k * H : (k + 1) * H] for name, k in rows.items()}
    bounded = (lambda a: a) if clip is None else (lambda a: a.clamp(-clip, clip))

    def seen(name, c):
        if not peephole:
            return 0.0
        part = p["peephole"][("io" if coupled else "ifo").index(name) * H :][:H]
        return c * part if peephole == "diagonal" else c @ part.T

    i = torch.sigmoid(bounded(gate["i"] + seen("i", c)))
    f = 1 - i if coupled else torch.sigmoid(bounded(gate["f"] + seen("f", c)))
    new_c = f * c + i * torch.tanh(bounded(gate["g"]))
    o = torch.sigmoid(bounded(gate["o"] + seen("o", new_c)))
    new_h = o * torch.tanh(norm(new_c) * p["norm_c"] + p["bias_c"] if layer_norm else new_c)
    if "weight_hr" in p:
        new_h = new_h @ p["weight_hr"].T
    return zoned(h, new_h, zoneout[0], kept[0]), zoned(c, new_c, zoneout[1], kept[1])


def gru(p, x, h, reset_after=True, update_gate="retain"):
    H = h.shape[1]
    part = {
        g: [p[name][k * H : (k + 1) * H] for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
        for k, g in enumerate("rzn")
    }
    (W_r, b_r, U_r, d_r), (W_z, b_z, U_z, d_z), (W_n, b_n, U_n, d_n) = (part[g] for g in "rzn")
    r = torch.sigmoid(x @ W_r.T + b_r + h @ U_r.T + d_r)
    z = torch.sigmoid(x @ W_z.T + b_z + h @ U_z.T + d_z)
    inner = r * (h @ U_n.T + d_n) if reset_after else (r * h) @ U_n.T + d_n
    n = torch.tanh(x @ W_n.T + b_n + inner)
    return (1 - z) * n + z * h if update_gate == "retain" else (1 - z) * h + z * n


def mgu(p, x, h):
    H = h.shape[1]
    W, U = p["weight_ih"], p["weight_hh"]
    b, d = p["bias_ih"], p["bias_hh"]
    f = torch.sigmoid(x @ W[:H].T + b[:H] + h @ U[:H].T + d[:H])
    n = torch.tanh(x @ W[H:].T + b[H:] + (f * h) @ U[H:].T + d[H:])
    return (1 - f) * h + f * n


def compare(cell, equations, seed, steps=3):
    """A few steps of a cell with random weights: outputs, states, and the gradients of everything."""
    rng = np.random.default_rng(seed)
    randomise(cell, rng)
    batch = int(rng.integers(1, 5))
    xs = rng.standard_normal((steps, batch, cell.input_size))
    start = cell.initial_state(batch)
    start = [rng.standard_normal(s.shape) for s in (start if isinstance(start, tuple) else (start,))]
    ours = [tg.tensor(a, requires_grad=True) for a in (xs, *start)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (xs, *start)]
    p = {name: torch.tensor(value, requires_grad=True) for name, value in cell.state_dict().items()}
    state = tuple(ours[1:]) if len(start) == 2 else ours[1]
    state_t = tuple(theirs[1:])
    for k in range(steps):
        y, state = cell(ours[0][k], state)
        state_t = equations(p, theirs[0][k], *state_t)
        state_t = state_t if isinstance(state_t, tuple) else (state_t,)
        parts = state if isinstance(state, tuple) else (state,)
        assert y is parts[0]
        for a, b in zip(parts, state_t, strict=True):
            np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-10, atol=1e-12)
    weights = [rng.standard_normal(a.shape) for a in parts]
    sum((a * w).sum() for a, w in zip(parts, weights, strict=True)).backward()
    sum((a * torch.tensor(w)).sum() for a, w in zip(state_t, weights, strict=True)).backward()
    pairs = zip([*ours, *cell.parameters()], [*theirs, *p.values()], strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("seed", range(60))
def test_lstm_in_random_combinations_of_its_options(seed):
    rng = np.random.default_rng(seed)
    options = {
        "peephole": [False, "diagonal", "full"][rng.integers(3)],
        "clip": [None, 0.5][rng.integers(2)],
        "coupled": bool(rng.integers(2)),
        "layer_norm": bool(rng.integers(2)),
        "zoneout": [(0.0, 0.0), (0.2, 0.7)][rng.integers(2)],
    }
    sizes = int(rng.integers(1, 4)), int(rng.integers(3, 6))
    cell = nn.LSTMCell(*sizes, **options, proj_size=int(rng.integers(3)), rng=rng, dtype=np.float64).eval()
    compare(cell, lambda p, x, h, c: lstm(p, x, h, c, **options), seed)


def test_zoneout_while_training_keeps_old_values_at_random():
    p = (0.3, 0.6)
    cell = nn.LSTMCell(2, 400, zoneout=p, rng=np.random.default_rng(5), dtype=np.float64)
    rng = np.random.default_rng(1)
    x, h, c = (tg.tensor(rng.standard_normal((3, n))) for n in (2, 400, 400))
    _, (h1, c1) = cell(x, (h, c))
    kept = [torch.tensor(new.numpy() == old.numpy()) for new, old in ((h1, h), (c1, c))]
    for share, wanted in zip(kept, p, strict=True):
        assert abs(share.double().mean() - wanted) < 0.05
    values = {name: torch.tensor(value) for name, value in cell.state_dict().items()}
    args = [torch.tensor(a.numpy()) for a in (x, h, c)]
    for a, b in zip((h1, c1), lstm(values, *args, zoneout=p, kept=kept), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)
    assert not np.array_equal(cell(x, (h, c))[0].numpy(), h1.numpy())  # anew in every step


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("update_gate", ["retain", "replace"])
def test_gru_in_its_four_conventions(reset_after, update_gate, seed):
    options = {"reset_after": reset_after, "update_gate": update_gate}
    cell = nn.GRUCell(2, 3, **options, rng=seed, dtype=np.float64)
    compare(cell, lambda p, x, h: gru(p, x, h, **options), seed)


@pytest.mark.parametrize("seed", range(5))
def test_mgu(seed):
    compare(nn.MGUCell(2, 3, rng=seed, dtype=np.float64), mgu, seed)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_pytorchs_cells(kind):
    rng = np.random.default_rng(8)
    ours = getattr(nn, f"{kind}Cell")(3, 4, rng=rng, dtype=np.float64)
    theirs = getattr(torch.nn, f"{kind}Cell")(3, 4).double()
    equations = lambda p, *args: torch.func.functional_call(theirs, p, args)  # noqa: E731
    if kind == "LSTM":
        equations = lambda p, x, h, c: torch.func.functional_call(theirs, p, (x, (h, c)))  # noqa: E731
    compare(ours, equations, 8)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    first = ours(tg.tensor(np.ones((2, 3))))[0].numpy()  # from the state of zeros
    expected = theirs(torch.ones((2, 3), dtype=torch.float64))
    expected = expected[0] if kind == "LSTM" else expected
    np.testing.assert_allclose(first, expected.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "GRU-before", "MGU", "LSTM", "LSTM-norm", "LSTM-coupled"])
def test_without_biases_is_with_biases_of_zero(cell):
    kind, _, option = cell.partition("-")
    options = {"before": {"reset_after": False}, "norm": {"layer_norm": True}, "coupled": {"coupled": True}}
    options = {**options.get(option, {}), "rng": 0, "dtype": np.float64}
    without = getattr(nn, f"{kind}Cell")(2, 3, bias=False, **options)
    zero = getattr(nn, f"{kind}Cell")(2, 3, **options)
    zero.load_state_dict({**zero.state_dict(), **without.state_dict()})
    for b in (zero.bias_ih, zero.bias_hh):
        b.assign_(np.zeros(b.shape))
    x = tg.tensor(np.random.default_rng(0).standard_normal((2, 2)))
    np.testing.assert_allclose(without(x)[0].numpy(), zero(x)[0].numpy(), rtol=1e-12)


def test_activations_by_name_and_as_functions():
    rng = np.random.default_rng(0)
    x = tg.tensor(rng.standard_normal((2, 3)))
    for kind, names in {
        "RNN": {"nonlinearity": "relu"},
        "GRU": {"gate_activation": "hard_sigmoid", "cell_activation": "elu"},
        "LSTM": {
            "gate_activation": "hard_sigmoid",
            "cell_activation": "softplus",
            "output_activation": "leaky_relu",
        },
    }.items():
        make = getattr(nn, f"{kind}Cell")
        plain = make(3, 4, rng=0, dtype=np.float64)(x)[0].numpy()
        named = make(3, 4, rng=0, dtype=np.float64, **names)(x)[0].numpy()
        functions = {option: getattr(tg, name) for option, name in names.items()}
        given = make(3, 4, rng=0, dtype=np.float64, **functions)(x)[0].numpy()
        assert np.array_equal(named, given)
        assert not np.allclose(named, plain)
        for option in names:  # each of them has an influence of its own
            rest = {o: n for o, n in names.items() if o != option}
            assert not np.allclose(make(3, 4, rng=0, dtype=np.float64, **rest)(x)[0].numpy(), named)


def test_a_forget_bias_is_part_of_the_parameters():
    plain, biased = (nn.LSTMCell(2, 3, forget_bias=b, rng=0) for b in (None, 1.0))
    added = biased.bias_ih.numpy() - plain.bias_ih.numpy()
    np.testing.assert_allclose(blocks(added, "fi", "ifgo"), [1, 1, 1, 0, 0, 0], atol=1e-6)
    for name in ("weight_ih", "weight_hh", "bias_hh"):
        assert np.array_equal(getattr(plain, name).numpy(), getattr(biased, name).numpy())


def test_every_peephole_order_and_every_norm_has_its_own_part():
    """The equations' comparison fails if blocks change places: random weights see it."""
    options = {"peephole": "full", "rng": 0, "dtype": np.float64}
    for order in ["fio", "iof", "ofi", "oif", "foi"]:
        cell = nn.LSTMCell(2, 3, **options)

        def permuted(p, x, h, c, order=order):
            rows = torch.cat([p["peephole"]["ifo".index(g) * 3 :][:3] for g in order])
            return lstm({**p, "peephole": rows}, x, h, c, peephole="full")

        with pytest.raises(AssertionError):
            compare(cell, permuted, 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.LSTMCell(2, 3, peephole="diag"), "peephole must be one of False, 'diagonal', 'full'"),
        (lambda: nn.LSTMCell(2, 3, peephole=True), "got True"),
        (lambda: nn.LSTMCell(2, 3, proj_size=3), "proj_size must be from 0 to hidden_size - 1"),
        (lambda: nn.LSTMCell(2, 3, clip=0), "clip must be greater than 0"),
        (lambda: nn.LSTMCell(2, 3, zoneout=1.5), "zoneout must be a probability"),
        (lambda: nn.LSTMCell(2, 3, zoneout=(0.1, 0.2, 0.3)), "zoneout must be a probability, or a pair"),
        (lambda: nn.LSTMCell(2, 3, coupled="yes"), "coupled must be one of True, False"),
        (lambda: nn.LSTMCell(2, 3, forget_bias=1.0, bias=False), "bias=False leaves no bias"),
        (lambda: nn.LSTMCell(2, 3, forget_bias=1.0, coupled=True), "coupled=True leaves no forget gate"),
        (lambda: nn.LSTMCell(2, 3, gate_activation="swish"), "gate_activation must be a function .* 'silu'"),
        (lambda: nn.GRUCell(2, 3, update_gate="keep"), "must be one of 'retain', 'replace', got 'keep'"),
        (lambda: nn.GRUCell(2, 3, reset_after=1), "reset_after must be one of True, False, got 1"),
        (lambda: nn.GRUCell(2, 0), "hidden_size >= 1"),
        (lambda: nn.LSTMCell(2, 3)(tg.tensor(np.zeros((1, 3)))), r"x of shape \(batch, 2\), got \(1, 3\)"),
        (lambda: nn.LSTMCell(2, 3, layer_norm=True)(tg.tensor(np.zeros((1, 3)))), "x of shape"),
        (lambda: nn.LSTMCell(2, 3)(tg.tensor(np.zeros((1, 2))), tg.tensor(np.zeros((1, 3)))), "a pair"),
        (
            lambda: nn.GRUCell(2, 3)(tg.tensor(np.zeros((2, 2))), tg.tensor(np.zeros((1, 3)))),
            r"h .* \(2, 3\)",
        ),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()
