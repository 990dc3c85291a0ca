"""The explorable page in a real browser: no error, no request, everything by keys, in light and in dark."""

import os
import re
import shutil

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSER = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome", "microsoft-edge"))
    ),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium was found on the path")
WIDE, NARROW = {"width": 1300, "height": 800}, {"width": 420, "height": 800}


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page and sees to it that it neither complains nor asks for anything."""
    heard, pages = [], []

    def open_page(path, scheme="light", viewport=WIDE):
        page = browser.new_page(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: request.url != path.as_uri() and heard.append(request.url))
        pages.append(page)
        page.goto(path.as_uri())
        return page

    yield open_page
    for page in pages:
        page.close()
    assert heard == []


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of an LSTM's tape with about so many entries, and how many they are."""
    made = {}

    def page(wanted):
        if wanted not in made:
            rng = np.random.default_rng(0)
            steps = wanted // 15
            x = rng.standard_normal((2, steps, 3)).astype(np.float32)
            net = nn.LSTM(3, 16, rng=0, return_state=False)
            with draw.keep_values() as kept:
                loss = nn.mse(net(x), np.zeros((2, steps, 16), np.float32))
            path = tmp_path_factory.mktemp("pages") / f"{wanted}.html"
            draw.explore(loss, path, kept=kept)
            made[wanted] = path, len(tg.Tape(loss))
        return made[wanted]

    return page


def where(page):
    return page.locator("#where").inner_text()


@pytest.mark.parametrize(
    ("wanted", "scheme", "key"),
    [
        (400, "light", "ArrowRight"),
        (400, "dark", "PageDown"),
        (4000, "light", "PageDown"),
        (4000, "dark", "End"),
    ],
)
def test_to_the_end_and_back_by_keys(opened, pages, wanted, scheme, key):
    path, count = pages(wanted)
    assert path.stat().st_size < 8e6
    page = opened(path, scheme)
    assert where(page) == f"forward 1 of {count}: %1 linear"
    page.keyboard.press("ArrowRight")
    assert where(page).startswith(f"forward 2 of {count}: %2 ")
    page.keyboard.press("End")
    assert where(page) == f"backward {count} of {count}: %1 linear"
    page.keyboard.press("Home")
    seen = page.evaluate(
        """(key) => {
            const [seen, slider] = [[], document.getElementById("slider")];
            for (;;) {
                seen.push(document.getElementById("where").textContent);
                if (slider.value === slider.max) return seen;
                const before = slider.value;
                document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
                if (slider.value === before) throw new Error(`stuck at ${before}`);
            }
        }""",
        key,
    )
    numbers = [int(re.search(r"%(\d+)", text)[1]) for text in seen]
    steps = [*range(1, count + 1), *range(count, 0, -1)]
    every = {"ArrowRight": 1, "PageDown": 10, "End": len(steps)}[key]
    assert numbers == [*steps[:-1:every], 1]
    assert where(page) == f"backward {count} of {count}: %1 linear"
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowLeft")
    assert where(page).startswith(f"backward {count - 11} of {count}: %12 ")
    page.keyboard.press("Home")
    assert where(page).startswith("forward 1 ")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", background))) < 80) == (scheme == "dark")


def test_tables_hold_only_the_rows_that_can_be_seen(opened, pages):
    path, count = pages(4000)
    page = opened(path)
    for key in "End", "Home", "PageDown":
        page.keyboard.press(key)
        assert page.locator("#rows > div").count() < 80
        assert page.locator("#rows > div.now").count() == 1
        assert page.locator("#rows > div.now").is_visible()
    assert page.locator("#table").get_attribute("aria-rowcount") == str(count + 1)


