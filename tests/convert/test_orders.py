"""The table of gate orders, and what moves blocks by it."""

import numpy as np
import pytest

from tinygrad_rnn import convert
from tinygrad_rnn.convert.orders import ORDERS, opposite_update, reorder, with_forget, without_forget


@pytest.mark.parametrize("framework", ORDERS)
@pytest.mark.parametrize("axis", [0, 1])
def test_reorder_moves_whole_blocks_and_comes_back(framework, axis):
    for kind, order in ORDERS[framework].items():
        blocks = {gate: np.full((2, 2), ord(gate)) for gate in order}
        ours = np.concatenate([blocks[gate] for gate in ORDERS["torch"][kind]], axis)
        theirs = reorder(ours, kind, "torch", framework, axis)
        np.testing.assert_array_equal(theirs, np.concatenate([blocks[gate] for gate in order], axis))
        np.testing.assert_array_equal(reorder(theirs, kind, framework, "torch", axis), ours)


def test_reorder_refuses_what_does_not_divide():
    with pytest.raises(
        ValueError, match=r"i, f, g, o of LSTM need an axis .* multiple of 4, got axis 0 of \(6, 2\)"
    ):
        reorder(np.zeros((6, 2)), "LSTM", "torch", "onnx")


def test_the_other_update_gate_changes_signs_of_z_alone():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((9, 4))
    other = opposite_update(w)
    np.testing.assert_array_equal(other, np.concatenate([w[:3], -w[3:6], w[6:]]))
    np.testing.assert_array_equal(opposite_update(other), w)


def test_a_forget_gate_comes_and_goes():
    rng = np.random.default_rng(0)
    state = {"weight_ih": rng.standard_normal((6, 3)), "peephole": rng.standard_normal(4)}
    full = with_forget(state)
    assert full["weight_ih"].shape == (8, 3)
    assert not full["weight_ih"][2:4].any()
    assert not full["peephole"][2:4].any()
    for name, back in without_forget(full).items():
        np.testing.assert_array_equal(back, state[name])


def test_the_room_is_found_by_its_name():
    import tinygrad_rnn as tg

    assert tg.convert is convert
    assert {f"{way}_{other}" for way in ("from", "to") for other in ("torch", "keras", "onnx")} <= set(
        convert.__all__
    )
