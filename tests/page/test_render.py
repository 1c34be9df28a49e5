import base64
import hashlib
import io
import re

import numpy as np
import pytest
from PIL import Image

from perl_jax.page.render import render
from perl_jax.page.run_files import RunFiles
from tests.inspection.page_reader import read_page
from tests.page.runs import HOSTILE, SEEN, write_run
from tests.training.display.rows import row

# Everything that the page is made of; anything else would be from the data.
TAGS = {
    "page", "html", "head", "meta", "title", "style", "script", "body", "header", "nav", "main",
    "section", "div", "details", "summary", "h1", "h2", "h3", "h4", "h5", "p", "a", "span", "b",
    "strong", "del", "ins", "ol", "ul", "li", "dl", "dt", "dd", "figure", "figcaption", "table",
    "caption", "thead", "tbody", "tr", "th", "td", "svg", "path", "text", "circle", "fieldset",
    "legend", "label", "select", "option", "input", "button", "output", "noscript",
}  # fmt: skip


def written(workdir, limit=200):
    with RunFiles(str(workdir)) as files:
        return render(files, limit)


def page_of(workdir, limit=200):
    return read_page(written(workdir, limit).text)


def policy_of(page):
    (policy,) = [e for e in page.all("meta") if "http-equiv" in e.attributes]
    parts = policy.attributes["content"].split("; ")
    return {part.split(" ")[0]: part.split(" ")[1:] for part in parts}


def hash_of(element):
    digest = hashlib.sha256(element.text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def photographs(count, side=256):
    """Pictures of noise, which no format makes small."""
    rng = np.random.default_rng(0)
    return {f"{n:x}": rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for n in range(count)}


def test_a_page_shows_the_run_its_curves_its_evaluations_and_its_groups(tmp_path):
    page = page_of(write_run(tmp_path / "mine"))
    assert page.one("h1").text == "mine"
    assert "2 of 2 steps, in 62 seconds" in page.one("lead").text
    assert "100.0 %, after step 0" in page.one("lead").text
    titles = [chart.one("strong").text for chart in page.all("chart")]
    assert titles == [
        "Training accuracy", "Held-out examples", "Groups drawn, by outcome",
        "Examples kept in order, by reason", "Examples that are permuted",
    ]  # fmt: skip
    assert "ambiguous_side" in page.text
    assert [card.one("h3").text for card in page.all("group")] == [
        "step 1, group 0", "step 2, group 0",
    ]  # fmt: skip
    summaries = [one.text for one in page.one("main").all("summary")]
    assert "After step 2" in summaries
    assert "Showing 2 of 2 groups" in page.text


def test_a_picture_is_held_once_and_shown_in_its_slots(tmp_path):
    page = page_of(write_run(tmp_path))
    _, style = page.all("style")
    uris = re.findall(r'\.(i\d+)\{[^}]*url\("data:image/png;base64,([^"]+)"\)', style.text)
    levels = {
        name: int(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).mean())
        for name, data in uris
    }
    assert sorted(levels.values()) == [0, 255]
    for card in page.all("group"):
        own, other = (
            [levels[picture.attributes["class"].split()[1]] for picture in column.all("picture")]
            for column in card.all("column")
        )
        assert (own, other) == ([0, 255], [255, 0])
    assert "data:" not in page.one("body").text


def test_what_a_browser_may_do_is_shown_pictures_and_this_script(tmp_path):
    page = page_of(write_run(tmp_path))
    styles, (script,) = page.all("style"), page.all("script")
    assert policy_of(page) == {
        "default-src": ["'none'"], "img-src": ["data:"], "base-uri": ["'none'"],
        "form-action": ["'none'"], "style-src": [hash_of(one) for one in styles],
        "script-src": [hash_of(script)],
    }  # fmt: skip
    for element in page.walk():
        # Attributes would need a weaker policy.
        assert not {"style", "onclick", "onerror", "src"} & element.attributes.keys()
        assert element.attributes.get("href", "#").startswith("#")


def test_text_of_the_run_is_text_and_nothing_else(tmp_path):
    hostile = row(
        id=HOSTILE, source=HOSTILE, questions=[HOSTILE, HOSTILE + " 2"], truths=[HOSTILE] * 2,
        responses=[[HOSTILE, HOSTILE]] * 2, unpermuted=HOSTILE, outcome=HOSTILE,
        images=["../../secret", "bb"], rewards={HOSTILE: [[1.0, 1.0], [1.0, 1.0]]},
    )  # fmt: skip
    text = written(write_run(tmp_path / "a<b>", {1: [hostile]})).text
    page = read_page(text)
    assert {element.tag for element in page.walk()} <= TAGS
    assert len(page.all("script")) == 1
    assert {one.text for one in page.all("response")} == {SEEN}
    assert page.one("group").attributes["data-source"] == SEEN
    assert [one.text for one in page.all("option") if one.text == SEEN]
    assert page.one("h1").text == "a<b>"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u202a-\u202e]", text)


