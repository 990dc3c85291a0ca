"""Columns of numbers from CSV files, by name."""

from __future__ import annotations

import codecs
import csv
import io
import math
import os
import re
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np


def read_csv(
    path: str | os.PathLike[str],
    columns: str | Sequence[str],
    *,
    delimiter: str = ",",
    encoding: str = "utf-8-sig",
) -> np.ndarray:
    """Read columns of a CSV file (RFC 4180) whose first row names them.

    Nothing is filled in or left out: a file with a gap is refused, with the place of the gap.

    Parameters
    ----------
    path : path
    columns : str or sequence of str
        The names, in the order that the result should have. Spaces around names do not count.
    delimiter : str
        One character; ``";"`` and a tab are common too.
    encoding : str
        UTF-8 by default, with or without a byte order mark, or UTF-16 with one; Korean spreadsheets often
        write ``"cp949"``.

    Returns
    -------
    array, (N, len(columns)), float64
        One row per row of the file.

    Raises
    ------
    ValueError
        With the file and, where there is one, the row (the header is row 1, as spreadsheets count) and the
        column: for an unknown or repeated column (naming those there are), a missing value, one that is no
        finite number, a row of another length than the header's, an empty file or one without rows, bytes
        that are not in the encoding, NUL characters, and broken quotes.
    OSError
        For a file that cannot be opened.
    """
    columns = [columns] if isinstance(columns, str) else list(columns)
    if not columns:
        raise ValueError("read_csv needs the name of at least one column")
    if len(delimiter) != 1:
        raise ValueError(f"the delimiter must be one character, got {delimiter!r}")
    rows = _rows(Path(path), delimiter, encoding)
    header = [name.strip() for name in next(rows, [])]
    if not any(header):
        raise ValueError(f"{path} is empty: a first row with the names of the columns was expected")
    places = [_place(path, header, name.strip(), delimiter) for name in columns]
    values: list[list[float]] = []
    blank = 0
    for row, cells in enumerate(rows, start=2):
        if not cells:
            blank = blank or row
            continue
        if blank:
            raise ValueError(f"{path}, row {blank}: the row is empty, and more rows follow")
        if len(cells) != len(header):
            raise ValueError(
                f"{path}, row {row}: {len(cells)} fields, but the header has {len(header)} "
                f"({_listed(header)})"
            )
        values.append([_number(path, row, header[k], cells[k]) for k in places])
    if not values:
        raise ValueError(f"{path} has a header and no rows")
    return np.array(values, np.float64)


def _rows(path: Path, delimiter: str, encoding: str) -> Iterator[list[str]]:
    """The rows of the file, with what goes wrong in reading them told by file and row."""
    count = 0
    try:
        with path.open("rb") as file:
            if encoding == "utf-8-sig" and file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                encoding = "utf-16"
            with io.TextIOWrapper(file, encoding, newline="") as text:
                for cells in csv.reader(text, delimiter=delimiter, strict=True):
                    count += 1
                    if any("\0" in cell for cell in cells):
                        raise csv.Error("line contains NUL")  # as older versions of Python say themselves
                    yield cells
    except UnicodeError as error:
        name = "UTF-8" if encoding == "utf-8-sig" else encoding
        raise ValueError(
            f"{path} is not {name} text (after row {count}: {getattr(error, 'reason', error)}): "
            f"give its encoding, often cp949 for Korean spreadsheets, or save it as UTF-8"
        ) from error
    except LookupError as error:
        raise ValueError(f"unknown encoding {encoding!r}") from error
    except csv.Error as error:
        if "NUL" in str(error):
            raise ValueError(
                f"{path} has NUL characters: it is no text, or UTF-16 without a byte order mark, "
                f"whose encoding is utf-16-le or utf-16-be"
            ) from error
        raise ValueError(f"{path}, row {count + 1}: {error}") from error


def _place(path: str | os.PathLike[str], header: list[str], name: str, delimiter: str) -> int:
    count = header.count(name)
    if count == 1:
        return header.index(name)
    if count:
        raise ValueError(f"{path} has {count} columns named {name!r}; which one is meant cannot be told")
    hint = ""
    if len(header) == 1:
        for other, its_name in ((";", "semicolon"), ("\t", "tab"), (",", "comma")):
            if other in header[0] and other != delimiter:
                hint = f" (is the file's delimiter a {its_name}?)"
    raise ValueError(f"{path} has no column {name!r}; its columns are {_listed(header)}{hint}")


_SHORT = reprlib.Repr()
_SHORT.maxstring = 60
_LISTED = 20


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(_SHORT.repr, names[:_LISTED])) + more


_GAPS = "fill the gap, say with the mean of its neighbours, or keep to rows that have none"
"""Nothing is filled in here."""


def _number(path: str | os.PathLike[str], row: int, column: str, text: str) -> float:
    if not text.strip():
        raise ValueError(f"{path}, row {row}, column {_SHORT.repr(column)}: the value is missing; {_GAPS}")
    try:
        # Python's own 1_000 is no notation of data files.
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        mend = ""
        if re.fullmatch(r"[-+]?[\d.,'\s]+", text.strip()):
            mend = "; write numbers as 1234.5, with a point, and nothing between thousands"
        elif text.strip().lower() in ("nan", "na", "n/a", "null", "none", "-", "?"):
            mend = f"; {_GAPS}"
        raise ValueError(
            f"{path}, row {row}, column {_SHORT.repr(column)}: {_SHORT.repr(text.strip())} is no finite "
            f"number{mend}"
        )
    return value
