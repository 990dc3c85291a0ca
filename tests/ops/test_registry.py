"""Properties of every operation, generated from its declaration: none is named here but exceptions.

A case is one call with random values: broadcast shapes for elementwise primitives, the declared samples for
the others, in any memory layout, and now and then with one tensor as several operands.
"""

import inspect
import itertools
from typing import Any, NamedTuple

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from drawing import AWAY, CALLS, Call, call, distance, drawn, drawn_from, listed, samples, taken
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import backpropagation, tape
from tinygrad_rnn.ops import NUMPY, REGISTRY, composite, primitive
from tinygrad_rnn.ops.decompositions import positive_definite, symmetric
from tinygrad_rnn.ops.operations import Composite, Operation, Primitive, Sample
from tinygrad_rnn.ops.registry import sample
from tinygrad_rnn.tensors import Tensor, _make

NO_RULE = {("where", "condition"), ("take", "indices"), ("take_along_axis", "indices")}
"""Array inputs without a derivative: masks and indices."""

PRIMITIVES = {name: p for name, p in REGISTRY.items() if isinstance(p, Primitive)}
COMPOSITES = {name: p for name, p in REGISTRY.items() if isinstance(p, Composite)}
EVERY = pytest.mark.parametrize("p", list(REGISTRY.values()), ids=list(REGISTRY))
PRIMITIVE = pytest.mark.parametrize("p", list(PRIMITIVES.values()), ids=list(PRIMITIVES))
COMPOSITE = pytest.mark.parametrize("p", list(COMPOSITES.values()), ids=list(COMPOSITES))
SEVERAL = pytest.mark.parametrize(
    "p",
    [p for p in REGISTRY.values() if any(len(call(p, s).slots) > 1 for s in samples(p))],
    ids=lambda p: p.name,
)
FULL = settings(max_examples=8 * settings.default.max_examples)


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
    """One call. ``roles`` says which of the arrays goes into each slot."""

    call: Call
    arrays: list[np.ndarray]
    roles: list[int]
    layouts: list[str]

    def __call__(self, *tensors: Any) -> Any:
        """Apply the operation, after giving the tensors' arrays their layouts (gradcheck makes new ones)."""
        laid = [_make(LAYOUTS[how](t.numpy()), t.place) for t, how in zip(tensors, self.layouts, strict=True)]
        if self.call.operation.domain[0] in (symmetric, positive_definite):
            # These read one triangle, and have a symmetric gradient: elements change with their mirrors.
            laid = [(t + t.mT) / 2 for t in laid]
        return self.call([laid[r] for r in self.roles])


def broadcastable(rng: np.random.Generator, number: int) -> tuple[tuple[int, ...], ...]:
    """Random shapes that broadcast against each other. Hypothesis' own are mostly empty or of one element."""
    base = rng.integers(2, 4, rng.integers(1, 4))
    shapes = [np.where(rng.random(base.size) < 0.2, 1, base)[rng.integers(0, 2) :] for _ in range(number)]
    return tuple(tuple(int(n) for n in shape) for shape in shapes)


@st.composite
def cases(draw: Any, p: Operation) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if p.elementwise and draw(st.booleans()):
        few = npst.mutually_broadcastable_shapes(num_shapes=p.arity, min_side=0, max_side=3)
        which = list(samples(p, lambda _: draw(few).input_shapes))
    else:
        which = list(samples(p, lambda number: broadcastable(rng, number)))
    number = draw(st.integers(0, len(which) - 1))
    chosen = which[number]
    first = p.domain[0]
    plain = not any(callable(domain) for domain in p.domain)
    again = len(chosen.inputs) > 1 and (plain or callable(first)) and draw(st.booleans())
    if again and p.elementwise:
        chosen = Sample((chosen.inputs[0],) * p.arity, chosen.static)
    made = call(p, chosen)
    if not p.elementwise and taken(p)[number] and draw(st.integers(0, 3)) == 0:
        made = draw(st.sampled_from(taken(p)[number]))
    common: Any = first
    if plain:
        common = max(i[0] for i in p.domain), min(i[1] for i in p.domain)  # type: ignore[index]
    for attempt in itertools.count():
        # Of one tensor twice, maximum and the like are at their kinks everywhere.
        again = again and attempt < 20
        arrays: list[np.ndarray] = []
        roles: list[int] = []
        for slot in made.slots:
            same = [k for k, a in enumerate(arrays) if a.shape == slot.shape] if again else []
            if not same:
                value = (
                    drawn_from(common, rng, slot.shape) if again else drawn(p, rng, slot.operand, slot.shape)
                )
                arrays.append(value)
            roles.append(same[0] if same else len(arrays) - 1)
        if distance(made, [arrays[role] for role in roles]) > AWAY:
            break
    layouts = [draw(st.sampled_from(list(LAYOUTS))) for _ in arrays]
    return Case(made, arrays, roles, layouts)


