"""Decoding against exhaustive search and exact probabilities, with random models whose state matters."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class Pair(NamedTuple):
    """A state with a part of every kind that can be reordered."""

    h: tg.Tensor
    rest: tuple


class Own:
    """A state that reorders itself, and has the sequences along its last axis."""

    def __init__(self, values):
        self.values = values

    def index(self, ids):
        return Own(self.values[:, ids])


class Model:
    """A random model of V tokens whose next logits depend on all tokens before, through its state."""

    def __init__(self, V, seed, size=3, sharpness=2.0):
        rng = np.random.default_rng(seed)
        self.E, self.U = rng.standard_normal((V, size)), rng.standard_normal((size, V)) * sharpness
        self.W = tg.tensor(rng.standard_normal((size, size)), requires_grad=True)
        self.size = size
        self.rows = []

    def start(self, batch, seed=0):
        h = tg.tensor(np.random.default_rng(seed).standard_normal((batch, self.size)))
        return Pair(h, (h.numpy(), Own(h.numpy().T), None))

    def __call__(self, tokens, state):
        assert isinstance(state, Pair)
        (array, own, _) = state.rest
        np.testing.assert_array_equal(array, state.h.numpy())
        np.testing.assert_array_equal(own.values.T, state.h.numpy())
        h = tg.tanh(self.E[tokens] + state.h @ self.W)
        assert not h.requires_grad
        self.rows.append(len(tokens))
        return h @ self.U, Pair(h, (h.numpy(), Own(h.numpy().T), None))

    def log_prob(self, start, h, tokens):
        """Of one sequence, by a loop of its own."""
        total = 0.0
        for before, token in zip([start, *tokens], tokens, strict=False):
            h = np.tanh(self.E[before] + h @ self.W.numpy())
            logits = h @ self.U
            total += logits[token] - np.log(np.exp(logits).sum())
        return total


def sequences(V, T, end):
    """All that can be decoded in T steps."""
    for tokens in itertools.product(range(V), repeat=T):
        if end not in tokens:
            yield tokens
        elif end in tokens and set(tokens[tokens.index(end) :]) == {end}:
            yield tokens[: tokens.index(end) + 1]


def score(log_prob, n, alpha):
    return log_prob / ((5 + n) / 6) ** alpha


def rescored(model, start, state, found):
    """Log-probabilities of what was found, sequence by sequence."""
    h = state.h.numpy()
    return np.array([
        model.log_prob(start[b], h[b], row[: found.lengths[b]]) for b, row in enumerate(found.tokens)
    ])  # fmt: skip


ALPHAS = st.sampled_from([0.0, 0.6, 1.0, 2.5])


@given(
    seed=st.integers(0, 2**32 - 1), V=st.integers(1, 4), T=st.integers(0, 4), ends=st.booleans(), alpha=ALPHAS
)
def test_wide_beams_search_exhaustively(seed, V, T, ends, alpha):
    model, batch, end = Model(V, seed), 2, V - 1 if ends else None
    start, state = np.arange(batch) % V, model.start(batch, seed)
    found = nn.beam_search(model, start, state, width=1000, end=end, max_steps=T, length_penalty=alpha)
    for b in range(batch):
        every = {
            tokens: model.log_prob(start[b], state.h.numpy()[b], tokens) for tokens in sequences(V, T, end)
        }
        ranked = sorted(every, key=lambda tokens: -score(every[tokens], len(tokens), alpha))
        ours = [tuple(row[:n].tolist()) for row, n in zip(found.tokens[b], found.lengths[b], strict=True)]
        assert ours == ranked
        np.testing.assert_allclose(found.log_probs[b], [every[tokens] for tokens in ranked], atol=1e-9)
        expected = [score(every[tokens], len(tokens), alpha) for tokens in ranked]
        np.testing.assert_allclose(found.scores[b], expected, atol=1e-9)


@given(
    seed=st.integers(0, 2**32 - 1),
    V=st.integers(1, 6),
    batch=st.integers(0, 4),
    T=st.integers(0, 6),
    width=st.integers(1, 5),
    ends=st.booleans(),
    alpha=ALPHAS,
)
def test_laws_of_beam_search(seed, V, batch, T, width, ends, alpha):
    """Scores fall; log-probabilities are those of the tokens; a batch is its sequences one by one."""
    model, end = Model(V, seed), V // 2 if ends else None
    start, state = np.full(batch, V - 1), model.start(batch, seed)
    options = {"width": width, "end": end, "max_steps": T, "length_penalty": alpha}
    found = nn.beam_search(model, start, state, **options)
    assert len(model.rows) <= T
    assert all(rows <= batch * width for rows in model.rows)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert found.tokens.shape[:2] == found.lengths.shape == found.log_probs.shape
    assert found.tokens.shape[1] <= width
    assert found.tokens.shape[2] == found.lengths.max(initial=0)
    for k in range(found.tokens.shape[1]):
        beam = nn.decoding.Decoded(*(part[:, k] for part in found[:3]))
        np.testing.assert_allclose(beam.log_probs, rescored(model, start, state, beam), atol=1e-9)
        for row, n in zip(beam.tokens, beam.lengths, strict=True):
            if ends:
                assert n == T or row[n - 1] == end
                assert end not in row[: n - 1]
                assert (row[n:] == end).all()
    for b in range(batch):
        assert len({tuple(row) for row in found.tokens[b]}) == found.tokens.shape[1], "no hypothesis twice"
        alone = Model(V, seed)
        one = nn.beam_search(alone, start[b : b + 1], index(state, [b]), **options)
        n = one.tokens.shape[2]
        np.testing.assert_array_equal(found.tokens[b, :, :n], one.tokens[0])
        np.testing.assert_allclose(found.scores[b], one.scores[0], atol=1e-9)


def index(state, ids):
    return Pair(state.h[ids], (state.rest[0][ids], state.rest[1].index(ids), None))


@given(
    seed=st.integers(0, 2**32 - 1), V=st.integers(1, 6), T=st.integers(0, 6), ends=st.booleans(), alpha=ALPHAS
)
def test_greedy_is_a_beam_of_one_and_sampling_from_one_token(seed, V, T, ends, alpha):
    model, batch, end = Model(V, seed), 3, 0 if ends else None
    start, state = np.full(batch, V - 1), model.start(batch, seed)
    greedy = nn.greedy_search(model, start, state, end=end, max_steps=T)
    assert len(model.rows) <= T
    assert set(model.rows) <= {batch}
    assert greedy.tokens.shape == (batch, greedy.lengths.max(initial=0))
    np.testing.assert_allclose(greedy.log_probs, rescored(model, start, state, greedy), atol=1e-9)
    options = {"end": end, "max_steps": T}
    beam = nn.beam_search(model, start, state, width=1, length_penalty=alpha, **options)
    for a, b in zip(greedy, beam[:3], strict=True):
        np.testing.assert_array_equal(a, b[:, 0])
    for cut in ({"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-9}):
        drawn = nn.sample(model, start, state, rng=seed, **cut, **options)
        for a, b in zip(greedy, drawn, strict=True):
            np.testing.assert_array_equal(a, b)
    stream = list(nn.generate(model, start, state, top_k=1, **options))
    np.testing.assert_array_equal(np.array(stream).reshape(-1, batch).T, greedy.tokens)


@given(seed=st.integers(0, 2**32 - 1), V=st.integers(1, 6), ends=st.booleans(), data=st.data())
def test_laws_of_sampling(seed, V, ends, data):
    model, batch, end = Model(V, seed), 3, 0 if ends else None
    start, state = np.full(batch, V - 1), model.start(batch, seed)
    options = {
        "end": end,
        "max_steps": data.draw(st.integers(0, 5)),
        "temperature": data.draw(st.sampled_from([0.3, 1.0, 4.0])),
        "top_k": data.draw(st.sampled_from([None, 2, 100])),
        "top_p": data.draw(st.sampled_from([None, 0.4, 1.0])),
    }
    one, two = (nn.sample(model, start, state, rng=seed, **options) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(one.log_probs, rescored(model, start, state, one), atol=1e-9)
    stream = list(nn.generate(model, start, state, rng=np.random.default_rng(seed), **options))
    np.testing.assert_array_equal(np.array(stream).reshape(-1, batch).T, one.tokens)


LOGITS = np.array([0.0, 1.5, -1.0, 1.5, 0.5])
P = np.exp(LOGITS) / np.exp(LOGITS).sum()


def fixed(logits):
    return lambda tokens, state: (np.tile(np.asarray(logits, float), (len(tokens), 1)), state)


def near(counts, p):
    """Whether each frequency is within five standard deviations: by chance one in a million is not."""
    n = counts.sum()
    assert (counts[p == 0] == 0).all()
    assert (np.abs(counts / n - p) <= 5 * np.sqrt(p * (1 - p) / n)).all(), (counts / n, p)


def tempered(kept, temperature=1.0):
    """Exact probabilities of the tokens that are left."""
    p = np.zeros(5)
    p[kept] = P[kept] ** (1 / temperature)
    return p / p.sum()


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ({}, tempered([0, 1, 2, 3, 4])),
        ({"temperature": 0.5}, tempered([0, 1, 2, 3, 4], 0.5)),
        ({"temperature": 3.0}, tempered([0, 1, 2, 3, 4], 3.0)),
        ({"top_k": 3}, tempered([1, 3, 4])),
        ({"top_k": 1}, tempered([1])),  # 1 and 3 are equally likely
        ({"top_p": P[1]}, tempered([1])),
        ({"top_p": P[1] + 1e-6}, tempered([1, 3])),
        ({"top_p": P[1] + P[3] + 1e-6}, tempered([1, 3, 4])),
        ({"top_p": 1.0}, tempered([0, 1, 2, 3, 4])),
        ({"top_k": 3, "top_p": 0.7}, tempered([1, 3])),  # 0.35 and 0.35 of the total, but 0.79 of the three
        ({"temperature": 3.0, "top_p": 0.7}, tempered([1, 3, 4], 3.0)),
    ],
)
def test_frequencies_are_the_probabilities(cut, expected):
    found = nn.sample(fixed(LOGITS), np.zeros(20000, int), max_steps=1, rng=1, **cut)
    near(np.bincount(found.tokens[:, 0], minlength=5), expected)
    np.testing.assert_allclose(found.log_probs, np.log(P)[found.tokens[:, 0]])


def test_frequencies_of_whole_sequences():
    """Two steps and the end: every draw depends on those before."""
    model, n = Model(3, 5, sharpness=0.7), 20000
    state = model.start(1, 2)
    found = nn.sample(model, np.zeros(n, int), index(state, np.zeros(n, int)), end=2, max_steps=3, rng=3)
    every = list(sequences(3, 3, 2))
    p = np.exp([model.log_prob(0, state.h.numpy()[0], tokens) for tokens in every])
    assert p.sum() == pytest.approx(1)
    drawn = [tuple(row[:k].tolist()) for row, k in zip(found.tokens, found.lengths, strict=True)]
    near(np.array([drawn.count(tokens) for tokens in every]), p)


def test_forbidden_tokens_are_never_taken():
    logits = np.array([-np.inf, 0.0, -np.inf, 1.0])
    drawn = nn.sample(fixed(logits), np.zeros(1000, int), max_steps=3, rng=0, temperature=50.0)
    assert set(drawn.tokens.ravel()) == {1, 3}
    beams = nn.beam_search(fixed(logits), [0], width=50, max_steps=3)
    assert beams.tokens.shape == (1, 8, 3)
    assert set(beams.tokens.ravel()) == {1, 3}
    assert np.isfinite(beams.scores).all()


def test_a_sequence_with_fewer_hypotheses_than_its_neighbour():
    """The first may take the token 1 alone; for the second all are open."""

    def step(tokens, state):
        return np.where(state[:, None] & (np.arange(3) != 1), -np.inf, 0.0), state

    beams = nn.beam_search(step, [0, 0], np.array([True, False]), width=4, max_steps=2)
    np.testing.assert_array_equal(beams.lengths, [[2, 0, 0, 0], [2, 2, 2, 2]])
    np.testing.assert_array_equal(beams.log_probs[0], [0, -np.inf, -np.inf, -np.inf])
    np.testing.assert_array_equal(beams.tokens[0], [[1, 1], [0, 0], [0, 0], [0, 0]])


def test_ties_go_to_the_better_prefix_then_to_the_lower_token():
    beams = nn.beam_search(fixed(np.zeros(3)), [0], width=5, max_steps=2)
    np.testing.assert_array_equal(beams.tokens[0], [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]])
    assert nn.greedy_search(fixed([0, 1, 1]), [0], max_steps=2).tokens.tolist() == [[1, 1]]


def test_length_penalty_by_hand():
    """End at once with probability 0.5, or after one more token, which is certain, with 0.4."""

    def step(tokens, state):
        return np.log([[0.4, 0.5, 0.1]] if tokens[0] == 2 else [[1e-30, 1.0, 1e-30]] * len(tokens)), state

    short, long = [1, 1], [0, 1]
    for alpha, best, n in ((0.0, short, 1), (1.0, short, 1), (2.0, long, 2)):
        found = nn.beam_search(step, [2], width=2, end=1, max_steps=2, length_penalty=alpha)
        assert found.tokens[0, 0].tolist() == best
        assert found.scores[0, 0] == pytest.approx(np.log(0.5 if n == 1 else 0.4) / ((5 + n) / 6) ** alpha)


def test_the_search_ends_when_all_have_ended():
    calls = []

    def step(tokens, state):
        calls.append(len(tokens))
        return np.where(np.arange(3) == 2, 10.0, np.zeros((len(tokens), 3))), state

    greedy = nn.greedy_search(step, [0, 1], end=2, max_steps=100)
    assert greedy.tokens.tolist() == [[2], [2]]
    assert list(map(list, nn.generate(step, [0, 1], end=2, top_k=1))) == [[2, 2]]
    assert calls == [2, 2]
    assert nn.beam_search(step, [0], width=1, end=2, max_steps=100).tokens.tolist() == [[[2]]]
    assert len(calls) == 3
    assert nn.greedy_search(step, np.zeros(0, int), end=2, max_steps=3).tokens.shape == (0, 0)


def test_what_the_model_says_behind_the_end_does_not_matter():
    def step(tokens, state):
        return np.where((tokens == 2)[:, None], np.nan, np.log([0.1, 0.3, 0.6])), state

    for found in (
        nn.greedy_search(step, [0, 1], end=2, max_steps=3),
        nn.sample(step, [0] * 50, end=2, max_steps=3, rng=0),
        nn.beam_search(step, [0, 1], width=3, end=2, max_steps=3),
    ):
        assert np.isfinite(found.log_probs).all()


def test_generate_does_one_step_per_token_and_leaves_recording_on():
    model = Model(4, 0)
    stream = nn.generate(model, [1], model.start(1), rng=0)
    for n in range(1, 4):
        assert next(stream).shape == (1,)
        assert len(model.rows) == n
        assert (model.W * 2).requires_grad


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [True, False])
def test_layers_carry_their_state(kind, batch_first):
    """Log-probabilities of a beam over layers are those of the layers over the whole sequence."""
    rng = np.random.default_rng(0)
    options = {"rng": rng, "dtype": np.float64}
    embedding, head = nn.Embedding(5, 3, **options), nn.Linear(4, 5, **options)
    layer = kind(3, 4, 2, batch_first=batch_first, **options)

    def logits(tokens, state):
        """(B, T) to (B, T, 5)."""
        x = embedding(tokens if batch_first else tokens.T)
        y, state = layer(x, state)
        return head(y if batch_first else tg.swapaxes(y, 0, 1)) * 5, state

    def step(tokens, state):
        y, state = logits(tokens[:, None], state)
        return y[:, 0], state

    start = np.array([1, 4])
    _, state = logits(np.array([[2, 3], [0, 1]]), None)
    found = nn.beam_search(step, start, state, width=3, max_steps=6)
    for k in range(3):
        tokens = found.tokens[:, k]
        y, _ = logits(np.concatenate([start[:, None], tokens[:, :-1]], axis=1), state)
        losses = nn.cross_entropy(y, tokens, reduction="none").numpy().sum(axis=1)
        np.testing.assert_allclose(found.log_probs[:, k], -losses, rtol=1e-10)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 3), k=st.integers(1, 40))
def test_largest(seed, n, k):
    values = np.random.default_rng(seed).choice([-np.inf, 0.0, 1.0, 2.0], (n, 40))
    expected = np.argsort(-values, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(nn.decoding.largest(values, k), expected)


STEP = fixed(LOGITS)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.greedy_search(STEP, 0, max_steps=1), ValueError, r"start must be .* got int64\(\)"),
        (lambda: nn.generate(STEP, [0.5], max_steps=1), ValueError, r"got float64\(1,\)"),
        (lambda: nn.greedy_search(STEP, [0], max_steps=-1), ValueError, "must be 0 or more, got -1"),
        (lambda: nn.greedy_search(STEP, [0], end=5, max_steps=1), ValueError, "end=5 is no token: .* 0 to 4"),
        (lambda: nn.sample(STEP, [0], max_steps=1, temperature=0), ValueError, "positive and finite, got 0"),
        (lambda: nn.generate(STEP, [0], temperature=np.nan), ValueError, "positive and finite, got nan"),
        (lambda: nn.sample(STEP, [0], max_steps=1, top_k=0), ValueError, "top_k must be at least 1, got 0"),
        (lambda: nn.sample(STEP, [0], max_steps=1, top_p=0), ValueError, r"top_p must be in \(0, 1\], got 0"),
        (lambda: nn.sample(STEP, [0], max_steps=1, top_p=1.5), ValueError, "got 1.5"),
        (lambda: nn.beam_search(STEP, [0], width=0, max_steps=1), ValueError, "width of at least 1, got 0"),
        (lambda: nn.greedy_search(lambda t, s: t, [0], max_steps=1), TypeError, r"a pair .* got ndar"),
        (lambda: nn.greedy_search(lambda t, s: (LOGITS, s), [0], max_steps=1), ValueError, r"got \(5,\)"),
        (lambda: nn.greedy_search(fixed([0, np.nan]), [0], max_steps=1), ValueError, "for row 0 of 1"),
        (lambda: nn.greedy_search(fixed([-np.inf] * 2), [0], max_steps=1), ValueError, "-inf for all tokens"),
        (lambda: nn.beam_search(STEP, [0], {}, width=2, max_steps=2), TypeError, "a state that holds dict"),
        (lambda: nn.beam_search(STEP, [0], np.zeros((2, 1)), width=2, max_steps=2), ValueError,
            r"must have the 1 sequences of the step, got \(2, 1\); .* index"),
    ],
)  # fmt: skip
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
