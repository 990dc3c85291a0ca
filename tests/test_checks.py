"""gradcheck and gradgradcheck: that they find what is wrong, say where, and let what is right pass."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import ops
from tinygrad_rnn.ops.operations import Primitive

X = np.random.default_rng(3).uniform(0.5, 2, (2, 3))
W = np.random.default_rng(4).uniform(0.5, 2, (3, 2))


def throwaway(forward: Any, *rules: Any, kinks: Any = None) -> Primitive:
    """A primitive that is in no registry."""
    p = Primitive(forward, kinks=kinks, elementwise=True)
    p.defvjp(*rules)
    return p


def cube(x: Any, /) -> Any:
    return x * x * x


RIGHT = throwaway(cube, lambda g, _y, x: g * 3 * x * x)
WRONG = throwaway(cube, lambda g, _y, x: g * 2 * x * x)


def test_a_right_rule_passes() -> None:
    report = tg.gradcheck(RIGHT, X)
    assert report
    assert report.ok is True
    assert (report.method, report.checked, report.rtol, report.atol) == ("complex", 6, 1e-10, 1e-10)
    assert report.error <= 0
    assert tg.gradgradcheck(RIGHT, X)


def test_a_wrong_rule_is_found_and_reported() -> None:
    report = tg.gradcheck(WRONG, X)
    assert not report
    assert str(report).startswith("gradcheck FAILED: 6 derivatives by complex step; worst at element (")
    assert report.analytic == pytest.approx(report.numeric * 2 / 3)
    assert f"difference {abs(report.numeric) / 3:.3g} (" in str(report)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.ok = True


def test_the_worst_element_is_named() -> None:
    def bump(g: Any, _y: Any, x: Any) -> Any:
        return g * 3 * x * x + np.array([[0, 0, 0], [0, 1e-8, 1e-3]])

    f = throwaway(cube, bump)
    report = tg.gradcheck(lambda a, b: a * f(b), X, X)
    assert (report.input, report.index) == (1, (1, 2))
    assert not report
    report = tg.gradcheck(lambda a, b: f(a) * b, X, X)
    assert (report.input, report.index) == (0, (1, 2))
    assert abs(report.analytic - report.numeric) == pytest.approx(1e-3 * X[1, 2], rel=1)
    assert "worst at element (1, 2) of argument 0: analytic" in str(report)
    assert f"(rtol {report.rtol:g}, atol {report.atol:g})" in str(report)


def test_tolerances() -> None:
    slightly = throwaway(cube, lambda g, _y, x: g * 3 * x * x * (1 + 1e-8))
    assert not tg.gradcheck(slightly, X)
    assert tg.gradcheck(slightly, X, rtol=1e-7)
    assert tg.gradcheck(slightly, X, atol=1e-5)
    assert tg.gradcheck(slightly, X, method="central")
    assert not tg.gradcheck(WRONG, X, rtol=0.3)
    assert tg.gradcheck(WRONG, X, rtol=0.34)
    off_by_a_little = throwaway(cube, lambda g, _y, x: g * 3 * x * x * (1 + 1e-5))
    assert not tg.gradcheck(off_by_a_little, X, method="central")


def test_the_method_follows_the_primitives() -> None:
    assert tg.gradcheck(lambda x: tg.tanh(x) @ W, X).method == "complex"
    assert tg.gradcheck(lambda x: tg.relu(x - 1), X).method == "central"
    assert tg.gradcheck(lambda x: tg.abs(x).sum() * tg.exp(x), X).method == "central"
    report = tg.gradcheck(tg.tanh, X, method="central")
    assert report
    assert (report.method, report.rtol, report.atol) == ("central", 1e-6, 1e-6)
    assert "by central differences" in str(report)
    assert tg.gradgradcheck(lambda x: tg.abs(x) * x, X).method == "central"
    assert tg.gradgradcheck(tg.tanh, X, method="central").method == "central"
    with pytest.raises(ValueError, match=r"gradcheck: method must be 'complex' or 'central', got 'exact'"):
        tg.gradcheck(tg.tanh, X, method="exact")


def test_several_inputs_and_outputs() -> None:
    def f(x: Any, w: Any, b: Any) -> Any:
        y = tg.tanh(x @ w + b)
        return y, tg.split(y, 2), b * 2

    report = tg.gradcheck(lambda *a: (f(*a)[0], *f(*a)[1], f(*a)[2]), X, W, np.ones(2))
    assert report
    assert report.checked == X.size + W.size + 2
    assert tg.gradcheck(lambda x: [x, x * x], X)
    assert tg.gradcheck(lambda a, b: (WRONG(a), b), X, X).input == 0
    assert tg.gradcheck(lambda a, b: (a, WRONG(b)), X, X).input == 1
    assert not tg.gradcheck(lambda a, b: (a, WRONG(b)), X, X)
    assert tg.gradcheck(lambda x, constant: (x * 2, tg.tensor(constant.numpy().real)), X, X)


def test_an_input_that_is_not_used_has_derivative_zero() -> None:
    report = tg.gradcheck(lambda x, y: x * 2, X, W)
    assert report
    assert report.checked == X.size + W.size
    assert tg.gradgradcheck(lambda x, y: x * x, X, W)


def test_integers_are_passed_on_as_they_are() -> None:
    seen = []

    def f(x: Any, rows: Any) -> Any:
        seen.append((rows.dtype, rows.requires_grad, rows.tolist()))
        return x[rows] ** 2

    report = tg.gradcheck(f, X, np.array([0, 1, 1, 0]))
    assert report
    assert report.checked == X.size
    assert set(map(str, seen)) == {str((np.dtype(int), False, [0, 1, 1, 0]))}
    assert tg.gradgradcheck(f, X, np.array([0, 1, 1]))
    assert tg.gradcheck(lambda x, mask: tg.where(mask, x, x * x), X, X > 1)


def test_inputs_may_be_float32_lists_and_tensors() -> None:
    x = tg.tensor(X.astype(np.float32), requires_grad=True)
    seen = []

    def f(*tensors: Any) -> Any:
        seen.extend(t.dtype for t in tensors)
        return sum(tg.tanh(t).sum() for t in tensors)

    assert tg.gradcheck(f, x, [1.0, 2.0], 3.0)
    assert set(seen) == {np.dtype(float), np.dtype(complex)}
    assert x.grad is None
    np.testing.assert_array_equal(x.numpy(), X.astype(np.float32))


def test_zero_size_and_0d_inputs() -> None:
    report = tg.gradcheck(tg.tanh, np.zeros((0, 3)))
    assert report
    assert str(report) == "gradcheck passed: 0 derivatives by complex step"
    assert tg.gradcheck(lambda a, b: a * b, np.array(2.0), np.ones((0, 2)))
    assert tg.gradcheck(lambda a, b: a * b, 2.0, X).checked == 7


def test_a_zero_size_input_hides_no_other() -> None:
    report = tg.gradcheck(lambda a, b: (a * 2, WRONG(b)), np.ones(0), X)
    assert not report
    assert report.input == 1
    assert tg.gradcheck(tg.tanh, np.ones(0)).input == -1


def test_central_differences_near_0_and_far_from_it() -> None:
    """The step grows with the number, but does not vanish with it."""
    assert tg.gradcheck(tg.sin, np.array([0.0, 1e-9]), method="central")
    assert tg.gradcheck(tg.square, np.array([1e8, -3e9]), method="central")


def test_an_error_of_just_the_tolerance_passes() -> None:
    assert tg.gradcheck(lambda x: x * 0.0, X, rtol=0.0, atol=0.0)


def test_a_function_that_gives_other_outputs_at_other_times_is_an_error() -> None:
    for check in (tg.gradcheck, tg.gradgradcheck):
        called: list[Any] = []

        def fickle(x: Any, called: list[Any] = called) -> Any:
            called.append(x)
            return (x, x * x) if len(called) == 1 else (x,)

        with pytest.raises(ValueError, match=r"zip\(\)"):
            check(fickle, X)


def test_nan_is_a_failure() -> None:
    def poison(g: Any, _y: Any, x: Any) -> Any:
        return g * 3 * x * x * np.array([[1, 1, 1], [1, np.nan, 1]])

    report = tg.gradcheck(throwaway(cube, poison), X)
    assert not report
    assert report.index == (1, 1)
    assert report.error == np.inf
    infinite = throwaway(cube, lambda g, _y, x: g * np.inf)
    assert not tg.gradcheck(infinite, X)
    both = throwaway(lambda x, /: x * np.nan, lambda g, _y, _x: g * np.nan)
    assert not tg.gradcheck(both, X)
    first = tg.gradcheck(lambda a, b: (both(a), both(b)), X, X)
    assert (first.input, first.index) == (0, (0, 0))


def test_swapped_operands_are_found(monkeypatch: Any) -> None:
    """The check sees the rules that are there when it runs: a swap in the registry's own divide."""
    assert tg.gradcheck(tg.divide, X, X + 1)
    monkeypatch.setattr(ops.divide, "vjps", ops.divide.vjps[::-1])
    assert not tg.gradcheck(tg.divide, X, X + 1)