# ------------------------------------------------------------------------------------------- derivatives


def assert_first_derivatives(p: Operation, case: Case) -> None:
    report = tg.gradcheck(case, *case.arrays)
    assert report, str(report)
    assert_method(p, report)


def assert_method(p: Operation, report: Any) -> None:
    # What is composed may have kinks that none of its parts has: those of a choice of positions.
    exact = p.analytic or (isinstance(p, Composite) and report.method == "complex")
    assert (report.method, report.rtol) == (("complex", 1e-10) if exact else ("central", 1e-6))


@pytest.mark.parametrize("c", CALLS)
def test_derivatives_of_each_declared_sample(c: Call) -> None:
    """Of all, as random choices may leave one out."""
    rng = np.random.default_rng(1)
    draws = (c.draw(rng) for _ in range(100))
    arrays = next(arrays for arrays in draws if distance(c, arrays) > AWAY)
    layouts = ["contiguous"] * len(arrays)
    assert_first_derivatives(c.operation, Case(c, arrays, list(range(len(arrays))), layouts))


@PRIMITIVE
@FULL
@given(data=st.data())
def test_first_derivatives(p: Primitive, data: st.DataObject) -> None:
    assert_first_derivatives(p, data.draw(cases(p)))


@COMPOSITE
@FULL
@given(data=st.data())
def test_first_derivatives_of_composites(p: Composite, data: st.DataObject) -> None:
    assert_first_derivatives(p, data.draw(cases(p)))


@EVERY
@given(data=st.data())
def test_second_derivatives(p: Operation, data: st.DataObject) -> None:
    case = data.draw(cases(p))
    report = tg.gradgradcheck(case, *case.arrays)
    assert report, str(report)
    assert_method(p, report)


@SEVERAL
@given(data=st.data())
def test_second_derivatives_by_one_operand(p: Operation, data: st.DataObject) -> None:
    """The others are plain arrays: then rules that are recorded meet arrays and tensors mixed."""
    case = data.draw(cases(p))
    which = data.draw(st.integers(0, len(case.roles) - 1))
    values = [case.arrays[role] for role in case.roles]

    def f(t: Tensor) -> Any:
        return case.call([*values[:which], t, *values[which + 1 :]])

    # Not by complex steps: the constants are real, and an operation may write into a copy of one.
    report = tg.gradgradcheck(f, values[which], method="central")
    assert report, str(report)


def gradients(case: Case, arrays: list[np.ndarray], weights: list[np.ndarray]) -> list[np.ndarray]:
    leaves = [tg.tensor(a, requires_grad=True) for a in arrays]
    outputs = listed(case(*leaves))
    found = backpropagation.backward(
        [(y.place, w.astype(y.dtype)) for y, w in zip(outputs, weights, strict=True)]
    )
    return [found[leaf.place] for leaf in leaves]


@EVERY
@given(data=st.data())
def test_float32_gradients_equal_those_of_float64(p: Operation, data: st.DataObject) -> None:
    case = data.draw(cases(p))
    single = [a.astype(np.float32) for a in case.arrays]
    outputs = listed(case(*[tg.tensor(a) for a in single]))
    if "dtype" not in case.call.static:
        assert all(y.dtype == np.float32 for y in outputs)
    rng = np.random.default_rng(0)
    weights = [np.asarray(rng.uniform(-1, 1, y.shape), np.float32) for y in outputs]
    exact = gradients(case, [a.astype(np.float64) for a in single], weights)
    for g, reference in zip(gradients(case, single, weights), exact, strict=True):
        assert g.dtype == np.float32
        np.testing.assert_allclose(g, reference, rtol=1e-5, atol=1e-6)


