"""Gradients of functions: `grad` and its family.

``tensor.backward()`` fills the ``grad`` of leaves. The functions here leave those alone: they take a function
and give another function. Arguments may be arrays, tensors, numbers, nested lists, tuples and dicts of them,
and modules (anything with ``named_parameters()``), whose parameters are then what is differentiated by.
They nest: ``grad(grad(f))``.

Arrays give arrays. Tensors and modules give tensors, which depend on all that f's result depends on: also on
parameters that f uses without getting them, as a gradient penalty needs it. (What is differentiated by does
not count where it was not on the tape before, nor do the parameters of a module among it.) A backward pass
that is itself recorded makes the whole two to three times as slow, and its arrays stay: give arrays, or call
it under ``tg.no_grad()``, where gradients of the gradients are not wanted.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, SupportsIndex

import numpy as np

from . import backpropagation, ops, tape
from .arrays import as_array
from .ops.operations import by_position
from .state import current_state, enable_grad
from .tape import Leaf, Place
from .tensors import Tensor, _make
from .trees import is_module, leaves_of, map_tree, match_tree, need_callable, paths_of

Function = Callable[..., Any]
Argnums = SupportsIndex | Sequence[SupportsIndex]

_NONE: dict[str, Any] = {}

_nested: ContextVar[bool] = ContextVar("tinygrad_rnn_nested", default=False)
"""Whether another transformation is running: then what this one computes must itself be recorded."""


# ------------------------------------------------------------------------------------------ arguments


def _given(argnums: Argnums) -> tuple[int, ...]:
    """The numbers as they were given, if they are any."""
    try:
        given = tuple(map(operator.index, (argnums,) if isinstance(argnums, SupportsIndex) else argnums))
    except TypeError:
        given = ()
    if not given:
        raise TypeError(
            f"argnums says which positional arguments to differentiate by: a number such as 0, or a tuple of "
            f"them such as (0, 1); got {argnums!r}"
        )
    return given


def _checked(what: str, f: Any, argnums: Argnums) -> None:
    """Raise at the call of a transformation, not of what it gives."""
    need_callable(what, f)
    _given(argnums)


def _numbers(argnums: Argnums, count: int) -> tuple[tuple[int, ...], bool]:
    """The numbers of arguments, counted from the first, and whether it is a single one."""
    single = isinstance(argnums, SupportsIndex)
    given = _given(argnums)
    for k in given:
        if not -count <= k < count:
            raise TypeError(
                f"argnums names argument {k}, but the function got {count} positional ones: pass what is "
                f"differentiated by without its name"
            )
    numbers = tuple(k % count for k in given)
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"argnums names an argument twice: {given} of {count} arguments; give each once")
    return numbers, single


def _variable(array: np.ndarray) -> Tensor:
    """A new leaf, which says when it was made: what a checkpoint computes again makes another."""
    leaf = Leaf(array.shape, array.dtype)
    leaf.changed = next(tape.clock)
    return _make(array, leaf)


class _Tracked:
    """The arguments of a call, with those to differentiate by put on the tape.

    Attributes
    ----------
    args : tuple
        To call the function with. All are differentiated by where no argnums are given.
    since : int
        Everything that the call records has at least this number.
    recording : bool
        Whether the caller is.
    recorded : bool
        Whether the backward pass must be recorded: in another transformation, or for results that are tensors
        and depend on what is on the caller's tape. Not where the caller is not recording.
    tensors : bool
        Whether tensors are among what is differentiated by.
    followed : bool
        Whether the caller may differentiate the results again: it is recording, and they are tensors.
    own : set of Place or None
        What is differentiated by, and is not itself a reason to record.
    """

    def __init__(self, args: Sequence[Any], argnums: Argnums | None = None) -> None:
        self.recording = current_state().recording
        self.recorded = self.recording and _nested.get()
        numbers, self.single = tuple(range(len(args))), False
        if argnums is not None:
            numbers, self.single = _numbers(argnums, len(args))
        self.given = {k: args[k] for k in numbers}
        kinds = leaves_of(self.given)
        self.tensors = any([isinstance(a, Tensor) for a in kinds])
        self.followed = self.recording and (self.tensors or any(map(is_module, kinds)))
        self.own: set[Place | None] = set()
        self.trees = {
            k: map_tree(self._track, tree, paths_of(tree, f"argument {k}")) for k, tree in self.given.items()
        }
        self.since = next(tape.clock)
        self.args = tuple([self.trees.get(k, arg) for k, arg in enumerate(args)])

    def _track(self, value: Any, path: str) -> Any:
        if is_module(value):
            if not self.tensors:
                self.own.update([p.place for _, p in value.named_parameters()])
            return value
        if isinstance(value, Tensor) and value.requires_grad:
            if self.recording:
                return ops.positive(value)
            value = value.detach()
        try:
            array = as_array(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{path}: {error}; leave out of argnums what is no number") from error
        if array.dtype.kind != "f":
            mend = "leave integers out of argnums"
            if array.dtype.kind == "c":
                mend = "pass real and imaginary parts as two arguments"
            raise TypeError(
                f"{path}: gradients need real floating-point arguments, got {array.dtype}; {mend}"
            )
        variable = _variable(array)
        self.own.add(variable.place)
        return variable

    def call(self, f: Function, kwargs: Mapping[str, Any] = _NONE) -> Any:
        """What f returns: a tensor, or nested tensors."""
        with _transforming():
            result = f(*self.args, **kwargs)
        places = []
        for y in leaves_of(result):
            if not isinstance(y, Tensor):
                raise TypeError(
                    f"the function to differentiate must return a tensor, got {type(y).__name__}; results of "
                    f".numpy(), float() or comparisons carry no gradient"
                )
            if y.place is not None:
                places.append(y.place)
        if self.followed and not self.recorded:
            self.recorded = any(place not in self.own for place in tape.earlier(places, self.since))
        return result

    def call_for_one(self, f: Function, kwargs: Mapping[str, Any] = _NONE) -> Tensor:
        return _one(self.call(f, kwargs))

    def records(self, *given: Any) -> bool:
        """Whether a pass must be recorded that cotangents, or tangents, go into, which may be on the tape."""
        if self.recorded or not current_state().recording:
            return self.recorded
        on_tape = any([isinstance(a, Tensor) and a.requires_grad for a in leaves_of(given)])
        return _nested.get() or (self.tensors and on_tape)

    def gradients(self, found: dict[Any, Any], recorded: bool) -> Any:
        """What a backward pass found, in the structure of the arguments; zeros where nothing arrived."""

        def one(given: Any, tracked: Any) -> Any:
            if is_module(given):
                return {name: one(p, p) for name, p in given.named_parameters() if p.requires_grad}
            g = found.get(tracked.place)
            if g is None:
                g = np.zeros(tracked.shape, tracked.dtype)
            if recorded or isinstance(given, Tensor):
                return g if isinstance(g, Tensor) else _make(g, None)
            return g.numpy() if isinstance(g, Tensor) else g

        results = [map_tree(one, given, self.trees[k]) for k, given in self.given.items()]
        return results.pop() if self.single else tuple(results)

    def value(self, y: Tensor) -> Any:
        """The function's value as the caller sees it: on the tape only where an outer pass needs it."""
        if self.recorded:
            return y
        return y.detach() if self.tensors else y.numpy()

    def pull(self, y: Tensor, cotangent: Any, recorded: bool) -> Any:
        """Gradients for a cotangent of y; tensors on the tape if recorded."""
        if y.place is None:
            return self.gradients({}, recorded)
        seed = y._seed(cotangent)
        found = backpropagation.backward(
            [(y.place, seed if recorded else seed.numpy())],
            retain_graph=True,
            lift=_make if recorded else None,
            since=self.since,
        )
        return self.gradients(found, recorded)


