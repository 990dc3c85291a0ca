"""`checkpoint`: keep what goes into a function, and compute its insides again for the backward pass."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

import numpy as np

from . import backpropagation, tape
from .observing import plain
from .ops.operations import Primitive
from .random import Draws
from .state import State, context, current_state
from .tape import NEVER, Leaf, Nary, Output, Place, source_of
from .tensors import Tensor, _make, note_uses
from .trees import leaves_of, map_tree, need_callable

Function = Callable[..., Any]


def checkpoint(f: Function) -> Function:
    """A function with the results and gradients of ``f`` that keeps only its inputs for backward.

    What f saves between its inputs and its results is computed again in the backward pass (Chen et al. 2016,
    "Training deep nets with sublinear memory cost"). Parameters and other tensors that f uses without getting
    them as arguments receive their gradients too.

    Parameters
    ----------
    f : callable
        Returns a tensor, or nested tuples, lists and dicts of tensors. It must compute the same when it is
        called again; random numbers that it draws through `tg.default_generator`, as dropout does, are drawn
        again alike.

    Raises
    ------
    TypeError
        For a function that returns something else.
    RuntimeError
        By backward(), if f computes something else when called again: other operations, other constants that
        a gradient rule reads, or other results, to the last bit. A constant that no rule reads (of
        ``exp(a + c)``, c) is known by the results alone: where they are the same, it is not seen to differ.

    Examples
    --------
    >>> layer, x = nn.GRU(8, 16, return_state=False, rng=0), np.ones((4, 50, 8), "float32")
    >>> y = tg.checkpoint(layer)(x)
    >>> print(f"{tg.Tape(y).memory().total:,} bytes held, not {tg.Tape(layer(x)).memory().total:,}")
    6,400 bytes held, not 111,872
    >>> y.sum().backward()  # runs the layer once more
    """

    need_callable("checkpoint", f)

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        since = next(tape.clock)
        segment = _Segment(f, args, kwargs)
        with segment.draws.noted():
            result = f(*args, **kwargs)
        outputs = _on_tape(result)
        outside, segment.recipe = _recipe(outputs, since)
        return segment.enter(result, outputs, outside) if outside else result

    return checkpointed


class _Slot:
    """Where a tensor or an array stands among the arguments; its array is held by the entry."""

    def __init__(self, number: int, given: Any) -> None:
        self.number = number
        self.like = _like(given, None, given.place) if isinstance(given, Tensor) else None

    def filled(self, arrays: Sequence[Any]) -> Any:
        array = plain(arrays[self.number])
        return array if self.like is None else _like(self.like, array, self.like.place)


class _Segment:
    """A call of a checkpointed function, so that it can be made again.

    Attributes
    ----------
    recipe : int
        Stands for all that the gradients depend on, but for the inputs; see `_recipe`.
    """

    recipe: int
    outside: tuple[Place, ...]
    parents: tuple[Place | None, ...]

    def __init__(self, f: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.f = f
        self.draws = Draws()
        # Whether another transformation is running, NumPy's error state: whatever f may find there. But not
        # who looks on: that may be over, and is not to be kept alive.
        now = current_state()
        self.surroundings = copy_context()
        self.surroundings.run(context.set, State(now.recording, now.scope))
        self.inputs: list[Any] = []
        self.arguments = map_tree(self._slot, (args, kwargs))

    def __repr__(self) -> str:
        return str(getattr(self.f, "__name__", type(self.f).__name__))

    def _slot(self, given: Any) -> Any:
        if not isinstance(given, (Tensor, np.ndarray)):
            return given
        self.inputs.append(given)
        return _Slot(len(self.inputs) - 1, given)

    def enter(self, result: Any, outputs: list[Tensor], outside: tuple[Place, ...]) -> Any:
        """Put the call on the tape as one entry; the result, with its outputs for the tensors on the tape."""
        inputs, self.inputs = self.inputs, []
        places = [a.place if isinstance(a, Tensor) else None for a in inputs]
        note_uses(inputs)
        given = set(places)
        others = [place for place in outside if place not in given]
        self.outside, self.parents = outside, (*places, *others)
        arrays = (*map(plain, inputs), *others)
        outs = tuple(y.numpy() for y in outputs)
        shapes, dtypes = tuple(y.shape for y in outs), tuple(y.dtype for y in outs)
        state = current_state()
        entry = Nary(_checkpoint, self.parents, arrays, None, {"f": self}, shapes, dtypes, state.scope)
        if state.watch is not None:
            state.watch.recorded(entry, arrays, outs)
        places_out = iter([Output(entry, k, y.shape, y.dtype) for k, y in enumerate(outs)])
        return map_tree(lambda y: y if y.place is None else _like(y, y.numpy(), next(places_out)), result)

    def backward(self, gs: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Cotangents of the parents, from those of the outputs and the arrays that the entry has kept."""
        since = next(tape.clock)
        outputs = _on_tape(self.surroundings.copy().run(self._again, inputs, current_state().watch))
        if _recipe(outputs, since) != (self.outside, self.recipe):
            raise RuntimeError(
                f"checkpoint: {self} does something else when it is called again for backward, and "
                f"the gradient would be wrong. A constant, buffer or flag that it uses has changed since, or "
                f"it draws random numbers from elsewhere: let it draw from tg.default_generator(rng)"
            )
        pairs: list[Any] = [(y.place, g) for y, g in zip(outputs, gs, strict=True) if g is not None]
        recorded = any(isinstance(g, Tensor) for g in gs)
        found = backpropagation.backward(
            pairs, retain_graph=recorded, lift=_make if recorded else None, since=since
        )
        shares = {place: _arrived(found, place) for place in self.parents}
        return [shares.pop(place, []) for place in self.parents]  # once, where a place stands there twice

    def _again(self, inputs: Sequence[Any], watch: Any) -> Any:
        now = current_state()
        context.set(State(now.recording, now.scope, watch))
        args, kwargs = map_tree(lambda a: a.filled(inputs) if isinstance(a, _Slot) else a, self.arguments)
        with self.draws.repeated():
            return self.f(*args, **kwargs)


