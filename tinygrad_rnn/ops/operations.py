"""`Primitive` and `Composite`: what operations know of themselves, and what becomes of a call's arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, NoneType
from typing import Any, NamedTuple

import numpy as np

from .messages import OUTPUT_AND_STATE, again, brief, is_output_and_state, mended, of_tensors, refused

RENAMED = {
    "a_min": "min",
    "a_max": "max",
    "indices_or_sections": "sections",
    "correction": "ddof",
    "newshape": "shape",  # of reshape, in NumPy 2.0
}
"""NumPy's names of static arguments, where the operations' are others: both are taken."""

Rule = Callable[..., Any]
Interval = tuple[float, float]
Domain = Interval | Callable[["np.random.Generator", tuple[int, ...]], np.ndarray]


class Sample(NamedTuple):
    """One way to call an operation in a test.

    A shape stands for random values, a list for a list of what is in it, anything else for itself. An
    elementwise operation is tried in all shapes anyhow: its samples have static arguments only.
    """

    inputs: tuple[Any, ...]
    static: dict[str, Any]


class Spec(NamedTuple):
    """The shape and dtype of an array that nobody needs to keep."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def spec(a: Any) -> Any:
    """A constant that no rule reads: its shape and dtype if it is an array, or the number itself."""
    return Spec(a.shape, a.dtype) if getattr(a, "ndim", 0) else a


_KNOWN = {np.ndarray, bool, int, float, complex, NoneType}


def by_position(a: Any) -> Any:
    """As an array what only converts to one, such as a column of a table, whose indices may be labels."""
    kind = type(a)
    if kind in _KNOWN or not hasattr(kind, "__array__") or hasattr(kind, "__array_function__"):
        return a
    return a if isinstance(a, np.generic) else np.asarray(a)


def _operand(a: Any) -> Any:
    """What stands in the place of an array; tensors in a list would become one without their gradients."""
    if isinstance(a, (list, tuple)) and any(hasattr(type(part), "__primitive__") for part in a):
        raise TypeError(of_tensors(a))
    return by_position(a)


class Keep(NamedTuple):
    """Which arrays the rules of an entry will read: one flag per input, and one for the output."""

    inputs: tuple[bool, ...]
    output: bool


