"""The demo's questions: answers recomputed from the labels, splits, biases."""

import io
import itertools
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from perl_jax.data.sources.digits import KINDS, Digits, DigitsConfig, words
from perl_jax.models.fresh import FreshModel, write_fresh_model
from perl_jax.permutation import movable_slots, permute, rule_for
from perl_jax.processing import load_processor

ORDINALS = ("first", "second", "third", "fourth")


def labels():
    """The label of every scan, by its PNG pixels."""
    data = load_digits()
    grey = (255 - data.images * (255 / 16)).astype(np.uint8)
    found = {}
    for pixels, label in zip(grey, data.target, strict=True):
        image = Image.fromarray(pixels).resize((28, 28), Image.Resampling.BICUBIC)
        found.setdefault(image.tobytes(), set()).add(int(label))
    return found


@pytest.fixture(scope="module")
def shown():
    known = labels()

    def digits(example):
        pixels = [Image.open(io.BytesIO(image)).tobytes() for image in example.images]
        assert all(len(known[p]) == 1 for p in pixels)
        return [next(iter(known[p])) for p in pixels]

    return digits


def right_answer(question, digits):
    """The answer as a person would find it, from the text and the labels alone."""
    if "Put the images" in question:
        falling = "from the largest" in question
        places = sorted(range(len(digits)), key=lambda n: digits[n], reverse=falling)
        return "→".join(str(place + 1) for place in places)
    if "Reference" in question:
        return "ABCD"[digits[1:].index(digits[0])]
    if "Which image shows the" in question:
        wanted = max(digits) if "largest" in question else min(digits)
        return "ABCD"[digits.index(wanted)]
    one, other = (ORDINALS.index(word) for word in re.findall("|".join(ORDINALS), question))
    truth = "True" if digits[one] > digits[other] else "False"
    return re.search(rf"([AB])\. {truth}", question)[1]


def test_every_answer_is_what_the_labels_say(shown):
    source = Digits(DigitsConfig(rows=400))
    for n in range(400):
        example = source[n]
        assert example.answer == right_answer(example.question, shown(example)), example


def test_permuted_answers_are_what_the_labels_say_in_every_order(shown):
    source = Digits(DigitsConfig(rows=40, seed=5))
    for n in range(40):
        example = source[n]
        rule = rule_for(example)
        movable = movable_slots(example, rule)
        for moved in itertools.permutations(movable):
            order = list(range(len(example.images)))
            for slot, image in zip(movable, moved, strict=True):
                order[slot] = image
            permuted = permute(example, order, rule)
            assert permuted.answer == right_answer(permuted.question, shown(permuted))


def test_the_response_names_every_image_and_ends_in_the_answer(shown):
    source = Digits(DigitsConfig(rows=80))
    for n in range(80):
        example = source[n]
        response = example.metadata["response"]
        thought = re.fullmatch(r"<think> (.*)=(.*)</think>\\boxed\{(.*)\}", response)
        assert thought[3] == example.answer
        assert [int(pair[1]) for pair in thought[1].split()] == shown(example)


def test_training_and_held_out_rows_share_no_image():
    parts = [
        {
            image
            for n in range(300)
            for image in Digits(DigitsConfig(split=split, rows=300))[n].images
        }
        for split in ("train", "held_out")
    ]
    assert not parts[0] & parts[1]
    assert min(map(len, parts)) > 250


def test_every_kind_comes_equally_often_with_2_to_4_images():
    source = Digits(DigitsConfig(rows=400))
    rows = [source[n] for n in range(400)]
    assert Counter(row.metadata["question_type"] for row in rows) == dict.fromkeys(KINDS, 100)
    assert {len(row.images) for row in rows} == {2, 3, 4}


def is_first(example):
    answer = example.answer
    return answer == "A" or answer == "→".join(str(n + 1) for n in range(len(example.images)))


@pytest.mark.parametrize(("skew", "least", "most"), [(0.8, 0.76, 0.84), (1.0, 1, 1), (0.0, 0, 0)])
def test_the_skew_is_the_share_of_right_answers_in_the_first_place(skew, least, most):
    source = Digits(DigitsConfig(rows=2000, skew=skew))
    for kind in range(4):
        share = np.mean([is_first(source[n]) for n in range(kind, 2000, 4)])
        assert least <= share <= most, KINDS[kind]


def test_without_a_skew_every_letter_is_right_equally_often():
    source = Digits(DigitsConfig(rows=4000, kinds=("property",), images=(3, 3)))
    counts = Counter(source[n].answer for n in range(4000))
    assert all(abs(counts[letter] / 4000 - 1 / 3) < 0.03 for letter in "ABC")


def test_first_responses_begin_at_their_row_and_leave_the_answer_alone():
    plain = Digits(DigitsConfig(rows=200))
    biased = Digits(DigitsConfig(rows=200, first_responses=1.0, first_from=100))
    for n in range(200):
        assert biased[n].answer == plain[n].answer
        if n < 100:
            assert biased[n].metadata == plain[n].metadata
        else:
            boxed = biased[n].metadata["response"].split("boxed{")[1]
            assert boxed in ("A}", "1→2}", "1→2→3}", "1→2→3→4}")


def test_a_row_is_a_function_of_the_configuration_and_its_number():
    assert Digits(DigitsConfig(rows=9))[7] == Digits(DigitsConfig(rows=9))[7]
    assert Digits(DigitsConfig(rows=9, seed=1))[7].images != Digits(DigitsConfig(rows=9))[7].images
    digests = {Digits(DigitsConfig(rows=9, seed=n)).fingerprint() for n in range(3)}
    assert len(digests) == 3


def test_the_vocabulary_spells_no_word_of_the_demo_in_pieces(tmp_path):
    processor = load_processor(write_fresh_model(tmp_path / "m", FreshModel(words=words())))
    source = Digits(DigitsConfig(rows=40))
    for n in range(40):
        text = source[n].question.replace("<image>", "") + source[n].metadata["response"]
        tokens = processor.tokenizer(text)["input_ids"]
        pieces = processor.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
        assert len(tokens) < 1.25 * len(pieces), processor.tokenizer.convert_ids_to_tokens(tokens)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "test"}, "split: expected one of train, held_out; got 'test'"),
        ({"rows": 0}, "rows: expected at least 1"),
        ({"kinds": ("positions",)}, "kinds: expected some of position"),
        ({"images": (1, 3)}, "images: expected a range within 2 to 4"),
        ({"skew": 1.5}, "skew: expected a share"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        DigitsConfig(**fields)