def _on_tape(result: Any) -> list[Tensor]:
    """The tensors on the tape in what a function returned."""
    outputs = leaves_of(result)
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(
                f"checkpoint: the function must return a tensor, or nested tuples, lists and dicts of "
                f"tensors, got {type(y).__name__} among them"
            )
    return [y for y in outputs if y.place is not None]


def _like(t: Tensor, array: Any, place: Place | None) -> Tensor:
    """A tensor of the same kind, which knows what a subclass's instance knows, of another array and place."""
    new: Tensor = object.__new__(type(t))
    for kind in type(t).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name != "__weakref__" and hasattr(t, name):
                setattr(new, name, getattr(t, name))
    if hasattr(t, "__dict__"):
        vars(new).update(vars(t))
    new._data, new._place = array, place
    return new


def _arrived(found: dict[Any, Any], place: Place | None) -> Any:
    """The cotangent of a place in what a backward pass found; no piece of one where nothing arrived."""
    g = found.get(source_of(place))
    if isinstance(place, Output) and g is not None:
        g = g[place.index]
    return [] if g is None else g


def _recipe(outputs: Sequence[Tensor], since: int) -> tuple[tuple[Place, ...], int]:
    """What outputs were made of: places from before ``since``, and a number that stands for all else.

    The operations, how they are connected, every constant that a gradient rule will read and the outputs'
    values go into the number. Of other constants no more is known than what they made of the outputs.
    """
    numbers: dict[Any, int] = {}
    outside: dict[Place, None] = {}

    def met(place: Any) -> int:
        source = source_of(place)
        if source not in numbers:
            numbers[source] = len(numbers)
        # A leaf that is dated, and never was changed, is the variable of a transformation inside.
        date = source.number if type(source) is not Leaf else NEVER if source.version else source.changed
        if date < since:
            outside[place] = None
        return numbers[source] if source is place else hash((numbers[source], place.index))

    places = [y.place for y in outputs if y.place is not None]
    number = hash((*map(met, places), *[_told(y.numpy()) for y in outputs]))
    for entry in tape.reachable(places, since):
        told = [number, entry.primitive, numbers[entry]]
        for place, arg in zip(entry.parents, entry.args or entry.parents, strict=True):
            told.append(_told(arg) if place is None else met(place))
        if entry.static:
            told += map(_told, entry.static.values())
        number = hash(tuple(told))
    return tuple(outside), number


def _told(value: Any) -> Any:
    """Something to hash that is the same for an equal constant or static argument."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, zlib.crc32(value.tobytes())
    if isinstance(value, (tuple, list)):
        return tuple(map(_told, value))
    if isinstance(value, slice):
        return _told((value.start, value.stop, value.step))
    if isinstance(value, _Segment):
        return value.recipe
    if value is None or isinstance(value, (int, float, complex, str, np.generic, np.dtype)):
        return repr(value)
    return type(value)


def _forward(*arrays: Any, f: _Segment) -> Any:
    raise AssertionError("a checkpointed segment is entered on the tape by checkpoint itself")


# A view, to the tape: what has changed a leaf since would change what is computed again.
_checkpoint = Primitive(_forward, multiple=True, view=True)
_checkpoint.name = "checkpoint"
_checkpoint.defvjp(joint=lambda gs, _ys, *inputs, f: f.backward(gs, inputs))
