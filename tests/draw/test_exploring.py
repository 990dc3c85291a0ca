"""What the explorable page holds: every value and cotangent, flags, and nothing that could break the page."""

import base64
import json
import math
import re
from html import unescape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn
from tinygrad_rnn.draw.exploring import _page
from tinygrad_rnn.draw.summaries import Summaries
from tinygrad_rnn.observing import dense
from tinygrad_rnn.tape import Output

rng = np.random.default_rng(11)


def content(path):
    """The data of a page, as its script reads them."""
    page = path.read_text(encoding="utf-8")
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert len(found) == 1
    return json.loads(found[0])


def explored(tmp_path, loss, **options):
    path = draw.explore(loss, tmp_path / "tape.html", **options)
    assert path == tmp_path / "tape.html"
    return content(path)


def values(data, number):
    """The array of a summary that holds all numbers."""
    rows, columns, numbers = data["pool"][number]
    return np.array([float(v) for v in numbers]).reshape(rows, columns)


def small():
    w = tg.tensor(rng.standard_normal((2, 3)), requires_grad=True)
    w.name = "W"
    h = tg.tensor(rng.standard_normal((2, 2)))
    with draw.keep_values() as kept:
        for t in range(3):
            with tg.scope(f"t={t}", step=t):
                y = h @ w
                left, _ = tg.split(y, [2], axis=1)
                h = tg.sigmoid(left) * 2.0
        loss = (h * w[:, :2]).sum()
    return loss, w, kept


def test_every_value_and_cotangent_is_there(tmp_path):
    loss, w, kept = small()
    data = explored(tmp_path, loss, kept=kept)
    assert w.grad is None
    totals = {}

    class Add(tg.Observer):
        def carried(self, entry, k, g, gk):
            place = entry.parents[k]
            totals[place] = totals.get(place, 0) + dense(gk, place)

    with Add():
        loss.backward()  # the page's pass has released nothing
    tape = tg.Tape(loss)
    assert len(data["rows"]) == len(tape)
    for row, entry, printed in zip(data["rows"], tape, tape.rows(), strict=True):
        scope, rule, call, shape, dtype, outputs, inputs, arrived, shares = row
        assert (data["scopes"][scope], call, shape, dtype) == printed[1:]
        assert data["rules"][rule][0] == entry.primitive.name
        out = [kept.values[entry, k] for k in range(2)] if entry.primitive.multiple else [kept.values[entry]]
        for number, array in zip(outputs, out, strict=True):
            np.testing.assert_allclose(values(data, number), np.atleast_2d(array), rtol=1e-3)
        assert len(inputs) == len(shares) == len(entry.parents)
        places = {p.index: p for p in totals if isinstance(p, Output) and p.entry is entry}
        if entry.primitive.multiple:
            assert arrived[1] == -1  # the second part of the split is not read
            np.testing.assert_allclose(values(data, arrived[0]), totals[places[0]], rtol=1e-3)
        elif entry in totals:
            np.testing.assert_allclose(values(data, arrived[0]), np.atleast_2d(totals[entry]), rtol=1e-3)
    ((name, shape, dtype, value, gradient),) = data["leaves"]
    assert (name, shape, dtype) == ("W", "(2, 3)", "float64")
    np.testing.assert_allclose(values(data, gradient), w.grad.numpy(), rtol=1e-3)
    np.testing.assert_allclose(values(data, value), w.numpy(), rtol=1e-3)


def test_what_adds_up_is_followed_in_the_order_of_the_pass(tmp_path):
    loss, _, kept = small()
    data = explored(tmp_path, loss, kept=kept)
    so_far = np.zeros((2, 3))
    steps = 0
    for row in reversed(data["rows"]):
        for what, share in zip(row[6], row[8], strict=True):
            if what == -1:
                so_far = so_far + values(data, share[0])
                np.testing.assert_allclose(values(data, share[1]), so_far, atol=2e-3)
                steps += 1
    assert steps == 4


def test_rules_are_shown_with_their_source_and_docstring(tmp_path):
    loss, _, kept = small()
    rules = {rule[0]: rule for rule in explored(tmp_path, loss, kept=kept)["rules"]}
    _, doc, forward, source = rules["sigmoid"]
    assert "elementwise" in doc
    assert forward.startswith("def sigmoid(")
    assert '"""' not in forward  # the docstring stands by itself
    assert "np.exp" in forward
    assert "defvjp" in source
    assert "lambda g" in source


