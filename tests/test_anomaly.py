"""detect_anomaly: the first non-finite value is named, with its line; saved arrays are locked."""

import contextvars
import gc
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import locks, nn

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own remarks on log(0)


def leaf(values):
    return tg.tensor(np.array(values), requires_grad=True)


def test_forward_names_primitive_scope_inputs_and_line():
    x = leaf([0.0, 1.0, -2.0])
    with tg.scope("encoder"), pytest.raises(FloatingPointError) as error, tg.detect_anomaly():
        tg.log(x * 2.0)  # the guilty line
    text = str(error.value)
    for words in (
        "forward: log, in scope encoder",
        "NaN in 1 and inf in 1 of 3 elements, the others from 0.693 to 0.693",
        "input 0: float64(3,), finite from -4 to 2", "test_anomaly.py", "tg.log(x * 2.0)  # the guilty line",
    ):  # fmt: skip
        assert words in text


def test_the_time_step_and_module_are_named():
    layer = nn.Sequential(nn.GRU(2, 3, rng=0, return_state=False))
    x = np.ones((1, 4, 2), np.float32)
    x[0, 2] = np.inf
    with (
        pytest.raises(FloatingPointError, match=r"linear, in scope sequential/gru0/l0/t=2"),
        tg.detect_anomaly(),
    ):
        layer(x)


def test_backward_names_the_rule_that_made_it_and_the_forward_line():
    x = leaf([0.0, 4.0])
    with tg.detect_anomaly():
        y = tg.sqrt(x) * 3.0  # finite, but its slope is not
        with pytest.raises(FloatingPointError, match=r"backward: sqrt.*inf in 1 of 2") as error:
            y.sum().backward()
    assert "input 0: float64(2,), finite from 0 to 4" in str(error.value)  # which the rule does not need
    assert "# finite, but its slope is not" in str(error.value)
    assert x.grad is None


def test_a_second_derivative_names_the_forward_line():
    with (
        tg.detect_anomaly(),
        pytest.raises(FloatingPointError, match=r"# no curvature at 0 \(in its backward pass\)"),
    ):
        tg.hessian(lambda x: (x**1.5).sum())(np.array([0.0, 1.0]))  # no curvature at 0


def test_what_was_made_off_the_tape_is_said_to_be():
    with np.errstate(invalid="ignore"):
        z = tg.log(tg.tensor([-1.0, 1.0]))
    with tg.detect_anomaly(), pytest.raises(FloatingPointError) as error:
        leaf([1.0, 2.0]) * z
    assert "input 1: float32(2,), NaN in 1 of 2 elements" in str(error.value)
    assert "it is not on the tape, so what made it was not watched" in str(error.value)
    assert str(error.value).count("not on the tape") == 1


@pytest.mark.parametrize("create_graph", [False, True])
def test_backward_of_what_was_recorded_unwatched(create_graph):
    y = tg.sqrt(leaf([0.0])).sum()
    with tg.detect_anomaly(), pytest.raises(FloatingPointError, match="a line that was not watched"):
        y.backward(create_graph=create_graph)


def test_pieces_and_several_outputs_are_looked_at():
    x = leaf([0.0, 4.0])
    with tg.detect_anomaly():
        a, _ = tg.split(tg.sqrt(x), 2)
        with pytest.raises(FloatingPointError, match="sqrt"):
            a.sum().backward()
        y = x[0]
        with pytest.raises(FloatingPointError, match=r"inf in 1 of 1 elements as the cotangent of getitem"):
            y.backward(np.inf)


