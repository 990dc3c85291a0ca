"""The functional transformations against closed forms, PyTorch's functional API and each other."""

from collections import OrderedDict

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

X = np.array([0.5, -1.0, 2.0])
A = np.random.default_rng(0).standard_normal((3, 3))


def sum_of_product(a, b):
    return (a * b).sum()


def quadratic(x):
    return x @ (A @ x)


def test_grad_and_value():
    value, gradient = tg.value_and_grad(quadratic)(X)
    assert type(value) is np.ndarray
    assert type(gradient) is np.ndarray
    np.testing.assert_allclose(value, X @ A @ X, rtol=1e-12)
    np.testing.assert_allclose(gradient, (A + A.T) @ X, rtol=1e-12)
    assert np.array_equal(tg.grad(quadratic)(X), gradient)


def test_arrays_give_arrays_and_tensors_give_tensors_off_the_tape():
    value, gradient = tg.value_and_grad(quadratic)(tg.tensor(X))
    assert isinstance(value, tg.Tensor)
    assert isinstance(gradient, tg.Tensor)
    assert not value.requires_grad
    assert not gradient.requires_grad


def test_a_tensor_on_the_tape_gives_a_gradient_on_the_tape():
    x = tg.tensor(X, requires_grad=True)
    gradient = tg.grad(quadratic)(x * 2.0)
    (gradient * gradient).sum().backward()
    H = A + A.T
    np.testing.assert_allclose(x.grad.numpy(), 2 * 4 * H.T @ H @ X, rtol=1e-12)


def test_argnums():
    def f(a, b, c):
        return (a * b * b).sum() * c

    b = X + 3
    np.testing.assert_allclose(tg.grad(f, 1)(X, b, 2.0), 4 * X * b)
    by_b, by_a = tg.grad(f, (1, 0))(X, b, 2.0)
    np.testing.assert_allclose(by_b, 4 * X * b)
    np.testing.assert_allclose(by_a, 2 * b * b)
    np.testing.assert_allclose(tg.grad(f, -1)(X, b, 2.0), (X * b * b).sum(), rtol=1e-6)
    np.testing.assert_allclose(tg.grad(f, -3)(X, b, 2.0), 2 * b * b)


def test_argnums_are_any_integers():
    assert np.array_equal(tg.grad(sum_of_product, np.int64(1))(X, X + 1), X)
    by_b, by_a = tg.grad(sum_of_product, (np.int32(-1), 0))(X, X + 1)
    assert np.array_equal(by_b, X)
    assert np.array_equal(by_a, X + 1)
    assert len(tg.grad(sum_of_product, range(2))(X, X)) == 2


def test_nested_arguments_keep_their_structure():
    def f(p):
        return (p["w"] * p["pair"][0]).sum() + p["pair"][1].sum() * 3

    gradient = tg.grad(f)({"w": X, "pair": (X + 1, [2.0, 4.0][0])})
    assert isinstance(gradient["pair"], tuple)
    np.testing.assert_allclose(gradient["w"], X + 1)
    np.testing.assert_allclose(gradient["pair"][0], X)
    assert gradient["pair"][1] == 3


def test_keyword_arguments_reach_the_function():
    def f(a, b=None, *, power=1, negate=False):
        y = (a**power if b is None else a**power * b).sum()
        return -y if negate else y

    np.testing.assert_allclose(tg.grad(f)(X, power=3, negate=True), -3 * X**2)
    value, gradient = tg.value_and_grad(f)(X, b=X + 1, power=2)
    np.testing.assert_allclose(value, (X**2 * (X + 1)).sum())
    np.testing.assert_allclose(gradient, 2 * X * (X + 1))
    np.testing.assert_allclose(tg.jacobian(f)(X, power=2), 2 * X)
    np.testing.assert_allclose(tg.hessian(f)(X, power=3), np.diag(6 * X))
    np.testing.assert_allclose(tg.hvp(f)(X, X + 2, power=3), 6 * X * (X + 2))
    slope = tg.elementwise_grad(lambda x, power: x**power)
    np.testing.assert_allclose(slope(X, power=3), 3 * X**2)


