"""Nested lists, tuples and dicts of values: arguments and results of functions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np


def need_callable(what: str, f: Any) -> None:
    """Raise unless f can be called."""
    if not callable(f):
        raise TypeError(f"{what} takes a function first, got {f!r}: pass f itself, and not f(x)")


def is_module(tree: Any) -> bool:
    """Whether it is something with parameters: a leaf of the tree, whatever it holds."""
    return hasattr(tree, "named_parameters")


def map_tree(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply a function to corresponding leaves of trees of one structure; modules count as leaves."""
    if isinstance(tree, (list, tuple)):
        items = [map_tree(function, *column) for column in zip(tree, *others, strict=True)]
        named = isinstance(tree, tuple) and hasattr(tree, "_fields")
        return type(tree)(*items) if named else type(tree)(items)
    if isinstance(tree, dict):
        mapped = {key: map_tree(function, tree[key], *(o[key] for o in others)) for key in tree}
        return OrderedDict(mapped) if isinstance(tree, OrderedDict) else mapped
    return function(tree, *others)


def paths_of(tree: Any, path: str) -> Any:
    """In the place of each leaf how to get at it: ``argument 0['a'][1]``."""
    if isinstance(tree, (list, tuple)):
        return [paths_of(item, f"{path}[{k}]") for k, item in enumerate(tree)]
    if isinstance(tree, dict):
        return {key: paths_of(item, f"{path}[{key!r}]") for key, item in tree.items()}
    return path


def leaves_of(tree: Any) -> list[Any]:
    """The leaves, from left to right."""
    found: list[Any] = []
    map_tree(found.append, tree)
    return found


def match_tree(what: str, like: Any, given: Any) -> None:
    """Raise unless what was given has the structure and the shapes of something."""
    if isinstance(like, dict):
        if not isinstance(given, dict) or given.keys() != like.keys():
            raise ValueError(f"{what}: expected the keys {list(like)}, got {_brief(given)}")
        pairs = [(like[key], given[key]) for key in like]
    elif isinstance(like, (list, tuple)):
        if not isinstance(given, (list, tuple)) or len(given) != len(like):
            raise ValueError(f"{what}: expected {len(like)} parts, got {_brief(given)}")
        pairs = list(zip(like, given, strict=True))
    else:
        shape = np.shape(given)
        if shape != like.shape:
            raise ValueError(f"{what}: expected the shape {like.shape}, got {shape}")
        return
    for pair in pairs:
        match_tree(what, *pair)


def _brief(given: Any) -> str:
    if isinstance(given, dict):
        return f"the keys {list(given)}"
    return f"{len(given)}" if isinstance(given, (list, tuple)) else type(given).__name__
