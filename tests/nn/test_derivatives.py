"""First, second and third derivatives through every cell and option, against numerical ones.

The input, the initial states and all parameters are moved along random directions, so that one number each
stands for all of their elements: a wrong derivative of any element shows in it.
"""

import numpy as np
import pytest
from rnn_oracles import parts_of, randomise, state_of

import tinygrad_rnn as tg
from tinygrad_rnn import nn

LAYERS = {
    "RNN": lambda **o: nn.RNN(2, 3, **o),
    "RNN-callable": lambda **o: nn.RNN(2, 3, nonlinearity=tg.sin, **o),
    "RNN-relu": lambda **o: nn.RNN(2, 3, nonlinearity="relu", **o),
    "GRU": lambda **o: nn.GRU(2, 3, **o),
    "GRU-replace": lambda **o: nn.GRU(2, 3, update_gate="replace", **o),
    "GRU-before": lambda **o: nn.GRU(2, 3, reset_after=False, **o),
    "GRU-before-replace": lambda **o: nn.GRU(2, 3, reset_after=False, update_gate="replace", **o),
    "MGU": lambda **o: nn.MGU(2, 3, **o),
    "LSTM": lambda **o: nn.LSTM(2, 3, **o),
    "LSTM-diagonal": lambda **o: nn.LSTM(2, 3, peephole="diagonal", **o),
    "LSTM-full": lambda **o: nn.LSTM(2, 3, peephole="full", proj_size=2, **o),
    "LSTM-clip": lambda **o: nn.LSTM(2, 3, clip=0.5, **o),
    "LSTM-coupled": lambda **o: nn.LSTM(2, 3, coupled=True, peephole="diagonal", **o),
    "LSTM-norm": lambda **o: nn.LSTM(2, 3, layer_norm=True, **o),
    "LSTM-zoneout": lambda **o: nn.LSTM(2, 3, zoneout=(0.3, 0.4), **o),
    "LSTM-swish": lambda **o: nn.LSTM(2, 3, cell_activation="silu", output_activation=tg.sin, **o),
    "dropout": lambda **o: nn.GRU(2, 3, 2, recurrent_dropout=0.4, dropout=0.3, **o),
    "merged": lambda **o: nn.LSTM(2, 3, bidirectional=True, merge="mul", **o),
}


def along_directions(layer, x, lengths, rng):
    """A function of three numbers, at 0: how far the input, the states and the parameters have moved."""
    owners = [(cell, name) for cell in layer.children() for name in cell._parameters]
    state = layer(x, lengths=lengths)[1]
    values = [x, *[rng.standard_normal(p.shape) for p in parts_of(state)]]
    values += [cell._parameters[name].numpy() for cell, name in owners]
    directions = [rng.standard_normal(v.shape) for v in values]
    held = [cell._parameters[name] for cell, name in owners]

    def run(*steps):
        for module in layer.modules():  # the same random choices every time
            for name in ("rng", "_rng"):
                if name in vars(module):
                    setattr(module, name, np.random.default_rng(0))
        n = 1 + len(parts_of(state))
        how_far = [steps[0], *[steps[1]] * (n - 1), *[steps[2]] * len(owners)]
        moved = [v + s * d for v, s, d in zip(values, how_far, directions, strict=True)]
        for (cell, name), value in zip(owners, moved[n:], strict=True):
            cell._parameters[name] = value
        try:
            y, final = layer(moved[0], state_of(layer, moved[1:n]), lengths=lengths)
            few = layer(moved[0][:, :1])[1]  # from the learned initial states
        finally:
            for (cell, name), value in zip(owners, held, strict=True):
                cell._parameters[name] = value
        return (y, *parts_of(final), *parts_of(few))

    return run


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("steps", [0, 1, 7])
@pytest.mark.parametrize("name", LAYERS)
def test_first_and_second_derivatives(name, steps, batch):
    rng = np.random.default_rng(0)
    layer = LAYERS[name](rng=rng, dtype=np.float64, learn_initial_state=True)
    randomise(layer, rng, 0.6)
    x = rng.standard_normal((batch, steps, 2))
    lengths = np.array([0, 7, 3]) if (batch, steps) == (3, 7) else None
    run, zeros = along_directions(layer, x, lengths, rng), [np.zeros(()) for _ in range(3)]
    report = tg.gradcheck(run, *zeros)
    assert report
    assert report.checked == 3
    if name not in ("RNN-relu", "LSTM-clip"):
        assert report.method == "complex"
    assert tg.gradgradcheck(run, *zeros)


def test_third_derivatives_through_an_lstm_with_lengths():
    """The gradient of a curvature, against central differences."""
    rng = np.random.default_rng(0)
    layer = randomise(nn.LSTM(2, 3, bidirectional=True, rng=rng, dtype=np.float64), rng)
    v = rng.standard_normal((3, 4, 2))

    def f(x):
        y, (h, c) = layer(x, lengths=[4, 1, 2])
        return (y * y).sum() + (h * c).sum()

    def curvature(x):
        return (tg.grad(lambda z: (tg.grad(f)(z) * v).sum())(x) * v).sum()

    assert tg.gradcheck(curvature, rng.standard_normal((3, 4, 2)), method="central")
