"""Calls of compiled loops: memory, the tape, threads, changed weights."""

import gc
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from comparing import BACKENDS, NUMBA, Cell, assert_same, compiled_twin, drawn, lstm, plain_step

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.compiler import building


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_is_not_lost(backend: str) -> None:
    for options in ({"cell_activation": "relu"}, {"clip": 1.0}, {"gate_activation": "hard_sigmoid"}):
        layer = tg.compile(lstm(**options), backend=backend)
        x = drawn(2, 3, 3)
        x[1, 1] = np.nan
        y = layer(x)[0].numpy()
        assert np.isnan(y[1, 1:]).all()
        assert np.isfinite(y[0]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_forwards_before_their_backwards(backend: str) -> None:
    layer, plain = tg.compile(lstm(), backend=backend), lstm()
    xs = [drawn(2, 5, 3, seed=k) for k in range(3)]
    layer(xs[0])[0].sum().backward()  # so that there are buffers to be lent again
    for one in (layer, plain):
        one.zero_grad()
        outputs = [one(x)[0] for x in xs]
        kept = [y.numpy().copy() for y in outputs]
        for y in outputs[::-1]:
            (y * y).sum().backward(retain_graph=True)
            (y * y).sum().backward()
        for y, k in zip(outputs, kept, strict=True):
            np.testing.assert_array_equal(y.numpy(), k)
    for p, q in zip(layer.parameters(), plain.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-11)


class Reading(nn.Module):
    """A cell whose output depends on its input alone."""

    output_size = 3

    def __init__(self) -> None:
        self.w = nn.Parameter(drawn(3, 3) * 0.5, "float64")

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, 3)))

    def forward(self, x: Any, h: Any) -> Any:
        return np.tanh(x @ self.w), np.tanh(x + h @ self.w)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_given_out_is_not_lent_again(backend: str) -> None:
    """Layers that hand each other what stood in buffers: cotangents of x, outputs of no loop."""
    cells = [Cell(plain_step), Reading(), Cell(plain_step), Reading()]
    composed = nn.Recurrent(cells, return_state=False)
    compiled = compiled_twin(composed, backend)
    with tg.no_grad():
        outputs = [compiled(drawn(4, 5, 3, seed=k)) for k in range(3)]
        for k, y in enumerate(outputs):
            np.testing.assert_allclose(y.numpy(), composed(drawn(4, 5, 3, seed=k)).numpy(), rtol=1e-12)
    for _ in range(3):
        assert_same(composed, compiled, lambda m, x: m(x), [drawn(4, 5, 3)])


def test_a_changed_weight_is_refused() -> None:
    layer = tg.compile(lstm(), backend="numpy")
    y, _ = layer(drawn(2, 5, 3))
    layer.weight_hh_l0.assign_(layer.weight_hh_l0.numpy() * 2)
    with pytest.raises(RuntimeError, match=r"weight_hh_l0.*changed in place"):
        y.sum().backward()


def test_the_tape_holds_one_entry_and_lets_go_of_it() -> None:
    layer = tg.compile(lstm(), backend="numpy")
    y, _ = layer(tg.tensor(drawn(2, 5, 3), requires_grad=True))
    names = [e.primitive.name for e in tg.Tape(y)]
    assert names.count("scan") == 1
    assert "sigmoid" not in names
    str(tg.Tape(y))
    assert tg.Tape(y).memory().total > 2 * 5 * 4 * 8
    y.sum().backward()
    held = tg.Tape(y).memory().total
    assert held == 0
    with pytest.raises(RuntimeError, match="released"):
        y.sum().backward()
    with tg.no_grad():
        quiet, _ = layer(drawn(2, 5, 3))
    assert not quiet.requires_grad


