"""A state machine that uses the engine as people do, in any order, beside one that is obviously right.

The naive engine keeps every value with functions that turn its cotangent into its operands', and
differentiates by recursion over all paths. It knows nothing of tapes, numbers, releasing or saving: what it
must know of those to foretell errors is written down here a second time, in the plainest way.
"""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

import tinygrad_rnn as tg

SHAPE = (2, 2)


class Node:
    """A value, its operands, and for each the function from this value's cotangent to the operand's."""

    def __init__(self, value, operands=(), pulls=(), group=None):
        self.value = np.array(value)
        self.operands = operands
        self.pulls = pulls
        self.group = group or Group()
        self.tracked = any(o.tracked for o in operands)
        self.grad = None

    def pull(self, g, leaf):
        """The derivative of sum(g * self.value) by the values of a leaf."""
        total = g if self is leaf else np.zeros(SHAPE)
        for operand, pull in zip(self.operands, self.pulls, strict=True):
            if operand.tracked:
                total = total + operand.pull(pull(g), leaf)
        return total

    def ancestors(self):
        """Every tracked node below, itself included."""
        found = [self] if self.tracked else []
        for operand in self.operands:
            found += operand.ancestors()
        return found


class Group:
    """What one operation made: all its outputs are released together."""

    def __init__(self, read=()):
        self.released = False
        self.unknown = False  # whether a pass that was refused half-way has released it
        self.read = [(leaf, leaf.version) for leaf in read]  # leaves whose values its rules need


class LeafNode(Node):
    def __init__(self, value):
        super().__init__(value)
        self.tracked = True
        self.version = 0


UNARY = {
    "tanh": (lambda m, x: m.tanh(x), lambda x, y: [lambda g: g * (1 - y**2)]),
    "negative": (lambda m, x: -x, lambda x, y: [lambda g: -g]),
    "sin": (lambda m, x: m.sin(x), lambda x, y: [lambda g: g * np.cos(x)]),
    "transpose": (lambda m, x: x.T, lambda x, y: [lambda g: g.T]),
    "first row": (
        lambda m, x: x[0] + np.zeros(SHAPE),
        lambda x, y: [lambda g: np.array([g.sum(axis=0), [0, 0]])],
    ),
}
READS = {"tanh": False, "negative": False, "sin": True, "transpose": True, "first row": True}  # views count
BINARY = {
    "add": (lambda a, b: a + b, lambda a, b: [lambda g: g, lambda g: g]),
    "subtract": (lambda a, b: a - b, lambda a, b: [lambda g: g, lambda g: -g]),
    "multiply": (lambda a, b: a * b, lambda a, b: [lambda g: g * b, lambda g: g * a]),
    "matmul": (lambda a, b: a @ b, lambda a, b: [lambda g: g @ b.T, lambda g: a.T @ g]),
}


