"""Leaves, and tensors off the tape, that are changed in place before backward."""

from typing import Any

import numpy as np
import pytest
from leaves import leaf, same

import tinygrad_rnn as tg

CHANGES = {
    "data -=": lambda w: setattr(w, "data", np.subtract(w.data, 1, out=w.data)),
    "data =": lambda w: setattr(w, "data", np.zeros(w.shape)),
    "assign_": lambda w: w.assign_(np.zeros(w.shape)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "f",
    [
        lambda w: w * w,
        lambda w: tg.exp(w.T),
        lambda w: w.reshape(4) ** 3,
        lambda w: np.ones((2, 2)) @ (w.T * w.T),
        lambda w: tg.unstack(w)[0] ** 2,
        lambda w: tg.split(w, 2)[1] ** 2,
        lambda w: w[0] * w[1],
        lambda w: tg.flip(w) ** 2,
        lambda w: w.broadcast_to(3, 2, 2) ** 2,
        lambda w: w.expand_dims(0).squeeze(0) ** 2,
        lambda w: w.swapaxes(0, 1) ** 2,
        lambda w: tg.tanh(w) * w,
    ],
)
def test_a_leaf_changed_before_backward_is_noticed(f: Any, change: str) -> None:
    """Also where the operation read a view of the leaf, as a layer does with weight.T."""
    w = leaf(2, 2)
    w.name = "weight"
    y = f(w).sum()
    CHANGES[change](w)
    with pytest.raises(
        RuntimeError, match=r"the leaf weight of shape \(2, 2\) was changed in place before backward"
    ):
        y.backward()
    w.grad = None
    f(w).sum().backward()
    assert w.grad is not None


@pytest.mark.parametrize("f", [tg.sin, lambda w: w * w, lambda w: tg.einsum("i,i->i", w, w)])
def test_an_entry_of_any_size_notes_the_line_of_first_use(f: Any) -> None:
    w = leaf(3)
    with tg.scope("reader"):
        y = f(w)
    w.assign_(np.ones(3))
    with pytest.raises(RuntimeError, match=r"in scope reader.* \(first used at .*test_writes\.py"):
        y.sum().backward()


def test_the_line_of_first_use_is_that_of_the_version() -> None:
    """Also where lines take turns, and where one has been run more often than is remembered."""

    def here(w: Any) -> Any:
        return tg.exp(w * w)

    def there(w: Any) -> Any:
        return tg.exp(w * w)

    lines = {f: rf"first used at .*:{f.__code__.co_firstlineno + 1}\b" for f in (here, there)}
    w = leaf(2)
    recorded = []
    for f in (here, there, here):
        recorded.append((f, f(w)))
        w.assign_(np.ones(2))
    for f, y in recorded:
        with pytest.raises(RuntimeError, match=lines[f]):
            y.sum().backward()
    w = leaf(2)
    y = there(w)
    w.assign_(np.ones(2))
    for _ in range(70):
        here(w).sum().backward()
    with pytest.raises(RuntimeError, match=lines[there]):
        y.sum().backward()


def test_the_line_of_first_use_of_a_tensor_off_the_tape_is_that_of_the_version() -> None:
    w, s = leaf(3), leaf(3).detach()
    first = (w * s).sum()  # the first version
    again = (s * w).sum()  # used once more
    s.assign_(np.ones(3))
    second = tg.where(np.array([True, False, True]), w, 1.0) * s  # the second version
    third = tg.einsum("i,i", s, w)  # and again
    s.zero_()
    for y, number, comment in (
        (first, 0, "first"),
        (again, 0, "first"),
        (second, 1, "second"),
        (third, 1, "second"),
    ):
        with pytest.raises(
            RuntimeError, match=rf"used version {number} \(first used at .*# the {comment} version"
        ):
            y.backward(np.ones(y.shape))


def test_the_line_of_first_use_is_known_however_an_operation_saves_an_array() -> None:
    w, s = leaf(2, 2), leaf(2, 2).detach()
    i = tg.tensor(np.array([0, 1]))
    uses: list[Any] = [
        lambda: s * w,  # use 0
        lambda: w / s,  # use 1
        lambda: tg.einsum("ij,jk->ik", w, s),  # use 2
        lambda: tg.qr(tg.matmul(s, w))[0],  # use 3
        lambda: w[i],  # use 4
    ]
    for number, use in enumerate(uses):
        tg.einsum("ij,jk->ik", s, s)  # which saves nothing
        with tg.no_grad():
            tg.einsum("ij,jk->ik", w, s)
        y = use()
        changed = i if use is uses[-1] else s
        changed.assign_(changed.numpy() + 1)
        with pytest.raises(RuntimeError, match=rf"version \d+ \(first used at .*# use {number}"):
            y.backward(np.ones(y.shape))
        i.assign_(np.array([0, 1]))


def test_what_used_a_view_of_a_tensor_off_the_tape_is_named_under_detect_anomaly() -> None:
    w, s = leaf(2), leaf(2, 2).detach()
    z = (w * s).sum()  # another version
    s.data += 1
    y = (w * s[0]).sum()
    s.data += 1
    with pytest.raises(RuntimeError, match=r"first used at a line that tg.detect_anomaly\(\) would name"):
        y.backward()
    with pytest.raises(RuntimeError, match=r"version 0 \(first used at .*# another version"):
        z.backward()


def test_tensors_that_share_an_array_have_versions_of_their_own() -> None:
    array = np.ones(3)
    one, other = tg.tensor(array), tg.tensor(array)
    one.data -= 1
    y = leaf(3) * other
    other.data -= 1
    with pytest.raises(RuntimeError, match=r"used version 0 .*, and now it has version 1\."):
        y.sum().backward()
    y = leaf(3) * other
    other.data -= 1
    other.data -= 1
    with pytest.raises(RuntimeError, match=r"used version 1 .*, and now it has version 3\."):
        y.sum().backward()


@pytest.mark.parametrize(
    "another",
    [
        lambda a, array: tg.tensor(array),
        lambda a, array: tg.tensor(a),
        lambda a, array: a.detach(),
        lambda a, array: tg.squeeze(a.detach()),
    ],
)
def test_other_values_in_one_tensor_are_no_business_of_another_that_shares_its_array(another: Any) -> None:
    array = np.array([1.0, 2.0])
    w, a = leaf(2), tg.tensor(array)
    b = another(a, array)
    assert np.shares_memory(a.numpy(), b.numpy())
    unsaved = (w * array).sum()
    y, z = (w * a).sum(), (w * b).sum()
    b.assign_(np.ones(2))
    y.backward()
    unsaved.backward()
    same(w.grad, [2.0, 4.0])
    with pytest.raises(RuntimeError, match="the buffer"):
        z.backward()
    y, v = (w * w).sum(), w.detach()
    v.zero_()
    y.backward()


@pytest.mark.parametrize(
    ("f", "given", "later"),
    [
        (lambda w, given: tg.roll(w, given, [0]), [1], [2]),
        (lambda w, given: tg.roll(w, (1, 1), axis=given), [0, 1], [1, 1]),
        (lambda w, given: tg.repeat(w, given, axis=0), [1, 2, 1], [1, 1, 2]),
        (lambda w, given: tg.split(w, given)[2], [1, 2], [1, 1]),
        (lambda w, given: w[given, 1:], [0, 1], [1, 2]),
        (lambda w, given: tg.pad(w, (given, (0, 0))), [1, 2], [2, 1]),
        (lambda w, given: tg.einsum(w, [0, 1], tg.tensor(np.eye(3)), given, [0, 2]), [1, 2], [2, 1]),
    ],
)
def test_a_list_that_is_changed_afterwards_changes_no_gradient(f: Any, given: Any, later: Any) -> None:
    gradients = []
    for changed in (given, later):
        w, values = leaf(3, 3), list(given)
        y = f(w, values)
        values[:] = changed
        y.backward(np.random.default_rng(1).normal(size=y.shape))
        gradients.append(w.grad.numpy())
    np.testing.assert_array_equal(*gradients)


def test_a_result_that_was_written_into_is_noticed_though_that_was_refused() -> None:
    x = leaf(3)
    y = x * 2.0
    z = (y * y).sum()
    with pytest.raises(RuntimeError, match="work on leaves"):
        y.data = np.ones(3)
    z.backward(retain_graph=True)
    same(x.grad, 8 * x.numpy())
    with pytest.raises(RuntimeError, match="work on leaves"):
        y.data -= 1  # NumPy has done it before the tensor is asked
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()


def test_an_error_half_way_leaves_no_gradient() -> None:
    x, w = leaf(3), leaf(3, seed=1)
    z = (tg.exp(x) * w).sum()
    w.data *= 2
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()
    assert x.grad is None
    assert w.grad is None


def test_a_change_that_does_not_matter_is_allowed() -> None:
    w = leaf(3)
    y = (tg.exp(w) + 2 * w + tg.tanh(w * 3.0)).sum()
    v = w.numpy().copy()
    w.assign_(np.zeros(3))
    y.backward()
    same(w.grad, np.exp(v) + 2 + 3 * (1 - np.tanh(3 * v) ** 2))


def test_a_change_after_backward_is_the_normal_case() -> None:
    w = leaf(3)
    for _ in range(3):
        loss = (w.T * w).sum()
        loss.backward()
        w.data -= 0.1 * w.grad.data
        w.grad = None
    same(w, leaf(3).numpy() * 0.8**3)