def test_off_the_tape_is_an_error() -> None:
    w = tg.tensor(X, requires_grad=True)
    message = "gradcheck: no output depends on a floating-point input through the tape"
    for f, inputs in [
        (lambda x: tg.tensor(x.numpy().real * 2), (X,)),
        (lambda x: x.detach() * 2, (X,)),
        (tg.no_grad()(lambda x: x * 2), (X,)),
        (lambda n: n + 1, (np.arange(3),)),
        (lambda: w * 2, ()),
        (lambda n: w * n, (np.arange(3),)),
    ]:
        with pytest.raises(ValueError, match=message):
            tg.gradcheck(f, *inputs)
    assert tg.gradcheck(lambda x: x * 2, np.zeros(0)).checked == 0
    with pytest.raises(TypeError, match="f must return a tensor or a tuple of them, got float"):
        tg.gradcheck(lambda x: float(x.numpy().real.sum()), X)


def test_a_rule_that_cannot_be_differentiated_is_found() -> None:
    """Right to first order, but it takes its operand off the tape, so nothing follows the second time."""

    def off_tape(g: Any, _y: Any, x: Any) -> Any:
        return g * 3 * (x.numpy() if isinstance(x, tg.Tensor) else x) ** 2

    p = throwaway(cube, off_tape)
    assert tg.gradcheck(p, X)
    report = tg.gradgradcheck(p, X)
    assert not report
    assert report.input == 0


