"""Attention against the papers' formulas in plain NumPy, and the laws of masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn

Q, K, V = 3, 4, 2
KINDS = ["additive", "dot", "scaled", "general"]


def attention(kind, rng=0):
    if kind == "additive":
        return nn.AdditiveAttention(Q, K, 5, rng=rng, dtype=np.float64)
    key_size = K if kind == "general" else Q
    return nn.MultiplicativeAttention(Q, key_size, kind, rng=rng, dtype=np.float64)


def inputs(kind, rng, batch=2, steps=5, queries=3):
    """Random query, keys and values."""
    size = Q if kind in ("dot", "scaled") else K
    shapes = (batch, queries, Q), (batch, steps, size), (batch, steps, V)
    return [rng.standard_normal(shape) for shape in shapes]


def score(kind, layer, s, h):
    """The score of one query and one key, as the papers have it."""
    if kind == "additive":
        W, U, v = (p.numpy() for p in (layer.weight_query, layer.weight_key, layer.weight_score))
        return v @ np.tanh(W @ s + U @ h)
    if kind == "general":
        return s @ layer.weight.numpy() @ h
    return s @ h / (np.sqrt(Q) if kind == "scaled" else 1)


def expected(kind, layer, query, keys, values, mask):
    """Contexts and weights, one query at a time, over the positions that may be read alone."""
    weights = np.zeros((*query.shape[:2], keys.shape[1]))
    for b, u in np.ndindex(*query.shape[:2]):
        at = np.flatnonzero(mask[b])
        e = np.exp([score(kind, layer, query[b, u], keys[b, t]) for t in at])
        weights[b, u, at] = e / e.sum() if len(at) else 0
    return np.einsum("but,btv->buv", weights, values), weights


def gradients(layer, weights, *arrays, **mask):
    """Of a weighted sum of contexts and weights, with respect to all arrays and parameters."""
    leaves = [tg.tensor(a, requires_grad=True) for a in arrays]
    layer.zero_grad()
    outputs = layer(*leaves, **mask)
    sum((y * w).sum() for y, w in zip(outputs, weights, strict=True)).backward()
    return [y.numpy() for y in outputs], [p.grad.numpy() for p in (*leaves, *layer.parameters())]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_formula(kind, masked):
    rng = np.random.default_rng(1)
    layer = attention(kind, rng)
    query, keys, values = inputs(kind, rng)
    mask = (
        np.array([[True, False, True, True, False], [False] * 4 + [True]])
        if masked
        else np.ones((2, 5), bool)
    )
    context, weights = layer(query, keys, values, mask if masked else None)
    for ours, theirs in zip(
        (context, weights), expected(kind, layer, query, keys, values, mask), strict=True
    ):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-12, atol=1e-14)
    assert (weights.numpy()[~np.broadcast_to(mask[:, None], weights.shape)] == 0).all()


@pytest.mark.parametrize("kind", ["dot", "scaled"])
def test_equals_torch(kind):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    rng = np.random.default_rng(2)
    query, keys, values = inputs(kind, rng)
    mask = rng.random((2, 5)) < 0.6
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *(torch.tensor(a) for a in (query, keys, values)),
        attn_mask=torch.tensor(mask)[:, None],
        scale=1.0 if kind == "dot" else None,
    )
    context, _ = attention(kind)(query, keys, values, mask)
    np.testing.assert_allclose(context.numpy(), theirs.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", [None, [[True, False, True], [False, False, False]]])
def test_gradients(kind, mask):
    rng = np.random.default_rng(3)
    layer = attention(kind, rng)
    names = list(layer._parameters)
    mask = None if mask is None else np.array(mask)

    def f(query, keys, values, *parameters):
        vars(layer)["_parameters"].update(zip(names, parameters, strict=True))
        return layer(query, keys, values, mask)

    arrays = [*inputs(kind, rng, steps=3, queries=2), *(p.numpy() for p in layer.parameters())]
    report = tg.gradcheck(f, *arrays)
    assert report, report
    assert report.method == "complex"
    assert tg.gradgradcheck(f, *arrays)


@pytest.mark.parametrize("kind", KINDS)
def test_one_query_is_many_with_one_step(kind):
    rng = np.random.default_rng(4)
    layer = attention(kind, rng)
    query, keys, _ = inputs(kind, rng)
    many = layer(query, keys)
    for u in range(3):
        one = layer(query[:, u], keys)
        for a, b in zip(one, many, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy()[:, u], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e300])
def test_what_is_masked_does_not_count(kind, garbage):
    rng = np.random.default_rng(5)
    layer = attention(kind, rng)
    query, keys, values = inputs(kind, rng, batch=3)
    lengths = np.array([3, 5, 0])
    padding = np.arange(5) >= lengths[:, None]
    weights = [rng.standard_normal((3, 3, V)), rng.standard_normal((3, 3, 5))]
    clean = gradients(layer, weights, query, keys, values, lengths=lengths)
    keys, values = keys.copy(), values.copy()
    keys[padding], values[padding] = garbage, garbage
    dirty = gradients(layer, weights, query, keys, values, lengths=lengths)
    for a, b in zip((*clean[0], *clean[1]), (*dirty[0], *dirty[1]), strict=True):
        np.testing.assert_array_equal(a, b)
    for g in dirty[1][1:3]:
        assert not g[padding].any()
        assert g[~padding].all()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_read_gives_zeros(kind):
    layer = attention(kind)
    query, keys, values = inputs(kind, np.random.default_rng(6))
    context, weights = layer(query, keys, values, np.zeros((2, 5), bool))
    assert not context.numpy().any()
    assert not weights.numpy().any()
    context, weights = layer(query, keys[:, :0], values[:, :0])
    np.testing.assert_array_equal(context.numpy(), np.zeros((2, 3, V)))
    assert weights.shape == (2, 3, 0)
    assert layer(query[:0], keys[:0], lengths=np.zeros(0, int))[1].shape == (0, 3, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_the_same_and_can_be_reordered(kind):
    rng = np.random.default_rng(7)
    layer = attention(kind, rng)
    query, keys, values = inputs(kind, rng, batch=3)
    lengths = np.array([2, 5, 4])
    at_once = layer(query, keys, values, lengths=lengths)
    memory = layer.memory(keys, values, lengths=lengths)
    ids = np.array([2, 0, 0, 1])
    for ours, theirs in ((layer(query, memory), at_once), (layer(query[ids], memory.index(ids)), at_once)):
        rows = ids if len(ours[0]) == 4 else np.arange(3)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy()[rows], rtol=1e-13, atol=1e-15)
    assert layer.memory(keys).index(ids).mask is None


def test_memory_projects_the_keys_once():
    layer = nn.AdditiveAttention(Q, K)
    memory = layer.memory(np.ones((2, 5, K), np.float32))
    products = [
        [e.primitive.name for e in tg.Tape(layer(np.ones((2, Q), np.float32), keys)[0])].count("linear")
        for keys in (np.ones((2, 5, K), np.float32), memory)
    ]
    assert products == [2, 2], "the memory's own product is on the tape"
    with tg.no_grad():
        memory = layer.memory(np.ones((2, 5, K), np.float32))
    assert [e.primitive.name for e in tg.Tape(layer(np.ones((2, Q), np.float32), memory)[0])].count(
        "linear"
    ) == 1


@given(data=st.data(), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
def test_laws(data, kind, seed):
    """Weights are averages; the order of positions and of sequences, and padding, change nothing."""
    rng = np.random.default_rng(seed)
    batch, steps, queries = (data.draw(st.integers(1, 4)) for _ in range(3))
    layer = attention(kind, rng)
    query, keys, values = inputs(kind, rng, batch, steps, queries)
    mask = rng.random((batch, steps)) < 0.7
    context, weights = (y.numpy() for y in layer(query * 5, keys, values, mask))
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=2), np.tile(mask.any(1)[:, None], queries), atol=1e-12)
    order, sequences = rng.permutation(steps), rng.permutation(batch)
    shuffled = layer(query * 5, keys[:, order], values[:, order], mask[:, order])
    np.testing.assert_allclose(shuffled[0].numpy(), context, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(shuffled[1].numpy(), weights[:, :, order], rtol=1e-9, atol=1e-12)
    permuted = layer(query[sequences] * 5, keys[sequences], values[sequences], mask[sequences])
    np.testing.assert_allclose(permuted[0].numpy(), context[sequences], rtol=1e-9, atol=1e-12)
    lengths = mask.argmin(1) if not mask.all() else np.full(batch, steps)
    by_mask = layer(query, keys, values, np.arange(steps) < lengths[:, None])
    by_length = layer(query, keys, values, lengths=lengths)
    np.testing.assert_array_equal(by_mask[0].numpy(), by_length[0].numpy())
    if kind == "additive" or kind == "general":
        return
    same = np.broadcast_to(keys[:, :1], keys.shape)  # equal keys are read equally
    uniform = layer(query, same, values)[1].numpy()
    np.testing.assert_allclose(uniform, 1 / steps, rtol=1e-12)


def test_parameters_and_dtypes():
    layer = nn.AdditiveAttention(3, 4, rng=0)
    assert {n: p.shape for n, p in layer.named_parameters()} == {
        "weight_query": (3, 3), "weight_key": (3, 4), "weight_score": (3,)
    }  # fmt: skip
    assert list(nn.MultiplicativeAttention(3, 4).state_dict()) == ["weight"]
    assert not list(nn.MultiplicativeAttention(3, score="dot").parameters())
    context, weights = layer(np.ones((2, 3), np.float32), np.ones((2, 5, 4), np.float32), lengths=[1, 0])
    assert context.dtype == weights.dtype == np.float32
    assert repr(layer) == "AdditiveAttention(3, 4, size=3)"
    assert repr(nn.MultiplicativeAttention(3)) == "MultiplicativeAttention(3, 3, score='general')"


QUERY, KEYS = np.ones((2, Q)), np.ones((2, 5, K))
MASK = np.ones((2, 5), bool)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda a: a(QUERY, KEYS[:, :, :2]), ValueError, r"keys \(batch, time, 4\), got \(2, 5, 2\)"),
        (lambda a: a(QUERY, KEYS[0]), ValueError, r"keys \(batch, time, 4\), got \(5, 4\)"),
        (lambda a: a(QUERY[:1], KEYS), ValueError, r"query \(2, 3\) or \(2, steps, 3\).* got \(1, 3\)"),
        (lambda a: a(QUERY[:, :2], KEYS), ValueError, r"got \(2, 2\)"),
        (lambda a: a(QUERY, KEYS, KEYS[:, 1:]), ValueError, r"one value per key.* got \(2, 4, 4\)"),
        (lambda a: a(QUERY, KEYS, mask=MASK[:1]), ValueError, r"boolean mask \(2, 5\).* got bool\(1, 5\)"),
        (lambda a: a(QUERY, KEYS, mask=MASK * 1), ValueError, r"boolean mask .* got int64\(2, 5\)"),
        (lambda a: a(QUERY, KEYS, mask=MASK, lengths=[1, 2]), ValueError, "got both"),
        (lambda a: a(QUERY, KEYS, lengths=[1, 6]), ValueError, r"between 0 and 5, .* got \[1, 6\]"),
        (lambda a: a(QUERY, KEYS, lengths=[1.0, 2.0]), ValueError, r"2 integers.* got float64\(2,\)"),
        (lambda a: a(QUERY, a.memory(KEYS), lengths=[1, 2]), ValueError, r"belong to memory\(\)"),
        (lambda a: nn.AdditiveAttention(3, 4, 0), ValueError, "size >= 1, got 0"),
        (lambda a: nn.MultiplicativeAttention(3, score="concat"), ValueError, "'dot', 'general' or 'scaled'"),
        (lambda a: nn.MultiplicativeAttention(3, 4, "dot"), ValueError, "of one size, got 3 and 4"),
    ],
)  # fmt: skip
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call(attention("additive"))
