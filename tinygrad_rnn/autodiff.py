"""Gradients of functions: `grad` and its family, and `checkpoint`.

``tensor.backward()`` fills the ``grad`` of leaves. The functions here leave those alone: they take a function
and give another function. Arguments may be arrays, tensors, numbers, nested lists, tuples and dicts of them,
and modules (anything with ``named_parameters()``), whose parameters are then what is differentiated by.
Arrays give arrays; tensors give tensors. They nest: ``grad(grad(f))``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from . import ops, tape
from .ops.registry import Primitive
from .random import default_generator
from .state import current_state, enable_grad
from .tape import Entry, Leaf, Nary, Output, Place
from .tensors import Tensor, _make, as_array

Function = Callable[..., Any]
Argnums = int | Sequence[int]

_nested: ContextVar[bool] = ContextVar("tinygrad_rnn_nested", default=False)
"""Whether another transformation is running: then what this one computes must itself be recorded."""


# ----------------------------------------------------------------------------------- nested arguments


def _is_module(tree: Any) -> bool:
    return hasattr(tree, "named_parameters")


def _map(function: Function, tree: Any, *others: Any) -> Any:
    """Apply a function to corresponding leaves of trees of one structure; modules count as leaves."""
    if isinstance(tree, (list, tuple)):
        items = [_map(function, *column) for column in zip(tree, *others, strict=True)]
        named = isinstance(tree, tuple) and hasattr(tree, "_fields")
        return type(tree)(*items) if named else type(tree)(items)
    if isinstance(tree, dict):
        return {key: _map(function, tree[key], *(o[key] for o in others)) for key in tree}
    return function(tree, *others)


class _Tracked:
    """The arguments of a call, with those to differentiate by put on the tape.

    Attributes
    ----------
    args : tuple
        To call the function with.
    since : int
        Everything that the call records has at least this number.
    recorded : bool
        Whether the backward pass must be recorded: in another transformation, or for tensors that were on
        the tape already.
    """

    def __init__(self, args: Sequence[Any], argnums: Argnums) -> None:
        self.recorded = _nested.get()
        self.numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        for k in self.numbers:
            if not -len(args) <= k < len(args):
                raise TypeError(f"argnums names argument {k}, but the function got {len(args)}")
        self.single = isinstance(argnums, int)
        self.given = [args[k] for k in self.numbers]
        tracked = [_map(self._track, tree) for tree in self.given]
        self.trees = tracked
        self.since = next(tape.clock)
        merged = list(args)
        for k, tree in zip(self.numbers, tracked, strict=True):
            merged[k] = tree
        self.args = tuple(merged)

    def _track(self, value: Any) -> Any:
        if _is_module(value):
            return value
        if isinstance(value, Tensor) and value.requires_grad:
            self.recorded = True
            with enable_grad():
                return ops.positive(value)
        array = as_array(value)
        if array.dtype.kind not in "fc":
            raise TypeError(
                f"gradients need floating-point arguments, got {array.dtype}; leave integers out of argnums"
            )
        return _make(array, Leaf(array.shape, array.dtype))

    def gradients(self, found: dict[Any, Any]) -> Any:
        """What a backward pass found, in the structure of the arguments; zeros where nothing arrived."""

        def one(given: Any, tracked: Any) -> Any:
            if _is_module(given):
                return {name: one(p, p) for name, p in given.named_parameters() if p.requires_grad}
            g = found.get(tracked.place)
            if g is None:
                g = np.zeros(tracked.shape, tracked.dtype)
            if self.recorded or isinstance(given, Tensor):
                return g if isinstance(g, Tensor) else _make(g, None)
            return g.numpy() if isinstance(g, Tensor) else g

        results = [_map(one, given, tree) for given, tree in zip(self.given, self.trees, strict=True)]
        return results[0] if self.single else tuple(results)

    def value(self, y: Tensor) -> Any:
        """The function's value as the caller sees it: on the tape only where an outer pass needs it."""
        if self.recorded:
            return y
        return y.detach() if any(isinstance(a, Tensor) for a in self.given) else y.numpy()

    def pull(self, y: Tensor, cotangent: Any) -> Any:
        """Gradients for a cotangent of y."""
        if y.place is None:
            return self.gradients({})
        seed = y._seed(cotangent)
        found = tape.backward(
            [(y.place, seed if self.recorded else seed.numpy())],
            retain_graph=True,
            lift=_make if self.recorded else None,
            since=self.since,
        )
        return self.gradients(found)


@contextmanager
def _transforming() -> Iterator[None]:
    """Record what f does, whatever the caller's state; transformations inside know that they are."""
    token = _nested.set(True)
    try:
        with enable_grad():
            yield
    finally:
        _nested.reset(token)


