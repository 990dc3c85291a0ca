"""Recording on and off, and scopes: nested, as decorators, after errors, in threads and tasks."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.state import current_state


@pytest.fixture
def x() -> Any:
    return tg.tensor(np.ones(3), requires_grad=True)


def test_no_grad_and_enable_grad_nest(x: Any) -> None:
    seen = [(x * 2).requires_grad]
    with tg.no_grad():
        seen.append((x * 2).requires_grad)
        with tg.enable_grad():
            seen.append(tg.exp(x).requires_grad)
            with tg.no_grad():
                seen.append(tg.stack([x, x]).requires_grad)
            seen.append(tg.split(x, 3)[0].requires_grad)
        seen.append(x.sum(axis=0).requires_grad)
    seen.append(x[0].requires_grad)
    assert seen == [True, False, True, False, True, False, True]


def test_new_leaves_can_be_made_under_no_grad() -> None:
    with tg.no_grad():
        x = tg.tensor([1.0], requires_grad=True)
    assert (x * x).requires_grad


@pytest.mark.parametrize(("manager", "wanted"), [(tg.no_grad, False), (tg.enable_grad, True)])
def test_decorators(x: Any, manager: Any, wanted: bool) -> None:
    @manager()
    def f(depth: int) -> bool:
        """Doubles."""
        return (x * 2).requires_grad if not depth else f(depth - 1)

    assert f(3) is wanted
    assert f(0) is wanted
    assert f.__doc__ == "Doubles."
    with tg.no_grad():
        assert f(1) is wanted
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @tg.scope("decorated")
    def g() -> Any:
        return x * 2

    assert str(g().place.scope) == "decorated"
    assert (x * 2).place.scope is None


def test_one_manager_can_be_entered_again_inside_itself(x: Any) -> None:
    manager = tg.scope("a")
    with manager, manager:
        assert str((x * 2).place.scope) == "a/a"
    assert (x * 2).place.scope is None


def test_errors_restore_the_state(x: Any) -> None:
    with pytest.raises(KeyError), tg.no_grad(), tg.scope("a"):
        raise KeyError
    y = x * 2
    assert y.requires_grad
    assert y.place.scope is None

    @tg.no_grad()
    def fails() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert (x * 2).requires_grad


def test_scopes_have_paths_and_steps(x: Any) -> None:
    with tg.scope("encoder"):
        with tg.scope("t", step=4), tg.no_grad(), tg.enable_grad():
            y = x * 2
        z = y * 2
    assert str(y.place.scope) == "encoder/t=4"
    with tg.scope("t=4", step=4), tg.scope("1", step=1), tg.scope("k=1", step=11):
        assert str((x * 2).place.scope) == "t=4/1=1/k=1=11"
    assert [(s.name, s.step) for s in y.place.scope.path()] == [("encoder", None), ("t", 4)]
    assert str(z.place.scope) == "encoder"
    assert y.place.scope.parent is z.place.scope


def test_threads_do_not_see_each_others_state(x: Any) -> None:
    inside, seen = threading.Event(), threading.Event()
    found = {}

    def quiet() -> None:
        with tg.no_grad(), tg.scope("quiet"):
            inside.set()
            seen.wait(10)
            found["quiet"] = (x * 2).requires_grad

    thread = threading.Thread(target=quiet)
    thread.start()
    assert inside.wait(10)
    y = x * 2
    seen.set()
    thread.join()
    assert found == {"quiet": False}
    assert y.requires_grad
    assert y.place.scope is None


def test_threads_run_backward_at_the_same_time() -> None:
    results: dict[int, Any] = {}

    def work(k: int) -> None:
        x = tg.tensor(np.full(5, float(k)), requires_grad=True)
        for _ in range(50):
            x.grad = None
            y = x
            for _ in range(20):
                y = y * x
            y.sum().backward()
        results[k] = x.grad.numpy()[0]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {k: 21.0 * k**20 for k in range(4)}


def test_tasks_do_not_see_each_others_state(x: Any) -> None:
    async def task(name: str, record: bool, turn: int) -> tuple[bool, str]:
        with tg.enable_grad() if record else tg.no_grad(), tg.scope(name):
            for _ in range(turn):
                await asyncio.sleep(0)
            y = x * 2
            return y.requires_grad, str(y.place and y.place.scope)

    async def main() -> list[Any]:
        return await asyncio.gather(task("a", False, 3), task("b", True, 1), task("c", True, 2))

    assert asyncio.run(main()) == [(False, "None"), (True, "b"), (True, "c")]
    assert (x * 2).requires_grad


def test_a_recorded_backward_stands_in_the_scopes_of_the_forward_pass(x: Any) -> None:
    with tg.scope("first"):
        y = tg.tanh(x[:2]) * x[1:]
    with tg.scope("second"):
        z = (y * y).sum()
    with tg.scope("elsewhere"):
        forward = {e.number for e in tg.Tape(z)}
        z.backward(create_graph=True)
    recorded = [e for e in tg.Tape(x.grad) if e.number not in forward]
    by_scope = {str(e.scope) for e in recorded if e.primitive.name != "scatter"}
    assert by_scope == {"first", "second"}
    # The leaf's own sum belongs to no entry: it stands where backward() was called.
    assert {str(e.scope) for e in recorded if e.primitive.name == "scatter"} == {"elsewhere"}


def test_pieces_of_an_intermediate_result_are_added_in_its_scope(x: Any) -> None:
    with tg.scope("inner"):
        y = x * x
    (y[0] * y[1]).backward(create_graph=True)
    scatters = [e for e in tg.Tape(x.grad) if e.primitive.name == "scatter"]
    assert [str(e.scope) for e in scatters] == ["inner"]


def test_backward_leaves_the_state_as_it_was(x: Any) -> None:
    with tg.scope("a"):
        y = (x * x).sum()
    with tg.scope("b"):
        y.backward(create_graph=True)
        assert str((x * 1).place.scope) == "b"
        x.data -= 1
        with pytest.raises(RuntimeError):
            y.backward(create_graph=True)
        assert str((x * 1).place.scope) == "b"
    assert (x * 1).place.scope is None


@pytest.mark.parametrize("manager", [tg.no_grad(), tg.enable_grad(), tg.scope("s"), tg.detect_anomaly()])
def test_one_object_may_be_used_by_several_threads(manager: Any) -> None:
    """As a decorator, which is one object for all calls, and in with blocks, nested ones too."""
    barrier = threading.Barrier(8)

    @manager
    def decorated(depth: int) -> None:
        inside = current_state()
        barrier.wait(timeout=10)
        if depth:
            decorated(depth - 1)
        assert current_state() is inside

    def work() -> bool:
        outside = current_state()
        for _ in range(5):
            decorated(2)
            with manager, manager:
                barrier.wait(timeout=10)
        return current_state() is outside

    with ThreadPoolExecutor(8) as pool:
        assert all([f.result() for f in [pool.submit(work) for _ in range(8)]])


def test_generators_and_coroutines_are_not_decorated() -> None:
    def steps() -> Any:
        yield 1

    async def step() -> None: ...

    for function in (steps, step):
        with pytest.raises(TypeError, match=r"no_grad cannot decorate step.* with block inside"):
            tg.no_grad()(function)
