"""Einstein's summation. `einsum` reads NumPy's notation in all its forms; `contract` computes, in one form.

The gradient of an einsum is an einsum: the cotangent takes the place of the operand, and their subscripts
trade places.
"""

from __future__ import annotations

import itertools
import operator
import string

import numpy as np

from .elementwise import astype
from .registry import composite, primitive, sample


class _Each:
    """Cotangents of the operands, each computed when it is asked for: constants are never asked."""

    def __init__(self, rule):
        self.rule = rule

    def __getitem__(self, k):
        return self.rule(k)


@primitive(
    samples=[
        sample((2, 3), (3, 4), subscripts="ij,jk->ik"),
        sample((2, 3), subscripts="ij->"),
        sample((3, 3), subscripts="ii->i"),
        sample((3, 3), (3,), subscripts="ii,j->ij"),
        sample((2, 3), (2, 3), (3,), subscripts="ij,ij,j->i", optimize=True),
    ],
    view=True,
)
def contract(*operands, subscripts, optimize=False, order="K"):
    """`einsum` in its plain form: letters and an output, no ellipsis, no spaces. A list of arrays first."""
    # In one dtype: products of two small integers, taken first, would wrap.
    dtype = np.result_type(*operands)
    operands = [np.asarray(x, dtype) for x in operands]
    return np.einsum(subscripts, *operands, optimize=optimize, order=order)


def _contract_vjp(g, _y, *operands, subscripts, optimize=False, order="K"):
    inputs, output = subscripts.split("->")
    terms = inputs.split(",")

    def rule(k):
        shape = operands[k].shape
        others = [(t, x) for j, (t, x) in enumerate(zip(terms, operands, strict=True)) if j != k]
        # A letter that comes a second time in the term gets a name of its own, and an identity matrix, so
        # that what is off the diagonal gets 0.
        term, free = "", iter([c for c in string.ascii_letters if c not in subscripts])
        for letter, n in zip(terms[k], shape, strict=True):
            if letter in term:
                again = next(free)
                others.append((letter + again, np.eye(n, dtype=g.dtype)))
                letter = again
            term += letter
        parts = [(output, g), *others]
        known = "".join(t for t, _ in parts)
        # A letter that nothing else has was summed over: its cotangent is the same everywhere. Nor is one
        # kept along which this operand was, or may have been, broadcast.
        kept = [c in known and n != 1 for c, n in zip(term, shape, strict=True)]
        wanted = "".join(itertools.compress(term, kept))
        found = contract(
            [x for _, x in parts], ",".join(t for t, _ in parts) + "->" + wanted, optimize=optimize
        )
        lengths = iter(found.shape)
        found = found.reshape(tuple(next(lengths) if keep else 1 for keep in kept))
        return found if found.shape == shape else np.broadcast_to(found, shape)

    return _Each(rule)


contract.defvjp(joint=_contract_vjp)


_LABELS = string.ascii_uppercase + string.ascii_lowercase
"""What NumPy takes for axis numbers: in this order, which sorting keeps."""


def _letter(label):
    number = -1 if isinstance(label, (bool, np.bool_)) else operator.index(label)
    if not 0 <= number < len(_LABELS):
        raise ValueError(f"axes in lists are numbered from 0 to {len(_LABELS) - 1}, or ..., got {label!r}")
    return _LABELS[number]


def _from_lists(args):
    """The form ``einsum(x, [0, 1], y, [1, 2], [0, 2])`` as subscripts and operands."""

    def letters(labels):
        return "".join("..." if label is Ellipsis else _letter(label) for label in labels)

    pairs = len(args) // 2 * 2
    if not all([isinstance(labels, (list, tuple)) for labels in (*args[1:pairs:2], *args[pairs:])]):
        raise TypeError(
            f"subscripts come first, in a string such as 'ij,jk->ik', or a list of axes after each operand; "
            f"got {type(args[0]).__name__} first"
        )
    subscripts = ",".join(letters(labels) for labels in args[1:pairs:2])
    if len(args) % 2:
        subscripts += "->" + letters(args[-1])
    return subscripts, args[:pairs:2]


