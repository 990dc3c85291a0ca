"""A diagram: a view with a picture, for files and notebooks."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from ..listing import Tape
from .dot import dot_source
from .layout import Drawing, place
from .looks import THEMES, Theme
from .mermaid import mermaid
from .rendering import RenderError, render
from .svg import svg
from .text import plain_text
from .tikz import tikz
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
        if prefix is not None and not re.fullmatch(r"[A-Za-z_][\w.-]*", prefix, re.ASCII):
            raise ValueError(
                f"prefix begins ids: a letter, then letters, digits, '-', '_', '.'; got {prefix!r}"
            )
        self.view, self.tape, self.theme = view, tape, theme
        self._prefix = prefix

    @property
    def drawing(self) -> Drawing:
        """Where everything is. Raises `RenderError` where that needs Graphviz and there is none."""
        if isinstance(self._placed, RenderError):
            raise self._placed.with_traceback(None)
        return self._placed

    @cached_property
    def _placed(self) -> Drawing | RenderError:
        # Remembered also where it failed: Graphviz may have taken all the time that it is given.
        try:
            return place(self.view)
        except RenderError as error:
            return error

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
        """By the numbers that the tape's listing gives to entries, the SVG's ids of what stands for them."""
        return {n: f"{self.prefix}.{keys[0]}" for n, keys in sorted(self.view.stands.items()) if n > 0}

    def svg(self) -> str:
        """The picture as SVG. Raises `RenderError` where layout needs Graphviz and there is none."""
        return svg(self.drawing, self.prefix, self.theme)

    def tikz(self) -> str:
        """The picture as a ``tikzpicture``, to be put into a LaTeX document. Raises as `svg` does."""
        return tikz(self.drawing, self.theme)

    def mermaid(self) -> str:
        """The diagram for Mermaid, which makes its own layout; `ValueError` if it is too large for that."""
        return mermaid(self.view)

    def text(self) -> str:
        """The diagram in words."""
        return plain_text(self.view)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the diagram to a file.

        Where no picture can be made (no Graphviz, or one that takes too long), the DOT text is written next
        to where the picture was to be, and a warning says why.

        Parameters
        ----------
        path : path
            Its suffix says what is written: a picture as .svg, .png or .pdf; .dot for Graphviz, .tex for
            LaTeX (TikZ), .mmd for Mermaid; .txt for the diagram in words.

        Returns
        -------
        pathlib.Path
            The file that was written.

        Raises
        ------
        ValueError
            For another suffix, and for a diagram that is too large for Mermaid.
        FileNotFoundError
            If the folder does not exist.
        """
        target = Path(path)
        suffix = target.suffix.lower()
        make = self._writers().get(suffix)
        if make is None:
            raise ValueError(
                f"a diagram is saved as {', '.join(self._writers())}, by the path's suffix; "
                f"got {str(target)!r}"
            )
        if not target.parent.is_dir():
            raise FileNotFoundError(f"the folder {str(target.parent)!r} of {str(target)!r} does not exist")
        try:
            content = make()
        except RenderError as error:
            picture, target = target, target.with_suffix(".dot")
            content = self.source
            warnings.warn(f"{target} written instead of {picture}: {error}", stacklevel=2)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            target.write_text(content, encoding="utf-8", newline="\n")
        return target

    def _writers(self) -> dict[str, Callable[[], str | bytes]]:
        return {
            ".svg": self.svg,
            ".png": lambda: self._rendered("png"),
            ".pdf": lambda: self._rendered("pdf"),
            ".dot": lambda: self.source,
            ".tex": self.tikz,
            ".mmd": self.mermaid,
            ".txt": self.text,
        }

    def _rendered(self, kind: str) -> bytes:
        return render(dot_source(self.view, self.drawing, self.theme, sized=True), kind)

    def __repr__(self) -> str:
        notes = "".join(f"; {note}" for note in self.view.notes)
        return f"<Diagram: {len(self.view.nodes)} nodes, {len(self.view.edges)} edges{notes}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook shows: the picture, or the reason why there is none and the diagram in words."""
        try:
            return {"image/svg+xml": self.svg(), "text/plain": repr(self)}
        except Exception as error:  # a cell must not end in a traceback because of its display
            reason = str(error) or type(error).__name__
        try:
            words = self.text() if self.tape is None else str(self.tape)
            return {"text/plain": f"{self!r}\nNo picture: {reason}\n\n{_beginning(words)}"}
        except Exception as error:
            return {"text/plain": f"<Diagram>\nNo picture: {reason}\nNo text: {error}"}


def _beginning(text: str) -> str:
    lines = text.splitlines()
    if len(lines) > _MOST_LINES:
        left = len(lines) - _MOST_LINES
        lines = [*lines[:_MOST_LINES], f"... {left} more lines"]
    return "\n".join(lines)
