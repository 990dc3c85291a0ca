"""What recording depends on: whether it is on, which named scope is open, and whether it is watched."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable
from contextlib import ContextDecorator
from contextvars import ContextVar
from operator import index
from types import TracebackType
from typing import Any, NoReturn, TypeVar


class State:
    """What recording depends on. Never changed, only replaced.

    Attributes
    ----------
    recording : bool
    scope : Scope or None
        The innermost open scope.
    watch : Watch or None
        Looks at every entry and cotangent: ``tg.detect_anomaly()``, an ``Observer``.
    """

    __slots__ = ("outer", "recording", "scope", "watch")
    outer: State
    """What a block has replaced, and what its end puts back."""

    def __init__(self, recording: bool, scope: Scope | None, watch: Any = None) -> None:
        self.recording = recording
        self.scope = scope
        self.watch = watch


context: ContextVar[State] = ContextVar("tinygrad_rnn_state", default=State(True, None))  # noqa: B039 (never mutated)
current_state: Callable[[], State] = context.get
"""The state of this thread or asyncio task; others do not see it."""


Function = TypeVar("Function", bound=Callable[..., Any])


class Kind(ABCMeta):
    """The type of `Replaced` and its subclasses: says what to write in place of ``with tg.no_grad:``."""

    def __enter__(cls) -> NoReturn:
        raise TypeError(f"with {cls.__name__}: lacks its parentheses; write with {cls.__name__}(...):")

    def __exit__(cls, *_: Any) -> None:
        raise AssertionError("there only for Python to find it")


class Replaced(ContextDecorator, metaclass=Kind):
    """A context manager, or a decorator, inside which the state is another one.

    It can be nested, and one object can be used by several threads and tasks: what it replaced is remembered
    in their states, not in itself.
    """

    def __init__(self, *given: Any) -> None:
        if given:
            name = type(self).__name__
            raise TypeError(
                f"{name}() takes no arguments, got {given[0]!r}; a decorator has parentheses too: @{name}()"
            )

    def __call__(self, function: Function) -> Function:
        from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction

        if isgeneratorfunction(function) or iscoroutinefunction(function) or isasyncgenfunction(function):
            raise TypeError(
                f"{type(self).__name__} cannot decorate {function.__name__}: a generator or coroutine "
                f"function returns before its body runs; use a with block inside it"
            )
        return super().__call__(function)

    def _next(self, now: State) -> State:
        raise AssertionError("subclasses say which state is next")

    def __enter__(self) -> Any:
        now = context.get()
        state = self._next(now)
        state.outer = now
        context.set(state)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        context.set(context.get().outer)


class no_grad(Replaced):  # noqa: N801 (the field's name for it)
    """Inside ``with tg.no_grad():`` nothing is recorded, and results do not require gradients."""

    def _next(self, now: State) -> State:
        return State(False, now.scope, now.watch)


class enable_grad(Replaced):  # noqa: N801
    """Record again inside a ``no_grad`` block."""

    def _next(self, now: State) -> State:
        return State(True, now.scope, now.watch)


class Scope:
    """A named region of the tape: a module's call, or one time step of a loop.

    Attributes
    ----------
    name : str
    parent : Scope or None
    step : int or None
        The time step, where the scope is one.
    owner : object or None
        What is called there, a module or a cell: diagrams ask it what it is and how its gates are named.
    """

    __slots__ = ("name", "owner", "parent", "step")

    def __init__(self, name: str, parent: Scope | None, step: int | None, owner: Any = None) -> None:
        self.name = name
        self.parent = parent
        self.step = step
        self.owner = owner

    def path(self) -> tuple[Scope, ...]:
        """From the outermost scope to this one."""
        found: list[Scope] = []
        at: Scope | None = self
        while at is not None:
            found.append(at)
            at = at.parent
        return tuple(reversed(found))

    def label(self) -> str:
        """The name, and the number of the time step where the name does not say it."""
        tail = "" if self.step is None else f"={self.step}"
        return self.name if self.name.endswith(tail) else self.name + tail

    def __str__(self) -> str:
        return "/".join([s.label() for s in self.path()])


class scope(Replaced):  # noqa: N801
    """``with tg.scope("encoder"):`` names what is recorded inside, in printed tapes and in diagrams.

    Parameters
    ----------
    name : str
    step : int, optional
        Marks the scope as time step number ``step`` of a loop; diagrams draw steps in their order.
    owner : object, optional
        The module or the cell that is called inside. Diagrams call it by its class, and its gates by its
        ``gate_names``, if it has them.
    """

    def __init__(self, name: str, step: int | None = None, owner: Any = None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"scope takes a name first, as in scope('encoder'), got {name!r}")
        if step is not None and not isinstance(step, int):
            if not hasattr(step, "__index__"):
                raise TypeError(
                    f"scope {name!r}: step is the number of a time step, 0 the first; got {step!r}"
                )
            step = index(step)
        self._name = name
        self._step = step
        self._owner = owner

    def _next(self, now: State) -> State:
        return State(now.recording, Scope(self._name, now.scope, self._step, self._owner), now.watch)
