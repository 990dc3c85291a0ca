"""The layers RNN, LSTM, GRU and MGU: `Recurrent` with cells of one kind, made from sizes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..random import default_generator
from .cells import GRUCell, LSTMCell, MGUCell, RNNCell
from .cells.cell import Activation, Rng
from .options import checked_flag, checked_size
from .recurrent import Recurrent

_NEEDED: Any = None
"""A default that is refused: Python's own words for what is missing do not say what it is."""


class _Layers(Recurrent):
    """What the layers below share: their cells are made here, of the sizes that each layer needs."""

    cell: type[Any]

    def __init__(
        self,
        input_size: int = _NEEDED,
        hidden_size: int | Sequence[int] = _NEEDED,
        num_layers: int = 1,
        *,
        bias: bool = True,
        bidirectional: bool = False,
        merge: str | None = "concat",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = True,
        return_state: bool | str = True,
        go_backwards: bool = False,
        learn_initial_state: bool = False,
        batch_first: bool = True,
        rng: Rng = None,
        dtype: Any = None,
        **cell_options: Any,
    ) -> None:
        kind = type(self).__name__
        if input_size is None or hidden_size is None:
            raise TypeError(
                f"{kind} needs input_size, the number of features of x, and hidden_size (Keras's units), as "
                f"in nn.{kind}(8, 16); got {input_size} and {hidden_size}"
            )
        self._check_options(cell_options)
        bidirectional = checked_flag(kind, "bidirectional", bidirectional)
        rng = rng if rng is None else default_generator(rng)
        num_layers = checked_size(kind, "num_layers", num_layers)
        sizes = list(hidden_size) if np.iterable(hidden_size) else [hidden_size] * num_layers
        if not sizes or num_layers not in (1, len(sizes)):
            raise ValueError(
                f"num_layers must be the number of hidden sizes if they are a list, of at least one; got "
                f"num_layers={num_layers}, hidden_size={hidden_size}"
            )
        self.input_size, self.hidden_size = input_size, hidden_size
        cells: list[Any] = []
        size = input_size
        for hidden in sizes:
            made = [
                self.cell(size, hidden, bias, rng=rng, dtype=dtype, **cell_options)
                for _ in range(1 + bidirectional)
            ]
            cells.append(tuple(made))
            doubled = bidirectional and merge in ("concat", None)
            size = made[0].output_size * (1 + doubled)
        super().__init__(
            cells,
            bidirectional=bidirectional,
            merge=merge,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            learn_initial_state=learn_initial_state,
            batch_first=batch_first,
            rng=rng,
        )
        self._by_layer = np.iterable(hidden_size)

    def _check_options(self, cell_options: dict[str, Any]) -> None:
        own = [p.name for p in inspect.signature(_Layers).parameters.values() if p.kind is p.KEYWORD_ONLY]
        known = [name for name in inspect.signature(self.cell).parameters if name not in own][2:]
        for name in cell_options:
            if name not in known:
                raise TypeError(
                    f"{type(self).__name__} has no option {name!r}; it takes {', '.join(own + known)}"
                )

    def _describe(self) -> str:
        sizes = [self.input_size, self.hidden_size]
        if self.num_layers > 1 and not self._by_layer:
            sizes.append(self.num_layers)
        return ", ".join([*map(str, sizes), *self._changed()])


class RNN(_Layers):
    """Vanilla recurrent layers; see `RNNCell` for the equation, and `Recurrent` for the call and its flags.

    Parameters
    ----------
    input_size : int
    hidden_size : int or list of int
        Of a list, the layers' sizes from the bottom up; states are then a tuple with one for each layer.
    num_layers : int
        Layers stacked, each reading the outputs of the one below.
    nonlinearity : str or callable
        See `RNNCell`.
    bias : bool
    bidirectional : bool
        Add a second set of cells that read backwards.
    merge, dropout, recurrent_dropout, return_sequences, return_state, go_backwards, batch_first
        See `Recurrent`, and there learn_initial_state, too.
    rng, dtype
        Of the initial parameters (and of dropout's masks).

    Attributes
    ----------
    weight_ih_l0 : (H, I), weight_hh_l0 : (H, H), bias_ih_l0, bias_hh_l0 : (H,)
        And so on for l1, l2, ...; with the suffix _reverse for the backward direction.
    """

    cell = RNNCell

    def __init__(
        self,
        input_size: int = _NEEDED,
        hidden_size: int | Sequence[int] = _NEEDED,
        num_layers: int = 1,
        nonlinearity: Activation = "tanh",
        **options: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, nonlinearity=nonlinearity, **options)


class LSTM(_Layers):
    """LSTM layers; see `LSTMCell` for the equations and its options, and `RNN` for the others.

    Attributes
    ----------
    weight_ih_l0 : (4H, I), weight_hh_l0 : (4H, H), bias_ih_l0, bias_hh_l0 : (4H,)
        Gates in the order i, f, g, o; other parameters of the cell likewise, such as ``peephole_l0`` and
        ``weight_hr_l0``.
    """

    cell = LSTMCell


class GRU(_Layers):
    """GRU layers; see `GRUCell` for the equations and its options, and `RNN` for the others.

    Attributes
    ----------
    weight_ih_l0 : (3H, I), weight_hh_l0 : (3H, H), bias_ih_l0, bias_hh_l0 : (3H,)
        Gates in the order r, z, n.
    """

    cell = GRUCell


class MGU(_Layers):
    """MGU layers; see `MGUCell` for the equations, and `RNN` for parameters.

    Attributes
    ----------
    weight_ih_l0 : (2H, I), weight_hh_l0 : (2H, H), bias_ih_l0, bias_hh_l0 : (2H,)
        Blocks in the order f, n.
    """

    cell = MGUCell
