import numpy as np
import pytest

from tinygrad_rnn import draw, nn


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda both: nn.RNN(3, 5, bidirectional=both, return_state=False, rng=1),
        lambda both: nn.GRU(3, 5, 2, bidirectional=both, return_state=False, rng=1),
        lambda both: nn.LSTM(3, 5, bias=False, bidirectional=both, return_state=False, rng=1),
        lambda both: nn.LSTM(3, 5, peephole="diagonal", bidirectional=both, return_state=False, rng=1),
        lambda both: nn.Sequential(
            nn.LSTM(3, 5, 2, bidirectional=both, return_state=False, rng=1, dtype=np.float64),
            nn.Linear(10 if both else 5, 4, rng=2, dtype=np.float64),
            nn.Linear(4, 1, bias=False, rng=3, dtype=np.float64),
        ),
    ],
)
def test_a_network_is_found_again_from_its_parameters(make, both):
    model = make(both)
    found, size = draw.network(model.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 4, size))
    x = x.astype(next(model.parameters()).dtype)
    np.testing.assert_array_equal(found(x).numpy(), model(x).numpy())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "recurrent layers in it: none"),
        ({"a.weight_ih_l0": (4, 3), "b.weight_ih_l0": (4, 3)}, "recurrent layers in it: a, b"),
        ({"weight_ih_l0": (4, 3)}, "without weight_ih_l0 and weight_hh_l0"),
        ({"weight_ih_l0": (10, 3), "weight_hh_l0": (10, 5)}, "those of no RNN, GRU or LSTM"),
        ({"weight_ih_l0": (5, 3), "weight_hh_l0": (5, 5), "head.table": (5, 2)}, "head.table: no layer"),
        ({"weight_ih_l0": (5, 3), "weight_hh_l0": (5, 5), "head.weight": (2, 7)}, "head.weight: no layer"),
    ],
)
def test_what_cannot_be_drawn_is_named(state, message):
    with pytest.raises(ValueError, match=message):
        draw.network({name: np.ones(shape) for name, shape in state.items()})
