"""Tensor: an array with a place on the tape; its operators, and NumPy's protocols."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from . import backpropagation, ops
from .arrays import as_array, get_default_dtype, is_masked
from .methods import Methods
from .ops.operations import Primitive, spec
from .protocols import NOT_ASSIGNED, plain
from .sources import Line, user_line
from .state import State, current_state, enable_grad
from .tape import Binary, Entry, Leaf, Nary, Output, Place, Unary, clock
from .writes import note_changed

ndarray, generic, asarray = np.ndarray, np.generic, np.asarray
_NOTHING: dict[str, Any] = {}

__all__ = ["Tensor", "apply", "tensor"]


# ------------------------------------------------------------------------------------------ recording


def apply(primitive: Primitive, inputs: Sequence[Any], static: dict[str, Any] = _NOTHING) -> Any:
    """Apply a primitive to tensors, arrays and numbers; record it if an input is on the tape.

    `_apply1` and `_apply2` are this function, unrolled for the commonest cases.
    """
    arrays = []
    places: list[Place | None] = []
    mask = 0
    for a in inputs:
        if isinstance(a, Tensor):
            arrays.append(a._data)
            if a._place is not None:
                mask |= 1 << len(places)
            places.append(a._place)
        else:
            arrays.append(_operand(primitive, a, len(places)))
            places.append(None)
    if not _is_fixed(static):
        static = {name: _fixed(primitive, name, value) for name, value in static.items()}
    try:
        out = primitive.forward(*arrays, **static)
    except (ValueError, TypeError, IndexError) as error:
        raise primitive.explain(error, arrays, static) from error
    state = current_state()
    if mask and state.recording:
        note_uses(inputs)
    if primitive.multiple:
        if not mask or not state.recording:
            return _off_tape(primitive, arrays, out, state)
        return _record_several(primitive, tuple(places), arrays, out, static, state)
    if type(out) is not ndarray or (kind := out.dtype.kind) not in "biufc":
        out = primitive.output(out)
        kind = out.dtype.kind
    if not mask or not state.recording or kind in "biu":
        if state.watch is not None:
            state.watch._computed(primitive, arrays, out)
        return _make(out, None)  # astype: integers do not follow a small change of x
    args, saved = _saved(primitive, mask, arrays, places, out)
    entry = Nary(primitive, tuple(places), args, saved, static, out.shape, out.dtype, state.scope)
    if state.watch is not None:
        state.watch.recorded(entry, arrays, out)
    return _make(out, entry)


def _saved(
    primitive: Primitive, mask: int, arrays: Sequence[Any], places: Sequence[Place | None], out: Any
) -> tuple[tuple[Any, ...], Any]:
    """Which of its inputs and its output an entry holds, by what its rules will read."""
    kept, keep_out = primitive.kept(mask, len(arrays))
    args = [a if k else p or spec(a) for a, p, k in zip(arrays, places, kept, strict=True)]
    return tuple(args), out if keep_out else None


def note_uses(inputs: Sequence[Any]) -> None:
    """Note the line that uses them, in those tensors among them that are off the tape."""
    for a in inputs:
        if isinstance(a, Tensor) and a._place is None:
            a._note_use()


def _record_several(
    primitive: Primitive,
    places: tuple[Any, ...],
    arrays: Sequence[Any],
    out: tuple[np.ndarray, ...],
    static: dict[str, Any],
    state: State,
) -> tuple[Tensor, ...]:
    """The entry of a primitive with several outputs, and a tensor for each."""
    out = primitive.outputs(out)
    entry: Entry
    if len(places) == 1 and primitive.joint is None:
        (place,), (array,) = places, arrays
        entry = _unary(primitive, place, array, out, static, state)
    else:
        mask = sum([1 << k for k, p in enumerate(places) if p is not None])
        args, saved = _saved(primitive, mask, arrays, places, out)
        entry = Nary(primitive, places, args, saved, static, None, None, state.scope)
    if state.watch is not None:
        state.watch.recorded(entry, arrays, out)
    arrays_out = [array if type(array) is ndarray else np.asarray(array) for array in out]
    described = (tuple([a.shape for a in arrays_out]), tuple([a.dtype for a in arrays_out]))
    latest: Any = primitive.latest
    if described == latest:
        described = latest
    else:
        primitive.latest = described
    entry.shape, entry.dtype = described
    results: list[Tensor] = []
    for k, array in enumerate(arrays_out):
        result: Tensor = new(Tensor)
        result._data = array
        result._place = output = new(Output)
        output.entry = entry
        output.index = k
        output.shape = entry.shape[k]
        output.dtype = entry.dtype[k]
        results.append(result)
    return _several(out, results)


def _off_tape(primitive: Primitive, arrays: Sequence[Any], out: Any, state: State) -> Any:
    """Several results that are not recorded."""
    out = primitive.outputs(out)
    if state.watch is not None:
        state.watch._computed(primitive, arrays, out)
    return _several(out, [_make(o, None) for o in out])


def _unary(
    primitive: Primitive, place: Place, array: Any, out: Any, static: dict[str, Any], state: State
) -> Unary:
    """The entry of one input that is on the tape, but for its shape and dtype."""
    (kept,), keep_out = primitive.keeps[1]
    if type(place) is Leaf and place.used is None:
        place.use()
    entry: Unary = new(Unary)  # half the time of a call of the class
    entry.number = next(clock)
    entry.primitive = primitive
    entry.parent = place
    entry.arg = array if kept else place
    entry.out = out if keep_out else None
    entry.static = static
    entry.scope = state.scope
    return entry


def _several(out: tuple[Any, ...], results: list[Tensor]) -> tuple[Tensor, ...]:
    """Several results in a tuple, with names (``np.linalg.eigh(x).eigenvalues``) if the arrays had any."""
    return type(out)(*results) if hasattr(out, "_fields") else tuple(results)


def _apply1(primitive: Primitive, x: Tensor, static: dict[str, Any] = _NOTHING) -> Any:
    """`apply` for one tensor, and static arguments that are known to hold none."""
    array = x._data
    try:
        out = primitive.forward(array, **static)
    except (ValueError, TypeError, IndexError) as error:
        raise primitive.explain(error, (array,), static) from error
    place = x._place
    state = current_state()
    recording = place is not None and state.recording
    if primitive.multiple:
        if not recording:
            return _off_tape(primitive, (array,), out, state)
        return _record_several(primitive, (place,), (array,), out, static, state)
    if type(out) is not ndarray:
        out = asarray(out) if isinstance(out, generic) else primitive.output(out)
    result: Tensor = new(Tensor)
    result._data = out
    if place is None or not recording or (static and out.dtype.kind in "biu"):
        result._place = None  # astype: integers do not follow a small change of x
        if state.watch is not None:
            state.watch._computed(primitive, (array,), out)
        return result
    result._place = entry = _unary(primitive, place, array, out, static, state)
    # One tuple for all: less to hold, and less for the garbage collector to visit.
    shape = out.shape
    entry.shape = place.shape if shape == place.shape else shape
    entry.dtype = out.dtype
    if state.watch is not None:
        state.watch.recorded(entry, (array,), out)
    return result


def _apply2(primitive: Primitive, a: Any, b: Any) -> Tensor:
    """`apply` for two operands, one of them a tensor, and no static argument."""
    if isinstance(a, Tensor):
        x = a._data
        p = a._place
    else:
        x = a = _operand(primitive, a, 0)
        p = None
    if isinstance(b, Tensor):
        y = b._data
        q = b._place
    else:
        y = b = _operand(primitive, b, 1)
        q = None
    try:
        out = primitive.forward(x, y)
    except (ValueError, TypeError, IndexError) as error:
        raise primitive.explain(error, (x, y), _NOTHING) from error
    if type(out) is not ndarray:
        out = asarray(out) if isinstance(out, generic) else primitive.output(out)
    result: Tensor = new(Tensor)
    result._data = out
    mask = (1 if p is not None else 0) + (2 if q is not None else 0)
    state = current_state()
    if not mask or not state.recording:
        result._place = None
        if state.watch is not None:
            state.watch._computed(primitive, (x, y), out)
        return result
    (keep_x, keep_y), keep_out = primitive.keeps[mask]
    if p is None:
        if keep_x and a is not x:
            a._note_use()
    elif type(p) is Leaf and p.used is None:
        p.use()
    if q is None:
        if keep_y and b is not y:
            b._note_use()
    elif type(q) is Leaf and q.used is None:
        q.use()
    shape = out.shape
    if p is not None and shape == p.shape:
        shape = p.shape
    elif q is not None and shape == q.shape:
        shape = q.shape
    elif shape == (latest := primitive.latest):
        shape = latest
    else:
        primitive.latest = shape
    result._place = entry = new(Binary)
    entry.number = next(clock)
    entry.primitive = primitive
    entry.left = p
    entry.right = q
    entry.x = x if keep_x else p or spec(x)
    entry.y = y if keep_y else q or spec(y)
    entry.out = out if keep_out else None
    entry.static = _NOTHING
    entry.shape = shape
    entry.dtype = out.dtype
    entry.scope = state.scope
    if state.watch is not None:
        state.watch.recorded(entry, (x, y), out)
    return result


def _make(array: Any, place: Place | None) -> Tensor:
    result: Tensor = new(Tensor)
    result._data = array if type(array) is ndarray else np.asarray(array)
    result._place = place
    return result


_OPERANDS = {ndarray, bool, int, float, complex}


def _operand(primitive: Primitive, a: Any, k: int) -> Any:
    """What may stand beside a tensor: arrays, NumPy scalars, lists; Python numbers, which stay weak."""
    if type(a) in _OPERANDS or (isinstance(a, (ndarray, generic, int, float, complex)) and not is_masked(a)):
        return a
    if primitive.vjps and primitive.vjps[k] is None and not is_masked(a):
        return np.asarray(a)  # masks and indices are what they are, and do not take the default dtype
    try:
        return as_array(a)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{primitive.name}: operand {k}: {error}") from error


def _is_fixed(static: dict[str, Any]) -> bool:
    """Whether static arguments hold no tensors, and no lists, which somebody may change before backward()."""
    for value in static.values():
        if isinstance(value, (Tensor, list)) or (type(value) is tuple and list in map(type, value)):
            return False
    return True


def _fixed(primitive: Primitive, name: str, value: Any) -> Any:
    """A static argument with lists copied, and arrays for tensors, provided that loses no gradient."""
    if type(value) is tuple or type(value) is list:
        return type(value)([_fixed(primitive, name, item) for item in value])
    if not isinstance(value, Tensor):
        return value
    if value.requires_grad:
        raise TypeError(
            f"{primitive.name} is not differentiable in its argument {name!r}: pass {name}.detach() if "
            f"that is meant, or compose the operation from others (maximum, minimum, where)"
        )
    value._note_use()
    return value._data


def _augmented(sign: str, operation: Primitive) -> Callable[[Tensor, Any], Tensor]:
    """``x += y`` and the like: another tensor takes the name, which nobody can mean for a leaf."""

    def call(self: Tensor, other: Any) -> Tensor:
        if type(self._place) is Leaf:
            raise _rebinding(self, sign)
        return _apply2(operation, self, other)

    return call


def _rebinding(leaf: Tensor, sign: str) -> RuntimeError:
    return RuntimeError(
        f"{sign} would leave the leaf {leaf.name or '(unnamed)'} of shape {leaf.shape}, which requires "
        f"gradients, as it is, and give its name to another tensor: change it by x.assign_(values) or an "
        f"optimiser, or write x = x {sign[:-1]} y if a new one is meant"
    )


# --------------------------------------------------------------------------------------------- Tensor


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Make a tensor.

    Parameters
    ----------
    data : array, number, list or Tensor
        Arrays keep their dtype and are not copied; Python numbers and lists take the default dtype
        (float32, see `set_default_dtype`; lists of booleans stay boolean).
    dtype : dtype, optional
        Convert to this dtype.
    requires_grad : bool
        Make it a leaf: operations on it are recorded, and ``backward()`` fills its ``grad``.

    Raises
    ------
    TypeError
        For data that are not numbers, and for ``requires_grad`` with integers.
    """
    result = _make(as_array(data, dtype), None)
    if requires_grad:
        result.requires_grad = True
    return result


