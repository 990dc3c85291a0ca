"""Whole models that must find out what belongs to what: encoder, attention and decoder; and CTC."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

START, END, LETTERS, LONGEST = 1, 2, range(3, 8), 5  # 0 is padding


def words(rng, batch):
    """Random words, padded, their lengths, and the words reversed, with the end token behind."""
    lengths = rng.integers(1, LONGEST + 1, batch)
    source, target = np.zeros((batch, LONGEST), int), np.zeros((batch, LONGEST + 1), int)
    for word, reverse, n in zip(source, target, lengths, strict=True):
        word[:n] = rng.choice(LETTERS, n)
        reverse[: n + 1] = [*word[:n][::-1], END]
    return source, lengths, target


class Reverser(nn.Module):
    """Reads a word and writes it backwards: an encoder, attention over its outputs, a decoder."""

    def __init__(self, attention, size, rng):
        self.embedding = nn.Embedding(8, 8, rng=rng)
        self.encoder = nn.GRU(8, size, rng=rng)
        self.attention = attention(size, size, rng=rng)
        self.decoder = nn.GRUCell(8 + size, size, rng=rng)
        self.head = nn.Linear(2 * size, 8, rng=rng)

    def encode(self, source, lengths):
        """The decoder's state before its first step."""
        outputs, h = self.encoder(self.embedding(source), lengths=lengths)
        memory = self.attention.memory(outputs, lengths=lengths)
        h = h[:, 0]
        return h, h * 0, memory

    def step(self, tokens, state):
        h, context, memory = state
        h, _ = self.decoder(tg.concatenate([self.embedding(tokens), context], axis=-1), h)
        context, self.weights = self.attention(h, memory)
        return self.head(tg.concatenate([h, context], axis=-1)), (h, context, memory)

    def loss(self, source, lengths, target):
        """Each step sees the right token before it."""
        state = self.encode(source, lengths)
        before = np.concatenate([np.full((len(target), 1), START), target[:, :-1]], axis=1)
        logits = []
        for tokens in before.T:
            y, state = self.step(tokens, state)
            logits.append(y)
        return nn.cross_entropy(tg.stack(logits, axis=1), target, ignore_index=0)


def right(found, target):
    """The share of sequences that were decoded without a mistake."""
    rows = zip(found.tolist(), target.tolist(), strict=True)
    return np.mean([[*row[: row.index(END)], END] == want[: want.index(END) + 1] for row, want in rows])


@pytest.mark.parametrize("attention", [nn.AdditiveAttention, nn.MultiplicativeAttention])
def test_an_encoder_and_a_decoder_learn_to_reverse(attention):
    rng = np.random.default_rng(0)
    model = Reverser(attention, 24, rng)
    optimiser = optim.Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        optimiser.zero_grad()
        model.loss(*words(rng, 48)).backward()
        optim.clip_grad_norm(model.parameters(), 1.0)
        optimiser.step()
    source, lengths, target = words(rng, 200)
    start, state = np.full(200, START), model.encode(source, lengths)
    greedy = nn.greedy_search(model.step, start, state, end=END, max_steps=20)
    beams = nn.beam_search(model.step, start, state, width=3, end=END, max_steps=20)
    assert right(greedy.tokens, target) > 0.9
    assert right(beams.tokens[:, 0], target) > 0.9
    assert (beams.log_probs[:, 0] >= greedy.log_probs - 1e-4).mean() > 0.9
    for u in range(LONGEST):  # step u reads the letter that it writes
        writing = lengths > u
        _, state = model.step(start, state)
        read = model.weights.numpy().argmax(axis=1)
        assert (read == lengths - 1 - u)[writing].mean() > 0.9
        start = target[:, u]


def signals(rng, batch):
    """Labels 1 to 3 as pulses of varying length and distance in noise: which step is which is not told."""
    labels, lengths = rng.integers(1, 4, (batch, 3)), rng.integers(0, 4, batch)
    x = rng.standard_normal((batch, 15, 3)) * 0.2
    for row, word, n in zip(x, labels, lengths, strict=True):
        t = 0
        for label in word[:n]:
            t += rng.integers(1, 4)
            width = rng.integers(1, 3)
            row[t : t + width, label - 1] += 1
            t += width
    return x.astype(np.float32), labels, lengths


def test_ctc_learns_to_read_pulses():
    rng = np.random.default_rng(1)
    layer = nn.GRU(3, 12, bidirectional=True, return_state=False, rng=rng)
    model = nn.Sequential(layer, nn.Linear(24, 4, rng=rng))
    optimiser = optim.Adam(model.parameters(), lr=0.03)

    def log_probs(x):
        return tg.log_softmax(tg.swapaxes(model(x), 0, 1), axis=-1)

    for _ in range(150):
        x, labels, lengths = signals(rng, 32)
        optimiser.zero_grad()
        nn.ctc_loss(log_probs(x), labels, np.full(32, 15), lengths).backward()
        optimiser.step()
    x, labels, lengths = signals(rng, 100)
    with tg.no_grad():
        y = log_probs(x)
    greedy = [found.labels.tolist() for found in nn.ctc_greedy_decode(y)]
    beams = [found[0].labels.tolist() for found in nn.ctc_beam_decode(y, width=5)]
    expected = [word[:n].tolist() for word, n in zip(labels, lengths, strict=True)]
    for found in (greedy, beams):
        assert np.mean([a == b for a, b in zip(found, expected, strict=True)]) > 0.9
