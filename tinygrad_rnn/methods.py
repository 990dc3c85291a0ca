"""What tensors have in common with arrays: comparisons and the like, which give plain arrays, and methods."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from . import ops
from .elsewhere import METHODS, missing
from .ops.messages import again, mended
from .ops.operations import Operation
from .protocols import Protocols, plain


def _method(operation: Operation) -> Callable[..., Any]:
    """A primitive or composite as a method of Tensor."""

    def call(self: Methods, *args: Any, **kwargs: Any) -> Any:
        return operation(self, *args, **kwargs)

    call.__name__ = operation.name
    call.__qualname__ = f"Tensor.{operation.name}"
    call.__doc__ = operation.__doc__
    return call


def _comparison(sign: str, compare: Callable[[Any, Any], Any]) -> Callable[[Methods, Any], Any]:
    """A comparison: a plain array."""

    def call(self: Methods, other: Any) -> Any:
        try:
            return compare(self._data, plain(other))
        except (ValueError, TypeError) as error:
            what = f"{other.dtype}{other.shape}" if hasattr(other, "shape") else repr(other)
            raise again(
                error,
                f"{self.dtype}{self.shape} {sign} {what}: {error}; compare with a number, or with an array "
                f"whose shape broadcasts",
            ) from error

    return call


class _Elsewhere:
    """A method that other libraries' tensors have: an error that says what it is called here."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, tensor: Any, kind: Any = None) -> NoReturn:
        raise missing(kind, "x", self._name, f"{kind.__name__!r} object")


