"""Figures of what goes on inside recurrent layers: gates and states over time, of one sequence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..listing import Tape
from ..state import enable_grad
from ..tape import Entry, Place
from ..tensors import Tensor, tensor
from .gradients import evaluated
from .kept import Values, keep_values
from .loops import Loop, spot
from .states import loops
from .unrolled import Unrolled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANGES: dict[str, tuple[float, float] | None] = {
    "sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "hard_tanh": (-1.0, 1.0),
    "relu": None, "leaky_relu": None, "elu": None, "gelu": None, "silu": None, "softplus": None,
}  # fmt: skip
"""Activations, and the range of their values where it has two ends."""

Encode = Callable[[str], Any]
Masked = np.ma.MaskedArray[Any, Any]
"""Masked where nothing was computed; NaN is a value."""


def gate_values(layer: Any, x: Any, *, encode: Encode | None = None) -> dict[tuple[str, str], Masked]:
    """The activations of every gate in every time step, for one sequence.

    Parameters
    ----------
    layer : Module or callable
        Anything in which something is run over time; a module is run as in ``eval()``.
    x : array, Tensor or str
        One sequence as the layer takes it, with or without the batch axis: (T, F), (1, T, F), or integers
        (T,), (1, T) for a layer that begins with an embedding. A text goes through ``encode``.
    encode : callable, optional
        From a text to such an array.

    Returns
    -------
    dict of (str, str) to masked array of float64, (T, H)
        By the loop's path and the gate's name: the cell's own name for it (i, f, g, o; r, z, n), else that of
        the activation, and of what it is applied to if that is a state: ``tanh(c)``. Steps
        where nothing was computed are masked.
    """
    return {key: gate for key, (gate, _) in _gates(*_run("draw.gates", layer, x, encode)).items()}


def gates(layer: Any, x: Any, *, labels: Sequence[Any] | None = None, encode: Encode | None = None) -> Figure:
    """Heat maps of every gate over time, for one sequence.

    Parameters
    ----------
    layer, x, encode
        See `gate_values`, which gives the numbers.
    labels : sequence, optional
        What to write at the time steps in place of their numbers; the letters of a text by default.

    Returns
    -------
    matplotlib.figure.Figure
    """
    found = _gates(*_run("draw.gates", layer, x, encode))
    if not found:
        raise ValueError(
            f"draw.gates: no activation ({', '.join(_RANGES)}) is applied within a time step of this layer"
        )
    columns: dict[str, list[tuple[str, Masked, Any]]] = {}
    for (path, name), (values, limits) in found.items():
        columns.setdefault(path, []).append((name, values, limits))
    return _heat_maps("Gates", columns, _labels("draw.gates", x, labels))


def hidden(
    layer: Any,
    x: Any,
    *,
    state: str = "h",
    labels: Sequence[Any] | None = None,
    encode: Encode | None = None,
) -> Figure:
    """A heat map of the state of each layer and direction over time, for one sequence.

    Parameters
    ----------
    layer, x, encode
        See `gate_values`. A text is written along the axis, letter by letter.
    state : str
        Which one: ``"h"``, or ``"c"`` of an LSTM (see `loops.Loop`).
    labels : sequence, optional
        What to write at the time steps in place of their numbers.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = draw.hidden(nn.LSTM(3, 5, rng=0), np.ones((1, 20, 3)))
    """
    listing, kept = _run("draw.hidden", layer, x, encode)
    values = Values(listing, kept)
    columns = {}
    names = set()
    for loop in loops(Unrolled(listing)).values():
        names |= set(loop.states)
        if state in loop.states:
            maps = _over_time(loop.states[state], values.of)
            columns[loop.path] = [(state, maps, _limits(maps))]
    if not columns:
        have = f"there are {', '.join(sorted(names))}" if names else "nothing goes from step to step there"
        raise ValueError(f"draw.hidden: the layer has no state {state!r}: {have}")
    return _heat_maps("States", columns, _labels("draw.hidden", x, labels))


def _run(function: str, layer: Any, x: Any, encode: Encode | None) -> tuple[Tape, keep_values]:
    """The tape of the layer on one sequence, and every value on it."""
    array = _one_sequence(function, layer, x, encode)
    # Gradients by x: then the tape holds everything also where all parameters are frozen.
    inputs = tensor(array, requires_grad=array.dtype.kind == "f")
    with evaluated(layer), enable_grad(), keep_values() as kept:
        result = layer(inputs)
    outputs = [y for y in _tensors(result) if y.place is not None]
    if not outputs:
        raise ValueError(f"{function}: nothing was recorded: the layer gave no tensor that is on the tape")
    return Tape(*outputs), kept


def _one_sequence(function: str, layer: Any, x: Any, encode: Encode | None) -> np.ndarray:
    if isinstance(x, str):
        if encode is None:
            raise TypeError(f"{function} needs encode= to make numbers of a text: a vocabulary's encode, say")
        x = encode(x)
    array = x.numpy() if isinstance(x, Tensor) else np.asarray(x)
    batch = 0 if getattr(layer, "batch_first", True) else 1
    whole = 3 if array.dtype.kind == "f" else 2
    if array.ndim and array.shape[1 - batch if array.ndim == whole else 0] == 0:
        raise ValueError(f"{function} has nothing to draw of a sequence without time steps, {array.shape}")
    if array.ndim == whole - 1:
        array = np.expand_dims(array, batch)
    if array.ndim != whole or array.shape[batch] != 1:
        raise ValueError(
            f"{function} takes one sequence, (T, F) or (1, T, F) of floating-point numbers or (T,) or (1, T) "
            f"of integers, got {array.dtype}{array.shape}; pass one of a batch as x[k : k + 1]"
        )
    return array


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, (tuple, list)):
        for item in result:
            yield from _tensors(item)


def _gates(listing: Tape, kept: keep_values) -> dict[tuple[str, str], tuple[Masked, Any]]:
    """The values of each gate, and the ends of their range if it has two."""
    unrolled = Unrolled(listing)
    values = Values(listing, kept)
    found = {}
    for loop in loops(unrolled).values():
        gates: dict[str, dict[int, Entry]] = {}
        for t, entries in loop.entries.items():
            count: Counter[str] = Counter()
            for entry in entries:
                kind = entry.primitive.name
                if kind not in _RANGES:
                    continue
                inner = entry.parents[0] and loop.names.get(spot(entry.parents[0]))
                name = unrolled.gates.get(entry) or (f"{kind}({inner})" if inner else kind)
                count[name] += 1
                gates.setdefault(name if count[name] == 1 else f"{name} {count[name]}", {})[t] = entry
        order = _gate_names(loop)
        for name in sorted(gates, key=lambda name: order.index(name) if name in order else len(order)):
            by_step = gates[name]
            maps = _over_time({**dict.fromkeys(loop.entries), **by_step}, values.of)
            kinds = {entry.primitive.name for entry in by_step.values()}
            limits = _RANGES[kinds.pop()] if len(kinds) == 1 else None
            found[loop.path, name] = maps, limits or _limits(maps)
    return found


def _gate_names(loop: Loop) -> Sequence[str]:
    """The cell's own names for its gates, in its own order."""
    first = next(iter(loop.entries.values()))[0]
    scopes = first.scope.path() if first.scope else ()
    return next((s.owner.gate_names for s in scopes if hasattr(s.owner, "gate_names")), ())


