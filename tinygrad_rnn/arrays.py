"""What users pass, as arrays of numbers: Python's numbers take the default dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from .ops.messages import of_tensors
from .protocols import Protocols, plain

_default_dtype: np.dtype[Any] = np.dtype(np.float32)


def set_default_dtype(dtype: Any) -> None:
    """Set the dtype that Python numbers and lists take: float16, float32 (the default) or float64."""
    global _default_dtype
    try:
        wanted = np.dtype("O" if dtype is None else dtype)  # NumPy takes None for float64
    except TypeError:
        wanted = np.dtype("O")
    if wanted.char not in "efd":
        raise TypeError(
            f"set_default_dtype: {dtype!r} is no floating-point dtype; pass 'float16', 'float32' or 'float64'"
        )
    _default_dtype = wanted


def get_default_dtype() -> np.dtype[Any]:
    """The dtype that Python numbers and lists take."""
    return _default_dtype


def as_array(data: Any, dtype: Any = None) -> np.ndarray:
    """An array of what a user passed: arrays keep their dtype, Python numbers take the default."""
    data = plain(data)
    if isinstance(data, (np.ndarray, np.generic)) or hasattr(data, "__array__"):
        if is_masked(data):
            raise TypeError(MASKED)
        array = np.asarray(data)
    else:
        if isinstance(data, (list, tuple)) and any(isinstance(item, Protocols) for item in data):
            raise TypeError(of_tensors(data))
        try:
            array = np.asarray(data)
        except ValueError as error:
            raise ValueError(f"a tensor needs nested lists of equal lengths: {error}") from error
        # A list of arrays keeps their dtype: only Python's own numbers have none.
        typed = isinstance(data, (list, tuple)) and any(hasattr(a, "__array__") for a in data)
        if dtype is None and array.dtype.kind in "if" and not typed:
            dtype = _default_dtype
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"a tensor holds numbers, got {array.dtype} data such as {array.ravel()[:1]}: pass an array of "
            f"numbers, or nested lists of them"
        )
    if dtype is None or array.dtype == dtype:
        return array
    if np.dtype(dtype).kind not in "biufc":
        raise TypeError(f"a tensor holds numbers; its dtype cannot be {np.dtype(dtype)}: 'float32' is one")
    if array.dtype.kind == "c" and np.dtype(dtype).kind != "c":
        raise TypeError(
            f"{array.dtype} values would lose their imaginary part in {np.dtype(dtype)}: pass values.real "
            f"if that is meant"
        )
    return array.astype(dtype)


def is_masked(data: Any) -> bool:
    """Whether it is one of np.ma's arrays, which `np.asarray` would strip of their masks."""
    return type(data) is not np.ndarray and isinstance(data, np.ndarray) and hasattr(data, "mask")


MASKED = (
    "a masked array would lose its mask here: fill it first, with a.filled(0), and pass the mask on its own"
)