def test_a_digest_of_the_log_leads_nowhere_else(tmp_path):
    workdir = write_run(tmp_path / "run", {1: [row(images=["../../secret", "bb"])]})
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.jpg")
    page = page_of(workdir)
    assert len(page.all("picture")) == 2
    assert [one.text for one in page.all("broken")] == ["not kept", "not kept"]
    assert "1 pictures were not kept" in page.text


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"evaluations": ()}, "No evaluation was logged."),
        ({"rows": {}}, "No rollouts were logged."),
    ],
)
def test_what_a_run_has_not_logged_is_said(changes, missing, tmp_path):
    page = page_of(write_run(tmp_path, **changes))
    assert missing in [one.text for one in page.all("none")]
    assert policy_of(page)["script-src"] == [hash_of(page.one("script"))]


def test_a_run_that_has_logged_nothing_is_shown(tmp_path):
    workdir = write_run(tmp_path, {}, evaluations=(), ended=False)
    (workdir / "metrics.jsonl").unlink()
    page = page_of(workdir)
    assert "0 of 2 steps: not finished, or still running." in page.one("lead").text
    assert "No step was logged." in [one.text for one in page.all("none")]


def test_of_many_groups_a_fair_part_is_shown_and_counted(tmp_path):
    rows = {
        step: [row(n, source="rare" if n == 9 else "common") for n in range(10)]
        for step in range(1, 9)
    }
    found = written(write_run(tmp_path, rows, steps=8), limit=16)
    assert (found.shown, found.logged) == (16, 80)
    page = read_page(found.text)
    shown = [card.attributes["data-source"] for card in page.all("group")]
    assert (shown.count("rare"), shown.count("common")) == (8, 8)
    assert re.search(r"Showing 16 of 80 groups that were logged, the same number of", page.text)
    assert [card.attributes["data-step"] for card in page.all("group")] == sorted(
        [str(step) for step in range(1, 9)] * 2
    )


def test_two_hundred_groups_of_photographs_and_long_responses_are_under_five_megabytes(tmp_path):
    names = list(pictures := photographs(60))
    long = "".join(chr(97 + n % 26) for n in range(30_000)) + r"\boxed{A}"
    rows = {
        step: [
            row(n, images=[names[(n + step) % 60], names[(n + 1 + step) % 60]],
                responses=[[f"{n} {long}", "B"], [f"{step} {long}", "C"]])
            for n in range(50)
        ]
        for step in range(1, 6)
    }  # fmt: skip
    found = written(write_run(tmp_path, rows, steps=5, pictures=pictures))
    assert (found.shown, found.logged) == (200, 250)
    assert len(found.text.encode()) < 5_000_000
    page = read_page(found.text)
    assert "responses longer than" in page.text
    assert all(r"\boxed{A}" in card.all("response")[0].text for card in page.all("group"))


def test_where_nothing_else_helps_fewer_groups_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr("perl_jax.page.render._BYTES_OF_A_GROUP", 300)
    rows = {1: [row(n) for n in range(24)]}
    found = written(write_run(tmp_path, rows, steps=1))
    assert 0 < found.shown < 24
    assert len(found.text.encode()) <= 200 * 300
    assert f"Showing {found.shown} of 24 groups" in read_page(found.text).text


def colours(style, scheme):
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    chosen = blocks[0::2] if scheme == "light" else blocks[1::2]
    return dict(re.findall(r"--([\w-]+): (#\w+)", " ".join(chosen)))


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_stand_out_in_the_light_and_in_the_dark(scheme, tmp_path):
    style = page_of(write_run(tmp_path)).all("style")[0].text
    found = colours(style, scheme)

    def contrast(one, other):
        light, dark = sorted((luminance(found[one]), luminance(found[other])), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    for ink in ("ink", "faint", "bad", "c0"):
        assert contrast(ink, "card") >= 4.5, ink
        assert contrast(ink, "paper") >= 4.5, ink
    assert contrast("ink", "old") >= 4.5
    assert contrast("ink", "new") >= 4.5
    for curve in ("c0", "c1", "c2", "c3", "focus", "old-line", "new-line"):
        assert contrast(curve, "card") >= 3, curve