class Engine(RuleBasedStateMachine):
    values = Bundle("values")

    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)
        self.leaves = []

    def random(self):
        return self.rng.uniform(-1, 1, SHAPE)

    @initialize(target=values)
    def leaves_to_begin_with(self):
        return multiple(self.leaf(), self.leaf())

    @rule(target=values)
    def another_leaf(self):
        return self.leaf()

    def leaf(self):
        value = self.random()
        pair = tg.tensor(value.copy(), requires_grad=True), LeafNode(value)
        self.leaves.append(pair)
        return pair

    @rule(target=values)
    def constant(self):
        value = self.random()
        return tg.tensor(value), Node(value)

    @rule(target=values, x=values, name=st.sampled_from(sorted(UNARY)))
    def unary(self, x, name):
        return self.unary_of(x, name)

    def unary_of(self, x, name):
        t, n = x
        f, pulls = UNARY[name]
        y = f(np, n.value)
        read = [n] if READS[name] and isinstance(n, LeafNode) else []
        return f(tg, t), Node(y, (n,), pulls(n.value, y), Group(read))

    @rule(target=values, a=values, b=values, name=st.sampled_from(sorted(BINARY)))
    def binary(self, a, b, name):
        return self.binary_of(a, b, name)

    def binary_of(self, a, b, name):
        (t, m), (u, n) = a, b
        f, pulls = BINARY[name]
        read = []
        if name in ("multiply", "matmul"):  # each operand's rule reads the other
            read += [m] if isinstance(m, LeafNode) and n.tracked else []
            read += [n] if isinstance(n, LeafNode) and m.tracked else []
        return f(t, u), Node(f(m.value, n.value), (m, n), pulls(m.value, n.value), Group(read))

    @rule(target=values, x=values)
    def used_often(self, x):
        """Four contributions to one cotangent."""
        return self.binary_of(self.binary_of(x, x, "multiply"), self.binary_of(x, x, "subtract"), "add")

    @rule(target=values, x=values, part_first=st.booleans())
    def used_in_whole_and_in_part(self, x, part_first):
        """One cotangent is made of arrays and of pieces, in either order."""
        names = ["first row", "sin"] if part_first else ["sin", "first row"]
        a, b = [self.unary_of(x, name) for name in names]
        return self.binary_of(a, b, "subtract")

    @rule(target=values, x=values, used=st.sampled_from([(0, 1), (1, 0), (0,), (1,)]))
    def several_outputs(self, x, used):
        """Rows taken apart, and put together in another order or in part."""
        t, n = x
        rows = tg.unstack(t)
        y = tg.stack([rows[used[0]], rows[used[-1]]])
        picked = [used[0], used[-1]]

        def pull(g):
            back = np.zeros(SHAPE)
            for k, row in zip(picked, g, strict=True):
                back[k] += row
            return back

        # Two operations, but what is released with the one is released with the other.
        read = [n] if isinstance(n, LeafNode) else []
        return y, Node(n.value[picked], (n,), [pull], Group(read))

    @rule(target=values, x=values)
    def detached(self, x):
        return x[0].detach(), Node(x[1].value)

    @rule(target=values, a=values, b=values)
    def unrecorded(self, a, b):
        with tg.no_grad():
            y = a[0] * b[0]
        return y, Node(a[1].value * b[1].value)

    @rule(x=values)
    def mistake(self, x):
        """A call that is refused changes nothing."""
        with pytest.raises(ValueError, match="matmul"):
            x[0] @ np.ones((3, 3))

    @rule(data=st.data())
    def assign(self, data):
        t, n = data.draw(st.sampled_from(self.leaves))
        value = self.random()
        t.assign_(value)
        n.value = value
        n.version += 1

    @rule(data=st.data())
    def forget_gradients(self, data):
        t, n = data.draw(st.sampled_from(self.leaves))
        t.grad = n.grad = None

    @rule(x=values, retain=st.booleans(), create=st.booleans())
    def backward(self, x, retain, create):
        t, n = x
        seed = self.random()
        options = {"retain_graph": retain or create, "create_graph": create}
        below = n.ancestors()
        groups = {id(o.group): o.group for o in below if not isinstance(o, LeafNode)}.values()
        released = any(g.released for g in groups)
        stale = any(leaf.version != version for g in groups for leaf, version in g.read)
        if any(g.unknown for g in groups):
            return
        wrong = [] if n.tracked else ["off the tape"]
        wrong += ["released"] * (n.tracked and released) + ["changed in place"] * (n.tracked and stale)
        if wrong:
            # An error leaves gradients as they were, which the invariant sees; the tape too, if retained.
            with pytest.raises(RuntimeError, match="|".join(wrong)):
                t.backward(seed, **options)
            for g in groups:
                g.unknown = n.tracked and not options["retain_graph"]
            return
        t.backward(seed, **options)
        for leaf in {id(o): o for o in below if isinstance(o, LeafNode)}.values():
            g = n.pull(seed, leaf)
            leaf.grad = g if leaf.grad is None else leaf.grad + g
        if not options["retain_graph"]:
            for g in groups:
                g.released = True

    @invariant()
    def gradients_agree(self):
        for t, n in self.leaves:
            if n.grad is None:
                assert t.grad is None
            else:
                np.testing.assert_allclose(t.grad.numpy(), n.grad, rtol=1e-9, atol=1e-11)
            assert np.array_equal(t.numpy(), n.value)

    @rule(x=values)
    def values_agree(self, x):
        np.testing.assert_allclose(x[0].numpy(), x[1].value, rtol=1e-12, atol=1e-14)
        assert x[0].requires_grad == x[1].tracked


TestEngine = Engine.TestCase
TestEngine.settings = settings(max_examples=8 * settings.default.max_examples, stateful_step_count=30)
