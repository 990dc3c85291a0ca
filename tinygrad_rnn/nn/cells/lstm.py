"""Long short-term memory: the cell as published, and its published variants as options."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import ops
from ...arrays import get_default_dtype
from ...ops import linear, split
from ...random import default_generator
from ...tensors import Tensor
from ..module import Parameter, uniform
from ..options import checked_size, choice
from ..states import LSTMState
from .cell import Activation, Cell, Rng, activation

_EPS = 1e-5
"""Added to variances by the layer normalisation, as in `LayerNorm`."""


class LSTMCell(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    ::

        i, f, g, o = W_ih x + b_ih + W_hh h + b_hh
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(c')

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    peephole : {False, "diagonal", "full"}
        Gates see the cell state (Gers and Schmidhuber 2000): i and f the old one, o the new one. "diagonal":
        each unit its own, ``i + p_i * c``. "full": all units, ``i + P_i c``, which is what the notation ``W
        [c, h, x]`` of lectures says.
    forget_bias : float, optional
        Added to the initial b_ih of the forget gate, such as 1.0 (Jozefowicz et al. 2015). It is part of the
        parameters then, not added again in every step.
    proj_size : int
        P > 0: ``h' = W_hr (sigmoid(o) * tanh(c'))`` of size P (Sak et al. 2014), as in PyTorch.
    clip : float, optional
        Bounds what goes into the gates' activations and into that of g, peepholes included, to [-clip, clip],
        as in ONNX.
    coupled : bool
        ``f = 1 - i`` in place of a forget gate of its own (Greff et al. 2017). There are three blocks then:
        i, g, o; and peepholes i, o.
    layer_norm : bool
        Layer normalisation as in the supplement of Ba, Kiros and Hinton 2016: W_ih x and W_hh h are
        normalised separately, all gates together, then c' on its way to h'. Their two shifts are b_ih and
        b_hh.
    zoneout : float or (float, float)
        Probability that a unit of h, and of c, keeps its old value while training; in evaluation the
        expectation is taken (Krueger et al. 2017). One number stands for both.
    gate_activation, cell_activation, output_activation : str or callable
        In place of the sigmoid of i, f and o; of the tanh of g; of the tanh of c'.
    rng, dtype
        Of the initial parameters, U(-k, k) with k = 1 / sqrt(H); zoneout draws from it, too.

    Attributes
    ----------
    weight_ih : (4H, I), weight_hh : (4H, H), bias_ih, bias_hh : (4H,)
        Gates in the order i, f, g, o. With a projection weight_hh is (4H, P); coupled, 4 becomes 3.
    peephole : (3H,) or (3H, H)
        In the order i, f, o.
    weight_hr : (P, H)
    norm_ih, norm_hh : (4H,), norm_c, bias_c : (H,)
        Gains of the layer normalisation, initially 1, and its shift of c', initially 0.
    """

    gate_names: tuple[str, ...] = ("i", "f", "g", "o")
    state_type = LSTMState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        peephole: bool | str = False,
        forget_bias: float | None = None,
        proj_size: int = 0,
        clip: float | None = None,
        coupled: bool = False,
        layer_norm: bool = False,
        zoneout: float | tuple[float, float] = 0.0,
        gate_activation: Activation = "sigmoid",
        cell_activation: Activation = "tanh",
        output_activation: Activation = "tanh",
        rng: Rng = None,
        dtype: Any = None,
    ) -> None:
        self.rng = rng if rng is None else default_generator(rng)
        self.peepholes = choice("peephole", peephole, (False, "diagonal", "full"))
        self.coupled = choice("coupled", coupled, (True, False))
        self.layer_norm = choice("layer_norm", layer_norm, (True, False))
        kind = type(self).__name__
        hidden_size = checked_size(kind, "hidden_size", hidden_size)
        self.proj_size = proj_size = checked_size(kind, "proj_size", proj_size, 0)
        if proj_size >= hidden_size:
            raise ValueError(f"proj_size must be from 0 to hidden_size - 1, got {proj_size} of {hidden_size}")
        if clip is not None and not clip > 0:
            raise ValueError(f"clip must be greater than 0, got {clip}")
        self.clip = clip
        self.zoneout: Any = tuple(zoneout) if isinstance(zoneout, (tuple, list)) else (zoneout,) * 2
        if len(self.zoneout) != 2 or not all(0 <= p <= 1 for p in self.zoneout):
            raise ValueError(f"zoneout must be a probability, or a pair of them for h and c, got {zoneout!r}")
        self.gate_activation, self.cell_activation = gate_activation, cell_activation
        self.output_activation = output_activation
        self._sigmoid = activation("gate_activation", gate_activation)
        self._tanh = activation("cell_activation", cell_activation)
        self._tanh_c = activation("output_activation", output_activation)
        if coupled:
            self.gate_names = ("i", "g", "o")
        gates = len(self.gate_names)
        super().__init__(
            input_size, hidden_size, bias, gates, proj_size or hidden_size, rng=self.rng, dtype=dtype
        )
        self._add_parameters(default_generator(self.rng), gates, dtype)
        if forget_bias is not None:
            self._add_forget_bias(forget_bias)
        self._published = not (
            peephole or proj_size or clip is not None or coupled or layer_norm or any(self.zoneout)
        )

    def _add_parameters(self, rng: np.random.Generator, gates: int, dtype: Any) -> None:
        """Parameters that only some options have."""
        H, dtype = self.hidden_size, dtype or get_default_dtype()
        bound = 1 / math.sqrt(H)
        if self.proj_size:
            self.weight_hr = uniform(rng, bound, (self.proj_size, H), dtype)
        if self.peepholes:
            own = (H,) if self.peepholes == "full" else ()
            self.peephole = uniform(rng, bound, ((gates - 1) * H, *own), dtype)
        if self.layer_norm:
            self.norm_ih = Parameter(np.ones(gates * H), dtype)
            self.norm_hh = Parameter(np.ones(gates * H), dtype)
            self.norm_c = Parameter(np.ones(H), dtype)
            self.bias_c = Parameter(np.zeros(H), dtype)

    def _add_forget_bias(self, forget_bias: float) -> None:
        if self.coupled or self.bias_ih is None:
            why = "coupled=True leaves no forget gate" if self.coupled else "bias=False leaves no bias"
            raise ValueError(f"forget_bias={forget_bias} has nothing to act on: {why}")
        values = self.bias_ih.numpy().copy()
        values[self.hidden_size : 2 * self.hidden_size] += forget_bias
        self.bias_ih.assign_(values)

    def initial_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """h = 0 (B, H), or (B, P) with a projection, and c = 0 (B, H)."""
        return self._zeros(batch, self.output_size), self._zeros(batch, self.hidden_size)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None, recurrent_mask: Any = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step: (B, I) and (h, c) to the output h and the state (h, c)."""
        state = self.initial_state(len(x)) if state is None else state
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise ValueError(f"LSTMCell expected the state as a pair (h, c), got {type(state).__name__}")
        h, c = state
        self._check("h", h, len(x), self.output_size)
        self._check("c", c, len(x), self.hidden_size)
        if not self._published:
            return self._with_options(x, h, c, recurrent_mask)
        sigmoid, tanh = self._sigmoid, self._tanh
        i, f, g, o = split(self._input_terms(x) + self._hidden_terms(h, recurrent_mask), 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * self._tanh_c(c)
        return h, (h, c)

    def _options(self) -> dict[str, Any]:
        h, c = self.zoneout
        own = {"peephole": self.peepholes, "zoneout": h if h == c else self.zoneout}
        # A forget bias is part of the parameters.
        return super()._options() | own

    # ---- variants

    def _with_options(
        self, x: Tensor, h: Tensor, c: Tensor, recurrent_mask: Any
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The same step with all options: each of the methods below changes nothing if its option is off."""
        i, f, g, o = self._gates(x, h, recurrent_mask)
        p_i, p_f, p_o = self._peepholes()
        i = self._sigmoid(self._clipped(self._peek(i, p_i, c)))
        f = 1 - i if self.coupled else self._sigmoid(self._clipped(self._peek(f, p_f, c)))
        g = self._tanh(self._clipped(g))
        c_new = f * c + i * g
        o = self._sigmoid(self._clipped(self._peek(o, p_o, c_new)))
        h_new = self._projected(o * self._tanh_c(self._normalised_c(c_new)))
        h, c = self._zoned(h, h_new, self.zoneout[0]), self._zoned(c, c_new, self.zoneout[1])
        return h, (h, c)

    def _gates(self, x: Tensor, h: Tensor, recurrent_mask: Any) -> Any:
        """i, f, g, o before peepholes; coupled, f is None."""
        if self.layer_norm:
            self._check_input(x)
            seen = h if recurrent_mask is None else h * recurrent_mask
            a = _normalised(linear(x, self.weight_ih)) * self.norm_ih
            b = _normalised(linear(seen, self.weight_hh)) * self.norm_hh
            if self.bias_ih is not None and self.bias_hh is not None:
                a, b = a + self.bias_ih, b + self.bias_hh
        else:
            a, b = self._input_terms(x), self._hidden_terms(h, recurrent_mask)
        if not self.coupled:
            return split(a + b, 4, axis=-1)
        i, g, o = split(a + b, 3, axis=-1)
        return i, None, g, o

    def _peepholes(self) -> Any:
        if not self.peepholes:
            return None, None, None
        if not self.coupled:
            return split(self.peephole, 3)
        p_i, p_o = split(self.peephole, 2)
        return p_i, None, p_o

    def _peek(self, gate: Tensor, p: Tensor | None, c: Tensor) -> Tensor:
        if p is None:
            return gate
        seen: Tensor = linear(c, p) if self.peepholes == "full" else c * p
        return gate + seen

    def _clipped(self, gate: Tensor) -> Tensor:
        return gate if self.clip is None else ops.clip(gate, -self.clip, self.clip)

    def _normalised_c(self, c: Tensor) -> Tensor:
        return _normalised(c) * self.norm_c + self.bias_c if self.layer_norm else c

    def _projected(self, h: Tensor) -> Tensor:
        return linear(h, self.weight_hr) if self.proj_size else h

    def _zoned(self, old: Tensor, new: Tensor, p: float) -> Tensor:
        """Some units keep their old value: a random choice while training, the expectation otherwise."""
        if not p:
            return new
        if not self.training:
            return p * old + (1 - p) * new
        return ops.where(default_generator(self.rng).random(new.shape) < p, old, new)


def _normalised(a: Tensor) -> Tensor:
    """Each row with mean 0 and variance 1."""
    centred = a - a.mean(axis=-1, keepdims=True)
    return centred / ops.sqrt((centred * centred).mean(axis=-1, keepdims=True) + _EPS)
