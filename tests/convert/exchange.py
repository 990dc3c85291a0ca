"""What the tests of conversion share: random models, and comparisons with other frameworks."""

import itertools

import numpy as np

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
