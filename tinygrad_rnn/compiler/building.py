"""From a kernel's source to a function: compiled by numba, kept on disk, run by as many threads as pay."""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.util
import itertools
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .layout import Layout

_HEAD = """\
import numpy as np
from numba import njit
from tinygrad_rnn.compiler.kernels import exp, larger, load, sigmoid, smaller, store, tanh
from tinygrad_rnn.compiler.products import dots, product, product_in_place

number = np.{dtype}
zero, half, one, three, six = number(0), number(0.5), number(1), number(3), number(6)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={{"contract", "reassoc"}})
"""


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``TINYGRAD_RNN_CACHE``, or a folder in the user's cache.

    Where that cannot be written, as in a container, a folder for temporary files.
    """
    own = os.environ.get("TINYGRAD_RNN_CACHE")
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    folder = Path(own) if own else (Path(base) if base else Path.home() / ".cache") / "tinygrad_rnn"
    return folder if _writable(folder) else _temporary_folder()


@functools.cache
def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.cache
def _temporary_folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="tinygrad_rnn_", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return Path(folder.name)


def build(source: str, dtype: Any) -> Any:
    """The kernel of some source, from the disk if it has been built before."""
    import numba

    from . import products

    kind = np.dtype(dtype).name
    for function, calls in (("products", "product"), ("dots", "dots(")):
        if calls in source:
            products.provide(function, kind)
    text = _HEAD.format(dtype=kind) + source
    library = [Path(__file__).with_name(name).read_bytes() for name in ("kernels.py", "products.py")]
    key = hashlib.sha256(b"".join([text.encode(), *library, numba.__version__.encode()])).hexdigest()[:24]
    name = f"tinygrad_rnn_kernel_{key}"
    if name not in sys.modules:
        path = cache_folder() / f"{name}.py"
        if not path.exists():
            draft = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name].kernel


def names() -> dict[str, Any]:
    """What generated source calls by name."""
    from . import products

    return {
        "pack": products.pack, "flat": flat, "rows": rows, "spread": spread, "multiply": multiply,
        "multiply_columns": multiply_columns, "column_sums": column_sums,
    }  # fmt: skip


def rows(a: np.ndarray) -> np.ndarray:
    """An array from outside as kernels take all: in C order, aligned and writable, so of one type."""
    return a if a.flags.carray else np.array(a, order="C")


def flat(a: np.ndarray) -> np.ndarray:
    """The same with one axis."""
    return rows(a).reshape(-1)


# --------------------------------------------------------------------------------------------- threads


def threads() -> int:
    """How many threads a kernel may use: numba's number, or fewer by ``OMP_NUM_THREADS``."""
    import numba

    own = os.environ.get("OMP_NUM_THREADS", "")
    most = int(getattr(numba.config, "NUMBA_NUM_THREADS", 1))
    return min(most, int(own)) if own.isdigit() and int(own) else most


_WORTH = 2_000_000
"""Operations of a thread's share from which on it is worth waking it: some 100 microseconds of work."""

_lock = threading.Lock()
_workers: dict[int, ThreadPoolExecutor] = {}


def workers(count: int) -> ThreadPoolExecutor:
    """Threads to hand shares to; a forked process makes its own."""
    with _lock:
        pool = _workers.get(os.getpid())
        if pool is None:
            _workers.clear()
            pool = _workers[os.getpid()] = ThreadPoolExecutor(count, thread_name_prefix="tinygrad_rnn")
        return pool


def _shares(most: int, flops: int) -> int:
    """Into how many parts it pays to cut some work."""
    wanted = min(most, flops // _WORTH)
    return min(wanted, threads()) if wanted > 1 else 1


def spread(kernel: Callable[..., None], layout: Layout, flops: int, *arrays: Any) -> None:
    """Run a loop over time, the rows shared among threads: each runs all steps of its own."""
    rest = (layout.counts, layout.starts, layout.before, layout.batch, *arrays)
    shares = _shares(layout.batch // 4, layout.rows * flops)
    if shares == 1:
        kernel(0, layout.batch, *rest)
        return
    borders = layout.borders(shares)
    waiting = [workers(threads()).submit(kernel, lo, hi, *rest) for lo, hi in itertools.pairwise(borders[1:])]
    kernel(borders[0], borders[1], *rest)
    for w in waiting:
        w.result()


def share(function: Callable[..., None], length: int, flops: int, *arguments: Any) -> None:
    """Call ``function(lo, hi, ...)`` for parts of a range, in several threads if it pays."""
    shares = _shares(length // 8, flops)
    borders = [length * k // shares for k in range(shares + 1)]
    waiting = [
        workers(threads()).submit(function, lo, hi, *arguments) for lo, hi in itertools.pairwise(borders[1:])
    ]
    function(borders[0], borders[1], *arguments)
    for w in waiting:
        w.result()


_SMALL = 100_000
"""Operations up to which a product is left to NumPy, which is called with less ado."""


def multiply(a: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    """``out = a @ w`` for many rows."""
    from . import products

    inner, columns = w.shape
    flops = 2 * a.size * columns
    if flops < _SMALL:
        np.dot(a, w, out)
        return
    products.provide("products", a.dtype.name)
    arrays = flat(a), inner, products.pack(w), out.reshape(-1)
    share(products.rows_by_matrix, len(a), flops, *arrays, inner, columns)


def multiply_columns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a.T @ b``, a sum over many rows."""
    from . import products

    n, columns = a.shape[1], b.shape[1]
    flops = 2 * a.size * columns
    if flops < _SMALL:
        return a.T.dot(b)
    products.provide("products", a.dtype.name)
    out = np.empty((n, columns), a.dtype)
    share(products.columns_by_columns, n, flops, flat(a), n, flat(b), columns, out.reshape(-1))
    return out


def column_sums(a: np.ndarray) -> np.ndarray:
    """The sum of all rows."""
    from . import products

    if a.size < _SMALL:
        return np.add.reduce(a, axis=0)
    part, out = np.zeros((2, a.shape[1]), a.dtype)
    products.sum_rows(flat(a), part, out)
    return out
