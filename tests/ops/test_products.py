"""Einstein's summation against NumPy and against PyTorch's gradients; the other products' ways of calling."""

import itertools
import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.tensors import Tensor

RNG = np.random.default_rng(5)


def random(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape)


SIZES = dict(zip(string.ascii_letters, [2, 3, 2, 4] * 13, strict=True))


def shaped(term: str) -> np.ndarray:
    return random(*[SIZES[c] for c in term])


TABLE = [
    "i,i->", "i,j->ij", "ij->", "ij->i", "ij->j", "ij->ji", "ij,j->i", "ij,jk->ik", "ij,kj->ik", "ij,ij->",
    "ij,ij->ij", "bij,bjk->bik", "bij,jk->bik", "ijk->kij", "ijk->j", "ijk,jk->i", "ijk,ilm->jl",
    "ij,jk,kl->il", "i,ij,j->", "ab,cd->acbd", "ii->", "ii->i", "iij->j", "iij->ij",
    "iji->j", "iii->i", "ii,i->i", "ii,jj->ij", "ijj,j->i", "ij,jj->i", "ij,ij,ij->j", "i->", "i,i,i->i",
    "ij,k->", "aabb->ab", "abab->ba", "ij,jk,ik->",
]  # fmt: skip


def assert_derivatives(f: Any, arrays: list[np.ndarray]) -> None:
    for check in (tg.gradcheck, tg.gradgradcheck):
        report = check(f, *arrays)
        assert report, report
        assert report.method == "complex"


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("subscripts", TABLE)
def test_einsum_values_and_derivatives(subscripts: str, optimize: bool) -> None:
    arrays = [shaped(term) for term in subscripts.split("->")[0].split(",")]
    for f in (tg.einsum, np.einsum):
        got = f(subscripts, *[tg.tensor(a, requires_grad=True) for a in arrays], optimize=optimize)
        assert isinstance(got, Tensor)
        np.testing.assert_allclose(got.numpy(), np.einsum(subscripts, *arrays), rtol=1e-12, atol=1e-14)
    assert_derivatives(lambda *xs: tg.einsum(subscripts, *xs, optimize=optimize), arrays)


@pytest.mark.parametrize("subscripts", TABLE)
def test_einsum_gradients_are_pytorchs(subscripts: str) -> None:
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs PyTorch")
    arrays = [shaped(term) for term in subscripts.split("->")[0].split(",")]
    mine = [tg.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = tg.einsum(subscripts, *mine), torch.einsum(subscripts, *theirs)
    g = random(*y.shape)
    y.backward(g)
    z.backward(torch.tensor(g))
    for x, w in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), w.grad.numpy(), rtol=1e-12, atol=1e-14)


FORMS: list[tuple[Any, ...]] = [
    ("ij,jk", (2, 3), (3, 4)),
    ("ba", (2, 3)),
    ("ii", (3, 3)),
    (" i j , j k -> k i ", (2, 3), (3, 4)),
    ("...i->...", (2, 3, 4)),
    ("i...->...", (2, 3, 4)),
    ("i...", (2, 3)),
    ("...ii->...i", (2, 3, 3)),
    ("...,...", (2, 3), (3,)),
    ("...ij,...jk", (5, 2, 3), (3, 4)),
    ("...ij,...jk->ik...", (5, 2, 3), (1, 3, 4)),
    ("i...j,j->...i", (2, 3, 4, 5), (5,)),
    ("...i,i->...i", (3,), (3,)),
    ("ij,ij->ij", (2, 1), (1, 3)),
    ("ij,ij->", (2, 1), (2, 3)),
    ("ij,jk->ik", (2, 1), (3, 4)),
    ("ij->i", (0, 3)),
    ("ij,jk->ik", (2, 0), (0, 3)),
    (",->", (), ()),
    (",i", (), (3,)),
    ("AB,Bc->Ac", (2, 3), (3, 2)),
]


@pytest.mark.parametrize("form", FORMS, ids=[f[0] for f in FORMS])
def test_einsum_in_every_notation(form: Any) -> None:
    subscripts, *shapes = form
    arrays = [random(*shape) for shape in shapes]
    got = np.einsum(subscripts, *[tg.tensor(a, requires_grad=True) for a in arrays])
    np.testing.assert_allclose(got.numpy(), np.einsum(subscripts, *arrays), rtol=1e-12, atol=1e-14)
    assert_derivatives(lambda *xs: tg.einsum(subscripts, *xs), arrays)


def test_einsum_of_lists() -> None:
    assert tg.einsum("i,i", [1.0, 2.0], [3, 4]) == 11


