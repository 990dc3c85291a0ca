"""What kernels are made of: exp, sigmoid and tanh to the last digits, and products of all shapes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba", reason="numba (extra fast) is absent")

from numba import njit

from tinygrad_rnn.compiler import building, kernels, products


@njit(error_model="numpy")
def functions(x: Any, exps: Any, sigmoids: Any, tanhs: Any) -> None:
    for k in range(x.size):
        exps[k], sigmoids[k], tanhs[k] = kernels.exp(x[k]), kernels.sigmoid(x[k]), kernels.tanh(x[k])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_are_exact_to_four_units_in_the_last_place(dtype: str) -> None:
    rng = np.random.default_rng(0)
    sizes = 10.0 ** np.arange(-8, 4)
    x = np.concatenate([rng.standard_normal(20_000) * s for s in sizes]).astype(dtype)
    got = [np.empty_like(x) for _ in range(3)]
    functions(x, *got)
    # The exponent of sigmoid is bounded, as that of tg.sigmoid is.
    wide, limit = x.astype(np.longdouble), {"float32": 88, "float64": 709}[dtype]
    with np.errstate(over="ignore", under="ignore"):
        wanted = [np.exp(wide), 1 / (1 + np.exp(np.minimum(-wide, limit))), np.tanh(wide)]
        for name, g, w in zip(("exp", "sigmoid", "tanh"), got, wanted, strict=True):
            nearest = w.astype(dtype)
            finite = np.isfinite(nearest)
            assert np.array_equal(np.isinf(g), np.isinf(nearest)), name
            units = np.abs(g - w)[finite] / np.spacing(np.abs(nearest[finite]))
            assert units.max() <= 4, name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_what_is_not_finite(dtype: str) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0], dtype)
    exps, sigmoids, tanhs = np.empty((3, 4), dtype)
    functions(x, exps, sigmoids, tanhs)
    np.testing.assert_array_equal(exps, [np.inf, 0, np.nan, 1])
    np.testing.assert_array_equal(tanhs, [1, -1, np.nan, 0])
    assert sigmoids[0] == 1
    assert 0 <= sigmoids[1] < 1e-37
    assert np.isnan(sigmoids[2])
    assert not np.signbit(tanhs[3])


SIZES = st.sampled_from([1, 2, 3, 5, 6, 7, 8, 15, 16, 17, 31, 33, 64, 65, 100, 130])
DTYPES = st.sampled_from(["float32", "float64"])


@njit(error_model="numpy")
def three_forms(
    a: Any, w: Any, packed: Any, turned: Any, rows: Any, inner: Any, columns: Any, out: Any
) -> None:
    """Into every second row of three blocks of out."""
    size = 2 * rows * columns
    products.product(a, 0, inner, packed, out, 0, 2 * columns, rows, inner, columns)
    products.product_in_place(a, 0, inner, w, out, size, 2 * columns, rows, inner, columns)
    products.dots(a, 0, inner, turned, out, 2 * size, 2 * columns, rows, inner, columns)


@given(SIZES, st.sampled_from([0, 1, 2, 7, 16, 65]), SIZES, DTYPES)
def test_products(rows: int, inner: int, columns: int, dtype: str) -> None:
    rng = np.random.default_rng(rows + 7 * inner + 11 * columns)
    a = rng.standard_normal((rows, inner)).astype(dtype)
    w = rng.standard_normal((inner, columns)).astype(dtype)
    products.provide("products", dtype)
    products.provide("dots", dtype)
    packed = [products.pack(v) for v in (w, np.asfortranarray(w))]
    np.testing.assert_array_equal(*packed)
    out = np.full((3, rows, 2, columns), 7, dtype)
    flats = building.flat(a), building.flat(w), packed[0], building.flat(w.T)
    three_forms(*flats, rows, inner, columns, out.reshape(-1))
    for got in out:
        np.testing.assert_allclose(got[:, 0], a @ w, rtol=1e-5, atol=1e-4 if dtype == "float32" else 1e-12)
    assert (out[:, :, 1] == 7).all(), "written beyond the end"


@given(SIZES, SIZES, SIZES, DTYPES)
def test_sums_over_rows(rows: int, n: int, columns: int, dtype: str) -> None:
    rng = np.random.default_rng(rows + 7 * n + 11 * columns)
    a, b = rng.standard_normal((rows, n)).astype(dtype), rng.standard_normal((rows, columns)).astype(dtype)
    products.provide("products", dtype)
    out = np.full((n, columns), np.nan, dtype)
    half = n // 2
    for lo, hi in ((0, half), (half, n)):
        products.columns_by_columns(lo, hi, building.flat(a), n, building.flat(b), columns, out.reshape(-1))
    wanted = a.astype("float64").T @ b
    np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-4 if dtype == "float32" else 1e-12)
    part, sums = np.zeros((2, n), dtype)
    products.sum_rows(building.flat(a), part, sums)
    np.testing.assert_allclose(sums, a.sum(axis=0), rtol=1e-5, atol=1e-4 if dtype == "float32" else 1e-12)


def test_large_products_go_through_tiles_in_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "threads", lambda: 3)
    monkeypatch.setattr(building, "_WORTH", 1)
    rng = np.random.default_rng(0)
    a, w, b = [rng.standard_normal(s) for s in ((90, 70), (70, 50), (90, 40))]
    out = np.empty((90, 50))
    building.multiply(a, w, out)
    np.testing.assert_allclose(out, a @ w, atol=1e-12)
    np.testing.assert_allclose(building.multiply_columns(a, b), a.T @ b, atol=1e-12)