def test_modules_give_gradients_by_name_and_their_own_stay_untouched():
    layer = nn.LSTM(2, 3, return_state=False, rng=0, dtype=np.float64)
    x = np.random.default_rng(1).standard_normal((2, 4, 2))

    def loss(model, x):
        return tg.square(model(x)).sum()

    by_model, by_x = tg.grad(loss, (0, 1))(layer, x)
    assert all(p.grad is None for p in layer.parameters())
    x = tg.tensor(x, requires_grad=True)
    loss(layer, x).backward()
    for name, p in layer.named_parameters():
        np.testing.assert_allclose(by_model[name], p.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(by_x, x.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_grad_nests(order):
    f = lambda x: tg.exp(2.0 * x)  # noqa: E731
    for _ in range(order):
        f = tg.grad(f)
    np.testing.assert_allclose(f(np.array(0.3)), 2.0**order * np.exp(0.6), rtol=1e-12)


def test_inner_and_outer_variables_are_not_confused():
    # The classic trap: d/dx [x * d/dy (x + y)] is 1, not 2.
    f = lambda x: x * tg.grad(lambda y: x + y)(np.array(1.0))  # noqa: E731
    assert tg.grad(f)(np.array(1.0)) == 1.0
    # And the inner gradient depends on the outer variable.
    g = lambda x: tg.grad(lambda y: x * x * y)(np.array(3.0))  # noqa: E731
    assert tg.grad(g)(np.array(2.0)) == 4.0


def test_transformations_record_inside_no_grad():
    with tg.no_grad():
        np.testing.assert_allclose(tg.grad(quadratic)(X), (A + A.T) @ X, rtol=1e-12)
        np.testing.assert_allclose(tg.hessian(quadratic)(X), A + A.T, rtol=1e-12)


def test_an_argument_that_is_not_used_gets_zeros():
    by_a, by_b = tg.grad(lambda a, b: a.sum(), (0, 1))(X, X)
    assert np.array_equal(by_a, np.ones(3))
    assert np.array_equal(by_b, np.zeros(3))
    assert np.array_equal(tg.grad(lambda a: tg.tensor(1.0))(X), np.zeros(3))


def test_vjp_and_jvp_are_transposes():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    f = lambda a, b: tg.tanh(a @ b)  # noqa: E731
    tangents = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    value, pushed = tg.jvp(f, (a, b), tangents)
    again, pullback = tg.vjp(f, a, b)
    cotangent = rng.standard_normal((2, 4))
    pulled = pullback(cotangent)
    np.testing.assert_allclose(value, np.tanh(a @ b), rtol=1e-12)
    assert np.array_equal(value, again)
    inner = sum((p * t).sum() for p, t in zip(pulled, tangents, strict=True))
    np.testing.assert_allclose((cotangent * pushed).sum(), inner, rtol=1e-10)
    # Forward, by the complex step.
    step = np.tanh((a + 1e-20j * tangents[0]) @ (b + 1e-20j * tangents[1])).imag / 1e-20
    np.testing.assert_allclose(pushed, step, rtol=1e-10)
    np.testing.assert_allclose(pullback(cotangent)[0], pulled[0])  # a pullback can be used again


def test_jvp_of_a_linear_and_of_a_constant_function():
    assert np.array_equal(tg.jvp(lambda x: x * 3.0, (X,), (X,))[1], 3 * X)
    assert np.array_equal(tg.jvp(lambda x: tg.tensor(X), (X,), (X,))[1], np.zeros(3))


def test_jvp_nests():
    f = lambda x: tg.jvp(tg.sin, (x,), (np.ones(3),))[1].sum()  # noqa: E731
    np.testing.assert_allclose(tg.grad(f)(X), -np.sin(X), rtol=1e-12)


def test_jvp_can_be_differentiated_by_the_tangent():
    f = lambda v: (tg.jvp(tg.sin, (X,), (v,))[1] ** 2).sum()  # noqa: E731
    np.testing.assert_allclose(tg.grad(f)(X + 1), 2 * np.cos(X) ** 2 * (X + 1), rtol=1e-12)


def test_jvp_gives_arrays_for_arrays_and_tensors_for_tensors():
    for x, kind in ((X, np.ndarray), (tg.tensor(X), tg.Tensor)):
        for f in (tg.sin, lambda x: tg.tensor(X)):
            value, pushed = tg.jvp(f, (x,), (X,))
            assert type(value) is kind
            assert type(pushed) is kind
    x = tg.tensor(X, requires_grad=True)
    assert tg.jvp(tg.sin, (x,), (X,))[1].requires_grad


def test_the_first_argument_is_differentiated_by():
    a, b = X, X + 3
    f = lambda a, b: (a * a * b).sum()  # noqa: E731
    np.testing.assert_allclose(tg.grad(f)(a, b), 2 * a * b)
    np.testing.assert_allclose(tg.value_and_grad(f)(a, b)[1], 2 * a * b)
    np.testing.assert_allclose(tg.elementwise_grad(lambda a, b: a * a * b)(a, b), 2 * a * b)
    np.testing.assert_allclose(tg.jacobian(lambda a, b: a * a * b)(a, b), np.diag(2 * a * b))
    np.testing.assert_allclose(tg.hessian(f)(a, b), np.diag(2 * b))
    np.testing.assert_allclose(tg.hvp(f)(a, b, np.ones(3)), 2 * b)


def test_jacobian_hessian_hvp_against_torch():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
    functional = torch.autograd.functional
    f = lambda x, m: m.tanh(x[:2] * x[1:]) * x.sum()  # noqa: E731
    g = lambda x, m: (f(x, m) ** 2).sum()  # noqa: E731
    t = torch.tensor(X)
    np.testing.assert_allclose(
        tg.jacobian(lambda x: f(x, tg))(X), functional.jacobian(lambda x: f(x, torch), t).numpy(), rtol=1e-10
    )
    np.testing.assert_allclose(
        tg.hessian(lambda x: g(x, tg))(X), functional.hessian(lambda x: g(x, torch), t).numpy(), rtol=1e-9
    )
    v = np.array([1.0, -2.0, 0.5])
    expected = functional.hvp(lambda x: g(x, torch), t, torch.tensor(v))[1].numpy()
    np.testing.assert_allclose(tg.hvp(lambda x: g(x, tg))(X, v), expected, rtol=1e-9)


def test_hvp_counts_its_arguments():
    with pytest.raises(TypeError, match=r"got 0 arguments$"):
        tg.hvp(tg.sum)()
    with pytest.raises(TypeError, match=r"got 1 argument$"):
        tg.hvp(tg.sum)(X)


def test_hvp_of_nested_arguments():
    f = lambda p: (p["a"] * p["b"] * p["c"]).sum()  # noqa: E731
    a, b, c = X, X + 1, X + 2
    found = tg.hvp(f)({"a": a, "b": b, "c": c}, {"a": c, "b": a, "c": b})
    np.testing.assert_allclose(found["a"], c * a + b * b)
    np.testing.assert_allclose(found["b"], c * c + a * b)
    np.testing.assert_allclose(found["c"], b * c + a * a)


def test_blocks_of_hessians_of_nested_arguments_and_modules():
    """Each block is what the whole Hessian, of all arguments in one vector, has in its place."""
    b = X[:2] + 1

    def f(p):
        return (tg.sin(p["a"]).sum() * p["b"][0] ** 2).sum() * p["b"][0].sum()

    whole = tg.hessian(lambda v: f({"a": v[:3], "b": [v[3:]]}))(np.concatenate([X, b]))
    blocks = tg.hessian(f)({"a": X, "b": [b]})
    np.testing.assert_allclose(blocks["a"]["a"], whole[:3, :3], rtol=1e-12)
    np.testing.assert_allclose(blocks["a"]["b"][0], whole[:3, 3:], rtol=1e-12)
    np.testing.assert_allclose(blocks["b"][0]["a"], whole[3:, :3], rtol=1e-12)
    np.testing.assert_allclose(blocks["b"][0]["b"][0], whole[3:, 3:], rtol=1e-12)
    of_two = tg.hessian(lambda a, b: f({"a": a, "b": [b]}), (1, 0))(X, b)
    np.testing.assert_allclose(of_two[1][0], whole[:3, 3:], rtol=1e-12)
    np.testing.assert_allclose(of_two[0][0], whole[3:, 3:], rtol=1e-12)
    assert not tg.hessian(lambda a, b: a.sum() + b.sum(), (0, 1))(X, b)[0][1].any()

    layer = nn.Linear(3, 2, rng=0, dtype=np.float64)
    of_layer = tg.hessian(lambda layer: tg.exp(layer(X)).sum())(layer)
    y = np.exp(layer(X).numpy())
    np.testing.assert_allclose(of_layer["bias"]["bias"], np.diag(y), rtol=1e-12)
    np.testing.assert_allclose(
        of_layer["weight"]["bias"], np.einsum("ij,i,k->ikj", np.eye(2), y, X), rtol=1e-12
    )
    v = {name: np.random.default_rng(5).standard_normal(p.shape) for name, p in layer.named_parameters()}
    along = tg.hvp(lambda layer: tg.exp(layer(X)).sum())(layer, v)
    expected = sum(np.tensordot(of_layer["bias"][name], v[name], v[name].ndim) for name in v)
    np.testing.assert_allclose(along["bias"], expected, rtol=1e-12)


def test_hvp_by_several_arguments():
    v = X * 2, X - 1
    by_a, by_b = tg.hvp(sum_of_product, (0, 1))(X, X + 3, v)
    assert np.array_equal(by_a, v[1])
    assert np.array_equal(by_b, v[0])


def test_jvp_stays_within_the_call():
    """What its arguments were computed from may be released by then, and gets no gradient."""
    x = tg.tensor(X, requires_grad=True)
    y = tg.sin(x) * x
    y.sum().backward()
    _, pushed = tg.jvp(tg.square, (y,), (X,))
    np.testing.assert_allclose(pushed.numpy(), 2 * y.numpy() * X, rtol=1e-12)


def test_jacobian_shapes():
    f = lambda a: tg.stack([a[0] * a[1], a[1] - a[0]], axis=1)  # noqa: E731
    assert tg.jacobian(f)(np.ones((2, 3))).shape == (3, 2, 2, 3)
    assert tg.jacobian(lambda a: a[:0])(X).shape == (0, 3)
    assert tg.jacobian(lambda a: a[:1])(X).shape == (1, 3)
    assert tg.jacobian(lambda a: a.sum())(X).shape == (3,)
    tree = tg.jacobian(lambda p: p["a"] * p["b"])({"a": X, "b": X + 1})
    np.testing.assert_allclose(tree["a"], np.diag(X + 1))
    np.testing.assert_allclose(tree["b"], np.diag(X))


def test_elementwise_grad():
    np.testing.assert_allclose(tg.elementwise_grad(tg.tanh)(X), 1 - np.tanh(X) ** 2, rtol=1e-12)
    second = tg.elementwise_grad(tg.elementwise_grad(tg.sin))
    np.testing.assert_allclose(second(X), -np.sin(X), rtol=1e-12)


def test_third_derivatives_through_an_lstm_with_lengths():
    layer = nn.LSTM(1, 2, return_sequences=False, return_state=False, rng=0, dtype=np.float64)

    def f(x):
        return (layer(x.reshape((2, 2, 1)), lengths=[2, 1]) ** 2).sum()

    x = np.random.default_rng(3).standard_normal(4)
    third = tg.jacobian(tg.hessian(f))(x)
    step = 1e-5 * np.eye(4)
    numeric = np.stack([(tg.hessian(f)(x + e) - tg.hessian(f)(x - e)) / 2e-5 for e in step], axis=-1)
    np.testing.assert_allclose(third, numeric, rtol=1e-6, atol=1e-8)
    assert np.abs(third).max() > 1e-3


class TestPerExample:
    def test_each_example_has_the_gradient_it_has_alone(self):
        """And their sum is the gradient of the summed loss, which one batched pass gives."""
        rng = np.random.default_rng(0)
        net = nn.Sequential(
            nn.Linear(3, 4, rng=0, dtype="float64"), tg.tanh, nn.Linear(4, 1, rng=1, dtype="float64")
        )
        x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 1))

        def loss(net, example):
            x, y = example
            return tg.square(net(x) - y).sum()

        found = tg.per_example_grad(loss, net, (x, y))
        assert list(found) == list(net.state_dict())
        whole = tg.grad(loss)(net, (x, y))
        for name, g in found.items():
            assert g.shape == (5, *whole[name].shape)
            np.testing.assert_allclose(g.sum(0), whole[name], rtol=1e-10)
            for k in range(5):
                np.testing.assert_allclose(g[k], tg.grad(loss)(net, (x[k], y[k]))[name], rtol=1e-12)

    def test_parameters_may_be_nested_arrays(self):
        found = tg.per_example_grad(
            lambda p, x: (p["w"] * x).sum() + p["b"], {"w": np.ones(3), "b": np.ones(())}, A
        )
        np.testing.assert_array_equal(found["w"], A)
        np.testing.assert_array_equal(found["b"], np.ones(3))


