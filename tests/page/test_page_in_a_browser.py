"""The page about a run, in a real browser: what it may do, its keys, its widths, dark and light."""

import io

import numpy as np
import pytest
from PIL import Image

from perl_jax.report import main
from tests.browser import CHROMIUM, WHY_NOT, running_browser
from tests.page.runs import HOSTILE, SEEN, grey, write_run
from tests.training.display.rows import row

pytestmark = [
    pytest.mark.story,
    pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT),
]

LONG = "W" * 3_000
WIDTHS = (360, 800, 1400)


def group(number, **changes):
    """One that flips nothing: all is right under both orders."""
    right = [[1.0, 1.0], [1.0, 1.0]]
    plain = {"accuracy": right, "reward": right, "rewards": {"accuracy": right}}
    return row(number, **{**plain, **changes})


ROWS = {
    1: [
        group(0, responses=[[HOSTILE, LONG], [LONG, HOSTILE]], source=HOSTILE, id=LONG),
        group(1, accuracy=[[1.0, 1.0], [0.0, 0.0]], reward=[[0.9, 0.9], [0.1, 0.1]]),
        group(2, orders=[[0, 1], [0, 1]], unpermuted="ambiguous_side"),
    ],
    2: [
        group(0, outcome="too_easy", questions=["<image> <image> A table:\n" + "|x" * 400] * 2),
        group(1, reward=[[None, None], [None, None]], outcome="unscored"),
    ],
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with running_browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    place = tmp_path_factory.mktemp("report")
    pictures = {"aa": grey(0), "bb": np.full((200, 256, 3), (200, 30, 30), np.uint8)}
    workdir = write_run(place / ("run" * 60), ROWS, pictures=pictures)
    main([f"--workdir={workdir}", f"--out={place / 'report.html'}"])
    return place / "report.html"


@pytest.fixture
def page(browser, report):
    browser.look(1400)
    browser.open(report)
    return browser


def shown(page):
    """Step and group of the groups that can be seen."""
    titles = "[...document.querySelectorAll('.group')].filter(one => one.checkVisibility())"
    return page.run(f"{titles}.map(one => one.querySelector('h3').textContent)")


def focused(page):
    return page.run("document.activeElement.id || document.activeElement.textContent.trim()")


def tab_to(page, id):
    for _ in range(60):
        if focused(page) == id:
            return
        page.press("Tab")
    raise AssertionError(f"{id} is not reached by tab")


def test_it_opens_without_an_error_or_a_request_and_no_text_becomes_code(page, report):
    for dark in (False, True):
        for width in WIDTHS:
            page.look(width, dark=dark)
            page.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
            page.picture()
    assert page.complaints == []
    assert page.requests == [report.as_uri()]
    assert page.run("document.scripts.length") == 1
    assert page.run("document.querySelector('.response').textContent") == SEEN


def test_the_policy_stops_what_it_does_not_name(page):
    page.run("const one = document.createElement('script'); one.textContent = 'window.ran = 1';"
             "document.body.append(one); document.body.setAttribute('style', 'color: red');"
             "new Image().src = 'http://127.0.0.1:9/a.png'")  # fmt: skip
    assert page.run("window.ran") is None
    complaints = " ".join(page.complaints)
    assert complaints.count("Content Security Policy") >= 3, complaints


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_never_scrolls_sideways(width, page):
    page.look(width)
    page.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    root = "document.documentElement"
    assert page.run(f"{root}.scrollWidth <= {root}.clientWidth")
    # What is wider than the page scrolls within itself, and can be reached by keyboard.
    wide = "[...document.querySelectorAll('*')].filter(one => one.scrollWidth > one.clientWidth + 1"
    wide += " && getComputedStyle(one).overflowX === 'auto')"
    assert page.run(f"{wide}.every(one => one.tabIndex === 0)")


def test_filters_work_by_keyboard(page):
    everything = [
        "step 1, group 0", "step 1, group 1", "step 1, group 2", "step 2, group 0",
        "step 2, group 1",
    ]  # fmt: skip
    assert shown(page) == everything
    tab_to(page, "of-step")
    page.press("ArrowDown", "ArrowDown")
    assert shown(page) == everything[3:]
    assert page.run("document.getElementById('shown').textContent") == "2 of 5 groups"
    tab_to(page, "of-outcome")
    page.press("t")
    assert shown(page) == ["step 2, group 0"]
    tab_to(page, "reset")
    page.press("Enter")
    assert shown(page) == everything
    page.run("document.getElementById('of-step').focus()")
    tab_to(page, "of-kind")
    page.press("ArrowDown")
    assert shown(page) == ["step 1, group 1"]
    page.press("ArrowDown", "ArrowDown")
    assert shown(page) == ["step 1, group 2"]
    page.press("Home")
    tab_to(page, "reward-to")
    page.press("0", ".", "6")
    # A group without a grade is in no range.
    assert shown(page) == ["step 1, group 1"]
    page.press("Enter")
    assert page.complaints == []


def test_a_source_of_any_name_can_be_chosen(page):
    page.run("const select = document.getElementById('of-source');"
             f"select.value = {SEEN!r}; select.dispatchEvent(new Event('input'))")  # fmt: skip
    assert shown(page) == ["step 1, group 0"]


def test_arrows_go_through_the_groups_and_enter_opens_one(page):
    page.run("document.querySelectorAll('.group')[1].firstElementChild.focus()")
    page.press("ArrowDown")
    assert "step 1, group 2" in focused(page)
    page.press("Enter")
    assert page.run("document.activeElement.parentElement.open")
    page.press("End")
    assert "step 2, group 1" in focused(page)
    page.press("ArrowDown", "ArrowUp")
    assert "step 2, group 0" in focused(page)
    page.press("Home")
    assert "step 1, group 0" in focused(page)


def test_what_has_the_focus_can_be_seen_and_everything_has_a_name(page):
    page.press("Tab")
    assert focused(page) == "Skip to the rollouts"
    assert page.run("document.activeElement.getBoundingClientRect().left") >= 0
    page.press("Enter")
    assert page.run("location.hash") == "#rollouts"
    tab_to(page, "of-step")
    outline = "getComputedStyle(document.activeElement)"
    assert page.run(f"{outline}.outlineStyle + {outline}.outlineWidth") == "solid3px"
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {}
    for node in nodes:
        if not node.get("ignored"):
            name = node.get("name", {}).get("value", "")
            roles.setdefault(node["role"]["value"], []).append(name)
    assert len(roles["main"]) == len(roles["navigation"]) == 1
    for role in ("combobox", "spinbutton", "button", "region", "image", "link"):
        assert roles[role], role
        assert all(roles[role]), role


def test_light_and_dark_are_as_the_reader_prefers(page):
    lightness = {}
    for dark in (False, True):
        page.look(800, dark=dark)
        pixels = np.asarray(Image.open(io.BytesIO(page.picture())).convert("L"))
        lightness[dark] = float(np.median(pixels))
    assert lightness[False] > 230
    assert lightness[True] < 60


def test_pictures_are_drawn_in_their_orders(page):
    page.run("document.documentElement.style.scrollBehavior = 'auto';"
             "document.querySelector('.columns').scrollIntoView()")  # fmt: skip
    window = Image.open(io.BytesIO(page.picture())).convert("RGB")
    boxes = page.run(
        "[...document.querySelectorAll('.group')[0].querySelectorAll('.picture')].map(one => {"
        "const box = one.getBoundingClientRect();"
        "return [box.left + box.width / 2, box.top + box.height / 2]; })"
    )
    seen = ["red" if window.getpixel((int(x), int(y)))[0] > 150 else "black" for x, y in boxes]
    assert seen == ["black", "red", "red", "black"]
