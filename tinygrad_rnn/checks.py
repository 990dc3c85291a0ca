"""Numerical derivatives against the tape's: `gradcheck` and `gradgradcheck`.

Two numerical derivatives are used. The **complex step** (Squire and Trapp 1998, SIAM Review 40(1)),
``Im f(x + ih) / h`` with h = 1e-20, has no subtraction and so no rounding error: it is exact to the last
digits, for functions that are analytic. Elsewhere **central differences** serve, to about 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import backpropagation, tape
from .arrays import as_array
from .random import default_generator
from .state import enable_grad
from .tape import Leaf
from .tensors import Tensor, _make
from .trees import is_module, need_callable

__all__ = ["GradcheckReport", "gradcheck", "gradgradcheck"]

_STEP = 1e-20
_TOLERANCE = {"complex": 1e-10, "central": 1e-6}

Function = Callable[..., Any]


@dataclass(frozen=True)
class GradcheckReport:
    """The result of a check; true if it passed, and printed as a sentence.

    Attributes
    ----------
    ok : bool
    method : str
        ``"complex"`` (complex step) or ``"central"`` (central differences).
    checked : int
        Number of derivatives compared.
    error : float
        The largest of ``|analytic - numeric| - rtol * |numeric|``; the check passes up to ``atol``.
    input, index : int, tuple
        Where the worst one is: element ``index`` of argument number ``input``.
    analytic, numeric : float
        The two derivatives there.
    rtol, atol : float
    """

    ok: bool
    method: str
    checked: int
    error: float
    input: int
    index: tuple[int, ...]
    analytic: float
    numeric: float
    rtol: float
    atol: float

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        step = {"complex": "complex step", "central": "central differences"}[self.method]
        head = f"gradcheck {'passed' if self.ok else 'FAILED'}: {self.checked} derivatives by {step}"
        if not self.checked:
            return head
        return (
            f"{head}; worst at element {self.index} of argument {self.input}: "
            f"analytic {self.analytic:.12g}, numeric {self.numeric:.12g}, "
            f"difference {abs(self.analytic - self.numeric):.3g} (rtol {self.rtol:g}, atol {self.atol:g})"
        )


def gradcheck(
    f: Function,
    *inputs: Any,
    method: str | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    rng: np.random.Generator | int | None = 0,
) -> GradcheckReport:
    """Compare the gradients of ``f`` with numerical ones, element by element.

    The outputs of f are weighted with random numbers and summed; every derivative of that sum is checked.

    Parameters
    ----------
    f : callable
        Takes tensors, gives a tensor or a tuple of them. It must be deterministic.
    *inputs : array_like or Tensor
        Floating-point inputs are checked, in float64; others are handed to f as they are.
    method : {"complex", "central"}, optional
        The default is the complex step if every primitive that f recorded is analytic, else central
        differences (keep inputs away from kinks then).
    rtol, atol : float, optional
        Both 1e-10 for the complex step and 1e-6 for central differences.
    rng : Generator or int
        For the random weights.

    Returns
    -------
    GradcheckReport

    Raises
    ------
    ValueError
        If no output depends on a floating-point input through the tape.

    Examples
    --------
    >>> x, w = np.linspace(-1, 1, 6).reshape(2, 3), np.linspace(0, 1, 12).reshape(3, 4)
    >>> assert tg.gradcheck(lambda x, w: tg.tanh(x @ w), x, w)
    """
    rng = default_generator(rng)
    need_callable("gradcheck", f)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None and not (isinstance(value, (int, float, np.floating)) and value >= 0):
            raise TypeError(f"gradcheck: {name} is a number from 0 on, such as 1e-6, got {value!r}")
    arrays = [_checked(k, a) for k, a in enumerate(inputs)]
    leaves = [_perturbed(a) for a in arrays]
    outputs = _tuple(f(*leaves))
    for k, leaf in enumerate(leaves):
        if not np.array_equal(leaf.numpy(), _checked(k, inputs[k]), equal_nan=leaf.dtype.kind in "fc"):
            raise ValueError(
                f"gradcheck: f wrote into its argument {k}, and what the tape has saved of it is lost: let "
                f"it compute a new array (y = x + 1, not x += 1)"
            )
    places = [y.place for y in outputs if y.place is not None]
    if not places or not any([isinstance(leaf.place, Leaf) for leaf in leaves]):
        raise ValueError(
            "gradcheck: no output depends on a floating-point input through the tape: pass such an input, "
            "and compose f of tensor operations, without .numpy() and detach()"
        )
    method = method or _method(outputs)
    if method not in _TOLERANCE:
        raise ValueError(f"gradcheck: method must be 'complex' or 'central', got {method!r}")
    weights = [rng.standard_normal(y.shape) for y in outputs]
    found = backpropagation.backward(
        [(y.place, w) for y, w in zip(outputs, weights, strict=True) if y.place is not None]
    )

    def total(values: Sequence[np.ndarray]) -> Any:
        """The weighted sum of f's outputs at other inputs."""
        # Copies: what a tape of f saves may be locked, and the next element is changed in place.
        ys = _tuple(f(*[_perturbed(v.copy()) for v in values]))
        return sum((w * y.numpy()).sum() for y, w in zip(ys, weights, strict=True))

    derivative = _complex_step if method == "complex" else _central
    compared = [
        (k, found.get(leaf.place, np.zeros(leaf.shape)), derivative(total, arrays, k))
        for k, leaf in enumerate(leaves)
        if isinstance(leaf.place, Leaf)
    ]
    tolerance = _TOLERANCE[method]
    rtol = tolerance if rtol is None else rtol
    atol = tolerance if atol is None else atol
    return _report(method, compared, rtol, atol)


