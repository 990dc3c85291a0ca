"""Tutorial 3: a primitive of your own.

    python tutorials/03_your_own_primitive.py

Whatever is composed of the library's operations has gradients already. A primitive of one's own is worth it
where a whole expression has a simpler derivative than its parts, or where the parts would lose digits.
"""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.ops.registry import sample

# ---------------------------------------------------------------- 1. Declare it

# The forward function takes plain arrays before the slash, and static arguments after it. `kinks` says how
# far an input is from the nearest point without a (second) derivative; it also says that the function is
# not analytic, so that gradcheck takes central differences and not the complex step.


@tg.primitive(elementwise=True, kinks=lambda x, sharpness=1.0: np.abs(x))
def softsign(x, /, sharpness=1.0):
    """``x / (1 / sharpness + |x|)``, elementwise."""
    return x / (1 / sharpness + np.abs(x))


# One rule per array input: rule(g, y, *inputs, **static) gives the cotangent of that input. It is plain
# NumPy. A leading underscore says that the rule does not read that array, so the tape need not keep it: here
# the output y is not needed and the input x is.
softsign.defvjp(lambda g, _y, x, sharpness=1.0: g / (1 + sharpness * np.abs(x)) ** 2 * sharpness)

# ---------------------------------------------------------------- 2. Use it

x = tg.tensor(np.array([-2.0, 0.5, 3.0]), requires_grad=True)
y = softsign(x * 2.0, sharpness=3.0)
y.sum().backward()
print(tg.Tape(y))
print("gradient:", x.grad.numpy())
print("on plain arrays it is the plain function:", softsign(np.array([1.0, 2.0])))

# ---------------------------------------------------------------- 3. Check it

points = np.array([-2.0, -0.5, 0.3, 1.5])
first, second = tg.gradcheck(softsign, points), tg.gradgradcheck(softsign, points)
print(first)
print(second)
assert first
assert second

# Second derivatives came without another line: in a recorded backward pass the same rule runs on tensors.

# ---------------------------------------------------------------- 4. See the check fail


@tg.primitive(elementwise=True)
def wrong(x, /):
    """A sine whose rule is off by a thousandth."""
    return np.sin(x)


wrong.defvjp(lambda g, _y, x: g * np.cos(x) * 1.001)
report = tg.gradcheck(wrong, points)
print(report)
assert not report

# ---------------------------------------------------------------- 5. Several inputs

# A rule per input, in their order. None says that there is no gradient by that input (a mask, an index, a
# label): a tensor that requires gradients is refused there, and not lost. Rules need not undo broadcasting.


@tg.primitive(kinks=lambda mask, a, b: np.inf)
def blend(mask, a, b, /):
    """``a`` where the mask is 1, ``b`` where it is 0, and mixed between."""
    return mask * a + (1 - mask) * b


blend.defvjp(None, lambda g, _y, mask, _a, _b: g * mask, lambda g, _y, mask, _a, _b: g * (1 - mask))
mask = np.array([[0.0, 1.0, 0.25]])
assert tg.gradcheck(lambda a, b: blend(mask, a, b), np.ones((2, 3)), np.array([1.0, 2.0, 3.0]))
try:
    blend(x, x, x)
except TypeError as error:
    print("refused:", error)

# ---------------------------------------------------------------- 6. Several outputs

# With multiple=True the function returns a tuple, and rules get a list of cotangents: None stands for an
# output that nobody used.


@tg.primitive(multiple=True)
def polar(a, b, /):
    """Length and angle of the vectors (a, b)."""
    return np.sqrt(a * a + b * b), np.arctan2(b, a)


def _part(g, value):
    return 0.0 if g is None else g * value


def _by_a(gs, ys, a, b):
    return _part(gs[0], a / ys[0]) - _part(gs[1], b / ys[0] ** 2)


def _by_b(gs, ys, a, b):
    return _part(gs[0], b / ys[0]) + _part(gs[1], a / ys[0] ** 2)


polar.defvjp(_by_a, _by_b)
a, b = np.array([1.0, -2.0]), np.array([0.5, 1.5])
assert tg.gradcheck(polar, a, b, method="central")
assert tg.gradgradcheck(polar, a, b, method="central")
assert tg.gradcheck(lambda a, b: polar(a, b)[1], a, b, method="central")

# ---------------------------------------------------------------- 7. Any number of inputs

# A star before the arrays: it is called with a list of them. One joint rule gives all their cotangents, in a
# list; `*_arrays` says that it reads none of them, and the tape keeps none.


@tg.primitive
def total(*arrays, scale=1.0):
    """The sum of all arrays, times a scale."""
    return sum(arrays) * scale


total.defvjp(joint=lambda g, _y, *_arrays, scale=1.0: [g * scale for _ in _arrays])
assert tg.gradcheck(lambda *xs: total(list(xs), scale=2.0), a, b, a)

# ---------------------------------------------------------------- 8. What else can be declared

# `numpy=` names NumPy functions that the primitive answers for, so that np.heaviside(t, 0.5) works on
# tensors; one that the library answers for already is refused. `domain` and `samples` are for tests: where
# inputs are valid, and calls to try, with shapes for random arrays. `view=True` says that the output may
# share memory with an input, as a slice does: a change of the one in place is then one of the other too.


@tg.primitive(numpy=np.heaviside, domain=((0.1, 2.0), (0.0, 1.0)), kinks=lambda x, _value: np.abs(x))
def heaviside(x, value, /):
    """0 below 0, 1 above, and ``value`` at 0."""
    return np.heaviside(x, value)


heaviside.defvjp(lambda g, _y, _x, _value: g * 0.0, lambda g, _y, x, _value: g * (x == 0))
assert isinstance(np.heaviside(x, 0.5), tg.Tensor)


@tg.primitive(view=True, samples=[sample((4, 2)), sample((5,), step=3)])
def every(x, /, step=2):
    """Every second element along the first axis, or every third, ..."""
    return x[::step]


def _spread(g, _y, _x, step=2):
    return tg.index_add(np.zeros(_x.shape), np.arange(0, _x.shape[0], step), g)


every.defvjp(_spread)
assert tg.gradcheck(lambda x: every(x, step=3), np.arange(10.0).reshape(5, 2))

# Three things that no declaration can promise. The forward function must not write into its inputs (gradcheck
# notices). It must give the same for the same inputs. And where it casts, or cuts to integers, there is no
# gradient to give: leave that to .astype.
