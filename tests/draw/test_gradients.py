"""Figures of gradients show their data, exact zeros and gaps included, and keep no figure alive."""

import sys
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn
from tinygrad_rnn.draw.flows import StateFlow, flow, step_gradients
from tinygrad_rnn.draw.gradients import contributions, gradient_flow, influence, influence_map

rng = np.random.default_rng(5)


def written(figure, path):
    """A figure is written as PNG and SVG without a warning, and pyplot knows nothing of it."""
    assert isinstance(figure, Figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(path / "figure.png", bbox_inches="tight")
        figure.savefig(path / "figure.svg")
    assert figure._repr_png_().startswith(b"\x89PNG")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
    return figure


def loss_of(layer, steps=6, **options):
    net = layer(2, 4, rng=0, return_state=False, **options)
    return (net(rng.standard_normal((2, steps, 2)).astype(np.float32))[:, -1] ** 2).sum(), net


def curves(figure):
    return {line.get_label(): line for line in figure.axes[0].lines if not line.get_label().startswith("_")}


def test_several_networks_are_compared(tmp_path):
    losses = {kind.__name__: loss_of(kind)[0] for kind in (nn.RNN, nn.LSTM, nn.GRU)}
    figure = written(gradient_flow(losses), tmp_path)
    found = curves(figure)
    assert len(found) == 4
    for name, loss in losses.items():
        for f in flow(loss):
            label = next(text for text in found if text.startswith(f"{name} {f.path} {f.state} ("))
            np.testing.assert_allclose(found[label].get_ydata(), f.norms)
            assert f"{f.factor:.3g} per step" in label
    colours = {label: line.get_color() for label, line in found.items()}
    assert len(set(colours.values())) == 3
    assert figure.axes[0].get_yscale() == "log"


@pytest.mark.parametrize("name", ["LSTM", "a network with a long name " * 6])
def test_the_legend_is_within_the_figure(tmp_path, name):
    model = nn.Sequential(nn.LSTM(2, 4, 2, rng=0, return_state=False), nn.Linear(4, 1, rng=0))
    loss = (model(rng.standard_normal((2, 6, 2)).astype(np.float32)) ** 2).sum()
    figure = written(gradient_flow({"RNN": loss, name: loss}), tmp_path)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 8
    box = legend.get_window_extent(figure.canvas.get_renderer())
    assert figure.bbox.x0 < box.x0 < box.x1 < figure.bbox.x1


def names_are_whole(figure):
    """Whether the names of all axes are on the figure from end to end."""
    figure.canvas.draw()
    names = [name for axes in figure.axes for name in (axes.xaxis.label, axes.yaxis.label)]
    boxes = [name.get_window_extent() for name in names if name.get_text()]
    whole = figure.bbox
    inside = [whole.x0 <= b.x0 and b.x1 <= whole.x1 and whole.y0 <= b.y0 and b.y1 <= whole.y1 for b in boxes]
    return len(inside) == 3 and all(inside)


def test_flows_that_were_kept_are_drawn_after_backward(tmp_path):
    loss, _ = loss_of(nn.GRU, num_layers=2, bidirectional=True)
    flows = flow(loss)
    loss.backward()
    assert len(curves(written(gradient_flow(flows), tmp_path))) == 4
    assert len(curves(gradient_flow({"a $x^2$ <b> & 한글": flows}))) == 4


def test_zero_not_finite_and_not_computed_look_different(tmp_path):
    norms = np.array([0.0, np.nan, 1.0, np.inf, np.nan])
    computed = np.array([True, True, True, True, False])
    f = StateFlow("층", "h", np.arange(5), norms, computed, (None,) * 5)
    lines = written(gradient_flow([f]), tmp_path).axes[0].lines
    np.testing.assert_array_equal(lines[0].get_ydata(), [np.nan, np.nan, 1.0, np.nan, np.nan])
    zero, bad = lines[1:]
    assert (list(zero.get_xdata()), list(zero.get_ydata())) == ([0], [0])
    assert (list(bad.get_xdata()), list(bad.get_ydata())) == ([1, 3], [1, 1])


def test_without_steps_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match="net: nothing goes from one time step to another"):
        gradient_flow({"net": tg.tensor([1.0], requires_grad=True) * 2.0})


def test_bars_are_the_parts_and_add_up_to_one(tmp_path):
    loss, net = loss_of(nn.LSTM)
    parts = step_gradients(loss, net.weight_hh_l0)
    above, below = written(contributions(loss, net.weight_hh_l0), tmp_path).axes
    heights = [bar.get_height() for bar in above.patches]
    np.testing.assert_allclose(heights, [np.linalg.norm(p) for p in parts.values()], rtol=1e-5)
    np.testing.assert_allclose(sum(bar.get_height() for bar in below.patches), 1, rtol=1e-6)


