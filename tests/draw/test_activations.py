"""Gates and states over time are those that the cell computed, under the cell's own names."""

import numpy as np
import pytest
from matplotlib.figure import Figure

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn
from tinygrad_rnn.draw.activations import gate_values

rng = np.random.default_rng(9)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def panels(figure, tmp_path):
    """Each panel's title, label and the values of its image, without the colour bars."""
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png", bbox_inches="tight")
    return [axes for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]


def test_the_gates_of_an_lstm_are_those_of_its_equations():
    net = nn.LSTM(3, 4, rng=0, dtype=np.float64)
    x = rng.standard_normal((6, 3))
    found = gate_values(net, x)
    assert list(found) == [("lstm/l0", name) for name in ("i", "f", "g", "o", "tanh(c)")]
    h = c = np.zeros(4)
    for t in range(6):
        parts = np.split(
            net.weight_ih_l0.numpy() @ x[t]
            + net.bias_ih_l0.numpy()
            + net.weight_hh_l0.numpy() @ h
            + net.bias_hh_l0.numpy(),
            4,
        )
        i, f, g, o = sigmoid(parts[0]), sigmoid(parts[1]), np.tanh(parts[2]), sigmoid(parts[3])
        c = f * c + i * g
        h = o * np.tanh(c)
        for name, gate in zip(("i", "f", "g", "o", "tanh(c)"), (i, f, g, o, np.tanh(c)), strict=True):
            np.testing.assert_allclose(found["lstm/l0", name][t], gate, rtol=1e-12)


def test_other_cells_layers_and_directions(tmp_path):
    net = nn.GRU(2, 3, 2, bidirectional=True, rng=0)
    x = rng.standard_normal((1, 5, 2)).astype(np.float32)
    paths = [f"gru/l{k}{suffix}" for k in (0, 1) for suffix in ("", "_reverse")]
    assert list(gate_values(net, x)) == [(path, name) for path in paths for name in "rzn"]
    assert list(gate_values(nn.RNN(2, 3, rng=0), x)) == [("rnn/l0", "tanh")]
    found = panels(draw.gates(net, x), tmp_path)
    assert [axes.get_title() for axes in found if axes.get_title()] == paths
    assert [axes.get_ylabel() for axes in found] == [name for name in "rzn" for _ in paths]
    assert found[0].images[0].get_clim() == (0, 1)
    assert found[-1].images[0].get_clim() == (-1, 1)


def test_a_cell_without_names_shows_its_activations(tmp_path):
    class Cell:
        output_size = 2
        w = tg.tensor(rng.standard_normal((2, 2)), requires_grad=False)  # frozen: the input is on the tape

        def initial_state(self, batch):
            return tg.tensor(np.zeros((batch, 2)))

        def __call__(self, x, h):
            h = tg.relu(x) + tg.tanh(h @ self.w) * tg.tanh(x)
            return h, h

    def net(x):
        return nn.scan(Cell(), x)

    found = gate_values(net, rng.standard_normal((4, 2)))
    # The first step's h is a constant: what is applied to it alone is not recorded.
    assert set(found) == {("", "relu"), ("", "tanh"), ("", "tanh 2")}
    for values in found.values():
        assert values.shape == (4, 2)
    assert found["", "tanh 2"].mask.all(axis=1).tolist() == [True, False, False, False]
    assert len(panels(draw.gates(net, rng.standard_normal((4, 2))), tmp_path)) == 3


def test_states_are_the_outputs_of_the_layer(tmp_path):
    net = nn.LSTM(3, 4, rng=0, dtype=np.float64)
    x = rng.standard_normal((7, 3))
    (axes,) = panels(draw.hidden(net, x), tmp_path)
    np.testing.assert_allclose(axes.images[0].get_array(), net(x[None])[0].numpy()[0].T)
    np.testing.assert_allclose(
        axes.images[0].get_clim(), np.array([-1, 1]) * abs(axes.images[0].get_array()).max()
    )
    (axes,) = panels(draw.hidden(net, x, state="c"), tmp_path)
    after = [net(x[None, : t + 1])[1][1].numpy().ravel() for t in range(7)]
    np.testing.assert_allclose(axes.images[0].get_array(), np.transpose(after))


