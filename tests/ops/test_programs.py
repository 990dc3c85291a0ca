"""Random programs against a naive engine: the chain rule, written as recursion, with numerical Jacobians.

The oracle shares nothing with the tape: it computes with NumPy, takes each step's Jacobian by the complex
step, and multiplies Jacobians along every path from the result to a leaf.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import backpropagation


class Step(NamedTuple):
    """``f(m, *arrays)`` computes one or several values from earlier ones; m is np, or tg for tensors."""

    text: str
    f: Callable[..., Any]
    operands: tuple[int, ...]


def softmax(m: Any, x: Any) -> Any:
    return tg.softmax(x) if m is tg else np.exp(x) / np.exp(x).sum(-1, keepdims=True)


UNARY: list[tuple[str, Callable[..., Any], int]] = [
    ("tanh", lambda m, x: m.tanh(x), 0),
    ("sin", lambda m, x: m.sin(x), 0),
    ("square", lambda m, x: m.square(m.tanh(x)), 0),
    ("exp", lambda m, x: m.exp(-x * x), 0),
    ("sigmoid", lambda m, x: tg.sigmoid(x) if m is tg else 1 / (1 + np.exp(-x)), 0),
    ("sum", lambda m, x: x.sum(), 0),
    ("mean", lambda m, x: m.mean(x, axis=0, keepdims=True), 1),
    ("reversed", lambda m, x: x[::-1], 1),
    ("repeated", lambda m, x: x[np.array([0, -1, 0])], 1),
    ("reshape", lambda m, x: x.reshape(-1), 1),
    ("transpose", lambda m, x: x.T, 1),
    ("softmax", softmax, 1),
    ("cumsum", lambda m, x: m.cumsum(x, axis=-1), 1),
    ("unstack", lambda m, x: tuple(tg.unstack(x)) if m is tg else tuple(np.asarray(x)), 1),
    ("split", lambda m, x: tuple(m.split(x, [1], axis=-1)), 1),
    ("column", lambda m, x: x[:, -1], 2),
    ("gram", lambda m, x: x @ x.mT, 2),
]
BINARY: list[tuple[str, Callable[..., Any], Callable[..., bool]]] = [
    ("add", lambda m, a, b: a + b, lambda a, b: True),
    ("subtract", lambda m, a, b: a - b, lambda a, b: True),
    ("multiply", lambda m, a, b: a * b, lambda a, b: True),
    ("divide", lambda m, a, b: a / (b * b + 1), lambda a, b: True),
    ("power", lambda m, a, b: (a * a + 0.5) ** b, lambda a, b: True),
    (
        "concatenate",
        lambda m, a, b: m.concatenate([a, b]),
        lambda a, b: len(a) == len(b) > 0 and a[1:] == b[1:],
    ),
    ("stack", lambda m, a, b: m.stack([a, b], axis=-1), lambda a, b: a == b),
    ("matmul", lambda m, a, b: a @ b, lambda a, b: len(a) == len(b) == 2 and a[1] == b[0]),
    ("vector", lambda m, a, b: a @ b, lambda a, b: len(a) == 2 and len(b) == 1 and a[1] == b[0]),
]


def fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a[::-1], b[::-1], strict=False))


def run(m: Any, steps: list[Step], values: list[Any]) -> list[Any]:
    values = list(values)
    for step in steps:
        out = step.f(m, *[values[k] for k in step.operands])
        values.extend(out if isinstance(out, tuple) else (out,))
    return values


@st.composite
def programs(draw: Any) -> tuple[list[np.ndarray], list[Step]]:
    """Leaves, and steps that may use any earlier value any number of times."""
    shapes = draw(
        st.lists(st.sampled_from([(2, 3), (3,), (), (3, 2), (1, 3), (2, 1)]), min_size=1, max_size=3)
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    leaves = [np.asarray(rng.uniform(-1, 1, s)) for s in shapes]
    values: list[Any] = list(leaves)
    steps: list[Step] = []
    for _ in range(draw(st.integers(3, 12))):
        a = draw(st.integers(0, len(values) - 1))
        shape = np.shape(values[a])
        partners = [
            (name, f, b)
            for b, other in enumerate(values)
            for name, f, legal in BINARY
            if legal(shape, np.shape(other))
            and (name in ("concatenate", "matmul", "vector") or fits(shape, np.shape(other)))
        ]
        alone = [(name, f) for name, f, ndim in UNARY if len(shape) >= ndim and np.size(values[a])]
        if partners and (not alone or draw(st.booleans())):
            name, f, b = draw(st.sampled_from(partners))
            step = Step(f"{name}({a}, {b})", f, (a, b))
        elif alone:
            name, f = draw(st.sampled_from(alone))
            step = Step(f"{name}({a})", f, (a,))
        else:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            after = run(np, [step], values)
        # What has grown large leaves the functions here no digits, or no finite value, to compare.
        if max(np.size(v) for v in after) <= 24 and all(np.all(np.abs(v) <= 100) for v in after):
            values = after
            steps.append(step)
    return leaves, steps


def jacobians(step: Step, inputs: list[np.ndarray]) -> list[list[np.ndarray]]:
    """``[output][input]``: local Jacobians, each by complex steps through NumPy."""
    columns: list[list[list[np.ndarray]]] = []
    for k, x in enumerate(inputs):
        columns.append([])
        for index in np.ndindex(*x.shape):
            moved = [a.astype(complex) for a in inputs]
            moved[k][index] += 1e-30j
            out = step.f(np, *moved)
            columns[-1].append(
                [np.imag(y).ravel() / 1e-30 for y in (out if isinstance(out, tuple) else (out,))]
            )
    out = step.f(np, *inputs)
    outputs = out if isinstance(out, tuple) else (out,)
    return [
        [np.array([c[o] for c in column]).reshape(len(column), np.size(y)).T for column in columns]
        for o, y in enumerate(outputs)
    ]


class Naive:
    """The chain rule by recursion: d value / d leaf is the sum of local Jacobian @ d operand / d leaf."""

    def __init__(self, leaves: list[np.ndarray], steps: list[Step]) -> None:
        self.values = run(np, steps, leaves)
        self.made: list[tuple[Step, list[np.ndarray]] | None] = [None] * len(leaves)
        for step in steps:
            self.made += [
                (step, js) for js in jacobians(step, [np.asarray(self.values[k]) for k in step.operands])
            ]

    def derivative(self, of: int, by: int) -> np.ndarray:
        made = self.made[of]
        shape = np.size(self.values[of]), np.size(self.values[by])
        if made is None:
            return np.eye(*shape) if of == by else np.zeros(shape)
        step, local = made
        total = np.zeros(shape)
        for k, j in zip(step.operands, local, strict=True):
            total = total + j @ self.derivative(k, by)
        return total


@settings(max_examples=20 * settings.default.max_examples)
@given(programs(), st.data())
def test_random_programs_have_the_gradients_of_the_chain_rule(program: Any, data: st.DataObject) -> None:
    arrays, steps = program
    naive = Naive(arrays, steps)
    leaves = [tg.tensor(a, requires_grad=True) for a in arrays]
    values = run(tg, steps, leaves)
    for v, wanted in zip(values, naive.values, strict=True):
        np.testing.assert_allclose(v.numpy(), wanted, rtol=1e-13, atol=1e-14)
    picked = st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=3)
    outputs = [len(values) - 1, *data.draw(picked, label="outputs")]
    rng = np.random.default_rng(1)
    seeds = [rng.standard_normal(values[o].shape) for o in outputs]
    wanted = [
        sum(s.ravel() @ naive.derivative(o, k) for o, s in zip(outputs, seeds, strict=True))
        for k in range(len(arrays))
    ]
    roots = [(values[o].place, s) for o, s in zip(outputs, seeds, strict=True)]
    plain = backpropagation.backward(roots, retain_graph=True)
    total = sum((values[o] * s).sum() for o, s in zip(outputs, seeds, strict=True))
    total.backward(create_graph=True)
    for k, leaf in enumerate(leaves):
        found = plain.get(leaf.place, np.zeros(leaf.shape))
        np.testing.assert_allclose(found.ravel(), wanted[k], rtol=1e-9, atol=1e-10)
        if leaf.grad is not None:
            np.testing.assert_allclose(leaf.grad.numpy(), found, rtol=1e-12, atol=1e-12)


@settings(max_examples=4 * settings.default.max_examples)
@given(programs())
def test_random_programs_have_the_right_second_derivatives(program: Any) -> None:
    arrays, steps = program
    report = tg.gradgradcheck(lambda *leaves: run(tg, steps, list(leaves))[-1], *arrays)
    assert report, report