def test_bars_of_a_weight_of_two_loops_and_of_no_gradient(tmp_path):
    w = tg.tensor(rng.standard_normal((2, 2)), requires_grad=True)
    h = tg.tensor(rng.standard_normal((1, 2)))
    for name in "ab":
        with tg.scope(name):
            for t in range(3):
                with tg.scope(f"t={t}", step=t):
                    h = tg.tanh(h @ w)
    figure = written(contributions((h @ w).sum(), w), tmp_path)
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["a", "b", "elsewhere"]
    written(contributions((h * 0.0).sum(), w), tmp_path)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_map_is_the_norm_of_the_jacobian(bidirectional):
    net = nn.GRU(3, 2, rng=0, dtype=np.float64, bidirectional=bidirectional)
    x = rng.standard_normal((5, 3))
    full = tg.jacobian(lambda v: net(v)[0])(x[None])[0, :, :, 0]
    expected = np.sqrt((full**2).sum(axis=(1, 3)))
    found = influence_map(net, x)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    future = np.triu_indices(5, 1)
    assert (found[future] > 0).all() if bidirectional else not found[future].any()
    assert all(p.grad is None for p in net.parameters())


def test_what_a_whole_sequence_gives_is_one_row(tmp_path):
    last = nn.Sequential(
        nn.LSTM(3, 4, rng=0, dtype=np.float64, return_sequences=False, return_state=False),
        nn.Linear(4, 2, rng=1, dtype=np.float64),
    )
    every = nn.Sequential(nn.LSTM(3, 4, rng=0, dtype=np.float64, return_state=False), last[1])
    x = rng.standard_normal((5, 3))
    found = influence_map(last, x)
    np.testing.assert_allclose(found, influence_map(every, x)[-1:], rtol=1e-12)
    assert (found > 0).all()
    figure = written(influence(last, x), tmp_path)
    assert names_are_whole(figure)
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), found)
    assert axes.get_ylabel() == "output"
    assert not axes.get_yticks().size


def test_layers_that_want_time_first():
    x = rng.standard_normal((5, 3)).astype(np.float32)
    first, last = (nn.GRU(3, 2, rng=0, batch_first=flag) for flag in (True, False))
    np.testing.assert_array_equal(influence_map(first, x), influence_map(last, x))


def test_tiny_is_not_zero(tmp_path):
    decay = tg.tensor(np.full(1, 1e-30))

    def model(x):
        return tg.stack([x[:, 0] * 0.0 + x[:, 0], x[:, 0] * decay + x[:, 1]], axis=1)

    found = influence_map(model, np.ones((2, 1)))
    np.testing.assert_allclose(found, [[1, 0], [1e-30, 1]])
    axes = written(influence(model, np.ones((2, 1)), labels=["가", "$"]), tmp_path).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array().mask, [[False, True], [False, False]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["exactly 0"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["가", r"\$"]


def test_dropout_is_off_and_the_modes_come_back():
    net = nn.LSTM(2, 3, 2, dropout=0.5, rng=0)
    net.dropout.eval()
    x = rng.standard_normal((4, 2)).astype(np.float32)
    np.testing.assert_array_equal(influence_map(net, x), influence_map(net, x))
    assert net.training
    assert not net.dropout.training


def test_what_does_not_depend_on_the_input_is_zero(tmp_path):
    def model(x):
        return tg.tensor(np.zeros((len(x), 3, 2)))

    assert not influence_map(model, np.ones((4, 1))).any()
    written(influence(model, np.ones((4, 1))), tmp_path)
    with tg.no_grad():
        assert influence_map(lambda x: x * 2.0, np.ones((2, 1))).tolist() == [[2, 0], [0, 2]]


def test_what_cannot_be_mapped():
    with pytest.raises(ValueError, match=r"one sequence, \(T, F\) or \(1, T, F\), got shape \(2, 3, 4\)"):
        influence(abs, np.ones((2, 3, 4)))
    with pytest.raises(TypeError, match="by token numbers"):
        influence(abs, np.ones((3, 4), int))
    with pytest.raises(ValueError, match=r"whole sequence, \(B, O\), got \(2,\)"):
        influence(lambda x: tg.concatenate([x.sum()[None], x.mean()[None]]), np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match="2 labels for 3 time steps"):
        influence(lambda x: x * 2.0, np.ones((3, 4)), labels="ab")


def test_a_sequence_without_steps_has_no_influence():
    with pytest.raises(ValueError, match="nothing to draw of a sequence without time steps"):
        influence(nn.RNN(3, 4, rng=0), np.zeros((1, 0, 3)))


def test_a_compiled_layer_has_its_steps_where_values_are_kept(tmp_path):
    layer = tg.compile(nn.LSTM(2, 3, rng=0), backend="numpy")
    x = np.random.default_rng(0).standard_normal((2, 4, 2)).astype("float32")
    with pytest.raises(ValueError, match=r"compiled layer only .* within draw\.keep_values\(\)"):
        gradient_flow(layer(x)[0].sum())
    with draw.keep_values():
        loss = layer(x)[0].sum()
    assert len(curves(written(gradient_flow(loss), tmp_path))) == 2  # h and c
