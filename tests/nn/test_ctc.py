"""CTC against PyTorch, and against the definition: the sum over all alignments, one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn

REDUCTIONS = ["mean", "sum", "none"]


def case(rng, batch=None, steps=None, classes=None):
    """Random logits (T, B, C), padded targets, lengths and the blank; repeats and lengths of 0 are common."""
    batch = rng.integers(1, 5) if batch is None else batch
    steps = rng.integers(1, 12) if steps is None else steps
    classes = rng.integers(2, 6) if classes is None else classes
    blank = int(rng.integers(classes))
    others = np.delete(np.arange(classes), blank)
    inputs = rng.integers(0, steps + 1, batch)
    lengths = rng.integers(0, inputs + 1)
    targets = rng.choice(others, (batch, max(1, lengths.max(initial=0)) + rng.integers(2)))
    while (bad := needed(targets, lengths) > inputs).any():
        lengths[bad] -= 1
    return rng.standard_normal((steps, batch, classes)) * 2, targets, inputs, lengths, blank


def needed(targets, lengths):
    """Steps that each target takes."""
    same = [
        sum(a == b for a, b in itertools.pairwise(row[:n])) for row, n in zip(targets, lengths, strict=True)
    ]
    return lengths + np.array(same, int)


def joined(targets, lengths):
    return np.concatenate([row[:n] for row, n in zip(targets, lengths, strict=True)])


def collapse(alignment, blank):
    """The labels of an alignment: repeats merged, then blanks dropped."""
    return tuple(label for label, _ in itertools.groupby(alignment) if label != blank)


def enumerated(log_probs, blank):
    """The probability of every label sequence, summed over its alignments, for log_probs (T, C)."""
    found = {}
    for alignment in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        p = np.exp(sum(row[label] for row, label in zip(log_probs, alignment, strict=True)))
        labels = collapse(alignment, blank)
        found[labels] = found.get(labels, 0) + p
    return found


def normalised(logits):
    return tg.log_softmax(logits, axis=-1)


def ours(logits, *arguments, **options):
    """Loss and its gradient with respect to logits, under random cotangents."""
    x = tg.tensor(logits, requires_grad=True)
    loss = nn.ctc_loss(normalised(x), *arguments, **options)
    (loss * np.arange(1, 1 + loss.size).reshape(loss.shape)).sum().backward()
    return loss.numpy(), x.grad.numpy()


def theirs(logits, targets, *arguments, **options):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    x = torch.tensor(logits, requires_grad=True)
    arguments = [torch.tensor(a) if isinstance(a, np.ndarray) else a for a in (targets, *arguments)]
    loss = torch.nn.functional.ctc_loss(x.log_softmax(-1), *arguments, **options)
    (loss * torch.arange(1, 1 + loss.numel()).reshape(loss.shape)).sum().backward()
    return loss.detach().numpy(), x.grad.numpy()


def equal(a, b, tolerance=1e-10):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("one_after_another", [False, True])
def test_equals_torch(reduction, one_after_another):
    rng = np.random.default_rng([REDUCTIONS.index(reduction), one_after_another])
    repeats = empty = 0
    for _ in range(30):
        logits, targets, inputs, lengths, blank = case(rng)
        repeats += (needed(targets, lengths) > lengths).any()
        empty += (lengths == 0).any()
        if one_after_another:
            targets = joined(targets, lengths)
        arguments = (logits, targets, inputs, lengths, blank, reduction)
        equal(ours(*arguments), theirs(*arguments))
    assert repeats > 5
    assert empty > 5


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_impossible_targets_are_zeroed_as_in_torch(reduction):
    rng = np.random.default_rng([REDUCTIONS.index(reduction), 2])
    impossible = 0
    for _ in range(20):
        logits, targets, inputs, lengths, blank = case(rng, batch=4, steps=6)
        lengths = rng.integers(0, targets.shape[1] + 1, 4)
        impossible += (needed(targets, lengths) > inputs).sum()
        arguments = (logits, targets, inputs, lengths, blank, reduction, True)
        loss, gradient = ours(*arguments)
        equal((loss, gradient), theirs(*arguments))
        assert not gradient[:, needed(targets, lengths) > inputs].any()
    assert impossible > 10


def test_one_sequence_without_a_batch_axis_equals_torch():
    logits, targets, inputs, lengths, blank = case(np.random.default_rng(1), 1, 9, 4)
    assert lengths[0] > 1
    arguments = (logits[:, 0], targets[0, : lengths[0]], inputs.reshape(()), lengths.reshape(()))
    for reduction in REDUCTIONS:
        equal(ours(*arguments, blank, reduction), theirs(*arguments, blank, reduction))


def test_a_long_sequence_in_float32():
    """Probabilities of 1e-200 and less, where products of probabilities would all be 0."""
    rng = np.random.default_rng(4)
    logits, targets = rng.standard_normal((400, 3, 20)), rng.integers(1, 20, (3, 60))
    arguments = (targets, np.array([400, 390, 200]), np.array([60, 1, 40]))
    exact = ours(logits, *arguments, reduction="none")
    loss, gradient = ours(logits.astype(np.float32), *arguments, reduction="none")
    assert loss.dtype == gradient.dtype == np.float32
    assert (exact[0] > 400).all()
    np.testing.assert_allclose(loss, exact[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, exact[1], atol=2e-3)
    equal(exact, theirs(logits, *arguments, reduction="none"))


@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(0, 4), classes=st.integers(2, 3), data=st.data())
def test_the_sum_over_all_alignments(seed, steps, classes, data):
    """The loss, by definition; and the losses of all label sequences are probabilities that add up to 1."""
    rng = np.random.default_rng(seed)
    blank = data.draw(st.integers(0, classes - 1))
    log_probs = normalised(rng.standard_normal((steps, classes)) * 2)
    every = enumerated(log_probs, blank)
    assert sum(every.values()) == pytest.approx(1)
    targets = [np.array(labels, int) for labels in every]
    lengths = np.array([len(labels) for labels in targets])
    losses = nn.ctc_loss(
        np.repeat(log_probs[:, None], len(targets), axis=1),
        np.concatenate(targets),
        np.full(len(targets), steps),
        lengths,
        blank,
        "none",
    )
    np.testing.assert_allclose(np.exp(-losses.numpy()), list(every.values()), rtol=1e-10)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_gradients(reduction, zero_infinity):
    """With respect to log_probs themselves, whose sum is not 1 then, and of the gradients."""
    rng = np.random.default_rng(5)
    targets = np.array([[1, 1, 2], [2, 1, 2], [1, 0, 0], [0, 0, 0]])
    inputs, lengths = np.array([4, 4, 2, 0]), np.array([3, 2, 1, 0])
    if zero_infinity:
        inputs[0] = 3

    def f(x):
        return nn.ctc_loss(x, targets, inputs, lengths, 0, reduction, zero_infinity)

    x = np.log(rng.random((4, 4, 3)))
    report = tg.gradcheck(f, x)
    assert report, report
    assert report.method == "complex"
    report = tg.gradgradcheck(f, x)
    assert report, report


@given(seed=st.integers(0, 2**32 - 1))
def test_laws(seed):
    """What lies beyond the lengths changes nothing, bit for bit; a batch is its sequences one by one."""
    rng = np.random.default_rng(seed)
    logits, targets, inputs, lengths, blank = case(rng)
    loss, gradient = ours(logits, targets, inputs, lengths, blank, "none")
    x = tg.tensor(normalised(logits), requires_grad=True)
    beyond = np.arange(len(logits))[:, None] >= inputs
    dirty = x.numpy().copy()
    dirty[beyond] = rng.choice([np.nan, np.inf, -np.inf, 1e300])
    dirty = tg.tensor(dirty, requires_grad=True)
    junk = targets.copy()
    junk[np.arange(targets.shape[1]) >= lengths[:, None]] = rng.choice([-1, blank, 10**6])
    for y, labels in ((x, targets), (dirty, junk)):
        nn.ctc_loss(y, labels, inputs, lengths, blank, "none").sum().backward()
    np.testing.assert_array_equal(nn.ctc_loss(dirty, junk, inputs, lengths, blank, "none").numpy(), loss)
    np.testing.assert_array_equal(dirty.grad.numpy(), x.grad.numpy())
    assert not x.grad.numpy()[beyond].any()
    order = rng.permutation(len(inputs))
    permuted = ours(logits[:, order], targets[order], inputs[order], lengths[order], blank, "none")
    np.testing.assert_allclose(permuted[0], loss[order], rtol=1e-12)
    for k, (n, m) in enumerate(zip(inputs, lengths, strict=True)):
        alone = ours(logits[:n, k : k + 1], targets[k : k + 1, :m], [n], [m], blank, "none")
        np.testing.assert_allclose(alone[0], loss[k : k + 1], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(alone[1][:, 0] * (k + 1), gradient[:n, k], rtol=1e-9, atol=1e-12)


def test_impossible_labels_make_infinity_and_no_nan():
    """A probability of 0 on the only way: the lengths are in order, so it is no error of the caller's."""
    x = tg.tensor(np.log([[[0.5, 0.5]], [[0.25, 0.75]]]), requires_grad=True)
    with tg.no_grad():
        never = x.numpy() * np.where(np.arange(2) == 1, np.inf, 1)
    leaf = tg.tensor(never, requires_grad=True)
    loss = nn.ctc_loss(leaf, [[1]], [2], [1])
    assert loss.item() == np.inf
    loss.backward()
    assert not leaf.grad.numpy().any()
    assert nn.ctc_loss(never, [[1]], [2], [1], zero_infinity=True).item() == 0
    assert np.isnan(nn.ctc_loss(never * np.nan, [[1]], [2], [1], zero_infinity=True).item())


