"""Kernels are kept in pytest's own cache folder: built by the first run, read by the next.

All memory that compiled loops take is full of NaN: what they read before they have written it shows.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from tinygrad_rnn.compiler.checking import spoil
from tinygrad_rnn.compiler.layout import Layout, Pool


@pytest.fixture(scope="session", autouse=True)
def kernels_on_disk(request: pytest.FixtureRequest) -> Iterator[None]:
    folder = request.config.cache.mkdir("kernels")  # type: ignore[union-attr]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYGRAD_RNN_CACHE", str(folder))
        patch.setenv("NUMBA_CACHE_DIR", str(folder))
        yield


@pytest.fixture(scope="session", autouse=True)
def memory_is_spoilt() -> Iterator[None]:
    take, give = Pool.take, Pool.give
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pool, "take", lambda pool, shape, dtype: spoil(take(pool, shape, dtype)))
        patch.setattr(Pool, "give", lambda pool, arrays: give(pool, [spoil(a) for a in arrays]))
        patch.setattr(Layout, "new", staticmethod(lambda shape, dtype: spoil(np.empty(shape, dtype))))
        yield
