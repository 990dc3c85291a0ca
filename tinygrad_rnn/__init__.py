"""tinygrad_rnn: automatic differentiation and recurrent networks, from scratch on NumPy.

    import tinygrad_rnn as tg
    from tinygrad_rnn import nn, optim, draw, data

Importing the package imports NumPy and nothing else; the rooms (`nn`, `optim`, `draw`, ...) load when they
are first named. The primitives (`tg.tanh`, `tg.matmul`, ...) take arrays to arrays and tensors to tensors.
"""

import importlib as _importlib
import sys as _sys
from typing import Any as _Any

from . import ops
from .anomaly import detect_anomaly
from .arrays import get_default_dtype, set_default_dtype
from .autodiff import (
    elementwise_grad,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    per_example_grad,
    value_and_grad,
    vjp,
)
from .checkpointing import checkpoint
from .checks import gradcheck, gradgradcheck
from .elsewhere import missing as _missing
from .heap import keep_freed_memory as _keep_freed_memory
from .listing import Tape
from .observing import Observer
from .ops import (
    abs,
    add,
    append,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    array_split,
    astype,
    atleast_1d,
    atleast_2d,
    atleast_3d,
    average,
    block,
    broadcast_to,
    cbrt,
    cholesky,
    clip,
    column_stack,
    concatenate,
    convolve,
    cos,
    cosh,
    cross,
    cumprod,
    cumsum,
    det,
    diag,
    diagflat,
    diagonal,
    diff,
    divide,
    dot,
    dsplit,
    dstack,
    eigh,
    eigvalsh,
    einsum,
    elu,
    erf,
    erfc,
    exp,
    exp2,
    expand_dims,
    expm1,
    fabs,
    flip,
    fliplr,
    flipud,
    fmax,
    fmin,
    gelu,
    getitem,
    hard_sigmoid,
    hard_tanh,
    hsplit,
    hstack,
    hypot,
    index_add,
    index_put,
    inner,
    inv,
    kron,
    leaky_relu,
    linear,
    log,
    log1p,
    log2,
    log10,
    log_softmax,
    logaddexp,
    logsumexp,
    matmul,
    matrix_power,
    matvec,
    max,
    maximum,
    mean,
    median,
    min,
    minimum,
    moveaxis,
    multi_dot,
    multiply,
    nan_to_num,
    nanmean,
    nansum,
    negative,
    norm,
    outer,
    pad,
    partition,
    pinv,
    positive,
    power,
    primitive,
    prod,
    ptp,
    put_along_axis,
    qr,
    ravel,
    reciprocal,
    relu,
    repeat,
    reshape,
    roll,
    rollaxis,
    rot90,
    segment_sum,
    select,
    sigmoid,
    sign,
    silu,
    sin,
    sinc,
    sinh,
    slogdet,
    softmax,
    softplus,
    solve,
    sort,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    subtract,
    sum,
    svd,
    svdvals,
    swapaxes,
    take,
    take_along_axis,
    tan,
    tanh,
    tensordot,
    tile,
    trace,
    transpose,
    tril,
    triu,
    unstack,
    var,
    vdot,
    vecdot,
    vecmat,
    vector_norm,
    vsplit,
    vstack,
    where,
)
from .random import default_generator, manual_seed
from .state import enable_grad, no_grad, scope
from .tensors import Tensor, tensor

__version__ = "0.1.0"

_keep_freed_memory()

_ROOMS = ("convert", "data", "draw", "nn", "optim", "tasks")

_LAZY = {"compile": "compiler"}
"""Public functions that load their room when they are first named."""


def __getattr__(name: str) -> _Any:
    if name in _ROOMS:
        return _importlib.import_module(f"{__name__}.{name}")
    if name in _LAZY:
        return getattr(_importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise _missing(_sys.modules[__name__], "tg", name, f"module {__name__!r}")


def __dir__() -> list[str]:
    modules = {name for name, thing in globals().items() if isinstance(thing, type(_importlib))}
    return sorted({*globals()} - modules | {*_ROOMS, *_LAZY})
