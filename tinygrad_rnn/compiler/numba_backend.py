"""One numba kernel for each loop of a plan: products with packed weights, and all between them fused."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from . import building
from .expressions import Memory, Pass, local
from .forms import joined_parts, product_kind
from .instructions import Instruction, Instructions, Value
from .numpy_backend import NumpyWriter
from .planning import Plan
from .stages import REDUCTIONS, NotFused, Stages, width
from .writing import Copies, Location

Results = Sequence[tuple[Value | None, Location]]
Handed = tuple[str, str]
"""How a kernel is handed an array, "rows", "flat", "pack", or "" for as it is; and the array."""


class _Kernel:
    """Writes the kernel of one loop.

    Attributes
    ----------
    memory : Memory
    weights : dict of Handed to str
        What the caller has to hand over for the matrices of products, and the kernel's names.
    """

    def __init__(self, stages: Stages, names: dict[Value, str], packed: bool) -> None:
        self.stages, self.packed = stages, packed
        self.memory = Memory(stages, names)
        self.weights: dict[Handed, str] = {}

    def write(self, back: bool) -> str:
        """The kernel's source."""
        lines: list[str] = []
        for p in range(self.stages.last + 1):
            if p:
                lines += [
                    self.product(i)
                    for i in self.stages.body
                    if self.stages.product(i) and self.stages.of(i) == (p, 0)
                ]
            lines += self.rows(p)
        handed = ", ".join([*self.memory.arrays.values(), *self.weights.values()])
        order = "range(len(counts) - 1, -1, -1)" if back else "range(len(counts))"
        over_time = [
            f"def kernel(lo, hi, counts, starts, befores, batch, {handed}):",
            f"    for k in {order}:",
            "        start, before, end = starts[k], befores[k], min(hi, counts[k])",
            *["        " + line for line in lines],
        ]
        once = [f"def kernel(end, {handed}):", "    lo = 0", *["    " + line for line in lines]]
        return "\n".join(over_time if self.packed else once) + "\n"

    def product(self, i: Instruction) -> str:
        """A statement that multiplies all rows by a matrix."""
        a, w = i.read
        linear = self.stages.product(i) == "linear"
        root, offset = self.stages.root(a, in_rows=True)
        if root not in self.stages.locations:
            raise NotFused("a product of something that is not in memory")
        source = self.stages.locations[root].inside(offset, offset + width(a))
        target = self.stages.locations[i.outputs[0]]
        name = self.memory.names[w]
        if self.packed:
            function, handed = "product", ("pack", f"{name}.T" if linear else name)
        else:
            function, handed = "dots" if linear else "product_in_place", ("flat", name)
        weights = self.weights.setdefault(handed, f"W{len(self.weights)}")
        return (
            f"{function}({self.memory.rows(source)}, {weights}, {self.memory.rows(target)}, end - lo, "
            f"{width(a)}, {width(i.outputs[0])})"
        )

    # ---- everything between products: row by row

    def rows(self, p: int) -> list[str]:
        """All that is done after p products and before the next."""
        lines: list[str] = []
        for q in range(self.stages.depth(p) + 1):
            lines += self.stage(
                [i for i in self.stages.body if self.stages.of(i) == (p, q) and not self.stages.product(i)]
            )
        if p == self.stages.last:
            lines += self.copied()
        return ["for r in range(lo, end):", *["    " + line for line in lines]] if lines else []

    def stage(self, here: Instructions) -> list[str]:
        """The instructions of one stage: those of one width in one pass."""
        lines: list[str] = []
        results: list[tuple[Value | None, Location]] = []
        for i in here:
            if i.name in REDUCTIONS:
                lines += self.reduction(i)
            elif i.name == "scatter":
                lines += self.scatter(i)
            elif i.name == "concatenate":
                for v, start, stop in joined_parts(i):
                    part = self.stages.locations[i.outputs[0]].inside(start, stop)
                    if isinstance(v, Value) and self.stages.locations.get(v) != part:
                        results.append((v, part))
            else:
                results += [(o, self.stages.locations[o]) for o in i.outputs if o in self.stages.locations]
        return [*lines, *self.passes(results)]

    def passes(self, results: Results) -> list[str]:
        """Results of one stage in passes over features of one width: as few as their order allows."""
        sizes = [self.memory.widths[at.array] if v is None else width(v) for v, at in results]
        turns = self.turns(results, sizes)
        lines: list[str] = []
        for turn, size in sorted(dict.fromkeys(zip(turns, sizes, strict=True)), key=lambda key: key[0]):
            here = [r for r, t, n in zip(results, turns, sizes, strict=True) if (t, n) == (turn, size)]
            text, named = self.one_pass(size, here, self.memory)
            if size == 1:
                stores = [self.memory.store(at, name, "") for name, at in named]
                lines += [*text.before, *text.lines, *stores]
            else:
                lines += text.loop([self.memory.store(at, name, " + j") for name, at in named])
        return lines

    def turns(self, results: Results, sizes: Sequence[int]) -> list[int]:
        """When to write each result: after what it reads is written, and before that is written over."""
        locations = self.stages.locations
        read = [
            self.one_pass(size, [r], Memory(self.stages, self.memory.names))[0].loaded
            for size, r in zip(sizes, results, strict=True)
        ]
        later: list[tuple[int, int, int]] = []
        for reader, writer in itertools.permutations(range(len(results)), 2):
            v, at = results[writer]
            # What is of one width can be done in one pass: everything is read before it is written.
            least = int(sizes[reader] != sizes[writer])
            if v in read[reader] and locations.get(v) == at:
                later.append((reader, writer, least))
            if any(u is not v and locations[u] == at for u in read[reader]):
                later.append((writer, reader, least))
        turns = [0] * len(results)
        for _ in results:
            before = list(turns)
            for k, other, least in later:
                turns[k] = max(turns[k], turns[other] + least)
            if turns == before:
                return turns
        if results:
            raise NotFused("results of different widths that wait for each other")
        return turns

    def one_pass(
        self, size: int, results: Results, memory: Memory
    ) -> tuple[Pass, list[tuple[str, Location]]]:
        """The expressions of some results, and where to store them: all is read, computed, then written."""
        own = [v for v, at in results if v is not None and self.stages.locations.get(v) == at]
        text = Pass(self.stages, memory, size, own)
        return text, [("zero" if v is None else text.value(v), at) for v, at in results]

    def reduction(self, i: Instruction) -> list[str]:
        """A sum, mean or variance of a row; what comes of it is a local variable."""
        source, out = i.read[0], i.outputs[0]
        axis = i.static.get("axis")
        if len(source.shape) != 2 or axis not in (-1, 1, (1,), (-1,)):
            raise NotFused(f"{i.name} over {axis}")
        n, name = width(source), local(out)
        text = Pass(self.stages, self.memory, n)
        value = text.value(source)
        lines = [f"{name} = zero", *text.loop([f"{name} += {value}"])]
        if i.name != "sum":
            lines.append(f"{name} /= number({n})")
        if i.name == "var":
            mean = f"m{name}"
            lines += [f"{mean} = {name}", f"{name} = zero"]
            lines += text.loop([f"{name} += ({value} - {mean}) * ({value} - {mean})"])
            lines.append(f"{name} /= number({n - i.static.get('ddof', 0)})")
        if out in self.stages.locations:
            lines.append(self.memory.store(self.stages.locations[out], name, ""))
        return lines

    def scatter(self, i: Instruction) -> list[str]:
        """Zeros, with the pieces added in."""
        out = i.outputs[0]
        at = self.stages.locations[out]
        lines = [f"for j in range({width(out)}):", f"    {self.memory.store(at, 'zero', ' + j')}"]
        for v, index in zip(i.inputs, i.static["indices"], strict=True):
            if type(v) is not Value or len(out.shape) != 2:
                raise NotFused("scattered constants")
            *before, last = index if isinstance(index, tuple) else (index,)
            whole = len(before) == 1 and (before[0] is Ellipsis or before[0] == slice(None))
            if not whole or not isinstance(last, slice) or last.step not in (None, 1):
                raise NotFused("scattered at indices")
            element = f" + {last.indices(width(out))[0]} + j"
            text = Pass(self.stages, self.memory, width(v))
            total = f"{self.memory.load(at, element)} + {text.value(v)}"
            lines += text.loop([self.memory.store(at, total, element)])
        return lines

    def copied(self) -> list[str]:
        """Bring values to where the next step reads them."""
        return self.passes(
            [(v, at) for v, at in self.stages.copies if v is None or self.stages.locations.get(v) != at]
        )


