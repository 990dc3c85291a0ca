"""Models as people draw them for papers, for the tests of what pictures look like."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

LENGTH = 3


class Headed(nn.Module):
    """A layer, and a linear map of its last output."""

    def __init__(self, layer, size):
        super().__init__()
        self.rnn, self.head = layer, nn.Linear(size, 2, rng=0)

    def forward(self, x):
        out = self.rnn(x)
        out = out[0] if isinstance(out, tuple) else out
        return self.head(out[:, -1])


class Attending(nn.Module):
    """An encoder, and a decoder that attends to its outputs at every step."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.GRU(3, 4, bidirectional=True, merge="sum", rng=0)
        self.attention = nn.AdditiveAttention(4, 4, rng=0)
        self.cell = nn.GRUCell(7, 4, rng=0)
        self.head = nn.Linear(4, 3, rng=0)

    def forward(self, x, steps=3):
        memory, _ = self.encoder(x)
        keys = self.attention.memory(memory)
        h, y, outputs = memory[:, -1], np.zeros((len(x), 3), np.float32), []
        for t in range(steps):
            with tg.scope(f"t={t}", step=t):
                context, _ = self.attention(h[:, None], keys)
                _, h = self.cell(tg.concatenate([y, context[:, 0]], axis=-1), h)
                y = self.head(h)
                outputs.append(y)
        return tg.stack(outputs, axis=1)


def x(length=LENGTH, batch=2):
    return np.random.default_rng(0).standard_normal((batch, length, 3)).astype(np.float32)


def mean_squared(y):
    return ((y - 1.0) ** 2).mean()


MODELS = {
    "rnn": lambda: Headed(nn.RNN(3, 4, rng=0), 4),
    "gru": lambda: Headed(nn.GRU(3, 4, rng=0), 4),
    "gru, reset before": lambda: Headed(nn.GRU(3, 4, reset_after=False, rng=0), 4),
    "lstm": lambda: Headed(nn.LSTM(3, 4, rng=0), 4),
    "peephole": lambda: Headed(nn.LSTM(3, 4, peephole="diagonal", rng=0), 4),
    "mgu": lambda: Headed(nn.MGU(3, 4, rng=0), 4),
    "bidirectional": lambda: Headed(nn.GRU(3, 4, bidirectional=True, rng=0), 8),
    "bidirectional, last": lambda: nn.LSTM(
        3, 4, bidirectional=True, return_sequences=False, return_state=False, rng=0
    ),
    "stacked": lambda: Headed(nn.LSTM(3, 4, 2, rng=0), 4),
    "attention": Attending,
}


def loss(name, length=LENGTH):
    """The mean squared error of a model's output for inputs of some length."""
    return mean_squared(MODELS[name]()(x(length)))
