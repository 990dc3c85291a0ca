"""What the tests of conversion share: random models, and comparisons with other frameworks."""

import itertools

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.convert import orders

KINDS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


def randomised(model, seed):
    """The model with all parameters random, also those that begin as 0 or 1, in evaluation mode."""
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.assign_((0.5 * rng.standard_normal(p.shape)).astype(p.dtype))
    return model.eval()


def arrays(result):
    """All tensors of a nested result, from left to right, as arrays."""
    if isinstance(result, (tuple, list)):
        return [a for part in result for a in arrays(part)]
    return [result.detach().numpy() if hasattr(result, "detach") else np.asarray(result)]


def difference(ours, theirs):
    """The largest difference between results of the same shapes; infinite where shapes differ."""
    ours, theirs = arrays(ours), arrays(theirs)
    if [a.shape for a in ours] != [a.shape for a in theirs]:
        return np.inf
    return max((np.abs(a - b).max(initial=0) for a, b in zip(ours, theirs, strict=True)), default=0)


def same_weights(one, other):
    """Whether two models have the same names and, bit for bit, the same values."""
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(
        a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes() for name in a
    )


def other_orders(framework, kind):
    """Every order of gates but the right one."""
    right = orders.ORDERS[framework][kind]
    return [other for p in itertools.permutations(right) if (other := "".join(p)) != right]


def some_sequential(seed):
    """A random chain of layers, and its input."""
    rng = np.random.default_rng(seed)
    functions = [tg.tanh, tg.relu, tg.sigmoid, tg.softmax, tg.log_softmax, tg.elu, tg.leaky_relu, tg.softplus]
    steps = []
    if rng.random() < 0.5:
        steps.append(nn.Embedding(9, 3))
        x = rng.integers(0, 9, (2, 5))
    else:
        x = rng.standard_normal((2, 5, 3)).astype(np.float32)
    size, timed = 3, True
    for _ in range(rng.integers(2, 6)):
        kind = rng.choice(["recurrent", "stacked", "linear", "norm", "dropout", "function"])
        if kind == "recurrent" and timed:
            timed = rng.random() < 0.7
            layers = int(rng.integers(1, 3))
            layer = KINDS[rng.choice(list(KINDS))](
                size, 4, layers, bidirectional=bool(rng.integers(2)), return_state=False,
                return_sequences=timed, dropout=float(rng.choice([0, 0.3])) if layers > 1 else 0.0,
            )  # fmt: skip
            size = layer.output_size
        elif kind == "stacked" and timed:
            layer = nn.Stacked(
                [nn.GRU(size, 4, return_state=False), nn.LSTM(4, 5, return_state=False)], dropout=0.2
            )
            size = 5
        elif kind == "linear":
            out = int(rng.integers(2, 5))
            layer, size = nn.Linear(size, out, bool(rng.integers(2))), out
        elif kind == "norm":
            layer = nn.LayerNorm(size, eps=float(rng.choice([1e-5, 1e-3])))
        elif kind == "function":
            layer = functions[rng.integers(len(functions))]
        else:
            layer = nn.Dropout(0.3)
        steps.append(layer)
    if not any(hasattr(step, "return_sequences") for step in steps) and x.ndim == 3:
        x = x[:, 0]  # without time there is no axis for it
    return randomised(nn.Sequential(*steps), seed), x
