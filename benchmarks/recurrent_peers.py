"""Training steps of a recurrent layer by each library: forward, backward to all parameters and to the input.

A maker gives a function that does one step and returns the gradients: of x, and of the weights in the order
that PyTorch has them in.
"""

from __future__ import annotations

import numpy as np

SIZES = [(1, 32, 8, 16), (16, 32, 16, 32), (32, 64, 64, 128), (64, 100, 128, 256), (32, 50, 256, 512)]
KINDS = ["RNN", "LSTM", "GRU", "peephole"]
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3, "peephole": 4}


def data(kind, B, T, I, H):
    """x, the cotangent of the outputs, and weights: W, U, b, c, and peepholes where the kind has some."""
    rng = np.random.default_rng(0)
    G, k = GATES[kind] * H, 1 / np.sqrt(H)
    shapes = [(G, I), (G, H), (G,), (G,)] + [(3, H)] * (kind == "peephole")
    weights = [rng.uniform(-k, k, s).astype(np.float32) for s in shapes]
    x, g = [rng.standard_normal((B, T, n)).astype(np.float32) for n in (I, H)]
    return x, g, weights


# ------------------------------------------------------------------------------------------------- ours


def ours(kind, x, g, weights, backend):
    import tinygrad_rnn as tg
    from tinygrad_rnn import nn

    class Peephole(nn.Module):
        def __init__(self):
            self.W, self.U, self.b, self.c, self.p = map(nn.Parameter, weights)

        def initial_state(self, batch):
            zeros = tg.tensor(np.zeros((batch, self.U.shape[1]), np.float32))
            return zeros, zeros

        def forward(self, x, state):
            h, c = state
            a = tg.linear(x, self.W) + self.b + tg.linear(h, self.U) + self.c
            i, f, z, o = tg.split(a, 4, axis=-1)
            c = tg.sigmoid(f + self.p[1] * c) * c + tg.sigmoid(i + self.p[0] * c) * np.tanh(z)
            h = tg.sigmoid(o + self.p[2] * c) * np.tanh(c)
            return h, (h, c)

    if kind == "peephole":
        layer = nn.Recurrent(Peephole(), return_state=False)
    else:
        layer = getattr(nn, kind)(x.shape[2], g.shape[2], return_state=False)
        for p, w in zip(layer.parameters(), weights, strict=True):
            p.assign_(w)
    tg.compile(layer, backend=backend)
    x = tg.tensor(x, requires_grad=True)

    def step():
        layer.zero_grad()
        x.grad = None
        layer(x).backward(g)
        return [x.grad.numpy(), *[p.grad.numpy() for p in layer.parameters()]]

    return step


# ---------------------------------------------------------------------------------------------- PyTorch


def torch_cell(kind):
    import torch

    sigmoid, tanh = torch.sigmoid, torch.tanh

    def rnn(x, state, W, U, b, c):
        h = tanh(x @ W.T + b + state[0] @ U.T + c)
        return h, (h,)

    def lstm(x, state, W, U, b, d, p=None):
        h, c = state
        i, f, z, o = (x @ W.T + b + h @ U.T + d).chunk(4, -1)
        if p is not None:
            i, f = i + p[0] * c, f + p[1] * c
        c = sigmoid(f) * c + sigmoid(i) * tanh(z)
        o = o if p is None else o + p[2] * c
        h = sigmoid(o) * tanh(c)
        return h, (h, c)

    def gru(x, state, W, U, b, c):
        (h,) = state
        r_x, z_x, n_x = (x @ W.T + b).chunk(3, -1)
        r_h, z_h, n_h = (h @ U.T + c).chunk(3, -1)
        r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
        h = (1 - z) * tanh(n_x + r * n_h) + z * h
        return h, (h,)

    return {"RNN": rnn, "GRU": gru, "LSTM": lstm, "peephole": lstm}[kind]


def torch_loop(kind, x, g, weights, compiled=False):
    import torch

    cell = torch.compile(torch_cell(kind)) if compiled else torch_cell(kind)
    parameters = [torch.tensor(w, requires_grad=True) for w in weights]
    x, g = torch.tensor(x, requires_grad=True), torch.tensor(g)
    states = 2 if kind in ("LSTM", "peephole") else 1

    def step():
        for p in (x, *parameters):
            p.grad = None
        state = (torch.zeros(x.shape[0], g.shape[2]),) * states
        outputs = []
        for t in range(x.shape[1]):
            h, state = cell(x[:, t], state, *parameters)
            outputs.append(h)
        torch.stack(outputs, 1).backward(g)
        return [p.grad.numpy() for p in (x, *parameters)]

    return step


