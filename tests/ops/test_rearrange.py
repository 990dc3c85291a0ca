"""Rearranging operations: NumPy's own ways of calling them, joins of mixed kinds, and their errors."""

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.tensors import Tensor

A = np.arange(24.0).reshape(2, 3, 4)
M = np.arange(6.0).reshape(2, 3)
V = np.array([1.0, -2.0, 3.0])

CALLS = {
    "moveaxis": lambda x: np.moveaxis(x(A), (0, 1), (-1, 0)),
    "moveaxis-named": lambda x: np.moveaxis(a=x(A), destination=0, source=2),
    "rollaxis": lambda x: np.rollaxis(x(A), 2, 1),
    "rollaxis-itself": lambda x: np.rollaxis(x(A), 1, 1),
    "rollaxis-negative": lambda x: np.rollaxis(x(A), 0, -1),
    "ravel": lambda x: np.ravel(x(M), "F"),
    "ravel-named": lambda x: np.ravel(a=x(M)),
    "roll": lambda x: np.roll(x(A), (1, -1), (0, 2)),
    "repeat": lambda x: np.repeat(x(M), [1, 2], 0),
    "repeat-scalar-array": lambda x: np.repeat(x(M), np.array(2)),
    "repeat-tensor": lambda x: np.repeat(x(M), x(np.array([2, 0, 1])), axis=1),
    "tile": lambda x: np.tile(x(M), (2, 1, 2)),
    "tile-list": lambda x: np.tile(x(M), [2, 1]),
    "rot90": lambda x: np.rot90(x(A), 3, (1, 2)),
    "rot90-further": lambda x: [np.rot90(x(A), k) for k in (4, 5, 6, 7, -2, -3)],
    "atleast_1d": lambda x: np.atleast_1d(x(M), x(np.array(1.0))),
    "atleast_2d": lambda x: np.atleast_2d(x(M), x(V)),
    "atleast_3d": lambda x: np.atleast_3d(x(V), x(M), x(A)),
    "vstack": lambda x: np.vstack((x(V), x(M), V)),
    "vstack-rows": lambda x: np.vstack(x(A)),
    "vstack-named": lambda x: np.vstack(tup=[V, x(V)], dtype=None, casting="same_kind"),
    "hstack": lambda x: np.hstack([V, x(V), 2 * V]),
    "hstack-one": lambda x: [np.hstack([x(V)]), np.hstack([x(M)])],
    "dstack": lambda x: np.dstack([x(M), M]),
    "column_stack": lambda x: np.column_stack([V, x(V), x(A[0].T[:3])]),
    "array_split": lambda x: np.array_split(x(A), 3, 2),
    "array_split-whole": lambda x: np.array_split(x(A), 1),
    "array_split-named": lambda x: np.array_split(ary=x(A), indices_or_sections=[1, 1], axis=-1),
    "hsplit": lambda x: np.hsplit(x(A), 3),
    "hsplit-named": lambda x: np.hsplit(ary=x(M), indices_or_sections=[1]),
    "hsplit-of-vector": lambda x: np.hsplit(x(V), 3),
    "vsplit": lambda x: np.vsplit(x(A), 2),
    "dsplit": lambda x: np.dsplit(ary=x(A), indices_or_sections=[1, 2]),
    "fliplr": lambda x: [np.fliplr(x(M)), np.fliplr(m=x(A))],
    "flipud": lambda x: [np.flipud(x(V)), np.flipud(x(A))],
    "diagflat": lambda x: [np.diagflat(x(V), 2), np.diagflat(v=x(M), k=-1)],
    "copy": lambda x: np.copy(x(M)),
    "concatenate-rows": lambda x: [np.concatenate(x(A)), np.concatenate(x(A), 1)],
    "concatenate-rows-flattened": lambda x: np.concatenate(x(M), axis=None),
    "stack-rows": lambda x: np.stack(x(A), -1),
    "split": lambda x: np.split(x(A), indices_or_sections=2, axis=2),
    "block": lambda x: np.block([[x(M), M], [M, x(M)]]),
    "block-mixed": lambda x: np.block([[x(M), np.ones((2, 1))], [1.0, x(V)]]),
    "diagonal": lambda x: np.diagonal(x(A), 1, 2, 0),
    "trace": lambda x: np.trace(x(A), -1, 1, 2),
    "trace-all": lambda x: np.trace(x(A), 0, 0, 1, None, None),
    "diag": lambda x: np.diag(x(V), 2),
    "diag-of-matrix": lambda x: np.diag(v=x(M), k=-1),
    "tril": lambda x: np.tril(x(A), 1),
    "triu": lambda x: np.triu(m=x(A), k=-1),
}


@pytest.mark.parametrize("name", CALLS)
def test_numpys_ways_of_calling(name: str) -> None:
    got = CALLS[name](lambda a: tg.tensor(a, requires_grad=a.dtype.kind == "f"))
    wanted = CALLS[name](lambda a: a)
    several = isinstance(wanted, (tuple, list))
    assert len(got) == len(wanted)
    for y, z in zip(got if several else [got], wanted if several else [wanted], strict=True):
        assert isinstance(y, Tensor)
        np.testing.assert_array_equal(y.numpy(), z)


@pytest.mark.parametrize(("length", "sections"), [(3, 1), (3, 3), (1, 1), (0, 1), (0, 2)])
def test_split_into_the_fewest_and_the_most(length: int, sections: int) -> None:
    x = np.arange(2.0 * length).reshape(2, length)
    got, wanted = np.split(tg.tensor(x), sections, axis=1), np.split(x, sections, axis=1)
    assert len(got) == sections
    for y, z in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(y.numpy(), z)