class NumbaWriter(NumpyWriter):
    """A writer of loops that are kernels, where they can be.

    Attributes
    ----------
    by_columns : dict of Instruction to Value
        Products of a transposed array, as for the gradients of weights; and the array, read by columns.
    spared : set of Instruction
        Transpositions that nobody else needs.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.namespace.update(building.names())
        turned = {i.outputs[0]: v for i in plan.sunk if i.name == "transpose" for v in i.read if v.rowwise}
        self.by_columns = {
            i: turned[i.read[0]]
            for i in plan.sunk
            if product_kind(i) == "matmul"
            and i.read[0] in turned
            and i.read[1].rowwise
            and _by_kernel(i, "L.rows")
        }
        read = {plan.ends.gx, *plan.ends.gparameters}
        read.update(v for i in plan.sunk for v in (i.read[1:] if i in self.by_columns else i.read))
        self.spared = {i for i in plan.sunk if i.outputs[0] in turned and i.outputs[0] not in read}

    def straight(self, instructions: Instructions, take: str | None, rows: str = "L.rows") -> None:
        super().straight([i for i in instructions if i not in self.spared], take, rows)

    def into(self, i: Instruction, out: str, rows: str) -> str | None:
        kind = product_kind(i)
        if _by_kernel(i, rows) and kind and i.read[0].rowwise and not i.read[1].rowwise:
            a, w = [self.name(v, rows) for v in i.inputs]
            return f"multiply({a}, {w}{'.T' if kind == 'linear' else ''}, {out})"
        return super().into(i, out, rows)

    def call(self, i: Instruction, rows: str) -> str:
        if rows == "L.rows" and i in self.by_columns:
            return f"multiply_columns({self.names[self.by_columns[i]]}, {self.name(i.inputs[1], rows)})"
        if _by_kernel(i, rows) and i.name == "sum" and i.static == {"axis": 0} and len(i.read[0].shape) == 2:
            return f"column_sums({self.name(i.inputs[0], rows)})"
        return super().call(i, rows)

    def write_loop(
        self, body: Instructions, locations: dict[Value, Location], copies: Copies, back: bool
    ) -> None:
        if not body and all(v is None or locations.get(v) == at for v, at in copies):
            super().write_loop(body, locations, copies, back)
            return
        try:
            stages = Stages(body, locations, copies)
            kernel = _Kernel(stages, self.names, packed=self.prepared is None)
            source = kernel.write(back)
        except NotFused as reason:
            self.notes.append(str(reason))
            super().write_loop(body, locations, copies, back)
            return
        name = "kernel_back" if back else "kernel"
        self.namespace[name] = building.build(source, stages.dtype)
        self.kernels[name] = source
        places = stages.locations
        written = {places[v].array for v in stages.made_by if v in places} | {at.array for _, at in copies}
        read = {at.array for at in places.values()} - written  # it may be a view of something else
        handed: list[Handed] = [
            ("rows" if a in read else "" if a in written else "flat", a) for a in kernel.memory.arrays
        ]
        handed += kernel.weights
        if self.prepared is None:
            for buffer, v in stages.scratch.items():
                self.allocate(buffer, v, "L.batch", "take" if back else "scratch")
            products = sum(2 * width(i.outputs[0]) * width(i.read[0]) for i in body if stages.product(i))
            flops = products + 10 * sum(width(o) for i in body for o in i.outputs)
            arguments = [f"{how}({a})" if how else a for how, a in handed]
            self.write(f"spread({name}, L, {flops}, {', '.join(arguments)})")
            return
        self._write_once(name, stages, handed)

    def _write_once(self, name: str, stages: Stages, handed: Sequence[Handed]) -> None:
        """The call of a kernel for one step: nothing is made anew that can be kept from call to call."""
        lent = "".join(buffer + ", " for buffer in stages.scratch)
        if lent:  # by one thread at a time
            with self.block("try:"):
                self.write(f"{lent[:-1]} = spare.pop()")
            with self.block("except IndexError:"):
                for buffer, v in stages.scratch.items():
                    self.allocate(buffer, v, "batch", "scratch")
        # What goes into a single step has been looked at by its caller.
        arguments = [self.prepare(f"flat({a})") if how == "flat" else a for how, a in handed]
        self.write(f"{name}(batch, {', '.join(arguments)})")
        if lent:
            self.write(f"spare.append(({lent}))")


def _by_kernel(i: Instruction, rows: str) -> bool:
    """Whether it runs on the rows of all steps, in a dtype that there are kernels for."""
    return rows == "L.rows" and all(v.dtype.char in "fd" for v in (*i.read, *i.outputs))