@contextmanager
def _transforming() -> Iterator[None]:
    """Record what f does, whatever the caller's state; transformations inside know that they are."""
    token = _nested.set(True)
    try:
        with enable_grad():
            yield
    finally:
        _nested.reset(token)


def _one(y: Any) -> Tensor:
    if not isinstance(y, Tensor):
        raise TypeError(
            f"the function to differentiate must return one tensor, got {type(y).__name__}; return one of "
            f"several, or differentiate by jacobian, which takes nested ones"
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
        ``(*args, **kwargs) -> (value, gradient)``; the gradient has the structure of the argument (a tuple of
        them for several argnums), and is a dict of name to gradient for a module. Keyword arguments are
        handed on to f. For tensors both are on the tape where f's result depends on a tensor that is, an
        argument or not, unless the caller is under `no_grad`; that takes two to three times as long.

    Raises
    ------
    TypeError
        For integer arguments, or a function that returns no tensor.
    ValueError
        For a function that returns more than one element.
    """

    return _value_and_grad("value_and_grad", f, argnums)


def _value_and_grad(what: str, f: Function, argnums: Argnums) -> Function:
    """The same, under the name of the function that a user called."""
    _checked(what, f, argnums)

    def both(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        tracked = _Tracked(args, argnums)
        y = tracked.call_for_one(f, kwargs)
        if y.size != 1:
            raise ValueError(
                f"{what} needs a function that returns one element, got shape {y.shape}; use jacobian (of "
                f"jacobian, for second derivatives), elementwise_grad, or sum the result"
            )
        return tracked.value(y), tracked.pull(y, np.ones(y.shape, y.dtype), tracked.recorded)

    return both


def grad(f: Function, argnums: Argnums = 0) -> Function:
    """A function that gives the gradient of ``f``; see `value_and_grad`.

    Examples
    --------
    >>> tg.grad(lambda x: (x**3).sum())(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    return _gradient("grad", f, argnums)


def _gradient(what: str, f: Function, argnums: Argnums = 0) -> Function:
    """The same, under the name of the function that a user called."""
    both = _value_and_grad(what, f, argnums)
    return lambda *args, **kwargs: both(*args, **kwargs)[1]


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

    Examples
    --------
    >>> model, x, y = nn.Linear(3, 1, rng=0), np.ones((5, 3), "float32"), np.zeros((5, 1), "float32")
    >>> gradients = tg.per_example_grad(lambda model, xy: nn.mse(model(xy[0]), xy[1]), model, (x, y))
    >>> {name: g.shape for name, g in gradients.items()}
    {'weight': (5, 1, 3), 'bias': (5, 1)}
    """
    lengths: list[int] = []

    def note(a: Any, path: str) -> None:
        if not np.ndim(a):
            raise TypeError(
                f"per_example_grad needs arrays with one example after the other along their first axis; "
                f"{path} is {a!r}: make an array of the examples, np.array(xs)"
            )
        lengths.append(len(a))

    need_callable("per_example_grad", loss)
    map_tree(note, xs, paths_of(xs, "xs"))
    if len(set(lengths)) != 1 or 0 in lengths:
        raise ValueError(f"per_example_grad needs arrays of one length, 1 at least; got lengths {lengths}")
    one = _gradient("per_example_grad", loss)
    (length,) = set(lengths)
    xs = map_tree(by_position, xs)
    gradients = [one(params, map_tree(lambda a, k=k: a[k], xs)) for k in range(length)]
    return map_tree(lambda *parts: ops.stack(parts), *gradients)


def elementwise_grad(f: Function, argnums: Argnums = 0) -> Function:
    """The derivative of a function that works element by element: the gradient of its sum."""
    _checked("elementwise_grad", f, argnums)
    return grad(lambda *args, **kwargs: _one(f(*args, **kwargs)).sum(), argnums)


def vjp(f: Function, *primals: Any) -> tuple[Any, Function]:
    """The value of ``f`` and its pullback, ``cotangent -> (gradient by each argument, ...)``.

    Examples
    --------
    >>> value, pull = tg.vjp(lambda x: x**2, np.array([1.0, 2.0]))
    >>> pull(np.array([1.0, 10.0]))
    (array([ 2., 40.]),)
    """
    need_callable("vjp", f)
    tracked = _Tracked(primals)
    y = tracked.call_for_one(f)
    return tracked.value(y), lambda cotangent: tracked.pull(y, cotangent, tracked.records(cotangent))


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """The value of ``f`` and its directional derivative along ``tangents``.

    By two reverse passes: the pullback is linear in its cotangent, so the pullback of the pullback is the
    pushforward (Townsend 2017, "A new trick for calculating Jacobian vector products").

    Examples
    --------
    >>> tg.jvp(lambda x: x**2, (np.array([1.0, 2.0]),), (np.array([1.0, 10.0]),))
    (array([1., 4.]), array([ 2., 40.]))
    """
    need_callable("jvp", f)
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise TypeError(
                f"jvp: {name} is a tuple with one item per argument of f, also for one argument: "
                f"jvp(f, (x,), (v,)); got {type(given).__name__}"
            )
    tracked = _Tracked(tuple(primals))
    match_tree("jvp: tangents", tracked.gradients({}, tracked.recorded), tuple(tangents))
    y = tracked.call_for_one(f)
    u = _variable(np.zeros(y.shape, y.dtype))
    recorded = tracked.records(tuple(tangents))
    roots = []

    def root(g: Tensor, tangent: Any) -> None:
        if g.place is not None:
            seed = g._seed(tangent)
            roots.append((g.place, seed if recorded else seed.numpy()))

    map_tree(root, tracked.pull(y, u, True), tuple(tangents))
    found = backpropagation.backward(
        roots, retain_graph=True, lift=_make if recorded else None, since=tracked.since
    )
    pushed = found.get(u.place, np.zeros(y.shape, y.dtype))
    if recorded or tracked.tensors:
        pushed = pushed if isinstance(pushed, Tensor) else _make(pushed, None)
    return tracked.value(y), pushed


def jacobian(f: Function, argnums: Argnums = 0) -> Function:
    """A function that gives all derivatives of ``f``: shape ``(*output.shape, *argument.shape)``.

    One backward pass for each element of the output. Where f returns nested tensors, each is replaced by its
    derivatives, in the structure of the argument.

    Examples
    --------
    >>> tg.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """

    _checked("jacobian", f, argnums)

    def all_derivatives(*args: Any, **kwargs: Any) -> Any:
        tracked = _Tracked(args, argnums)
        return map_tree(lambda y: _rows(tracked, y), tracked.call(f, kwargs))

    return all_derivatives


def _rows(tracked: _Tracked, y: Tensor) -> Any:
    """All derivatives of one output."""
    units = np.eye(y.size, dtype=y.dtype).reshape(y.size, *y.shape)
    gradients = [tracked.pull(y, unit, tracked.recorded) for unit in units]

    def assembled(*parts: Any) -> Any:
        rows = ops.stack(parts)
        return rows.reshape((*y.shape, *rows.shape[1:]))

    if gradients:
        return map_tree(assembled, *gradients)
    zeros = tracked.gradients({}, tracked.recorded)
    return map_tree(lambda g: g[None][:0].reshape((*y.shape, *g.shape)), zeros)


def hessian(f: Function, argnums: Argnums = 0) -> Function:
    """A function that gives all second derivatives of a scalar ``f``, ``(*argument.shape,) * 2``.

    For nested arguments, modules and several argnums in blocks: ``hessian(f)({"a": a, "b": b})["a"]["b"]``
    has the shape ``(*a.shape, *b.shape)``.

    Examples
    --------
    >>> tg.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """
    return jacobian(_gradient("hessian", f, argnums), argnums)


def hvp(f: Function, argnums: Argnums = 0) -> Function:
    """A function ``(*args, v)`` that gives the product of the Hessian of a scalar ``f`` with ``v``.

    Without the Hessian: it is the derivative of the gradient along v, at the cost of a few gradients. v has
    the structure and the shapes of the gradient.

    Examples
    --------
    >>> tg.hvp(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    array([24.,  2.])
    """

    _checked("hvp", f, argnums)

    def product(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2:
            raise TypeError(
                f"hvp(f) takes the arguments of f and then v, of the gradient's shape: hvp(f)(x, v); got "
                f"{len(args)} argument{'s' * (len(args) != 1)}"
            )
        *inputs, v = args

        def slope(*inputs: Any) -> Tensor:
            gradient = _gradient("hvp", f, argnums)(*inputs, **kwargs)
            match_tree("hvp: v", gradient, v)
            terms: list[Any] = []
            map_tree(lambda g, w: terms.append((g * w).sum()), gradient, v)
            return sum(terms[1:], terms[0])

        return grad(slope, argnums)(*inputs)

    return product
