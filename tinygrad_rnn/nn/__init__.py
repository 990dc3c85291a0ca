"""Layers, cells, the loop over time, and losses. See README.md beside this file."""

import sys as _sys
from typing import TYPE_CHECKING

from ..elsewhere import missing as _missing
from .attention import AdditiveAttention, MultiplicativeAttention
from .cells import GRUCell, LSTMCell, MGUCell, RNNCell
from .ctc import ctc_beam_decode, ctc_greedy_decode, ctc_loss
from .decoding import beam_search, generate, greedy_search, sample
from .files import load_state, save_state
from .gated import GRU, LSTM, MGU, RNN
from .layers import Dropout, Embedding, LayerNorm, Linear
from .losses import binary_cross_entropy_with_logits, cross_entropy, huber, mae, mse
from .module import Module, Parameter, Sequential
from .packing import pad, unpad
from .recurrent import Recurrent
from .scan import scan
from .states import DirectionStates, HiddenState, LayerStates, LSTMState, StateTuple
from .wrappers import Bidirectional, Stacked, tbptt

__all__ = [
    "GRU",
    "LSTM",
    "MGU",
    "RNN",
    "AdditiveAttention",
    "Bidirectional",
    "DirectionStates",
    "Dropout",
    "Embedding",
    "GRUCell",
    "HiddenState",
    "LSTMCell",
    "LSTMState",
    "LayerNorm",
    "LayerStates",
    "Linear",
    "MGUCell",
    "Module",
    "MultiplicativeAttention",
    "Parameter",
    "RNNCell",
    "Recurrent",
    "Sequential",
    "Stacked",
    "StateTuple",
    "beam_search",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "ctc_beam_decode",
    "ctc_greedy_decode",
    "ctc_loss",
    "generate",
    "greedy_search",
    "huber",
    "load_state",
    "mae",
    "mse",
    "pad",
    "sample",
    "save_state",
    "scan",
    "tbptt",
    "unpad",
]


if not TYPE_CHECKING:

    def __getattr__(name):
        raise _missing(_sys.modules[__name__], "nn", name, f"module {__name__!r}")