def test_forward_and_backward_show_what_they_should(opened, pages):
    path, count = pages(400)
    page = opened(path)
    entry = page.locator("#entry")
    while "sigmoid" not in where(page):
        page.keyboard.press("ArrowRight")
    text = entry.inner_text()
    assert "Its gradient rule" in text
    assert "def sigmoid(x, /):" in text
    assert "Incoming cotangent" not in text
    assert entry.locator("canvas[role=img][aria-label*=norm]").count() >= 2
    number = int(re.search(r"%(\d+)", where(page))[1])
    page.keyboard.press("End")
    assert "The gradients, complete" in entry.inner_text()
    assert "dL/dweight_hh_l0" in entry.inner_text()
    for _ in range(number - 1):
        page.keyboard.press("ArrowLeft")
    assert where(page) == f"backward {count - number + 1} of {count}: %{number} sigmoid"
    assert "Incoming cotangent, dL/d%" in entry.inner_text()
    assert "What its rule gives" in entry.inner_text()


def test_diagram_and_table_are_linked(opened, pages):
    path, _ = pages(400)
    page = opened(path)
    page.locator("#row-6").hover()
    assert page.locator("#diagram .chosen").get_attribute("data-entry") == "7"
    page.locator("#row-6").click()
    assert page.locator("#diagram .now").get_attribute("data-entry") == "7"
    assert where(page).startswith("forward 7 of ")
    page.locator('#diagram [data-entry="5"]').hover()
    assert page.locator("#rows .chosen").get_attribute("id") == "row-4"
    page.locator('#diagram [data-entry="5"]').click()
    assert where(page).startswith("forward 5 of ")
    page.keyboard.press("End")
    page.locator('#diagram [data-entry="5"]').click()
    assert where(page).startswith("backward ")
    assert " %5 " in where(page)


def test_the_table_by_keys(opened, pages):
    path, _ = pages(400)
    page = opened(path)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "table":
            break
    table = page.locator("#table")
    assert page.evaluate("document.activeElement.id") == "table"
    for _ in range(40):
        page.keyboard.press("ArrowDown")
    assert table.get_attribute("aria-activedescendant") == "row-40"
    assert page.locator("#row-40").get_attribute("aria-selected") == "true"
    assert page.locator("#diagram .chosen").get_attribute("data-entry") == "41"
    assert page.locator("#row-40").is_visible()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert where(page).startswith("forward 40 of ")
    assert page.locator("#row-39").get_attribute("aria-current") == "step"


def test_the_diagram_by_keys(opened, pages):
    path, _ = pages(400)
    page = opened(path)
    page.keyboard.press("PageDown")
    stops = page.locator("#diagram [data-entry][tabindex='0']")
    assert stops.count() == 1
    stops.focus()
    assert page.locator("#rows .chosen").get_attribute("id") == "row-10"
    assert stops.get_attribute("aria-label").startswith("%11 ")
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    assert page.locator("#rows .chosen").get_attribute("id") == "row-15"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert where(page).startswith("forward 15 of ")
    page.keyboard.press("ArrowRight")
    assert where(page).startswith("forward 16 of ")
    assert page.evaluate("document.activeElement.dataset.entry") == "16"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "entry"
    assert page.locator("#rows .chosen").count() == 0


def test_slider_and_buttons_by_keys_do_not_step_twice(opened, pages):
    path, _ = pages(400)
    page = opened(path)
    page.locator("#slider").focus()
    page.keyboard.press("ArrowRight")
    assert where(page).startswith("forward 2 of ")
    assert page.locator("#slider").get_attribute("aria-valuetext") == where(page)
    page.locator("#on").focus()
    page.keyboard.press("Space")
    assert where(page).startswith("forward 3 of ")
    page.keyboard.press("Enter")
    assert where(page).startswith("forward 4 of ")


def test_the_space_bar_plays_and_stops(opened, pages):
    path, _ = pages(400)
    page = opened(path)
    page.locator("#speed").select_option("25")
    page.locator("#entry").focus()
    page.keyboard.press("Space")
    sync_api.expect(page.locator("#where")).not_to_contain_text("forward 1 of")
    page.keyboard.press("Space")
    stopped = where(page)
    page.wait_for_timeout(120)
    assert where(page) == stopped
    assert page.locator("#announce").inner_text() == stopped


