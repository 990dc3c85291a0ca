"""What generated loops are made of, for numba: memory access, exp and its kin.

Reading and writing go through `load` and `store`, which tell LLVM that different arrays do not overlap: else
it would not dare to work on many elements at once.
"""

# mypy: disable-error-code="call-arg, no-untyped-call, import-untyped, var-annotated"
# (what numba calls intrinsics take two arguments less when they are called)

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

# ------------------------------------------------------------------------------------------------ memory


def pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """LLVM's pointer to element ``index`` of an array's memory."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
    return builder.gep(data, [index])


def _tell_apart(builder: Any, instruction: Any, which: int) -> None:
    """Mark an access as one to array number ``which``, which overlaps no other."""
    module = builder.module
    domain = module.add_metadata(["tinygrad_rnn"])
    scopes = [module.add_metadata([f"tinygrad_rnn {k}", domain]) for k in range(_ARRAYS)]
    instruction.set_metadata("alias.scope", module.add_metadata([scopes[which]]))
    instruction.set_metadata("noalias", module.add_metadata([s for k, s in enumerate(scopes) if k != which]))


_ARRAYS = 64


@intrinsic(prefer_literal=True)
def load(typing_context: Any, array: Any, index: Any, which: Any) -> Any:
    """Element ``index`` of the memory of array number ``which``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(pointer(context, builder, signature.args[0], args[0], args[1]))
        _tell_apart(builder, value, which.literal_value)
        return value

    return array.dtype(array, types.int64, which), generate


@intrinsic(prefer_literal=True)
def store(typing_context: Any, array: Any, index: Any, value: Any, which: Any) -> Any:
    """Write element ``index`` of the memory of array number ``which``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        done = builder.store(args[2], pointer(context, builder, signature.args[0], args[0], args[1]))
        _tell_apart(builder, done, which.literal_value)
        return context.get_dummy_value()

    return types.none(array, types.int64, array.dtype, which), generate


# ---------------------------------------------------------------------------------- exp, sigmoid and tanh


@intrinsic
def _power(typing_context: Any, shifted: Any) -> Any:
    """Two to the power that stands, with the bias of exponents added, in a number's last bits."""
    bits, shift = (32, 23) if shifted == types.float32 else (64, 52)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(bits)
        moved = builder.shl(builder.bitcast(args[0], word), word(shift))
        return builder.bitcast(moved, context.get_value_type(signature.return_type))

    return shifted(shifted), generate


def _exponentials(dtype: Any, magic: float, high: float, low: float, terms: int, limits: Any) -> Any:
    """exp, sigmoid and tanh for one dtype.

    The argument is split as ``n log(2) + r`` (Cody and Waite 1980): adding ``magic`` rounds to n and leaves
    it, biased, in the last bits. ``exp(r) - 1`` is its Taylor series, short as |r| < 0.35.
    """
    t = np.dtype(dtype).type
    factor, magic, high, low = t(1 / np.log(2)), t(magic), t(high), t(low)
    coefficients = tuple([t(1 / _factorial(k)) for k in range(terms, 1, -1)])
    one, two, half, zero = t(1), t(2), t(0.5), t(0)
    bottom, top, flat, bound = [t(v) for v in limits]

    series = "zero"
    for k in range(len(coefficients)):
        series = f"({series} * r + c{k})" if k else "c0"
    source = f"""
def parts(x):
    shifted = x * factor + magic
    n = shifted - magic
    r = (x - n * high) - n * low
    q = {series}
    return shifted, n, r + r * r * q
"""
    names: dict[str, Any] = {"factor": factor, "magic": magic, "high": high, "low": low, "zero": zero}
    names.update({f"c{k}": c for k, c in enumerate(coefficients)})
    exec(source, names)
    parts = njit(error_model="numpy")(names["parts"])

    @njit(error_model="numpy")
    def exp(x: Any) -> Any:
        inside = min(max(x, bottom), top)
        _, n, p = parts(inside)
        # In two halves, so that neither overflows where the whole is finite, or still a subnormal number.
        first = n * half + magic
        y = (one + p) * _power(first) * _power(n - (first - magic) + magic)
        return y if x == x else x

    @njit(error_model="numpy")
    def sigmoid(x: Any) -> Any:
        shifted, _, p = parts(min(max(-x, -bound), bound))
        y = one / (one + (one + p) * _power(shifted))
        return y if x == x else x

    @njit(error_model="numpy")
    def tanh(x: Any) -> Any:
        shifted, _, p = parts(max(-two * abs(x), -flat))
        scale = _power(shifted)
        e = scale * p + (scale - one)  # exp(-2 |x|) - 1
        y = (zero - e) / (two + e)
        y = y if x >= zero else -y
        return y if x == x else x

    return exp, sigmoid, tanh


def _factorial(n: int) -> float:
    return float(np.prod(np.arange(1, n + 1, dtype=np.float64)))


_SINGLE = _exponentials(
    np.float32, 12582912.0 + 127, 0.693359375, -2.12194440e-4, 7, (-104.0, 89.0, 20.0, 88.0)
)
_DOUBLE = _exponentials(
    np.float64, 6755399441055744.0 + 1023, 6.93145751953125e-1, 1.42860682030941723212e-6, 13,
    (-746.0, 710.0, 44.0, 709.0),
)  # fmt: skip


def _by_dtype(name: str, k: int) -> Any:
    single, double = _SINGLE[k], _DOUBLE[k]

    def stub(x: Any) -> Any:
        raise NotImplementedError

    stub.__name__ = name

    @overload(stub, jit_options={"error_model": "numpy"})
    def chosen(x):  # type: ignore[no-untyped-def]
        if x == types.float32:
            return lambda x: single(x)
        return lambda x: double(x)

    return stub


exp, sigmoid, tanh = (_by_dtype(name, k) for k, name in enumerate(("exp", "sigmoid", "tanh")))


@njit(error_model="numpy")
def larger(a: Any, b: Any) -> Any:
    """The larger of two; NaN if one of them is."""
    return a if a >= b or a != a else b


@njit(error_model="numpy")
def smaller(a: Any, b: Any) -> Any:
    """The smaller of two; NaN if one of them is."""
    return a if a <= b or a != a else b
