"""What a step may depend on: whatever of it has changed since the last call is seen."""

import collections
import functools
import operator
import sys
import threading
import types
import weakref
from typing import Any

import numpy as np
import pytest
from comparing import X, assert_same, called, drawn, scanned

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import surroundings, tracing
from tinygrad_rnn.compiler.watching import Numbers
from tinygrad_rnn.ops.registry import REGISTRY


class Cell(nn.Module):
    """A cell whose step is a function that is given to it."""

    output_size = 3
    scale = 2.0

    def __init__(self, step: Any, **attributes: Any) -> None:
        self.w = nn.Parameter(drawn(3, 3) * 0.5, "float64")
        self.step_function = step
        for name, value in attributes.items():
            setattr(self, name, value)

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, 3)))

    def helper(self, x: Any) -> Any:
        return x * FACTOR

    def forward(self, x: Any, h: Any) -> Any:
        h = self.step_function(self, x, h)
        return h, h


FACTOR = 2.0
WEIGHT = tg.tensor(drawn(3, 3, seed=5))
CONFIG = types.ModuleType("config")
CONFIG.gain = 2.0  # type: ignore[attr-defined]
SETTINGS = types.SimpleNamespace(gain=2.0)
FLAGS = tg.tensor(np.array([True, False, True]))


class Slotted:
    __slots__ = ("gain", "weight")

    def __init__(self) -> None:
        self.gain, self.weight = 2.0, tg.tensor(drawn(3, 3, seed=5))

    def __call__(self, x: Any) -> Any:
        return x @ self.weight * self.gain


SLOTTED = Slotted()


def defaults(cell: Any, x: Any, h: Any, w: Any = WEIGHT, *, v: Any = WEIGHT) -> Any:
    return np.tanh(x @ w + h @ cell.w + x @ v)


def attribute(name: str, value: Any) -> Any:
    return lambda cell: setattr(cell, name, value)


def written(array: Any) -> Any:
    """Other values, in place."""

    def change(cell: Any) -> None:
        array(cell)[...] = drawn(*array(cell).shape, seed=9)

    return change


def once(change: Any) -> Any:
    return lambda cell: change()


def twice(x: Any) -> Any:
    return 2 * x


def changed_global(name: str, value: Any) -> Any:
    return lambda cell: globals().__setitem__(name, value)


class Scaled(type):
    gain = 2.0


class Meta(metaclass=Scaled):
    def __call__(self, x: Any) -> Any:
        return x * type(self).gain


META = Meta()


@tg.primitive
def cubed(x: Any, /) -> Any:
    return x * x * x


cubed.defvjp(lambda g, y, x: g * 3 * x * x)
del REGISTRY["cubed"]  # it is no operation of the package, whose tests go through all of them

REFERRED = np.ones(3)


class Unit(np.ndarray):
    """An array with an attribute."""

    def __array_finalize__(self, other: Any) -> None:
        self.gain = getattr(other, "gain", 2.0)


class Private:
    __slots__ = ("__gain",)

    def __init__(self) -> None:
        self.__gain = 2.0

    def __call__(self, x: Any) -> Any:
        return x * self.__gain

    def change(self) -> None:
        self.__gain = 3.0


class Behind:
    gain = 2.0


class Derived(Behind):
    pass


def helper(x: Any) -> Any:
    return x


helper.gain = 2.0  # type: ignore[attr-defined]
BEHIND, GAINS, SCALES = Behind(), {"a": 2.0}, np.ones(3)
OF_SCALES = operator.attrgetter("own.scales")


def renamed(cell: Any) -> None:
    del cell.d.one
    cell.d.other = True


MODES = {"fast": {"gain": 0.5}, "slow": {"gain": 2.0}}


class Dispatching(Cell):
    """Methods and class attributes by names that are made when the step runs."""

    mode, scale_0, mean_scale = "double", 2.0, 2.0

    def _step_double(self, x: Any) -> Any:
        return x * FACTOR


def imported(cell: Any, x: Any) -> Any:
    import own_settings

    return x * own_settings.gain


def imported_from(cell: Any, x: Any) -> Any:
    from own_package.settings import gain

    return x * gain


class Held(collections.UserDict[str, float]):
    """What a library's methods read: no code here names ``data``."""