def test_a_primitive_whose_source_cannot_be_read(tmp_path, monkeypatch):
    from tinygrad_rnn.ops import registry

    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    space = {"tg": tg}
    source = (
        "@tg.primitive(elementwise=True)\ndef same(x, /):\n  '''The same.'''\n  return x * 1\n"
        "same.defvjp(lambda g, _y, _x: g)"
    )
    # Not under the name <string>: what `python -c` runs bears it too, and can be read since Python 3.13.
    exec(compile(source, "<typed>", "exec"), space)
    rule = explored(tmp_path, space["same"](tg.tensor([1.0], requires_grad=True)))["rules"][0]
    assert rule == ["same", "The same.", *["(its source text cannot be read here)"] * 2]


def test_after_backward_the_page_says_what_is_gone(tmp_path):
    loss, _, kept = small()
    loss.backward()
    data = explored(tmp_path, loss)
    assert data["released"]
    assert all(row[7] is None and row[8] is None for row in data["rows"])
    # The part of W that the loss is made with can still be told, as W is there.
    assert {row[2].partition("(")[0] for row in data["rows"] if set(row[5]) != {-1}} == {"getitem"}
    assert data["leaves"][0][4] == -1
    data = explored(tmp_path, loss, kept=kept)
    assert data["released"]
    assert all(-1 not in row[5] for row in data["rows"])


def test_what_the_tape_did_not_keep_is_missing_not_zero(tmp_path):
    gone = tg.tensor(rng.standard_normal((3, 2)), requires_grad=True)
    loss = tg.tanh(rng.standard_normal((4, 3)) @ gone).sum()
    del gone
    data = explored(tmp_path, loss)
    assert [row[5] != [-1] for row in data["rows"]] == [False, True, True]
    assert all(row[7] for row in data["rows"])


def test_a_model_needs_nothing_kept_while_it_lives(tmp_path):
    net = nn.RNN(2, 3, 2, rng=0, return_state=False)
    data = explored(tmp_path, net(rng.standard_normal((2, 3, 2)).astype(np.float32)).sum())
    assert not [row for row in data["rows"] if -1 in row[5]]
    parameters = {name: p.numpy() for name, p in net.named_parameters()}
    assert {name for name, *_ in data["leaves"]} == set(parameters)
    for name, _, _, value, _ in data["leaves"]:
        np.testing.assert_allclose(np.ravel(values(data, value)), np.ravel(parameters[name]), rtol=1e-3)


def test_flags(tmp_path):
    x = tg.tensor([[9.0, -9.0, 0.0], [8.0, 8.0, 8.0]], requires_grad=True)
    with np.errstate(all="ignore"):
        bad = tg.log(x * 0.0 - 1.0)
        loss = [tg.sigmoid(x).sum(), tg.tanh(x * 0.1).sum(), bad.sum(), tg.sqrt(x * 0.0).sum()]
        data = explored(tmp_path, loss)
    by_name = {data["rows"][int(k)][2].partition("(")[0]: flags for k, flags in data["flags"].items()}
    assert by_name["sigmoid"] == [["83% saturated"], []]
    assert by_name["log"] == [["6 NaN of 6 in the value"], []]
    assert "tanh" not in by_name
    assert [[], ["6 infinite of 6 in the cotangent"]] in data["flags"].values()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (2, 3, 4), (70, 90)])
def test_shapes_and_dtypes(tmp_path, dtype, shape):
    x = tg.tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True)
    data = explored(tmp_path, tg.tanh(x) * 2.0)
    row = data["rows"][0]
    assert row[3:5] == [str(shape), np.dtype(dtype).name]
    summary = data["pool"][row[5][0]]
    assert summary[0] * summary[1] == math.prod(shape)
    assert not data["flags"]


def test_a_leaf_alone_and_several_outputs(tmp_path):
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    data = explored(tmp_path, x)
    assert data["rows"] == []
    assert values(data, data["leaves"][0][4]).tolist() == [[1, 1]]
    data = explored(tmp_path, [x * 2.0, x * 3.0])
    assert values(data, data["leaves"][0][4]).tolist() == [[5, 5]]


