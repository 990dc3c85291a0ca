"""Arguments that NumPy's functions have and our operations do not, said with other operations.

A form is called as ``form(call, *arrays, **static)``: it does its part for one of the arguments, and calls
the same operation ``call`` without it. What reads the tape thus meets operations that it knows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .arithmetic import add, maximum, minimum, multiply
from .decompositions import eigh, eigvalsh, svd, svdvals
from .einstein import _converted
from .elementwise import astype, nan_to_num
from .linalg import pinv
from .messages import again
from .operations import Operation
from .rearrange import hstack, vstack
from .reduce import cumsum, max, mean, min, sum, var
from .running import cumprod, prod
from .shape import concatenate, reshape, stack
from .statistics import average, median, std
from .triangles import trace


def called(operation: Operation, *arrays: Any, **static: Any) -> Any:
    """Call an operation with what NumPy's function of the same name takes."""
    for name, forms in FORMS.items():
        if name in static and operation in forms:
            try:
                return forms[operation](partial(called, operation), *arrays, **static)
            except (ValueError, TypeError) as error:
                raise again(error, operation.named(error)) from error
    return operation(*arrays, **static)


def _converted_first(call, x, dtype, **others):
    y = call(astype(x, dtype), **others)
    return y if y.dtype == np.dtype(dtype) else astype(y, dtype)  # sums of small integers are of int64


def _mean_converted_first(call, x, dtype, **others):
    if np.dtype(dtype).kind not in "fc":
        raise TypeError(
            f"fractions would be cut off in {np.dtype(dtype)}: convert the result, .astype(dtype)"
        )
    return call(astype(x, dtype), **others)


def _each_converted(call, arrays, dtype=None, casting="same_kind", **others):
    return call(_converted(arrays, dtype, casting), **others)


def _others(identity):
    """A form that puts what changes nothing in the place of elements that are not chosen."""

    def form(call, x, where, **others):
        return call(_chosen(x, where, identity), **others)

    return form


def _other_extremes(call, x, where, initial=None, **others):
    if where is True:
        return call(x, initial=initial, **others)
    if initial is None:
        raise ValueError("with where= there may be no element to choose: initial= says what counts then")
    return call(_chosen(x, where, initial), initial=initial, **others)


def _chosen(x, where, other):
    mask = np.asarray(where)
    if mask.dtype != bool:
        raise TypeError(f"where= takes a boolean array, such as x > 0, got {mask.dtype}")
    return np.where(np.broadcast_to(mask, np.shape(x)), x, other)


def _starting(combine):
    """A form that takes an initial value in."""

    def form(call, x, initial, **others):
        y = call(x, **others)
        return y if initial is None else combine(y, initial)

    return form


def _without(call, x, overwrite_input, **others):
    return call(x, **others)  # it allows, and changes no result


def _copied(call, x, copy, **others):
    if not copy:
        raise TypeError("copy=False would write into the tensor: leave it out, the result is new")
    return call(x, **others)


def _in_columns(call, x, shape, order, **others):
    if order != "F":
        raise ValueError(
            f"order must be 'C' or 'F', got {order!r}: others depend on how the elements lie in memory"
        )
    lengths = tuple(shape) if np.ndim(shape) else (shape,)
    return np.transpose(call(np.transpose(x), shape=lengths[::-1], **others))


def _triangle(call, a, UPLO):
    if UPLO not in ("L", "l", "U", "u"):
        raise ValueError(f"UPLO must be 'L' or 'U', the triangle that is read, got {UPLO!r}")
    return call(np.swapaxes(a, -1, -2) if UPLO in "Uu" else a)


def _values_alone(call, a, compute_uv, full_matrices=True, **others):
    return call(a, full_matrices=full_matrices, **others) if compute_uv else svdvals(a, **others)


def _cut_off(call, a, rtol, **others):
    default = np.finfo(np.result_type(a)).eps * np.max(np.shape(a)[-2:])
    return call(a, rcond=default if rtol is None else rtol, **others)


def _with_weights(call, x, returned, weights=None, **others):
    y = call(x, weights=weights, **others)
    if not returned:
        return y
    if weights is None:
        total = np.size(x) / np.size(y)
    else:
        total = np.sum(weights, **(others if np.shape(weights) == np.shape(x) else {}))
    return y, np.broadcast_to(astype(total, y.dtype), np.shape(y))


_JOINS = (concatenate, stack, vstack, hstack)

FORMS: dict[str, dict[Operation, Callable[..., Any]]] = {
    "dtype": {
        **dict.fromkeys((sum, prod, trace, cumsum, cumprod), _converted_first),
        **dict.fromkeys((mean, var, std), _mean_converted_first),
        **dict.fromkeys(_JOINS, _each_converted),
    },
    "casting": dict.fromkeys(_JOINS, _each_converted),
    "where": {sum: _others(0), prod: _others(1), max: _other_extremes, min: _other_extremes},
    "initial": {
        sum: _starting(add), prod: _starting(multiply), max: _starting(maximum), min: _starting(minimum),
    },
    "order": {reshape: _in_columns},
    "UPLO": {eigh: _triangle, eigvalsh: _triangle},
    "compute_uv": {svd: _values_alone},
    "rtol": {pinv: _cut_off},
    "copy": {nan_to_num: _copied},
    "overwrite_input": {median: _without},
    "returned": {average: _with_weights},
}  # fmt: skip
"""By the name of an argument, the operations that have a form for it. Earlier ones are done first."""
