"""Nothing is kept alive that nobody needs, threads do not meet, and long training leaves no trace."""

import gc
import itertools
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.listing import held
from tinygrad_rnn.ops.operations import Primitive
from tinygrad_rnn.state import current_state
from tinygrad_rnn.tape import Entry, Place
from tinygrad_rnn.tensors import apply


def kinds_of(base):
    """A class and all that are derived from it."""
    return {base}.union(*map(kinds_of, base.__subclasses__()))


@pytest.fixture
def traced():
    """Arrays are not known to the garbage collector; NumPy tells tracemalloc of their memory."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def alive(collect=True):
    """How many tape objects, tensors and arrays with memory of their own the process holds."""
    if collect:
        gc.collect()
    kinds = kinds_of(Place) | kinds_of(tg.Tensor)
    # type() and not isinstance(), which would make other libraries' lazy objects do something.
    objects = sum(type(thing) in kinds for thing in gc.get_objects())
    arrays = tracemalloc.take_snapshot().filter_traces(
        [tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)]
    )
    return objects, len(arrays.traces)


def test_what_is_alive_is_counted(traced):
    """Entries of each kind, and arrays."""
    x = tg.tensor(np.ones(2), requires_grad=True)
    for operation in (tg.tanh, lambda y: y * y, lambda y: tg.where(np.array([True, False]), y, y)):
        objects, arrays = alive()
        y = x
        for _ in range(100):
            y = operation(y)
        more_objects, more_arrays = alive()
        assert more_objects >= objects + 100
        assert more_arrays >= arrays + 100
        del y
        assert alive() == (objects, arrays)


def test_backward_lets_go_of_what_each_kind_of_entry_saved():
    x, w = (tg.tensor(np.random.default_rng(k).random((3, 3)) + 1, requires_grad=True) for k in range(2))
    y = tg.exp(x) * tg.sqrt(w)
    y = tg.where(x.numpy() > 1.5, tg.tanh(y), tg.log(y)) / tg.split(y @ y, 3, axis=1)[1]
    tape = tg.Tape(y)
    assert {type(entry) for entry in tape} == kinds_of(Entry) - {Entry}
    saved = [
        weakref.ref(a) for entry in tape for a in held(entry) if a is not x.numpy() and a is not w.numpy()
    ]
    assert len(saved) > 10
    y.sum().backward()
    del y
    gc.collect()
    assert all(array() is None for array in saved)


class BoomError(Exception):
    pass


def train(steps, fails=None):
    """A training loop, each step of which may break in the middle of forward or of backward."""
    calls = itertools.count()

    def activation(c):
        """Breaks inside a step of the layer that runs backwards in time, with its scopes open."""
        if fails == "forward" and next(calls) % 4 == 3:
            scopes = [(scope.name, scope.step) for scope in current_state().scope.path()]
            assert scopes[-1] == ("t=0", 0)
            assert len(scopes) > 2
            raise BoomError
        return tg.tanh(c)

    options = {"output_activation": activation, "bidirectional": True, "rng": 0}
    model = nn.Sequential(
        nn.LSTM(2, 3, return_state=False, return_sequences=False, **options),
        nn.Linear(6, 1, rng=1),
    )
    optimiser = optim.Adam(model.parameters(), lr=0.01)
    rng = np.random.default_rng(0)

    counts, booms = [], 0
    for step in range(steps):
        x = rng.standard_normal((2, 2, 2)).astype(np.float32)
        try:
            optimiser.zero_grad()
            out = model(x)
            if fails == "backward":
                out = out.sum() * _breaks(out)
            loss = (out * out).mean()
            loss.backward()
            optimiser.step()
        except BoomError:
            booms += 1
            assert current_state().scope is None
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

    bomb = Primitive(forward)
    bomb.defvjp(rule)
    return apply(bomb, (x,))


@pytest.mark.parametrize("fails", [None, "forward", "backward"])
def test_as_much_is_alive_after_many_steps_as_after_ten(fails, traced):
    first, last = train(1000, fails)
    assert first == last


def test_reference_counting_alone_frees_a_step(traced):
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