def as_tensor(data: Any) -> Tensor:
    """A tensor as it is; anything else through `tensor`."""
    return data if isinstance(data, Tensor) else tensor(data)


class Tensor(Methods):
    """A NumPy array with a place on the tape. Make one with `tg.tensor`.

    Operators, methods and NumPy functions applied to a tensor give tensors. Comparisons, rounding and
    ``argmax`` give plain arrays: they have no derivative to follow. An instance of a subclass takes part in
    operations like any tensor; results are plain tensors.
    """

    __slots__ = ("__weakref__", "_data", "_place", "_used")
    _data: np.ndarray
    _place: Place | None
    _used: tuple[int, Line | None]  # off the tape, once an operation has saved the array: see `Leaf.used`

    def __init__(self, *_: Any, **__: Any) -> None:
        raise TypeError("make tensors with tg.tensor(data, requires_grad=...)")

    # ---- what it holds

    @property
    def data(self) -> np.ndarray:
        """The array itself, not a copy. Assigning replaces the values, and counts as a change in place.

        Writing into the array (``x.data[0] = 1``), or into the one that the tensor was made of, is seen only
        under ``tg.detect_anomaly()``: between forward and backward it makes gradients wrong. The same holds
        of arrays of positions and masks, as in ``x[i]``: the tape holds them, and copies lists alone.
        """
        return self._data

    @data.setter
    def data(self, values: Any) -> None:
        self.assign_(values)

    def assign_(self, values: Any) -> Tensor:
        """Replace the values; shape, dtype and place stay. What recorded the old ones refuses backward()."""
        array = as_array(values, self.dtype)
        if np.may_share_memory(array, values) if isinstance(values, ndarray) else isinstance(values, Tensor):
            array = array if array is self._data else array.copy()  # nobody else may change it later
        if array.shape != self.shape:
            raise ValueError(
                f"assign_ expected shape {self.shape}, got {array.shape}: broadcast the values first, with "
                f"np.broadcast_to, if they are to fill the tensor"
            )
        if isinstance(self._place, (Entry, Output)):
            if array is self._data:
                note_changed(self, array)  # y.data -= 1 has written into it before it comes here
            raise RuntimeError(
                "assign_ and .data = work on leaves; this tensor is the result of an operation. Use its "
                "detach(), or compute a new tensor"
            )
        note_changed(self, array)
        self._data = array
        return self

    def zero_(self) -> Tensor:
        """Replace the values by zeros; see `assign_`."""
        return self.assign_(np.zeros(self.shape, self.dtype))

    def _note_use(self) -> None:
        """Note the line that is the first to use the present values of a tensor off the tape."""
        if not hasattr(self, "_used"):
            self._used = (next(clock), user_line())

    def _take_use(self) -> tuple[int, Line | None] | None:
        """What `_note_use` has noted; from now on other values are used."""
        used = getattr(self, "_used", None)
        if used is not None:
            del self._used
        return used

    @property
    def place(self) -> Place | None:
        """Where it stands on the tape: a `Leaf`, an `Entry` or an `Output`; None if off the tape."""
        return self._place

    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are recorded. Can be set on leaves and on tensors off the tape."""
        return self._place is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if isinstance(self._place, (Entry, Output)):
            raise RuntimeError("requires_grad of a computed tensor cannot be set; use detach()")
        if wanted and self._data.dtype.kind != "f":
            mend = "; convert with x.astype('float32') if the values are quantities and not indices"
            raise TypeError(
                f"only real floating-point tensors can require gradients, got {self.dtype}"
                + (mend if self._data.dtype.kind in "biu" else "")
            )
        if not wanted:
            self._place = None
        elif self._place is None:
            self._place = Leaf(self._data.shape, self._data.dtype)
            self._place.tensor = weakref.ref(self)

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user and not by an operation."""
        return self._place is None or isinstance(self._place, Leaf)

    @property
    def grad(self) -> Tensor | None:
        """What backward passes have accumulated here; None before the first and on computed tensors."""
        return self._place.grad if isinstance(self._place, Leaf) else None

    @grad.setter
    def grad(self, value: Tensor | np.ndarray | None) -> None:
        if not isinstance(self._place, Leaf):
            raise RuntimeError("only a leaf that requires gradients has a grad to set")
        if value is not None:
            value = value if isinstance(value, Tensor) else tensor(value, self.dtype)
            if value.shape != self.shape or value.dtype != self.dtype:
                raise ValueError(
                    f"grad must be {self.dtype}{self.shape} as its tensor, got {value.dtype}{value.shape}"
                )
        self._place.grad = value

    @property
    def name(self) -> str | None:
        """What printed tapes, diagrams and errors call it. Only leaves have names."""
        return self._place.name if isinstance(self._place, Leaf) else None

    @name.setter
    def name(self, name: str | None) -> None:
        if not isinstance(self._place, Leaf):
            raise RuntimeError(
                "only a leaf that requires gradients can be named; name a region with tg.scope"
            )
        self._place.name = name

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor, which has no first axis: its number is x.item()")
        return len(self._data)

    def numpy(self) -> np.ndarray:
        """The array, off the tape; not a copy."""
        return self._data

    def item(self) -> Any:
        """The only element as a Python number."""
        return self._only("item()")

    def _tell(self, how: str) -> None:
        """Tell what looks on that the values become Python numbers, or text."""
        if self._place is not None and (watch := current_state().watch) is not None:
            watch.read(self, how)

    def _only(self, what: str) -> Any:
        if self.size != 1:
            raise ValueError(
                f"{what} needs a tensor of one element, got shape {self.shape}; tolist() and numpy() give all"
            )
        self._tell(what)
        return self._data.item()

    def tolist(self) -> Any:
        """The values as nested Python lists."""
        self._tell("tolist()")
        return self._data.tolist()

    def detach(self) -> Tensor:
        """The same array off the tape: no gradient flows through the result."""
        return _make(self._data, None)

    # ---- backward

    def backward(
        self, grad: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        """Add the gradient of this tensor to the ``grad`` of every leaf it depends on.

        Parameters
        ----------
        grad : array_like, optional
            The cotangent of this tensor, of its shape. May be left out for a single element, where it is 1.
        retain_graph : bool, optional
            Keep what the tape saved, so that backward can run again. The default is ``create_graph``.
        create_graph : bool
            Record the backward pass itself, so that gradients can be differentiated again.

        Raises
        ------
        RuntimeError
            Off the tape; when an earlier backward released the entries; when a leaf was changed since.
        ValueError
            For more than one element without ``grad``, or a ``grad`` of another shape.
        """
        seed = self._seed(grad)
        assert self._place is not None
        found = backpropagation.backward(
            [(self._place, seed if create_graph else seed._data)],
            retain_graph=create_graph if retain_graph is None else retain_graph,
            lift=_make if create_graph else None,
        )
        for leaf, g in found.items():
            total = g if create_graph else _make(g, None)
            with enable_grad():  # a gradient that is on the tape stays there, also under no_grad
                leaf.grad = total if leaf.grad is None else leaf.grad + total

    def _seed(self, grad: Any) -> Tensor:
        if self._place is None:
            raise RuntimeError(
                "backward() on a tensor off the tape: nothing it depends on has requires_grad=True, it was "
                "detached or cast to integers, or it was computed under no_grad()"
            )
        if grad is None:
            if self.size != 1:
                raise ValueError(
                    f"backward() without grad needs a tensor of one element, got shape {self.shape}; reduce "
                    f"it first, as in y.sum().backward(), or pass grad of that shape"
                )
            return _make(np.ones(self.shape, self.dtype), None)
        seed = grad if isinstance(grad, Tensor) else tensor(grad, self.dtype)
        if seed.shape != self.shape:
            raise ValueError(f"backward() got grad of shape {seed.shape} for a tensor of shape {self.shape}")
        if seed.dtype.kind == "c" != self.dtype.kind:
            raise TypeError(
                f"backward() got a complex grad for a tensor of {self.dtype}: pass its real part, grad.real"
            )
        return seed

    # ---- operators

    def __add__(self, other: Any) -> Tensor:
        return _apply2(ops.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _apply2(ops.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _apply2(ops.subtract, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _apply2(ops.subtract, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _apply2(ops.multiply, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _apply2(ops.multiply, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _apply2(ops.divide, self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _apply2(ops.divide, other, self)

    def __pow__(self, other: Any) -> Tensor:
        return _apply2(ops.power, self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return _apply2(ops.power, other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return _apply2(ops.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return _apply2(ops.matmul, other, self)

    __iadd__ = _augmented("+=", ops.add)
    __isub__ = _augmented("-=", ops.subtract)
    __imul__ = _augmented("*=", ops.multiply)
    __itruediv__ = _augmented("/=", ops.divide)
    __ipow__ = _augmented("**=", ops.power)
    __imatmul__ = _augmented("@=", ops.matmul)

    def __ifloordiv__(self, other: Any) -> Any:
        if type(self._place) is Leaf:
            raise _rebinding(self, "//=")
        return self // other

    def __floordiv__(self, other: Any) -> Any:
        return np.floor_divide(self._data, plain(other))

    def __rfloordiv__(self, other: Any) -> Any:
        return np.floor_divide(plain(other), self._data)

    def __mod__(self, other: Any) -> Any:
        return np.remainder(self, other)

    def __rmod__(self, other: Any) -> Any:
        return np.remainder(other, self)

    def __divmod__(self, other: Any) -> Any:
        return np.divmod(self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return np.divmod(other, self)

    def __neg__(self) -> Tensor:
        return _apply1(ops.negative, self)

    def __pos__(self) -> Tensor:
        return _apply1(ops.positive, self)

    def __abs__(self) -> Tensor:
        return _apply1(ops.abs, self)

    def __getitem__(self, index: Any) -> Tensor:
        if isinstance(index, (tuple, Tensor)):
            index = _fixed(ops.getitem, "index", index)
        elif type(index) is list:
            index = np.asarray(index) if index else np.zeros(0, np.intp)
        return _apply1(ops.getitem, self, {"index": index})

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(NOT_ASSIGNED)

    def __delitem__(self, index: Any) -> NoReturn:
        raise TypeError("elements are not deleted from tensors: index with those that stay, as in x[mask]")

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d tensor, which has no first axis: its number is x.item()")
        return iter(apply(ops.unstack, (self,)))

    # ---- conversions

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"the truth of a tensor of shape {self.shape} is ambiguous: compare and reduce first, as in "
                f"(x > 0).all(), or choose per element with tg.where"
            )
        self._tell("bool()")
        return bool(self._data)

    def __float__(self) -> float:
        return float(self._only("float()"))

    def __int__(self) -> int:
        return int(self._only("int()"))

    def __index__(self) -> int:
        if self.size != 1 or self._data.dtype.kind not in "iu":
            raise TypeError(f"only an integer tensor of one element can index, got {self.dtype}{self.shape}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self._only("a format"), spec) if spec else str(self)

    def __repr__(self) -> str:
        self._tell("repr()")
        body = np.array2string(self._data, separator=", ", prefix="tensor(", threshold=200)
        more = "" if self.dtype == get_default_dtype() else f", dtype={self.dtype}"
        if isinstance(self._place, Leaf):
            more += ", requires_grad=True"
        elif self._place is not None:
            source = self._place.entry if isinstance(self._place, Output) else self._place
            assert isinstance(source, Entry)
            more += f", from {source.primitive.name}"
        return f"tensor({body}{more})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError("only leaves can be deep-copied; detach() a computed tensor first")
        copy = _make(self._data.copy(), None)
        if isinstance(self._place, Leaf):
            copy.requires_grad, copy.name = True, self._place.name
            copy.grad = None if self.grad is None else _make(self.grad._data.copy(), None)
        memo[id(self)] = copy
        return copy

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "tensors are not pickled, nor copied by copy.copy: save arrays, or a module's state with its "
            "save(); share an array with detach(), copy a leaf with copy.deepcopy"
        )

    # ---- shapes, and parts

    @property
    def T(self) -> Tensor:  # noqa: N802
        """All axes reversed."""
        return _apply1(ops.transpose, self)

    @property
    def mT(self) -> Tensor:  # noqa: N802
        """The last two axes exchanged."""
        return _apply1(ops.swapaxes, self, {"axis1": -1, "axis2": -2})

    @property
    def real(self) -> Tensor:
        """The tensor itself, or the real part of one that is complex, which must be off the tape."""
        if self._data.dtype.kind != "c":
            return self
        if self._place is not None:
            raise TypeError(
                "real: complex numbers on the tape are not differentiated; compute with their real and "
                "imaginary parts, as two real tensors, or detach() first (for gradcheck, which goes through "
                "complex numbers, pass method='central')"
            )
        return _make(self._data.real, None)

    def where(self, condition: Any, other: Any) -> Tensor:
        """These elements where a condition holds, those of ``other`` elsewhere, as in PyTorch."""
        return apply(ops.where, (condition, self, other))

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape: ``x.reshape(2, -1)`` or ``x.reshape((2, -1))``."""
        return apply(ops.reshape, (self,), {"shape": _one_or_many(shape)})

    def transpose(self, *axes: Any) -> Tensor:
        """Permute axes, as NumPy does: ``x.transpose(1, 0, 2)``; reverse them for none."""
        order = _one_or_many(axes) if axes else None
        return apply(ops.transpose, (self,), {"axes": order})

    def broadcast_to(self, *shape: Any) -> Tensor:
        """Repeat along axes of length 1 and new leading axes."""
        return apply(ops.broadcast_to, (self,), {"shape": _one_or_many(shape)})

    # ---- NumPy's protocols

    @staticmethod
    def __primitive__(primitive: Primitive, inputs: Sequence[Any], static: dict[str, Any]) -> Any:
        """A primitive was called with a tensor among its operands."""
        if primitive.joint is None:
            if len(inputs) == 1 and (not static or _is_fixed(static)):
                (x,) = inputs
                return _apply1(primitive, x, static)
            if len(inputs) == 2 and not static and not primitive.multiple:
                return _apply2(primitive, inputs[0], inputs[1])
        return apply(primitive, inputs, static)


def _one_or_many(values: tuple[Any, ...]) -> Any:
    """Shapes and axes may come as one sequence or as several numbers."""
    match values:
        case (Sequence() as one,):
            return tuple(one)
    return values


new = object.__new__
