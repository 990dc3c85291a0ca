"""Products of joined features taken apart: ``concatenate([x, h]) @ W`` is ``x @ W[:I] + h @ W[I:]``.

The first of these needs no state and leaves the loop, and so does its cotangent.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .. import ops
from .forms import feature_parts, joined_parts, joins_features, product_kind
from .instructions import ROWS, Instruction, Instructions, Value
from .passes import live, replaced


def taken_apart(
    instructions: Sequence[Instruction], levels: dict[Any, int], numbers: Iterator[int]
) -> Instructions:
    """Products of what is joined of parts of several levels as sums of the products of these parts."""
    made_by = {o: i for i in instructions for o in i.outputs}
    result: Instructions = []
    for i in instructions:
        join = made_by.get(i.read[0]) if product_kind(i) else None
        parts = joined_parts(join) if join is not None and joins_features(join) else []
        alike = [
            list(group) for _, group in itertools.groupby(parts, key=lambda part: levels.get(part[0], 0))
        ]
        if len(alike) < 2 or ROWS in i.read[1].shape or not all(type(v) is Value for v, _, _ in parts):
            result.append(i)
            continue
        assert join is not None
        out = i.outputs[0]
        total: Value | None = None
        for group in alike:
            start, stop = group[0][1], group[-1][2]
            a = group[0][0]
            if len(group) > 1:
                a = Value(next(numbers), (ROWS, stop - start), out.dtype)
                operands = tuple([v for v, _, _ in group])
                result.append(Instruction(join.op, operands, {"axis": 1}, (a,), join.scope))
            w = _part_of_weights(i, start, stop, True, result, numbers)
            product = Value(next(numbers), out.shape, out.dtype)
            result.append(Instruction(i.op, (a, w), i.static, (product,), i.scope))
            if total is not None:
                added = out if group is alike[-1] else Value(next(numbers), out.shape, out.dtype)
                result.append(Instruction(ops.add, (total, product), {}, (added,), i.scope))
                product = added
            total = product
    return result


def _part_of_weights(
    product: Instruction, start: int, stop: int, inner: bool, result: Instructions, numbers: Iterator[int]
) -> Value:
    """The weights of some of a product's inner features, or of some of its columns."""
    w = product.read[1]
    first = inner == (product_kind(product) == "matmul")
    part = slice(start, stop)
    shape = (stop - start, w.shape[1]) if first else (w.shape[0], stop - start)
    made = Value(next(numbers), shape, w.dtype)
    index = part if first else (slice(None), part)
    result.append(Instruction(ops.getitem, (w,), {"index": index}, (made,), product.scope))
    return made


def cut_apart(
    backward: Sequence[Instruction], gold: Iterable[Value | None], wanted: Iterable[Value | None],
    numbers: Iterator[int],
) -> Instructions:  # fmt: skip
    """Features that are cut out of a product as products of their own, where only some are carried on."""
    readers: dict[Value, Instructions] = defaultdict(list)
    for i in backward:
        for v in i.read:
            readers[v].append(i)
    gold = list(gold)
    carried, kept = set(live(backward, gold)), {*gold, *wanted}
    parts: dict[Instruction, Instruction] = {}
    for i in backward:
        cuts = readers[i.outputs[0]]
        apart = (
            product_kind(i)
            and ROWS not in i.read[1].shape
            and i.outputs[0] not in kept
            and all(feature_parts(cut) and len(cut.outputs) == 1 for cut in cuts)
            and 0 < len(carried.intersection(cuts)) < len(cuts)
        )
        parts.update({cut: i for cut in cuts if apart})
    result: Instructions = []
    for i in backward:
        product = parts.get(i)
        if product is not None:
            ((start, stop),) = feature_parts(i) or []
            w = _part_of_weights(product, start, stop, False, result, numbers)
            result.append(Instruction(product.op, (product.read[0], w), product.static, i.outputs, i.scope))
        else:
            result.append(i)
    return live(result, [*kept])


def with_joins_again(
    backward: Sequence[Instruction],
    forward: Sequence[Instruction],
    stored: set[Value],
    numbers: Iterator[int],
) -> Instructions:
    """The backward half joining again what is at hand and only it reads as a whole."""
    there = stored.union(v for i in backward for v in i.read)
    read = {v for i in forward for v in i.read}
    result: Instructions = []
    again: dict[Value, Value] = {}
    for i in forward:
        out = i.outputs[0]
        if joins_features(i) and out in there and out not in read | stored and there.issuperset(i.inputs):
            again[out] = Value(next(numbers), out.shape, out.dtype)
            result.append(Instruction(i.op, i.inputs, i.static, (again[out],), i.scope))
    return [*result, *replaced(backward, again)]
