"""Weights and layers from and to other frameworks. See README.md beside this file.

from tinygrad_rnn import convert

layer = convert.from_torch(torch.nn.LSTM(8, 16))
keras_layer.set_weights(convert.to_keras(layer))
"""

from .flax import from_flax
from .keras import from_keras, to_keras
from .onnx_reading import from_onnx
from .onnx_writing import to_onnx
from .pytorch import from_torch, to_torch, to_torch_module
from .tensorflow import from_tf1

__all__ = [
    "from_flax",
    "from_keras",
    "from_onnx",
    "from_tf1",
    "from_torch",
    "to_keras",
    "to_onnx",
    "to_torch",
    "to_torch_module",
]
