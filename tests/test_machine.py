"""A state machine that uses the engine as people do, in any order, beside one that is obviously right.

The naive engine keeps every value with functions that turn its cotangent into its operands', and
differentiates by recursion over all paths. It knows nothing of tapes, numbers, releasing or saving: what it
must know of those to foretell errors is written down here a second time, in the plainest way.

Leaves are float32, float64, or some of each. The naive engine computes in the same dtypes, and so finds the
same values; its gradients add up the same terms in another order, and round as often. How far the two may
be apart follows from the number of roundings and from the sum of the sizes of all terms.
"""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

import tinygrad_rnn as tg
from tinygrad_rnn import backpropagation
from tinygrad_rnn.tensors import _make


class Node:
    """A value, its operands, and for each the function from this value's cotangent to the operand's.

    ``build`` makes the value and those functions from the operands' values.
    """

    def __init__(self, build, operands=(), group=None):
        self.build = build
        self.given = [o.value for o in operands]  # leaves change
        value, self.pulls = build(*self.given)
        _, self.sizes = build(*map(np.abs, self.given))
        self.value = np.array(value)
        self.operands = operands
        self.group = group or Group()
        self.tracked = any(o.tracked for o in operands)
        self.grad = None

    def moved(self, steps):
        """What this would be, in float64, if the leaves had been somewhat other ones."""
        if not self.tracked:
            return self
        copy = Node.__new__(Node)
        copy.operands = [o if isinstance(o, LeafNode) else o.moved(steps) for o in self.operands]
        values = [
            given + steps[o] if isinstance(o, LeafNode) else np.float64(new.value)
            for given, o, new in zip(self.given, self.operands, copy.operands, strict=True)
        ]
        copy.value, copy.pulls = self.build(*values)
        copy.tracked = True
        return copy

    def pull(self, g, leaf):
        """The derivative of sum(g * self.value) by the values of a leaf."""
        total = g if self is leaf else np.zeros(self.value.shape)
        for operand, pull in zip(self.operands, self.pulls, strict=True):
            if operand.tracked:
                total = total + operand.pull(pull(g).astype(operand.value.dtype), leaf)
        return total

    def size(self, g, leaf):
        """The same with the sizes of all terms, of which none cancel: for sizes g, in float64."""
        total = g if self is leaf else np.zeros(self.value.shape)
        for operand, pull in zip(self.operands, self.sizes, strict=True):
            if operand.tracked:
                total = total + operand.size(np.abs(pull(g)), leaf)
        return total

    def ancestors(self):
        """Every tracked node below, itself included."""
        found = [self] if self.tracked else []
        for operand in self.operands:
            found += operand.ancestors()
        return found

    def rounding(self):
        """A bound for the relative rounding errors of a term of a gradient by what is below.

        Each node on a path multiplies, adds up in a matrix product, changes the dtype, and receives what its
        users send: fewer than 16 roundings on either side.
        """
        below = set(self.ancestors())
        return 32 * len(below) * max(np.finfo(o.value.dtype).eps for o in below)


class Group:
    """What one operation made: all its outputs are released together."""

    def __init__(self, read=()):
        self.released = False
        self.unknown = False  # whether a pass that was refused half-way has released it
        self.read = [(leaf, leaf.version) for leaf in read]  # leaves whose values its rules need


class LeafNode(Node):
    def __init__(self, value):
        super().__init__(lambda: (value, ()))
        self.tracked = True
        self.version = 0
        self.forget()

    def forget(self):
        self.grad = None
        self.sizes_received = np.zeros(self.value.shape)
        self.error = np.zeros(self.value.shape)  # how far the gradient may be from the engine's

    def receive(self, g, size, rounding):
        g = g.astype(self.value.dtype)
        self.grad = g if self.grad is None else self.grad + g
        self.sizes_received = self.sizes_received + size
        self.error = self.error + rounding * size + np.finfo(g.dtype).eps * self.sizes_received


