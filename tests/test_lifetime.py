"""Nothing is kept alive that nobody needs, threads do not meet, and long training leaves no trace."""

import gc
import threading

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.ops.registry import Primitive
from tinygrad_rnn.tape import Entry, Leaf, Output
from tinygrad_rnn.tensors import apply


def alive(collect=True):
    """How many tape objects and tensors the process holds."""
    if collect:
        gc.collect()
    kinds = (Entry, Leaf, Output, tg.Tensor)
    # type() and not isinstance(), which would make other libraries' lazy objects do something.
    return sum(type(thing) in kinds for thing in gc.get_objects())


class BoomError(Exception):
    pass


def train(steps, fails=None):
    """A training loop, each step of which may break in the middle of forward or of backward."""
    model = nn.Sequential(
        nn.LSTM(2, 3, bidirectional=True, return_state=False, return_sequences=False, rng=0),
        nn.Linear(6, 1, rng=1),
    )
    optimiser = optim.Adam(model.parameters(), lr=0.01)
    rng = np.random.default_rng(0)

    counts, booms = [], 0
    for step in range(steps):
        x = rng.standard_normal((2, 4, 2)).astype(np.float32)
        try:
            optimiser.zero_grad()
            out = model(x)
            if fails == "forward":
                raise BoomError
            if fails == "backward":
                out = out.sum() * _breaks(out)
            loss = (out * out).mean()
            loss.backward()
            optimiser.step()
        except BoomError:
            booms += 1
        if step in (10, steps - 1):
            x = out = loss = None
            counts.append(alive())
    assert booms == (steps if fails else 0)
    return counts


def _breaks(x):
    """A value whose gradient rule raises, deep in the backward pass."""

    def forward(x, /):
        return np.sum(x)

    def rule(g, _y, _x):
        raise BoomError

    bomb = Primitive(
        forward, numpy=(), samples=(), domain=(), kinks=None, elementwise=False, multiple=False, view=False
    )
    bomb.defvjp(rule)
    return apply(bomb, (x,))


@pytest.mark.parametrize("fails", [None, "forward", "backward"])
def test_as_much_is_alive_after_many_steps_as_after_ten(fails):
    first, last = train(1000 if fails is None else 200, fails)
    assert first == last


def test_reference_counting_alone_frees_a_step():
    model = nn.GRU(2, 3, rng=0, return_state=False)
    x = np.ones((1, 5, 2), np.float32)
    model(x).sum().backward()
    before = alive()
    gc.disable()
    try:
        for _ in range(5):
            model(x).sum().backward()
        assert alive(collect=False) == before
    finally:
        gc.enable()


def _trained(seed):
    rng = np.random.default_rng(seed)
    model = nn.LSTM(2, 4, 2, dropout=0.2, return_state=False, rng=rng)
    optimiser = optim.Adam(model.parameters(), lr=0.01)
    x = rng.standard_normal((3, 6, 2)).astype(np.float32)
    for step in range(15):
        optimiser.zero_grad()
        if step % 5 == 0:
            with tg.no_grad():
                assert not model(x).requires_grad
        tg.square(model(x)).mean().backward()
        optim.clip_grad_norm(model.parameters(), 1.0)
        optimiser.step()
    return model.state_dict()


def test_eight_threads_train_as_one_after_another():
    expected = [_trained(seed) for seed in range(8)]
    results = [None] * 8
    together = threading.Barrier(8)

    def work(seed):
        together.wait()
        results[seed] = _trained(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, wanted in zip(results, expected, strict=True):
        for name, value in wanted.items():
            assert np.array_equal(got[name], value)
