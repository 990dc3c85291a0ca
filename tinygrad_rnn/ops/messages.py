"""What errors say: NumPy's own words, with what they concern and what to do about it."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

_MENDS = {
    "could not be broadcast": "counted from the last axis, lengths must be equal, or 1",
    "shape mismatch": "counted from the last axis, lengths must be equal, or 1",
    "did not contain a loop": "pass arrays of numbers",
    "could not convert string": "pass arrays of numbers",
    "bad operand type": "pass arrays of numbers",
    "not supported between instances": "pass arrays of numbers",
    "must be real number": "pass arrays of numbers",
    "not supported for the input types": "pass arrays of numbers",
    "cannot be interpreted as an integer": "pass a whole number, such as 1",
    "Cannot cast": "integers are needed there, x.astype(int)",
    "is out of bounds for array of dimension": "axes count from 0, or from -1 for the last",
    "mismatch in its core dimension": "transpose an operand, x.mT, or reshape it",
    "not aligned": "transpose an operand, x.mT, or reshape it",
    "does not have enough dimensions": "multiply by a number with *",
    "cannot reshape": "the number of elements stays; one length may be -1",
    "is out of bounds for axis": "positions count from 0, or from -1 for the last",
    "must be square": "the last two axes hold the matrices",
    "at least two": "the last two axes hold the matrices; give it one more axis, x[None]",
    "not enough values to unpack": "the last two axes hold the matrices; give it one more axis, x[None]",
    "Singular matrix": "use pinv, or add a multiple of the identity",
    "not positive definite": "add a multiple of the identity",
    "zero-size array to reduction": "an empty array has none; look at x.size first",
    "must match exactly": "axis= chooses the one along which they may differ",
    "is not iterable": "pass a list or a tuple",
    "must have the same shape": "np.broadcast_to gives them one; concatenate joins along an axis",
    "not understood": "dtypes are np.float32, 'float64' and the like",
}
"""What to do about NumPy's commonest refusals, by what they say."""


def mended(text: str) -> str:
    """An error's text, and what to do about it where NumPy does not say."""
    for words, mend in _MENDS.items():
        if words in text and mend not in text:
            return f"{text}; {mend}"
    return text


def again(error: Exception, text: str) -> Exception:
    """An error of the same kind with another text."""
    # Not type(error): some of NumPy's own errors are not made from a text.
    kinds = (np.linalg.LinAlgError, np.exceptions.AxisError, IndexError, TypeError, ValueError)
    kind: Any = next(k for k in kinds if isinstance(error, k))
    return kind(text)


def brief(value: Any) -> str:
    """A value in a message: arrays by dtype and shape, anything else as it is typed, if that is short."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}"
    return reprlib.repr(value)