def test_einsum_with_lists_of_axes() -> None:
    a, b = random(2, 3), random(3, 4)
    for args in (
        [a, [0, 1], b, [1, 2]],
        [a, [0, 1], b, [1, 2], [2, 0]],
        [a, [..., 7], [7, ...]],
        [a, [26, 0]],  # without an output, axes come in the order of their numbers
        [a, [25, 26]],
        [a, [0, 51], b, [51, np.int64(25)]],
    ):
        tensors = [tg.tensor(x, requires_grad=True) if isinstance(x, np.ndarray) else x for x in args]
        for f in (tg.einsum, np.einsum):
            np.testing.assert_allclose(f(*tensors).numpy(), np.einsum(*args), rtol=1e-13)


def test_einsum_with_lists_of_axes_refuses_anything_else_in_their_places() -> None:
    for label in (-1, 52, True, np.True_):
        with pytest.raises((ValueError, TypeError), match=r"einsum: .*(numbered from 0 to 51|pass a whole)"):
            tg.einsum(A, [0, label])
    words = "einsum: subscripts come first, in a string .*, or a list of axes after each operand; got "
    for first, name in ((A, "ndarray"), (tg.tensor(A), "Tensor")):
        for rest in ((5,), ("ij",), ([0, 1], V, 5), ([0, 1], V, [1], 0), (B,)):
            with pytest.raises(TypeError, match=f"{words}{name} first"):
                tg.einsum(first, *rest)


def test_einsum_with_as_many_axes_as_there_are_letters() -> None:
    a = random(*(1,) * 50, 2, 3)
    for subscripts, wanted in (("...", a), ("a...z->z...a", np.swapaxes(a, 0, -1))):
        leaf = tg.tensor(a, requires_grad=True)
        y = tg.einsum(subscripts, leaf)
        np.testing.assert_array_equal(y.numpy(), wanted)
        (y * y).sum().backward()
        np.testing.assert_array_equal(leaf.grad.numpy(), 2 * a)


@st.composite
def sums(draw: Any) -> tuple[str, list[tuple[int, ...]]]:
    """Random subscripts over four letters, with repeats, for one to three operands."""
    sizes = dict(zip("abcd", draw(st.tuples(*[st.integers(1, 3)] * 4)), strict=True))
    terms = draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    letters = sorted(set("".join(terms)))
    output = "".join(draw(st.permutations(letters)))[: draw(st.integers(0, len(letters)))]
    return ",".join(terms) + "->" + output, [tuple(sizes[c] for c in term) for term in terms]


@settings(max_examples=3 * settings.default.max_examples)
@given(sums())
def test_random_einsums(case: tuple[str, list[tuple[int, ...]]]) -> None:
    subscripts, shapes = case
    arrays = [random(*shape) for shape in shapes]
    got = tg.einsum(subscripts, *[tg.tensor(a) for a in arrays])
    np.testing.assert_allclose(got.numpy(), np.einsum(subscripts, *arrays), rtol=1e-12, atol=1e-14)
    report = tg.gradcheck(lambda *xs: tg.einsum(subscripts, *xs), *arrays)
    assert report, report


def test_constants_of_an_einsum_cost_no_gradient() -> None:
    """Only what is asked for is computed."""
    a, b = tg.tensor(random(2, 3), requires_grad=True), random(3, 4)
    tg.einsum("ij,jk->", a, b).backward()
    np.testing.assert_allclose(a.grad.numpy(), np.broadcast_to(b.sum(1), (2, 3)))


A, B, V, W = random(2, 3), random(3, 4), random(3), random(6)
CALLS = {
    "dot": lambda x: np.dot(x(A), x(B)),
    "dot-method": lambda x: x(A).dot(B),
    "dot-mixed": lambda x: np.dot(2.0, x(A)),
    "inner": lambda x: np.inner(x(A), x(V)),
    "inner-mixed": lambda x: np.inner(x(A), 2.0) + np.inner(2.0, x(A)),
    "outer": lambda x: np.outer(x(A), x(V)),
    "linalg.outer": lambda x: np.linalg.outer(x(V), x(V)),
    "tensordot": lambda x: np.tensordot(x(A), x(B), 1),
    "tensordot-named": lambda x: np.tensordot(b=x(A), a=x(A), axes=([0, 1], [0, 1])),
    "tensordot-mixed": lambda x: np.tensordot(A, x(B), (1, 0)),
    "tensordot-negative": lambda x: np.tensordot(x(A), x(B), [[-1], [-2]]),
    "kron": lambda x: np.kron(x(A), x(V)),
    "cross": lambda x: np.cross(x(A), x(V)),
    "cross-axes": lambda x: np.cross(x(A.T), x(A.T), 0, 0, -1),
    "convolve": lambda x: np.convolve(x(V), x(B[0]), "same"),
    "convolve-swapped": lambda x: np.convolve(a=x(V), v=x(W), mode="valid"),
    "einsum": lambda x: np.einsum("ij,jk", x(A), x(B), out=None),
    "einsum-defaults": lambda x: np.einsum("ij", x(A), dtype=None, order="K", casting="safe"),
    "einsum-dtype": lambda x: np.einsum("ij,j", x(A.astype("f4")), x(V.astype("f4")), dtype=np.float64),
    "einsum-single": lambda x: np.einsum("ij->i", x(A), dtype="f4", casting="same_kind"),
    "einsum-lists": lambda x: np.einsum("i,i,ij", [1.0, 2], x(A[:, 0]), [[1, 2], [3, 4]], dtype=float),
    "linalg.matmul": lambda x: np.linalg.matmul(x(A), x(B)),
    "linalg.tensordot": lambda x: np.linalg.tensordot(x(A), x(B), axes=1),
    "linalg.cross": lambda x: np.linalg.cross(x(A), x(V)),
    "linalg.cross-axis": lambda x: np.linalg.cross(x(A.T), x(A.T), axis=0),
}


