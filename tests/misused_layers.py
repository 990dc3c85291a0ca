"""Layers, losses, files and optimisers typed wrong: rows of the table in test_misuse.py."""

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
            "tg.Tape({})", "tg.draw.graph({})",
        )
    ],
    Bad("tg.tanh((v, v))", TypeError, "tanh tuple tg.stack(list) (output, state) output"),
    Bad("tg.tanh((v, v, v))", TypeError, "tanh tuple tg.stack(list) (output, state) output"),
    Bad("tg.tanh([v, v])", TypeError, "tanh list of tensors tg.stack(list)"),
    # options
    Bad("nn.Linear(True, 2)", TypeError, "Linear whole number in_features True"),
    Bad("nn.LSTM(4, 5, bidirectional=2)", TypeError, "LSTM True False bidirectional 2"),
    Bad("nn.GRU(4, 5, batch_first='no')", TypeError, "GRU True False batch_first 'no'"),
    Bad("nn.RNN(4, 5, return_sequences=None)", TypeError, "RNN True False return_sequences None"),
    Bad("nn.Recurrent(nn.GRUCell(4, 5), go_backwards=1)", TypeError, "Recurrent True False go_backwards 1"),
    Bad("nn.LSTM(4, 5, 2, dropout='0.1')", ValueError, "dropout [0, 1] '0.1'"),
    *[
        Bad(f"nn.{layer}({sizes}units=5)", TypeError, f"{layer} input_size hidden_size units nn.{layer}(8,")
        for layer in ("RNN", "LSTM", "GRU", "MGU")
        for sizes in ("", "4, ")
    ],
    Bad("nn.LSTM()", TypeError, "LSTM input_size hidden_size units None"),
    Bad("nn.LSTM(4, 5, units=5)", TypeError, "LSTM 'units' takes bias, bidirectional,"),
    Bad("nn.Linear('a', 5)", TypeError, "Linear whole number in_features 'a'"),
    Bad("nn.Linear(3, -1)", ValueError, "Linear out_features >= 0 -1"),
    Bad("nn.Embedding(3.5, 1)", TypeError, "Embedding whole number num_embeddings 3.5"),
    Bad("nn.Embedding(3, 1.5)", TypeError, "Embedding whole number embedding_dim 1.5"),
    # ids of classes
    Bad("nn.cross_entropy(x, tg.tensor([0, 1]))", TypeError, "cross_entropy float32(2,) np.array dtype=int"),
    Bad("nn.Embedding(3, 2)(tg.tensor([0, 1]))", TypeError, "Embedding integer float32 np.array dtype=int"),
    Bad("nn.cross_entropy(x, np.eye(2, 3))", TypeError, "cross_entropy float64(2, 3) one-hot argmax(-1)"),
    Bad("nn.cross_entropy(x, np.eye(2, 3, dtype=int))", ValueError, "cross_entropy one-hot argmax(-1)"),
    Bad("nn.cross_entropy(x, np.array([[0], [1]]))", ValueError, "cross_entropy (2, 1) target[..., 0]"),
    Bad(
        "nn.cross_entropy(batch, np.zeros((2, 3), int))", ValueError,
        "cross_entropy (2, 4, 3) (2, 3) second last: np.moveaxis(logits, 1, -1)",
    ),
    # files
    Bad("nn.save_state(lstm, 'w')", TypeError, "save_state mapping LSTM model.save(path) model.state_dict()"),
    Bad("lstm.save('nowhere/w')", FileNotFoundError, "folder 'nowhere' of 'nowhere/w' exist"),
    Bad("lstm.save('/')", IsADirectoryError, "'/' is a folder file in it"),
    # optimisers
    *[
        Bad(f"optim.{call}", TypeError, f"{call.split('(')[0]} list of tensors method model.parameters()")
        for call in ("Adam(lstm.parameters)", "clip_grad_norm(lstm.parameters, 1.0)")
    ],
    Bad("optim.Adam(3)", TypeError, "Adam list of tensors int"),
    Bad("optim.Adam(lstm.parameters(), lr='1e-3')", TypeError, "Adam lr number from 0 1e-3 '1e-3'"),
    Bad("optim.AdamW(lstm.parameters(), lr=None)", TypeError, "AdamW lr number from 0 1e-3 None"),
    Bad("optim.SGD([v], 0.1, momentum='a')", TypeError, "SGD momentum number from 0 'a'"),
    Bad("optim.SGD([v], 0.1, nesterov=True)", ValueError, "SGD momentum nesterov larger than 0 0.0"),
    Bad("optim.RMSprop([v], weight_decay=-1)", ValueError, "RMSprop weight_decay from 0 -1"),
    Bad("optim.Adam([v], betas=0.9)", ValueError, "Adam betas two numbers [0, 1) 0.9"),
    Bad("optim.clip_grad_norm([v], '1')", TypeError, "clip_grad_norm max_norm number larger than 0 '1'"),
]  # fmt: skip
