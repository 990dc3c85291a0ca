"""A diagram: a view with a picture, for files and notebooks."""

from __future__ import annotations

import hashlib
import os
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

from ..listing import Tape
from .dot import dot_source
from .layout import Drawing, place
from .looks import THEMES, Theme
from .rendering import RenderError, render
from .svg import svg
from .view import View

_MOST_LINES = 200
"""How much text a notebook shows in place of a picture."""


class Diagram:
    """A drawing of a tape. In a notebook it shows itself.

    Parameters
    ----------
    view : View
    tape : Tape, optional
        What the view was made from.
    theme : {"auto", "light", "dark", "paper"}
        Colours: light or dark as the reader prefers, or one of them, or black and white.
    prefix : str, optional
        What the ids in the SVG begin with. By default it is made from the contents, so that different
        diagrams can stand on one page.

    Attributes
    ----------
    view : View
        The nodes, edges and clusters.
    tape : Tape or None
    """

    def __init__(
        self, view: View, tape: Tape | None = None, theme: Theme = "auto", prefix: str | None = None
    ) -> None:
        if theme not in THEMES:
            raise ValueError(f"theme is one of {', '.join(THEMES)}, got {theme!r}")
        self.view, self.tape, self.theme = view, tape, theme
        self._prefix = prefix

    @cached_property
    def drawing(self) -> Drawing:
        """Where everything is. Raises `RenderError` where that needs Graphviz and there is none."""
        return place(self.view)

    @cached_property
    def source(self) -> str:
        """The DOT text, with places unless Graphviz is missing: the same on every run."""
        try:
            return dot_source(self.view, self.drawing, self.theme)
        except RenderError:
            return dot_source(self.view, None, self.theme)

    @cached_property
    def prefix(self) -> str:
        """What the ids in the SVG begin with."""
        if self._prefix is not None:
            return self._prefix
        return "d" + hashlib.sha256(dot_source(self.view).encode()).hexdigest()[:6]

    @property
    def ids(self) -> dict[int, str]:
        """The ids in the SVG of what is drawn, by the numbers that the tape's listing gives to entries."""
        return {node.entry: f"{self.prefix}.{node.key}" for node in self.view.nodes if node.entry}

    def svg(self) -> str:
        """The picture as SVG. Raises `RenderError` where layout needs Graphviz and there is none."""
        return svg(self.drawing, self.prefix, self.theme)

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
