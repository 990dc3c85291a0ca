"""What errors say: NumPy's own words, with what they concern and what to do about it."""

from __future__ import annotations

import reprlib
from collections.abc import Collection
from typing import Any

import numpy as np

_MENDS = {
    "could not be broadcast": "counted from the last axis, lengths must be equal, or 1",
    "shape mismatch": "counted from the last axis, lengths must be equal, or 1",
    "did not contain a loop": "pass arrays of numbers",
    "could not be promoted": "pass arrays of numbers",
    "could not convert string": "pass arrays of numbers",
    "bad operand type": "pass arrays of numbers",
    "not supported between instances": "pass arrays of numbers",
    "must be real number": "pass arrays of numbers",
    "unsupported operand type": "pass arrays of numbers",
    "does not support argument": "pass arrays of numbers",
    "not supported for the input types": "pass arrays of numbers",
    "'list' object cannot be interpreted as an integer": "pass one number, or several in a tuple",
    "'tuple' object cannot be interpreted as an integer": "pass one number, or None if that is the default",
    "only integer scalar arrays": "pass a whole number, or several in a tuple",
    "cannot be interpreted as an integer": "pass a whole number, such as 1",
    "an integer is required": "pass a whole number, such as 1",
    "integer argument expected": "pass a whole number, such as 1",
    "kth(=": "positions count from 0, or from -1 for the last",
    "index must be integer": "pass a whole number, such as 1",
    "must be of integral type": "pass whole numbers, such as 1",
    "'float' object is not iterable": "pass a whole number, or several in a tuple",
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
    "same number of dimensions": "x[None] has one axis more",
    "must match exactly": "axis= chooses the one along which they may differ",
    "is not iterable": "pass a list or a tuple",
    "must have the same shape": "np.broadcast_to gives them one; concatenate joins along an axis",
    "not understood": "dtypes are np.float32, 'float64' and the like",
    "repeated axis": "name each axis once",
    "duplicate value in 'axis'": "name each axis once",
    "can't contain negative values": "widths start from 0; x[1:-1] cuts off",
    "axes don't match": "name each axis of the array once",
    "to squeeze out": "only axes of length 1 can go; x.reshape() joins others",
    "one unknown dimension": "give all lengths but one, which may be -1",
    "cannot be empty": "look at x.size first",
    "more dimensions than allowed": "a result cannot have fewer axes than what broadcasts to it",
    "negative dimensions": "counts start from 0",
    "must be non-negative": "lengths start from 0",
    "did not converge": "look for NaN and infinities in it, with np.isfinite(x).all()",
    "float16 is unsupported": "compute in another dtype, x.astype('float32')",
}
"""What to do about NumPy's commonest refusals, by what they say."""


_SPELLED = {
    "dim": "axis",
    "dims": "axis",
    "keepdim": "keepdims",
    "shifts": "shift",
    "unbiased": "ddof",
    "p": "ord",
    "diagonal": "k",
}
"""What other libraries call an argument, to its name in NumPy and here."""

_INSTEAD = {
    "where": "choose elements first, with tg.where(mask, x, other)",
    "dtype": "convert first, with x.astype(dtype)",
    "hermitian": "of symmetric matrices take eigh",
}
"""What to do in place of passing an argument."""


def refused(name: str, known: Collection[str]) -> str:
    """What to do about an argument that an operation with the known ones does not take."""
    other = _SPELLED.get(name)
    return f"say {other}=" if other in known else _INSTEAD.get(name, "it would be ignored, so it is refused")


def of_tensors(parts: Collection[Any]) -> str:
    """What to do about a list or a tuple of tensors in the place of one tensor."""
    if is_output_and_state(parts):
        return OUTPUT_AND_STATE
    if isinstance(parts, tuple):
        return (
            "a tuple of tensors would lose their place on the tape: use tg.stack(list), and of a recurrent "
            "layer's (output, state) the output"
        )
    return "a list of tensors would lose their place on the tape: use tg.stack(list)"


OUTPUT_AND_STATE = (
    "a recurrent layer returns (output, state): take its output, y, state = layer(x), or make it with "
    "return_state=False"
)


def is_output_and_state(parts: Any) -> bool:
    """Whether it is what a recurrent layer returns: a state is a tuple, or a tensor of a type of its own."""
    if not isinstance(parts, tuple) or len(parts) != 2 or not hasattr(type(parts[0]), "__primitive__"):
        return False
    output, state = map(type, parts)
    return issubclass(state, tuple) or (state is not output and issubclass(state, output))


def mended(text: str) -> str:
    """An error's text, and what to do about it where NumPy does not say."""
    for words, mend in _MENDS.items():
        if words in text:
            return text if mend in text else f"{text.rstrip('.')}; {mend}"
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