def test_block_joins_blocks_of_different_dimension() -> None:
    x, v = tg.tensor(M, requires_grad=True), tg.tensor(V, requires_grad=True)
    y = np.block([[x, np.ones((2, 1))], [1.0, v]])
    np.testing.assert_array_equal(y.numpy(), np.block([[M, np.ones((2, 1))], [1.0, V]]))
    g = np.arange(12.0).reshape(3, 4)
    y.backward(g)
    np.testing.assert_array_equal(x.grad.numpy(), g[:2, :3])
    np.testing.assert_array_equal(v.grad.numpy(), g[2, 1:])


def test_joins_keep_the_dtype() -> None:
    x = tg.tensor(np.ones(3, np.float32))
    for f in (tg.vstack, tg.hstack, tg.dstack, tg.column_stack, tg.block):
        assert f([x, x]).dtype == np.float32
    for f in (tg.tril, tg.triu, tg.diag):
        assert f(x).dtype == np.float32


def test_repeated_elements_add_their_cotangents_up() -> None:
    for f in (lambda x: tg.repeat(x, [2, 0, 1]), lambda x: tg.tile(x, 2), lambda x: x.repeat(3)):
        x = tg.tensor(V, requires_grad=True)
        y = f(x)
        y.backward(np.ones(y.shape))
        counts = (y.numpy()[:, None] == V).sum(0)
        np.testing.assert_array_equal(x.grad.numpy(), counts)


def test_parts_are_on_the_tape() -> None:
    """A composite leaves the entries of its parts."""
    x = tg.tensor(M, requires_grad=True)
    names = [entry.primitive.name for entry in tg.Tape(tg.vstack([x, V]))]
    assert names == ["reshape", "concatenate"]
    assert [e.primitive.name for e in tg.Tape(tg.trace(x))] == ["diagonal", "sum"]


ERRORS: list[tuple[Any, Any, str]] = [
    (lambda: tg.moveaxis(A, (0, 1), 2), ValueError, "moveaxis: 2 source axes for 1 destinations"),
    (lambda: tg.moveaxis(tg.tensor(A), 3, 0), np.exceptions.AxisError, "moveaxis: source: axis 3 is out"),
    (lambda: tg.rollaxis(A, 0, 4), np.exceptions.AxisError, "rollaxis: axis 4 is out .* dimension 4"),
    (lambda: tg.rollaxis(A, 0, -4), np.exceptions.AxisError, "rollaxis: axis -4 is out of bounds"),
    (lambda: tg.ravel(A, order="K"), ValueError, "ravel: order must be 'C' or 'F', got 'K'"),
    (lambda: tg.array_split(A, 0), ValueError, "array_split: the number of sections must be 1 or more"),
    (lambda: tg.split(A, 0), ValueError, "an axis of length 2 does not divide into 0 equal parts"),
    (lambda: tg.split(A, 3), ValueError, "an axis of length 2 does not divide into 3 equal parts"),
    (lambda: tg.diag(A), ValueError, r"diag: a vector or a matrix is needed, got shape \(2, 3, 4\)"),
    (lambda: tg.block((M, M)), TypeError, "block: blocks are nested in lists, not in tuples"),
    (lambda: tg.block([[M], M]), ValueError, r"block: lists of blocks .*, got depths \[0, 1\]"),
    (lambda: tg.block([[], []]), ValueError, "block: an empty list stands among the blocks"),
    (lambda: tg.vstack([tg.tensor(M), A[0]]), ValueError, r"vstack: concatenate\(float64\(2, 3\), floa"),
    (lambda: np.trace(tg.tensor(M), out=np.zeros(())), TypeError, r"np\.trace cannot write into out="),
    (lambda: tg.tensor(M).roll(1, 2), np.exceptions.AxisError, r"roll\(float64\(2, 3\).*axis 2 is out of"),
    (lambda: tg.tensor(M).repeat([1, 2, 3], 0), ValueError, r"repeat\(float64\(2, 3\)"),
    (lambda: tg.rot90(tg.tensor(M), 1, (0, 0)), ValueError, "rot90: .*repeated axis"),
]  # fmt: skip


@pytest.mark.parametrize("case", ERRORS, ids=[e[2][:20] for e in ERRORS])
def test_errors_name_the_operation(case: Any) -> None:
    call, kind, words = case
    with pytest.raises(kind, match=words):
        call()


# ------------------------------------------------------------------------------- parts and their cotangents


@pytest.mark.parametrize(("cut", "join"), [(tg.unstack, "stack"), (lambda x: tg.split(x, 3), "concatenate")])
def test_cotangents_of_all_outputs_are_joined_at_once(cut: Any, join: str) -> None:
    """Not added one by one into an array of zeros, which is for outputs that nobody used."""
    x = tg.tensor(A[0], requires_grad=True)
    y = sum(a * a for a in cut(x)).sum()
    y.backward(create_graph=True)
    names = {e.primitive.name for e in tg.Tape(x.grad)}
    assert join in names
    assert "scatter" not in names


@pytest.mark.parametrize("primitive", [tg.split, tg.unstack])
def test_a_missing_cotangent_costs_nothing(primitive: Any) -> None:
    """The rule gives one piece for the output that was used, and no zeros for those that were not."""
    x = tg.tensor(A[0].T, requires_grad=True)
    static = {"sections": 4} if primitive is tg.split else {}
    outputs = primitive(x, **static)
    entry = outputs[0].place.entry
    g = np.ones(outputs[2].shape)
    [piece] = primitive.vjps[0]([None, None, g, None], None, *entry.args, **entry.static)
    assert piece.g is g
