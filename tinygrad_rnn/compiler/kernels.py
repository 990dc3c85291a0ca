"""What generated loops are made of, for numba: memory access, exp and its kin, products with packed weights.

Reading and writing go through `load` and `store`, which tell LLVM that different arrays do not overlap: else
it would not dare to work on many elements at once. Products are built of register tiles; their weights are
packed once per sequence, which a library's product has to do anew at every step.
"""

# mypy: disable-error-code="call-arg, no-untyped-call, import-untyped, var-annotated"
# (what numba calls intrinsics take two arguments less when they are called)

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

_FEATURES = llvm.get_host_cpu_features()
_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx2") else 16
"""Of a vector register."""
_ROWS = 6 if _BYTES == 64 else 2
"""Rows of the largest tile: rows times four vectors of sums, with what is multiplied, fill the registers."""

# ------------------------------------------------------------------------------------------------ memory


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
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
        value = builder.load(_pointer(context, builder, signature.args[0], args[0], args[1]))
        _tell_apart(builder, value, which.literal_value)
        return value

    return array.dtype(array, types.int64, which), generate


@intrinsic(prefer_literal=True)
def store(typing_context: Any, array: Any, index: Any, value: Any, which: Any) -> Any:
    """Write element ``index`` of the memory of array number ``which``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        done = builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], args[1]))
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


# ---------------------------------------------------------------------------------------------- products


@intrinsic(prefer_literal=True)
def _tile(
    typing_context: Any, a: Any, at: Any, stride: Any, step: Any, b: Any, b_at: Any, out: Any, out_at: Any,
    out_stride: Any, inner: Any, columns: Any, more: Any, rows: Any, vectors: Any,
) -> Any:  # fmt: skip
    """One tile of a product: ``rows`` rows of a, by up to ``vectors`` vectors of columns of a panel."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _emit_tile(context, builder, signature, args, rows.literal_value, vectors.literal_value)
        return context.get_dummy_value()

    i = types.int64
    return types.none(a, i, i, i, b, i, out, i, i, i, i, i, rows, vectors), generate


def _emit_tile(context: Any, builder: Any, signature: Any, args: Any, rows: int, vectors: int) -> None:
    element = context.get_value_type(signature.args[0].dtype)
    lanes = _BYTES // (4 if signature.args[0].dtype == types.float32 else 8)
    vector, word = ir.VectorType(element, lanes), ir.IntType(64)
    a, at, stride, step, b, b_at, out, out_at, out_stride, inner, columns, more = args[:12]
    a_pointers = [
        _pointer(context, builder, signature.args[0], a, builder.add(at, builder.mul(stride, word(m))))
        for m in range(rows)
    ]
    b_pointer = _pointer(context, builder, signature.args[4], b, b_at)
    before = builder.block
    body, after = builder.append_basic_block("products"), builder.append_basic_block("done")
    zero = ir.Constant(vector, [0.0] * lanes)
    builder.cbranch(builder.icmp_signed(">", inner, word(0)), body, after)
    builder.position_at_end(body)
    k = builder.phi(word)
    k.add_incoming(word(0), before)
    sums = [[builder.phi(vector) for _ in range(vectors)] for _ in range(rows)]
    name = f"llvm.fma.v{lanes}{'f32' if lanes * 4 == _BYTES else 'f64'}"
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
    panel = builder.gep(b_pointer, [builder.mul(k, word(lanes * vectors))])
    bs = []
    for v in range(vectors):
        p = builder.bitcast(builder.gep(panel, [word(v * lanes)]), vector.as_pointer())
        bs.append(builder.load(p, align=element_bytes(element)))
    new = []
    offset = builder.mul(k, step)
    for m in range(rows):
        scalar = builder.load(builder.gep(a_pointers[m], [offset]))
        spread = _spread(builder, scalar, lanes)
        new.append([builder.call(fma, [spread, bs[v], sums[m][v]]) for v in range(vectors)])
    following = builder.add(k, word(1))
    k.add_incoming(following, body)
    for m in range(rows):
        for v in range(vectors):
            sums[m][v].add_incoming(zero, before)
            sums[m][v].add_incoming(new[m][v], body)
    builder.cbranch(builder.icmp_signed("<", following, inner), body, after)
    builder.position_at_end(after)
    results = []
    for m in range(rows):
        for v in range(vectors):
            phi = builder.phi(vector)
            phi.add_incoming(zero, before)
            phi.add_incoming(new[m][v], body)
            results.append((m, v, phi))
    _emit_stores(
        context, builder, signature, (out, out_at, out_stride, columns, more), results, vector, lanes
    )


