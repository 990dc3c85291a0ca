"""What no list of instructions can say is refused, with the reason; what changes once is looked at again."""

import ctypes
import io
import itertools
import random
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from comparing import Cell, X, assert_same, drawn, scanned

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import surroundings, tracing


def plus(function: Any) -> Any:
    """A step with one more term."""
    return lambda cell, x, h: np.tanh(x + h @ cell.w + function(cell, x, h))


def swapped(cell: Any, x: Any, h: Any) -> Any:
    a, b = (x, h) if (np.abs(x.numpy()) > 100).all() else (h, x)
    return np.tanh((a - b) @ cell.w)


def other_result(cell: Any, x: Any, h: Any) -> Any:
    a, b = np.tanh(x + h @ cell.w), np.tanh(x - h)
    return a if len(x) < 100 else b


def caught(cell: Any, x: Any, h: Any) -> Any:
    try:
        gain = float(x.sum())
    except Exception:
        gain = 1.0
    return np.tanh(gain * x + h @ cell.w)


def counted(cell: Any, x: Any, h: Any) -> Any:
    cell.t += 1
    return np.tanh(x + h @ cell.w * (1.0 if cell.t < 1000 else 2.0))


def noted(cell: Any, x: Any, h: Any) -> Any:
    cell.seen.append(len(x))
    return np.tanh(x + h @ cell.w)


def kept(cell: Any, x: Any, h: Any) -> Any:
    cell.last = x.numpy()
    return np.tanh(x + h @ cell.w)


def filled(cell: Any, x: Any, h: Any) -> Any:
    cell.buffer += 1
    return np.tanh(x + h @ cell.w)


def assigned(cell: Any, x: Any, h: Any) -> Any:
    cell.mean.assign_(0.9 * cell.mean.numpy())
    return np.tanh(x + h @ cell.w + cell.mean)


def written_into(cell: Any, x: Any, h: Any) -> Any:
    cell.mean.data[...] *= 0.9
    return np.tanh(x + h @ cell.w + cell.mean)


def fresh(cell: Any, x: Any, h: Any) -> Any:
    return np.tanh(x + h @ nn.Parameter(np.eye(3)))


def noted_when_large(cell: Any, x: Any, h: Any) -> Any:
    if len(x) > 100:
        cell.seen.append(len(x))
    return np.tanh(x + h @ cell.w)


class Gain(ctypes.Structure):
    _fields_ = [("gain", ctypes.c_double)]


LOCAL = threading.local()
LOCAL.gain = 2.0


class OwnCount(itertools.count):  # type: ignore[type-arg]
    pass