@EVERY
@given(data=st.data())
def test_nothing_is_written_into_the_operands(p: Operation, data: st.DataObject) -> None:
    """Not by the forward function and not by the rules, though results may be views of operands."""
    case = data.draw(cases(p))
    leaves = [tg.tensor(read_only(a), requires_grad=True) for a in case.arrays]
    outputs = listed(case._replace(layouts=["contiguous"] * len(leaves))(*leaves))
    seeds = [read_only(np.ones(y.shape)) for y in outputs]
    found = backpropagation.backward([(y.place, s) for y, s in zip(outputs, seeds, strict=True)])
    for leaf, a in zip(leaves, case.arrays, strict=True):
        assert np.array_equal(leaf.numpy(), a)
        assert found[leaf.place].shape == a.shape
        assert found[leaf.place].flags.writeable
        assert not any(np.shares_memory(found[leaf.place], other) for other in [*seeds, leaf.numpy()])


@PRIMITIVE
def test_views_are_declared(p: Primitive) -> None:
    """Only a declared view may share memory with its operand: the tape counts on it."""
    shared = False
    for s in samples(p):
        made = call(p, s)
        operands = made.draw(np.random.default_rng(0))
        fixed = [a for a in made.inputs if isinstance(a, np.ndarray)]
        outputs = listed(made(operands))
        shared |= any(np.shares_memory(y, a) for y in outputs for a in operands + fixed)
    assert shared == p.view


# ------------------------------------------------------------------- a primitive without a rule or a test


def shapes_in(part: Any) -> bool:
    return isinstance(part, tuple) or (isinstance(part, list) and any(shapes_in(p) for p in part))


def differing(p: Primitive, rule: Any) -> dict[str, Any]:
    """Defaults in a rule that are not the forward function's: it gets no argument that was not given."""
    parameters = inspect.signature(rule).parameters.values() if rule else []
    defaults = {q.name: q.default for q in inspect.signature(p.forward).parameters.values()}
    static = [q for q in parameters if q.name in p.static_names and q.kind is not q.VAR_KEYWORD]
    return {q.name: q.default for q in static if q.default != defaults[q.name]}


def defects(p: Operation) -> list[str]:
    """What is missing from an operation's declaration for the properties above to mean something."""
    found = []
    if isinstance(p, Primitive):
        if p.joint is None and len(p.vjps) != len(p.inputs):
            found.append("no rule")
        if p.variadic and p.joint is None:
            found.append("no joint rule")
        for name, rule in zip(p.inputs, p.vjps, strict=False):
            if (rule is None) != ((p.name, name) in NO_RULE):
                found.append(f"no rule for {name}" if rule is None else f"a rule for {name}")
        found += [
            f"defaults of its own in a rule: {own}"
            for rule in [*p.vjps, p.joint]
            if (own := differing(p, rule))
        ]
    if not (p.__doc__ or "").strip():
        found.append("no docstring")
    if not p.elementwise and not p.samples:
        found.append("no samples")
    if not p.elementwise and not any(shapes_in(a) for s in p.samples for a in s.inputs):
        found.append("no sample with random values")
    if p.elementwise and any(s.inputs for s in p.samples):
        found.append("shapes in the samples of an elementwise operation")
    if len(p.domain) not in (1, p.arity):
        found.append("a domain that is neither one interval nor one per input")
    return found


