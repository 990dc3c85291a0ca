"""Names of other libraries lead to those that are here."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.elsewhere import _HERE, METHODS

ROOMS = {"tg": tg, "nn": nn, "optim": optim, "np": np, "x": tg.tensor([1.0])}


@pytest.mark.parametrize("name", _HERE)
def test_what_it_is_called_here_exists(name):
    for owner in ("tg", "nn", "optim", *["x"] * (name in METHODS)):
        assert not hasattr(ROOMS[owner], name), "it needs no row"
        with pytest.raises(AttributeError, match="here it is") as caught:
            getattr(ROOMS[owner], name)
        here = str(caught.value).split("here it is ")[1]
        for room, attribute in re.findall(r"\b(tg|nn|optim|np|x)\.(\w+)", here):
            assert hasattr(ROOMS[room], attribute), here


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: tg.tensor([1.0]).view(-1),
            r"'Tensor' object has no attribute 'view'; here it is x\.reshape$",
        ),
        (lambda: tg.tensor([1.0]).unbind(), r"'Tensor' .* here it is tg\.unstack$"),
        (lambda: tg.cat, r"module 'tinygrad_rnn' has no attribute 'cat'; here it is tg\.concatenate$"),
        (lambda: nn.ReLU, r"module 'tinygrad_rnn\.nn' .* 'ReLU'; here it is tg\.relu, a function"),
        (lambda: optim.RMSProp, r"module 'tinygrad_rnn\.optim' .* here it is optim\.RMSprop$"),
        (lambda: tg.tensor([1.0]).foo, "'Tensor' object has no attribute 'foo'$"),
        (lambda: nn.foo, "no attribute 'foo'$"),
    ],
)
def test_what_is_asked_of_what(ask, message):
    with pytest.raises(AttributeError, match=message):
        ask()


def test_what_is_not_there_stays_so():
    assert not hasattr(tg.tensor([1.0]), "view")
    assert getattr(nn, "MSELoss", None) is None
    assert "MSELoss" not in dir(nn)
    assert "view" not in dir(tg.tensor([1.0]))