def test_flags_and_values_that_are_not_finite(opened, tmp_path):
    x = tg.tensor([[9.0, -9.0, 1.0]], requires_grad=True)
    with np.errstate(all="ignore"), draw.keep_values() as kept:
        loss = tg.sigmoid(x * 1.0).sum() + tg.log(x * 0.0 - 1.0).sum() + (x * 2.0 / 0.0).sum()
        page = opened(draw.explore(loss, tmp_path / "flags.html", kept=kept))
    page.keyboard.press("n")
    assert where(page).startswith("forward 2 ")
    assert page.locator("#entry .flag").all_inner_texts() == ["! 67% saturated"]
    assert page.locator("#announce").inner_text().endswith("67% saturated")
    page.keyboard.press("n")
    texts = page.locator("#entry table.values td").all_inner_texts()
    assert page.locator("#entry .flag").count() == 1
    assert "NaN" in texts
    assert page.locator("#entry td.strange").count() >= 3
    assert "cotangent" not in page.locator("body").inner_text()
    page.keyboard.press("End")
    assert "infinite of 3 in the cotangent" in page.locator("#rows").inner_text()


def test_after_backward_there_is_a_notice_and_no_way_back(opened, pages, tmp_path):
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    loss = tg.tanh(x).sum()
    loss.backward()
    x.data = x.numpy() * 0.9  # as an optimiser's step does
    page = opened(draw.explore(loss, tmp_path / "released.html"))
    assert "An earlier backward() has released" in page.locator("#notice").inner_text()
    assert "not kept" in page.locator("#entry").inner_text()
    page.keyboard.press("End")
    assert where(page) == "forward 2 of 2: %2 sum"


@pytest.mark.parametrize(
    "name", ["<b>&\"'</b>", "</script><script>throw 1</script>", "가나다 한글", "<!-- <script>", "\\u003c"]
)
def test_names_are_shown_as_they_are(opened, tmp_path, name):
    x = tg.tensor(np.zeros((0, 2)), requires_grad=True)
    x.name = name
    with tg.scope(name):
        loss = [tg.tanh(x), tg.tensor(2.0, requires_grad=True) * 3.0]
    page = opened(draw.explore(loss, tmp_path / "names.html", title=name))
    assert page.title() == name
    assert page.locator("h1").inner_text() == name
    assert name in page.locator("#entry").inner_text()
    assert page.locator("#row-0").locator("span").nth(4).inner_text() == name
    page.keyboard.press("End")
    assert f"dL/d{name}" in page.locator("#entry").inner_text()
    assert "no elements" in page.locator("#entry").inner_text()


def test_of_a_great_many_inputs_only_some_are_drawn(opened, tmp_path):
    xs = [tg.tensor(float(k), requires_grad=True) for k in range(300)]
    page = opened(draw.explore(tg.stack(xs), tmp_path / "stack.html"))
    for key in "Home", "End":
        page.keyboard.press(key)
        text = page.locator("#entry").inner_text()
        assert "and 276 more" in text
        assert len(page.locator("h2").inner_text()) < 200
        assert page.locator("#entry figure").count() < 80


def test_a_leaf_alone(opened, tmp_path):
    page = opened(draw.explore(tg.tensor([1.0], requires_grad=True), tmp_path / "leaf.html"))
    assert "No operation was recorded" in page.locator("#entry").inner_text()
    for key in "ArrowRight", "End", "n", "Space", "Home":
        page.keyboard.press(key)


def test_a_narrow_screen_scrolls_only_downwards(opened, pages):
    path, _ = pages(400)
    page = opened(path, viewport=NARROW)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for part in "controls", "diagram", "entry", "table":
        assert page.locator(f"#{part}").bounding_box()["width"] <= NARROW["width"]


def test_everything_that_can_be_used_has_a_name(opened, pages):
    path, _ = pages(400)
    page = opened(path)
    for element in page.locator("button, input, select, [tabindex='0'], canvas, svg").all():
        labels = "e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent"
        assert element.evaluate(f"e => {labels} || e.getAttribute('aria-labelledby')")
    assert page.locator("html").get_attribute("lang") == "en"
