"""From DOT to a picture, by the ``dot`` program or by pygraphviz, whichever is there.

Layout can take very long, and no thread can stop C code. So both run in a process of their own that is ended
when its time is over; a crash in there harms nobody either.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

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
kind, program, arguments = sys.argv[1:]
for text in sys.stdin.buffer.read().decode("utf-8").split("\\0"):
    graph = pygraphviz.AGraph(string=text)
    sys.stdout.buffer.write(graph.draw(format=kind, prog=program, args=arguments))
"""


class RenderError(RuntimeError):
    """No picture could be made; the text says why, and what can be done."""


def render(source: str, kind: str) -> bytes:
    """Draw DOT text whose nodes and edges have their places already.

    Parameters
    ----------
    source : str
        DOT text, with a ``pos`` for every node.
    kind : str
        One of Graphviz's formats: png, pdf, plain.

    Returns
    -------
    bytes

    Raises
    ------
    RenderError
        Without Graphviz, after `SECONDS` seconds, and when Graphviz fails.
    """
    return _graphviz([source], kind, "neato", "-n2")


def lay_out(sources: Sequence[str]) -> list[dict[str, Any]]:
    """Let Graphviz's ``dot`` find places for the nodes and edges of graphs, all in one process.

    Parameters
    ----------
    sources : sequence of str
        DOT texts.

    Returns
    -------
    list of dict
        Graphviz's JSON of each.

    Raises
    ------
    RenderError
    """
    text = _graphviz(sources, "json0", "dot", "").decode("utf-8")
    decoder, at, found = json.JSONDecoder(), 0, []
    while at < len(text):
        graph, at = decoder.raw_decode(text, at)
        found.append(graph)
        while at < len(text) and text[at].isspace():
            at += 1
    return found


def _graphviz(sources: Sequence[str], kind: str, engine: str, arguments: str) -> bytes:
    failures = []
    # Not graphviz.pipe: it cannot be given a time limit.
    program = shutil.which("dot")
    if program is not None:
        command = [program, f"-K{engine}", f"-T{kind}", *arguments.split()]
        try:
            return _run("the dot program", command, "\n".join(sources))
        except _FailedError as error:
            failures.append(str(error))
    if sys.executable and importlib.util.find_spec("pygraphviz") is not None:
        command = [sys.executable, "-c", _PYGRAPHVIZ, kind, engine, arguments]
        try:
            return _run("pygraphviz", command, "\0".join(sources))
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
            f"{name} was stopped after {SECONDS:g} seconds. If the graph is large, draw less of it, with "
            f"fold=True, steps=, depth= or group=, or give the DOT text to Graphviz with more patience"
        ) from None
    except OSError as error:
        raise _FailedError(f"{name} could not be started: {error}") from error
    if done.returncode or not done.stdout:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _FailedError(f"{name} failed: {said[-1] if said else f'exit status {done.returncode}'}")
    return done.stdout
