"""NumPy's protocols: what makes ``np.tanh(t)`` and ``np.concatenate([t, u])`` work on tensors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from . import ops
from .ops.messages import again, mended
from .ops.operations import RENAMED, Operation
from .ops.registry import NUMPY

NOT_ASSIGNED = (
    "tensors are not assigned into: the tape could not say which values an operation has seen. "
    "Choose between values with tg.where(mask, new, old), take a copy with other values at some positions "
    "(tg.index_put, tg.put_along_axis), or build the whole with tg.stack or tg.concatenate"
)


class Protocols:
    """The part of `Tensor` that NumPy's functions call. A tensor's array and place are in its slots."""

    __slots__ = ()
    _data: np.ndarray
    _place: Any

    __pandas_priority__ = 5000
    """More than a DataFrame's 4000, so that pandas leaves ``column * tensor`` to the tensor."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self._place is not None:
            raise RuntimeError(
                "this tensor requires gradients, and becoming a plain array would lose them silently; say "
                "x.numpy() or x.detach() where that is meant"
            )
        return np.array(self._data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        if kwargs.get("out") is not None:
            raise TypeError(f"np.{name} cannot write into out= with tensors: leave it out, results are new")
        if method == "reduce" and ufunc in _REDUCTIONS:
            kwargs.setdefault("axis", 0)
            return _REDUCTIONS[ufunc](*inputs, **kwargs)
        if method == "__call__":
            if ufunc in NUMPY:
                return NUMPY[ufunc](*inputs, **kwargs)
            if ufunc in _PLAIN_UFUNCS:
                return ufunc(*map(plain, inputs), **kwargs)
        raise _no_rule(name)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if function in NUMPY:
            operation = NUMPY[function]
            known = operation.static_set.issuperset
            n = operation.arity or 1
            if len(args) != n or not known(kwargs):
                args, kwargs = _from_numpy(function, n, args, kwargs)
            if function in _OF_ROWS:
                args = tuple([ops.unstack(a) if isinstance(a, Protocols) else a for a in args])
            if not known(kwargs):
                # Seldom needed: importing the package need not wait for it.
                from .ops.forms import called

                return called(operation, *args, **kwargs)
            return operation(*args, **kwargs)
        if function in _SAME:
            same, words = _SAME[function]
            return same(*args, **{**words, **kwargs})
        if function in _PLAIN_FUNCTIONS:
            try:
                return function(*map(plain, args), **{k: plain(v) for k, v in kwargs.items()})
            except (ValueError, TypeError, IndexError) as error:
                raise again(error, f"np.{function.__name__}: {mended(str(error))}") from error
        if function in _WRITING_FUNCTIONS:
            raise TypeError(f"np.{function.__name__} would write into a tensor, but {NOT_ASSIGNED}")
        raise _no_rule(f"{function.__module__}.{function.__name__}".removeprefix("numpy."))


def plain(a: Any) -> Any:
    return a._data if isinstance(a, Protocols) else a


def _from_numpy(
    function: Callable[..., Any], n: int, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A NumPy function's arguments as its operation takes them: n arrays first, the others by name.

    What the operation does not have is left out where it says NumPy's default, and else refused by it.
    """
    names, defaults = _parameters(function)
    if len(args) <= len(names):  # else it takes any number of them, or they are not known
        kwargs = {**dict(zip(names, args, strict=False)), **kwargs}
        args = tuple([kwargs.pop(name) for name in names[:n] if name in kwargs])
    if kwargs.get("out") is not None:
        raise TypeError(
            f"np.{function.__name__} cannot write into out= with tensors: leave it out, results are new"
        )
    said: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    for given, value in kwargs.items():
        name = RENAMED.get(given, given)
        default = defaults.get(given, ...)
        if value is default or (isinstance(value, str) and value == default):
            said[name] = value
        elif name in chosen:
            raise TypeError(f"np.{function.__name__} got two values of {name!r}, under different names")
        else:
            chosen[name] = value
    said = {name: value for name, value in said.items() if name in NUMPY[function].static_names}
    return args, {**said, **chosen}


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[list[str], dict[str, Any]]:
    """What a NumPy function takes by position, and the defaults of all that it takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # written in C, and without a signature in older versions of NumPy
        return _WRITTEN_IN_C.get(function, ([], {}))
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names, {p.name: p.default for p in parameters}


def _no_rule(name: str) -> TypeError:
    return TypeError(
        f"np.{name} has no gradient rule here, so it is not applied to tensors. Apply it to x.numpy() if no "
        f"gradient is needed, or compose it from operations that tg offers"
    )


def _copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    if order != "K" or subok:
        raise TypeError(
            f"np.copy: the copy is a tensor, and lies in memory as the original does: leave out "
            f"{'subok' if subok else 'order'}=, or copy x.numpy()"
        )
    return ops.astype(a, a.dtype)


def _astype(x: Any, dtype: Any, /, *, copy: Any = None, **others: Any) -> Any:
    return ops.astype(x, dtype, **others)  # copy=False allows, and changes no result


_REDUCTIONS: dict[Any, Operation] = {np.add: ops.sum, np.maximum: ops.max, np.minimum: ops.min}

_WRITTEN_IN_C: dict[Any, tuple[list[str], dict[str, Any]]] = {
    np.concatenate: (["arrays", "axis", "out"], {"out": None, "dtype": None, "casting": "same_kind"}),
    np.dot: (["a", "b", "out"], {"out": None}),
}
"""Parameters of NumPy's functions that do not tell them themselves."""

_OF_ROWS = {np.concatenate, np.stack}
"""Functions of lists, for which an array is the list of its rows; ours take it for a mistake."""

_SAME: dict[Any, tuple[Callable[..., Any], dict[str, Any]]] = {
    np.matrix_transpose: (np.swapaxes, {"axis1": -2, "axis2": -1}),
    np.linalg.matrix_transpose: (np.swapaxes, {"axis1": -2, "axis2": -1}),
    np.linalg.trace: (np.trace, {"axis1": -2, "axis2": -1}),
    np.linalg.diagonal: (np.diagonal, {"axis1": -2, "axis2": -1}),
    np.linalg.matrix_norm: (np.linalg.norm, {"ord": "fro", "axis": (-2, -1)}),
    np.linalg.matmul: (np.matmul, {}),
    np.linalg.tensordot: (np.tensordot, {}),
    np.linalg.cross: (np.cross, {}),
    np.astype: (_astype, {}),
    np.copy: (_copy, {}),
    np.real: (lambda val: val.real, {}),
}
"""Functions of NumPy that are others of its functions with other defaults."""

_PLAIN_UFUNCS = {
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.signbit,
    np.isfinite, np.isnan, np.isinf, np.floor, np.ceil, np.rint, np.trunc, np.logical_not, np.logical_and,
    np.logical_or, np.logical_xor, np.floor_divide,
}  # fmt: skip
"""Piecewise constant: derivative 0 wherever there is one. They give plain arrays."""

_PLAIN_FUNCTIONS = {
    np.shape, np.ndim, np.size, np.argmax, np.argmin, np.argsort, np.argpartition, np.searchsorted, np.all,
    np.any, np.count_nonzero, np.nonzero, np.flatnonzero, np.argwhere, np.round, np.around,
    np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.allclose, np.isclose, np.array_equal,
    np.array_equiv, np.isposinf, np.isneginf, np.isreal, np.iscomplex, np.iscomplexobj, np.isrealobj, np.isin,
    np.digitize, np.lexsort, np.result_type, np.can_cast, np.min_scalar_type, np.shares_memory,
    np.may_share_memory, np.array2string, np.array_repr, np.array_str,
    getattr(np, "fix", np.trunc),  # deprecated since NumPy 2.5
}  # fmt: skip
"""Functions of shape and order, or of truth: nothing to differentiate."""

_WRITING_FUNCTIONS = {
    np.put_along_axis, np.put, np.place, np.putmask, np.copyto, np.fill_diagonal,
}  # fmt: skip
"""Functions that change their first argument."""
