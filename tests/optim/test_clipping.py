"""Gradient clipping against PyTorch."""

import numpy as np
import pytest

from tinygrad_rnn import nn, optim


def with_gradients(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    parameters = [nn.Parameter(rng.standard_normal(shape)) for shape in [(2, 3), (4,), ()]]
    for p in parameters[:2]:
        p.grad = scale * rng.standard_normal(p.shape)
    return parameters


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_norm_equals_torch(max_norm):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    ours = with_gradients()
    theirs = [torch.tensor(p.numpy(), requires_grad=True) for p in ours]
    for p, q in zip(ours, theirs, strict=True):
        q.grad = None if p.grad is None else torch.tensor(p.grad.numpy().copy())
    norm = optim.clip_grad_norm(iter(ours), max_norm)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, max_norm).item(), rel=1e-12)
    for p, q in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)
    assert ours[2].grad is None


def test_norm_of_float32_gradients_does_not_overflow():
    p = nn.Parameter(np.zeros(2, np.float32))
    p.grad = np.array([3e30, 4e30], np.float32)
    assert optim.clip_grad_norm([p], 1.0) == pytest.approx(5e30, rel=1e-6)
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-6)
    assert p.grad.dtype == np.float32


def test_norm_that_is_not_finite_is_refused_by_name():
    parameters = with_gradients()
    parameters[1].name = "head.bias"
    parameters[1].grad = np.array([1.0, np.nan, 0.0, np.inf])
    before = parameters[0].grad.numpy().copy()
    with pytest.raises(ValueError, match=r"not finite in: head\.bias"):
        optim.clip_grad_norm(parameters, 1.0)
    assert np.array_equal(parameters[0].grad.numpy(), before)


def test_value():
    parameters = with_gradients(scale=3.0)
    before = [p.grad.numpy().copy() for p in parameters[:2]]
    optim.clip_grad_value(parameters, 0.7)
    for p, old in zip(parameters[:2], before, strict=True):
        assert np.array_equal(p.grad.numpy(), np.clip(old, -0.7, 0.7))
        assert not np.array_equal(p.grad.numpy(), old)


def test_one_tensor_is_not_taken_for_its_rows():
    p = nn.Parameter(np.zeros((2, 2)))
    p.grad = np.array([[3.0, 0.0], [0.0, 4.0]])
    assert optim.clip_grad_norm(p, 1.0) == pytest.approx(5.0)
    np.testing.assert_allclose(p.grad.numpy(), [[0.6, 0], [0, 0.8]], rtol=1e-5)
    optim.clip_grad_value(p, 0.7)
    np.testing.assert_allclose(p.grad.numpy(), [[0.6, 0], [0, 0.7]], rtol=1e-5)


@pytest.mark.parametrize("bound", [-1.0, 0.0, float("nan")])
def test_a_bound_that_would_turn_gradients_round_is_refused(bound):
    (p, *_) = with_gradients()
    with pytest.raises(ValueError, match="max_norm must be a number larger than 0, got"):
        optim.clip_grad_norm([p], bound)
    with pytest.raises(ValueError, match="clip_value must be a number larger than 0, got"):
        optim.clip_grad_value([p], bound)