def _over_time(by_step: Any, value: Callable[[Place], np.ndarray | None]) -> Masked:
    """(T, H): the values of a place in each step, masked where there is none."""
    arrays = {t: None if place is None else value(place) for t, place in by_step.items()}
    size = max((a.size for a in arrays.values() if a is not None), default=0)
    found: Masked = np.ma.MaskedArray(np.zeros((max(arrays) + 1, size)), mask=True)
    for t, a in arrays.items():
        if a is not None:
            found[t, : a.size] = a.ravel()
    return found


def _limits(values: Masked) -> tuple[float, float]:
    """A range around 0 for values of both signs, else from 0 on."""
    finite = values.compressed()
    finite = finite[np.isfinite(finite)]
    most = float(np.abs(finite).max(initial=0)) or 1.0
    return (-most if (finite < 0).any() else 0.0), most


def _labels(function: str, x: Any, labels: Sequence[Any] | None) -> Sequence[Any] | None:
    return list(x) if labels is None and isinstance(x, str) else labels


def _heat_maps(
    title: str, columns: dict[str, list[tuple[str, Masked, Any]]], labels: Sequence[Any] | None
) -> Figure:
    """A column of panels for each loop: time to the right, units downwards."""
    from matplotlib.colors import Normalize

    from . import figures

    rows = max(map(len, columns.values()))
    steps = max(values.shape[0] for column in columns.values() for _, values, _ in column)
    if labels is not None and len(labels) != steps:
        raise ValueError(f"{len(labels)} labels for {steps} time steps")
    width = min(16.0, max(5.0, 0.22 * steps) * len(columns))
    figure = figures.new_picture(width, 1.0 + (1.5 if rows > 1 else 2.6) * rows, title)
    panels = figure.subplots(rows, len(columns), squeeze=False)
    strange = False
    for j, (path, column) in enumerate(columns.items()):
        for i, axes in enumerate(panels[:, j]):
            if i >= len(column):
                axes.set_visible(False)
                continue
            name, values, (low, high) = column[i]
            colours = "PuOr" if low < 0 else "viridis"
            strange |= not np.isfinite(values.compressed()).all()
            image = figures.heat_map(
                axes,
                values.data.T,
                norm=Normalize(low, high),
                colours=colours,
                grey=np.ma.getmaskarray(values).T,
            )
            figure.colorbar(image, ax=axes, pad=0.01)
            axes.set_ylabel(figures.plain_text(name), rotation=0, ha="right", va="center")
            figures.whole_numbers(axes.yaxis)
            figures.time_axis(axes, labels)
            if i < len(column) - 1:
                axes.tick_params(labelbottom=False)
            if i == 0 and path:
                axes.set_title(figures.plain_text(path), fontsize=10)
    panels[-1, 0].set_xlabel("time step t")
    if strange:
        figures.key(panels[-1, 0], not_finite=True)
    return figures.finish(figure)