def test_gradients_of_an_ordered_dict_are_one_too() -> None:
    x = OrderedDict(b=np.ones(2), a=np.ones(3))
    g = tg.grad(lambda d: (d["a"] * 2).sum() + d["b"].sum())(x)
    assert type(g) is OrderedDict
    assert list(g) == ["b", "a"]
    assert type(tg.grad(lambda d: d["a"].sum())({"a": np.ones(2)})) is dict


def penalty(w, x):
    return (x * x * tg.exp(w * x)).sum()


W = X - 0.25
V = X * 0.5 + 1
FOLLOWING = {
    "grad": lambda f, x: tg.grad(f)(x),
    "value_and_grad": lambda f, x: tg.add(*tg.value_and_grad(f)(x)),
    "value": lambda f, x: tg.value_and_grad(f)(x)[0],
    "vjp": lambda f, x: tg.vjp(f, x)[1](2.0)[0],
    "vjp's value": lambda f, x: tg.vjp(f, x)[0],
    "jvp": lambda f, x: tg.jvp(f, (x,), (V,))[1],
    "jacobian": lambda f, x: tg.jacobian(lambda x: f(x) * x)(x),
    "jacobian of several": lambda f, x: tg.jacobian(lambda x: [x * 2, f(x) * x])(x)[1],
    "hessian": lambda f, x: tg.hessian(f)(x),
    "hvp": lambda f, x: tg.hvp(f)(x, V),
    "elementwise_grad": lambda f, x: tg.elementwise_grad(lambda x: f(x) * x)(x),
    "nested": lambda f, x: tg.grad(lambda d: f(d["x"][0]))({"x": [x]})["x"][0],
}