def huge(n=4):
    return np.full(n, 3e38, np.float32)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("program", "seed", "words"),
    [
        (lambda b: b + np.zeros(4, np.float32), huge(), r"cotangent of the leaf b;"),
        (lambda b: b * 1 + b * 1, huge(()), "cotangent of the leaf b;"),
        (
            lambda b: (b * 1 + np.zeros(4, np.float32)) * 1,
            huge(),
            r"of multiply, in scope inside, made at .*b \* 1",
        ),
        (
            lambda b: tg.split(tg.stack([b, b]), 2)[0][[0, 0, 0]] * 1,
            huge(3),
            "as the cotangent of split",
        ),
        (lambda b: b.reshape((1,))[[0, 0, 0]] * 1, huge(3), "as the cotangent of reshape"),
    ],
)
def test_a_sum_that_is_not_finite_is_named_by_its_place(program, seed, words, create_graph):
    """Where cotangents meet, and where they are summed over broadcast axes: no rule gave it."""
    b = tg.tensor(np.float32(1), requires_grad=True)
    b.name = "b"
    with tg.detect_anomaly(), tg.scope("inside"):
        y = program(b)
        with pytest.raises(FloatingPointError, match=f"(?s)backward: accumulating gave .*inf in .*{words}"):
            y.backward(seed, create_graph=create_graph, retain_graph=True)
    assert b.grad is None
    y.backward(seed, create_graph=create_graph)  # nobody watches here
    assert np.isinf(b.grad.item())


def test_arrays_that_the_tape_saved_cannot_be_written_into():
    w = leaf([1.0, 2.0])
    view = w.data[:1]
    with tg.detect_anomaly():
        y = (w * w).sum()
        for write in (
            lambda: w.data.__setitem__(0, 9.0),
            lambda: w.data.__iadd__(1.0),
            lambda: np.add(w.data, 1, out=w.data),
        ):
            with pytest.raises(ValueError, match="read-only"):
                write()
        y.backward()
    w.data[0] = 9.0  # and afterwards they can
    view[0] = 8.0
    assert w.numpy().tolist() == [8.0, 2.0]


def test_the_memory_behind_a_saved_view_is_locked_too():
    w = leaf([[1.0, 2.0], [3.0, 4.0]])
    with tg.detect_anomaly():
        y = tg.tanh(leaf([[1.0, 1.0]]) @ w.T)
        with pytest.raises(ValueError, match="read-only"):
            w.data[...] = 0.0
        y.sum().backward()
    w.data[...] = 0.0


@pytest.mark.parametrize(
    ("use", "array"),
    [
        (lambda x, a: x[a], np.array([0, 1])),
        (lambda x, a: x[(slice(None), a)[1:]], np.array([0, 1])),
        (lambda x, a: x[a], np.array([True, False])),
        (lambda x, a: tg.clip(x, a, 5.0), np.zeros(2)),
        (lambda x, a: tg.where(a, x, 0.0), np.array([True, False])),
        (lambda x, a: x + tg.checkpoint(lambda x, a: x * a)(x, a), np.ones(2)),
    ],
)
def test_indices_bounds_and_masks_cannot_be_written_into(use, array):
    with tg.detect_anomaly():
        y = use(leaf([1.0, 2.0]), array)
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 1
        y.sum().backward()
    array[:] = 1


def test_arrays_locked_before_stay_locked_and_errors_unlock():
    w = leaf([1.0, 2.0])
    w.data.flags.writeable = False
    with tg.detect_anomaly():
        (w * w).sum()
    assert not w.data.flags.writeable
    v = leaf([1.0, 0.0])
    with pytest.raises(FloatingPointError), tg.detect_anomaly():
        tg.log(v * v)
    assert v.data.flags.writeable


def test_an_optimiser_steps_inside_and_nothing_stays_alive():
    w = leaf([1.0, 2.0])
    with tg.detect_anomaly():
        (w * w).sum().backward()
        w.assign_(w.numpy() - 0.1 * w.grad.numpy())
        y = w * tg.exp(w)
        alive = [weakref.ref(thing) for thing in (y, y.numpy(), y.place.args[1])]
        del y
        gc.collect()
        assert all(a() is None for a in alive)


