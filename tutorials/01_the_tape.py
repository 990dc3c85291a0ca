"""Tutorial 1: the tape, and a backward pass written by hand.

    python tutorials/01_the_tape.py

Every operation on a tensor that requires gradients leaves an entry on the tape. This script unrolls a
recurrent cell over two steps, prints the tape, walks it backward with a loop of its own, and compares
the result with what `backward()` computes.
"""

import numpy as np

import tinygrad_rnn as tg

# ---------------------------------------------------------------- 1. Compute something

rng = np.random.default_rng(0)
W = tg.tensor(rng.standard_normal((3, 3)), requires_grad=True)  # hidden to hidden
U = tg.tensor(rng.standard_normal((2, 3)), requires_grad=True)  # input to hidden
W.name, U.name = "W", "U"

h = tg.tensor(np.zeros((1, 3)))
for t, x_t in enumerate(rng.standard_normal((2, 1, 2))):
    with tg.scope(f"t={t}", step=t):
        h = tg.tanh(x_t @ U + h @ W)
loss = (h * h).sum()

# ---------------------------------------------------------------- 2. Read the tape

# A Wengert list: every line is one entry, its inputs are earlier lines, leaves or constants. The weights
# appear in both steps: that is all that "unrolled" means.
tape = tg.Tape(loss)
print(tape)

# ---------------------------------------------------------------- 3. Walk it backward by hand

# The cotangent of a place says how much the loss changes when that place's value does. Going through the
# entries from the last to the first, each entry turns the cotangent of its output into those of its inputs
# by its primitive's rules, and contributions to one place add up: W gets one from each time step.
cotangents = {loss.place: np.ones(())}
for entry in reversed(tape.entries):
    g = cotangents.pop(entry)
    for rule, parent in zip(entry.primitive.vjps, entry.parents, strict=True):
        if parent is not None:  # constants have no place on the tape
            contribution = rule(g, entry.out, *entry.args, **entry.static)
            if parent in cotangents:
                contribution = cotangents[parent] + contribution
            cotangents[parent] = contribution

# ---------------------------------------------------------------- 4. Compare

loss.backward()
for leaf in (W, U):
    by_hand = cotangents[leaf.place]
    print(f"\nd loss / d {leaf.name}, by hand:\n{by_hand}\nby backward():\n{leaf.grad.numpy()}")
    np.testing.assert_allclose(by_hand, leaf.grad.numpy(), rtol=1e-12)

# What the library adds to that loop: undoing broadcasting, casting to the leaf's dtype, entries with
# several outputs, adding slices without building full arrays, and errors that say what went wrong: all of it
# in `tinygrad_rnn/backpropagation.py`. What an entry holds is in `tinygrad_rnn/tape.py`.
