"""What a cell may hold and reach without harm, and what is given up."""

import dataclasses
import datetime
import enum
import functools
import io
import logging
import pathlib
import re
import threading
import types
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest
from comparing import Cell, X, assert_same, called, drawn, scanned

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import surroundings, tracing


class Config(NamedTuple):
    gain: Any


class Kinds(enum.Enum):
    WIDE = 2.0


@dataclasses.dataclass(frozen=True)
class Settings:
    gain: float = 2.0
    name: str = dataclasses.field(default="a", metadata={"unit": "V"})


class Cached(Cell):
    @functools.cached_property
    def eye(self) -> Any:
        return np.eye(3)


def logged() -> Any:
    """A logger that writes into a file."""
    logger = logging.getLogger("a")
    logger.handlers = [logging.StreamHandler(io.StringIO())]
    return logger


MISSING, KEPT = object(), Settings()
HARMLESS: dict[str, Any] = {
    "named tuple": (lambda c, x: x * c.d.gain, lambda: Config(2.0)),
    "enumeration": (lambda c, x: x * c.d.value, lambda: Kinds.WIDE),
    "dataclass": (lambda c, x: x * getattr(c.d, "gain"), Settings),  # noqa: B009
    "mapping": (lambda c, x: x * c.d["gain"], lambda: types.MappingProxyType({"gain": 2.0})),
    "sentinel": (lambda c, x: x if c.d is MISSING else -x, lambda: MISSING),
    "union": (lambda c, x: x if c.d else -x, lambda: int | None),
    "path": (lambda c, x: x * len(str(c.d)), lambda: pathlib.Path("ab")),
    "date": (lambda c, x: x * c.d.year, lambda: datetime.date(2, 1, 1)),
    "pattern": (lambda c, x: x if c.d.match("a") else -x, lambda: re.compile("a")),
    "lock": (lambda c, x: x if not c.d.acquire(blocking=False) else (c.d.release(), x)[1], threading.Lock),
    "lock of a condition": (lambda c, x: x, threading.Condition),
    "module": (lambda c, x: c.d.tanh(x), lambda: np),
    "limits": (lambda c, x: x * c.d.bits, lambda: np.finfo("float32")),
    "logger": (lambda c, x: x if c.d else -x, lambda: logged()),
    "reference": (lambda c, x: x * c.d().gain, lambda: weakref.ref(KEPT)),
    "file that nobody reads": (lambda c, x: x, io.StringIO),
    "iterator that nobody reads": (lambda c, x: x, lambda: iter([1])),
    "generator that nobody reads": (lambda c, x: x, lambda: (k for k in "a")),
    "memory that nobody reads": (lambda c, x: x, lambda: memoryview(b"a")),
    "function of C's": (lambda c, x: x if callable(c.d) else -x, lambda: np.random.default_rng(0).random),
    "memory of a function": (lambda c, x: x * c.d(2), lambda: functools.lru_cache(abs)),
    "choice by type": (lambda c, x: c.d(x), lambda: functools.singledispatch(lambda x: 2 * x)),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_does_no_harm_is_compiled(kind: str) -> None:
    step, make = HARMLESS[kind]
    value = make()
    plain, compiled = Cell(called(step), d=value), tg.compile(Cell(called(step), d=value), backend="numpy")
    assert_same(plain, compiled, scanned, [X])
    assert "Cell: 2 sequences" in str(compiled.plan())


def test_names_of_attributes_are_no_names_of_globals() -> None:
    """A script's own T and w, beside a cell that reads x.T and its w."""
    cell = Cell(called(lambda c, x: (x.T * c.gain).T), gain=2.0)
    function = cell.step_function
    own = {**globals(), "T": iter([1]), "w": cell.w}
    step = types.FunctionType(function.__code__, own, "step", None, function.__closure__)
    around = surroundings.Surroundings(Cell(step, gain=2.0))
    assert around.hidden() is None
    assert around.names == ["w"]
    assert not {"T", "w"}.intersection(watched.name for watched in around._others)


def test_what_is_reached_in_two_ways_is_watched() -> None:
    holder, model = types.SimpleNamespace(gain=np.ones(3)), types.SimpleNamespace(head=None)
    model.head = types.SimpleNamespace(gain=np.ones(3))
    shared = {"alpha": np.ones(3)}

    def term(c: Any, x: Any) -> Any:
        for array in c.tables.values():
            x = x * array
        return x * c.used.gain * c.part.gain

    def make() -> Any:
        return Cell(
            called(term), unread=shared, tables=shared, other=holder, used=holder, model=model,
            part=model.head, data=np.ones((5, 3)),
        )  # fmt: skip

    plain, compiled = make(), tg.compile(make(), backend="numpy")
    for array in (holder.gain, model.head.gain, shared["alpha"]):
        for _ in range(2):
            assert_same(plain, compiled, scanned, [X])
        array[...] = 3.0
    assert_same(plain, compiled, scanned, [X])
    assert "data" not in [watched.name for watched in compiled._tg_engine.around._others]


def test_tensors_are_told_apart_by_name() -> None:
    """Of equal shapes all: set anew in another order, or tied to another, they are still themselves."""

    def plain(cell: Any, x: Any, h: Any) -> Any:
        return np.tanh(x @ cell.a + 2 * h @ cell.b + 3 * x @ cell.c)

    def change(cell: Any, name: str, other: str) -> None:
        value = getattr(cell, other)
        delattr(cell, name)
        setattr(cell, name, value)

    def parameter(seed: int) -> Any:
        return nn.Parameter(drawn(3, 3, seed=seed), "float64")

    a, b = parameter(1), parameter(2)
    cells = [Cell(plain, a=a, b=b, c=a) for _ in range(2)]
    composed, compiled = cells[0], tg.compile(cells[1], backend="numpy")
    for name, other in [("a", "a"), ("b", "b"), ("c", "b"), ("a", "c"), ("b", "a")]:
        assert_same(composed, compiled, scanned, [X])
        for cell in cells:
            change(cell, name, other)
    assert_same(composed, compiled, scanned, [X])


class Pair(NamedTuple):
    h: Any
    c: Any


def test_states_of_another_structure_are_another_step() -> None:
    def cell(x: Any, state: Any) -> Any:
        h = np.tanh(x + state[0]) * (2.0 if isinstance(state, Pair) else 0.5)
        return h, Pair(h, state[1]) if isinstance(state, Pair) else (h, state[1])

    compiled, zeros = tg.compile(cell, backend="numpy"), tg.tensor(np.zeros((2, 3)))
    for state in ((zeros, zeros), Pair(zeros, zeros)):
        wanted = nn.scan(cell, X, state)[0].numpy()
        np.testing.assert_allclose(nn.scan(compiled, X, state)[0].numpy(), wanted, rtol=1e-12)


def test_an_attribute_that_never_stops_changing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = []
    monkeypatch.setattr(
        "tinygrad_rnn.compiler.engine.trace", lambda *a: traced.append(a) or tracing.trace(*a)
    )
    step = called(lambda c, x: x * c.alpha)
    plain, compiled = Cell(step), tg.compile(Cell(step), backend="numpy")
    for k in range(8):
        plain.alpha = compiled.alpha = 0.5 + k
        assert_same(plain, compiled, scanned, [X])
    plain.alpha = compiled.alpha = 0.25
    with pytest.warns(RuntimeWarning, match="alpha has had 8 values by now, .*: make it a tensor"):
        got = scanned(compiled, X)[0].numpy()
    np.testing.assert_array_equal(got, scanned(plain, X)[0].numpy())
    compiled.alpha = 1.5
    scanned(compiled, X)
    assert "looped" in str(compiled.plan())  # one of the eight
    assert len(traced) == 8


def test_what_never_rests_is_named_among_what_does() -> None:
    cell = tg.compile(Cell(called(lambda c, x: x * c.alpha if c.training else x), alpha=1.0), backend="numpy")
    for k in range(8):
        cell.train(k % 2 == 0)
        cell.alpha = 1.0 + k
        scanned(cell, X)
    cell.train(k % 2 == 1)
    with pytest.warns(RuntimeWarning, match="alpha has had 8 values by now"):
        scanned(cell, X)


def test_what_no_code_names_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither walked through, nor copied, nor compiled for."""
    traced = []
    monkeypatch.setattr(
        "tinygrad_rnn.compiler.engine.trace", lambda *a: traced.append(a) or tracing.trace(*a)
    )
    step = called(lambda c, x: x * c.used.gain)
    words = {f"word{k}": k for k in range(1000)}
    used = types.SimpleNamespace(gain=2.0, unused=Stuck())
    cell = tg.compile(Cell(step, used=used, vocabulary=words, losses=[], stuck=Stuck()), backend="numpy")
    for epoch in range(3):
        cell.epoch = epoch
        cell.losses.append(scanned(cell, X)[0].sum().item())
    assert len(traced) == 1
    around = cell._tg_engine.around
    assert not [w for w in (*around._others, *around._tables) if len(getattr(w, "keys", ())) == len(words)]
    used.gain = 3.0
    assert_same(Cell(step, used=used), cell, scanned, [X])


def test_what_the_first_step_caches_is_there_for_the_next_call() -> None:
    compiled = tg.compile(Cached(called(lambda c, x: x @ c.eye)), backend="numpy")
    with pytest.warns(RuntimeWarning, match="its step changes eye, .*if only this once, the next call"):
        scanned(compiled, X)
    assert_same(Cached(called(lambda c, x: x @ c.eye)), compiled, scanned, [X])


class Stuck:
    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("there is one of me")


class Link:
    following: Any = None


def chained(length: int) -> Any:
    first = link = Link()
    for _ in range(length):
        link.following = Link()
        link = link.following
    return first


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Stuck, "it cannot be copied, to be tried out: TypeError: there is one of me"),
        (lambda: chained(1000), "it cannot be copied, to be tried out: RecursionError"),
    ],
)
def test_what_cannot_be_copied_or_looked_through_is_composed(make: Any, reason: str) -> None:
    step = called(lambda c, x: x if hasattr(c.d, "following") else -x)
    cell = tg.compile(Cell(step, d=make()), backend="numpy")
    with pytest.warns(RuntimeWarning, match=reason):
        y, _ = scanned(cell, X)
    np.testing.assert_array_equal(y.numpy(), scanned(Cell(step, d=make()), X)[0].numpy())
