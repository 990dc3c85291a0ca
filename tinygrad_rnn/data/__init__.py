"""Readers, windows and batches. See README.md beside this file."""

from .batching import batches
from .samples import airline
from .tables import read_csv
from .windowing import windows

__all__ = ["airline", "batches", "read_csv", "windows"]
