"""Properties of every primitive, generated from its declaration: no primitive is named here but exceptions.

A case is one call with random values: broadcast shapes for elementwise primitives, the declared samples for
the others, in any memory layout, and now and then with one tensor as several operands.
"""

from typing import Any, NamedTuple

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import tape
from tinygrad_rnn.ops import REGISTRY, primitive
from tinygrad_rnn.ops.registry import Primitive, Sample
from tinygrad_rnn.tensors import Tensor, _make

NO_RULE = {("where", "condition"), ("take", "indices"), ("take_along_axis", "indices")}
"""Array inputs without a derivative: masks and indices."""

EVERY = pytest.mark.parametrize("p", list(REGISTRY.values()), ids=list(REGISTRY))
FULL = settings(max_examples=max(200, settings.default.max_examples))


# ------------------------------------------------------------------------------------------ random cases


def strided(a: np.ndarray) -> np.ndarray:
    wide = np.full((*a.shape, 2), np.nan, a.dtype)
    wide[..., 0] = a
    return wide[..., 0]


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {
    "contiguous": np.array,
    "fortran": lambda a: np.array(a, order="F"),
    "strided": strided,
    "reversed": lambda a: np.asarray(np.flip(np.array(np.flip(a), order="C"))),
    "read-only": read_only,
}


class Case(NamedTuple):
    """One call. ``roles`` says which array each operand is (or holds a fixed one: a mask, indices)."""

    primitive: Primitive
    arrays: list[np.ndarray]
    roles: list[Any]
    static: dict[str, Any]
    layouts: list[str]

    def __call__(self, *tensors: Any) -> Any:
        """Apply the primitive, after giving the tensors' arrays their layouts (gradcheck makes new ones)."""
        laid = [_make(LAYOUTS[how](t.numpy()), t.place) for t, how in zip(tensors, self.layouts, strict=True)]
        operands = [laid[r] if isinstance(r, int) else r for r in self.roles]
        return apply(self.primitive, operands, self.static)


def apply(p: Primitive, operands: list[Any], static: dict[str, Any]) -> Any:
    return p(operands, **static) if p.variadic else p(*operands, **static)


def broadcastable(rng: np.random.Generator, number: int) -> tuple[tuple[int, ...], ...]:
    """Random shapes that broadcast against each other. Hypothesis' own are mostly empty or of one element."""
    base = rng.integers(2, 4, rng.integers(1, 4))
    shapes = [np.where(rng.random(base.size) < 0.2, 1, base)[rng.integers(0, 2) :] for _ in range(number)]
    return tuple(tuple(int(n) for n in shape) for shape in shapes)


@st.composite
def cases(draw: Any, p: Primitive) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if p.elementwise:
        shapes = npst.mutually_broadcastable_shapes(num_shapes=p.arity, min_side=0, max_side=3)
        few = draw(st.booleans())
        given_as, static = draw(shapes).input_shapes if few else broadcastable(rng, p.arity), {}
    else:
        given_as, static = draw(st.sampled_from(p.samples))
    free = [k for k, a in enumerate(given_as) if isinstance(a, tuple)]
    intervals = list(p.domain) if len(p.domain) > 1 else list(p.domain) * len(given_as)
    # A kinked primitive of one tensor twice would be at its kink, where a convention rules, everywhere.
    again = len(free) > 1 and p.analytic and draw(st.booleans())
    if again and p.elementwise:
        given_as = (given_as[0],) * len(given_as)
    if again:
        intervals = [(max(i[0] for i in intervals), min(i[1] for i in intervals))] * len(intervals)
    while True:
        arrays: list[np.ndarray] = []
        roles: list[Any] = []
        for k, a in enumerate(given_as):
            if k not in free:
                roles.append(a)
                continue
            same = [r for r in roles if isinstance(r, int) and arrays[r].shape == a] if again else []
            if not same:
                arrays.append(np.asarray(rng.uniform(*intervals[k], a)))
            roles.append(same[0] if same else len(arrays) - 1)
        if p.kinks is None or np.min(p.kinks(*arrays, **static), initial=np.inf) > 1e-2:
            break
    layouts = [draw(st.sampled_from(list(LAYOUTS))) for _ in arrays]
    return Case(p, arrays, roles, static, layouts)


