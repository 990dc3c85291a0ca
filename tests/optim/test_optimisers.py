"""Twenty steps of every optimiser against PyTorch's, and their errors."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.03}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "momentum": 0.8, "weight_decay": 0.1, "eps": 1e-5}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.3, "lr_decay": 0.1, "weight_decay": 0.1, "eps": 1e-6}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "betas": (0.8, 0.95), "weight_decay": 0.3}),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_twenty_steps_equal_torch(name, options):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests")
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 4))
    unused = rng.standard_normal(2)
    a = [nn.Parameter(start.copy()), nn.Parameter(unused.copy())]
    b = [torch.tensor(start, requires_grad=True), torch.tensor(unused, requires_grad=True)]
    ours, theirs = getattr(optim, name)(a, **options), getattr(torch.optim, name)(b, **options)
    for _ in range(20):
        x, y = rng.standard_normal((5, 4)), rng.standard_normal((5, 3))
        ours.zero_grad()
        nn.mse(tg.tensor(x) @ tg.tanh(a[0]).T, y).backward()
        ours.step()
        theirs.zero_grad()
        torch.nn.functional.mse_loss(torch.tensor(x) @ torch.tanh(b[0]).T, torch.tensor(y)).backward()
        theirs.step()
        np.testing.assert_allclose(a[0].numpy(), b[0].detach().numpy(), rtol=1e-10, atol=1e-10)
    assert not np.array_equal(a[0].numpy(), start)
    assert np.array_equal(a[1].numpy(), unused)  # no gradient, no step, no decay


@pytest.mark.parametrize(
    ("name", "lr"), [("SGD", 0.1), ("RMSprop", 0.1), ("Adagrad", 1.0), ("Adam", 0.1), ("AdamW", 0.1)]
)
def test_a_quadratic_is_minimised_in_float32(name, lr):
    p = nn.Parameter(np.array([3.0, -2.0], np.float32))
    optimiser = getattr(optim, name)([p], lr=lr)
    for _ in range(300):
        optimiser.zero_grad()
        loss = nn.mse(p, np.array([1.0, 1.0]))
        loss.backward()
        optimiser.step()
    assert p.dtype == np.float32
    assert loss.item() < 0.05


def test_the_rate_can_be_changed_between_steps():
    p = nn.Parameter([1.0])
    optimiser = optim.SGD([p], lr=0.1)
    p.grad = np.array([1.0], np.float32)
    optimiser.lr = 0.5
    optimiser.step()
    assert p.item() == 0.5


def test_a_step_between_forward_and_backward_is_noticed():
    p = nn.Parameter([1.0, 2.0])
    optimiser = optim.SGD([p], lr=0.1)
    loss = (p * p).sum()
    p.grad = np.ones(2, np.float32)
    optimiser.step()
    with pytest.raises(RuntimeError, match="changed in place before"):
        loss.backward()


def test_momentum_does_not_follow_a_gradient_edited_in_place():
    p = nn.Parameter([1.0])
    optimiser = optim.SGD([p], lr=1.0, momentum=0.5)
    p.grad = np.array([2.0], np.float32)
    optimiser.step()
    p.grad.numpy()[...] = 0.0
    optimiser.step()
    assert p.item() == 1.0 - 2.0 - 1.0


P = nn.Parameter([1.0])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: optim.Adam([]), ValueError, "no parameters"),
        (lambda: optim.Adam([np.zeros(2)]), TypeError, "leaf tensors"),
        (lambda: optim.Adam(nn.Parameter([1.0])), TypeError, "a list of tensors, got one"),
        (lambda: optim.Adam([P, nn.Parameter([1.0]), P]), ValueError, "twice"),
        (lambda: optim.Adam([nn.Parameter([1.0]) * 2]), TypeError, "leaf tensors"),
        (
            lambda: optim.SGD([nn.Parameter([1.0])], lr=-1),
            ValueError,
            "SGD: lr must be a number from 0 on, got -1",
        ),
        (lambda: optim.SGD([nn.Parameter([1.0])], nesterov=True), ValueError, "nesterov"),
        (lambda: optim.Adam([nn.Parameter([1.0])], lr=float("nan")), ValueError, "Adam: lr .* nan"),
        (lambda: optim.Adam([nn.Parameter([1.0])], betas=(0.9, 1.0)), ValueError, "betas"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
