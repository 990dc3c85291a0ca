"""Layers, cells, the loop over time, and losses. See README.md beside this file."""

from .attention import AdditiveAttention, MultiplicativeAttention
from .cells import GRUCell, LSTMCell, RNNCell
from .decoding import beam_search, generate, greedy_search, sample
from .files import load_state, save_state
from .layers import Dropout, Embedding, LayerNorm, Linear
from .losses import binary_cross_entropy_with_logits, cross_entropy, huber, mae, mse
from .module import Module, Parameter, Sequential
from .recurrent import GRU, LSTM, RNN, Bidirectional, scan

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdditiveAttention",
    "Bidirectional",
    "Dropout",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "Module",
    "MultiplicativeAttention",
    "Parameter",
    "RNNCell",
    "Sequential",
    "beam_search",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "generate",
    "greedy_search",
    "huber",
    "load_state",
    "mae",
    "mse",
    "sample",
    "save_state",
    "scan",
]