def test_an_array_is_locked_until_the_last_block_that_holds_it_ends():
    """As where two threads watch the same weights: here one context stands for each."""
    w = leaf([[1.0, 2.0], [3.0, 4.0]])
    one, other = contextvars.copy_context(), contextvars.copy_context()
    first, second = tg.detect_anomaly(), tg.detect_anomaly()
    one.run(first.__enter__)
    other.run(second.__enter__)
    y = one.run(lambda: (w * w).sum())
    z = other.run(lambda: (w * w[0]).sum())  # also a view, which the first has not seen
    one.run(first.__exit__, None, None, None)
    with pytest.raises(ValueError, match="read-only"):
        w.data[0] = 0
    other.run(second.__exit__, None, None, None)
    w.data[0] = 0
    assert w.numpy().flags.writeable
    assert not locks._locked
    del y, z


def test_a_view_waits_for_the_array_behind_it():
    base = np.ones(4)
    view = base[:2]
    one, other = locks.Locks(), locks.Locks()
    one.add([view])
    other.add([base])
    one.open()
    assert not view.flags.writeable  # as it would open a way into the other's
    other.open()
    assert view.flags.writeable
    assert base.flags.writeable
    assert not locks._locked


def test_a_view_is_opened_with_the_array_that_it_waited_for():
    base = np.ones(4)
    view = base[:2]
    mine = locks.Locks()
    mine.add([view, view])
    mine.add([base])
    mine.free([view, view])
    assert not view.flags.writeable
    mine.free([view])  # as if it had been locked once more
    assert view.flags.writeable
    assert not locks._locked
    base.flags.writeable = False
    mine.add([base])  # is not theirs to open
    mine.free([base])
    mine.open()
    assert not base.flags.writeable
    other = np.ones(2)
    locks.Locks().add([other])
    mine.free([other])
    mine.open()
    assert not other.flags.writeable  # somebody else holds it


def test_backward_lets_go_of_what_it_releases():
    w, index = leaf([1.0, 2.0]), np.array([0, 0])
    with tg.detect_anomaly():
        for _ in range(3):
            once, twice = (w[index] * w).sum(), (w * w).sum()
            once.backward(retain_graph=True)
            for array in (w.data, index):
                with pytest.raises(ValueError, match="read-only"):
                    array[...] = 1
            once.backward()
            index[...] = 1
            with pytest.raises(ValueError, match="read-only"):
                w.data[...] = 1
            with tg.detect_anomaly():
                twice.backward()
            w.data -= 0.1 * w.grad.numpy()
            index[...] = 0
    assert not locks._locked


def test_a_block_inside_another_lets_go_for_both():
    w = leaf([1.0, 2.0])
    with tg.detect_anomaly():
        with tg.detect_anomaly():
            y = (w * w).sum()
        with pytest.raises(ValueError, match="read-only"):
            w.data[0] = 3.0
        y.backward()
        w.data[0] = 3.0


def test_what_is_still_in_use_is_unlocked_whatever_else_has_gone():
    w = leaf([1.0, 2.0])
    with tg.detect_anomaly():
        whole = tg.exp(w)
        part = (whole * w).place.args[0][
            :1
        ]  # a view of a locked array, when its tensor and its entry are gone
        view = whole[1:].numpy()
        del whole
        gc.collect()
        assert not view.base.flags.writeable
    view.base[...] = 7.0
    assert part.tolist() == [7.0]
    w.numpy()[...] = 7.0


def test_nesting_and_other_states_keep_the_watch():
    x = leaf([0.0])
    with (
        pytest.raises(FloatingPointError),
        tg.detect_anomaly(),
        tg.no_grad(),
        tg.scope("s"),
        tg.enable_grad(),
    ):
        tg.log(x)
    with tg.detect_anomaly():
        with tg.detect_anomaly():
            pass
        with pytest.raises(FloatingPointError):
            tg.log(x)
    assert not np.isfinite(tg.log(x).item())  # nobody watches here


def test_a_changed_leaf_is_named_with_both_versions_and_the_line():
    w = leaf([1.0, 2.0])
    w.name = "head.weight"
    for k in range(3):
        w.assign_([k, k])
    with tg.detect_anomaly():
        y = (w * w).sum()  # used here
    w.assign_([5.0, 5.0])
    w.assign_([6.0, 6.0])
    with pytest.raises(RuntimeError, match=r"head\.weight") as error:
        y.backward()
    at = str(error.value).index(", at ")
    for words in ("# used here", "used version 3 (first used at", "now it has version 5"):
        at = str(error.value).index(words, at)
    assert "multiply" in str(error.value)