@pytest.mark.parametrize("text", ["동해물과 백두산", "a$b_c^d", "x" * 100])
def test_a_text_stands_along_the_axis(tmp_path, text):
    letters = sorted(set(text))
    net = nn.Sequential(
        nn.Embedding(len(letters), 3, rng=0), nn.GRU(3, 4, rng=0, return_state=False), nn.Dropout(0.5, rng=0)
    )
    (axes,) = panels(
        draw.hidden(net, text, encode=lambda t: np.array([letters.index(c) for c in t])), tmp_path
    )
    shown = [label.get_text().replace("\\$", "$") for label in axes.get_xticklabels()]
    assert shown == list(text[:: max(1, -(-len(text) // 30))])
    assert net.training


def test_layouts_of_x(tmp_path):
    x = rng.standard_normal((4, 3)).astype(np.float32)
    first, last = (nn.RNN(3, 2, rng=0, batch_first=flag) for flag in (True, False))
    maps = [
        gate_values(first, x),
        gate_values(first, x[None]),
        gate_values(last, x),
        gate_values(last, x[:, None]),
    ]
    for found in maps:
        np.testing.assert_array_equal(found["rnn/l0", "tanh"], maps[0]["rnn/l0", "tanh"])
    assert all(p.grad is None for p in first.parameters())
    assert len(panels(draw.gates(first, tg.tensor(x), labels=["가", "나", "다", "라"]), tmp_path)) == 1


def test_values_that_are_not_finite_are_shown_as_such(tmp_path):
    with np.errstate(all="ignore"):
        figure = draw.hidden(
            nn.RNN(1, 2, nonlinearity="relu", rng=0), np.array([[1.0], [np.nan], [1.0]], "f")
        )
    (axes,) = panels(figure, tmp_path)
    assert axes.images[0].get_array().mask.sum() == 4
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["not finite"]


def test_what_cannot_be_shown():
    net = nn.LSTM(3, 2, rng=0)
    x = np.ones((2, 4, 3), np.float32)
    with pytest.raises(
        ValueError, match=r"takes one sequence, .* got float32\(2, 4, 3\); pass one of a batch"
    ):
        draw.gates(net, x)
    with pytest.raises(TypeError, match=r"draw\.hidden needs encode="):
        draw.hidden(net, "text")
    with pytest.raises(ValueError, match="has no state 's': there are c, h"):
        draw.hidden(net, x[:1], state="s")
    with pytest.raises(ValueError, match="3 labels for 4 time steps"):
        draw.gates(net, x[:1], labels="abc")
    with pytest.raises(ValueError, match=r"no activation .* is applied within a time step"):
        draw.gates(lambda x: tg.tanh(x), x[:1])
    with pytest.raises(ValueError, match="nothing goes from step to step"):
        draw.hidden(lambda x: tg.tanh(x), x[:1])
    with pytest.raises(ValueError, match="nothing was recorded"):
        draw.gates(lambda x: x.detach(), x[:1])


@pytest.mark.parametrize("figure", [draw.gates, draw.hidden])
def test_a_sequence_without_time_steps_is_refused(figure):
    for net in nn.GRU(3, 2, rng=0), nn.GRU(3, 2, rng=0, batch_first=False):
        for shape in (0, 3), (1, 0, 3) if net.batch_first else (0, 1, 3):
            with pytest.raises(ValueError, match=r"draw\.\w+ has nothing to draw of a sequence without time"):
                figure(net, np.ones(shape, np.float32))
    with pytest.raises(ValueError, match=r"without time steps, \(0,\)"):
        figure(net, "", encode=lambda text: [])
