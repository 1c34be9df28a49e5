import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from perl_jax.data.sources.digits import Digits, DigitsConfig
from perl_jax.data.sources.parquet import ParquetSource
from perl_jax.inspection.cards import Look
from perl_jax.inspection.show import choose, main, render
from perl_jax.inspection.thumbnails import thumbnail
from perl_jax.permutation import orders_for, rule_for
from perl_jax.types import Example, Turn
from tests.data.sources.parquet_files import digit_png, verl_row, write_verl
from tests.inspection.multi_image_rows import GREYS, row
from tests.inspection.page_reader import read_page

NLVR2 = "Mantis-Instruct-nlvr2"
# Everything that makes a browser do more than show text and pictures.
HARMLESS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "article", "section",
    "div", "h1", "h2", "h3", "h4", "p", "span", "ol", "ul", "li", "figure", "figcaption", "img",
    "br", "strong", "del", "ins", "details", "summary", "table", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "id", "class", "dir", "src", "width",
    "height", "alt", "aria-label", "scope",
}  # fmt: skip
HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}\u202e&lt;"
ANSWER = HOSTILE.replace("\u202e", "")  # such an answer would make the row bad


def shown(source, count, **look):
    text, _ = render("rows", source, range(count), Look(permuted=True, **look))
    return read_page(text)


def write_rows(tmp_path, *rows):
    return ParquetSource(write_verl(tmp_path / "rows.parquet", list(rows)))


def pixels(uri):
    kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.+)", uri).groups()
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.format.lower() == kind
    return np.asarray(image)


def side_texts(side):
    return [side.one("question").text, side.one("answer").text]


@pytest.fixture(scope="module")
def digits():
    source = Digits(DigitsConfig(rows=24))
    return source, shown(source, 24, seed=3).all("row")


def test_a_page_has_what_the_rows_have_and_what_a_run_would_show(digits):
    source, cards = digits
    for number, card in enumerate(cards):
        own = source[number]
        orders = orders_for(own, rule_for(own), seed=3, step=0, rate=1.0, num_orders=1)
        permuted, order = orders.examples[1], orders.orders[1] + 1
        assert card.one("h2").text == own.id
        assert side_texts(card.one("own")) == [own.question, own.answer]
        assert side_texts(card.one("other")) == [permuted.question, permuted.answer]
        assert card.one("other").one("order").text == " ".join(map(str, order))
        state = card.one("state").text
        assert ("changes" in state) == (permuted.answer != own.answer)


def test_exactly_what_changed_is_marked(digits):
    _, cards = digits
    marks = 0
    for card in cards:
        sides = card.one("own"), card.one("other")
        for name in ("question", "answer"):
            before, after = (re.findall(r"<image>|\w+", side.one(name).text) for side in sides)
            differing = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
            assert [element.text for element in sides[0].one(name).all("del")] == [
                old for old, _ in differing
            ]
            assert [element.text for element in sides[1].one(name).all("ins")] == [
                new for _, new in differing
            ]
            marks += len(differing)
    assert marks > 20


def test_images_are_those_of_the_slots_pixel_for_pixel(digits):
    source, cards = digits
    for number, card in enumerate(cards):
        own = source[number]
        order = [int(n) - 1 for n in card.one("other").one("order").text.split()]
        for side, images in (
            ("own", own.images),
            ("other", [own.images[slot] for slot in order]),
        ):
            pictures = card.one(side).all("img")
            assert len(pictures) == len(images)
            for picture, image in zip(pictures, images, strict=True):
                expected = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
                np.testing.assert_array_equal(pixels(picture.attributes["src"]), expected)
                assert picture.attributes["width"] == "84"  # three pixels for each


def test_text_of_the_data_is_text_and_nothing_else(tmp_path):
    hostile = row(
        0, HOSTILE, f"<image><image>{HOSTILE}", GREYS[:2], ANSWER,
        extra_info={"split": HOSTILE, "index": 0, "answer": HOSTILE, "level": 1},
        question_type=HOSTILE,
    )  # fmt: skip
    page = shown(write_rows(tmp_path, hostile), 1)
    for element in page.walk():
        assert element.tag in HARMLESS | {"page"}
        assert element.attributes.keys() <= ATTRIBUTES
        assert element.attributes.get("src", "data:image/").startswith("data:image/")
    seen = HOSTILE.replace("\u202e", r"\u202e")
    card = page.one("row")
    assert side_texts(card.one("own")) == [f"<image><image>{seen}", ANSWER]
    assert [cell.text for cell in card.all("td")].count(seen) == 3
    assert seen in card.one("why").text  # how to declare a rule for this source


def test_a_page_forbids_the_browser_to_load_anything(digits):
    page = shown(digits[0], 1)
    (policy,) = [e for e in page.all("meta") if "http-equiv" in e.attributes]
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:;")
    assert "url(" not in page.one("style").text
    assert "@import" not in page.one("style").text


def test_rows_that_keep_their_order_say_why_and_what_in_them_is_the_cause(tmp_path):
    question = "<image> <image> The dog on the right is red.\n(A) True\n(B) False"
    card = shown(write_rows(tmp_path, row(0, NLVR2, question, GREYS[:2], "A")), 1).one("row")
    assert card.one("reason").text == "ambiguous_side"
    assert "left or right may mean an image or a place inside one" in card.one("why").text
    assert "right" in card.one("why").text
    assert not card.all("other")
    assert not card.all("del")