def _spread(builder: Any, scalar: Any, lanes: int) -> Any:
    """A vector of one number."""
    nothing = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(
        first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    )


def element_bytes(element: Any) -> int:
    return 4 if isinstance(element, ir.FloatType) else 8


def _emit_stores(
    context: Any, builder: Any, signature: Any, target: Any, results: Any, vector: Any, lanes: int
) -> None:
    """Write a tile's sums; of the last vector only the columns that exist."""
    out, out_at, out_stride, columns, more = target
    word = ir.IntType(64)
    kind = "f32" if isinstance(vector.element, ir.FloatType) else "f64"
    mask_type = ir.VectorType(ir.IntType(1), lanes)
    lane_numbers = ir.Constant(ir.VectorType(word, lanes), list(range(lanes)))
    pointer = vector.as_pointer()
    suffix = f"v{lanes}{kind}.p0"
    align = ir.IntType(32)(element_bytes(vector.element))
    write = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [vector, pointer, ir.IntType(32), mask_type]),
        f"llvm.masked.store.{suffix}",
    )
    read = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [pointer, ir.IntType(32), mask_type, vector]),
        f"llvm.masked.load.{suffix}",
    )
    for m, v, total in results:
        start = builder.add(out_at, builder.add(builder.mul(out_stride, word(m)), word(v * lanes)))
        at = builder.bitcast(_pointer(context, builder, signature.args[6], out, start), pointer)
        left = builder.sub(columns, word(v * lanes))
        mask = builder.icmp_signed("<", lane_numbers, _spread(builder, left, lanes))
        # To be added to what is there: read nothing, which gives zeros, where there is nothing to add to.
        found = builder.icmp_signed("<", lane_numbers, _spread(builder, builder.mul(left, more), lanes))
        old = builder.call(read, [at, align, found, ir.Constant(vector, [0.0] * lanes)])
        builder.call(write, [builder.fadd(total, old), at, align, mask])


LANES_float32, LANES_float64 = _BYTES // 4, _BYTES // 8
"""Numbers in a vector register."""


@njit(error_model="numpy", nogil=True)
def _panel(
    a: Any, at: Any, stride: Any, step: Any, b: Any, b_at: Any, out: Any, out_at: Any, out_stride: Any,
    inner: Any, columns: Any, rows: Any, vectors: Any, more: Any,
) -> None:  # fmt: skip
    """All rows of a by one panel."""
    r = 0
    while r < rows:
        left = rows - r
        i, o = at + r * stride, out_at + r * out_stride
        if vectors == 4:
            if left >= 6:
                _tile(a, i, stride, step, b, b_at, out, o, out_stride, inner, columns, more, 6, 4)
                r += 6
            elif left >= 4:
                _tile(a, i, stride, step, b, b_at, out, o, out_stride, inner, columns, more, 4, 4)
                r += 4
            elif left >= 2:
                _tile(a, i, stride, step, b, b_at, out, o, out_stride, inner, columns, more, 2, 4)
                r += 2
            else:
                _tile(a, i, stride, step, b, b_at, out, o, out_stride, inner, columns, more, 1, 4)
                r += 1
        elif vectors == 2:
            if left >= 6:
                _tile(a, i, stride, step, b, b_at, out, o, out_stride, inner, columns, more, 6, 2)
                r += 6
            elif left >= 2:
                _tile(a, i, stride, step, b, b_at, out, o, out_stride, inner, columns, more, 2, 2)
                r += 2
            else:
                _tile(a, i, stride, step, b, b_at, out, o, out_stride, inner, columns, more, 1, 2)
                r += 1
        else:
            if left >= 6:
                _tile(a, i, stride, step, b, b_at, out, o, out_stride, inner, columns, more, 6, 1)
                r += 6
            elif left >= 2:
                _tile(a, i, stride, step, b, b_at, out, o, out_stride, inner, columns, more, 2, 1)
                r += 2
            else:
                _tile(a, i, stride, step, b, b_at, out, o, out_stride, inner, columns, more, 1, 1)
                r += 1


