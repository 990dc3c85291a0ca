"""Linear, Embedding, Dropout, LayerNorm: against PyTorch, and their errors."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


def agree(ours, theirs, x, rng):
    """Outputs and all gradients of two modules with the same parameters."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests")
    theirs = theirs.double()
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    integer = x.dtype.kind == "i"
    a = x if integer else tg.tensor(x, requires_grad=True)
    b = torch.tensor(x, requires_grad=not integer)
    y, y_t = ours(a), theirs(b)
    weights = rng.standard_normal(y.shape)
    (y * weights).sum().backward()
    (y_t * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(y.numpy(), y_t.detach().numpy(), rtol=1e-10, atol=1e-12)
    twins = dict(theirs.named_parameters())
    pairs = [(p.grad, twins[name].grad) for name, p in ours.named_parameters()]
    for g, g_t in [*pairs, *([] if integer else [(a.grad, b.grad)])]:
        np.testing.assert_allclose(g.numpy(), g_t.numpy(), rtol=1e-10, atol=1e-12)


def randomised(module, rng):
    """Random values also where the initial ones are constants (LayerNorm)."""
    for p in module.parameters():
        p.assign_(rng.standard_normal(p.shape))
    return module


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 5, 3), (0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_torch(shape, bias):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests")
    rng = np.random.default_rng(0)
    ours = nn.Linear(3, 2, bias, rng=rng, dtype=np.float64)
    agree(ours, torch.nn.Linear(3, 2, bias), rng.standard_normal(shape), rng)


def test_embedding_equals_torch_with_repeated_ids():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests")
    rng = np.random.default_rng(1)
    ours = nn.Embedding(6, 3, rng=rng, dtype=np.float64)
    agree(ours, torch.nn.Embedding(6, 3), np.array([[1, 5, 1], [0, 1, 3]]), rng)


@pytest.mark.parametrize("normalized", [4, (3, 4)])
def test_layer_norm_equals_torch(normalized):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests")
    rng = np.random.default_rng(2)
    ours = randomised(nn.LayerNorm(normalized, dtype=np.float64), rng)
    agree(ours, torch.nn.LayerNorm(normalized), rng.standard_normal((2, 3, 4)), rng)


def test_dropout_scales_what_it_keeps_and_is_off_in_eval():
    x = tg.tensor(np.ones((200, 50), np.float32), requires_grad=True)
    layer = nn.Dropout(0.25, rng=0)
    y = layer(x)
    kept = y.numpy() != 0
    assert abs(kept.mean() - 0.75) < 0.02
    np.testing.assert_allclose(y.numpy()[kept], 1 / 0.75, rtol=1e-6)
    assert y.dtype == np.float32
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.numpy())
    assert layer.eval()(x) is x
    assert np.array_equal(nn.Dropout(0.25, rng=0)(x).numpy(), y.numpy())  # the generator decides
    assert not nn.Dropout(1.0)(x).numpy().any()
    with pytest.raises(ValueError, match=r"in \[0, 1\], got 1.5"):
        nn.Dropout(1.5)


def test_initial_values_come_from_the_generator_in_the_given_dtype():
    assert np.array_equal(nn.Linear(3, 2, rng=5).weight.numpy(), nn.Linear(3, 2, rng=5).weight.numpy())
    tg.manual_seed(5)
    one = nn.Linear(3, 2).weight.numpy()
    tg.manual_seed(5)
    assert np.array_equal(one, nn.Linear(3, 2).weight.numpy())
    assert nn.Linear(3, 2).weight.dtype == np.float32
    assert nn.LSTM(3, 2, dtype=np.float64).weight_hh_l0.dtype == np.float64
    assert np.abs(nn.Linear(100, 50, rng=0).weight.numpy()).max() <= 0.1
    with pytest.raises(TypeError, match=r"numpy\.random\.Generator"):
        nn.Linear(3, 2, rng="seed")


X23, H24 = tg.tensor(np.ones((2, 3))), tg.tensor(np.ones((2, 4)))


def test_layers_take_arrays_and_lists():
    layer = nn.Linear(3, 2, rng=0)
    expected = layer(tg.tensor([[1.0, 2.0, 3.0]])).numpy()
    assert np.array_equal(layer([[1.0, 2.0, 3.0]]).numpy(), expected)
    assert nn.Dropout(0.5).eval()([1.0, 2.0]).numpy().tolist() == [1.0, 2.0]
    assert nn.LayerNorm(2)(np.ones((3, 2))).shape == (3, 2)
    assert isinstance(nn.cross_entropy(np.zeros((1, 2)), [1]), tg.Tensor)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.Linear(3, 2)(tg.tensor(np.ones((4, 2)))), ValueError, r"features of size 3.*\(4, 2\)"),
        (lambda: nn.Linear(3, 2)(tg.tensor(1.0)), ValueError, "features of size 3"),
        (lambda: nn.Embedding(4, 2)([0.5]), TypeError, "integer ids, got float64"),
        (lambda: nn.Embedding(4, 2)([1, 4]), IndexError, r"4 ids \(from 0\) got the id 4"),
        (lambda: nn.Embedding(4, 2)([-1]), IndexError, "got the id -1"),
        (lambda: nn.LayerNorm(3)(tg.tensor(np.ones((4, 2)))), ValueError, r"last axes \(3,\)"),
        (lambda: nn.LSTMCell(3, 2)(tg.tensor(np.ones((4, 2)))), ValueError, r"\(batch, 3\), got \(4, 2\)"),
        (
            lambda: nn.LSTMCell(3, 4)(X23, tg.tensor(np.ones((2, 4)))),
            ValueError,
            r"a pair \(h, c\), got Tensor",
        ),
        (
            lambda: nn.LSTMCell(3, 4)(X23, (H24, tg.tensor(np.ones((1, 4))))),
            ValueError,
            r"state c.*got \(1, 4\)",
        ),
        (lambda: nn.RNNCell(3, 4)(X23[:1], H24), ValueError, r"RNNCell expected the state h.*\(1, 4\)"),
        (lambda: nn.GRUCell(3, 4)(X23, H24[:1]), ValueError, r"GRUCell expected the state h.*got \(1, 4\)"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