def _call(f: Function, args: Sequence[Any]) -> Tensor:
    with _transforming():
        y = f(*args)
    if not isinstance(y, Tensor):
        raise TypeError(
            f"the function to differentiate must return one tensor, got {type(y).__name__}; results of "
            f".numpy(), float() or comparisons carry no gradient"
        )
    return y


# ------------------------------------------------------------------------------------ transformations


def value_and_grad(f: Function, argnums: Argnums = 0) -> Function:
    """A function that gives the value of ``f`` and its gradient.

    Parameters
    ----------
    f : callable
        Returns a tensor of one element.
    argnums : int or sequence of int
        The arguments to differentiate by.

    Returns
    -------
    callable
        ``(*args) -> (value, gradient)``; the gradient has the structure of the argument (a tuple of them for
        several argnums), and is a dict of name to gradient for a module.

    Raises
    ------
    TypeError
        For integer arguments, or a function that returns no tensor.
    ValueError
        For a function that returns more than one element.
    """

    def both(*args: Any) -> tuple[Any, Any]:
        tracked = _Tracked(args, argnums)
        y = _call(f, tracked.args)
        if y.size != 1:
            raise ValueError(
                f"grad needs a function that returns one element, got shape {y.shape}; use jacobian, "
                f"elementwise_grad, or sum the result"
            )
        return tracked.value(y), tracked.pull(y, np.ones(y.shape, y.dtype))

    return both


