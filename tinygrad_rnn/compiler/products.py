"""Products of matrices for kernels, built of register tiles.

They are compiled once for each dtype, as C functions of addresses, and kernels call them by name: else LLVM
would have all tiles to optimise anew in each kernel. A loop over time has its weights packed once for all
steps, which a library's product has to do at every step; a single step reads them where they are.
"""

# mypy: disable-error-code="call-arg, no-untyped-call, import-untyped, var-annotated"
# (what numba calls intrinsics take two arguments less when they are called)

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from .kernels import load, pointer, store

_FEATURES = llvm.get_host_cpu_features()
_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx2") else 16
"""Of a vector register."""
_ALIGNMENT, _WORD = ir.IntType(32), ir.IntType(64)

# ----------------------------------------------------------------------------------------------- emitting


class _Loop:
    """A loop in LLVM's text, over ``range(0, stop, step)``, and the values that it carries round."""

    def __init__(self, builder: Any, stop: Any, step: int, starts: Sequence[Any]) -> None:
        self.builder, self.stop, self.step, self.starts = builder, stop, step, starts
        self.before = builder.block
        self.body, self.after = builder.append_basic_block("body"), builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed(">", stop, _WORD(0)), self.body, self.after)
        builder.position_at_end(self.body)
        self.k = builder.phi(_WORD)
        self.carried = [builder.phi(s.type) for s in starts]

    def end(self, news: Sequence[Any]) -> list[Any]:
        """Close the loop; the carried values as it leaves them."""
        builder = self.builder
        following = builder.add(self.k, _WORD(self.step))
        builder.cbranch(builder.icmp_signed("<", following, self.stop), self.body, self.after)
        builder.position_at_end(self.after)
        results = [builder.phi(s.type) for s in self.starts]
        at_start = (_WORD(0), *self.starts, *self.starts)
        for phi, start, new in zip(
            (self.k, *self.carried, *results), at_start, (following, *news, *news), strict=True
        ):
            phi.add_incoming(start, self.before)
            phi.add_incoming(new, self.body)
        return results


