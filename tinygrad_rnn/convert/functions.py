"""Functions between layers under the names of each framework: one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import ops

_TABLE: tuple[tuple[Any, ...], ...] = (
    # here, torch.nn, keras.activations, ONNX
    (ops.tanh, "Tanh", "tanh", "Tanh"),
    (ops.relu, "ReLU", "relu", "Relu"),
    (ops.sigmoid, "Sigmoid", "sigmoid", "Sigmoid"),
    (ops.softmax, "Softmax", "softmax", "Softmax"),
    (ops.log_softmax, "LogSoftmax", "log_softmax", "LogSoftmax"),
    (ops.softplus, None, "softplus", "Softplus"),  # PyTorch's is x itself from 20 on
    (ops.elu, "ELU", "elu", "Elu"),
    (ops.leaky_relu, "LeakyReLU", None, "LeakyRelu"),  # Keras's slope is 0.2
    (ops.hard_sigmoid, "Hardsigmoid", "hard_sigmoid", "HardSigmoid"),
    (ops.silu, "SiLU", "silu", None),
    (ops.gelu, "GELU", None, None),  # Keras's default is the same, but may be set otherwise
)
ATTRIBUTES: dict[str, dict[str, float]] = {
    "HardSigmoid": {"alpha": 1 / 6, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
    "Elu": {"alpha": 1.0},
    "Softmax": {"axis": -1},
    "LogSoftmax": {"axis": -1},
}
"""What makes ONNX's operators our functions."""
DEFAULTS = {
    ("HardSigmoid", "alpha"): 0.2, ("HardSigmoid", "beta"): 0.5, ("LeakyRelu", "alpha"): 0.01, ("Elu",
    "alpha"): 1.0, ("Softmax", "axis"): -1, ("LogSoftmax", "axis"): -1,
}  # fmt: skip
"""What ONNX takes where a node does not say."""

_COLUMNS = {"torch": 1, "keras": 2, "onnx": 3}


def name_of(function: Any, framework: str) -> str | None:
    """What a framework calls one of our functions, or None where it has none such."""
    return next((row[_COLUMNS[framework]] for row in _TABLE if row[0] is function), None)


def function_of(name: str, framework: str) -> Callable[[Any], Any] | None:
    """Our function for a framework's name, or None where there is none such."""
    return next((row[0] for row in _TABLE if row[_COLUMNS[framework]] == name), None)


def listed(framework: str) -> str:
    """Our functions that a framework has, for errors."""
    return ", ".join(f"tg.{row[0].name}" for row in _TABLE if row[_COLUMNS[framework]])