NAMES = [
    "<b>&\"'",
    "</script><script>alert(1)</script>",
    "<!-- {{data}} -->",
    "가나다 한글",
    "\ud800",
    "$&\\n\n\0",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_cannot_break_the_page(tmp_path, name):
    x = tg.tensor([1.0], requires_grad=True)
    x.name = name
    with tg.scope(name):
        loss = tg.tanh(x) * 1.0
    path = draw.explore(loss, tmp_path / "tape.html", title=name)
    data = content(path)
    assert data["scopes"] == [name]
    assert data["leaves"][0][0] == name
    page = path.read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 2
    assert "alert(1)</script>" not in page


@given(st.text(), st.text())
def test_any_text_comes_through_the_page_as_it_is(title, name):
    page = _page(title, "", {"scopes": [name]})
    (text,) = re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(text) == {"title": title, "scopes": [name]}
    assert page.count("<script") == page.count("</script>") == 2
    assert unescape(re.search(r"<title>(.*?)</title>", page, re.DOTALL)[1]) == title


def test_a_checkpoint_is_one_entry(tmp_path):
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    data = explored(tmp_path, tg.checkpoint(lambda a: tg.tanh(a) * 2.0)(x).sum())
    assert [row[2].partition("(")[0] for row in data["rows"]] == ["checkpoint", "sum"]
    np.testing.assert_allclose(values(data, data["leaves"][0][4]), [2 / np.cosh([1.0, 2.0]) ** 2], rtol=1e-3)
    # What it computes again within its rule is on another tape, though with the same leaves.
    loss = (tg.checkpoint(lambda a: a * x)(tg.tensor([3.0, 4.0], requires_grad=True)) * x).sum()
    data = explored(tmp_path, loss)
    loss.backward()
    number = next(k for k, leaf in enumerate(tg.Tape(loss).leaves) if leaf is x.place)
    np.testing.assert_allclose(values(data, data["leaves"][number][4])[0], x.grad.numpy(), rtol=1e-3)


def test_without_graphviz_the_reason_is_said(tmp_path, monkeypatch):
    from tinygrad_rnn.draw import exploring
    from tinygrad_rnn.draw.rendering import RenderError

    def fail(*_tensors, **_options):
        raise RenderError("no dot")

    monkeypatch.setattr(exploring, "graph", fail)
    data = explored(tmp_path, tg.tensor([1.0], requires_grad=True) * 2.0)
    assert data["absent"] == "no diagram: no dot"
    assert "<svg" not in (tmp_path / "tape.html").read_text(encoding="utf-8")


def test_what_cannot_be_explored(tmp_path):
    x = tg.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match=r"writes an \.html file, got '.*tape\.svg'"):
        draw.explore(x, tmp_path / "tape.svg")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        draw.explore(x, tmp_path / "nowhere" / "tape.html")
    with pytest.raises(ValueError, match="off the tape"):
        draw.explore(x.detach(), tmp_path / "tape.html")
    with pytest.raises(TypeError, match=r"draw\.explore takes a tensor"):
        draw.explore("x", tmp_path / "tape.html")
    assert not list(tmp_path.iterdir())


# ---- summaries


def test_few_values_are_kept_in_numbers_and_others_as_levels():
    pool = Summaries(6, (2, 4))
    few = pool.add(np.array([[1.23456, np.nan], [np.inf, -np.inf]]))
    assert pool.pool[few] == [2, 2, [1.235, "NaN", "Infinity", "-Infinity"]]
    a = np.linspace(-1, 1, 50).reshape(5, 10)
    rows, columns, down, across, low, high, norm, nans, infinities, levels = pool.pool[pool.add(a)]
    assert (rows, columns, down, across, low, high, nans, infinities) == (5, 10, 2, 4, -1, 1, 0, 0)
    assert norm == float(f"{np.linalg.norm(a):.4g}")
    decoded = np.frombuffer(base64.b64decode(levels), np.uint8).reshape(2, 4)
    np.testing.assert_allclose(low + (high - low) * decoded / 250, a[::3, ::3], atol=2 / 250)


def test_levels_of_what_is_not_finite_or_all_the_same():
    pool = Summaries(0, (1, 4))
    summary = pool.pool[pool.add(np.array([np.nan, np.inf, -np.inf, 2.0]))]
    assert summary[4:9] == [2, 2, 2, 1, 2]
    assert list(base64.b64decode(summary[9])) == [255, 254, 253, 0]
    assert list(base64.b64decode(pool.pool[pool.add(np.full(3, 7.0))][9])) == [0, 0, 0]
    nothing = pool.pool[pool.add(np.array([np.nan]))]
    assert nothing[4:9] == [0, 0, 0, 1, 0]
    huge = pool.pool[pool.add(np.array([-1.7e308, 1.7e308]))]
    assert huge[4:7] == [-1.7e308, 1.7e308, "Infinity"]
    assert list(base64.b64decode(huge[9])) == [0, 250]
    tiny = pool.pool[pool.add(np.array([0.0, 5e-324]))]
    assert len(base64.b64decode(tiny[9])) == 2


def test_one_array_is_summed_up_once():
    pool = Summaries(4, (2, 2))
    a = np.ones(3)
    assert pool.add(a) == pool.add(a) == 0
    assert pool.add_once(a) == 1
