"""checkpoint: the gradients of the plain function, whatever it takes and returns, or an error."""

import gc
import threading
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.states import HiddenState, LSTMState

X = np.array([0.5, -1.0, 2.0])


def leaf(values):
    return tg.tensor(np.array(values, float), requires_grad=True)


def both(program, *values):
    """Gradients of a program, which must be the same with checkpoint and without; None where none arrived."""
    results = []
    for wrap in (tg.checkpoint, lambda f: f):
        leaves = [leaf(v) for v in values]
        program(wrap, *leaves).backward()
        results.append([None if t.grad is None else t.grad.numpy() for t in leaves])
    for one, two in zip(*results, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            np.testing.assert_allclose(one, two, rtol=1e-12)
    return results[0]


class TestGradients:
    def test_of_arguments_and_of_what_is_used_besides(self):
        rng = np.random.default_rng(4)

        def program(wrap, x, w):
            outer = tg.split(x * 2.0, 3, axis=1)[1]  # used by the segment without being handed to it

            def f(x, scale):
                return tg.tanh(x @ w) * scale + outer, tg.sin(x)

            y, z = wrap(f)(x * 1.5, scale=3.0)
            assert y.requires_grad
            (y * y).sum().backward(retain_graph=True)
            return z.sum()

        both(program, rng.standard_normal((2, 3)), rng.standard_normal((3, 3)))

    def test_of_what_is_passed_through(self):
        by_x, _ = both(lambda wrap, x, w: sum(t.sum() for t in wrap(lambda x: (x, w * 2, w))(x)), X, X + 1)
        assert np.array_equal(by_x, np.ones(3))
        both(
            lambda wrap, x: sum((k * t).sum() for k, t in enumerate(wrap(lambda t: (t, t, t * t))(x * x))), X
        )
        both(lambda wrap, x: wrap(lambda parts: parts[::-1])(tg.split(x, 3))[0].sum(), X)

    def test_where_results_are_off_the_tape(self):
        def program(wrap, x):
            y, off, whole = wrap(lambda x: (x * x, x.detach() * 2, x.astype(np.int64)))(x)
            assert not off.requires_grad
            assert not whole.requires_grad
            return (y + off * x + whole).sum()

        both(program, X)

    def test_none_for_what_is_not_reached(self):
        """An argument that is not used, and a parameter behind a result that is not."""
        by_x, by_y, by_w = both(
            lambda wrap, x, y, w: wrap(lambda x, y: (x * 2, x * w))(x, y)[0].sum(), X, X, X
        )
        assert by_x is not None
        assert by_y is None
        assert by_w is None

    def test_where_one_tensor_is_given_twice(self):
        both(lambda wrap, x: wrap(lambda a, b, c: a * b[0] + c["k"] * x)(x, [x], {"k": x * x}).sum(), X)

    def test_of_a_leaf_that_gets_its_values_inside(self):
        def program(wrap, x, w):
            def f(x):
                w.assign_(X + 5)
                return x * w * w

            return wrap(f)(x).sum()

        both(program, X, X)

    def test_where_only_a_part_is_recorded(self):
        def f(x):
            constant = x * 2
            with tg.enable_grad():
                return x * constant

        def program(wrap, x):
            with tg.no_grad():
                y = wrap(f)(x)
            return y.sum()

        both(program, X)

    def test_of_third_order(self):
        f = tg.checkpoint(lambda x: tg.tanh(x) * x)
        assert tg.gradcheck(f, X)
        assert tg.gradgradcheck(f, X)
        orders = {}
        for wrap in (tg.checkpoint, lambda f: f):
            f = wrap(lambda x: (tg.sin(x) * x * x).sum())
            orders[wrap] = tg.jacobian(tg.hessian(f))(X)
        one, two = orders.values()
        np.testing.assert_allclose(one, two, rtol=1e-12)

    def test_in_a_transformation_and_around_one(self):
        # An argument that is an array, and one variable within another: as in test_autodiff.
        inner = lambda x: tg.grad(lambda y: x * x * y)(np.array(3.0))  # noqa: E731
        assert tg.grad(tg.checkpoint(inner))(np.array(2.0)) == 4.0
        both(lambda wrap, x: wrap(lambda x: tg.grad(lambda y: (y**3 * x).sum())(x * 2))(x).sum(), X)
        inner = lambda x: tg.grad(lambda y: x * x * y**3)(np.array(3.0))  # noqa: E731 (it keeps y)
        assert tg.grad(tg.checkpoint(inner))(np.array(2.0)) == 4.0 * 27.0
        inner = lambda x: tg.jvp(lambda y: x * y**3, (np.array(3.0),), (np.array(1.0),))[1]  # noqa: E731
        assert tg.grad(tg.checkpoint(inner))(np.array(2.0)) == 27.0
        both(lambda wrap, x: wrap(lambda x: tg.jvp(lambda y: y**3 * x, (x,), (X,))[1])(x).sum(), X)
        np.testing.assert_allclose(
            tg.grad(tg.checkpoint(lambda x: tg.hessian(lambda y: (y**3).sum())(x).sum()))(X), np.full(3, 6.0)
        )

    def test_of_one_in_another(self):
        rng = np.random.default_rng(0)
        dropout = nn.Dropout(0.5, rng=rng)

        def program(wrap, x, w):
            rng.bit_generator.state = np.random.default_rng(3).bit_generator.state

            def layer(x):
                return tg.tanh(dropout(x) * w)

            return wrap(lambda x: wrap(layer)(wrap(layer)(dropout(x))))(x).sum()

        both(program, rng.standard_normal(50), rng.standard_normal(50))

    def test_of_a_compiled_layer(self):
        rng = np.random.default_rng(2)
        layer = nn.GRU(2, 3, rng=rng, dtype=np.float64, return_state=False)
        fast = tg.compile(layer)
        both(lambda wrap, x: wrap(fast)(x).sum(), rng.standard_normal((2, 4, 2)))


class TestResults:
    def test_states_of_layers_keep_their_kind(self):
        layer = nn.LSTM(2, 3, 2, bidirectional=True, rng=0, dtype=np.float64)
        x = leaf(np.random.default_rng(1).standard_normal((2, 5, 2)))
        out, state = tg.checkpoint(layer)(x)
        plain, plain_state = layer(x)
        assert type(state) is LSTMState
        assert type(state.c) is HiddenState
        assert np.array_equal(out.numpy(), plain.numpy())
        assert np.array_equal(state.layer(1).c.numpy(), plain_state.layer(1).c.numpy())

        def program(wrap, x):
            run = wrap(layer)
            _, state = run(x)
            out, state = run(x, state)
            return out.sum() + state.layer(0).h.sum()

        both(program, x.numpy())

    def test_tensors_of_a_derived_kind_keep_what_they_know(self):
        class Noted(HiddenState):
            """With attributes of its own, and with those of the class between."""

        def noted(t):
            new = object.__new__(Noted)
            new._data, new._place, new.layer_axis, new.batch_axis, new.num_directions = (
                t._data,
                t._place,
                0,
                1,
                2,
            )
            new.note = "here"
            return new

        y = tg.checkpoint(lambda x: noted(x * 2))(noted(leaf(X)))
        assert (type(y), y.note, y.batch_axis, y.num_directions) == (Noted, "here", 1, 2)

    def test_lists_and_dicts(self):
        result = tg.checkpoint(lambda x: {"a": [x * 2, (x * 3,)]})(leaf(X))
        assert np.array_equal(result["a"][1][0].numpy(), X * 3)
        assert result["a"][0].requires_grad

    @pytest.mark.parametrize("wrong", [3.0, None, X, "text"])
    def test_what_is_no_tensor_is_refused(self, wrong):
        with pytest.raises(TypeError, match=f"nested tuples.* got {type(wrong).__name__}"):
            tg.checkpoint(lambda x: (x * 2, wrong))(leaf(X))

    def test_constant_functions_and_no_grad_pass_through(self):
        assert not tg.checkpoint(tg.sin)(tg.tensor(X)).requires_grad
        with tg.no_grad():
            assert not tg.checkpoint(tg.sin)(leaf(X)).requires_grad


class TestRandomNumbers:
    @pytest.mark.parametrize("own", [False, True])
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_are_drawn_again_alike_and_later_ones_are_not_disturbed(self, own, wrapped):
        rng = np.random.default_rng(0) if own else tg.manual_seed(0)
        dropout = nn.Dropout(0.5, rng=rng if own else None)
        x = leaf(np.ones((4, 8)))
        rng.random()  # somewhere in its course
        follows = []
        for f in (lambda: tg.checkpoint(lambda x: dropout(x) if wrapped else dropout(dropout(x)))(x), None):
            rng.random(3)
            if f is not None:
                y = f()
                before = rng.bit_generator.state
                y.sum().backward(retain_graph=True)
                assert rng.bit_generator.state == before
                y.sum().backward()
                assert np.array_equal(x.grad.numpy(), 2 * y.numpy())
                assert 0 < (y.numpy() != 0).sum() < y.size
            follows.append(rng.random())
        assert follows[0] != follows[1]

    def test_of_modules_and_generators_made_inside(self):
        def f(x):
            rng = np.random.default_rng(5)
            return (
                nn.Dropout(0.5, rng=rng)(x) * tg.default_generator(rng).random() * nn.Dropout(0.5, rng=7)(x)
            )

        both(lambda wrap, x: wrap(wrap(f))(x).sum(), np.arange(1.0, 20.0))

    def test_of_recurrent_layers(self):
        layer = nn.LSTM(
            2, 4, 2, dropout=0.5, recurrent_dropout=0.5, rng=0, return_state=False, dtype=np.float64
        )
        cell = nn.LSTMCell(2, 4, zoneout=0.5, rng=np.random.default_rng(1), dtype=np.float64)
        x = np.random.default_rng(2).standard_normal((3, 2))

        def program(wrap, x):
            tg.manual_seed(0)
            for module in (layer, cell):
                for part in module.modules():
                    for name in ("rng", "_rng"):
                        if getattr(part, name, None) is not None:
                            getattr(part, name).bit_generator.state = np.random.default_rng(
                                1
                            ).bit_generator.state
            y = wrap(layer)(x[None])
            h = c = tg.tensor(np.zeros((3, 4)))
            return y.sum() + wrap(lambda x: cell(x, (h, c))[0])(x).sum()

        both(program, x)

    def test_in_threads_with_generators_of_their_own(self):
        failed = []
        together = threading.Barrier(4)

        def work(seed):
            dropout = nn.Dropout(0.5, rng=seed)
            x = leaf(np.ones(100))
            together.wait()
            for _ in range(20):
                x.grad = None
                y = tg.checkpoint(dropout)(x)
                y.sum().backward()
                failed.extend([seed] * (not np.array_equal(x.grad.numpy(), y.numpy())))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed


class TestSomethingElse:
    """A function that does something else the second time would have another gradient."""

    def refused(self, y, match="something else"):
        with pytest.raises(RuntimeError, match=match):
            y.sum().backward()

    @pytest.mark.parametrize("values", [X, X * 0])
    def test_a_constant_has_changed(self, values):
        """Also where the results are the same: what is multiplied by zero has a gradient."""
        b, index, bound = tg.tensor(X.copy()), np.array([0, 1]), np.full(3, 0.5)
        y = tg.checkpoint(lambda w: w * b)(leaf(values))
        b.assign_(X + 1)
        self.refused(y)
        y = tg.checkpoint(lambda w: w[index])(leaf(values))
        index[0] = 2
        self.refused(y)
        y = tg.checkpoint(lambda w: w[(index,)] * 2)(leaf(values))
        index[0] = 1
        self.refused(y)
        y = tg.checkpoint(lambda w: tg.clip(w, -bound, bound))(leaf(values))
        bound *= 2
        self.refused(y)
        y = tg.checkpoint(lambda w, k: w * k)(leaf(values), bound)
        bound *= 2
        self.refused(y)
        y = tg.checkpoint(tg.checkpoint(lambda w: w * bound))(leaf(values))
        bound *= 2
        self.refused(y)

    @pytest.mark.parametrize(
        "f",
        [
            lambda k, x, w: x * float(k),
            lambda k, x, w: x * np.float64(k),
            lambda k, x, w: tg.sin(x) if k else tg.cos(x),
            lambda k, x, w: x.sum(axis=k - 1),
            lambda k, x, w: x.sum(axis=(k - 2,)),
            lambda k, x, w: x[k : k + 1],
            lambda k, x, w: (x * x) * (w if k else x),  # other connections
            lambda k, x, w: (x * 2) * (w if k else x),
            lambda k, x, w: tg.split(x * w, 2, axis=1)[k],
            lambda k, x, w: (x[0], w[0]) if k else (w[0], x[0]),
            lambda k, x, w: (x * 2, w * 3)[::-1] if k else (x * 2, w * 3),
            lambda k, x, w: (x,) * (k + 1),
            lambda k, x, w: x * (tg.tensor(0.5, requires_grad=True) * 2),  # a new leaf each time
        ],
    )
    @pytest.mark.parametrize("scale", [0, 1])
    def test_it_takes_another_way(self, f, scale):
        calls = iter(range(10))
        rng = np.random.default_rng(0)
        x, w = leaf(scale * rng.standard_normal((2, 2))), leaf(scale * rng.standard_normal((2, 2)))
        y = tg.checkpoint(lambda x: f(next(calls), x, w))(x)
        self.refused(y[0] if isinstance(y, tuple) else y)

    def test_random_numbers_from_elsewhere(self):
        rng = np.random.default_rng(0)
        self.refused(tg.checkpoint(lambda x: x * rng.random(3))(leaf(X * 0)), r"tg\.default_generator\(rng\)")
        x = leaf(X)
        tg.checkpoint(lambda x: x * tg.default_generator(rng).random(3))(x).sum().backward()
        assert x.grad is not None

    def test_an_argument_off_the_tape_has_changed(self):
        b = tg.tensor(X.copy())
        y = tg.checkpoint(lambda w, b: w * b)(leaf(X), b)  # this line
        b.assign_(X + 1)
        self.refused(y, r"used version 0 \(first used at .*# this line")

    @pytest.mark.parametrize(
        "f",
        [
            lambda a, c, n: tg.exp(a + c),
            lambda a, c, n: tg.exp(tg.concatenate([a, c])),
            lambda a, c, n: tg.exp(a - c.numpy()),
            lambda a, c, n: tg.exp(a - np.full(3, n)),
            lambda a, c, n: tg.exp(a + a.detach() * n) * 2,
        ],
    )
    def test_a_constant_that_no_rule_reads_has_changed(self, f):
        c, calls = tg.tensor(X.copy()), iter(range(1, 3))
        y = tg.checkpoint(lambda a: f(a, c, next(calls)))(leaf(X))
        c.assign_(X * 2)
        self.refused(y)

    def test_a_parameter_has_changed(self):
        w = leaf(np.ones((3, 3)))
        y = tg.checkpoint(lambda x: x @ w)(leaf(X))
        w.assign_(w.numpy() + 1)
        self.refused(y, "changed in place")
        x = leaf(X)
        y = tg.checkpoint(lambda x: x * 2)(x)
        x.assign_(X + 1)
        self.refused(y, "changed in place")

    def test_nothing_has_changed(self):
        """NaN and static arguments of all kinds are the same as themselves."""
        index = (slice(None, None, 2), np.array([0, 1]))
        nan = float("nan")

        def f(x):
            y = x.reshape((3, 2))[index] * nan + x[..., None].sum(axis=-1)[:4:2].astype(np.float64)[0]
            return (
                tg.einsum("ij->i", tg.where(x.reshape((3, 2)) > 0, x.reshape((3, 2)), -np.inf)[index[0]]) + y
            )

        x = leaf(np.arange(1.0, 7.0))
        tg.checkpoint(f)(x).sum().backward(retain_graph=True)
        assert x.grad is not None


class TestMemory:
    def test_one_entry_keeps_the_inputs_and_nothing_between(self):
        x, c = leaf(np.ones((4, 8))), np.ones((4, 8))
        y = tg.checkpoint(lambda x, c: tg.exp(tg.exp(x * c)))(x, c)
        tape = tg.Tape(y)
        [entry] = tape.entries
        assert entry.out is None
        assert [a is b for a, b in zip(entry.args, (x.numpy(), c), strict=True)] == [True, True]
        assert tape.memory().total == x.numpy().nbytes + c.nbytes
        before = str(tape)
        assert "checkpoint(leaf0, const(4, 8), f=<lambda>)" in before
        y.sum().backward()
        assert tape.memory().total == 0
        assert str(tape) == before

    def test_backward_lets_go_of_arguments(self):
        x, c = leaf(np.ones(8)), np.ones(8)
        product = x * 3.0
        y = tg.checkpoint(lambda parts, c: parts[0] * parts[1] * c)([product, tg.tensor(c * 2)], c)
        alive = [weakref.ref(a) for a in (product.numpy(), c)]
        del product, c
        gc.collect()
        assert all(a() is not None for a in alive)
        y.sum().backward()
        gc.collect()
        assert all(a() is None for a in alive)
        with pytest.raises(RuntimeError, match="retain_graph=True"):
            y.sum().backward()

    def test_reference_counting_alone_frees_it(self):
        x = leaf(np.ones(8))
        y = tg.checkpoint(lambda x: tg.exp(x) * x)(x * 2)
        gone = weakref.ref(y.place.entry.args[0])
        gc.disable()
        try:
            del y
            assert gone() is None
        finally:
            gc.enable()


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_it_is_watched_like_any_entry():
    x, c = leaf([1.0, 4.0]), np.ones(2)
    with tg.detect_anomaly():
        y = tg.checkpoint(lambda x, c: tg.sqrt(x - 1.0) * c)(x, c)
        with pytest.raises(ValueError, match="read-only"):
            c[0] = 2.0
        with pytest.raises(FloatingPointError, match="sqrt"):
            y.sum().backward()
    assert "test_checkpointing.py" in y.place.entry.source


def test_results_of_several_shapes_are_watched():
    x = leaf(X)
    with tg.detect_anomaly():
        a, b = tg.checkpoint(lambda x: (x * x, (x * x).sum()))(x)
        (a * b).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 4 * X * (X @ X), rtol=1e-12)


def test_it_is_called_again_in_the_surroundings_of_its_first_call():
    """NumPy's error state and the scope are those of that call; who looks on, that of the backward pass."""

    class Paths(tg.Observer):
        def recorded(self, entry, arrays, out):
            paths.append(str(entry.scope))

    paths = []
    with np.errstate(divide="ignore"), tg.scope("there"), Paths():
        y = tg.checkpoint(lambda x: x * np.divide([1.0, 2.0, 3.0], 0))(leaf(X))
    assert paths == ["there", "there"]
    with tg.scope("elsewhere"), tg.no_grad():
        y.backward(X, retain_graph=True)
    assert paths == ["there", "there"]
    with Paths() as watch:
        y.backward(X)
    assert paths == ["there"] * 3
    with watch:
        y = tg.checkpoint(tg.sin)(leaf(X))
    over = weakref.ref(watch)
    del watch
    assert over() is None