def modules_of_its_own() -> dict[str, types.ModuleType]:
    found = {name: types.ModuleType(name) for name in ("own_settings", "own_package", "own_package.settings")}
    for name in ("own_settings", "own_package.settings"):
        found[name].gain = 2.0  # type: ignore[attr-defined]
    found["own_package"].settings = found["own_package.settings"]  # type: ignore[attr-defined]
    return found


CHANGES: dict[str, tuple[Any, Any]] = {
    "module imported in the step": (
        lambda: Cell(called(imported)),
        once(lambda: setattr(sys.modules["own_settings"], "gain", 4.0)),
    ),
    "name imported in the step": (
        lambda: Cell(called(imported_from)),
        once(lambda: setattr(sys.modules["own_package.settings"], "gain", 4.0)),
    ),
    "imported module, another": (
        lambda: Cell(called(imported)),
        once(lambda: sys.modules.update(own_settings=types.SimpleNamespace(gain=5.0))),  # type: ignore[arg-type]
    ),
    "global of a method by a made name": (
        lambda: Dispatching(called(lambda c, x: getattr(c, f"_step_{c.mode}")(x))),
        changed_global("FACTOR", 7.0),
    ),
    "class attribute by a made name": (
        lambda: Dispatching(called(lambda c, x: x * getattr(c, "scale_" + str(0)))),
        once(lambda: setattr(Dispatching, "scale_0", Dispatching.scale_0 + 1)),
    ),
    "class attribute by the end of its name": (
        lambda: Dispatching(called(lambda c, x: x * getattr(c, c.kind[:4] + "_scale")), kind="mean!"),
        once(lambda: setattr(Dispatching, "mean_scale", Dispatching.mean_scale + 1)),
    ),
    "method by a name": (
        lambda: Dispatching(called(lambda c, x: operator.methodcaller("_step_" + c.mode, x)(c))),
        changed_global("FACTOR", 8.0),
    ),
    "event": (
        lambda: Cell(called(lambda c, x: x * (2 if c.d.is_set() else 3)), d=threading.Event()),
        lambda c: c.d.set(),
    ),
    "array by a method of its own": (
        lambda: Cell(called(lambda c, x: x * c.get([0, 1, 2])), get=np.ones(3).take),
        written(lambda c: c.get.__self__),
    ),
    "array by an operator of its own": (
        lambda: Cell(called(lambda c, x: x * c.times(2.0)), times=np.ones(3).__mul__),
        written(lambda c: c.times.__self__),
    ),
    "array by a reference": (
        lambda: Cell(called(lambda c, x: x * c.reference()), reference=weakref.ref(REFERRED)),
        written(lambda c: c.reference()),
    ),
    "array in an object of a library's": (
        lambda: Cell(called(lambda c, x: x * c.d[0]), d=collections.UserList([np.ones(3)])),
        written(lambda c: c.d.data[0]),
    ),
    **{
        f"another of two of a {type(one).__name__}": (
            lambda one=one, other=other: Cell(
                called(lambda c, x: x * (2 if 5.0 in c.mode else 3)), modes=[one, other], mode=one
            ),
            attribute("mode", other),
        )
        for one, other in [([1.0], [5.0]), ((1.0,), (5.0,)), ({1.0}, {5.0})]
    },
    "another of two dictionaries": (
        lambda: Cell(called(lambda c, x: x * c.mode["gain"]), modes=MODES, mode=MODES["fast"]),
        attribute("mode", MODES["slow"]),
    ),
    "key more behind a proxy": (
        lambda: Cell(
            called(lambda c, x: x * sum(c.d.values())), d=types.MappingProxyType(m := {"a": 2.0}), m=m
        ),
        lambda c: c.m.update(b=3.0),
    ),
    "view of a dictionary": (
        lambda: Cell(called(lambda c, x: x * sum(c.d)), d=GAINS.values()),
        once(lambda: GAINS.update(a=GAINS["a"] + 1)),
    ),
    "new class attribute before a base's": (
        lambda: Cell(called(lambda c, x: x * c.d.gain), d=Derived()),
        once(lambda: setattr(Derived, "gain", 3.0)),
    ),
    "class behind a proxy": (
        lambda: Cell(called(lambda c, x: x * c.d.gain), d=weakref.proxy(BEHIND)),
        once(lambda: setattr(Behind, "gain", 4.0)),
    ),
    "attribute of another name": (
        lambda: Cell(
            called(lambda c, x: x * (2.0 if hasattr(c.d, "one") else 3.0)),
            d=types.SimpleNamespace(one=True),
        ),
        renamed,
    ),
    "first key": (
        lambda: Cell(called(lambda c, x: x * c.d.get("k", 2.0)), d={}),
        lambda c: c.d.update(k=3.0),
    ),
    "tensor of integers": (
        lambda: Cell(called(lambda c, x: x[:, c.d.numpy()]), d=tg.tensor(np.array([0, 1, 2]))),
        lambda c: setattr(c.d, "data", np.array([2, 2, 0])),
    ),
    "attribute of a function": (
        lambda: Cell(called(lambda c, x: x * helper.gain)),
        once(lambda: setattr(helper, "gain", helper.gain + 1)),
    ),
    "array by a getter made elsewhere": (
        lambda: Cell(called(lambda c, x: x * OF_SCALES(c)), own=types.SimpleNamespace(scales=SCALES)),
        once(lambda: SCALES.__setitem__(slice(None), drawn(3, seed=SCALES.astype(int)[0] + 3))),
    ),
    "attribute of an array": (
        lambda: Cell(called(lambda c, x: x * c.d.gain), d=np.ones(3).view(Unit)),
        lambda c: setattr(c.d, "gain", 3.0),
    ),
    "private slot": (lambda: Cell(called(lambda c, x: c.d(x)), d=Private()), lambda c: c.d.change()),
    "order of a dictionary": (
        lambda: Cell(called(lambda c, x: x * (2 if next(iter(c.d)) == "a" else 3)), d=dict.fromkeys("abc")),
        lambda c: (c.d.clear(), c.d.update(dict.fromkeys("bac"))),
    ),
    "dictionary of a library's": (
        lambda: Cell(called(lambda c, x: x * c.d["k"]), d=Held(k=2.0)),
        lambda c: c.d.update(k=3.0),
    ),
    "code of a function": (
        lambda: Cell(called(lambda c, x: twice(x))),
        once(lambda: setattr(twice, "__code__", (lambda x: 3 * x).__code__)),
    ),
    "attribute by a name in another": (
        lambda: Cell(called(lambda c, x: x * getattr(CONFIG, c.key)), key="gain"),
        once(lambda: setattr(CONFIG, "gain", 4.0)),
    ),
    "attribute of a metaclass": (
        lambda: Cell(called(lambda c, x: META(x))),
        once(lambda: setattr(Scaled, "gain", 3.0)),
    ),
    "array of an object": (
        lambda: Cell(called(lambda c, x: x * c.d.table), d=types.SimpleNamespace(table=np.ones(3))),
        written(lambda c: c.d.table),
    ),
    "operation": (
        lambda: Cell(lambda c, x, h: c.act(x + h @ c.w), act=tg.tanh),
        attribute("act", tg.sigmoid),
    ),
    "function": (
        lambda: Cell(lambda c, x, h: c.act(x + h @ c.w), act=lambda a: np.tanh(a)),
        attribute("act", lambda a: np.tanh(a) * 2),
    ),
    "of NumPy": (
        lambda: Cell(called(lambda c, x: x * float(c.k)), k=np.float32(2)),
        attribute("k", np.float32(3)),
    ),
    "integer of NumPy": (
        lambda: Cell(called(lambda c, x: x * int(c.k)), k=np.int64(2)),
        attribute("k", np.int64(3)),
    ),
    "type": (lambda: Cell(called(lambda c, x: x * isinstance(c.k, float)), k=1), attribute("k", 1.0)),
    "sign of zero": (lambda: Cell(called(lambda c, x: x * np.copysign(1, c.k)), k=0.0), attribute("k", -0.0)),
    "class attribute": (
        lambda: Cell(called(lambda c, x: x * c.scale)),
        lambda cell: setattr(Cell, "scale", Cell.scale + 1),
    ),
    "method of the class": (
        lambda: Cell(called(lambda c, x: c.helper(x))),
        lambda cell: setattr(Cell, "helper", lambda self, x, f=Cell.helper: f(self, 2 * x)),
    ),
    "global of a method": (lambda: Cell(called(lambda c, x: c.helper(x))), changed_global("FACTOR", 5.0)),
    "global tensor": (
        lambda: Cell(called(lambda c, x: x @ WEIGHT)),
        once(lambda: WEIGHT.assign_(drawn(3, 3, seed=11))),
    ),
    "global of an inner function": (
        lambda: Cell(called(lambda c, x: sum(x * FACTOR for _ in range(2)))),
        changed_global("FACTOR", 6.0),
    ),
    "global function": (
        lambda: Cell(called(lambda c, x: twice(x))),
        changed_global("twice", lambda x: 3 * x),
    ),
    "name of a builtin": (lambda: Cell(called(lambda c, x: abs(x))), changed_global("abs", lambda x: 3 * x)),
    "attribute of a module": (
        lambda: Cell(called(lambda c, x: x * CONFIG.gain)),
        once(lambda: setattr(CONFIG, "gain", 3.0)),
    ),
    "attribute of a namespace": (
        lambda: Cell(called(lambda c, x: x * SETTINGS.gain)),
        once(lambda: setattr(SETTINGS, "gain", 3.0)),
    ),
    "dictionary": (
        lambda: Cell(called(lambda c, x: x * c.d["k"]), d={"k": 2.0}),
        lambda c: c.d.update(k=3.0),
    ),
    "nested list": (
        lambda: Cell(called(lambda c, x: x * c.d[0][0]), d=[[2.0]]),
        lambda c: c.d[0].insert(0, 3.0),
    ),
    "set": (lambda: Cell(called(lambda c, x: x * (2 if 1 in c.d else 3)), d={1}), lambda c: c.d.clear()),
    "deque": (
        lambda: Cell(called(lambda c, x: x * c.d[0]), d=collections.deque([2.0])),
        lambda c: c.d.appendleft(3.0),
    ),
    "tensor in a partial": (
        lambda: Cell(
            functools.partial(lambda c, x, h, w: np.tanh(x @ w + h @ c.w), w=tg.tensor(drawn(3, 3)))
        ),
        lambda c: c.step_function.keywords["w"].assign_(drawn(3, 3, seed=9)),
    ),
    "tensor in a default": (
        lambda: Cell(defaults),
        once(lambda: WEIGHT.assign_(drawn(3, 3, seed=13))),
    ),
    "default": (
        lambda: Cell(defaults),
        once(lambda: setattr(defaults, "__defaults__", (tg.tensor(drawn(3, 3, seed=14)),))),
    ),
    "number in a slot": (
        lambda: Cell(called(lambda c, x: SLOTTED(x))),
        once(lambda: setattr(SLOTTED, "gain", 3.0)),
    ),
    "tensor in a slot": (
        lambda: Cell(called(lambda c, x: SLOTTED(x))),
        once(lambda: SLOTTED.weight.assign_(drawn(3, 3, seed=15))),
    ),
    "array with a NaN": (
        lambda: Cell(called(lambda c, x: x * np.nan_to_num(c.a)), a=np.array([np.nan, 1.0, 2.0])),
        written(lambda c: c.a),
    ),
    "tensor of truth values": (
        lambda: Cell(called(lambda c, x: tg.where(FLAGS, x, 0.0))),
        once(lambda: FLAGS.assign_(np.array([False, True, False]))),
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_is_seen(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, change = CHANGES[kind]
    monkeypatch.setattr(Cell, "scale", Cell.scale)
    monkeypatch.setattr(Cell, "helper", Cell.helper)
    for name in ("FACTOR", "twice"):
        monkeypatch.setitem(globals(), name, globals()[name])
    if "gain" in vars(Derived):
        del Derived.gain
    monkeypatch.setattr(Behind, "gain", 2.0)
    for name, module in modules_of_its_own().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(defaults, "__defaults__", defaults.__defaults__)
    monkeypatch.setattr(twice, "__code__", twice.__code__)
    plain, compiled = make(), tg.compile(make(), backend="numpy")
    try:
        before = scanned(compiled, X)[0].numpy()
        scanned(compiled, X)
        assert not compiled._tg_engine.around.changed()
        for cell in (plain, compiled):
            change(cell)
        wanted = scanned(plain, X)[0].numpy()
        assert np.abs(wanted - before).max() > 1e-3
        assert_same(plain, compiled, scanned, [X])
        assert "Cell: 2 sequences" in str(compiled.plan()).replace("Dispatching", "Cell")
        with tg.no_grad():
            step = compiled.step(X[:, 0])[0].numpy()
        np.testing.assert_allclose(step, wanted[:, 0], rtol=1e-11)
    finally:
        globals().pop("abs", None)


def test_another_gradient_rule_is_seen() -> None:
    def gradient(cell: Any) -> Any:
        cell.zero_grad()
        scanned(cell, X)[0].sum().backward()
        return cell.w.grad.numpy()

    step = called(lambda c, x: cubed(x @ c.w))
    plain, compiled = Cell(step), tg.compile(Cell(step), backend="numpy")
    before = gradient(compiled)
    cubed.defvjp(lambda g, y, x: g * 2 * x)
    try:
        wanted = gradient(plain)
        np.testing.assert_allclose(gradient(compiled), wanted, rtol=1e-11)
        assert np.abs(wanted - before).max() > 1e-3
    finally:
        cubed.defvjp(lambda g, y, x: g * 3 * x * x)


def test_another_default_dtype_is_seen() -> None:
    def step(cell: Any, x: Any, h: Any) -> Any:
        return np.tanh(x @ cell.w + h) * tg.tensor([0.1, 0.2, 0.3]).astype("float64")

    def values(cell: Any) -> Any:
        return scanned(cell, X)[0].numpy()

    x = X[:, 0].copy()
    cell, plain = tg.compile(Cell(step), backend="numpy"), Cell(step)
    h = cell.initial_state(2)
    try:
        for dtype in ("float32", "float64"):
            tg.set_default_dtype(dtype)
            for _ in range(2):
                with tg.no_grad():
                    np.testing.assert_allclose(cell.step(x, h)[0], plain(tg.tensor(x), h)[0], rtol=1e-12)
                np.testing.assert_allclose(values(cell), values(plain), rtol=1e-12)
    finally:
        tg.set_default_dtype("float32")


def test_arrays_that_no_code_names_are_not_compared() -> None:
    for step in (lambda c, x: x * c.gains, lambda c, x: x * getattr(c, "gains")):  # noqa: B009
        around = surroundings.Surroundings(Cell(called(step), gains=np.ones(3), table=X))
        assert [a.name for a in around._others if isinstance(a, Numbers)] == ["gains"]
    computed = called(lambda c, x: x * getattr(c, f"gain{1}"))
    around = surroundings.Surroundings(Cell(computed, gain1=np.ones(3), gain2=np.ones(3)))
    assert [a.name for a in around._others if isinstance(a, Numbers)] == ["gain1", "gain2"]


def test_a_difference_is_told_of_a_cell_that_is_a_list_itself() -> None:
    class Gains(list):  # type: ignore[type-arg]
        def __call__(self, x: Any, h: Any) -> Any:
            return x * self[0], h

    cell = Gains([1.0, 2.0])
    around = surroundings.Surroundings(cell)
    assert around.difference() is None
    cell[1] = 3.0
    assert around.changed()
    assert around.difference() is not None


def test_what_is_replaced_by_its_like_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = []
    monkeypatch.setattr(
        "tinygrad_rnn.compiler.engine.trace", lambda *a: traced.append(a) or tracing.trace(*a)
    )
    step = called(lambda c, x: x * c.d[0] if np.isnan(c.k) else x)
    cell = tg.compile(Cell(step, k=float("nan"), d=[2.0]), backend="numpy")
    for _ in range(3):
        cell.k, cell.d, cell.note = float("nan"), [2.0], np.ones(3)
        scanned(cell, X)
    assert len(traced) == 1
    assert "looped" in str(cell.plan())


def test_the_same_options_are_the_same_program() -> None:
    cell = tg.compile(Cell(lambda c, x, h: c.act(x + h @ c.w), act=tg.tanh), backend="numpy")
    results = []
    for act in (tg.tanh, tg.sigmoid, tg.tanh):
        cell.act = act
        results.append(scanned(cell, X)[0].numpy())
    assert len(cell._tg_engine._traced) == 2
    np.testing.assert_array_equal(results[0], results[2])
