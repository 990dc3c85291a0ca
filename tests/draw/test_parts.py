"""The view of cells shows who reads which steps, also where a sequence was taken apart on the way."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn

LENGTH = 4


def steps_read(taken, features=2, **options):
    """The steps of a layer that what is taken of its outputs is read from, as an arrow says."""
    layer = nn.GRU(2, features, rng=0, return_state=False, **options)
    first = (2, LENGTH) if options.get("batch_first", True) else (LENGTH, 2)
    y = (taken(layer(np.ones((*first, 2), np.float32))) ** 2).sum()
    view = draw.graph(y, view="cells").view
    (result,) = [node.key for node in view.nodes if node.result]
    return sorted(int(edge.tail[-3:]) for edge in view.edges if edge.head == result)


@pytest.mark.parametrize(
    "taken",
    [
        pytest.param(taken, id=text)
        for text, taken in {
            "last": lambda y: y[:, -1],
            "one": lambda y: y[:, 1],
            "some": lambda y: y[:, 1:3],
            "backwards": lambda y: y[:, ::-2],
            "one of some": lambda y: tg.unstack(y[:, 2:], axis=1)[1],
            "one of those turned round": lambda y: tg.unstack(y[:, ::-1], axis=1)[0],
            "and some features": lambda y: tg.unstack(y[..., :1], axis=1)[3],
        }.items()
    ],
)
def test_what_is_taken_apart(taken):
    at = np.broadcast_to(np.arange(float(LENGTH))[:, None], (1, LENGTH, 2))
    assert steps_read(taken) == list(np.unique(taken(tg.tensor(at)).numpy()))


def test_time_may_come_first():
    assert steps_read(lambda y: y[-1], batch_first=False) == [3]
    assert steps_read(lambda y: y[:, -1], batch_first=False) == [0, 1, 2, 3]


def test_both_directions_at_one_step():
    assert steps_read(lambda y: y[:, -1], bidirectional=True) == [3]


def test_what_cannot_be_followed_is_all_of_it():
    assert steps_read(lambda y: tg.transpose(y, (1, 0, 2))[-1]) == [0, 1, 2, 3]
    # As many features as steps.
    assert steps_read(lambda y: y[..., 1], LENGTH) == [0, 1, 2, 3]


@pytest.mark.parametrize("merge", ["concat", "sum"])
@pytest.mark.parametrize("length", [2, 3])
def test_both_directions_go_into_each_step(merge, length):
    """Two directions are not two steps, also where there are two steps."""
    layer = nn.GRU(3, 4, 2, bidirectional=True, merge=merge, return_state=False, rng=0)
    view = draw.graph(layer(np.ones((1, length, 3), np.float32)), view="cells").view
    joint = "concatenate" if merge == "concat" else "add"
    into = {(e.tail, e.head) for e in view.edges if e.kind == "data" and "l1" in e.head and "l0" in e.tail}
    assert into == {
        (f"gru.l0.{joint}.t{t:03d}", f"gru.l1{way}.t{t:03d}")
        for t in range(length)
        for way in ("", "_reverse")
    }
