"""In which dtype to compute where an operand's own would not do. Both run on arrays and on tensors."""

from __future__ import annotations

import numpy as np


def floating(x):
    """x as an array, in float64 if it holds integers or booleans, which would wrap and could not be negated.

    NumPy's own functions of float16 for int8 are too coarse where a formula is made of them.
    """
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype.kind in "biu" else x


def wide(x):
    """x, in float32 if it is float16, which ends at 65,504: fewer than the elements that one may count."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def positions(numbers):
    """What may stand for positions, as an array. NumPy makes floats of an empty list, which are none."""
    array = numbers if hasattr(numbers, "dtype") else np.asarray(numbers)
    return array if array.size or array.dtype != np.float64 else np.zeros(array.shape, np.intp)


def whole(numbers, kinds="biu"):
    """An array of whole numbers. Fractions are refused: here and there NumPy would cut them off."""
    array = positions(numbers)
    if array.dtype.kind not in kinds:
        mend = "np.flatnonzero(mask) are a mask's" if array.dtype == bool else "x.astype(int) gives some"
        raise TypeError(f"integers are needed, got {array.dtype}{array.shape}: {mend}")
    return np.asarray(array)
