"""What a primitive is: a forward function, its gradient rules and what a test must know, declared together.

    @primitive(numpy=np.tanh, elementwise=True)
    def tanh(x, /):
        \"\"\"Hyperbolic tangent.\"\"\"
        return np.tanh(x)

    tanh.defvjp(lambda g, y, _x: g * (1 - y * y))

Parameters before the ``/`` are arrays; those after it are static (axes, shapes, indices). There is one
rule per array input, called as ``rule(g, y, *inputs, **static)`` with the cotangent ``g`` of the output
``y``. Rules are NumPy code and nothing else: NumPy's own dispatch makes the same rule run on arrays (an
ordinary backward pass) and on tensors (a recorded one, for higher derivatives).

**A leading underscore means "not kept".** The tape keeps an array alive until backward only where a rule
names it without an underscore. In place of an underscored input the rule gets an object that has just its
``shape`` and ``dtype``.

A rule need not undo broadcasting, cast, or accumulate: the tape does that in one place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Rule = Callable[..., Any]

REGISTRY: dict[str, Primitive] = {}
"""Every primitive by name: what ``tg.<name>``, the property tests and the documentation are made from."""

NUMPY: dict[Callable[..., Any], Primitive] = {}
"""NumPy's functions and ufuncs, to the primitive that answers for them when a tensor is passed."""


class Sample(NamedTuple):
    """One way to call a primitive in a test: a shape stands for random values, an array for itself."""

    inputs: tuple[Any, ...]
    static: dict[str, Any]


def sample(*inputs: tuple[int, ...] | np.ndarray, **static: Any) -> Sample:
    """Declare a sample call: ``sample((2, 3), axis=0)``."""
    return Sample(inputs, static)