def changed_after(w, y, changes):
    """What backward says when w is changed so often after y was made of it."""
    for _ in range(changes):
        w.assign_(w.numpy() + 1)
    with pytest.raises(RuntimeError, match="changed in place") as error:
        y.backward()
    return str(error.value)


def test_also_unwatched_the_line_is_named_that_used_the_version_first():
    w = leaf([1.0])
    before = (w * w).sum()  # the first version
    w.assign_([2.0])
    y = tg.concatenate([w, w]).exp() * w[0]  # the second version
    z = (w * w).sum()  # also the second version
    assert "version 1 (first used at " in changed_after(w, z, 3)
    text = changed_after(w, y.sum(), 60)
    assert "# the second version" in text
    assert "now it has version 64" in text
    text = changed_after(w, before, 0)
    assert "more than 63 changes ago" in text
    before = (w * w).sum()  # the last version
    assert "used version 64 (first used at " in changed_after(w, before, 1)


def test_the_line_named_is_not_that_of_a_pass_that_is_over():
    w = leaf([1.0])
    for _ in range(3):
        (w * w).sum().backward()  # over and done with
    stale = (w * w * w).sum()  # the use that is out of date
    (w * w).sum().backward()
    (w + w).sum()  # a later use
    assert "# the use that is out of date" in changed_after(w, stale, 2)


INF = np.inf
MASK = np.array([0.0, -INF, 0.0])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: tg.softmax(x + MASK),
        lambda x: tg.softmax(tg.where(MASK == 0, x, -INF)),
        lambda x: tg.logaddexp(tg.logaddexp(x, MASK), MASK + tg.tensor(MASK)),
        lambda x: tg.logsumexp(tg.concatenate([x, MASK]) * 2.0),
        lambda x: tg.maximum(x, -INF),
        lambda x: tg.clip(x, -INF, INF),
        lambda x: tg.split(tg.softmax((x + MASK).reshape(1, 3)), 3, axis=1)[1],
        lambda x: tg.checkpoint(lambda x: x + MASK)(x)[0],
    ],
)
def test_an_infinity_that_was_given_is_none(f):
    x = leaf([1.0, -2.0, 0.5])
    with tg.detect_anomaly():
        f(x).sum().backward()
        with tg.no_grad():
            f(x)
        f(x.detach())
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: x * 1e308 * 100.0 + MASK, "multiply"),
        (lambda x: (x + MASK) * 1e308 * 100.0, "multiply"),  # overflows beside the mask
        (lambda x: tg.log(x * 0.0) + MASK, "log"),
        (lambda x: tg.where(MASK < 0, -INF, tg.log(x * 0.0)), "log"),
        (lambda x: (x + MASK) * 0.0, "multiply.*gave NaN"),
        (lambda x: tg.concatenate([x + MASK, x / 0.0]), "divide"),
        (lambda x: tg.sum(x + MASK - MASK), "subtract.*gave NaN"),
        (lambda x: tg.checkpoint(lambda x: tg.log(x * 0.0))(x), "log"),
        (lambda x: tg.square(tg.concatenate([x, np.array([1e200])])), "square"),
    ],
)
def test_an_infinity_that_is_new_is_found_where_it_is_made(f, words):
    for x, state in ((leaf([1.0, 2.0, 3.0]), tg.enable_grad), (leaf([1.0, 2.0, 3.0]), tg.no_grad)):
        for given in (x, x.detach()):
            with (
                pytest.raises(FloatingPointError, match=f"forward: {words}") as error,
                tg.detect_anomaly(),
                state(),
            ):
                f(given)
            assert "lambda x" in str(error.value)  # the line