class Operation:
    """What primitives and composites share: a name, a public signature, and what a test must know.

    Attributes
    ----------
    name : str
    forward : callable
        The function itself.
    inputs : tuple of str
        Names of the array inputs; empty for an operation on any number of them. ``arity`` counts them.
    static_names : tuple of str
        Names of the other arguments.
    numpy : tuple of callable
        NumPy's functions that it answers for.
    samples : tuple of Sample
    multiple : bool
        Whether ``forward`` returns a tuple of arrays.
    elementwise : bool
        Whether each element of the output depends on the inputs' elements at the same place alone.
    domain : tuple of (low, high) or callable
        Where inputs are valid and the derivative is bounded: one interval, by default (-3, 3), or one per
        input; in place of an interval ``f(rng, shape)``, which draws an array with some structure.
    kinks : callable or None
        Distance of given inputs from the nearest point without a derivative. None says that the forward
        function is analytic, and that the complex-step derivative is exact.
    """

    kind = "operation"

    def __init__(
        self,
        forward: Callable[..., Any],
        *,
        numpy: Sequence[Callable[..., Any]] = (),
        samples: Sequence[Sample] = (),
        domain: Domain | tuple[Domain, ...] = (-3.0, 3.0),
        kinks: Callable[..., Any] | None = None,
        elementwise: bool = False,
        multiple: bool = False,
    ) -> None:
        if not inspect.isfunction(forward):
            raise TypeError(
                f"{self.kind} needs a Python function, got {forward!r}: its parameters say what is an array "
                f"and what is not. Write def name(x, /): return ..., and call what you have there"
            )
        # Read from the code object: inspect.signature would take most of the time of importing the package.
        code = forward.__code__
        names = code.co_varnames
        self.arity = code.co_posonlyargcount or self._required(forward)
        self.inputs = names[: self.arity]
        self.static_names = names[self.arity : code.co_argcount + code.co_kwonlyargcount]
        self.static_set = frozenset(self.static_names)
        self.name = self.__name__ = forward.__name__
        self.__qualname__ = self.name
        self.__module__ = forward.__module__
        self.__doc__ = forward.__doc__
        self.forward = forward
        self.numpy = tuple(numpy)
        self.samples = tuple(samples)
        single = callable(domain) or isinstance(domain[0], (int, float))
        self.domain: Any = (domain,) if single else domain
        self.kinks = kinks
        self.elementwise = elementwise
        self.multiple = multiple

    @staticmethod
    def _required(forward: Callable[..., Any]) -> int:
        """How many parameters are array inputs where no slash says so."""
        return 0

    def __getattr__(self, name: str) -> Any:
        # The signature is worked out when first asked for: doing it for all would slow the import down.
        if name != "__signature__":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.__signature__ = self._public_signature()
        return self.__signature__

    def _public_signature(self) -> inspect.Signature:
        return inspect.signature(self.forward)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}{self.__signature__}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Operation:
        return self  # as functions are: a copied module applies the same operation

    def __call__(self, *args: Any, **static: Any) -> Any:
        raise TypeError("primitives and composites say how they are called")

    @property
    def analytic(self) -> bool:
        """Whether a complex step gives the exact derivative of ``forward``."""
        return self.kinks is None

    def named(self, error: Exception) -> str:
        """An error's text with the operation's name before it, once, and what to do behind it."""
        text = mended(str(error))
        return text if text.startswith((f"{self.name}: ", f"{self.name}(")) else f"{self.name}: {text}"

    def _arrays(self, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """Positional arguments, and after them the array inputs that are named, which are taken out there."""
        for name in self.inputs[len(args) :]:
            if name not in named:
                raise TypeError(f"{self.name}{self.__signature__} is missing its argument {name!r}")
            args = (*args, named.pop(name))
        return args

    def _renamed(self, static: Mapping[str, Any]) -> dict[str, Any]:
        """Static arguments under the names that they have here; refuses what is not known."""
        named: dict[str, Any] = {}
        for given, value in static.items():
            name = given if given in self.static_set else RENAMED.get(given, given)
            if name not in self.static_set:
                why = refused(given, self.static_set)
                raise TypeError(f"{self.name}{self.__signature__} does not take {given!r}; {why}")
            if name in named:
                raise TypeError(f"{self.name}{self.__signature__} got {name!r} twice, under different names")
            named[name] = value
        return named


class Composite(Operation):
    """An operation that is composed of others; see the module's docstring and `Operation`."""

    kind = "composite"

    def __call__(self, *args: Any, **static: Any) -> Any:
        args = self._arrays(args, static)
        static = self._renamed(static)
        most = self.forward.__code__.co_argcount
        if 0 < most < len(args):
            mend = f": arrays come in a list, {self.name}([a, b])" * (self.inputs == ("arrays",))
            raise TypeError(f"{self.name}{self.__signature__} takes {most}, got {len(args)} arguments{mend}")
        try:
            if any(map(is_output_and_state, args)):
                raise TypeError(OUTPUT_AND_STATE)
            return self.forward(*map(by_position, args), **static)
        except (ValueError, TypeError, IndexError) as error:
            raise again(error, self.named(error)) from error
        except RuntimeError as error:
            if type(error) is not RuntimeError:
                raise  # RecursionError and the like speak for themselves
            raise RuntimeError(self.named(error)) from error


def _starred(code: CodeType) -> str:
    """The name of the parameter that takes any number of arguments; an underscore if there is none."""
    number = code.co_argcount + code.co_kwonlyargcount
    return code.co_varnames[number] if code.co_flags & inspect.CO_VARARGS else "_"


class _Keeps(dict[int, Keep]):
    """By sets of inputs on the tape, which arrays their rules will read; sets that have rules alone."""

    def __init__(self, primitive: Primitive) -> None:
        super().__init__()
        self._primitive = primitive

    def __missing__(self, mask: int) -> Keep:
        name, inputs, rules = self._primitive.name, self._primitive.inputs, self._primitive.vjps
        if not rules:
            raise TypeError(f"{name} has no gradient rule yet: give it one with {name}.defvjp(...)")
        which = next(x for k, x in enumerate(inputs) if mask >> k & 1 and rules[k] is None)
        raise TypeError(
            f"{name} is not differentiable in its argument {which!r}, which requires gradients, and would "
            f"lose them without a word: pass {which}.detach() if that is meant; a condition may be a "
            f"comparison, as in x > 0"
        )


class Primitive(Operation):
    """A differentiable operation on plain arrays; see the module's docstring, and `Operation` for the rest.

    Attributes
    ----------
    vjps : tuple of (callable or None)
        One rule per array input; None where the input has no gradient (masks, indices). For several outputs
        rules get a list of cotangents, None where an output was not used.
    joint : callable or None
        For operations on any number of arrays: one rule that returns all their cotangents, in something
        that is indexed by the input's number.
    keeps : dict
        For each set of inputs on the tape (a bit mask), which arrays their rules will read.
    keeps_all : bool
        Whether the joint rule reads the arrays; of those that have one.
    view : bool
        Whether the output may share memory with an input: what changes the one in place changes the other.
    latest : tuple
        The shape of the last output that was recorded; for several outputs, their shapes and their dtypes.
        Entries alike share one tuple: a long tape of small ones is then a fifth less to hold and to visit.
    """

    kind = "primitive"

    def __init__(self, forward: Callable[..., Any], *, view: bool = False, **declared: Any) -> None:
        super().__init__(forward, **declared)
        self.variadic = bool(forward.__code__.co_flags & inspect.CO_VARARGS)
        if not self.inputs and not self.variadic:
            raise TypeError(
                f"primitive {self.name} has no array inputs: write the parameters that are arrays before a "
                f"slash, as in def {self.name}(x, /, axis=0)"
            )
        self.vjps: tuple[Rule | None, ...] = ()
        self.joint: Rule | None = None
        self.keeps: dict[int, Keep] = _Keeps(self)
        self.keeps_all: bool
        self.view = view
        self.latest: tuple[Any, ...] = ()

    @staticmethod
    def _required(forward: Callable[..., Any]) -> int:
        return forward.__code__.co_argcount - len(forward.__defaults__ or ())

    def _public_signature(self) -> inspect.Signature:
        signature = inspect.signature(self.forward)
        if not self.variadic:
            return signature
        arrays = inspect.Parameter("arrays", inspect.Parameter.POSITIONAL_ONLY)
        rest = [
            p.replace(kind=p.POSITIONAL_OR_KEYWORD)
            for p in signature.parameters.values()
            if p.kind is p.KEYWORD_ONLY
        ]
        return signature.replace(parameters=[arrays, *rest])

    def defvjp(self, *rules: Rule | None, joint: Rule | None = None) -> None:
        """Attach one rule per array input, or one joint rule for an operation on any number of arrays.

        Parameters
        ----------
        *rules : callable or None
            ``rule(g, y, *inputs, **static)`` gives the cotangent of its input; None for an input without a
            gradient (a mask, an index): one that requires gradients is refused there.
        joint : callable
            ``joint(g, y, *inputs, **static)`` gives the cotangents of all inputs, in a list. It reads all
            inputs, or none if their parameter is called ``*_inputs``; the output it does not get.

        Raises
        ------
        TypeError
            For another number of rules than inputs, and rules with too few parameters.
        """
        if joint is not None:
            if rules:
                raise TypeError(
                    f"{self.name} got a joint rule and {len(rules)} others: pass the one or the others"
                )
            code = self._code(joint, "joint rule", "(g, y, *inputs)")
            if not code.co_flags & inspect.CO_VARARGS or code.co_argcount < 2:
                raise TypeError(
                    f"the joint rule of {self.name} takes (g, y, *inputs), the inputs with a star, and "
                    f"static arguments by name"
                )
            self.vjps, self.joint = (), joint
            self.keeps_all = not _starred(code).startswith("_")
            return
        wanted = f"(g, y, {', '.join(self.inputs)})"
        if len(rules) != len(self.inputs):
            raise TypeError(
                f"{self.name} has {len(self.inputs)} array inputs, got {len(rules)} rules: pass one "
                f"for each of {', '.join(self.inputs)}, and None where there is no gradient"
            )
        for name, rule in zip(self.inputs, rules, strict=True):
            if rule is None:
                continue
            code = self._code(rule, f"rule for {name!r}", wanted)
            if code.co_argcount < len(self.inputs) + 2 and not code.co_flags & inspect.CO_VARARGS:
                raise TypeError(
                    f"the rule of {self.name} for {name!r} takes the cotangent, the output and the inputs, "
                    f"{wanted}, and then static arguments; it has too few parameters"
                )
        self.vjps, self.joint = rules, None
        self.keeps.clear()
        reads = [rule and self._reads(rule) for rule in rules]
        for mask in range(1, 1 << len(rules)):
            read = [r for k, r in enumerate(reads) if mask >> k & 1]
            if None not in read:
                kept = [any(column) for column in zip(*read, strict=True)]
                self.keeps[mask] = Keep(tuple(kept[1:]), kept[0])

    def _code(self, rule: Any, which: str, wanted: str) -> CodeType:
        if not inspect.isfunction(rule):
            raise TypeError(
                f"the {which} of {self.name} must be a Python function {wanted}, whose parameters' names "
                f"say what is kept for it, got {rule!r}: wrap it in a lambda"
            )
        return rule.__code__

    def kept(self, mask: int, count: int) -> Keep:
        """Which of ``count`` arrays the rules will read, and whether the output, for inputs on the tape."""
        return Keep((self.keeps_all,) * count, False) if self.joint is not None else self.keeps[mask]

    def _reads(self, rule: Any) -> list[bool]:
        """Which of (output, *inputs) the rule reads, by its parameters' names."""
        code, number = rule.__code__, len(self.inputs) + 2
        names = [*code.co_varnames[: code.co_argcount], *[_starred(code)] * number]
        return [not name.startswith("_") for name in names[1:number]]

    def __call__(self, *args: Any, **static: Any) -> Any:
        """Apply to arrays, giving arrays; or hand over to the operand type that knows better (a tensor)."""
        inputs = args
        if static or not args or len(args) != self.arity:
            inputs, static = self.bind(args, static)
        for operand in inputs:
            takes_over = getattr(type(operand), "__primitive__", None)
            if takes_over is not None:
                return takes_over(self, inputs, static)
        try:
            return self.forward(*map(_operand, inputs), **static)
        except (ValueError, TypeError, IndexError) as error:
            raise self.explain(error, inputs, static) from error

    def output(self, out: Any) -> np.ndarray:
        """What forward returned where that is no array: a number is one; anything else is refused."""
        if isinstance(out, (tuple, list)):
            raise TypeError(
                f"{self.name} returned a {type(out).__name__} of {len(out)}: declare it with "
                f"@primitive(multiple=True) if those are several outputs, else return one array"
            )
        if hasattr(out, "mask") and isinstance(out, np.ndarray):
            raise TypeError(
                f"{self.name} gave a masked array, whose mask would be lost: fill it first, with "
                f"a.filled(0), and pass the mask on its own"
            )
        array = np.asarray(out)
        if array.dtype.kind not in "biufc":
            mend = "does it end in return?" if out is None else "were all its operands numbers?"
            raise TypeError(f"{self.name} returned {brief(out)}, not an array of numbers: {mend}")
        return array

    def outputs(self, out: Any) -> Any:
        """What forward returned, if that is several arrays; anything else is refused."""
        if not isinstance(out, (tuple, list)):
            raise TypeError(
                f"{self.name} is declared with multiple=True, and returned {brief(out)}: return a tuple of "
                f"arrays, or leave multiple=True out"
            )
        return out

    def bind(self, args: tuple[Any, ...], static: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Tell array inputs from static arguments, as Python would for the public signature."""
        arity = self.arity
        # The usual ways at once: all arrays by position, static arguments by position, by name or both.
        if arity and self.static_set.issuperset(static):
            if len(args) == arity:
                return args, static
            both = dict(zip(self.static_names, args[arity:], strict=False))
            both.update(static)
            if len(both) == len(args) - arity + len(static):  # else one is missing, beyond, or given twice
                return args[:arity], both
        named = dict(static)
        if self.variadic:
            if not args or not isinstance(args[0], Sequence):
                got = type(args[0]).__name__ if args else "nothing"
                raise TypeError(f"{self.name} takes a list or tuple of arrays first, got {got}")
            inputs, rest = tuple(args[0]), args[1:]
            if not inputs:
                raise ValueError(f"{self.name} needs at least one array, got an empty sequence")
        else:
            args = self._arrays(args, named)
            inputs, rest = args[:arity], args[arity:]
        if len(rest) > len(self.static_names):
            raise TypeError(f"{self.name}{self.__signature__} got {len(rest)} arguments beyond its arrays")
        for name, value in zip(self.static_names, rest, strict=False):
            if name in named:
                raise TypeError(f"{self.name}{self.__signature__} got {name!r} twice")
            named[name] = value
        return inputs, self._renamed(named)

    def explain(self, error: Exception, inputs: Sequence[Any], static: dict[str, Any]) -> Exception:
        """The same error with the operation, the operands' shapes and the cause in its text."""
        shown = ", ".join([*map(brief, inputs[:8]), *(f"{k}={brief(v)}" for k, v in static.items())])
        return again(error, f"{self.name}({shown}): {mended(str(error)).removeprefix(f'{self.name}: ')}")
