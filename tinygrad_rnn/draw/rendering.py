"""From DOT to a picture, by the ``dot`` program or by pygraphviz, whichever is there.

Layout can take very long, and no thread can stop C code. So both run in a process of their own that is ended
when its time is over; a crash in there harms nobody either.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys

SECONDS = 20.0
"""How long a rendering may take."""

INSTALL = (
    "install Graphviz with one of: apt-get install graphviz; brew install graphviz; "
    'pip install "tinygrad_rnn[dot]"'
)

# For a fresh interpreter. It imports nothing of this package: loading NumPy would take longer than drawing.
_PYGRAPHVIZ = """
import sys
import pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog="dot"))
"""


class RenderError(RuntimeError):
    """No picture could be made; the text says why, and what can be done."""


def render(source: str, kind: str) -> bytes:
    """Lay DOT text out and draw it.

    Parameters
    ----------
    source : str
        DOT text.
    kind : str
        One of Graphviz's formats: svg, png, pdf, plain.

    Returns
    -------
    bytes

    Raises
    ------
    RenderError
        Without Graphviz, after `SECONDS` seconds, and when Graphviz fails.
    """
    failures = []
    # Not graphviz.pipe: it cannot be given a time limit.
    program = shutil.which("dot")
    if program is not None:
        try:
            return _run("the dot program", [program, f"-T{kind}"], source)
        except _FailedError as error:
            failures.append(str(error))
    if sys.executable and importlib.util.find_spec("pygraphviz") is not None:
        try:
            return _run("pygraphviz", [sys.executable, "-c", _PYGRAPHVIZ, kind], source)
        except _FailedError as error:
            failures.append(str(error))
    if failures:
        raise RenderError("; ".join(failures))
    raise RenderError(f"neither the dot program nor pygraphviz was found; {INSTALL}")


class _FailedError(Exception):
    """One way to render did not work; another may."""


def _run(name: str, command: list[str], source: str) -> bytes:
    # The child finds whatever this interpreter would find, however its path was put together.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        done = subprocess.run(
            command, input=source.encode("utf-8"), capture_output=True, timeout=SECONDS, env=environment
        )
    except subprocess.TimeoutExpired:
        # Graphviz is Graphviz: the other way to reach it would take as long.
        raise RenderError(
            f"{name} was stopped after {SECONDS:g} seconds: the graph is large. Draw fewer time steps, or "
            f"give the DOT text to Graphviz with more patience"
        ) from None
    except OSError as error:
        raise _FailedError(f"{name} could not be started: {error}") from error
    if done.returncode or not done.stdout:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _FailedError(f"{name} failed: {said[-1] if said else f'exit status {done.returncode}'}")
    return done.stdout
