"""Figures of gradients along time: what reaches each step, what it depends on, what each step gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backpropagation
from ..ops import expand_dims, swapaxes
from ..state import enable_grad
from ..tensors import Tensor, tensor
from .flows import StateFlow, flow, step_gradients

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gradient_flow(loss: Any) -> Figure:
    """How the gradient fades or grows on its way back through time, of one network or of several.

    The curves are the norms of dL/dh_t and dL/dc_t on a logarithmic scale; the legend says by what factor
    they change per step on the way back. An exact zero is a triangle on the lower edge, what is not finite
    one on the upper edge; where nothing was computed there is a gap.

    Parameters
    ----------
    loss : Tensor, sequence of Tensor, what `flow` gives, or a dict of these by name
        ``{"RNN": loss1, "LSTM": loss2, "GRU": loss3}``. Tapes must not have been released.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If nothing goes from time step to time step.

    Examples
    --------
    >>> options = {"return_sequences": False, "return_state": False, "rng": 0}
    >>> networks = {"RNN": nn.RNN(2, 3, **options), "LSTM": nn.LSTM(2, 3, **options)}
    >>> losses = {name: layer(np.ones((1, 20, 2))).sum() for name, layer in networks.items()}
    >>> draw.gradient_flow(losses).savefig("flow.png")
    """
    from . import figures

    networks = {
        str(name): _flows(f"{name}: " if name else "", item)
        for name, item in (loss.items() if isinstance(loss, Mapping) else [("", loss)])
    }
    figure = figures.new_picture(9, 4.6, "Gradient flow through time")
    axes = figure.subplots()
    colours = _looks(networks, figures)
    for name, flows in networks.items():
        for k, f in enumerate(flows):
            colour, dash, marker = colours[name, k]
            _curve(axes, f, f"{name} {f.path} {f.state}".strip(), color=colour, linestyle=dash, marker=marker)
    axes.set_yscale("log")
    axes.set_xlabel("time step t")
    axes.set_ylabel("norm of dL / d state_t")
    figures.whole_numbers(axes.xaxis)
    figures.tidy(axes)
    figures.legend(figure, axes)
    return figures.finish(figure)


def _flows(name: str, item: Any) -> list[StateFlow]:
    flows: list[StateFlow] = (
        item if isinstance(item, list) and item and isinstance(item[0], StateFlow) else flow(item)
    )
    if not flows:
        raise ValueError(
            f"draw.gradient_flow: {name}nothing goes from one time step to another here. Steps are scopes "
            f"with a number, as nn.scan opens them, or tg.scope(name, step=t). An empty sequence has none, "
            f"and a compiled layer only if it is computed within draw.keep_values()"
        )
    return flows


def _looks(networks: dict[str, list[StateFlow]], figures: Any) -> dict[tuple[str, int], tuple[str, str, str]]:
    """Colour, dash and marker of each curve. Several networks differ in colour; in one its layers do."""
    looks = {}
    for number, (name, flows) in enumerate(networks.items()):
        paths = list(dict.fromkeys(f.path for f in flows))
        states = list(dict.fromkeys(f.state for f in flows))
        for k, f in enumerate(flows):
            layer = paths.index(f.path)
            colour = number if len(networks) > 1 else layer
            looks[name, k] = (
                figures.COLOURS[colour % len(figures.COLOURS)],
                figures.DASHES[states.index(f.state) % len(figures.DASHES)],
                figures.MARKERS[layer % len(figures.MARKERS)],
            )
    return looks


def _curve(axes: Any, f: StateFlow, label: str, **look: Any) -> None:
    order = np.argsort(f.steps)
    steps, norms = f.steps[order], f.norms[order]
    drawable = np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
    if not np.isnan(f.factor):
        label += f" (\N{MULTIPLICATION SIGN}{f.factor:.3g} per step)"
    every = max(1, len(steps) // 12)
    from .figures import plain_text

    axes.plot(steps, drawable, label=plain_text(label), markevery=every, markersize=4, linewidth=1.6, **look)
    on_edge = {"transform": axes.get_xaxis_transform(), "linestyle": "", "color": look["color"]}
    zero = steps[f.computed[order] & (norms == 0)]
    bad = steps[f.computed[order] & ~np.isfinite(norms)]
    for at, edge, marker in ((zero, 0, "v"), (bad, 1, "^")):
        if len(at):
            axes.plot(at, np.full(len(at), edge), marker=marker, markersize=5, **on_edge)


def contributions(loss: Any, parameter: Tensor) -> Figure:
    """What each time step gives to the gradient of a weight that all steps share: dW = sum over t of dW_t.

    Above the norms of the parts, below each step's share of the whole, <dW_t, dW> / <dW, dW>: the bars add up
    to 1, and those below 0 work against the others.

    Parameters
    ----------
    loss : Tensor, or a sequence of them
    parameter : Tensor
        See `step_gradients`, which gives the parts themselves.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from . import figures

    parts = step_gradients(loss, parameter)
    total = sum((part.astype(np.float64) for part in parts.values()), start=np.zeros(parameter.shape))
    size = float((total * total).sum())
    name = parameter.name or "the parameter"
    figure = figures.new_picture(9, 5, f"The gradient of {name}, step by step")
    above, below = figure.subplots(2, 1, sharex=True)
    norms = [float(np.linalg.norm(part.astype(np.float64).ravel())) for part in parts.values()]
    shares = [float((part * total).sum() / size) if size else 0.0 for part in parts.values()]
    labels = ["elsewhere" if t is None else t for _, t in parts]
    paths = list(dict.fromkeys(path for path, _ in parts))
    colours = [figures.COLOURS[paths.index(path) % len(figures.COLOURS)] for path, _ in parts]
    at = np.arange(len(parts))
    above.bar(at, norms, color=colours)
    below.bar(at, shares, color=colours)
    below.axhline(0, color="0.3", linewidth=0.8)
    above.set_ylabel("norm of dW_t")
    below.set_ylabel("share of dW")
    below.set_xlabel("time step t")
    figures.time_axis(below, labels)
    for axes in above, below:
        figures.tidy(axes)
    if len(paths) > 1:
        figures.patches(
            below, [(figures.COLOURS[k % 7], path or "elsewhere") for k, path in enumerate(paths)]
        )
    return figures.finish(figure)