class _Emitter:
    """Vectors of one dtype in LLVM's text."""

    def __init__(self, builder: Any, element: Any) -> None:
        self.builder, self.element = builder, element
        self.size = 4 if isinstance(element, ir.FloatType) else 8
        self.lanes = _BYTES // self.size
        self.vector = ir.VectorType(element, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self.suffix = f"v{self.lanes}f{8 * self.size}"
        self.align = _ALIGNMENT(self.size)

    def function(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        kind = ir.FunctionType(result, arguments)
        return cgutils.get_or_insert_function(self.builder.module, kind, name)

    def at(self, address: Any, *offsets: Any) -> Any:
        """A pointer to an element so many elements behind an address."""
        start = self.builder.inttoptr(address, self.element.as_pointer())
        for offset in offsets:
            start = self.builder.gep(start, [offset])
        return start

    def number(self, at: Any) -> Any:
        return self.builder.load(at, align=self.size)

    def spread(self, scalar: Any) -> Any:
        """A vector of one number."""
        nothing = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(nothing, scalar, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, nothing, zeros)

    def below(self, count: Any) -> Any:
        """A mask of the first so many lanes."""
        numbers = ir.Constant(ir.VectorType(_WORD, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self.spread(count))

    def read(self, at: Any, mask: Any = None) -> Any:
        """The vector at a pointer, or of it what a mask lets through, and zeros."""
        p = self.builder.bitcast(at, self.vector.as_pointer())
        if mask is None:
            return self.builder.load(p, align=self.size)
        kinds = [p.type, _ALIGNMENT, mask.type, self.vector]
        f = self.function(f"llvm.masked.load.{self.suffix}.p0", self.vector, kinds)
        return self.builder.call(f, [p, self.align, mask, self.zero])

    def write(self, at: Any, value: Any, mask: Any) -> None:
        p = self.builder.bitcast(at, self.vector.as_pointer())
        kinds = [self.vector, p.type, _ALIGNMENT, mask.type]
        f = self.function(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), kinds)
        self.builder.call(f, [value, p, self.align, mask])

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        f = self.function(f"llvm.fma.{self.suffix}", self.vector, [self.vector] * 3)
        return self.builder.call(f, [a, b, c])

    def total(self, value: Any) -> Any:
        """The sum of all lanes."""
        f = self.function(f"llvm.vector.reduce.fadd.{self.suffix}", self.element, [self.element, self.vector])
        return self.builder.call(f, [ir.Constant(self.element, 0.0), value], fastmath=("reassoc",))


@intrinsic(prefer_literal=True)
def _tile(
    typing_context: Any, kind: Any, a: Any, stride: Any, step: Any, b: Any, b_stride: Any, out: Any,
    out_stride: Any, inner: Any, columns: Any, more: Any, rows: Any, vectors: Any, ragged: Any,
) -> Any:  # fmt: skip
    """``rows`` rows of a by up to ``vectors`` vectors of b's columns; b ends with them if it is ragged."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = _Emitter(builder, context.get_value_type(kind))
        _emit_tile(e, args[1:11], rows.literal_value, vectors.literal_value, ragged.literal_value)
        return context.get_dummy_value()

    return types.none(kind, *[types.int64] * 10, rows, vectors, ragged), generate


def _emit_tile(e: _Emitter, args: Sequence[Any], rows: int, vectors: int, ragged: int) -> None:
    a, stride, step, b, b_stride, out, out_stride, inner, columns, more = args
    builder = e.builder
    masks = [e.below(columns)] if ragged else [None] * vectors
    loop = _Loop(builder, inner, 1, [e.zero] * (rows * vectors))
    start = builder.mul(loop.k, b_stride)
    bs = [e.read(e.at(b, start, _WORD(v * e.lanes)), masks[v]) for v in range(vectors)]
    offset = builder.mul(loop.k, step)
    sums = []
    for m in range(rows):
        scalar = e.spread(e.number(e.at(a, builder.mul(stride, _WORD(m)), offset)))
        sums += [e.fma(scalar, bs[v], loop.carried[m * vectors + v]) for v in range(vectors)]
    for k, total in enumerate(loop.end(sums)):
        m, v = divmod(k, vectors)
        at = e.at(out, builder.mul(out_stride, _WORD(m)), _WORD(v * e.lanes))
        left = builder.sub(columns, _WORD(v * e.lanes))
        # To be added to what is there: nothing is read, which gives zeros, where there is nothing to add to.
        old = e.read(at, e.below(builder.mul(left, more)))
        e.write(at, builder.fadd(total, old), e.below(left))


@intrinsic(prefer_literal=True)
def _dots_tile(
    typing_context: Any, kind: Any, a: Any, stride: Any, w: Any, out: Any, out_stride: Any, inner: Any,
    rows: Any, columns: Any,
) -> Any:  # fmt: skip
    """The scalar products of ``rows`` rows of a and ``columns`` rows of w."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = _Emitter(builder, context.get_value_type(kind))
        _emit_dots(e, args[1:7], rows.literal_value, columns.literal_value)
        return context.get_dummy_value()

    return types.none(kind, *[types.int64] * 6, rows, columns), generate


def _emit_dots(e: _Emitter, args: Sequence[Any], rows: int, columns: int) -> None:
    a, stride, w, out, out_stride, inner = args
    builder = e.builder
    # Whole vectors of w begin where cache lines do: half of the loads would else be two.
    before = builder.lshr(builder.and_(builder.neg(w), _WORD(_BYTES - 1)), _WORD(e.size.bit_length() - 1))
    before = builder.select(builder.icmp_signed("<", before, inner), before, inner)
    full = builder.and_(builder.sub(inner, before), _WORD(-e.lanes))
    done = builder.add(before, full)
    left = builder.sub(inner, done)
    a_rows = [builder.mul(stride, _WORD(m)) for m in range(rows)]
    w_rows = [builder.mul(inner, _WORD(n)) for n in range(columns)]
    sums = [e.zero] * (rows * columns)
    phases = (before, _WORD(0), e.below(before)), (full, before, None), (left, done, e.below(left))
    for stop, first, mask in phases:
        loop = _Loop(builder, stop, e.lanes, sums)
        xs = [e.read(e.at(a, r, first, loop.k), mask) for r in a_rows]
        ws = [e.read(e.at(w, r, first, loop.k), mask) for r in w_rows]
        pairs = [(x, y) for x in xs for y in ws]
        sums = loop.end([e.fma(x, y, s) for (x, y), s in zip(pairs, loop.carried, strict=True)])
    for k, total in enumerate(sums):
        m, n = divmod(k, columns)
        builder.store(e.total(total), e.at(out, builder.mul(out_stride, _WORD(m)), _WORD(n)), align=e.size)


# ------------------------------------------------------------------------------------------- by addresses


@njit(error_model="numpy", inline="always")
def _panel(
    kind: Any, size: Any, a: Any, stride: Any, step: Any, b: Any, b_stride: Any, out: Any, out_stride: Any,
    rows: Any, inner: Any, columns: Any, more: Any, vectors: Any,
) -> None:  # fmt: skip
    """All rows of a by one panel: as many rows at a time as sums fit into the registers."""
    r = 0
    while r < rows:
        left = rows - r
        i, o = a + r * stride * size, out + r * out_stride * size
        if vectors == 4:
            if left >= 6:
                _tile(kind, i, stride, step, b, b_stride, o, out_stride, inner, columns, more, 6, 4, 0)
                r += 6
            elif left >= 4:
                _tile(kind, i, stride, step, b, b_stride, o, out_stride, inner, columns, more, 4, 4, 0)
                r += 4
            elif left >= 2:
                _tile(kind, i, stride, step, b, b_stride, o, out_stride, inner, columns, more, 2, 4, 0)
                r += 2
            else:
                _tile(kind, i, stride, step, b, b_stride, o, out_stride, inner, columns, more, 1, 4, 0)
                r += 1
        elif vectors == 2:
            if left >= 6:
                _tile(kind, i, stride, step, b, b_stride, o, out_stride, inner, columns, more, 6, 2, 0)
                r += 6
            elif left >= 2:
                _tile(kind, i, stride, step, b, b_stride, o, out_stride, inner, columns, more, 2, 2, 0)
                r += 2
            else:
                _tile(kind, i, stride, step, b, b_stride, o, out_stride, inner, columns, more, 1, 2, 0)
                r += 1
        elif left >= 6:
            _tile(kind, i, stride, step, b, b_stride, o, out_stride, inner, columns, more, 6, 1, 0)
            r += 6
        elif left >= 2:
            _tile(kind, i, stride, step, b, b_stride, o, out_stride, inner, columns, more, 2, 1, 0)
            r += 2
        else:
            _tile(kind, i, stride, step, b, b_stride, o, out_stride, inner, columns, more, 1, 1, 0)
            r += 1


@register_jitable
def _width(vectors: Any) -> Any:
    """How many vectors the next panel has, of those that are left."""
    return 4 if vectors >= 4 else 2 if vectors >= 2 else 1


@njit(error_model="numpy", inline="always")
def _products(
    kind: Any, size: Any, a: Any, stride: Any, step: Any, w: Any, packed: Any, out: Any, out_stride: Any,
    rows: Any, inner: Any, columns: Any, more: Any,
) -> None:  # fmt: skip
    """``a @ w``, by panels of w's columns: packed ones, or parts of a matrix (inner, columns) as it is."""
    lanes = _BYTES // size
    done = 0
    while done < columns:
        left = columns - done
        o = out + done * size
        if packed:
            vectors = _width((left + lanes - 1) // lanes)
            b, b_stride = w + done * inner * size, vectors * lanes
        else:
            vectors = _width(left // lanes)
            b, b_stride = w + done * size, columns
        if packed or left >= lanes:
            _panel(
                kind, size, a, stride, step, b, b_stride, o, out_stride, rows, inner, left, more, vectors
            )  # fmt: skip
        else:
            for r in range(rows):
                i, o_r = a + r * stride * size, o + r * out_stride * size
                _tile(kind, i, stride, step, b, b_stride, o_r, out_stride, inner, left, more, 1, 1, 1)
        done += vectors * lanes


@njit(error_model="numpy", inline="always")
def _dots(
    kind: Any, size: Any, a: Any, stride: Any, w: Any, out: Any, out_stride: Any, rows: Any, inner: Any,
    columns: Any,
) -> None:  # fmt: skip
    """``a @ w.T``, as scalar products: w (columns, inner) is read in the order in which it lies."""
    r = 0
    while r < rows:
        several = rows - r >= 4
        i, o = a + r * stride * size, out + r * out_stride * size
        c = 0
        while c < columns:
            row, at = w + c * inner * size, o + c * size
            if several and columns - c >= 4:
                _dots_tile(kind, i, stride, row, at, out_stride, inner, 4, 4)
                c += 4
            elif several:
                _dots_tile(kind, i, stride, row, at, out_stride, inner, 4, 1)
                c += 1
            elif columns - c >= 4:
                _dots_tile(kind, i, stride, row, at, out_stride, inner, 1, 4)
                c += 4
            else:
                _dots_tile(kind, i, stride, row, at, out_stride, inner, 1, 1)
                c += 1
        r += 4 if several else 1


def _products_float32(a, stride, step, w, packed, out, out_stride, rows, inner, columns, more):  # type: ignore[no-untyped-def]
    _products(np.float32(0), 4, a, stride, step, w, packed, out, out_stride, rows, inner, columns, more)


def _products_float64(a, stride, step, w, packed, out, out_stride, rows, inner, columns, more):  # type: ignore[no-untyped-def]
    _products(np.float64(0), 8, a, stride, step, w, packed, out, out_stride, rows, inner, columns, more)


def _dots_float32(a, stride, w, out, out_stride, rows, inner, columns):  # type: ignore[no-untyped-def]
    _dots(np.float32(0), 4, a, stride, w, out, out_stride, rows, inner, columns)


def _dots_float64(a, stride, w, out, out_stride, rows, inner, columns):  # type: ignore[no-untyped-def]
    _dots(np.float64(0), 8, a, stride, w, out, out_stride, rows, inner, columns)


_FUNCTIONS: dict[tuple[str, str], tuple[Any, int]] = {
    ("products", "float32"): (_products_float32, 11), ("products", "float64"): (_products_float64, 11),
    ("dots", "float32"): (_dots_float32, 8), ("dots", "float64"): (_dots_float64, 8),
}  # fmt: skip


@functools.cache
def provide(name: str, dtype: str) -> Any:
    """Compile ``products`` or ``dots`` for a dtype, or read it from the disk, and tell LLVM its name.

    To be done before a kernel that calls it is loaded.
    """
    function, count = _FUNCTIONS[name, dtype]
    compiled = cfunc(types.void(*[types.int64] * count), cache=True, error_model="numpy")(function)
    llvm.add_symbol(f"tinygrad_rnn_{name}_{dtype}", compiled.address)
    return compiled  # it owns the code


# --------------------------------------------------------------------------------------------- in kernels


def _called(context: Any, builder: Any, name: str, array_type: Any, arguments: Sequence[Any]) -> Any:
    """Call what `provide` has made known for an array's dtype."""
    kind = ir.FunctionType(ir.VoidType(), [_WORD] * len(arguments))
    symbol = f"tinygrad_rnn_{name}_{array_type.dtype}"
    builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), arguments)
    return context.get_dummy_value()


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    return builder.ptrtoint(pointer(context, builder, array_type, array, index), _WORD)


@intrinsic
def _product(
    typing_context: Any, a: Any, at: Any, stride: Any, step: Any, w: Any, packed: Any, out: Any, out_at: Any,
    out_stride: Any, rows: Any, inner: Any, columns: Any, more: Any,
) -> Any:  # fmt: skip
    """``_products`` of elements of arrays."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        x = _address(context, builder, kinds[0], args[0], args[1])
        y = _address(context, builder, kinds[4], args[4], _WORD(0))
        z = _address(context, builder, kinds[6], args[6], args[7])
        arguments = [x, args[2], args[3], y, args[5], z, *args[8:]]
        return _called(context, builder, "products", kinds[0], arguments)

    i = types.int64
    return types.none(a, i, i, i, w, i, out, i, i, i, i, i, i), generate


@intrinsic
def dots(
    typing_context: Any, a: Any, at: Any, stride: Any, w: Any, out: Any, out_at: Any, out_stride: Any,
    rows: Any, inner: Any, columns: Any,
) -> Any:  # fmt: skip
    """``a @ w.T`` for ``rows`` rows of a, from element ``at`` on, ``stride`` apart; w is (columns, inner)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        x = _address(context, builder, kinds[0], args[0], args[1])
        y = _address(context, builder, kinds[3], args[3], _WORD(0))
        z = _address(context, builder, kinds[4], args[4], args[5])
        return _called(context, builder, "dots", kinds[0], [x, args[2], y, z, *args[6:]])

    i = types.int64
    return types.none(a, i, i, w, out, i, i, i, i, i), generate


@register_jitable
def product(
    a: Any, at: Any, stride: Any, packed: Any, out: Any, out_at: Any, out_stride: Any, rows: Any, inner: Any,
    columns: Any,
) -> None:  # fmt: skip
    """``a @ w`` for ``rows`` rows of a, from element ``at`` on, ``stride`` apart; w is packed."""
    _product(a, at, stride, 1, packed, 1, out, out_at, out_stride, rows, inner, columns, 0)


@register_jitable
def product_in_place(
    a: Any, at: Any, stride: Any, w: Any, out: Any, out_at: Any, out_stride: Any, rows: Any, inner: Any,
    columns: Any,
) -> None:  # fmt: skip
    """The same; w is (inner, columns)."""
    _product(a, at, stride, 1, w, 0, out, out_at, out_stride, rows, inner, columns, 0)


def pack(w: np.ndarray) -> np.ndarray:
    """A matrix (inner, columns) as `product` reads it: panels of a few vectors of columns each."""
    inner, columns = w.shape
    lanes = _BYTES // w.itemsize
    out = np.empty(inner * -(-columns // lanes) * lanes, w.dtype)
    done = 0
    while done < columns:
        left = columns - done
        width = lanes * _width(-(-left // lanes))
        count = max(1, left // width)
        panels = out[done * inner : (done + count * width) * inner].reshape(count, inner, width)
        part = w[:, done : done + count * width]
        if left < width:
            panels[0, :, :left] = part
            panels[0, :, left:] = 0
        else:
            panels[...] = part.reshape(inner, count, width).swapaxes(0, 1)
        done += count * width
    return out


# ------------------------------------------------------------------------------------- on rows of all steps


@njit(error_model="numpy", nogil=True, cache=True)
def rows_by_matrix(
    lo: Any, hi: Any, a: Any, stride: Any, packed: Any, out: Any, inner: Any, columns: Any
) -> None:
    """Rows lo to hi of ``a @ w``, w packed."""
    product(a, lo * stride, stride, packed, out, lo * columns, columns, hi - lo, inner, columns)


_BLOCK = 64
"""Rows that are summed over at a time: few enough to stay in a cache."""


@njit(error_model="numpy", nogil=True, cache=True)
def columns_by_columns(lo: Any, hi: Any, a: Any, n: Any, b: Any, columns: Any, out: Any) -> None:
    """Rows lo to hi of ``a.T @ b``: the sum over all rows of a (rows, n) and b (rows, columns)."""
    rows = a.size // n
    lanes = _BYTES // a.itemsize
    panels = np.zeros(_BLOCK * ((columns + lanes - 1) // lanes) * lanes, a.dtype)
    for first in range(0, rows, _BLOCK):
        inner = min(_BLOCK, rows - first)
        done = 0
        while done < columns:
            width = lanes * _width((columns - done + lanes - 1) // lanes)
            for k in range(inner):
                start, source = done * inner + k * width, (first + k) * columns + done
                for j in range(min(width, columns - done)):
                    store(panels, start + j, load(b, source + j, 1), 0)
            done += width
        _product(
            a, first * n + lo, 1, n, panels, 1, out, lo * columns, columns, hi - lo, inner, columns,
            1 if first else 0,
        )  # fmt: skip


@njit(error_model="numpy", nogil=True, cache=True)
def sum_rows(a: Any, part: Any, out: Any) -> None:
    """Add all rows of a to out, in blocks: a long sum keeps its digits that way."""
    columns = out.size
    rows = a.size // columns
    for first in range(0, rows, _BLOCK):
        for j in range(columns):
            part[j] = 0
        for r in range(first, min(first + _BLOCK, rows)):
            for j in range(columns):
                store(part, j, load(part, j, 0) + load(a, r * columns + j, 1), 0)
        for j in range(columns):
            out[j] += part[j]
