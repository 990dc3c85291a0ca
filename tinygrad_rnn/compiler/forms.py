"""What instructions are to those that write source: ufuncs, products, cuts and joins of features."""

from __future__ import annotations

import numpy as np

from ..ops.operations import Primitive
from .instructions import Instruction, Operand, Value


def elementwise(i: Instruction) -> bool:
    """Whether it costs next to nothing beside reading and writing, and so is best done where it is used."""
    op = i.op if isinstance(i.op, Primitive) else i.op.primitive
    return op.elementwise or op.name in ("where", "clip", "astype") or (op.view and i.op is op)


def may_share(i: Instruction) -> bool:
    """Whether the results may lie in the memory of what it reads."""
    return not isinstance(i.op, Primitive) or i.op.view


def ufunc_name(i: Instruction) -> str | None:
    """The name of the ufunc that an instruction is, if it is one that keeps the dtype."""
    if not (isinstance(i.op, Primitive) and i.op.elementwise and i.op.numpy and not i.static):
        return None
    ufunc = i.op.numpy[0]
    if not isinstance(ufunc, np.ufunc) or any(v.dtype != i.outputs[0].dtype for v in i.read):
        return None
    return ufunc.__name__


def product_kind(i: Instruction) -> str | None:
    """Whether an instruction is a product of two matrices of one dtype: "linear", "matmul" or None."""
    if i.name not in ("linear", "matmul") or not isinstance(i.op, Primitive):
        return None
    if any(type(v) is not Value or len(v.shape) != 2 or v.dtype != i.outputs[0].dtype for v in i.inputs):
        return None
    return i.name


def is_view(i: Instruction) -> bool:
    """Whether an instruction only looks at what it reads in another way."""
    return isinstance(i.op, Primitive) and i.op.view


def joins_features(i: Instruction) -> bool:
    """Whether an instruction concatenates features."""
    if i.name != "concatenate" or not isinstance(i.op, Primitive):
        return False
    axis = i.static.get("axis", 0)
    n = len(i.outputs[0].shape)
    return n > 1 and axis is not None and axis % n == n - 1


def joined_parts(i: Instruction) -> list[tuple[Operand, int, int]]:
    """What a concatenation of features joins, and from where to where each of it then lies."""
    widths = [v.shape[-1] if type(v) is Value else np.shape(v.array)[-1] for v in i.inputs]
    ends = np.cumsum(widths).tolist()
    return [(v, end - n, end) for v, n, end in zip(i.inputs, widths, ends, strict=True)]


def feature_parts(i: Instruction) -> list[tuple[int, int]] | None:
    """The ranges of the last axis that a split, or a slice, takes; None if it is something else."""
    if not isinstance(i.op, Primitive) or type(i.inputs[0]) is not Value:
        return None
    shape = i.inputs[0].shape
    if len(shape) < 2 or not i.inputs[0].rowwise or not isinstance(shape[-1], int):
        return None
    if i.name == "split" and i.static.get("axis", 0) % len(shape) == len(shape) - 1:
        ends = np.cumsum([o.shape[-1] for o in i.outputs]).tolist()
        return [(e - o.shape[-1], e) for e, o in zip(ends, i.outputs, strict=True)]
    if i.name != "getitem":
        return None
    index = i.static["index"]
    *before, at = index if isinstance(index, tuple) and index else (index,)
    whole = [isinstance(p, slice) and p == slice(None) for p in before]
    all_rows = (len(before) == len(shape) - 1 and all(whole)) or (len(before) == 1 and before[0] is Ellipsis)
    if not all_rows or not isinstance(at, slice) or at.step not in (None, 1):
        return None
    start, stop, _ = at.indices(shape[-1])
    return [(start, max(start, stop))]
