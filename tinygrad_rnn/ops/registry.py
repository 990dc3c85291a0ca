"""What a primitive is: a forward function, its gradient rules and what a test must know, declared together.

    @primitive(numpy=np.tanh, elementwise=True)
    def tanh(x, /):
        \"\"\"Hyperbolic tangent.\"\"\"
        return np.tanh(x)

    tanh.defvjp(lambda g, y, _x: g * (1 - y * y))

Parameters before the ``/`` are arrays; those after it are static (axes, shapes, indices). Without a ``/``
those of a primitive that have no default are arrays. There is one rule per array input, called as
``rule(g, y, *inputs, **static)`` with the cotangent ``g`` of the output ``y``. Rules are NumPy code and
nothing else: NumPy's own dispatch makes the same rule run on arrays (an ordinary backward pass) and on
tensors (a recorded one, for higher derivatives).

**A leading underscore means "not kept".** The tape keeps an array alive until backward only where a rule
names it without an underscore. In place of an underscored input the rule gets an object that has just its
``shape`` and ``dtype``.

A rule need not undo broadcasting, cast, or accumulate: the tape does that in one place.

**What is composed of other operations needs no rule.** A `composite` is declared with the same words, and
its body is NumPy code that runs on arrays and tensors alike; on the tape stand the entries of its parts:

    @composite(numpy=np.ptp, samples=[sample((2, 3), axis=0)], kinks=...)
    def ptp(x, /, axis=None, keepdims=False):
        \"\"\"Largest less smallest element.\"\"\"
        return np.max(x, axis=axis, keepdims=keepdims) - np.min(x, axis=axis, keepdims=keepdims)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .operations import Composite, Operation, Primitive, Sample

REGISTRY: dict[str, Operation] = {}
"""Every operation by name: what ``tg.<name>``, the property tests and the documentation are made from."""

NUMPY: dict[Callable[..., Any], Operation] = {}
"""NumPy's functions and ufuncs, to the operation that answers for them when a tensor is passed."""


def sample(*inputs: Any, **static: Any) -> Sample:
    """Declare a sample call: ``sample((2, 3), axis=0)``."""
    return Sample(inputs, static)


def smooth(*_inputs: Any, **_static: Any) -> Any:
    """For ``kinks``: there are none, but the forward function does not continue to complex numbers."""
    return np.inf


def _declaration(
    kind: type[Operation],
    numpy: Callable[..., Any] | Sequence[Callable[..., Any] | None],
    declared: dict[str, Any],
) -> Callable[[Callable[..., Any]], Any]:
    given: Any = numpy if isinstance(numpy, Sequence) else [numpy]
    functions = [f for f in given if f is not None]

    initial: tuple[Any, ...] = (Operation.__init__, kind.__init__)
    known = {name for function in initial for name in function.__kwdefaults__ or ()}
    for name in declared:
        if name not in known:
            raise TypeError(f"{kind.kind} does not take {name!r}; it takes {', '.join(sorted(known))}")
    if not all(map(callable, functions)):
        raise TypeError(f"{kind.kind}: numpy= takes NumPy's functions, such as np.tanh, got {numpy!r}")

    def declare(forward: Callable[..., Any]) -> Any:
        made = kind(forward, numpy=functions, **declared)
        old = REGISTRY.get(made.name)
        if old is not None and _ours(old) and old.__module__ != made.__module__:
            raise ValueError(
                f"{made.name!r} is the name of an operation of {old.__module__}: give yours another one"
            )
        for function in functions:
            other = NUMPY.get(function)
            # The same cell of a notebook run again declares the same function again.
            if other and (other.name, other.__module__) != (made.name, made.__module__):
                raise ValueError(
                    f"np.{function.__name__} has an operation already, {other.name} of {other.__module__}; "
                    f"{made.name} would replace it for everybody: leave numpy= out, and call {made.name}"
                )
        REGISTRY[made.name] = made
        for function in functions:
            NUMPY[function] = made
        return made

    return declare


def _ours(operation: Operation) -> bool:
    """Whether it is of this package. Users' modules do not know of each other, nor of each other's names."""
    return operation.__module__.partition(".")[0] == __name__.partition(".")[0]


def primitive(
    forward: Callable[..., Any] | None = None,
    /,
    *,
    numpy: Callable[..., Any] | Sequence[Callable[..., Any] | None] = (),
    **declared: Any,
) -> Any:
    """Declare a primitive: an operation on arrays with a gradient rule of its own.

    ``@primitive`` over the forward function, or ``@primitive(multiple=True, ...)``; then ``name.defvjp(...)``
    with a rule for each input. tutorials/03_your_own_primitive.py shows all of it.

    Parameters
    ----------
    forward : function
        Takes plain arrays before its slash and static arguments (axes, shapes, indices) after it, and returns
        a new array. Without a slash the parameters without a default are the arrays. It must not write into
        them.
    numpy : callable or sequence of callable
        NumPy functions that it answers for when they are applied to tensors; none that has an operation.
    domain : (low, high), callable, or a tuple with one of them per input
        Where inputs are valid: tests draw them from there, by default from (-3, 3). A callable is
        ``f(rng, shape)``.
    kinks : callable, optional
        ``kinks(*inputs, **static)`` is the distance from the nearest point without a (second) derivative.
        None says that forward is analytic, and that the complex step gives its exact derivative.
    samples : sequence of Sample
        Calls for the tests: ``sample((2, 3), axis=0)`` with ``tinygrad_rnn.ops.registry.sample``.
    elementwise : bool
        Whether each element of the output depends on the inputs' elements at the same place alone.
    multiple : bool
        Whether forward returns a tuple of arrays. Rules then get a list of cotangents, None where an output
        was not used.
    view : bool
        Whether the output may share memory with an input.

    Returns
    -------
    Primitive

    Raises
    ------
    TypeError
        For what is not a Python function, or takes no arrays, and for unknown options.
    ValueError
        For the name of an operation of this package, and a NumPy function that has an operation.

    Examples
    --------
    >>> @tg.primitive
    ... def cube(x, /):
    ...     return x * x * x
    >>> cube.defvjp(lambda g, _y, x: g * 3 * x * x)
    """
    declare = _declaration(Primitive, numpy, declared)
    return declare if forward is None else declare(forward)


def composite(
    forward: Callable[..., Any] | None = None,
    /,
    *,
    numpy: Callable[..., Any] | Sequence[Callable[..., Any] | None] = (),
    **declared: Any,
) -> Any:
    """Declare a composite; see the module's docstring and the attributes of `Operation`.

    ``@composite`` over the forward function, or ``@composite(numpy=..., ...)``.
    """
    declare = _declaration(Composite, numpy, declared)
    return declare if forward is None else declare(forward)
