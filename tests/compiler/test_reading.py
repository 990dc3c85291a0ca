"""What code says of what it reads, and what no name in it says: classes, keys, names that are made."""

import gc
import importlib.util
import pathlib
import string
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from comparing import Cell, X, assert_same, called, scanned

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import reading

FACTOR = 0.5
DEFAULT = types.SimpleNamespace(**{"k": 1})  # a name that no code has


def set_factor(cell: Any) -> None:
    globals()["FACTOR"] = 2.0


def set_extra(cell: Any) -> None:
    globals()["EXTRA"] = 2.0


class Mode:
    def __init__(self, kind: str = "tanh") -> None:
        self.kind = kind

    def __str__(self) -> str:
        return self.kind


def attribute(name: str, value: Any) -> Callable[[Any], None]:
    return lambda cell: setattr(cell.d, name, value)


def inner_state() -> Any:
    class Inner:
        def __init__(self) -> None:
            self.start = 0.3

        def initial_state(self, batch: int) -> Any:
            return tg.tensor(np.full((batch, 1), self.start))

        def __call__(self, x: Any, h: Any) -> Any:
            return h + x, h + x

    def step(cell: Any, x: Any) -> Any:
        return x * nn.scan(cell.d, x[:, :, None], return_sequences=False, return_state=False)

    return step, Inner, attribute("start", -0.9)


def overridden() -> Any:
    class Formatter(string.Formatter):
        def get_value(self, key: Any, args: Any, kwargs: Any) -> Any:
            return FACTOR

    return lambda c, x: x * float(c.d.format("{0}")), Formatter, set_factor


ACTIVATIONS = {"tanh": np.tanh, "sin": np.sin}


def text() -> Any:
    return lambda c, x: ACTIVATIONS[f"{c.d}"](x), Mode, attribute("kind", "sin")


def text_by_str() -> Any:
    return lambda c, x: ACTIVATIONS[str(c.d)](x), Mode, attribute("kind", "sin")


def text_by_percent() -> Any:
    form = "%10s"
    return lambda c, x: ACTIVATIONS[(form % c.d).strip()](x), Mode, attribute("kind", "sin")


def field_of_text() -> Any:
    field = "{0.gain}"
    return lambda c, x: x * float(field.format(c.d)), lambda: Unnamed("gain", 2), attribute("gain", 3)


class Unnamed:
    """An object with an attribute whose name stands in no code."""

    def __init__(self, name: str, value: Any) -> None:
        vars(self)[name] = value


def equal_namespaces() -> Any:
    def make() -> Any:
        return types.SimpleNamespace(**vars(DEFAULT))

    return lambda c, x: x if c.d == DEFAULT else -x, make, lambda c: vars(c.d).update(k=7)


def one_letter() -> Any:
    class Own(Mode):
        def _tanh(self, x: Any) -> Any:
            return np.tanh(x) * FACTOR

    return lambda c, x: getattr(c.d, f"_{c.d.kind}")(x), Own, set_factor


def of_data() -> Any:
    class Own(Mode):
        end = "fold"

        def twofold(self, x: Any) -> Any:
            return x * FACTOR

    return lambda c, x: getattr(c.d, c.d.kind + c.d.end)(x), lambda: Own("two"), set_factor


def numbered() -> Any:
    class Own:
        k1 = 2.0

    return (
        lambda c, x: x * getattr(c.d, f"k{len(c.d.__doc__ or 'a')}"),
        Own,
        lambda c: setattr(Own, "k1", 3.0),
    )


class Wide:
    def __call__(self, x: Any) -> Any:
        return 3 * x


def other_class() -> Any:
    class Narrow:
        def __call__(self, x: Any) -> Any:
            return x

    return lambda c, x: c.d(x), Narrow, attribute("__class__", Wide)


def other_bases() -> Any:
    class Narrow:
        def __call__(self, x: Any) -> Any:
            return x

    class Own(Narrow):
        pass

    return lambda c, x: c.d(x), Own, lambda c: setattr(Own, "__bases__", (Wide,))


def no_slots() -> Any:
    class Own:
        __slots__ = ()

        def scaled(self, x: Any) -> Any:
            return x * FACTOR

    return lambda c, x: c.d.scaled(x), Own, set_factor


def made_of_a_type() -> Any:
    class Gate:
        def __init__(self) -> None:
            self.k = FACTOR

    return lambda c, x: x * type(c.d)().k, Gate, set_factor


def made_by_a_class_method() -> Any:
    class Gate:
        def __init__(self) -> None:
            self.k = FACTOR

        @classmethod
        def made(cls) -> Any:
            return cls()

    return lambda c, x: x * c.d.made().k, Gate, set_factor


def made_by_new() -> Any:
    class Gate:
        def __new__(cls) -> Any:
            gate = object.__new__(cls)
            gate.k = FACTOR
            return gate

    return lambda c, x: x * Gate().k, Gate, set_factor


def scaled(x: Any) -> Any:
    return x * FACTOR


def function_as_key() -> Any:
    return lambda c, x: sum(f(x) * k for f, k in c.d.items()), lambda: {scaled: 0.5}, set_factor