@EVERY
def test_every_operation_has_its_rules_and_cases(p: Operation) -> None:
    assert defects(p) == []
    assert getattr(tg, p.name, p) is p
    assert p.name in repr(p)


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
    bogus.defvjp(lambda g, _y, _a, _b, axis=1: g, None)
    assert "no rule for y" in defects(bogus)
    assert "defaults of its own in a rule: {'axis': 1}" in defects(bogus)

    @primitive(elementwise=True)
    def bogus_many(*arrays):
        """Sum."""
        return sum(arrays)

    assert defects(bogus_many) == ["no joint rule"]

    @composite(elementwise=True, samples=[sample((2,))])
    def bogus_sum(x, y, /):
        return x + y

    assert defects(bogus_sum) == ["no docstring", "shapes in the samples of an elementwise operation"]


@pytest.mark.usefixtures("scrap")
def test_a_wrong_rule_is_found() -> None:
    @primitive(elementwise=True)
    def bogus(x, /):
        """Cube."""
        return x * x * x

    bogus.defvjp(lambda g, _y, x: g * 3 * x)
    with pytest.raises(AssertionError, match="gradcheck FAILED"):
        test_first_derivatives(bogus)

    @composite(samples=[sample((2, 3))])
    def bogus_too(x, /):
        """Cube less a constant."""
        return bogus(x) - 1

    with pytest.raises(AssertionError, match="gradcheck FAILED"):
        test_first_derivatives_of_composites(bogus_too)


@pytest.mark.usefixtures("scrap")
def test_several_outputs_of_several_inputs_with_a_rule_each() -> None:
    @primitive(multiple=True, samples=[sample((3,), (3,))])
    def bogus(x, y, /):
        """Sum and product."""
        return x + y, x * y

    bogus.defvjp(lambda gs, _ys, _x, y: gs[0] + gs[1] * y, lambda gs, _ys, x, _y: gs[0] + gs[1] * x)
    a, b = np.array([1.0, 2.0, 3.0]), np.array([5.0, 7.0, 11.0])
    assert tg.gradcheck(bogus, a, b)
    assert tg.gradgradcheck(bogus, a, b)
    assert tg.gradcheck(lambda x: bogus(x, b), a)
    assert tg.gradcheck(lambda y: bogus(a, y), b)


@pytest.mark.usefixtures("scrap")
def test_users_modules_do_not_know_of_each_others_names() -> None:
    made = []
    for module in ("mine", "theirs"):
        function = lambda x, /: x * 1.0  # noqa: E731
        function.__module__ = module
        made.append(primitive(function))
    assert made[0] is not made[1]
    assert made[1].__module__ == "theirs"


@pytest.mark.usefixtures("scrap")
def test_numpys_functions_are_not_taken_over() -> None:
    with pytest.raises(ValueError, match=r"np\.tanh has an operation already, tanh of tinygrad_rnn\.ops"):

        @primitive(numpy=[np.heaviside, np.tanh])
        def bogus(x, /):
            return x

    assert "bogus" not in REGISTRY
    assert np.heaviside not in NUMPY
    for _ in range(2):  # the same cell of a notebook, run again

        @primitive(numpy=np.heaviside)
        def mine(x, y, /):
            return x

    assert NUMPY.pop(np.heaviside) is mine


@pytest.mark.usefixtures("scrap")
def test_declarations_that_cannot_be_right_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'tanh' is the name of an operation of tinygrad_rnn\.ops"):

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
    for p in PRIMITIVES.values():
        if p.joint is None:
            ruled = sum(1 << k for k, rule in enumerate(p.vjps) if rule is not None)
            assert set(p.keeps) == {mask for mask in range(1, 1 << p.arity) if not mask & ~ruled}


@pytest.mark.usefixtures("scrap")
def test_a_star_in_a_rule_stands_for_the_rest() -> None:
    """Read or not by its name, as for one parameter."""

    @primitive()
    def bogus(x, y, z, /, power=1):
        return x * (y + z) ** power

    def kept(mask: int) -> tuple[bool, ...]:
        return (*bogus.keeps[mask].inputs, bogus.keeps[mask].output)

    def third(g, _y, x, *_rest, power=1):
        return g * x

    bogus.defvjp(lambda g, *_rest: g, lambda g, _y, *inputs, power=1: g * inputs[0], third)
    assert [kept(1), kept(2), kept(4), kept(5)] == [
        (False, False, False, False),
        (True, True, True, False),
        (True, False, False, False),
        (True, False, False, False),
    ]
    x, y, z = (tg.tensor(np.array([float(k)]), requires_grad=True) for k in (2, 3, 4))
    bogus(x, y, z).backward()
    assert [leaf.grad.item() for leaf in (x, y, z)] == [1, 2, 2]