def test_second_derivatives_are_checked_by_the_cotangent_too() -> None:
    def forgets_g(g: Any, _y: Any, x: Any) -> Any:
        return (g.numpy() if isinstance(g, tg.Tensor) else g) * 3 * x * x

    p = throwaway(cube, forgets_g)
    assert tg.gradcheck(p, X)
    report = tg.gradgradcheck(p, X)
    assert not report
    assert report.input == 1


def test_gradgradcheck_under_no_grad() -> None:
    with tg.no_grad():
        assert tg.gradgradcheck(lambda x: (x[0] * x[1]) ** 2, X)


def test_the_weights_can_be_chosen() -> None:
    a = tg.gradcheck(WRONG, X, rng=1)
    assert a == tg.gradcheck(WRONG, X, rng=np.random.default_rng(1))
    assert a != tg.gradcheck(WRONG, X, rng=2)
    for check in (tg.gradcheck, tg.gradgradcheck):
        assert check(WRONG, X) == check(WRONG, X, rng=0)
    assert tg.gradgradcheck(RIGHT, X, rng=5)


def test_inputs_are_left_alone() -> None:
    x = X.copy()
    x.flags.writeable = False
    for method in ("complex", "central"):
        assert tg.gradcheck(tg.tanh, x, method=method)
        assert tg.gradgradcheck(tg.tanh, x, method=method)
    np.testing.assert_array_equal(x, X)


def test_what_a_tape_saves_may_be_locked_meanwhile() -> None:
    for method in ("complex", "central"):
        with tg.detect_anomaly():
            assert tg.gradcheck(lambda x: x * x, X, method=method)
            assert tg.gradgradcheck(lambda x: x * x, X, method=method)