def influence_map(model: Any, x: Any) -> np.ndarray:
    """How much the output at each time step depends on the input at each: norms of d output_t / d input_s.

    Parameters
    ----------
    model : callable
        Takes (B, T, F), gives (B, T, O) or, of a whole sequence, (B, O), or a tuple that begins with it, and
        treats the sequences of a batch each by itself. With ``batch_first=False`` the axes B and T are the
        other way round. A module is run as in ``eval()``.
    x : array or Tensor, (T, F) or (1, T, F)
        One sequence.

    Returns
    -------
    array of float64, (T_out, T)
        Row t, column s: the Frobenius norm of the O x F matrix of derivatives. Exactly 0 where the one does
        not depend on the other. A single row for an output of the whole sequence.

    Raises
    ------
    TypeError
        If x holds no floating-point numbers: nothing can be differentiated by token numbers. Pass their
        embedding, and the rest of the model.
    ValueError
        For other shapes.
    """
    array = x.numpy() if isinstance(x, Tensor) else np.asarray(x)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or len(array) != 1:
        raise ValueError(
            f"draw.influence takes one sequence, (T, F) or (1, T, F), got shape {np.shape(x)}; pass one of a "
            f"batch as x[k]"
        )
    if array.dtype.kind != "f":
        raise TypeError(
            f"draw.influence needs a floating-point sequence, got {array.dtype}: nothing can be "
            f"differentiated by token numbers. Pass their embedding as x, and the rest of the model"
        )
    with evaluated(model), enable_grad():
        features = _sequence(model, tensor(array)).shape[-1]
        # A copy of the sequence for each feature of the output: one backward pass then gives the gradients of
        # all features at one time step.
        inputs = tensor(np.repeat(array, features, axis=0), requires_grad=True)
        y = _sequence(model, inputs)
    found = np.zeros((y.shape[1], array.shape[1]))
    if y.place is None or not features:
        return found
    for t in range(len(found)):
        seed = np.zeros(y.shape, y.dtype)
        seed[np.arange(features), t, np.arange(features)] = 1
        g = backpropagation.backward([(y.place, seed)], retain_graph=True).get(inputs.place)
        if g is not None:
            found[t] = np.sqrt((g.astype(np.float64) ** 2).sum(axis=(0, 2)))
    return found


def influence(model: Any, x: Any, *, labels: Sequence[Any] | None = None) -> Figure:
    """The map of how much the output at each time step depends on the input at each, on a logarithmic scale.

    What is exactly 0 is grey: the future of a network that only reads forwards, above all.

    Parameters
    ----------
    model, x
        See `influence_map`, which gives the numbers.
    labels : sequence, optional
        What to write at the inputs in place of their numbers: characters, words, dates.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.colors import LogNorm

    from . import figures

    values = influence_map(model, x)
    if not values.size:
        raise ValueError(
            f"draw.influence has nothing to draw of a sequence without time steps, {np.shape(x)}"
        )
    if labels is not None and len(labels) != values.shape[1]:
        raise ValueError(f"draw.influence: {len(labels)} labels for {values.shape[1]} time steps")
    whole = len(values) == 1
    figure = figures.new_picture(6.4, 2.9 if whole else 5.4, "Influence of inputs on outputs")
    axes = figure.subplots()
    shown = values[np.isfinite(values) & (values > 0)]
    low, high = (shown.min(), shown.max()) if shown.size else (0.1, 1.0)
    norm = LogNorm(low if low < high else high / 10, high)
    image = figures.heat_map(axes, values, norm=norm, colours="viridis", grey=values == 0)
    figure.colorbar(
        image, ax=axes, label="norm of d output / d input" if whole else "norm of d output_t / d input_s"
    )
    figures.time_axis(axes, labels)
    axes.set_xlabel("input step s")
    axes.set_ylabel("output" if whole else "output step t")
    figures.whole_numbers(axes.yaxis)
    if whole:
        axes.set_yticks([])
    figures.key(axes, "exactly 0" if (values == 0).any() else "", not np.isfinite(values).all())
    return figures.finish(figure)


def _sequence(model: Any, x: Tensor) -> Tensor:
    """The model's output sequences (B, T, O) for (B, T, F), also where it wants time to come first; of one
    output for the whole, a sequence of that."""
    batch_first = getattr(model, "batch_first", True)
    result = model(x if batch_first else swapaxes(x, 0, 1))
    y = result[0] if isinstance(result, tuple) else result
    if not isinstance(y, Tensor) or y.ndim not in (2, 3):
        raise ValueError(
            f"draw.influence needs a model that gives an output for each time step, (B, T, O), or for the "
            f"whole sequence, (B, O), got {y.shape if isinstance(y, Tensor) else type(y).__name__}"
        )
    if y.ndim == 2:
        return expand_dims(y, 1)
    return y if batch_first else swapaxes(y, 0, 1)


@contextmanager
def evaluated(model: Any) -> Iterator[None]:
    """A module in evaluation mode, and afterwards in the mode that each of its parts was in."""
    modules = list(model.modules()) if hasattr(model, "modules") else []
    before = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training