def gradgradcheck(
    f: Function,
    *inputs: Any,
    method: str | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    rng: np.random.Generator | int | None = 0,
) -> GradcheckReport:
    """Check second derivatives: `gradcheck` of the function that computes the gradients of ``f``.

    Parameters, options and result are those of `gradcheck`. The argument numbers in the report count f's
    inputs first, then the cotangents of its outputs.
    """
    need_callable("gradgradcheck", f)
    arrays = [_checked(k, a) for k, a in enumerate(inputs)]
    drawing = default_generator(rng)
    outputs = _tuple(f(*[_perturbed(a) for a in arrays]))
    cotangents = [drawing.standard_normal(y.shape) for y in outputs]
    # What f applied decides, not what its gradient did: the derivative of abs is a constant on the tape.
    method = method or _method(outputs)
    n = len(arrays)

    def gradients(*args: Tensor) -> tuple[Tensor, ...]:
        xs, us = args[:n], args[n:]
        with enable_grad():
            ys = _tuple(f(*xs))
        found = backpropagation.backward(
            [(y.place, u) for y, u in zip(ys, us, strict=True) if y.place is not None],
            retain_graph=True,
            lift=_make,
        )
        leaves = [(x, x.place) for x in xs if isinstance(x.place, Leaf)]
        return tuple(found.get(place, _make(np.zeros(x.shape, x.dtype), None)) for x, place in leaves)

    return gradcheck(gradients, *arrays, *cotangents, method=method, rtol=rtol, atol=atol, rng=rng)


def _checked(k: int, value: Any) -> np.ndarray:
    """Input number k as an array: a copy in float64 if it is to be differentiated by."""
    if isinstance(value, dict) or is_module(value):
        raise TypeError(
            f"gradcheck: argument {k} is a {type(value).__name__}; arguments are arrays, each on its own. "
            f"Wrap f in a function of arrays that puts them where they belong"
        )
    try:
        array = as_array(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"gradcheck: argument {k}: {error}") from error
    if array.dtype.kind == "c":
        raise TypeError(
            f"gradcheck: argument {k} is {array.dtype}: gradients are of real functions of real arguments; "
            f"pass real and imaginary parts as two arguments"
        )
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _method(outputs: Sequence[Tensor]) -> str:
    entries = tape.reachable([y.place for y in outputs if y.place is not None])
    return "complex" if all(entry.primitive.analytic for entry in entries) else "central"


def _perturbed(array: np.ndarray) -> Tensor:
    """A tensor to differentiate by (unlike tg.tensor's it may be complex); integers stay off the tape."""
    return _make(array, Leaf(array.shape, array.dtype) if array.dtype.kind in "fc" else None)


def _tuple(outputs: Any) -> tuple[Tensor, ...]:
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"gradcheck: f must return a tensor or a tuple of them, got {type(y).__name__}")
    return tuple(outputs)


def _complex_step(total: Function, arrays: Sequence[np.ndarray], k: int) -> np.ndarray:
    """All derivatives by input k. Every floating-point input is made complex, so that none drops the step."""
    values = [a.astype(np.complex128) if a.dtype.kind == "f" else a for a in arrays]
    result = np.zeros(values[k].shape)
    for index in np.ndindex(*result.shape):
        values[k].imag[index] = _STEP
        result[index] = np.imag(total(values)) / _STEP
        values[k][index] = arrays[k][index]
    return result


def _central(total: Function, arrays: Sequence[np.ndarray], k: int) -> np.ndarray:
    """All derivatives by input k, from both sides."""
    values = [a.copy() for a in arrays]
    result = np.zeros(values[k].shape)
    for index in np.ndindex(*result.shape):
        x = arrays[k][index]
        h = 6e-6 * max(1.0, abs(float(x)))  # eps ** (1/3): rounding and truncation in balance
        values[k][index] = x + h
        above = total(values)
        values[k][index] = x - h
        below = total(values)
        values[k][index] = x
        result[index] = (above - below) / (2 * h)
    return result


def _report(
    method: str, compared: Sequence[tuple[int, np.ndarray, np.ndarray]], rtol: float, atol: float
) -> GradcheckReport:
    """The worst of what was compared: for each argument its number, its gradient and its numerical one."""
    worst = GradcheckReport(True, method, 0, -np.inf, -1, (), np.nan, np.nan, rtol, atol)
    checked = sum(n.size for _, _, n in compared)
    for k, g, n in compared:
        if not n.size:
            continue
        # A NaN on one side is the worst error there is, not one that compares as smaller.
        errors = np.where(np.isfinite(g) & np.isfinite(n), np.abs(g - n) - rtol * np.abs(n), np.inf)
        index = np.unravel_index(np.argmax(errors), errors.shape)
        if errors[index] > worst.error:
            place = tuple(int(i) for i in index)
            error = float(errors[index])
            worst = GradcheckReport(
                error <= atol, method, checked, error, k, place, float(g[index]), float(n[index]), rtol, atol
            )
    return worst