def grad(f: Function, argnums: Argnums = 0) -> Function:
    """A function that gives the gradient of ``f``; see `value_and_grad`.

    Examples
    --------
    >>> tg.grad(lambda x: (x**3).sum())(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    both = value_and_grad(f, argnums)
    return lambda *args: both(*args)[1]


def per_example_grad(loss: Function, params: Any, xs: Any) -> Any:
    """The gradient of ``loss(params, x)`` by ``params`` for each example x of a batch.

    In a loop: one forward and one backward pass for each example, whatever the loss does with it.

    Parameters
    ----------
    loss : callable
        Takes the parameters and one example, without the batch axis; returns a tensor of one element.
    params : array, nested lists, tuples and dicts of arrays, or module
    xs : array, or nested lists, tuples and dicts of arrays, (N, ...) each
        The examples along the first axis; inputs and targets as a pair, say.

    Returns
    -------
    gradients
        In the structure of ``params`` (a dict of name to gradient for a module), (N, ...) each.

    Raises
    ------
    ValueError
        For no example, or arrays of different lengths.
    """
    lengths: list[int] = []
    _map(lambda a: lengths.append(len(a)), xs)
    if len(set(lengths)) != 1 or not lengths[0]:
        raise ValueError(f"per_example_grad needs arrays of one length, 1 at least; got lengths {lengths}")
    one = grad(loss)
    gradients = [one(params, _map(lambda a, k=k: a[k], xs)) for k in range(lengths[0])]
    return _map(lambda *parts: ops.stack(parts), *gradients)


def elementwise_grad(f: Function, argnums: Argnums = 0) -> Function:
    """The derivative of a function that works element by element: the gradient of its sum."""
    return grad(lambda *args: f(*args).sum(), argnums)


def vjp(f: Function, *primals: Any) -> tuple[Any, Function]:
    """The value of ``f`` and its pullback, ``cotangent -> (gradient by each argument, ...)``."""
    tracked = _Tracked(primals, tuple(range(len(primals))))
    y = _call(f, tracked.args)
    return tracked.value(y), lambda cotangent: tracked.pull(y, cotangent)


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """The value of ``f`` and its directional derivative along ``tangents``.

    By two reverse passes: the pullback is linear in its cotangent, so the pullback of the pullback is the
    pushforward (Townsend 2017, "A new trick for calculating Jacobian vector products").
    """
    tracked = _Tracked(tuple(primals), tuple(range(len(primals))))
    y = _call(f, tracked.args)
    u = _make(np.zeros(y.shape, y.dtype), Leaf(y.shape, y.dtype))
    recorded, tracked.recorded = tracked.recorded, True
    pulled = tracked.pull(y, u)
    tracked.recorded = recorded
    roots = []

    def root(g: Tensor, tangent: Any) -> None:
        if g.place is not None:
            seed = g._seed(tangent)
            roots.append((g.place, seed if recorded else seed.numpy()))

    _map(root, tuple(pulled), tuple(tangents))
    found = tape.backward(roots, retain_graph=True, lift=_make if recorded else None, since=tracked.since)
    pushed = found.get(u.place, np.zeros(y.shape, y.dtype))
    if recorded or any(isinstance(p, Tensor) for p in primals):
        pushed = pushed if isinstance(pushed, Tensor) else _make(pushed, None)
    return tracked.value(y), pushed


def jacobian(f: Function, argnums: Argnums = 0) -> Function:
    """A function that gives all derivatives of ``f``: shape ``(*output.shape, *argument.shape)``.

    One backward pass for each element of the output.
    """

    def rows(*args: Any) -> Any:
        tracked = _Tracked(args, argnums)
        y = _call(f, tracked.args)
        units = np.eye(y.size, dtype=y.dtype).reshape(y.size, *y.shape)
        gradients = [tracked.pull(y, unit) for unit in units]

        def assembled(*parts: Any) -> Any:
            return ops.stack(parts).reshape((*y.shape, *parts[0].shape))

        return _map(assembled, *gradients) if gradients else _map(
            lambda g: g[None][:0].reshape((*y.shape, *g.shape)), tracked.gradients({})
        )  # fmt: skip

    return rows


def hessian(f: Function, argnums: int = 0) -> Function:
    """A function that gives all second derivatives of a scalar ``f``, ``(*argument.shape,) * 2``."""
    return jacobian(grad(f, argnums), argnums)


def hvp(f: Function, argnums: int = 0) -> Function:
    """A function ``(*args, v)`` that gives the product of the Hessian of a scalar ``f`` with ``v``.

    Without the Hessian: it is the derivative of the gradient along v, at the cost of a few gradients.
    """

    def product(*args: Any) -> Any:
        *inputs, v = args

        def slope(*inputs: Any) -> Tensor:
            terms: list[Any] = []
            _map(lambda g, w: terms.append((g * w).sum()), grad(f, argnums)(*inputs), v)
            return sum(terms[1:], terms[0])

        return grad(slope, argnums)(*inputs)

    return product


# ----------------------------------------------------------------------------------------- checkpoint


def checkpoint(f: Function) -> Function:
    """A function with the results and gradients of ``f`` that keeps only its inputs for backward.

    What f saves between its inputs and its results is computed again in the backward pass (Chen et al. 2016,
    "Training deep nets with sublinear memory cost"). Parameters and other tensors that f uses without getting
    them as arguments receive their gradients too.

    Parameters
    ----------
    f : callable
        Takes tensors (and other arguments), returns a tensor or a tuple of tensors. It must compute the same
        when called again; the default random generator is put back for that.
    """

    def checkpointed(*args: Any) -> Any:
        generator = default_generator()
        random_state = generator.bit_generator.state
        since = next(tape.clock)
        result = f(*args)
        outputs = result if isinstance(result, tuple) else (result,)
        outside = _outside([y.place for y in outputs if y.place is not None], since)
        if not outside:
            return result

        def rerun(gs: Sequence[Any]) -> list[Any]:
            """Cotangents of the outside places, from those of the outputs."""
            after = generator.bit_generator.state
            generator.bit_generator.state = random_state
            since = next(tape.clock)
            try:
                with enable_grad():
                    again = f(*args)
            finally:
                generator.bit_generator.state = after
            again = again if isinstance(again, tuple) else (again,)
            pairs = [(y.place, g) for y, g in zip(again, gs, strict=True) if g is not None]
            recorded = any(isinstance(g, Tensor) for g in gs)
            found = tape.backward(pairs, retain_graph=recorded, lift=_make if recorded else None, since=since)
            return [_found(found, place) for place in outside]

        shapes, dtypes = tuple(y.shape for y in outputs), tuple(y.dtype for y in outputs)
        scope = current_state().scope
        entry = Nary(_segment, outside, outside, None, {"rerun": rerun}, shapes, dtypes, scope)
        results = tuple(_make(y.numpy(), Output(entry, k, y.shape, y.dtype)) for k, y in enumerate(outputs))
        return results if isinstance(result, tuple) else results[0]

    return checkpointed


def _outside(places: Sequence[Place], since: int) -> tuple[Place, ...]:
    """The places from before ``since``, leaves among them, that the given ones depend on."""
    found: dict[Place, None] = {}
    for entry in tape.reachable(places, since):
        for place in entry.parents:
            source = place.entry if isinstance(place, Output) else place
            if isinstance(source, Leaf) or (isinstance(source, Entry) and source.number < since):
                found[place] = None  # type: ignore[index]
    return tuple(found)


def _found(found: dict[Any, Any], place: Place) -> Any:
    g = found.get(place.entry) if isinstance(place, Output) else found.get(place)
    if isinstance(place, Output) and g is not None:
        g = g[place.index]
    return np.zeros(place.shape, place.dtype) if g is None else g


def _segment_forward(*arrays: Any, rerun: Function) -> Any:
    raise AssertionError("a checkpointed segment is entered on the tape by checkpoint itself")


# A view, to the tape: what has changed a leaf since would change what is computed again.
_segment = Primitive(
    _segment_forward, numpy=(), samples=(), domain=(), kinks=None, elementwise=False, multiple=True, view=True
)
_segment.name = "checkpoint"
_segment.defvjp(joint=lambda gs, _ys, *_inputs, rerun: rerun(gs))
