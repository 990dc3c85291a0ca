"""Optimisers: from gradients to new parameter values. Update rules and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tensors import Tensor
from .clipping import check_number, refuse_module

Buffers = dict[str, Any]


class Optimiser:
    """Base of the optimisers.

    Subclasses define ``_update(values, gradient, buffers)``, which gives the new values of one parameter;
    ``buffers`` is that parameter's own dict, empty at first, for what is carried from step to step.

    Parameters
    ----------
    parameters : iterable of Tensor
        Usually ``model.parameters()``.
    lr : float
        Learning rate; an attribute that may be changed between steps.
    weight_decay : float
        Adds ``weight_decay * p`` to the gradient of p (L2 regularisation).
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        if isinstance(parameters, Tensor):
            raise TypeError(f"{type(self).__name__} takes a list of tensors, got one: pass [tensor]")
        refuse_module(type(self).__name__, parameters)
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError(f"{type(self).__name__} got no parameters to optimise")
        for p in self.parameters:
            if not isinstance(p, Tensor) or not p.is_leaf:
                raise TypeError(
                    f"{type(self).__name__} takes leaf tensors, such as model.parameters(), got {p!r:.60}"
                )
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError(f"{type(self).__name__} got a parameter twice: it would be stepped twice")
        check_number(f"{type(self).__name__}: lr", lr)
        check_number(f"{type(self).__name__}: weight_decay", weight_decay)
        self.lr = lr
        self.weight_decay = weight_decay
        self._buffers: list[Buffers] = [{} for _ in self.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters:
            if p.requires_grad:
                p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for p, buffers in zip(self.parameters, self._buffers, strict=True):
            if p.grad is not None:
                p.assign_(self._update(p.numpy(), self._decayed(p), buffers))

    def _decayed(self, p: Tensor) -> np.ndarray:
        assert p.grad is not None
        gradient = p.grad.numpy()
        return gradient + self.weight_decay * p.numpy() if self.weight_decay else gradient

    def _update(self, values: np.ndarray, gradient: np.ndarray, buffers: Buffers) -> np.ndarray:
        raise TypeError(f"{type(self).__name__} defines no _update")


class SGD(Optimiser):
    """Stochastic gradient descent, with momentum (Sutskever et al. 2013) as PyTorch writes it.

    ::

        v = momentum * v + g                    (v = g at the first step)
        p = p - lr * v                          or, with nesterov, p - lr * (g + momentum * v)

    Parameters
    ----------
    parameters, lr, weight_decay
        See `Optimiser`.
    momentum : float
    nesterov : bool
        Needs momentum.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        check_number(f"SGD: momentum{' for nesterov' * nesterov}", momentum, positive=nesterov)
        self.momentum, self.nesterov = momentum, nesterov

    def _update(self, values: np.ndarray, gradient: np.ndarray, buffers: Buffers) -> np.ndarray:
        if self.momentum:
            v = buffers.get("momentum")
            buffers["momentum"] = v = np.array(gradient) if v is None else self.momentum * v + gradient
            gradient = gradient + self.momentum * v if self.nesterov else v
        return values - self.lr * gradient


class RMSprop(Optimiser):
    """Division by a running root mean square of the gradients (Tieleman and Hinton 2012).

    ::

        s = alpha * s + (1 - alpha) * g^2
        p = p - lr * g / (sqrt(s) + eps)

    Parameters
    ----------
    parameters, lr, weight_decay
        See `Optimiser`.
    alpha : float
        Smoothing constant.
    eps : float
    momentum : float
        Applied to the divided gradient.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.alpha, self.eps, self.momentum = alpha, eps, momentum

    def _update(self, values: np.ndarray, gradient: np.ndarray, buffers: Buffers) -> np.ndarray:
        s = buffers.get("square", 0.0) * self.alpha + (1 - self.alpha) * gradient**2
        buffers["square"] = s
        step = gradient / (np.sqrt(s) + self.eps)
        if self.momentum:
            buffers["momentum"] = step = self.momentum * buffers.get("momentum", 0.0) + step
        return values - self.lr * step


class Adagrad(Optimiser):
    """Division by the root of all squared gradients so far (Duchi, Hazan and Singer 2011).

    Parameters
    ----------
    parameters, lr, weight_decay
        See `Optimiser`.
    lr_decay : float
        The rate at step n (from 0) is lr / (1 + n * lr_decay).
    eps : float
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        eps: float = 1e-10,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.lr_decay, self.eps = lr_decay, eps

    def _update(self, values: np.ndarray, gradient: np.ndarray, buffers: Buffers) -> np.ndarray:
        n = buffers.get("step", 0)
        buffers["step"] = n + 1
        buffers["square"] = s = buffers.get("square", 0.0) + gradient**2
        return values - self.lr / (1 + n * self.lr_decay) * gradient / (np.sqrt(s) + self.eps)


class Adam(Optimiser):
    """Adaptive moments (Kingma and Ba 2015).

    ::

        m = b1 * m + (1 - b1) * g;  v = b2 * v + (1 - b2) * g^2
        p = p - lr * (m / (1 - b1^n)) / (sqrt(v / (1 - b2^n)) + eps)         at step n = 1, 2, ...

    Parameters
    ----------
    parameters, lr, weight_decay
        See `Optimiser`.
    betas : (float, float)
        b1 and b2.
    eps : float
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        if np.shape(betas) != (2,) or not all(0 <= b < 1 for b in betas):
            raise ValueError(f"{type(self).__name__}: betas must be two numbers in [0, 1), got {betas}")
        self.betas, self.eps = betas, eps

    def _update(self, values: np.ndarray, gradient: np.ndarray, buffers: Buffers) -> np.ndarray:
        b1, b2 = self.betas
        buffers["step"] = n = buffers.get("step", 0) + 1
        buffers["mean"] = m = b1 * buffers.get("mean", 0.0) + (1 - b1) * gradient
        buffers["square"] = v = b2 * buffers.get("square", 0.0) + (1 - b2) * gradient**2
        return values - self.lr / (1 - b1**n) * m / (np.sqrt(v) / (1 - b2**n) ** 0.5 + self.eps)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): first ``p = p - lr * weight_decay * p``.

    Parameters are those of `Adam`; weight_decay is 0.01 by default.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay=weight_decay)

    def _decayed(self, p: Tensor) -> np.ndarray:
        assert p.grad is not None
        return p.grad.numpy()

    def _update(self, values: np.ndarray, gradient: np.ndarray, buffers: Buffers) -> np.ndarray:
        return super()._update(values * (1 - self.lr * self.weight_decay), gradient, buffers)