class Methods(Protocols):
    """The part of `Tensor` that needs no more than its array, or hands the tensor over to an operation."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    # ---- comparisons: plain arrays

    __eq__ = _comparison("==", operator.eq)
    __ne__ = _comparison("!=", operator.ne)
    __lt__ = _comparison("<", operator.lt)
    __le__ = _comparison("<=", operator.le)
    __gt__ = _comparison(">", operator.gt)
    __ge__ = _comparison(">=", operator.ge)

    __hash__ = object.__hash__

    def __contains__(self, item: Any) -> bool:
        return bool(np.any(self == item))

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Any:
        """Position of the largest element: a plain array."""
        return self._plainly(np.argmax, axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Any:
        """Position of the smallest element: a plain array."""
        return self._plainly(np.argmin, axis, keepdims=keepdims)

    def argsort(self, axis: int | None = -1) -> Any:
        """Positions of the elements in rising order along an axis, ties in their order: a plain array."""
        return self._plainly(np.argsort, axis, kind="stable")

    def nonzero(self) -> Any:
        """Positions of the elements that are not 0: a tuple of plain arrays, one per axis."""
        return self._plainly(np.nonzero)

    def round(self, decimals: int = 0) -> Any:
        """Rounded values: a plain array."""
        return self._plainly(np.round, decimals)

    def __round__(self, decimals: int | None = None) -> Any:
        return self.round(0 if decimals is None else decimals)

    def all(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Whether all elements along an axis are true: a plain array."""
        return self._plainly(np.all, axis, keepdims=keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Whether any element along an axis is true: a plain array."""
        return self._plainly(np.any, axis, keepdims=keepdims)

    def _plainly(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(self._data, *args, **kwargs)
        except (ValueError, TypeError, IndexError) as error:
            what = f"{function.__name__} of a tensor {self.dtype}{self.shape}"
            raise again(error, f"{what}: {mended(str(error))}") from error

    # ---- methods that NumPy's arrays or PyTorch's tensors have

    add = _method(ops.add)
    subtract = _method(ops.subtract)
    multiply = _method(ops.multiply)
    divide = _method(ops.divide)
    negative = _method(ops.negative)
    positive = _method(ops.positive)
    maximum = _method(ops.maximum)
    minimum = _method(ops.minimum)
    fmax = _method(ops.fmax)
    fmin = _method(ops.fmin)
    cross = _method(ops.cross)
    abs = _method(ops.abs)
    exp = _method(ops.exp)
    expm1 = _method(ops.expm1)
    log = _method(ops.log)
    log1p = _method(ops.log1p)
    sqrt = _method(ops.sqrt)
    square = _method(ops.square)
    log2 = _method(ops.log2)
    log10 = _method(ops.log10)
    exp2 = _method(ops.exp2)
    logaddexp = _method(ops.logaddexp)
    sinh = _method(ops.sinh)
    cosh = _method(ops.cosh)
    tan = _method(ops.tan)
    arcsin = _method(ops.arcsin)
    arccos = _method(ops.arccos)
    arctan = _method(ops.arctan)
    arctan2 = _method(ops.arctan2)
    arcsinh = _method(ops.arcsinh)
    arccosh = _method(ops.arccosh)
    arctanh = _method(ops.arctanh)
    hypot = _method(ops.hypot)
    reciprocal = _method(ops.reciprocal)
    sign = _method(ops.sign)
    sinc = _method(ops.sinc)
    erf = _method(ops.erf)
    erfc = _method(ops.erfc)
    nan_to_num = _method(ops.nan_to_num)
    sin = _method(ops.sin)
    cos = _method(ops.cos)
    tanh = _method(ops.tanh)
    sigmoid = _method(ops.sigmoid)
    relu = _method(ops.relu)
    clip = _method(ops.clip)
    astype = _method(ops.astype)
    sum = _method(ops.sum)
    mean = _method(ops.mean)
    nansum = _method(ops.nansum)
    nanmean = _method(ops.nanmean)
    var = _method(ops.var)
    max = _method(ops.max)
    min = _method(ops.min)
    logsumexp = _method(ops.logsumexp)
    softmax = _method(ops.softmax)
    log_softmax = _method(ops.log_softmax)
    cumsum = _method(ops.cumsum)
    matmul = _method(ops.matmul)
    swapaxes = _method(ops.swapaxes)
    expand_dims = _method(ops.expand_dims)
    squeeze = _method(ops.squeeze)
    split = _method(ops.split)
    flip = _method(ops.flip)
    fliplr = _method(ops.fliplr)
    flipud = _method(ops.flipud)
    hsplit = _method(ops.hsplit)
    vsplit = _method(ops.vsplit)
    dsplit = _method(ops.dsplit)
    diff = _method(ops.diff)
    diagflat = _method(ops.diagflat)
    take = _method(ops.take)
    moveaxis = _method(ops.moveaxis)
    ravel = _method(ops.ravel)
    roll = _method(ops.roll)
    repeat = _method(ops.repeat)
    tile = _method(ops.tile)
    rot90 = _method(ops.rot90)
    diagonal = _method(ops.diagonal)
    trace = _method(ops.trace)
    diag = _method(ops.diag)
    tril = _method(ops.tril)
    triu = _method(ops.triu)
    dot = _method(ops.dot)
    inner = _method(ops.inner)
    vdot = _method(ops.vdot)
    outer = _method(ops.outer)
    prod = _method(ops.prod)
    cumprod = _method(ops.cumprod)
    std = _method(ops.std)
    median = _method(ops.median)
    norm = _method(ops.norm)
    sort = _method(ops.sort)
    partition = _method(ops.partition)
    put_along_axis = _method(ops.put_along_axis)
    index_add = _method(ops.index_add)
    index_put = _method(ops.index_put)
    det = _method(ops.det)
    slogdet = _method(ops.slogdet)
    cholesky = _method(ops.cholesky)
    qr = _method(ops.qr)
    svd = _method(ops.svd)
    matrix_power = _method(ops.matrix_power)
    kron = _method(ops.kron)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in METHODS]


# Not by __getattr__, which would make every other attribute slower.
for _name in METHODS:
    setattr(Methods, _name, _Elsewhere(_name))