class Spec(NamedTuple):
    """The shape and dtype of an array that nobody needs to keep."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Keep(NamedTuple):
    """Which arrays the rules of an entry will read: one flag per input, and one for the output."""

    inputs: tuple[bool, ...]
    output: bool


class Primitive:
    """A differentiable operation on plain arrays; see the module's docstring.

    Attributes
    ----------
    name : str
    forward : callable
        The function on plain arrays.
    vjps : tuple of (callable or None)
        One rule per array input; None where the input has no gradient (masks, indices).
    inputs : tuple of str
        Names of the array inputs; empty for an operation on any number of them. ``arity`` counts them.
    joint : callable or None
        For operations on any number of arrays: one rule that returns all their cotangents.
    multiple : bool
        Whether ``forward`` returns a tuple of arrays. Rules then get a list of cotangents, None where an
        output was not used.
    view : bool
        Whether the output may share memory with an input: what changes the one in place changes the other.
    domain : tuple of (low, high)
        Where inputs are valid and the derivative is bounded: one interval, or one per input.
    kinks : callable or None
        Distance of given inputs from the nearest point without a derivative. None says that the forward
        function is analytic, and that the complex-step derivative is exact.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        *,
        numpy: Sequence[Callable[..., Any]],
        samples: tuple[Sample, ...],
        domain: tuple[tuple[float, float], ...],
        kinks: Callable[..., Any] | None,
        elementwise: bool,
        multiple: bool,
        view: bool,
    ) -> None:
        parameters = list(inspect.signature(forward).parameters.values())
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.inputs = tuple(positional)
        self.arity = len(self.inputs)
        self.static_names = tuple(
            p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        )
        self.name = self.__name__ = forward.__name__
        self.__qualname__ = self.name
        self.__module__ = forward.__module__
        self.__doc__ = forward.__doc__
        self.__signature__ = self._public_signature(forward)
        self.forward = forward
        self.vjps: tuple[Rule | None, ...] = ()
        self.joint: Rule | None = None
        self.keeps: dict[int, Keep] = {}
        self.numpy = tuple(numpy)
        self.samples = samples
        self.domain = domain
        self.kinks = kinks
        self.elementwise = elementwise
        self.multiple = multiple
        self.view = view

    def _public_signature(self, forward: Callable[..., Any]) -> inspect.Signature:
        signature = inspect.signature(forward)
        if not self.variadic:
            return signature
        arrays = inspect.Parameter("arrays", inspect.Parameter.POSITIONAL_ONLY)
        rest = [
            p.replace(kind=p.POSITIONAL_OR_KEYWORD)
            for p in signature.parameters.values()
            if p.kind is p.KEYWORD_ONLY
        ]
        return signature.replace(parameters=[arrays, *rest])

    def __repr__(self) -> str:
        return f"<primitive {self.name}{self.__signature__}>"

    @property
    def analytic(self) -> bool:
        """Whether a complex step gives the exact derivative of ``forward``."""
        return self.kinks is None

    def defvjp(self, *rules: Rule | None, joint: Rule | None = None) -> None:
        """Attach one rule per array input, or one joint rule for an operation on any number of arrays."""
        if joint is None and len(rules) != len(self.inputs):
            raise TypeError(f"{self.name} has {len(self.inputs)} array inputs, got {len(rules)} rules")
        self.vjps, self.joint = rules, joint
        if joint is not None:
            return
        reads = [self._reads(rule) for rule in rules]
        for mask in range(1, 1 << len(rules)):
            wanted = [r for k, r in enumerate(reads) if mask >> k & 1]
            kept = [any(column) for column in zip(*wanted, strict=True)]
            self.keeps[mask] = Keep(tuple(kept[1:]), kept[0])

    def _reads(self, rule: Rule | None) -> list[bool]:
        """Which of (output, *inputs) the rule reads, by its parameters' names."""
        if rule is None:
            return [False] * (len(self.inputs) + 1)
        names = rule.__code__.co_varnames[1 : len(self.inputs) + 2]
        return [not name.startswith("_") for name in names]

    def __call__(self, *args: Any, **static: Any) -> Any:
        """Apply to arrays, giving arrays; or hand over to the operand type that knows better (a tensor)."""
        inputs = args
        if static or not args or len(args) != self.arity:
            inputs, static = self.bind(args, static)
        for operand in inputs:
            takes_over = getattr(type(operand), "__primitive__", None)
            if takes_over is not None:
                return takes_over(self, inputs, static)
        return self.forward(*inputs, **static)

    def bind(self, args: tuple[Any, ...], static: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Tell array inputs from static arguments, as Python would for the public signature."""
        arity = self.arity
        if arity and not static and arity < len(args) <= arity + len(self.static_names):
            return args[:arity], dict(zip(self.static_names, args[arity:], strict=False))
        named = dict(static)
        if self.variadic:
            if not args or isinstance(args[0], np.ndarray) or not isinstance(args[0], Sequence):
                got = type(args[0]).__name__ if args else "nothing"
                raise TypeError(f"{self.name} takes a list or tuple of arrays first, got {got}")
            inputs, rest = tuple(args[0]), args[1:]
            if not inputs:
                raise ValueError(f"{self.name} needs at least one array, got an empty sequence")
        else:
            for name in self.inputs[len(args) :]:
                if name not in named:
                    raise TypeError(f"{self.name}{self.__signature__} is missing its argument {name!r}")
                args = (*args, named.pop(name))
            inputs, rest = args[: len(self.inputs)], args[len(self.inputs) :]
        if len(rest) > len(self.static_names):
            raise TypeError(f"{self.name}{self.__signature__} got {len(rest)} arguments beyond its arrays")
        for name, value in zip(self.static_names, rest, strict=False):
            if name in named:
                raise TypeError(f"{self.name}{self.__signature__} got {name!r} twice")
            named[name] = value
        for name in named:
            if name not in self.static_names:
                raise TypeError(
                    f"{self.name}{self.__signature__} does not take {name!r}; "
                    f"it would be ignored, so it is refused"
                )
        return inputs, named

    def explain(self, error: Exception, inputs: Sequence[Any], static: dict[str, Any]) -> Exception:
        """The same error with the operation, the operands' shapes and the cause in its text."""
        shapes = ", ".join(
            f"{a.dtype}{a.shape}" if isinstance(a, np.ndarray) else repr(a) for a in inputs[:8]
        )
        more = "".join(f", {k}={v!r}" for k, v in static.items())
        # Not type(error): some of NumPy's own errors are not made from a text.
        kinds = (np.exceptions.AxisError, IndexError, TypeError, ValueError)
        kind: Any = next(k for k in kinds if isinstance(error, k))
        return kind(f"{self.name}({shapes}{more}): {error}")


def primitive(
    *,
    numpy: Callable[..., Any] | Sequence[Callable[..., Any] | None] = (),
    samples: Sequence[Sample] = (),
    domain: tuple[float, float] | tuple[tuple[float, float], ...] = (-3.0, 3.0),
    kinks: Callable[..., Any] | None = None,
    elementwise: bool = False,
    multiple: bool = False,
    view: bool = False,
) -> Callable[[Callable[..., Any]], Primitive]:
    """Declare a primitive; see the module's docstring and the attributes of `Primitive`."""

    def declare(forward: Callable[..., Any]) -> Primitive:
        functions = [numpy] if callable(numpy) else [f for f in numpy if f is not None]
        intervals: Any = domain if isinstance(domain[0], tuple) else (domain,)
        made = Primitive(
            forward,
            numpy=functions,
            samples=tuple(samples),
            domain=intervals,
            kinks=kinks,
            elementwise=elementwise,
            multiple=multiple,
            view=view,
        )
        if made.name in REGISTRY:
            raise ValueError(f"a primitive named {made.name!r} exists already")
        REGISTRY[made.name] = made
        for function in functions:
            NUMPY[function] = made
        return made

    return declare