def object_in_a_key() -> Any:
    def change(cell: Any) -> None:
        ((key, _),) = cell.d
        key.gain = 3.0

    make = lambda: {(Unnamed("gain", 2.0), "a"): 0.5}  # noqa: E731
    return lambda c, x: sum(x * key.gain * k for (key, _), k in c.d.items()), make, change


def global_of_later() -> Any:
    def step(cell: Any, x: Any) -> Any:
        try:
            return x * EXTRA  # type: ignore[name-defined]
        except NameError:
            return x

    return step, Mode, set_extra


def attribute_of_a_function() -> Any:
    def own(x: Any) -> Any:
        return x * getattr(own, "k", 0.5)

    return lambda c, x: c.d(x), lambda: own, attribute("k", 2.0)


def attribute_of_a_module() -> Any:
    module = types.ModuleType("own_module")
    return lambda c, x: x * getattr(module, "k", 0.5), Mode, lambda c: setattr(module, "k", 2.0)


def made_by_a_module() -> Any:
    module, values = types.ModuleType("own_module"), {"k": 0.5}
    module.__getattr__ = lambda name: values[name]  # type: ignore[method-assign]
    return lambda c, x: x * module.k, Mode, lambda c: values.update(k=2.0)


CASES = [
    inner_state, overridden, text, text_by_str, text_by_percent, field_of_text, equal_namespaces,
    one_letter, of_data, numbered, other_class, other_bases, no_slots, made_of_a_type,
    made_by_a_class_method, made_by_new, function_as_key, object_in_a_key, global_of_later,
    attribute_of_a_function, attribute_of_a_module, made_by_a_module,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_seen(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "FACTOR", FACTOR)
    monkeypatch.setitem(globals(), "EXTRA", 1.0)
    del globals()["EXTRA"]
    step, make, change = case()
    plain, compiled = Cell(called(step), d=make()), tg.compile(Cell(called(step), d=make()), backend="numpy")
    assert_same(plain, compiled, scanned, [X])
    before = scanned(compiled, X)[0].numpy()
    for cell in (plain, compiled):
        change(cell)
    assert np.abs(scanned(plain, X)[0].numpy() - before).max() > 1e-3
    assert_same(plain, compiled, scanned, [X])
    assert "Cell: 2 sequences" in str(compiled.plan())


NAMES: list[tuple[Any, bool]] = [
    (lambda o: getattr(o, "a"), False),  # noqa: B009
    (lambda o: getattr(o, "a", None), False),
    (lambda o: getattr(o.b(1)[0], "a", o + 2 * o.c(o)), False),
    (lambda o: getattr(getattr(o, "a"), "b", getattr(o, "c")), False),  # noqa: B009
    (lambda o: [getattr(p, "a")(0) for p in o] + [hasattr(o, "b" + "c")], False),  # noqa: B009
    (lambda o: o.getattr("a"), True),
    (lambda o, n: getattr(o, n), True),
    (lambda o, n: getattr(o, n, "a"), True),
    (lambda o, n: getattr(o, f"_{n}"), True),
    (lambda o, n: getattr(o, "a" + n, 1), True),
    (lambda o, n: getattr(o, "a".join(n), 1), True),
    (lambda o, n: getattr(o, "a" if n else "b"), True),
    (lambda o, n: getattr(o, n or "b"), True),
    (lambda o, n: getattr(o, "a")(getattr(o, n)), True),  # noqa: B009
    (lambda o, n: getattr(getattr(o, n), "a"), True),  # noqa: B009
    (lambda o, n: [*map(getattr, o, n)], True),
    (lambda *o: getattr(*o), True),
    (lambda o: vars(o), True),
    (lambda o: [lambda n: getattr(o, n)], True),
]


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_names_that_are_made_are_told_from_names_that_are_written(number: int) -> None:
    function, made = NAMES[number]
    assert reading.computes_names(function.__code__) is made


def test_a_module_may_be_called_like_one_of_the_standard_library(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "this.py"
    path.write_text("GAIN = 0.5\n\ndef scaled(x):\n    return x * GAIN\n")
    spec = importlib.util.spec_from_file_location("this", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "this", module)
    reading._is_library.cache_clear()
    try:
        cells = [Cell(called(lambda c, x: module.scaled(x))) for _ in range(2)]
        plain, compiled = cells[0], tg.compile(cells[1], backend="numpy")
        assert_same(plain, compiled, scanned, [X])
        module.GAIN = 2.0  # type: ignore[attr-defined]
        assert_same(plain, compiled, scanned, [X])
    finally:
        reading._is_library.cache_clear()
    assert all(map(reading.is_library, ("code", "builtins", "collections.abc", "math", "numpy.linalg")))


def test_what_hides_what_it_holds() -> None:
    assert reading.is_opaque(np.frompyfunc(lambda x: x * FACTOR, 1, 1))
    assert reading.is_opaque(ValueError(1.0))
    assert not reading.is_opaque(np.add)


def test_classes_are_let_go() -> None:
    def made() -> Any:
        class Own(Cell):
            pass

        cell = Own(called(lambda c, x: x))
        scanned(tg.compile(cell, backend="numpy"), X)
        assert type(tg.compile(Own(called(lambda c, x: x)), backend="numpy")) is type(cell)
        return weakref.ref(Own)

    kind = made()
    gc.collect()
    assert kind() is None
