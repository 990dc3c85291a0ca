"""Tutorial 3: a primitive of your own.

    python tutorials/03_your_own_primitive.py

Whatever is composed of the library's operations has gradients already. A primitive of one's own is worth it
where a whole expression has a simpler derivative than its parts, or where the parts would lose digits.
"""

import numpy as np

import tinygrad_rnn as tg

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

wrong = tg.primitive(elementwise=True)(lambda x, /: np.sin(x))
wrong.defvjp(lambda g, _y, x: g * np.cos(x) * 1.001)
report = tg.gradcheck(wrong, points)
print(report)
assert not report
