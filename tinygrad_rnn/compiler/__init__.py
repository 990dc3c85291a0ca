"""`compile`: any cell at the speed of a hand-tuned one. See README.md beside this file."""

from .compiling import compile

__all__ = ["compile"]
