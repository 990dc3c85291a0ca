"""Losses against PyTorch, in every reduction, and their errors."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

REDUCTIONS = ["mean", "sum", "none"]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3)) * 2
Y = RNG.standard_normal((4, 3)) * 2


def agree(ours, theirs, x):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests")
    a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    one, two = ours(a), theirs(torch.nn.functional, b, torch.tensor)
    np.testing.assert_allclose(one.numpy(), two.detach().numpy(), rtol=1e-12, atol=1e-12)
    weights = np.random.default_rng(1).standard_normal(one.shape)
    (one * weights).sum().backward()
    (two * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
class TestAgainstTorch:
    def test_mse(self, reduction):
        agree(lambda x: nn.mse(x, Y, reduction), lambda f, x, t: f.mse_loss(x, t(Y), reduction=reduction), X)

    def test_mae(self, reduction):
        agree(lambda x: nn.mae(x, Y, reduction), lambda f, x, t: f.l1_loss(x, t(Y), reduction=reduction), X)

    @pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
    def test_huber(self, reduction, delta):
        agree(
            lambda x: nn.huber(x, Y, delta, reduction),
            lambda f, x, t: f.huber_loss(x, t(Y), delta=delta, reduction=reduction),
            X,
        )

    def test_cross_entropy(self, reduction):
        ids = np.array([2, 0, 1, 1])
        agree(
            lambda x: nn.cross_entropy(x, ids, reduction=reduction),
            lambda f, x, t: f.cross_entropy(x, t(ids), reduction=reduction),
            X,
        )

    def test_cross_entropy_of_sequences_ignores_padding(self, reduction):
        logits = np.random.default_rng(2).standard_normal((2, 4, 5))
        ids = np.array([[1, 4, 7, 7], [0, 2, 3, 7]])
        agree(
            lambda x: nn.cross_entropy(x, ids, ignore_index=7, reduction=reduction),
            lambda f, x, t: f.cross_entropy(
                x.swapaxes(1, 2), t(ids), ignore_index=7, reduction=reduction
            ),
            logits,
        )  # fmt: skip

    def test_binary_cross_entropy_with_logits(self, reduction):
        target = np.random.default_rng(3).random((4, 3))
        agree(
            lambda x: nn.binary_cross_entropy_with_logits(x, target, reduction),
            lambda f, x, t: f.binary_cross_entropy_with_logits(x, t(target), reduction=reduction),
            X,
        )


def test_losses_are_finite_for_extreme_logits():
    x = tg.tensor(np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32), requires_grad=True)
    losses = nn.cross_entropy(x, [0, 0]) + nn.binary_cross_entropy_with_logits(x, np.eye(2))
    losses.backward()
    assert losses.dtype == np.float32
    assert losses.item() == pytest.approx(1e4)
    assert np.isfinite(x.grad.numpy()).all()


def test_all_ignored_is_zero_with_zero_gradient():
    x = tg.tensor(np.ones((2, 3)), requires_grad=True)
    loss = nn.cross_entropy(x, [-100, -100])
    loss.backward()
    assert loss.item() == 0.0
    assert not x.grad.numpy().any()


def test_targets_may_be_tensors_and_get_gradients():
    a, b = tg.tensor([1.0, 2.0], requires_grad=True), tg.tensor([3.0, 5.0], requires_grad=True)
    nn.mse(a, b).backward()
    np.testing.assert_allclose(b.grad.numpy(), -a.grad.numpy())
    assert nn.cross_entropy(tg.tensor(np.zeros((1, 2))), tg.tensor(np.array([1]))).item() > 0


def test_targets_are_not_cut_to_the_integers_of_a_prediction():
    assert nn.mse(np.array([1, 2]), [1.5, 2.5]).item() == 0.25


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: nn.mse(x, Y[:, :1]), ValueError, r"one shape, got \(4, 3\) and \(4, 1\)"),
        (lambda x: nn.mae(x, Y[0]), ValueError, "one shape"),
        (lambda x: nn.mse(x, Y, "average"), ValueError, "'mean', 'sum' or 'none'"),
        (lambda x: nn.huber(x, Y, delta=0), ValueError, "positive delta"),
        (lambda x: nn.cross_entropy(x, [0.0, 1.0, 1.0, 2.0]), TypeError, "integer class ids, got float64"),
        (lambda x: nn.cross_entropy(x, [0, 1, 3, 2]), IndexError, "target 3 is no class id of 0 to 2"),
        (lambda x: nn.cross_entropy(x, np.ma.masked_array([0, 1, 1, 2])), TypeError, "ignore_index"),
        (lambda x: nn.mse(x, np.ma.masked_array(Y, Y > 0)), TypeError, "masked array would lose its mask"),
        (lambda x: nn.cross_entropy(x, [0, 1]), ValueError, r"got \(4, 3\) and \(2,\)"),
        (lambda x: nn.binary_cross_entropy_with_logits(x, Y[0]), ValueError, "one shape"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call(tg.tensor(X))
