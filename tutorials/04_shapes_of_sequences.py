"""Tutorial 4: one to one, one to many, many to one, many to many.

    python tutorials/04_shapes_of_sequences.py

The five shapes in which recurrent networks are drawn, each as a few lines of model and a small task that it
learns in seconds. Batches come first: x is (B, T, F).
"""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

rng = np.random.default_rng(0)


def train(model, loss_of_batch, steps, lr=0.02):
    """Adam on fresh random batches; returns the last loss."""
    optimiser = optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = loss_of_batch()
        loss.backward()
        optim.clip_grad_norm(model.parameters(), 1.0)
        optimiser.step()
    return loss.item()


# ---------------------------------------------------------------- 1. One to one: no sequence at all

# A network without time, on exclusive or. The other four shapes put a recurrent layer into its middle.
one_to_one = nn.Sequential(nn.Linear(2, 8, rng=rng), tg.tanh, nn.Linear(8, 1, rng=rng))
bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
exclusive = (bits[:, :1] != bits[:, 1:]).astype(np.float32)

train(one_to_one, lambda: nn.binary_cross_entropy_with_logits(one_to_one(bits), exclusive), 150)
assert ((one_to_one(bits) > 0) == exclusive).all()
print("one to one: exclusive or")

# ---------------------------------------------------------------- 2. One to many: a vector unrolled


class OneToMany(nn.Module):
    """A start vector becomes the first state; each step then reads the output of the step before."""

    def __init__(self, vector, hidden, rng):
        self.start = nn.Linear(vector, hidden, rng=rng)
        self.cell = nn.GRUCell(1, hidden, rng=rng)
        self.head = nn.Linear(hidden, 1, rng=rng)

    def forward(self, vector, steps):
        h = tg.tanh(self.start(vector))
        y = self.head(h)
        outputs = [y]
        for t in range(1, steps):
            with tg.scope(f"t={t}", step=t):
                y_t, h = self.cell(y, h)
                y = self.head(y_t)
            outputs.append(y)
        return tg.stack(outputs, axis=1)  # (B, T, 1)


# From the two numbers that begin it to a whole swing of a pendulum.
one_to_many = OneToMany(2, 24, rng)


def swings():
    phase = rng.uniform(0, 2 * np.pi, (32, 1))
    wave = np.sin(phase + 0.5 * np.arange(12))
    return np.hstack([np.sin(phase), np.cos(phase)]).astype(np.float32), wave[..., None].astype(np.float32)


def loss_of_swings():
    start, wave = swings()
    return nn.mse(one_to_many(start, 12), wave)


loss = train(one_to_many, loss_of_swings, 250)
assert loss < 0.01, loss
print(f"one to many: a wave from its beginning, mean squared error {loss:.4f}")

# ---------------------------------------------------------------- 3. Many to one: a sequence summed up

# return_sequences=False gives each sequence's own last output. Lengths differ, so it is at another step for
# each of them: how large is the greatest value so far?
many_to_one = nn.LSTM(1, 24, return_sequences=False, return_state=False, rng=rng)
summary = nn.Linear(24, 1, rng=rng)
both = nn.Sequential(many_to_one, summary)  # holds the parameters of the two


def loss_of_maxima():
    sequences = [rng.random((rng.integers(1, 9), 1)).astype(np.float32) for _ in range(32)]
    return nn.mse(summary(many_to_one(sequences)), np.stack([s.max(0) for s in sequences]))


loss = train(both, loss_of_maxima, 250)
assert loss < 0.01, loss
print(f"many to one: the maximum of a sequence, mean squared error {loss:.4f}")

# ---------------------------------------------------------------- 4. Many to many, in step

# An output for every input: is the number of ones so far odd?
in_step = nn.Sequential(nn.GRU(1, 16, return_state=False, rng=rng), nn.Linear(16, 1, rng=rng))


def loss_of_parity():
    bits = rng.integers(0, 2, (32, 10, 1))
    parity = (bits.cumsum(axis=1) % 2).astype(np.float32)
    return nn.binary_cross_entropy_with_logits(in_step(bits.astype(np.float32)), parity)


loss = train(in_step, loss_of_parity, 300, lr=0.03)
assert loss < 0.1, loss
print(f"many to many, in step: parity of bits, cross entropy {loss:.4f}")

# ---------------------------------------------------------------- 5. Many to many, by encoder and decoder

# The encoder's final state is the decoder's first one. While training, the decoder reads the right answer,
# one step late (teacher forcing); afterwards it reads what it has said itself. The task: say it backwards.
SYMBOLS, BEGIN = 5, 5


class EncoderDecoder(nn.Module):
    def __init__(self, hidden, rng):
        self.symbols = nn.Embedding(SYMBOLS + 1, 8, rng=rng)
        self.encoder = nn.GRU(8, hidden, rng=rng)
        self.decoder = nn.GRU(8, hidden, rng=rng)
        self.head = nn.Linear(hidden, SYMBOLS, rng=rng)

    def forward(self, source, told):
        """Logits (B, T, symbols) for the answer, of which each step is told what came before."""
        _, state = self.encoder(self.symbols(source))
        y, _ = self.decoder(self.symbols(told), state)
        return self.head(y)

    def answer(self, source, steps):
        """The likeliest symbol at each step, read back in the next: (B, steps) integers."""

        def step(symbols, state):
            y, state = self.decoder(self.symbols(symbols[:, None]), state)
            return self.head(y[:, 0]), state

        with tg.no_grad():
            _, state = self.encoder(self.symbols(source))
            start = np.full(len(source), BEGIN)
            return nn.greedy_search(step, start, state, max_steps=steps).tokens


reverse = EncoderDecoder(48, rng)


def loss_of_reversal():
    source = rng.integers(0, SYMBOLS, (48, 4))
    answer = source[:, ::-1]
    told = np.hstack([np.full((48, 1), BEGIN), answer[:, :-1]])
    return nn.cross_entropy(reverse(source, told), answer)


train(reverse, loss_of_reversal, 350, lr=0.01)
unseen = rng.integers(0, SYMBOLS, (200, 4))
share = (reverse.answer(unseen, 4) == unseen[:, ::-1]).all(axis=1).mean()
assert share > 0.9, share
print(f"many to many, encoder and decoder: {share:.0%} of sequences said backwards without a mistake")
