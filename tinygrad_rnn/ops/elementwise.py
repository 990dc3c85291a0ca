"""Functions of one array, element by element, and the choices between arrays (where, clip)."""

from __future__ import annotations

import numpy as np

from .arithmetic import chosen
from .registry import composite, primitive, sample


@primitive(numpy=np.exp, elementwise=True)
def exp(x, /):
    """Exponential, elementwise."""
    return np.exp(x)


exp.defvjp(lambda g, y, _x: g * y)


@primitive(numpy=np.expm1, elementwise=True)
def expm1(x, /):
    """``exp(x) - 1``, exact near 0, elementwise."""
    return np.expm1(x)


expm1.defvjp(lambda g, y, _x: g * (y + 1))


@primitive(numpy=np.log, elementwise=True, domain=(0.1, 4.0))
def log(x, /):
    """Natural logarithm, elementwise."""
    return np.log(x)


log.defvjp(lambda g, _y, x: g / x)


@primitive(numpy=np.log1p, elementwise=True, domain=(-0.8, 3.0))
def log1p(x, /):
    """``log(1 + x)``, exact near 0, elementwise."""
    return np.log1p(x)


log1p.defvjp(lambda g, _y, x: g / (1 + x))


@primitive(numpy=np.sin, elementwise=True)
def sin(x, /):
    """Sine of an angle in radians, elementwise."""
    return np.sin(x)


sin.defvjp(lambda g, _y, x: g * np.cos(x))


@primitive(numpy=np.cos, elementwise=True)
def cos(x, /):
    """Cosine of an angle in radians, elementwise."""
    return np.cos(x)


cos.defvjp(lambda g, _y, x: -g * np.sin(x))


@primitive(numpy=np.tanh, elementwise=True)
def tanh(x, /):
    """Hyperbolic tangent, elementwise."""
    return np.tanh(x)


tanh.defvjp(lambda g, y, _x: g * (1 - y * y))


@primitive(
    numpy=np.where,
    samples=[
        sample(np.array([True, False, True]), (3,), (3,)),
        sample(np.array([[True], [False]]), (2, 3), (3,)),
        sample(np.array(True), (), (2,)),
        sample(np.zeros((0, 2), bool), (0, 2), (1, 2)),
    ],
)
def where(condition, x, y, /):
    """``x`` where the condition holds, else ``y``, elementwise, with broadcasting.

    The branch that was not chosen gets a cotangent of exactly 0.
    """
    return np.where(condition, x, y)


where.defvjp(
    None,
    lambda g, _z, condition, _x, _y: chosen(g, condition),
    lambda g, _z, condition, _x, _y: chosen(g, np.logical_not(condition)),
)


@composite(numpy=np.fmax, elementwise=True, kinks=lambda a, b: np.abs(a - b))
def fmax(a, b, /):
    """The larger of two, and of a number and NaN the number, elementwise; ties as in `maximum`."""
    return np.maximum(np.where(np.isnan(a), b, a), np.where(np.isnan(b), a, b))


@composite(numpy=np.fmin, elementwise=True, kinks=lambda a, b: np.abs(a - b))
def fmin(a, b, /):
    """The smaller of two, and of a number and NaN the number, elementwise; ties as in `minimum`."""
    return np.minimum(np.where(np.isnan(a), b, a), np.where(np.isnan(b), a, b))


@composite(
    numpy=np.select,
    samples=[
        sample([np.array([True, False, False]), np.array([True, True, False])], [(3,), (3,)]),
        sample([np.array([[True], [False]])], [(2, 3)], default=1.5),
        sample([np.array(False), np.array([True, False])], [(), (2,)]),
    ],
)
def select(conditions, choices, /, default=0):
    """For each element the first choice whose condition holds, else the default; all broadcast.

    Parameters
    ----------
    conditions : list of boolean arrays
    choices : list of arrays
        As many as conditions.
    default : number or array
    """
    if len(conditions) != len(choices):
        raise ValueError(f"{len(conditions)} conditions for {len(choices)} choices: one for each is needed")
    if not len(conditions):
        raise ValueError("at least one condition and its choice are needed")
    result = default
    for condition, choice in zip(conditions[::-1], choices[::-1], strict=True):
        kind = condition.dtype if hasattr(condition, "dtype") else np.asarray(condition).dtype
        if kind != np.bool_:
            raise TypeError(f"conditions must be boolean arrays, such as x > 0, got {kind}")
        result = np.where(condition, choice, result)
    return result


@composite(numpy=np.nan_to_num, elementwise=True, samples=[sample(), sample(nan=1.0, posinf=2.0, neginf=3.0)])
def nan_to_num(x, /, nan=0.0, posinf=None, neginf=None):
    """``x`` with NaN and the infinities replaced, elementwise; there the cotangent is exactly 0.

    None stands for the largest finite number of the dtype, and for the lowest.
    """
    dtype = np.result_type(x)
    if dtype.kind not in "fc":
        return astype(x, dtype)
    finite = np.finfo(dtype)
    above = finite.max if posinf is None else posinf
    below = finite.min if neginf is None else neginf
    other = np.where(np.isnan(x), nan, np.where(np.greater(x, 0), above, below)).astype(dtype)
    return np.where(np.isfinite(x), x, other)


def _clip_distance(x, min=None, max=None):
    distances = [np.min(np.abs(x - b), initial=np.inf) for b in (min, max) if b is not None]
    return np.min(distances, initial=np.inf)


@primitive(
    numpy=np.clip,
    samples=[
        sample((3, 4), min=-1.0, max=1.0),
        sample((), max=0.5),
        sample((0, 2), min=0.0),
        sample((3,), min=np.array([[-2.0], [0.0]], "f4"), max=1.0),
        sample((2, 1), max=np.array([0.0, 1.0], "f4")),
    ],
    kinks=_clip_distance,
)
def clip(x, /, min=None, max=None):
    """Bound to ``[min, max]``, numbers or arrays, elementwise; None leaves a side open.

    On a bound the derivative is 1.
    """
    return np.clip(x, min, max)


def _clip_vjp(g, _y, x, min=None, max=None):
    if max is None:
        return chosen(g, True if min is None else np.greater_equal(x, min))
    below = np.less_equal(x, max)
    return chosen(g, below if min is None else np.logical_and(np.greater_equal(x, min), below))


clip.defvjp(_clip_vjp)


@primitive(
    samples=[sample((2, 3), dtype="float64"), sample((), dtype=np.dtype("float64"))],
    # Linear, but a cast to a real dtype would drop a complex step.
    kinks=lambda x, dtype: np.full(np.shape(x), np.inf),
)
def astype(x, /, dtype):
    """The same values in another dtype, of numbers. The cotangent comes back in the dtype of x."""
    y = np.asarray(x).astype(dtype)
    if y.dtype.kind not in "biufc":
        raise TypeError(f"{y.dtype} is no dtype of numbers; dtypes are np.float32, 'float64' and the like")
    return y


astype.defvjp(lambda g, _y, _x, dtype: g)