# ------------------------------------------------------------------------------------------- derivatives


@EVERY
@FULL
@given(data=st.data())
def test_first_derivatives(p: Primitive, data: st.DataObject) -> None:
    case = data.draw(cases(p))
    report = tg.gradcheck(case, *case.arrays)
    assert report, report
    assert (report.method, report.rtol) == (("complex", 1e-10) if p.analytic else ("central", 1e-6))


@EVERY
@given(data=st.data())
def test_second_derivatives(p: Primitive, data: st.DataObject) -> None:
    case = data.draw(cases(p))
    report = tg.gradgradcheck(case, *case.arrays)
    assert report, report
    assert (report.method, report.rtol) == (("complex", 1e-10) if p.analytic else ("central", 1e-6))


def gradients(case: Case, arrays: list[np.ndarray], weights: list[np.ndarray]) -> list[np.ndarray]:
    leaves = [tg.tensor(a, requires_grad=True) for a in arrays]
    outputs = case(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    found = tape.backward([(y.place, w.astype(y.dtype)) for y, w in zip(outputs, weights, strict=True)])
    return [found[leaf.place] for leaf in leaves]


@EVERY
@given(data=st.data())
def test_float32_gradients_equal_those_of_float64(p: Primitive, data: st.DataObject) -> None:
    case = data.draw(cases(p))
    single = [a.astype(np.float32) for a in case.arrays]
    outputs = case(*[tg.tensor(a) for a in single])
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    if "dtype" not in case.static:
        assert all(y.dtype == np.float32 for y in outputs)
    rng = np.random.default_rng(0)
    weights = [np.asarray(rng.uniform(-1, 1, y.shape), np.float32) for y in outputs]
    exact = gradients(case, [a.astype(np.float64) for a in single], weights)
    for g, reference in zip(gradients(case, single, weights), exact, strict=True):
        assert g.dtype == np.float32
        np.testing.assert_allclose(g, reference, rtol=1e-5, atol=1e-6)


@EVERY
@given(data=st.data())
def test_nothing_is_written_into_the_operands(p: Primitive, data: st.DataObject) -> None:
    """Not by the forward function and not by the rules, though results may be views of operands."""
    case = data.draw(cases(p))
    leaves = [tg.tensor(read_only(a), requires_grad=True) for a in case.arrays]
    outputs = case._replace(layouts=["contiguous"] * len(leaves))(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    seeds = [read_only(np.ones(y.shape)) for y in outputs]
    found = tape.backward([(y.place, s) for y, s in zip(outputs, seeds, strict=True)])
    for leaf, a in zip(leaves, case.arrays, strict=True):
        assert np.array_equal(leaf.numpy(), a)
        assert found[leaf.place].shape == a.shape
        assert found[leaf.place].flags.writeable
        assert not any(np.shares_memory(found[leaf.place], other) for other in [*seeds, leaf.numpy()])


@EVERY
def test_views_are_declared(p: Primitive) -> None:
    """Only a declared view may share memory with its operand: the tape counts on it."""
    shared = False
    for inputs, static in p.samples or [Sample(((2, 3),) * p.arity, {})]:
        operands = [np.ones(a) if isinstance(a, tuple) else a for a in inputs]
        outputs = apply(p, operands, static)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        shared |= any(np.shares_memory(y, a) for y in outputs for a in operands)
    assert shared == p.view


# ------------------------------------------------------------------- a primitive without a rule or a test


def defects(p: Primitive) -> list[str]:
    """What is missing from a primitive's declaration for the properties above to mean something."""
    found = []
    if p.joint is None and len(p.vjps) != len(p.inputs):
        found.append("no rule")
    if p.variadic and p.joint is None:
        found.append("no joint rule")
    for name, rule in zip(p.inputs, p.vjps, strict=False):
        if (rule is None) != ((p.name, name) in NO_RULE):
            found.append(f"no rule for {name}" if rule is None else f"a rule for {name}")
    if not (p.__doc__ or "").strip():
        found.append("no docstring")
    if not p.elementwise and not p.samples:
        found.append("no samples")
    if not p.elementwise and not any(isinstance(a, tuple) for s in p.samples for a in s.inputs):
        found.append("no sample with random values")
    if len(p.domain) not in (1, p.arity):
        found.append("a domain that is neither one interval nor one per input")
    return found


@EVERY
def test_every_primitive_has_its_rules_and_cases(p: Primitive) -> None:
    assert defects(p) == []
    assert getattr(tg, p.name, p) is p


@pytest.fixture
def scrap() -> Any:
    """Lets a test register primitives and forgets them afterwards."""
    before = dict(REGISTRY)
    yield
    for name in set(REGISTRY) - set(before):
        del REGISTRY[name]


@pytest.mark.usefixtures("scrap")
def test_a_primitive_without_rule_or_test_is_reported() -> None:
    @primitive()
    def bogus(x, y, /, axis=0):
        return x + y

    assert defects(REGISTRY["bogus"]) == [
        "no rule",
        "no docstring",
        "no samples",
        "no sample with random values",
    ]
    bogus.defvjp(lambda g, _y, _a, _b: g, None)
    assert "no rule for y" in defects(bogus)

    @primitive(elementwise=True)
    def bogus_many(*arrays):
        """Sum."""
        return sum(arrays)

    assert defects(bogus_many) == ["no joint rule"]


@pytest.mark.usefixtures("scrap")
def test_a_wrong_rule_is_found() -> None:
    @primitive(elementwise=True)
    def bogus(x, /):
        """Cube."""
        return x * x * x

    bogus.defvjp(lambda g, _y, x: g * 3 * x)
    with pytest.raises(AssertionError, match="ok=False"):
        test_first_derivatives(bogus)


@pytest.mark.usefixtures("scrap")
def test_declarations_that_cannot_be_right_are_refused() -> None:
    with pytest.raises(ValueError, match="named 'tanh' exists already"):

        @primitive()
        def tanh(x, /):
            return x

    @primitive(elementwise=True)
    def bogus(x, y, /):
        return x

    with pytest.raises(TypeError, match="bogus has 2 array inputs, got 1 rules"):
        bogus.defvjp(lambda g, _y, _a, _b: g)


def test_rules_say_by_name_what_is_kept() -> None:
    """A leading underscore means that nothing is kept alive for that argument."""
    kept = {mask: (*k.inputs, k.output) for mask, k in REGISTRY["divide"].keeps.items()}
    assert kept == {1: (False, True, False), 2: (False, True, True), 3: (False, True, True)}
    for p in REGISTRY.values():
        if p.joint is None:
            assert set(p.keeps) == set(range(1, 1 << p.arity))


@EVERY
def test_rules_read_only_what_they_named(p: Primitive) -> None:
    """In place of everything that is not kept the rules get a shape and a dtype, also in tests."""
    for inputs, static in p.samples or [Sample(((2, 3),) * p.arity, {})]:
        operands = [tg.tensor(np.ones(a), requires_grad=True) if isinstance(a, tuple) else a for a in inputs]
        outputs = apply(p, operands, static)
        place = outputs[0].place if isinstance(outputs, tuple) else outputs.place
        entry = place.entry if isinstance(place, tape.Output) else place
        kept = (False,) * len(operands) if p.joint else p.keeps[_mask(operands)].inputs
        for arg, keep in zip(entry.args, kept, strict=True):
            assert isinstance(arg, np.ndarray) == keep
        assert (entry.out is not None) == (p.joint is None and p.keeps[_mask(operands)].output)


def _mask(operands: list[Any]) -> int:
    return sum(1 << k for k, t in enumerate(operands) if isinstance(t, Tensor))