def test_no_sequences_and_no_steps():
    assert nn.ctc_loss(np.zeros((3, 0, 2)), np.zeros((0, 1), int), [], [], reduction="none").shape == (0,)
    assert nn.ctc_loss(np.zeros((0, 2, 2)), np.zeros(0, int), [0, 0], [0, 0]).item() == 0


# ---------------------------------------------------------------------------------------------- decoders


@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(0, 5), classes=st.integers(1, 3), data=st.data())
def test_a_wide_beam_finds_every_label_sequence(seed, steps, classes, data):
    blank = data.draw(st.integers(0, classes - 1))
    log_probs = normalised(np.random.default_rng(seed).standard_normal((steps, classes)) * 2)
    every = enumerated(log_probs, blank)
    (found,) = nn.ctc_beam_decode(log_probs[:, None], blank=blank, width=1000)
    assert [tuple(labels) for labels, _ in found] == sorted(every, key=lambda labels: -every[labels])
    np.testing.assert_allclose([p for _, p in found], np.log(sorted(every.values(), reverse=True)), atol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 6))
def test_laws_of_decoding(seed, width):
    """Log-probabilities are those of the labels; lengths count; a wider beam finds no less."""
    rng = np.random.default_rng(seed)
    logits, _, inputs, _, blank = case(rng)
    log_probs = normalised(logits)
    log_probs[np.arange(len(logits))[:, None] >= inputs] = np.nan
    greedy = nn.ctc_greedy_decode(log_probs, inputs, blank)
    beams = nn.ctc_beam_decode(log_probs, inputs, blank, width=width)
    wide = nn.ctc_beam_decode(log_probs, inputs, blank, width=2000)
    assert len(greedy) == len(beams) == len(inputs)
    for k, n in enumerate(inputs):
        best = log_probs[:n, k].argmax(axis=1)
        assert tuple(greedy[k].labels) == collapse(best, blank)
        assert greedy[k].log_prob == pytest.approx(log_probs[np.arange(n), k, best].sum())
        assert 1 <= len(beams[k]) <= width
        for labels, p in beams[k]:
            loss = nn.ctc_loss(log_probs[:n, k], labels, n, len(labels), blank)
            exact = -loss.item() * max(1, len(labels))  # the default reduction divides by the length
            assert blank not in labels
            assert p <= exact + 1e-9
        ranked = [p for _, p in beams[k]]
        assert ranked == sorted(ranked, reverse=True)
        assert wide[k][0].log_prob >= ranked[0] - 1e-9
        assert wide[k][0].log_prob >= greedy[k].log_prob - 1e-9


