"""Parameters in files: safetensors, with JSON metadata and a checksum, written atomically."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_FORMAT = "tinygrad_rnn/1"
_KEY = "tinygrad_rnn"
"""All that this library adds to the header stands under one key: safetensors writes several in any order."""


def save_state(
    state: Mapping[str, np.ndarray], path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write named arrays and metadata to a safetensors file.

    The file appears whole or not at all: a temporary file beside it is filled, flushed to disk and renamed.

    Parameters
    ----------
    state : mapping of str to array
    path : path
    metadata : mapping, optional
        Anything that JSON can hold.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    from safetensors.numpy import save

    if not isinstance(state, Mapping):
        raise TypeError(
            f"save_state takes a mapping of names to arrays, got {type(state).__name__}: a module is saved "
            f"by model.save(path), or save_state(model.state_dict(), path)"
        )
    arrays = {name: np.asarray(a, order="C") for name, a in state.items()}
    text = json.dumps(dict(metadata or {}), sort_keys=True, ensure_ascii=False)
    header = {"format": _FORMAT, "metadata": text, "sha256": _digest(arrays, text)}
    write_atomically(path, save(arrays, metadata={_KEY: json.dumps(header, sort_keys=True)}))


def load_state(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `save_state` wrote: the arrays by name, and the metadata.

    Raises
    ------
    ValueError
        For a file that is damaged, truncated, or of another kind; the message says which.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            header = (file.metadata() or {}).get(_KEY)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no readable safetensors file, or a damaged one: {error}") from error
    if header is None:
        raise ValueError(
            f"{path} was not written by this library; read it with safetensors.numpy.load_file and pass the "
            f"arrays to load_state_dict"
        )
    try:
        header = json.loads(header)
        intact = header["format"] == _FORMAT and header["sha256"] == _digest(arrays, header["metadata"])
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise ValueError(f"{path} is damaged, or of another version: its contents do not match its checksum")
    return arrays, json.loads(header["metadata"])


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file such that a crash at any moment leaves the old one or the new one."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {str(path.parent)!r} of {str(path)!r} does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder: name a file in it")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    # The only way to read it is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _digest(arrays: Mapping[str, np.ndarray], metadata: str) -> str:
    """A checksum over names, dtypes, shapes, values and metadata."""
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(arrays):
        a = arrays[name]
        digest.update(f"\0{name}\0{a.dtype.str}\0{a.shape}\0".encode())
        digest.update(a.tobytes())
    return digest.hexdigest()
