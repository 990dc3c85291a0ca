"""tinygrad_rnn: automatic differentiation and recurrent networks, from scratch on NumPy.

    import tinygrad_rnn as tg
    from tinygrad_rnn import nn, optim, draw, data

Importing the package imports NumPy and nothing else; the rooms (`nn`, `optim`, `draw`, ...) load when they
are first named. The primitives (`tg.tanh`, `tg.matmul`, ...) take arrays to arrays and tensors to tensors.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import ops
from .autodiff import (
    checkpoint,
    elementwise_grad,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    value_and_grad,
    vjp,
)
from .checks import gradcheck, gradgradcheck
from .listing import Tape
from .ops import (
    abs,
    add,
    astype,
    broadcast_to,
    clip,
    concatenate,
    cos,
    cumsum,
    divide,
    exp,
    expand_dims,
    expm1,
    flip,
    getitem,
    log,
    log1p,
    log_softmax,
    logsumexp,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    multiply,
    negative,
    pad,
    positive,
    power,
    relu,
    reshape,
    sigmoid,
    sin,
    softmax,
    softplus,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    subtract,
    sum,
    swapaxes,
    take,
    take_along_axis,
    tanh,
    transpose,
    unstack,
    var,
    where,
)
from .random import default_generator, manual_seed
from .state import enable_grad, no_grad, scope
from .tensors import Tensor, get_default_dtype, set_default_dtype, tensor

__version__ = "0.1.0"

_ROOMS = ("data", "draw", "nn", "optim", "tasks")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
