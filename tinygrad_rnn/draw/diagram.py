"""A diagram: a view with a picture, for files and notebooks."""

from __future__ import annotations

import os
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

from .dot import dot_source
from .rendering import RenderError, render
from .view import View

_SUFFIXES = (".svg", ".png", ".pdf", ".dot")
_MOST_LINES = 200
"""How much of the DOT text a notebook shows in place of a picture."""


class Diagram:
    """A drawing of a tape. In a notebook it shows itself.

    Parameters
    ----------
    view : View

    Attributes
    ----------
    view : View
        The nodes, edges and clusters.
    """

    def __init__(self, view: View) -> None:
        self.view = view

    @cached_property
    def source(self) -> str:
        """The DOT text: for one and the same program the same on every run."""
        return dot_source(self.view)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the diagram to a file.

        Where no picture can be made (no Graphviz, or one that takes too long), the DOT text is written next
        to where the picture was to be, and a warning says why.

        Parameters
        ----------
        path : path
            Its suffix says what is written: .svg, .png, .pdf, or .dot for the DOT text.

        Returns
        -------
        pathlib.Path
            The file that was written.

        Raises
        ------
        ValueError
            For another suffix.
        FileNotFoundError
            If the folder does not exist.
        """
        target = Path(path)
        suffix = target.suffix.lower()
        if suffix not in _SUFFIXES:
            raise ValueError(
                f"a diagram is saved as .svg, .png, .pdf or .dot, by the path's suffix; got {str(target)!r}"
            )
        if not target.parent.is_dir():
            raise FileNotFoundError(f"the folder {str(target.parent)!r} of {str(target)!r} does not exist")
        if suffix != ".dot":
            try:
                picture = render(self.source, suffix[1:])
            except RenderError as error:
                picture_path, target = target, target.with_suffix(".dot")
                warnings.warn(f"{target} written instead of {picture_path}: {error}", stacklevel=2)
            else:
                target.write_bytes(picture)
                return target
        target.write_text(self.source, encoding="utf-8", newline="\n")
        return target

    def __repr__(self) -> str:
        return f"<Diagram: {len(self.view.nodes)} nodes, {len(self.view.edges)} edges>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook shows: the picture, or the reason why there is none and the DOT text."""
        try:
            return {"image/svg+xml": render(self.source, "svg").decode("utf-8"), "text/plain": repr(self)}
        except Exception as error:  # a cell must not end in a traceback because of its display
            reason = str(error) or type(error).__name__
        try:
            return {"text/plain": f"{self!r}\nNo picture: {reason}\n\n{_beginning(self.source)}"}
        except Exception as error:
            return {"text/plain": f"<Diagram>\nNo picture: {reason}\nNo DOT text: {error}"}


def _beginning(text: str) -> str:
    lines = text.splitlines()
    if len(lines) > _MOST_LINES:
        left = len(lines) - _MOST_LINES
        lines = [*lines[:_MOST_LINES], f"... {left} more lines: the attribute source has them all"]
    return "\n".join(lines)