def _plain_form(subscripts, operands):
    """Subscripts with an output, and with letters in place of each ellipsis."""
    subscripts = subscripts.replace(" ", "")
    inputs, arrow, output = subscripts.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"the subscripts {subscripts!r} are for {len(terms)} operands, got {len(operands)}")
    for term in (*terms, output):
        letters = term.replace("...", "", 1)
        if not all(c in string.ascii_letters for c in letters):
            raise ValueError(f"subscripts are letters, commas, an arrow and ellipses, got {subscripts!r}")
    ranked = []
    for term, x in zip(terms, operands, strict=True):
        rank = np.ndim(x) - len(term.replace("...", ""))
        if rank < 0 or (rank and "..." not in term):
            raise ValueError(f"the subscripts {term!r} do not fit an operand of shape {np.shape(x)}")
        ranked.append((term, rank))
    free = [c for c in string.ascii_letters if c not in subscripts]
    most = max(rank for _, rank in ranked)
    if most > len(free):
        raise ValueError("more axes than there are letters")
    broadcast = "".join(free[:most])
    terms = [term.replace("...", broadcast[most - rank :]) for term, rank in ranked]
    if not arrow:
        joined = inputs.replace(".", "")
        output = "..." + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c != ","))
    elif broadcast and "..." not in output:
        raise ValueError(f"the axes of the ellipsis in {subscripts!r} are missing from its output")
    output = output.replace("...", broadcast)
    if len(set(output)) < len(output) or not set(output) <= set("".join(terms)):
        raise ValueError(f"the output of {subscripts!r} must name each of its axes once, and known ones")
    return ",".join(terms) + "->" + output


@composite(
    numpy=np.einsum,
    samples=[
        sample("ij,jk", (2, 3), (3, 2)),
        sample("ii", (3, 3)),
        sample("...ij,...jk->...ik", (2, 2, 3), (3, 2)),
        sample("i,i,i->", (3,), (3,), (3,)),
        sample("ij,ij->i", (2, 3), (1, 3)),
        sample("ijk,ilm,njm,nlk->", (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), optimize="greedy"),
        sample("ba", (2, 3)),
        sample("ij,kj->ki", (2, 3), (2, 3), order="C"),
    ],
)
def einsum(*operands, optimize=False, dtype=None, order="K", casting="safe"):
    """Einstein's summation, in every form of `numpy.einsum`.

    Parameters
    ----------
    subscripts : str
        ``"ij,jk->ik"``: a letter for each axis of each operand; what is not in the output is summed over.
        Without an arrow the output has the letters that come once, in alphabetic order. ``...`` stands for
        any further axes, which broadcast. A letter twice in one operand takes a diagonal.
    *operands : arrays
        Or, without subscripts, operands and lists of axis numbers, from 0 to 51, in turn:
        ``einsum(x, [0, 1], [1, 0])``.
    optimize : bool, str or list
        Handed to NumPy: ``True`` finds an order of products for three and more operands, and uses matrix
        products.
    dtype, casting : dtype and str, optional
        What to compute in, and which conversions of operands to it are allowed, as `numpy.can_cast` has them.
    order : {"K", "C", "F", "A"}
        Memory layout of the result.
    """
    if operands and isinstance(operands[0], str):
        subscripts, arrays = operands[0], operands[1:]
    else:
        subscripts, arrays = _from_lists(operands)
    if not arrays:
        raise ValueError("at least one operand is needed")
    arrays = [np.asarray(x) if isinstance(x, (list, tuple)) else x for x in arrays]
    if dtype is not None or casting != "safe":
        arrays = _converted(arrays, dtype, casting)
    layout = {} if order == "K" else {"order": order}
    return contract(arrays, subscripts=_plain_form(subscripts, arrays), optimize=optimize, **layout)


def _converted(arrays, dtype, casting):
    """The operands in one dtype, the given one or their common one, where the casting rule allows it."""
    arrays = [x if hasattr(x, "dtype") else np.asarray(x) for x in arrays]
    dtype = np.result_type(*arrays) if dtype is None else np.dtype(dtype)
    for x in arrays:
        if not np.can_cast(x.dtype, dtype, casting):
            raise TypeError(
                f"an operand of dtype {x.dtype} cannot be converted to {dtype} under casting={casting!r}"
            )
    return [x if x.dtype == dtype else astype(x, dtype) for x in arrays]