def test_buffers_go_back_to_the_pool() -> None:
    layer = tg.compile(lstm(), backend="numpy")
    pool = layer.l0._tg_engine.pool
    for _ in range(3):
        layer(drawn(2, 5, 3))[0].sum().backward()
        gc.collect()
    size = sum(len(free) for free in pool._free.values())
    for _ in range(5):
        layer(drawn(2, 5, 3))[0].sum().backward()
        gc.collect()
    assert sum(len(free) for free in pool._free.values()) == size


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_a_layer(backend: str) -> None:
    layer, plain = tg.compile(lstm(), backend=backend), lstm()
    xs = [drawn(4, 30, 3, seed=k) for k in range(4)]
    wanted = [plain(x)[0].numpy() for x in xs]
    wrong: list[int] = []
    layer(xs[0])

    def work(k: int) -> None:
        results = [layer(xs[k])[0].numpy() for _ in range(20)]
        wrong.extend(k for y in results if not np.allclose(y, wanted[k], rtol=1e-12))

    running = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in running:
        t.start()
    for t in running:
        t.join()
    assert not wrong


@pytest.mark.parametrize("backend", [NUMBA])
def test_rows_are_shared_among_threads(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "threads", lambda: 3)
    monkeypatch.setattr(building, "_WORTH", 1)
    plain = lstm()
    compiled = compiled_twin(plain, backend)
    assert_same(plain, compiled, lambda m, x: m(x), [drawn(17, 5, 3)])
    lengths = np.arange(17) % 6
    assert_same(plain, compiled, lambda m, x: m(x, lengths=lengths), [drawn(17, 5, 3)])


class Normalised(nn.Module):
    """A cell whose weights are results: what they are made of is learnt."""

    output_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.v, self.g, self.u = (
            nn.Parameter(drawn(*s, seed=k)) for k, s in enumerate([(3, 4), (4,), (4, 4)])
        )
        self.prepare()

    def prepare(self) -> None:
        self.w = self.v * (self.g / tg.sqrt((self.v * self.v).sum(0)))

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, 4)))

    def forward(self, x: Any, h: Any) -> Any:
        h = np.tanh(x @ self.w + h @ self.u)
        return h, h


def test_weights_may_be_results() -> None:
    def run(cell: Any, x: Any) -> Any:
        cell.prepare()
        return nn.scan(cell, x)

    plain, compiled = Normalised(), tg.compile(Normalised(), backend="numpy")
    for seed in (0, 1):  # other results the second time
        assert_same(plain, compiled, run, [drawn(2, 5, 3, seed=seed)])


class TwoHeads(nn.Module):
    """The state does not depend on v, which only the output does."""

    output_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.w, self.v = (nn.Parameter(drawn(3, n, seed=n), "float64") for n in (3, 2))

    def initial_state(self, batch: int) -> Any:
        return tg.tensor(np.zeros((batch, 3)))

    def forward(self, x: Any, h: Any) -> Any:
        h = np.tanh(x + h @ self.w)
        return h @ self.v, h


@pytest.mark.parametrize("recorded", [False, True])
def test_what_a_loss_does_not_depend_on_gets_no_gradient(recorded: bool) -> None:
    grads = []
    for cell in (TwoHeads(), tg.compile(TwoHeads(), backend="numpy")):
        _, h = nn.scan(cell, drawn(2, 4, 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of the recorded pass
            (h * h).sum().backward(create_graph=recorded)
        assert cell.v.grad is None
        grads.append(cell.w.grad.numpy())
    np.testing.assert_allclose(*grads, rtol=1e-12)


def test_what_copying_leaves_in_a_class_is_no_change() -> None:
    class Fresh(TwoHeads):
        """Never copied before."""

    cell = tg.compile(Fresh(), backend="numpy")
    _, h = nn.scan(cell, drawn(2, 4, 3))
    assert not cell._tg_engine.around.changed()
    nn.scan(cell, drawn(2, 4, 3))
    assert len(cell._tg_engine._traced) == 1
    with pytest.warns(RuntimeWarning, match="itself recorded"):
        (h * h).sum().backward(create_graph=True)
    assert cell.w.grad is not None