def test_missing_values_are_found_where_they_meet_the_tape():
    data, w = tg.tensor(np.array([[1.0, np.nan], [2.0, 3.0]])), leaf([1.0, 2.0])
    with tg.detect_anomaly():
        assert np.isnan(2 * data.T).sum() == 1
        assert np.isnan(data.mean())
        assert np.isfinite((data[1] * w).sum())
        with pytest.raises(FloatingPointError, match=r"forward: multiply.*gave NaN in 1 of 4"):
            data * w
        with pytest.raises(FloatingPointError, match=r"forward: subtract.*gave NaN in 1 of 2"):
            data[1] - np.array([np.nan, 1.0]) + (tg.tensor(MASK[:2]) - tg.tensor(MASK[:2]))


@pytest.mark.parametrize(
    "f", [lambda x: x + MASK, lambda x: x.reshape(3, 1), lambda x: tg.concatenate([x, MASK])]
)
def test_an_infinite_leaf_is_found_where_it_is_used(f):
    with (
        pytest.raises(FloatingPointError, match=r"(?s)forward: .*input 0: float64\(3,\), inf in 1 of"),
        tg.detect_anomaly(),
    ):
        f(leaf([1.0, INF, 2.0]))


def test_several_outputs_and_integers_off_the_tape():
    x = tg.tensor([0.0, 4.0])
    with tg.detect_anomaly():
        assert x.astype(int).numpy().tolist() == [0, 4]
        assert tg.cumsum(leaf([1.0, 2.0]).astype(int)).numpy().tolist() == [1, 3]
        with (
            tg.scope("decomposed"),
            pytest.raises(FloatingPointError, match=r"forward: \w+, in scope decomposed, gave \(output 1\)"),
        ):
            tg.slogdet(tg.tensor([[0.0, 0.0], [0.0, 1.0]]))
        assert np.isnan(tg.split(tg.tensor([1.0, np.nan]), 2)[1])


def test_attention_with_lengths_and_ctc_are_sound():
    rng = np.random.default_rng(0)
    for kind in (nn.AdditiveAttention, nn.MultiplicativeAttention):
        attention = kind(3, 4, rng=0)
        query, keys = leaf(rng.standard_normal((2, 5, 3))), leaf(rng.standard_normal((2, 5, 4)))
        with tg.detect_anomaly():
            context, _ = attention(query, keys, lengths=np.array([5, 2]))
            (context**2).sum().backward()
        assert np.isfinite(keys.grad.numpy()).all()
    scores = leaf(rng.standard_normal((6, 3, 5)))
    targets, lengths = np.array([[1, 2, 0], [1, 1, 3], [2, 2, 2]]), np.array([2, 3, 3])
    with tg.detect_anomaly():
        for steps, zeroed in (([6, 5, 6], False), ([6, 5, 2], True)):
            loss = nn.ctc_loss(tg.log_softmax(scores, axis=2), targets, steps, lengths, zero_infinity=zeroed)
            loss.backward(create_graph=True)
            assert np.isfinite(scores.grad.numpy()).all()


def test_a_cotangent_that_the_input_does_not_hold_is_named_with_its_line():
    w = tg.tensor(np.array([1.0], "f4"), requires_grad=True)
    with tg.detect_anomaly():
        y = w.astype("f8") * 1e300  # of float64
        with pytest.raises(
            FloatingPointError, match=r"backward: astype.*gave finite from 1e.300 to 1e.300"
        ) as e:
            y.sum().backward()
    assert "as the cotangent of input 0, which is float32 and does not hold that" in str(e.value)
    assert "# of float64" in str(e.value)


def test_a_sum_at_a_leaf_names_the_line_that_used_it_first():
    b = tg.tensor(np.float32(1), requires_grad=True)
    b * 1  # it was used here
    (b * 2).backward()
    with tg.detect_anomaly():
        y = b + np.zeros(4, np.float32)  # and this is what is wrong
        with pytest.raises(FloatingPointError, match=r"leaf \(unnamed\), first used at .*# and this is what"):
            y.backward(huge(), retain_graph=True)
        with pytest.raises(FloatingPointError, match=r"first used at .*# and this is what"):
            y.backward(huge())
        with pytest.raises(FloatingPointError, match=r"leaf \(unnamed\); what"):
            leaf(1.0).backward(INF)