def test_bad_rows_are_shown_with_their_reason(tmp_path):
    bad = [
        verl_row(0, [{"bytes": None, "path": None}] * 2),
        verl_row(1, question="<image>One of two."),
        verl_row(2, [{"bytes": b"GIF89a", "path": None}, {"bytes": digit_png(0), "path": None}]),
        verl_row(3, question="<image><image>\nA. 1\nB. 2", reward_model={
            "style": "rule", "ground_truth": "C"}),
        row(4, NLVR2, "<image><image>The left image.\n(A) x\n(B) y", GREYS[:2], "A"),
    ]  # fmt: skip
    page = shown(write_rows(tmp_path, *bad), 5)
    reasons = [card.one("reason").text for card in page.all("row")[:4]]
    assert reasons == ["missing_image", "image_count", "bad_image", "letter_outside_options"]
    assert page.all("row")[4].one("state").text.startswith("permuted")
    assert "neither bytes nor a path" in page.all("row")[0].one("why").text
    assert page.all("row")[2].one("broken").text == "cannot be decoded"
    assert len(page.all("row")[2].all("img")) == 1
    assert re.search(r"5 of 5 rows:\s+4 bad,\s+1 permuted", page.one("lead").text)


def test_without_permuted_rows_are_shown_as_they_are(digits):
    text, counts = render("digits", digits[0], [0], Look())
    page = read_page(text)
    assert counts == {"read": 1}
    assert not page.all("other")
    assert not page.all("state")


def test_options_that_stand_apart_are_listed_and_marked():
    question = "<image><image><image>Which picture is red?"

    images = tuple(np.full((40, 60, 3), grey, np.uint8) for grey in (10, 90, 200))
    example = Example("a", NLVR2, question, images, "A", ("(A) Image 1", "(B) Image 3"))
    card = shown([example], 1).one("row")
    order = [int(n) for n in card.one("other").one("order").text.split()]
    after = [option.text for option in card.one("other").all("option")]
    assert after == [f"(A) Image {order.index(1) + 1}", f"(B) Image {order.index(3) + 1}"]
    marked = [e.text for option in card.one("other").all("option") for e in option.all("ins")]
    assert marked == [text[-1] for text, n in zip(after, "13", strict=True) if text[-1] != n]


def test_earlier_turns_are_shown_and_marked():
    images = tuple(np.full((40, 60, 3), grey, np.uint8) for grey in (10, 90))
    turns = (Turn("system", "Be brief."), Turn("user", "<image><image> What does image 1 show?"))
    example = Example("a", NLVR2, "And the other?", images, "A dog", turns=turns)
    card = shown([example], 1).one("row")
    texts = [turn.text for turn in card.one("other").all("turn")]
    assert texts == ["Be brief.", "<image><image> What does image 2 show?"]
    assert [e.text for e in card.one("other").all("turn")[1].all("ins")] == ["2"]
    assert "Earlier question" in card.text


def test_large_images_are_shown_small():
    noise = np.random.default_rng(0).integers(0, 256, (600, 900, 3), dtype=np.uint8)
    picture = thumbnail(noise, 192)
    assert (picture.width, picture.height, picture.original) == (192, 128, "900 by 600")
    assert pixels(picture.uri).shape == (128, 192, 3)
    assert len(picture.uri) < 50_000


def test_rows_are_the_first_or_drawn_by_seed_or_named():
    source = Digits(DigitsConfig(rows=50))
    assert choose(source, 3) == [0, 1, 2]
    assert choose(source, 99) == list(range(50))
    drawn = choose(source, 9, sample=4)
    assert drawn == sorted(set(drawn)) == choose(source, 9, sample=4)
    assert drawn not in (choose(source, 9), choose(source, 9, sample=5))
    assert choose(source, 3, ids=["train-0-7", "train-0-2"]) == [2, 7]
    with pytest.raises(ValueError, match="found none with 'train-0-50'"):
        choose(source, 3, ids=["train-0-7", "train-0-50"])


def test_the_command_writes_one_page_and_says_where(tmp_path, capsys):
    out = tmp_path / "page.html"
    main(["digits", "--permuted", "--n=2", f"--out={out}", "--id=train-0-3"])
    assert capsys.readouterr().out == f"1 of 4096 rows (1 permuted): {out}\n"
    assert [card.one("h2").text for card in read_page(out.read_text()).all("row")] == ["train-0-3"]


def test_only_a_page_is_ever_written_over(tmp_path, capsys):
    data = tmp_path / "rows.parquet"
    data.write_bytes(b"data")
    with pytest.raises(SystemExit):
        main(["digits", f"--out={data}"])
    assert "expected a file that ends in .html" in capsys.readouterr().err
    assert data.read_bytes() == b"data"


def test_a_permuted_row_shows_what_its_words_were_taken_for():
    question = "<image><image>Does the left image show 2 dogs?"
    images = tuple(np.full((40, 60, 3), grey, np.uint8) for grey in (10, 90))
    card = shown([Example("a", NLVR2, question, images, "A", ("(A) Yes", "(B) No"))], 1).one("row")
    told = {row.one("th").text: row.one("td").text for row in card.all("tr")}
    assert told["question: left"] == "image 1"
    assert told["question: 2"] == "a count of things: dogs"
