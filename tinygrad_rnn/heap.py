"""What becomes of the memory of freed arrays: it stays with the process.

A training step makes arrays, frees them, and the next step makes as many again. glibc hands what is free at
the end of its heap back to the operating system as soon as that exceeds 128 KiB, and each page that comes
again is an interrupt and is zeroed: at 64 KiB an array, most of the time of an elementwise operation.
"""

import numpy as np


def keep_freed_memory() -> None:
    """Have glibc keep up to 64 MiB of free memory; elsewhere, nothing.

    glibc learns from what a program frees: a freed block that was mapped by itself raises the limit for
    such blocks to its size, and the limit for handing memory back to twice that, up to 32 and 64 MiB
    (``M_MMAP_THRESHOLD`` in mallopt(3)). One block that nobody writes to, so that it takes no memory,
    teaches it at once what large arrays teach it sooner or later. Where the user has set limits
    (``MALLOC_TRIM_THRESHOLD_`` and the like), it does not learn, and they stand.
    """
    largest = (32 << 20) - 2 * 4096  # with malloc's own words, and rounded up to pages, still within 32 MiB
    np.empty(largest, np.uint8)
