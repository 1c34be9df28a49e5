"""What is read of Mantis-Instruct permutes under the shipped rules, and the answer follows."""

import re
from itertools import permutations

import pytest

from perl_jax.datasets.registry import DATA_SETS
from perl_jax.permutation import CannotPermute, movable_slots, permute, rule_for
from tests.datasets.mantis_files import (
    DREAMSIM,
    DREAMSIM_SHORT,
    NLVR2,
    paths,
    row,
    talk,
    write_parquet,
    write_zip,
)


def read(directory, subset, images, conversation):
    names = [f"{n}.png" for n in range(images)]
    write_parquet(directory, subset, [row("1", paths(*names), conversation, subset)])
    write_zip(directory, subset, {name: n for n, name in enumerate(names)})
    (example,) = DATA_SETS[f"mantis_{subset}"].splits["train"](directory)
    return example


def orders(example):
    """Every order that the rule allows, with the permuted example."""
    rule = rule_for(example)
    movable = movable_slots(example, rule)
    for moved in permutations(movable):
        order = list(range(len(example.images)))
        for slot, old in zip(movable, moved, strict=True):
            order[slot] = old
        yield order, permute(example, order, rule)


def test_the_sides_of_nlvr2_follow_their_images(tmp_path):
    statement = "The left image shows a dog and the right image shows a cat."
    example = read(tmp_path, "nlvr2", 2, talk(NLVR2.format(statement), "B"))
    (_, same), (_, swapped) = orders(example)
    assert same == example
    assert swapped.images == example.images[::-1]
    assert "The right image shows a dog and the left image shows a cat." in swapped.question
    assert (swapped.answer, swapped.options) == ("B", example.options)


@pytest.mark.parametrize("options", [(2, 3), (3, 2)])
def test_the_letter_of_dreamsim_stays_with_its_option_and_the_option_with_its_image(
    tmp_path, options
):
    example = read(tmp_path, "dreamsim", 3, talk(DREAMSIM.format(1, *options), "B"))
    reference, right = example.images[0], example.images[options[1] - 1]
    found = list(orders(example))
    assert len(found) == 6
    for _, permuted in found:
        number = int(re.search(r"image (\d) is the reference", permuted.question)[1])
        assert permuted.images[number - 1] == reference
        option = next(text for text in permuted.options if text.startswith(f"({permuted.answer})"))
        assert permuted.images[int(option[-1]) - 1] == right


def test_the_short_answer_of_dreamsim_names_its_image_in_every_order(tmp_path):
    sentence = "Image 3 is more similar to the reference image."
    example = read(tmp_path, "dreamsim", 3, talk(DREAMSIM_SHORT.format(2), sentence))
    assert example.answer == "Image 3"
    for _, permuted in orders(example):
        assert permuted.images[int(permuted.answer[-1]) - 1] == example.images[2]


@pytest.mark.parametrize(
    "question", ["<image>Which is most like it?", "Which is most like it?<image>"]
)
def test_the_letter_of_iconqa_follows_its_image_and_the_question_image_stays(tmp_path, question):
    text = f"{question}\nA. <image>\nB. <image>\nC. <image>"
    example = read(tmp_path, "iconqa", 4, talk(text, "Answer: C"))
    assert (example.answer, len(example.options)) == ("C", 3)
    found = list(orders(example))
    assert len(found) == 6
    for order, permuted in found:
        assert order[0] == 0
        slot = 1 + "ABC".index(permuted.answer)
        assert permuted.images[slot] == example.images[3]
        assert (permuted.question, permuted.options) == (example.question, example.options)


def test_both_forms_of_imagecode_follow_their_image(tmp_path):
    asked = "Given this detailed description:\nA red door.\nWhich image provided best matches it?"
    numbered = read(tmp_path, "imagecode", 3, talk("<image>" * 3 + asked, "Answer: Image 2"))
    lettered = "\n".join([asked, *(f"{letter}. <image>" for letter in "ABC")])
    options = read(tmp_path, "imagecode", 3, talk(lettered, "Answer: B"))
    assert (numbered.answer, options.answer) == ("Image 2", "B")
    for _, permuted in orders(numbered):
        assert permuted.images[int(permuted.answer[-1]) - 1] == numbered.images[1]
    for _, permuted in orders(options):
        assert permuted.images["ABC".index(permuted.answer)] == options.images[1]


def test_frames_of_a_video_stay_in_order(tmp_path):
    example = read(tmp_path, "star", 2, talk("Which?\nA: x\nB: y\n", "A: x"))
    with pytest.raises(CannotPermute, match="temporal"):
        permute(example, (1, 0), rule_for(example))
