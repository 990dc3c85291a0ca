"""How calls of NumPy's functions reach the operations, whatever NumPy says of their parameters."""

import types
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import protocols

X, Y = np.array([1.0, -2.0, 3.0]), np.array([0.5, 4.0, -1.0])
WRITTEN_IN_C = {
    "concatenate": lambda x, y: np.concatenate([x, y], None),
    "concatenate-named": lambda x, y: np.concatenate((x, y), axis=-1, dtype=None, casting="same_kind"),
    "dot": lambda x, y: np.dot(x, b=y),
    "dot-out": lambda x, y: np.dot(x, y, None),
    "inner": lambda x, y: np.inner(x, y),
    "where": lambda x, y: np.where(X > 0, x, y),
}


@pytest.mark.parametrize("name", WRITTEN_IN_C)
@pytest.mark.parametrize("known", [True, False])
def test_functions_that_do_not_tell_their_parameters(
    name: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are written in C do since NumPy 2.4."""

    def signature(function: Any) -> Any:
        raise ValueError(f"no signature found for {function}")

    protocols._parameters.cache_clear()
    if not known:
        monkeypatch.setattr(protocols, "inspect", types.SimpleNamespace(signature=signature))
    f = WRITTEN_IN_C[name]
    got = f(tg.tensor(X), tg.tensor(Y))
    protocols._parameters.cache_clear()
    np.testing.assert_array_equal(got.numpy(), f(X, Y))


def test_all_arguments_by_position() -> None:
    x = tg.tensor(X)
    np.testing.assert_array_equal(np.cumsum(x, 0, None, None).numpy(), X.cumsum())
    np.testing.assert_array_equal(np.outer(x, Y, None).numpy(), np.outer(X, Y))


def test_all_arguments_by_name() -> None:
    x, y = tg.tensor(M, requires_grad=True), tg.tensor(N)
    np.testing.assert_array_equal(np.stack(arrays=[x, y], axis=1).numpy(), np.stack([M, N], axis=1))
    np.testing.assert_array_equal(np.stack(arrays=x).numpy(), M)
    np.testing.assert_array_equal(np.stack(arrays=x, dtype="f4").numpy(), np.stack(M, dtype="f4"))
    np.testing.assert_array_equal(np.vstack(tup=(x, y)).numpy(), np.vstack((M, N)))
    np.testing.assert_array_equal(np.concatenate(arrays=[x, y]).numpy(), np.concatenate((M, N)))


def test_one_argument_under_two_names() -> None:
    """Where one of them says the default, the other holds, as for NumPy."""
    x = tg.tensor(X)
    np.testing.assert_array_equal(np.var(x, ddof=0, correction=1).numpy(), np.var(X, correction=1))
    np.testing.assert_array_equal(np.var(x, correction=1, ddof=0).numpy(), np.var(X, correction=1))
    for both in ({"ddof": 1, "correction": 2}, {"correction": 0, "ddof": 1}, {"ddof": 1, "correction": 0}):
        with pytest.raises(TypeError, match=r"np\.var got two values of 'ddof', under different names"):
            np.var(x, **both)
        with pytest.raises(ValueError, match="simultaneously"):
            np.var(X, **both)


# ------------------------------------------------------- arguments that NumPy's functions have, and ours not

M, N = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.5]]), np.array([[2.0, 0.25, 1.0], [1.5, -1.0, 0.75]])
S = np.array([[2.0, 0.5], [-1.0, 5.0]])
W, START = np.array([1.5, 0.5, 2.0]), np.array([[1.0], [-2.0]])
MASK = np.array([[True, False, True], [True, True, False]])
FORMS = {
    **{
        f"{f.__name__}-dtype": lambda x, f=f: f(x(M), 1, dtype="f4")
        for f in (np.sum, np.mean, np.var, np.std, np.prod, np.cumsum, np.cumprod)
    },
    **{
        f"{f.__name__}-dtype-whole": lambda x, f=f, t=t: f(x(M), dtype=t)
        for f, t in ((np.sum, "i1"), (np.prod, bool), (np.cumsum, "i4"), (np.trace, "u2"))
    },
    "trace-dtype": lambda x: np.trace(x(M), 1, 0, 1, np.float32),
    "sum-dtype-of-whole-numbers": lambda x: np.sum(x(np.full(3, 100, "i1")), dtype="f4"),
    "concatenate-dtype": lambda x: np.concatenate([x(M), N], 1, dtype="f4"),
    "concatenate-casting": lambda x: np.concatenate([x(M), N], casting="no"),
    "concatenate-rows-dtype": lambda x: np.concatenate(x(M), dtype="f4"),
    "stack-dtype": lambda x: np.stack([N, x(M)], 1, dtype="f4", casting="unsafe"),
    "vstack-dtype": lambda x: np.vstack([x(M), N], dtype="f4"),
    "hstack-dtype": lambda x: np.hstack([x(M), N], dtype="f4", casting="same_kind"),
    "sum-where": lambda x: np.sum(x(M), axis=1, keepdims=True, where=MASK),
    "sum-where-one": lambda x: [np.sum(x(M), where=True), np.sum(x(M), where=False)],
    "sum-where-row": lambda x: np.sum(x(M), 0, where=MASK[1]),
    "sum-initial": lambda x: np.sum(x(M), 0, initial=2.5),
    "sum-dtype-and-all": lambda x: np.sum(x(M), 0, dtype="f4", initial=2.5, where=MASK, keepdims=True),
    "prod-where": lambda x: np.prod(x(M), axis=0, where=MASK),
    "prod-initial": lambda x: np.prod(x(M), initial=-2.0, where=MASK),
    "max-initial": lambda x: [np.max(x(M), initial=10.0), np.amax(x(M), 1, initial=3.5)],
    "max-where": lambda x: np.max(x(M), axis=1, initial=0.75, where=MASK),
    "max-where-nothing": lambda x: np.max(x(M), axis=0, initial=0.75, where=False),
    "min-initial": lambda x: np.min(x(M), axis=1, initial=-1.75),
    "min-where": lambda x: np.amin(x(M), axis=0, initial=2.5, where=MASK, keepdims=True),
    "reshape-order": lambda x: [np.reshape(x(M), (3, 2), "F"), np.reshape(x(M), (-1, 1, 3), order="F")],
    "reshape-one-length": lambda x: np.reshape(x(M), 6, order="F"),
    "eigvalsh": lambda x: np.linalg.eigvalsh(a=x(S)),
    "eigvalsh-triangle": lambda x: [np.linalg.eigvalsh(x(S), triangle) for triangle in "LlUu"],
    "eigvalsh-triangles": lambda x: np.linalg.eigvalsh(x(np.stack([S, 2 * S, S.T])), "U"),
    "eigh-triangle": lambda x: [np.linalg.eigh(x(S), UPLO=triangle)[0] for triangle in "LlUu"],
    "eigh-vectors": lambda x: np.abs(np.linalg.eigh(x(S), UPLO="U")[1]),
    "svd-values": lambda x: [np.linalg.svd(x(M), False, False), np.linalg.svd(x(M), compute_uv=False)],
    "svd-vectors": lambda x: np.linalg.svd(x(S), compute_uv=1)[1],
    "svd-narrow": lambda x: np.linalg.svd(x(M), full_matrices=False, compute_uv=np.True_)[1],
    "pinv-rtol": lambda x: [np.linalg.pinv(x(M), rtol=1e-6), np.linalg.pinv(x(M), rtol=None)],
    "average-returned": lambda x: np.average(x(M), returned=True),
    "average-of-axis": lambda x: np.average(x(M), axis=1, keepdims=True, returned=True),
    "average-weights": lambda x: np.average(x(M), 0, np.abs(N), returned=True),
    "average-weights-of-axis": lambda x: np.average(x(M), 1, x(W), returned=True, keepdims=True),
    "average-alone": lambda x: np.average(x(M), returned=0),
    "sum-not-said": lambda x: np.sum(x(M), keepdims=np._NoValue, where=np._NoValue),
    "sum-initial-none": lambda x: [np.sum(x(M), initial=None), np.prod(x(M), 0, initial=None)],
    "max-where-all": lambda x: [np.max(x(M), where=True), np.min(x(M), 0, initial=None, where=True)],
    "max-where-all-initial": lambda x: np.max(x(M), axis=1, initial=3.5, where=True),
    "median-overwriting": lambda x: np.median(x(M), 1, overwrite_input=True),
    "copy": lambda x: [np.copy(a=x(M)), np.copy(x(M), order="K"), np.copy(x(M), "K", False)],
    "diff-ends": lambda x: np.diff(x(M), prepend=x(START), append=0.5),
    "diff-array": lambda x: np.diff(x(M), append=np.array(0.5)),
    "diff-not-said": lambda x: np.diff(x(M), 2, 0),
    "multi_dot": lambda x: np.linalg.multi_dot([x(X), N.T, x(S), S]),
    "vecdot": lambda x: np.vecdot(x(M), N),
    "vecdot-axis": lambda x: np.linalg.vecdot(x(M), N, axis=0),
    "real": lambda x: [np.real(x(M)), np.real(val=x(N))],
}  # fmt: skip


def flat(results: Any) -> list[Any]:
    if not isinstance(results, (list, tuple)):
        return [results]
    return [part for result in results for part in flat(result)]


@pytest.mark.parametrize("name", FORMS)
def test_arguments_that_only_numpys_functions_have(name: str) -> None:
    got = flat(FORMS[name](lambda a: tg.tensor(a, requires_grad=a.dtype.kind == "f")))
    wanted = flat(FORMS[name](np.copy))
    assert len(got) == len(wanted)
    for y, z in zip(got, wanted, strict=True):
        assert (y.shape, y.dtype) == (np.shape(z), z.dtype)
        np.testing.assert_allclose(tg.tensor(y).numpy(), z, rtol=1e-6 if z.dtype == "f4" else 1e-13)


@pytest.mark.parametrize("name", [n for n in FORMS if not ("dtype" in n or n.startswith("eig"))])
def test_their_gradients(name: str) -> None:
    """Of what is computed in the dtype of the operand: a cast would hide small differences."""
    values: list[np.ndarray] = []
    FORMS[name](lambda a: values.append(a) or a)
    distinct = list({id(a): a for a in values}.values())

    def f(*tensors: Any) -> Any:
        by_array = dict(zip(map(id, distinct), tensors, strict=True))
        results = flat(FORMS[name](lambda a: by_array[id(a)]))
        return [y for y in results if isinstance(y, tg.Tensor)]

    assert tg.gradcheck(f, *distinct, method="central")


@pytest.mark.parametrize("f", [np.linalg.eigvalsh, lambda a, *which: np.linalg.eigh(a, *which)[0]])
def test_the_triangle_that_is_read_has_the_gradient(f: Any) -> None:
    upper = np.triu(S) + np.triu(S, 1).T
    got = tg.grad(lambda a: (f(a, "U") * Y[:2]).sum())(S)
    np.testing.assert_allclose(got, tg.grad(lambda a: (f(a) * Y[:2]).sum())(upper), rtol=1e-13)


def test_small_singular_values_are_cut_off_where_numpy_cuts_them_off() -> None:
    """By default those below the rounding of the longer side, whatever the number of matrices."""
    eps = np.finfo(float).eps
    for least in (0.5 * eps, 2.5 * eps, 5 * eps, 0.01):
        a = np.zeros((7, 3, 2))
        a[:, 0, 0], a[:, 1, 1] = 1, least
        for rtol in (None, 0.1, 0.001):
            got = np.linalg.pinv(tg.tensor(a), rtol=rtol).numpy()
            np.testing.assert_allclose(got, np.linalg.pinv(a, rtol=rtol), rtol=1e-12)


def test_casts_before_sums_are_on_the_tape() -> None:
    x = tg.tensor(M, requires_grad=True)
    np.sum(x, dtype="f4").backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.ones(M.shape))


def test_astype_as_a_function() -> None:
    function = getattr(np, "astype", None)
    if function is None:
        pytest.skip("np.astype came with NumPy 2.1")
    y = function(tg.tensor(M, requires_grad=True), np.float32)
    assert (y.dtype, y.requires_grad) == (np.float32, True)
    assert function(y, "f8", copy=False).dtype == np.float64


def test_copies_are_copies() -> None:
    x = tg.tensor(M, requires_grad=True)
    y = np.copy(x)
    assert not np.shares_memory(y.numpy(), M)
    assert y.requires_grad
    for order in ({"order": "F"}, {"subok": True}):
        with pytest.raises(TypeError, match=rf"np\.copy.* leave out {next(iter(order))}="):
            np.copy(x, **order)
    with pytest.raises(TypeError, match=r"^nan_to_num: copy=False would write into the tensor"):
        np.nan_to_num(x, copy=False)


@pytest.mark.parametrize("f", [np.mean, np.var, np.std])
@pytest.mark.parametrize("dtype", [int, "u1", bool])
def test_means_are_not_cut_off(f: Any, dtype: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{f.__name__}: fractions would be cut off in "):
        f(tg.tensor(M), dtype=dtype)


def test_one_argument_under_either_name_in_methods_too() -> None:
    x = tg.tensor(M)
    np.testing.assert_array_equal(x.std(correction=1).numpy(), np.std(M, correction=1))
    np.testing.assert_array_equal(x.var(axis=0, correction=1).numpy(), np.var(M, axis=0, ddof=1))
    np.testing.assert_array_equal(tg.clip(x, a_min=0.0, a_max=1.0).numpy(), M.clip(0, 1))
    parts = tg.array_split(x, indices_or_sections=2, axis=1)
    assert [p.shape for p in parts] == [(2, 2), (2, 1)]
    np.testing.assert_array_equal(tg.average(x, weights=N, axis=1, keepdims=True).shape, (2, 1))