UNARY = {
    "tanh": (lambda m, x: m.tanh(x), lambda x, y: [lambda g: g * (1 - y**2)]),
    "negative": (lambda m, x: -x, lambda x, y: [lambda g: -g]),
    "sin": (lambda m, x: m.sin(x), lambda x, y: [lambda g: g * np.cos(x)]),
    "float32": (lambda m, x: x.astype("float32"), lambda x, y: [lambda g: g]),
    "float64": (lambda m, x: x.astype("float64"), lambda x, y: [lambda g: g]),
    "transpose": (lambda m, x: x.T, lambda x, y: [lambda g: g.T]),
    "first row": (
        lambda m, x: x[0] + np.zeros(x.shape, x.dtype),
        lambda x, y: [lambda g: np.concatenate([g.sum(axis=0)[None], 0 * g[1:]])],
    ),
}
READS = {"sin", "transpose", "first row"}  # views count
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
        return self.rng.uniform(-1, 1, self.shape)

    def value(self):
        return self.random().astype(self.rng.choice(self.dtypes))

    @initialize(
        target=values,
        n=st.sampled_from([2, 1, 3]),
        dtypes=st.sampled_from([("float64",), ("float32",), ("float32", "float64")]),
    )
    def leaves_to_begin_with(self, n, dtypes):
        self.shape = (n, n)
        self.dtypes = dtypes
        return multiple(self.leaf(), self.leaf())

    @rule(target=values)
    def another_leaf(self):
        return self.leaf()

    def leaf(self):
        value = self.value()
        pair = tg.tensor(value.copy(), requires_grad=True), LeafNode(value)
        self.leaves.append(pair)
        return pair

    @rule(target=values)
    def constant(self):
        value = self.value()
        return tg.tensor(value), Node(lambda: (value, ()))

    @rule(target=values, x=values, name=st.sampled_from(sorted(UNARY)))
    def unary(self, x, name):
        return self.unary_of(x, name)

    def unary_of(self, x, name):
        t, n = x
        f, pulls = UNARY[name]

        def build(x):
            y = f(np, x)
            return y, pulls(x, y)

        read = [n] if name in READS and isinstance(n, LeafNode) else []
        return f(tg, t), Node(build, (n,), Group(read))

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
        return f(t, u), Node(lambda a, b: (f(a, b), pulls(a, b)), (m, n), Group(read))

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
        picked = [used[k % len(used)] % len(rows) for k in range(len(rows))]
        y = tg.stack([rows[k] for k in picked])

        def pull(g):
            back = np.zeros(self.shape, g.dtype)
            for k, row in zip(picked, g, strict=True):
                back[k] += row
            return back

        # Two operations, but what is released with the one is released with the other.
        read = [n] if isinstance(n, LeafNode) else []
        return y, Node(lambda x: (x[picked], [pull]), (n,), Group(read))

    @rule(target=values, x=values)
    def detached(self, x):
        value = x[1].value
        return x[0].detach(), Node(lambda: (value, ()))

    @rule(target=values, a=values, b=values)
    def unrecorded(self, a, b):
        with tg.no_grad():
            y = a[0] * b[0]
        value = a[1].value * b[1].value
        return y, Node(lambda: (value, ()))

    @rule(x=values)
    def mistake(self, x):
        """A call that is refused changes nothing."""
        with pytest.raises(ValueError, match="matmul"):
            x[0] @ np.ones((4, 4))

    @rule(data=st.data())
    def assign(self, data):
        t, n = data.draw(st.sampled_from(self.leaves))
        value = self.random()
        t.assign_(value)
        n.value = value.astype(n.value.dtype)
        n.version += 1

    @rule(data=st.data())
    def forget_gradients(self, data):
        t, n = data.draw(st.sampled_from(self.leaves))
        t.grad = None
        n.forget()

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
        for leaf in {o for o in below if isinstance(o, LeafNode)}:
            g = n.pull(seed.astype(n.value.dtype), leaf)
            leaf.receive(g, n.size(np.abs(seed), leaf), n.rounding())
        if not options["retain_graph"]:
            for g in groups:
                g.released = True

    @rule(x=values)
    def gradients_of_gradients(self, x):
        """Against a difference of the naive engine's gradients, in a random direction.

        In float64: a difference says nothing of what float32 does, but for the dtypes of its results.
        """
        t, n = x
        below = n.ancestors()
        groups = [o.group for o in below if not isinstance(o, LeafNode)]
        stale = any(leaf.version != version for g in groups for leaf, version in g.read)
        if not groups or stale or any(g.released or g.unknown for g in groups):
            return
        seed = self.random()
        leaves = [(u, leaf) for u, leaf in self.leaves if any(leaf is o for o in below)]
        weights, steps = ({leaf: self.random() for _, leaf in leaves} for _ in range(2))
        first = backpropagation.backward([(t.place, tg.tensor(seed, t.dtype))], retain_graph=True, lift=_make)
        total = sum((first[u.place] * weights[leaf]).sum() for u, leaf in leaves)
        second = {}
        if total.requires_grad:
            second = backpropagation.backward([(total.place, np.ones(()))], retain_graph=True)
        got = sum((second[u.place] * steps[leaf]).sum() for u, leaf in leaves if u.place in second)
        for found in (first, second):
            assert all(found[u.place].dtype == u.dtype for u, _ in leaves if u.place in found)
        if any(o.value.dtype == np.float32 for o in below):
            return

        def slope(h):
            there = n.moved({leaf: h * step for leaf, step in steps.items()})
            return sum((there.pull(seed, leaf) * w).sum() for leaf, w in weights.items())

        wanted = (slope(1e-5) - slope(-1e-5)) / 2e-5
        size = 1 + abs(slope(0)) + abs(wanted)
        assert abs(got - wanted) < 1e-5 * size, (got, wanted)

    @invariant()
    def gradients_agree(self):
        for t, n in self.leaves:
            if n.grad is None:
                assert t.grad is None
            else:
                assert t.grad.dtype == n.grad.dtype
                assert (np.abs(t.grad.numpy() - n.grad) <= n.error).all()
            assert t.dtype == n.value.dtype
            assert np.array_equal(t.numpy(), n.value)

    @rule(x=values)
    def values_agree(self, x):
        eps = np.finfo(x[1].value.dtype).eps
        np.testing.assert_allclose(x[0].numpy(), x[1].value, rtol=4096 * eps, atol=64 * eps)
        assert x[0].dtype == x[1].value.dtype
        assert x[0].requires_grad == x[1].tracked


TestEngine = Engine.TestCase
TestEngine.settings = settings(max_examples=8 * settings.default.max_examples, stateful_step_count=30)