class TestWhatElseIsOnTheTape:
    """Gradients of tensors depend on all that the function's result depends on, as in `torch.func.grad`."""

    @pytest.mark.parametrize("name", FOLLOWING)
    def test_gradients_reach_what_the_function_did_not_get(self, name):
        """A leaf, and a computed tensor; the slopes are those of plain differences."""

        def total(w, x):
            return (FOLLOWING[name](lambda x: penalty(tg.sin(w), x), x) ** 2).sum()

        def total_of_an_entry(w, x):
            c = tg.sin(w)
            return (FOLLOWING[name](lambda x: penalty(c, x), x) ** 2).sum()

        steps = 1e-6 * np.eye(3)
        ahead = [total(tg.tensor(W + e), tg.tensor(X)) for e in steps]
        behind = [total(tg.tensor(W - e), tg.tensor(X)) for e in steps]
        slopes = [(a.item() - b.item()) / 2e-6 for a, b in zip(ahead, behind, strict=True)]
        for f in (total, total_of_an_entry):
            w = tg.tensor(W, requires_grad=True)
            f(w, tg.tensor(X)).backward()
            np.testing.assert_allclose(w.grad.numpy(), slopes, rtol=1e-6)

    def test_against_torch(self):
        torch = pytest.importorskip("torch", reason="PyTorch is the oracle of this test")
        w, x = tg.tensor(W, requires_grad=True), tg.tensor(X)
        value, gradient = tg.value_and_grad(lambda x, w: penalty(w, x))(x, w)
        (value * (gradient**2).sum()).backward()
        other = torch.tensor(W, requires_grad=True)
        f = lambda x: (x * x * torch.exp(other * x)).sum()  # noqa: E731
        gradient, value = torch.func.grad_and_value(f)(torch.tensor(X))
        (value * (gradient**2).sum()).backward()
        np.testing.assert_allclose(w.grad.numpy(), other.grad.numpy(), rtol=1e-12)

    @pytest.mark.parametrize("by", [1, (0, 1)])
    def test_a_critic_is_trained_by_the_penalty_on_its_gradient(self, by):
        """Whether it is an argument, or also differentiated by."""
        critic = nn.Sequential(
            nn.Linear(3, 4, rng=0, dtype="float64"), tg.tanh, nn.Linear(4, 1, rng=1, dtype="float64")
        )
        x = tg.tensor(A)
        gradient = tg.grad(lambda critic, x: critic(x).sum(), by)(critic, x)
        (np.sum((gradient[1] if by == (0, 1) else gradient) ** 2)).backward()
        found = critic[0].weight.grad.numpy().copy()
        x = tg.tensor(A, requires_grad=True)
        critic.zero_grad()
        critic(x).sum().backward(create_graph=True)
        (x.grad**2).sum().backward()
        y = critic[0].weight.grad.numpy()
        critic.zero_grad()
        critic(A).sum().backward()
        np.testing.assert_allclose(found, y - critic[0].weight.grad.numpy(), rtol=1e-10)

    def test_gradients_by_a_module_depend_on_other_parameters(self):
        layer, w = nn.Linear(3, 3, rng=0, dtype="float64"), tg.tensor(W, requires_grad=True)
        gradient = tg.grad(lambda layer: (tg.tanh(layer(X)) * w).sum())(layer)["bias"]
        (gradient**2).sum().backward()
        np.testing.assert_allclose(w.grad.numpy(), 2 * W * (1 - np.tanh(layer(X).numpy()) ** 2) ** 2)

    def test_what_is_differentiated_by_is_no_reason_to_record(self):
        """Nor are a module's own parameters, tensors off the tape, or the variables of a gradient inside."""
        layer = nn.Linear(3, 3, rng=0, dtype="float64")
        value, gradients = tg.value_and_grad(lambda layer: layer(X).sum())(layer)
        assert type(value) is np.ndarray
        assert not any(g.requires_grad for g in gradients.values())
        x = tg.tensor(X)
        inside = lambda x: (tg.grad(lambda y: (y**3).sum())(X) * x * tg.tensor(W)).sum()  # noqa: E731
        for y in tg.value_and_grad(inside)(x):
            assert isinstance(y, tg.Tensor)
            assert not y.requires_grad
        assert isinstance(tg.value_and_grad(lambda d: d["x"].sum())({"x": x})[0], tg.Tensor)

    def test_a_leaf_that_was_changed_is_followed(self):
        w = tg.tensor(W, requires_grad=True)
        tg.grad(lambda x: penalty(w.assign_(W + 1), x))(tg.tensor(X)).sum().backward()
        assert w.grad is not None

    def test_arrays_stay_arrays(self):
        w = tg.tensor(W, requires_grad=True)
        for y in tg.value_and_grad(lambda x: penalty(w, x))(X):
            assert type(y) is np.ndarray
        assert type(tg.vjp(tg.sin, X)[1](w)[0]) is np.ndarray
        assert type(tg.jvp(tg.sin, (X,), (w,))[1]) is np.ndarray

    def test_under_no_grad_results_are_off_the_tape(self):
        w, x = tg.tensor(W, requires_grad=True), tg.tensor(X, requires_grad=True)
        for given in (x, x.detach()):
            _, pullback = tg.vjp(tg.sin, given.detach())
            with tg.no_grad():
                value, gradient = tg.value_and_grad(lambda x: penalty(w, x))(given)
                pulled = pullback(w)[0]
            assert not value.requires_grad
            assert not gradient.requires_grad
            assert not pulled.requires_grad
            np.testing.assert_allclose(gradient.numpy(), tg.grad(lambda x: penalty(W, x))(X), rtol=1e-12)
        assert x.grad is None

    def test_no_grad_inside_a_transformation_makes_a_constant(self):
        def f(x):
            with tg.no_grad():
                slope = tg.grad(lambda x: (x**3).sum())(x)
            return (slope * x).sum()

        np.testing.assert_allclose(tg.grad(f)(X), 3 * X**2, rtol=1e-12)

    def test_cotangents_and_tangents_on_the_tape(self):
        x, w = tg.tensor(X), tg.tensor(W, requires_grad=True)
        _, pullback = tg.vjp(tg.sin, x)
        (pullback(w)[0] ** 2).sum().backward()
        np.testing.assert_allclose(w.grad.numpy(), 2 * W * np.cos(X) ** 2, rtol=1e-12)
        w.grad = None
        (tg.jvp(lambda p: tg.sin(p["x"]), ({"x": x},), ({"x": w},))[1] ** 2).sum().backward()
        np.testing.assert_allclose(w.grad.numpy(), 2 * W * np.cos(X) ** 2, rtol=1e-12)
        w.grad = None
        (tg.hvp(lambda x: tg.sin(x).sum())(x, w) ** 2).sum().backward()
        np.testing.assert_allclose(w.grad.numpy(), 2 * W * np.sin(X) ** 2, rtol=1e-12)

    def test_a_pullback_can_be_differentiated_whose_function_ran_outside(self):
        for primal in (X, tg.tensor(X)):
            _, pullback = tg.vjp(tg.sin, primal)
            found = tg.grad(lambda u, pullback=pullback: (pullback(u)[0] ** 2).sum())(W)
            np.testing.assert_allclose(found, 2 * W * np.cos(X) ** 2, rtol=1e-12)