def test_the_best_alignment_may_not_have_the_best_labels():
    """Graves 2006, section 3.2: blanks are the likeliest at each step, and "a" all the same."""
    log_probs = np.log([[[0.6, 0.4]], [[0.6, 0.4]]])
    (greedy,) = nn.ctc_greedy_decode(log_probs)
    assert greedy.labels.tolist() == []
    assert np.exp(greedy.log_prob) == pytest.approx(0.36)
    ((best, second),) = nn.ctc_beam_decode(log_probs)
    assert (best.labels.tolist(), second.labels.tolist()) == ([1], [])
    assert np.exp([best.log_prob, second.log_prob]) == pytest.approx([0.64, 0.36])


def test_labels_of_probability_0_are_not_found():
    with np.errstate(divide="ignore"):
        log_probs = np.log([[[0.5, 0.5, 0.0]], [[0.5, 0.5, 0.0]], [[0.0, 1.0, 0.0]]])
    (found,) = nn.ctc_beam_decode(log_probs, width=50)
    assert sorted(tuple(labels) for labels, _ in found) == [(1,), (1, 1)]


# ------------------------------------------------------------------------------------------------ errors

X = np.log(np.full((4, 2, 3), 1 / 3))
GOOD = ([[1, 2], [2, 2]], [4, 4], [2, 2])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.ctc_loss(X, [[1, 2], [2, 2]], [4, 2], [2, 2]), ValueError,
            "target 1 has 2 labels and 1 repeats, which take 3 steps, and its input has 2. .*zero_infinity"),
        (lambda: nn.ctc_loss(np.zeros((1, 20, 2)), [[1, 1]] * 20, [1] * 20, [2] * 20), ValueError, "12 more"),
        (lambda: nn.ctc_loss(X, [[1, 3], [2, 2]], *GOOD[1:]), ValueError, "target 0 has the label 3; .* 2"),
        (lambda: nn.ctc_loss(X, [[1, 2], [2, 0]], *GOOD[1:]), ValueError, "target 1 has the label 0; .* 0"),
        (lambda: nn.ctc_loss(X, [[1.0, 2.0]] * 2, *GOOD[1:]), TypeError, r"integer targets .*\(2, 2\)"),
        (lambda: nn.ctc_loss(X, [[1, 2]], *GOOD[1:]), ValueError, "1 targets for a batch of 2"),
        (lambda: nn.ctc_loss(X, [1, 2, 1], *GOOD[1:]), ValueError, "3 labels .* add up to 4"),
        (lambda: nn.ctc_loss(X, GOOD[0], [4, 5], [2, 2]), ValueError, r"input_lengths .* 4, .* got \[4, 5\]"),
        (lambda: nn.ctc_loss(X, GOOD[0], [4], [2, 2]), ValueError, r"input_lengths .* 2 integers.*\(1,\)"),
        (lambda: nn.ctc_loss(X, GOOD[0], [4, 4], [3, 2]), ValueError, r"target_lengths .* and 2, .* got"),
        (lambda: nn.ctc_loss(X, *GOOD, blank=3), ValueError, "blank=3 is no label of 0 to 2"),
        (lambda: nn.ctc_loss(X, *GOOD, reduction="average"), ValueError, "'mean', 'sum' or 'none'"),
        (lambda: nn.ctc_loss(X[None], *GOOD), ValueError, r"\(time, batch, labels\), got "),
        (lambda: nn.ctc_greedy_decode(X[0]), ValueError, r"ctc_greedy_decode expected .* float64\(2, 3\)"),
        (lambda: nn.ctc_beam_decode(X, [1, 9]), ValueError, "ctc_beam_decode: input_lengths .* 0 and 4"),
        (lambda: nn.ctc_beam_decode(X, width=0), ValueError, "width of at least 1, got 0"),
    ],
)  # fmt: skip
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