def torch_built_in(kind, x, g, weights):
    import torch

    layer = getattr(torch.nn, kind)(x.shape[2], g.shape[2], batch_first=True)
    with torch.no_grad():
        for p, w in zip(layer.parameters(), weights, strict=True):
            p.copy_(torch.tensor(w))
    x, g = torch.tensor(x, requires_grad=True), torch.tensor(g)

    def step():
        for p in (x, *layer.parameters()):
            p.grad = None
        layer(x)[0].backward(g)
        return [p.grad.numpy() for p in (x, *layer.parameters())]

    return step


# -------------------------------------------------------------------------------------------------- JAX


def jax_scan(kind, x, g, weights):
    import jax
    import jax.numpy as jnp

    sigmoid, tanh = jax.nn.sigmoid, jnp.tanh

    def cell(state, x_t, W, U, b, c, p=None):
        h = state[0]
        if kind == "RNN":
            h = tanh(x_t @ W.T + b + h @ U.T + c)
            return (h,), h
        if kind == "GRU":
            r_x, z_x, n_x = jnp.split(x_t @ W.T + b, 3, -1)
            r_h, z_h, n_h = jnp.split(h @ U.T + c, 3, -1)
            r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
            h = (1 - z) * tanh(n_x + r * n_h) + z * h
            return (h,), h
        s = state[1]
        i, f, z, o = jnp.split(x_t @ W.T + b + h @ U.T + c, 4, -1)
        if p is not None:
            i, f = i + p[0] * s, f + p[1] * s
        s = sigmoid(f) * s + sigmoid(i) * tanh(z)
        o = o if p is None else o + p[2] * s
        h = sigmoid(o) * tanh(s)
        return (h, s), h

    states = 2 if kind in ("LSTM", "peephole") else 1
    zeros = (jnp.zeros((x.shape[0], g.shape[2])),) * states

    def loss(x, g, weights):
        _, ys = jax.lax.scan(lambda s, x_t: cell(s, x_t, *weights), zeros, x.swapaxes(0, 1))
        return (ys.swapaxes(0, 1) * g).sum()

    gradients = jax.jit(jax.grad(loss, (0, 2)))
    x, g, weights = jnp.asarray(x), jnp.asarray(g), [jnp.asarray(w) for w in weights]

    def step():
        gx, gw = jax.block_until_ready(gradients(x, g, weights))
        return [np.asarray(a) for a in (gx, *gw)]

    return step


# ---------------------------------------------------------------------------------------------- the floor


def floor(x, g, weights):
    """The six products of a step, each in one call on the rows of all time steps."""
    W, U = weights[:2]
    rows = x.shape[0] * x.shape[1]
    X, Hs = x.reshape(rows, -1), g.reshape(rows, -1)
    D = np.ones((rows, len(W)), np.float32)

    def step():
        np.dot(X, W.T), np.dot(Hs, U.T), np.dot(D, W), np.dot(D, U), np.dot(D.T, X), np.dot(D.T, Hs)

    return step


# --------------------------------------------------------------------------------------------------- all


def peers(kind, size, torch_compile=False):
    """All of them, by name, after a look whether their gradients agree."""
    x, g, weights = data(kind, *size)
    made = {
        "ours": ours(kind, x, g, weights, "numba"),
        "ours, NumPy alone": ours(kind, x, g, weights, "numpy"),
    }
    if kind != "peephole":
        made["PyTorch built-in"] = torch_built_in(kind, x, g, weights)
    made["PyTorch own cell"] = torch_loop(kind, x, g, weights)
    if torch_compile:
        made["PyTorch own cell, torch.compile"] = torch_loop(kind, x, g, weights, compiled=True)
    made["JAX scan"] = jax_scan(kind, x, g, weights)
    wanted = made["PyTorch own cell"]()
    for name, step in made.items():
        for a, b in zip(step(), wanted, strict=True):
            error = np.abs(a - b).max() / np.abs(b).max()
            assert error < 1e-4, f"{name}, {kind} {size}: gradients differ by {error}"
    made["products alone"] = floor(x, g, weights)
    return made
