"""Layers, losses and data typed wrong: rows of the table in test_misuse.py, which says what the names are."""

from misused import Bad

PAIR = "recurrent layer (output, state) y, state = layer(x) return_state=False"

LAYERS = [
    # the pair that a recurrent layer returns, in the place of its output
    *[
        Bad(typed.format(layer), TypeError, PAIR)
        for layer in ("lstm(batch1)", "gru(batch1)")
        for typed in (
            "nn.Linear(5, 1)({})", "nn.LayerNorm(5)({})", "nn.Dropout()({})", "nn.GRU(5, 2)({})",
            "nn.mse({}, np.ones((2, 1, 5)))", "nn.mae(np.ones((2, 1, 5)), {})",
            "nn.cross_entropy({}, [0, 1])", "tg.tanh({})", "tg.std({})", "tg.einsum('btf->f', {})", "v + {}",
        )
    ],
    Bad("tg.tanh((v, v))", TypeError, "tanh tuple tg.stack(list) (output, state) output"),
    Bad("tg.tanh([v, v])", TypeError, "tanh list of tensors tg.stack(list)"),
]  # fmt: skip
