"""The default generator, and the ways to pass another."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.random import Draws, apart


def test_manual_seed_restarts_the_default_generator() -> None:
    first = tg.manual_seed(7).standard_normal(3)
    assert tg.default_generator() is tg.default_generator(None)
    tg.manual_seed(7)
    np.testing.assert_array_equal(tg.default_generator().standard_normal(3), first)
    assert (tg.manual_seed(8).standard_normal(3) != first).all()


def test_a_generator_or_a_seed_can_be_passed() -> None:
    rng = np.random.default_rng(3)
    assert tg.default_generator(rng) is rng
    wanted = np.random.default_rng(3).random()
    assert tg.default_generator(3).random() == wanted
    assert tg.default_generator(np.int64(3)).random() == wanted


def test_passing_one_leaves_the_default_alone() -> None:
    tg.manual_seed(1)
    tg.default_generator(5).random(10)
    assert tg.default_generator().random() == np.random.default_rng(1).random()


@pytest.mark.parametrize("wrong", ["a", 1.5, np.random.RandomState(0)])
def test_what_is_no_generator_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"rng must be a numpy\.random\.Generator, a seed or None, got"):
        tg.default_generator(wrong)


def test_apart_hands_out_one_copy_of_each_generator_and_tells_of_it() -> None:
    first, second = np.random.default_rng(1), np.random.default_rng(2)
    before = [g.bit_generator.state for g in (first, second)]
    told: list[np.random.Generator] = []
    with apart(told.append):
        numbers = [tg.default_generator(g).random() for g in (first, first, second)]
        with Draws().noted():
            numbers.append(tg.default_generator(first).random())
    assert len(told) == 2
    assert [g.bit_generator.state for g in (first, second)] == before
    assert [first.random(), first.random(), second.random(), first.random()] == numbers
    assert tg.default_generator(first) is first
