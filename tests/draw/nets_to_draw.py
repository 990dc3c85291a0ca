"""Small networks for the tests of diagrams, made with scopes alone, so that their tapes stay as they are."""

import itertools

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.draw.rendering import RenderError, lay_out


def _can_lay_out():
    try:
        lay_out(["digraph { a }"])
    except RenderError:
        return False
    return True


needs_graphviz = pytest.mark.skipif(
    not _can_lay_out(), reason="neither the dot program nor pygraphviz is installed"
)


def leaf(name, *shape):
    size = int(np.prod(shape))
    made = tg.tensor(np.linspace(-1.0, 1.0, size).reshape(shape), requires_grad=True)
    made.name = name
    return made


def plain():
    """An expression without scopes, in which an array is read twice and a number appears."""
    a, b = leaf("a", 3), leaf("b", 3)
    return (tg.tanh(a * b + 2.0) / (1.0 + a * a)).sum()


def unused_outputs():
    """A split of which two outputs of four are read."""
    parts = tg.split(leaf("x", 2, 8), 4, axis=1)
    return (parts[0] * parts[2]).sum()


def steps(times):
    """Steps of h = tanh(h W' + x), with W transposed once before the loop."""
    weight = leaf("W", 2, 2)
    h = np.zeros((1, 2))
    with tg.scope("rnn"):
        turned = weight.T
        for t in times:
            with tg.scope(f"t={t}", step=t):
                h = tg.tanh(h @ turned + np.ones((1, 2)))
    return h


def rnn(x, name, hidden=4, reverse=False):
    weight_ih, weight_hh = (
        leaf(f"weight_ih{name}", hidden, x.shape[-1]),
        leaf(f"weight_hh{name}", hidden, hidden),
    )
    bias = leaf(f"bias{name}", hidden)
    length = x.shape[1]
    h = np.zeros((len(x), hidden))
    outputs = [None] * length
    with tg.scope(f"l{name}"):
        w, u = weight_ih.T, weight_hh.T
        parts = tg.unstack(x, axis=1)
        for t in reversed(range(length)) if reverse else range(length):
            with tg.scope(f"t={t}", step=t):
                h = outputs[t] = tg.tanh(parts[t] @ w + h @ u + bias)
        return tg.stack(outputs, axis=1)


def bidirectional(length=4, layers=2):
    x = tg.tensor(np.ones((2, length, 3)))
    with tg.scope("rnn"):
        for k in range(layers):
            both = [rnn(x, f"{k}"), rnn(x, f"{k}_reverse", reverse=True)]
            x = tg.concatenate(both, axis=-1)
    return x


def lstm(length=4, hidden=4):
    """An LSTM that turns its weights in each step, a linear head and a mean squared error."""
    weight_ih, weight_hh = leaf("weight_ih", 4 * hidden, 3), leaf("weight_hh", 4 * hidden, hidden)
    bias_ih, bias_hh = leaf("bias_ih", 4 * hidden), leaf("bias_hh", 4 * hidden)
    x = np.ones((2, length, 3))
    h = c = np.zeros((2, hidden))
    outputs = []
    with tg.scope("lstm"), tg.scope("l0"):
        for t in range(length):
            with tg.scope(f"t={t}", step=t):
                z = x[:, t] @ weight_ih.T + bias_ih + (h @ weight_hh.T + bias_hh)
                i, f, g, o = tg.split(z, 4, axis=-1)
                c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
                h = tg.sigmoid(o) * tg.tanh(c)
                outputs.append(h)
        y = tg.stack(outputs, axis=1)
    with tg.scope("head"):
        y = y @ leaf("weight", 1, hidden).T + leaf("bias", 1)
    with tg.scope("mse"):
        return ((y - np.ones((2, length, 1))) ** 2).mean()


def gru(length=4, layers=2, hidden=4):
    """A GRU of several layers, with a module of its own inside each step."""
    x = tg.tensor(np.ones((2, length, 3)))
    with tg.scope("gru"):
        for k in range(layers):
            w, u = (
                leaf(f"weight_ih_l{k}", 3 * hidden, x.shape[-1]),
                leaf(f"weight_hh_l{k}", 3 * hidden, hidden),
            )
            b, v = leaf(f"bias_ih_l{k}", 3 * hidden), leaf(f"bias_hh_l{k}", 3 * hidden)
            h = np.zeros((2, hidden))
            outputs = []
            with tg.scope(f"l{k}"):
                for t, x_t in enumerate(tg.unstack(x, axis=1)):
                    with tg.scope(f"t={t}", step=t), tg.scope("cell"):
                        r_x, z_x, n_x = tg.split(x_t @ w.T + b, 3, axis=-1)
                        r_h, z_h, n_h = tg.split(h @ u.T + v, 3, axis=-1)
                        z, r = tg.sigmoid(z_x + z_h), tg.sigmoid(r_x + r_h)
                        h = (1 - z) * tg.tanh(n_x + r * n_h) + z * h
                    outputs.append(h)
                x = tg.stack(outputs, axis=1)
    return x


RECURRENT = {
    f"{net.__name__}-{length}": (net, length)
    for net, length in itertools.product((lstm, bidirectional, gru), (2, 3, 4, 6))
}
