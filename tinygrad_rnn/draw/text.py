"""Text that every format can hold."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """The text without what ends a C string, is no UTF-8 or makes an SVG invalid."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") and c != "\n" else c for c in text)