@register_jitable
def _width(vectors: Any) -> Any:
    """How many vectors the next panel has, of those that are left."""
    return 4 if vectors >= 4 else 2 if vectors >= 2 else 1


@njit(error_model="numpy", nogil=True)
def product(
    a: Any, at: Any, stride: Any, packed: Any, out: Any, out_at: Any, out_stride: Any, rows: Any, inner: Any,
    columns: Any, lanes: Any,
) -> None:  # fmt: skip
    """``a @ w`` for ``rows`` rows of a, from element ``at`` on, ``stride`` apart; w is packed."""
    _products(a, at, stride, 1, packed, out, out_at, out_stride, rows, inner, columns, 0, lanes)


@njit(error_model="numpy", nogil=True)
def _products(
    a: Any, at: Any, stride: Any, step: Any, packed: Any, out: Any, out_at: Any, out_stride: Any, rows: Any,
    inner: Any, columns: Any, more: Any, lanes: Any,
) -> None:  # fmt: skip
    done = 0
    while done < columns:
        vectors = _width((columns - done + lanes - 1) // lanes)
        _panel(
            a, at, stride, step, packed, done * inner, out, out_at + done, out_stride, inner, columns - done,
            rows, vectors, more,
        )  # fmt: skip
        done += vectors * lanes


@njit(error_model="numpy", nogil=True, cache=True)
def rows_by_matrix(
    lo: Any, hi: Any, a: Any, stride: Any, packed: Any, out: Any, inner: Any, columns: Any, lanes: Any
) -> None:
    """Rows lo to hi of ``a @ w``, w packed."""
    product(a, lo * stride, stride, packed, out, lo * columns, columns, hi - lo, inner, columns, lanes)


_BLOCK = 64
"""Rows that are summed over at a time: few enough to stay in a cache."""


@njit(error_model="numpy", nogil=True, cache=True)
def columns_by_columns(lo: Any, hi: Any, a: Any, b: Any, out: Any, lanes: Any) -> None:
    """Rows lo to hi of ``a.T @ b``: the sum over all rows of a (rows, n) and b (rows, columns)."""
    rows, n = a.shape
    columns = b.shape[1]
    flat_a, flat_out = a.reshape(-1), out.reshape(-1)
    panels = np.empty(_BLOCK * ((columns + lanes - 1) // lanes) * lanes, a.dtype)
    for first in range(0, rows, _BLOCK):
        inner = min(_BLOCK, rows - first)
        _packed(b[first : first + inner], panels, lanes)
        _products(
            flat_a, first * n + lo, 1, n, panels, flat_out, lo * columns, columns, hi - lo, inner, columns,
            int(first > 0), lanes,
        )  # fmt: skip


@njit(error_model="numpy", nogil=True, cache=True)
def _packed(w: Any, out: Any, lanes: Any) -> None:
    inner, columns = w.shape
    done = 0
    while done < columns:
        width = lanes * _width((columns - done + lanes - 1) // lanes)
        full = min(width, columns - done)
        for k in range(inner):
            at = done * inner + k * width
            for j in range(full):
                out[at + j] = w[k, done + j]
            for j in range(full, width):
                out[at + j] = 0
        done += width


@njit(error_model="numpy", nogil=True, cache=True)
def sum_rows(a: Any, out: Any) -> None:
    """Add all rows of a to out, in blocks: a long sum keeps its digits that way."""
    part = np.empty_like(out)
    flat_a = a.reshape(-1)
    for first in range(0, a.shape[0], _BLOCK):
        part[:] = 0
        for r in range(first, min(first + _BLOCK, a.shape[0])):
            for j in range(a.shape[1]):
                store(part, j, load(part, j, 0) + load(flat_a, r * a.shape[1] + j, 1), 0)
        for j in range(a.shape[1]):
            out[j] += part[j]


def pack(w: np.ndarray) -> np.ndarray:
    """A matrix (inner, columns) as `product` reads it: panels of a few vectors of columns each."""
    lanes = LANES_float32 if w.itemsize == 4 else LANES_float64
    inner, columns = w.shape
    out = np.empty(inner * -(-columns // lanes) * lanes, w.dtype)
    _packed(w, out, lanes)
    return out
