"""Padding a list of sequences and taking it apart again; the packed form itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.packing import pack

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=6))


@given(masks)
def test_entering_and_leaving_keeps_steps_and_clears_padding(mask):
    x = tg.tensor(np.random.default_rng(0).standard_normal((*mask.shape, 2)))
    packing = pack(*mask.shape, mask=mask)
    sequence = packing.enter(x)
    assert np.array_equal(packing.leave(sequence).numpy(), np.where(mask[..., None], x.numpy(), 0))
    assert packing.counts == sorted(packing.counts, reverse=True)
    assert sum(packing.counts) == mask.sum()
    steps = packing.take_apart(sequence)
    assert [len(s) for s in steps] == packing.counts
    if len(steps):
        assert np.array_equal(packing.put_together(steps).numpy(), sequence.numpy())
    rows = packing.to_rows(sequence)
    assert rows.shape == (mask.sum(), 2)
    assert np.array_equal(rows.numpy(), np.concatenate([np.zeros((0, 2)), *[s.numpy() for s in steps]]))
    assert np.array_equal(packing.from_rows(rows).numpy(), sequence.numpy())
    twice = packing.backwards(packing.backwards(sequence))
    assert np.array_equal(twice.numpy(), sequence.numpy())
    turned = packing.leave(packing.backwards(sequence)).numpy()
    for b, own in enumerate(mask):
        assert np.array_equal(turned[b, own], x.numpy()[b, own][::-1])
    states = tg.tensor(np.arange(float(len(mask))))
    assert np.array_equal(packing.unsort(packing.sort(states)).numpy(), states.numpy())


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.booleans())
def test_pad_and_unpad(lengths, batch_first):
    rng = np.random.default_rng(0)
    sequences = [rng.standard_normal((n, 2)) for n in lengths]
    x, found = nn.pad(sequences, batch_first=batch_first)
    assert x.shape == ((len(lengths), max(lengths), 2) if batch_first else (max(lengths), len(lengths), 2))
    assert found.tolist() == lengths
    for a, b in zip(nn.unpad(x, found, batch_first=batch_first), sequences, strict=True):
        assert np.array_equal(a.numpy(), b)
    padding = np.arange(max(lengths)) >= found[:, None]
    assert not x.numpy()[padding if batch_first else padding.T].any()


def test_gradients_go_through():
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((n, 2)) for n in (2, 0, 3)]
    assert tg.gradcheck(lambda *p: nn.pad(p)[0], *parts)
    assert tg.gradcheck(lambda x: tuple(nn.unpad(x, [2, 0, 3])), rng.standard_normal((3, 4, 2)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.pad([]), "at least one sequence"),
        (lambda: nn.pad([np.zeros((2, 3)), np.zeros((2, 4))]), r"number 1 is float64\(2, 4\)"),
        (lambda: nn.pad([np.zeros((2, 3)), np.zeros((2, 3), np.float32)]), "number 1 is float32"),
        (lambda: nn.unpad(np.zeros((2, 3)), [1, 4]), "between 0 and 3, the padded length"),
        (lambda: nn.unpad(np.zeros(2), [1, 4]), r"\(batch, time, ...\), got \(2,\)"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
