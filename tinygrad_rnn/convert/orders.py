"""The order in which each framework stacks the gates: one table, and the one function that reads it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

ORDERS = {
    "torch": {"RNN": "h", "LSTM": "ifgo", "GRU": "rzn", "peephole": "ifo"},
    "keras": {"RNN": "h", "LSTM": "ifgo", "GRU": "zrn"},
    "onnx": {"RNN": "h", "LSTM": "iofg", "GRU": "zrn", "peephole": "iof"},
    "tf1": {"RNN": "h", "LSTM": "igfo", "GRU": "rzn"},
}
"""Framework, then cell, then gates, in this library's letters; its own order is PyTorch's.

Other letters for the same gates: g, the LSTM's candidate, is c in Keras and ONNX and j in TensorFlow 1; n,
the GRU's candidate, is h in Keras and ONNX and c in TensorFlow 1; z is u there. Flax keeps an array per gate.
"""


def reorder(array: np.ndarray, kind: str, source: str, target: str, axis: int = 0) -> np.ndarray:
    """Move the blocks of an axis from one framework's order of gates to another's.

    Parameters
    ----------
    array : array
        Along ``axis``, one block of equal length per gate.
    kind : {"RNN", "LSTM", "GRU", "peephole"}
    source, target : str
        Frameworks: keys of `ORDERS`.
    axis : int
    """
    before, after = ORDERS[source][kind], ORDERS[target][kind]
    if array.shape[axis] % len(before):
        raise ValueError(
            f"the gates {', '.join(before)} of {kind} need an axis whose length is a multiple of "
            f"{len(before)}, got axis {axis} of {array.shape}"
        )
    blocks = np.split(array, len(before), axis)
    return np.concatenate([blocks[before.index(gate)] for gate in after], axis)


def opposite_update(array: np.ndarray) -> np.ndarray:
    """A GRU's weights or biases (gates r, z, n) for the other meaning of the update gate, and back.

    ``h' = z h + (1 - z) n`` (retain) and ``h' = (1 - z) h + z n`` (replace) are the same function of weights
    whose z rows differ in sign, since sigmoid(-a) = 1 - sigmoid(a). Exact: only signs change.
    """
    r, z, n = np.split(array, 3)
    return np.concatenate([r, -z, n])


def with_forget(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a coupled LSTM (i, g, o; peepholes i, o) with zeros for the forget gate that it lacks."""
    full = {}
    for name, array in state.items():
        i, *others = np.split(array, 2 if name == "peephole" else 3)
        full[name] = np.concatenate([i, np.zeros_like(i), *others])
    return full


def without_forget(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of an LSTM (i, f, g, o; peepholes i, f, o) without those of the forget gate."""
    return {
        name: np.concatenate(
            [block for k, block in enumerate(np.split(a, 3 if name == "peephole" else 4)) if k != 1]
        )
        for name, a in state.items()
    }
