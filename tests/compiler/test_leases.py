"""Memory that is used again: what may be given away of it, and when it comes back."""

import threading
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided, sliding_window_view

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.layout import Lease, Pool
from tinygrad_rnn.ops.operations import Primitive

VIEWS = {
    "itself": lambda a: a,
    "part": lambda a: a[1:, ::2],
    "turned": lambda a: a.T.reshape(2, 6),
    "windows": lambda a: sliding_window_view(a, 2, axis=1),
    "strided": lambda a: as_strided(a, (2, 2)),
    "bytes": lambda a: np.frombuffer(memoryview(a), a.dtype),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_what_goes_back_is_copied_before(view: Any) -> None:
    lease = Lease(Pool())
    a = lease.take((3, 4), np.dtype("float64"))
    assert not np.may_share_memory(lease.kept(view(a)), a)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_what_does_not_go_back_is_not_copied(view: Any) -> None:
    lease = Lease(Pool())
    lease.take((3, 4), np.dtype("float64"))
    b = view(np.ones((3, 4)))
    assert lease.kept(b) is b


windows = Primitive(lambda x: sliding_window_view(x, 2, axis=1))
windows.name = "windows"
windows.defvjp(
    lambda g, _y, _x: np.pad(g[..., 0], ((0, 0), (0, 1))) + np.pad(g[..., 1], ((0, 0), (1, 0))),
)


class Windows(nn.Module):
    """An output, and what is saved for the way back, that are views of what goes back at once."""

    output_size = 3

    def __init__(self) -> None:
        self.w = nn.Parameter(np.random.default_rng(0).standard_normal((3, 3)), "float64")

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, 3)))

    def forward(self, x: Any, h: Any) -> Any:
        pairs = windows(x * 2)
        return pairs, np.tanh(x + (pairs * pairs).sum(axis=(1, 2))[:, None] * h @ self.w)


def test_results_stay_what_they_are() -> None:
    rng = np.random.default_rng(0)
    compiled, x = tg.compile(Windows(), backend="numpy"), rng.standard_normal((2, 5, 3))
    y, _ = nn.scan(compiled, tg.tensor(x, requires_grad=True))
    before = y.numpy().copy()
    np.testing.assert_allclose(before, nn.scan(Windows(), x)[0].numpy(), rtol=1e-12)
    nn.scan(compiled, rng.standard_normal((2, 5, 3)))
    np.testing.assert_array_equal(y.numpy(), before)


class Looking(Windows):
    """An output that is a view of what the cell is given."""

    def __init__(self, look: Any) -> None:
        super().__init__()
        self.look = look

    def forward(self, x: Any, h: Any) -> Any:
        return self.look(self, x, h), np.tanh(x + h @ self.w)


@pytest.mark.parametrize(
    "look",
    [
        lambda cell, x, h: x[:, ::-1],
        lambda cell, x, h: h[:, ::-1],
        lambda cell, x, h: np.broadcast_to(cell.w[0], (len(x), 3)),
    ],
    ids=["x", "state", "parameter"],
)
def test_an_output_is_no_view_of_what_was_given(look: Any) -> None:
    compiled = tg.compile(Looking(look), backend="numpy")
    x, h = tg.tensor(np.ones((1, 5, 3))), tg.tensor(np.ones((1, 3)))
    y, _ = nn.scan(compiled, x, h)
    assert y.numpy().flags.writeable
    assert not any(np.may_share_memory(y.numpy(), t.numpy()) for t in (x, h, compiled.w))


def test_the_collector_may_give_arrays_back_at_any_line() -> None:
    pool, done = Pool(), threading.Event()

    class Interrupting(np.ndarray):
        @property
        def nbytes(self) -> int:
            pool.give([np.empty(4)])  # as a lease does that the garbage collector finds just now
            return 24

    def give() -> None:
        pool.give([np.empty(3).view(Interrupting)])
        done.set()

    threading.Thread(target=give, daemon=True).start()
    assert done.wait(10), "it waits for itself"
    assert pool.take((4,), np.dtype("float64")).shape == (4,)