@pytest.mark.usefixtures("scrap")
@pytest.mark.parametrize("reads", [True, False])
def test_a_joint_rule_says_by_the_name_of_its_star_what_is_kept(reads: bool) -> None:
    @primitive()
    def bogus(*arrays, scale=1.0):
        return sum(arrays) * scale

    def reader(g, y, *inputs, scale=1.0):
        return [g * scale] * len(inputs)

    def counter(g, y, *_inputs, scale=1.0):
        return [g * scale] * len(_inputs)

    bogus.defvjp(joint=reader if reads else counter)
    assert bogus.kept(3, 2) == ((reads, reads), False)
    x = tg.tensor(np.ones(2), requires_grad=True)
    y = bogus([x, x.numpy()], 3.0)
    y.sum().backward()
    np.testing.assert_array_equal(y.numpy(), [6, 6])
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3])


@pytest.mark.usefixtures("scrap")
def test_without_a_slash_what_has_a_default_is_no_array() -> None:
    @primitive()
    def bogus(x, y, axis=0, keepdims=False):
        return np.sum(x * y, axis=axis, keepdims=keepdims)

    assert (bogus.inputs, bogus.static_names) == (("x", "y"), ("axis", "keepdims"))


@pytest.mark.parametrize(
    "p", [p for p in REGISTRY.values() if p.arity and p.samples and not p.elementwise], ids=lambda p: p.name
)
def test_arrays_may_be_given_by_name(p: Operation) -> None:
    made = call(p, next(iter(samples(p))))
    operands = made.operands(made.draw(np.random.default_rng(0)))
    by_name = dict(zip(p.inputs, operands, strict=True))
    wanted = listed(p(*operands, **made.static))
    for got in (p(**by_name, **made.static), p(operands[0], **dict([*by_name.items()][1:]), **made.static)):
        for y, z in zip(listed(got), wanted, strict=True):
            np.testing.assert_array_equal(y, z)


@pytest.mark.usefixtures("scrap")
def test_inputs_are_drawn_from_minus_3_to_3_unless_a_domain_is_given() -> None:
    rng = np.random.default_rng(0)
    ones = lambda rng, shape: np.ones(shape)  # noqa: E731
    for domain, wanted in [
        ({}, [(-3, 3), (-3, 3)]),
        ({"domain": (1, 2)}, [(1, 2), (1, 2)]),
        ({"domain": ((1.0, 2.0),)}, [(1, 2), (1, 2)]),
        ({"domain": ((1.0, 2.0), ones)}, [(1, 2), (1, 1)]),
        ({"domain": ones}, [(1, 1), (1, 1)]),
    ]:
        for declare in (primitive, composite):
            bogus = declare(**domain)(lambda x, y, /: x + y)
            for k, (low, high) in enumerate(wanted):
                values = drawn(bogus, rng, k, (10_000,))
                assert low <= values.min() <= low + 0.01
                assert high - 0.01 <= values.max() <= high


@PRIMITIVE
def test_rules_read_only_what_they_named(p: Primitive) -> None:
    """In place of everything that is not kept the rules get a shape and a dtype, also in tests."""
    for s in samples(p):
        made = call(p, s)
        tensors = [tg.tensor(a, requires_grad=True) for a in made.draw(np.random.default_rng(0))]
        operands = made.operands(tensors)
        place = listed(made(tensors))[0].place
        entry = place.entry if isinstance(place, tape.Output) else place
        mask = sum(1 << k for k, t in enumerate(operands) if isinstance(t, Tensor))
        kept = (p.keeps_all,) * len(operands) if p.joint else p.keeps[mask].inputs
        for arg, keep in zip(entry.args, kept, strict=True):
            assert isinstance(arg, np.ndarray) == keep
        assert (entry.out is not None) == (p.joint is None and p.keeps[mask].output)