@pytest.mark.parametrize("name", CALLS)
def test_numpys_ways_of_calling(name: str) -> None:
    got = CALLS[name](lambda a: tg.tensor(a, requires_grad=True))
    wanted = CALLS[name](lambda a: a)
    assert isinstance(got, Tensor)
    assert got.requires_grad
    assert got.dtype == wanted.dtype
    rtol = 10 * np.finfo(wanted.dtype).eps
    np.testing.assert_allclose(got.numpy(), wanted, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("order", ["C", "F", "A", "K"])
def test_an_einsum_in_any_memory_layout(order: Any) -> None:
    for a in (random(2, 3), random(3, 2).T):
        got = np.einsum("ij,i->ji", tg.tensor(a), a[:, 0], order=order).numpy()
        wanted = np.einsum("ij,i->ji", a, a[:, 0], order=order)
        assert (got.flags.c_contiguous, got.flags.f_contiguous) == (
            wanted.flags.c_contiguous,
            wanted.flags.f_contiguous,
        )


def test_an_einsum_in_another_dtype_has_gradients_in_the_operands() -> None:
    single, weights = random(2, 3).astype(np.float32), random(3)
    a, b = (tg.tensor(x, requires_grad=True) for x in (single, weights))
    np.einsum("ij,j->", a, b, dtype=np.float64).backward()
    assert (a.grad.dtype, b.grad.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(a.grad.numpy(), np.tile(weights, (2, 1)), rtol=1e-7)
    np.testing.assert_allclose(b.grad.numpy(), single.sum(0, dtype=float), rtol=1e-14)


@pytest.mark.parametrize("given", [{"dtype": "f4"}, {"casting": "no"}, {"casting": "equiv", "dtype": float}])
def test_einsum_refuses_conversions_that_the_casting_rule_forbids(given: Any) -> None:
    with pytest.raises(TypeError):
        np.einsum("ij,j", A, V.astype("f4"), **given)
    with pytest.raises(
        TypeError, match=r"einsum: an operand of dtype float.* cannot be converted .* casting="
    ):
        np.einsum("ij,j", tg.tensor(A), V.astype("f4"), **given)


ERRORS: list[tuple[Any, str]] = [
    (lambda: tg.einsum("ij,jk", A), "einsum: the subscripts 'ij,jk' are for 2 operands, got 1"),
    (lambda: tg.einsum("ijk->", A), r"einsum: the subscripts 'ijk' do not fit an operand of shape \(2, 3\)"),
    (lambda: tg.einsum("i->", A), r"einsum: the subscripts 'i' do not fit an operand of shape \(2, 3\)"),
    (lambda: tg.einsum("...ij->...", V), r"einsum: the subscripts '...ij' do not fit .* shape \(3,\)"),
    (lambda: tg.einsum("ij->ii", A), "einsum: the output of .* must name each of its axes once"),
    (lambda: tg.einsum("ij->k", A), "einsum: the output of .* must name each of its axes once, and known"),
    (lambda: tg.einsum("...j->j", A), "einsum: the axes of the ellipsis in .* are missing from its output"),
    (lambda: tg.einsum("i1->i", A), "einsum: subscripts are letters"),
    (lambda: tg.einsum("i..j->", A), "einsum: subscripts are letters"),
    (lambda: tg.einsum("...i...->", A), "einsum: subscripts are letters"),
    (lambda: tg.einsum("...", np.ones((1,) * 53)), "einsum: more axes than there are letters"),
    (lambda: tg.einsum("a...", np.ones((1,) * 53)), "einsum: more axes than there are letters"),
    (lambda: tg.einsum("ij"), "einsum: at least one operand is needed"),
    (lambda: tg.einsum("ij,ij", tg.tensor(A), B), r"einsum: contract\(float64\(2, 3\), float64\(3, 4\)"),
    (lambda: tg.tensordot(A, B, 2), "tensordot: axes .* differ in length"),
    (lambda: tg.tensordot(A, B, ([0, 1], [0])), "tensordot: 2 axes of the first array are paired with 1"),
    (lambda: tg.tensordot(A, B, -1), "tensordot: a number of axes to sum over must be 0 or more, got -1"),
    (lambda: tg.cross(A, A.T), "cross: vectors of length 3 are needed, got lengths 3 and 2"),
    (lambda: tg.cross(np.ones(4), np.ones((2, 2, 3))), "cross: vectors of length 3 .*, got lengths 4 and 3"),
    (lambda: tg.cross(np.ones((2, 2, 3)), np.ones(2)), "cross: vectors of length 3 .*, got lengths 3 and 2"),
    (lambda: tg.convolve(tg.tensor(A), V), "convolve.*: vectors are needed"),
    (lambda: tg.dot(tg.tensor(A), A), r"dot: matmul\(float64\(2, 3\), float64\(2, 3\)\)"),
]


@pytest.mark.parametrize("case", ERRORS, ids=[e[1][:24] for e in ERRORS])
def test_errors_name_the_operation(case: Any) -> None:
    call, words = case
    with pytest.raises(ValueError, match=words):
        call()


def test_einsum_refuses_what_it_would_ignore() -> None:
    with pytest.raises(TypeError, match=r"einsum.* does not take 'subok'"):
        np.einsum("ij", tg.tensor(A), subok=True)
    with pytest.raises(TypeError, match=r"np\.einsum cannot write into out="):
        np.einsum("ij->", tg.tensor(A), out=np.zeros(()))


def test_chains_of_matrices_are_multiplied_in_the_cheapest_order() -> None:
    """The example of Cormen et al., chapter 15.2: (A (B C)) ((D E) F)."""
    lengths = [30, 35, 15, 5, 10, 20, 25]
    arrays = [tg.tensor(random(*pair), requires_grad=True) for pair in itertools.pairwise(lengths)]
    y = np.linalg.multi_dot(arrays)
    products = [e.shape for e in tg.Tape(y).entries]
    assert sorted(products) == sorted([(35, 5), (30, 5), (5, 20), (5, 25), (30, 25)])
    np.testing.assert_allclose(
        y.numpy(), np.linalg.multi_dot([a.numpy() for a in map(tg.Tensor.detach, arrays)])
    )


@given(st.lists(st.integers(1, 9), min_size=3, max_size=6), st.booleans(), st.booleans())
def test_no_order_of_a_chain_takes_fewer_multiplications(lengths: list[int], row: bool, column: bool) -> None:
    """With vectors at the ends, too: rows of one, and columns of one."""
    shapes = list(itertools.pairwise([1, *lengths[1:]] if row else lengths))
    shapes[-1] = (shapes[-1][0], 1) if column else shapes[-1]

    def fewest(i: int, j: int) -> int:
        ways = range(i, j)
        products = [
            fewest(i, k) + fewest(k + 1, j) + shapes[i][0] * shapes[k][1] * shapes[j][1] for k in ways
        ]
        return min(products, default=0)

    given_shapes: list[tuple[int, ...]] = list(shapes)
    given_shapes[0] = shapes[0][1:] if row else shapes[0]
    given_shapes[-1] = shapes[-1][:1] if column else shapes[-1]
    y = tg.multi_dot([tg.tensor(random(*shape), requires_grad=True) for shape in given_shapes])
    pairs = [entry.args for entry in tg.Tape(y).entries]
    taken = sum(a.size * (b.shape[1] if b.ndim > 1 else 1) for a, b in pairs)
    assert taken == fewest(0, len(shapes) - 1)


def test_chains_of_more_matrices_than_there_are_letters() -> None:
    arrays = [random(2, 2) for _ in range(60)]
    got = tg.multi_dot([tg.tensor(a, requires_grad=True) for a in arrays])
    np.testing.assert_allclose(got.numpy(), np.linalg.multi_dot(arrays), rtol=1e-10)


def test_chains_that_do_not_fit() -> None:
    with pytest.raises(
        ValueError, match=r"^multi_dot: arrays number 1 and 2, of shapes \(3, 2\) and \(3,\), do"
    ):
        tg.multi_dot([np.ones((2, 3)), np.ones((3, 2)), np.ones(3)])
    with pytest.raises(ValueError, match=r"multi_dot: .* do not fit: 2 columns for 4 rows; transpose one"):
        tg.multi_dot([np.ones((2, 3)), np.ones((3, 2)), np.ones((4, 5))])
    with pytest.raises(ValueError, match=r"multi_dot: .* do not fit: 3 columns for 4 rows; transpose one"):
        tg.multi_dot([np.ones(3), np.ones((4, 2))])
