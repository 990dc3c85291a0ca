"""Recurrent cells, one time step each: ``cell(x_t, state) -> (y_t, state)``. See README.md beside."""

from .gru import GRUCell
from .lstm import LSTMCell
from .mgu import MGUCell
from .rnn import RNNCell

__all__ = ["GRUCell", "LSTMCell", "MGUCell", "RNNCell"]
