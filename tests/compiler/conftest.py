"""Kernels are kept in pytest's own cache folder: built by the first run, read by the next."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def kernels_on_disk(request: pytest.FixtureRequest) -> Iterator[None]:
    folder = request.config.cache.mkdir("kernels")  # type: ignore[union-attr]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYGRAD_RNN_CACHE", str(folder))
        patch.setenv("NUMBA_CACHE_DIR", str(folder))
        yield