REFUSED: dict[str, tuple[Any, str]] = {
    "weights by sign": (
        lambda c, x, h: np.tanh(x + h @ tg.where(c.w > 0, c.w, 0.1 * c.w)),
        "entry 2, where .*test_refusals.py",
    ),
    "norm of weights": (
        plus(lambda c, x, h: h / np.sqrt((c.w.detach() ** 2).sum())),
        "divide .*off the tape",
    ),
    "copy of weights": (plus(lambda c, x, h: h @ (c.w.numpy() * 1)), "matmul .*off the tape"),
    "largest weight": (plus(lambda c, x, h: h / float(np.abs(c.w.numpy()).max())), "divide .*off the tape"),
    "branch on a weight": (plus(lambda c, x, h: h if c.w.numpy()[0, 0] > 0 else 2 * x), "branch in Python"),
    "rounded": (plus(lambda c, x, h: np.floor(x)), r"entry \d, add .*np.floor, comparisons"),
    "guard": (plus(lambda c, x, h: x * (abs(x.numpy()).max() < 1e5)), "multiply"),
    "guard against NaN": (plus(lambda c, x, h: h * (2 if np.isnan(x.numpy()).any() else 1)), "multiply"),
    "guard against infinity": (plus(lambda c, x, h: h * (2 if np.isinf(x.numpy()).any() else 1)), "multiply"),
    "where": (plus(lambda c, x, h: tg.where(x > 1e5, x, h)), "where"),
    "one row": (plus(lambda c, x, h: h * (2 if len(x) == 1 else 1)), "number of rows"),
    "few rows": (plus(lambda c, x, h: h if len(x) < 100 else -x), "number of rows"),
    "six rows": (plus(lambda c, x, h: h[: min(len(x), 6)].sum() * 0), "entry .*(getitem|path)"),
    "squeeze": (
        lambda c, x, h: np.tanh(x.squeeze() + h.squeeze() @ c.w).reshape(len(x), -1),
        "entry 1, squeeze",
    ),
    "swapped": (swapped, "entry 1, subtract"),
    "other result": (other_result, "returns is another result"),
    "bool()": (plus(lambda c, x, h: h if x.sum() else -h), r"by bool\(\), at .*test_refusals.py:\d+"),
    "float()": (plus(lambda c, x, h: h * float(c.w.sum())), r"by float\(\), at"),
    "int()": (plus(lambda c, x, h: h * int(x.sum())), r"by int\(\), at"),
    "item()": (plus(lambda c, x, h: h * x.sum().item()), r"by item\(\), at"),
    "tolist()": (plus(lambda c, x, h: h * x.tolist()[0][0]), r"by tolist\(\), at"),
    "format": (plus(lambda c, x, h: h * len(f"{x.sum():.2f}")), "by a format, at"),
    "text": (plus(lambda c, x, h: h * len(f"{x}")), r"by repr\(\), at"),
    "caught": (caught, r"by float\(\), at"),
    "tensor": (assigned, "its step changes mean"),
    "values of a tensor": (written_into, "its step changes mean"),
    "tensor made in the step": (fresh, "entry 1, matmul .*neither an input nor a parameter nor an attribute"),
    "attribute": (kept, "its step changes last"),
    "counter": (counted, "its step changes t,"),
    "list": (noted, "its step changes seen"),
    "array": (filled, "its step changes buffer"),
    "list, for many rows": (noted_when_large, "its step changes seen for some values"),
    "rows in another order": (
        plus(lambda c, x, h: h[::-1]),
        "rows are not independent, or .*from entry 3, getitem",
    ),
    "last row": (plus(lambda c, x, h: h[-1:]), "rows are not independent"),
    "random numbers, seldom used": (
        plus(lambda c, x, h: x if c.rng.random() < 1e-9 else h),
        "its step draws random numbers, from rng",
    ),
    "random numbers of NumPy, seldom used": (
        plus(lambda c, x, h: x if np.random.random() < 1e-9 else h),  # noqa: NPY002
        "its step draws random numbers, from numpy.random",
    ),
    "random numbers of this package, seldom used": (
        plus(lambda c, x, h: x if tg.default_generator().random() < 1e-9 else h),
        r"its step draws random numbers, from tg.default_generator\(\)",
    ),
    "iterator": (plus(lambda c, x, h: h * (2 if next(c.count) > 1000 else 1)), "read count, of count"),
    "file": (plus(lambda c, x, h: h * (1 + 0 * c.log.write("step"))), "read log, of StringIO"),
    "bytes": (plus(lambda c, x, h: h * c.bytes[0]), "read bytes, of bytearray"),
    "iterator of a class of its own": (
        plus(lambda c, x, h: h * (2 if next(c.own_count) > 1000 else 1)),
        "read own_count, of OwnCount",
    ),
    "numbers of each thread": (
        plus(lambda c, x, h: h * c.local.gain),
        "read local, of _?local",
    ),
    "random numbers of the system": (
        plus(lambda c, x, h: x if c.system.random() < 1e-9 else h),
        "read system, of SystemRandom",
    ),
    "record": (plus(lambda c, x, h: h * c.record["gain"]), "read record, of void"),
    "structure of C's": (plus(lambda c, x, h: h * c.structure.gain), "read structure, of Gain"),
    "array of objects": (plus(lambda c, x, h: h * c.objects[0]), "read objects, of ndarray"),
    "random numbers of NumPy": (plus(lambda c, x, h: h * np.random.random()), "random numbers"),  # noqa: NPY002
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_depends_on_values_is_refused(kind: str) -> None:
    def make() -> Any:
        return Cell(
            step, t=0, seen=[], buffer=np.zeros(2), mean=tg.tensor(drawn(3)), rng=np.random.default_rng(3),
            count=itertools.count(), log=io.StringIO(), bytes=bytearray(b"12"),
            objects=np.array([2.0, None], object), own_count=OwnCount(), local=LOCAL,
            system=random.SystemRandom(), record=np.zeros(1, [("gain", "f8")])[0], structure=Gain(2.0),
        )  # fmt: skip

    step, reason = REFUSED[kind]
    plain, compiled = make(), tg.compile(make(), backend="numpy")
    before = dict(vars(compiled))
    compiled.input_size = 3
    with pytest.raises(RuntimeError, match=f"Cell is not compiled: .*{reason}"):
        compiled.plan()
    del compiled.input_size
    assert vars(compiled) == before
    assert compiled.seen == []
    np.testing.assert_array_equal(compiled.mean.numpy(), drawn(3))
    with pytest.warns(RuntimeWarning, match=reason):
        got = scanned(compiled, X)[0].numpy()
    if kind != "random numbers of NumPy":
        np.testing.assert_array_equal(got, scanned(plain, X)[0].numpy())
    assert compiled.seen == plain.seen
    assert compiled.t == plain.t
    np.testing.assert_array_equal(compiled.buffer, plain.buffer)
    np.testing.assert_array_equal(compiled.mean.numpy(), plain.mean.numpy())
    assert compiled.rng.random() == plain.rng.random()
    assert next(compiled.count) == next(plain.count)
    assert compiled.log.getvalue() == plain.log.getvalue()


def test_a_cell_that_changes_with_every_call_is_not_traced_every_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traced = []
    monkeypatch.setattr(
        "tinygrad_rnn.compiler.engine.trace", lambda *a: traced.append(a) or tracing.trace(*a)
    )
    cell = tg.compile(Cell(counted, t=0), backend="numpy")
    with pytest.warns(RuntimeWarning, match="its step changes t"):
        scanned(cell, X)
    for _ in range(8):
        scanned(cell, X)
    assert len(traced) == 3
    assert cell.t == 9 * X.shape[1]
    looked = surroundings.Surroundings._visit
    monkeypatch.setattr(surroundings.Surroundings, "_visit", lambda *a: looks.append(a) or looked(*a))
    looks: list[Any] = []
    scanned(cell, X)
    assert not looks


def prepared(cell: Any, x: Any, h: Any) -> Any:
    if not hasattr(cell, "eye"):
        cell.eye = np.eye(3)
    return np.tanh(x @ cell.eye + h @ cell.w)


def test_what_the_first_step_prepares_is_there_for_the_next_call() -> None:
    cell = tg.compile(Cell(prepared), backend="numpy")
    with pytest.warns(RuntimeWarning, match="its step changes eye"):
        scanned(cell, X)
    assert_same(Cell(prepared), cell, scanned, [X])
    assert "looped back" in str(cell.plan())


@pytest.mark.parametrize(
    "term",
    [
        lambda c, x, h: h @ c.w.detach(),
        lambda c, x, h: h @ c.w.numpy() * x,
        lambda c, x, h: np.maximum(h, c.b.detach()),
    ],
)
def test_detached_parameters_are_read_when_the_loop_runs(term: Any) -> None:
    def make() -> Any:
        return Cell(plus(term), b=nn.Parameter(drawn(3), "float64"))

    plain, compiled = make(), tg.compile(make(), backend="numpy")
    for seed in (1, 2):
        assert_same(plain, compiled, scanned, [X])
        for cell in (plain, compiled):
            cell.w.assign_(drawn(3, 3, seed=seed))
            cell.b.assign_(drawn(3, seed=seed))
    plan = str(compiled.plan())
    assert "looped back" in plan
    assert "matmul'" not in plan  # gradient rules are followed, too


def test_tensors_with_one_array_are_told_apart() -> None:
    w = nn.Parameter(drawn(3, 3), "float64")
    frozen = w.detach()

    def cell(x: Any, h: Any) -> Any:
        h = np.tanh(x @ frozen + h @ w.detach() + h @ w)
        return h, h

    compiled = tg.compile(cell, backend="numpy")
    for seed in (1, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = scanned(compiled, X)[0].numpy()
        np.testing.assert_allclose(got, scanned(cell, X)[0].numpy(), rtol=1e-11)
        w.assign_(drawn(3, 3, seed=seed))
