"""The closed list of questions under which a bare answer names an image."""

import re
from pathlib import Path

import pytest

from perl_jax.permutation import CannotPermute, Rule, permute
from perl_jax.permutation.reading.questions import FORMS, asked_for, asking
from perl_jax.permutation.reading.words import NOUNS
from perl_jax.types import Example

ON_THE_LIST = [
    ("Which image shows a dog?", "image"),
    ("Which picture?", "image"),
    ("In which photo is the dog asleep?", "image"),
    ("Which of the three images was taken at night?", "image"),
    ("Which one of the pictures is fake?", "image"),
    ("Among these images, which one of the images is fake?", "image"),
    ("Select the image that shows a dog.", "image"),
    ("Please find the darkest photo.", "image"),
    ("Can you identify the image with a dog?", "image"),
    ("Which images show dogs?", "images"),
    ("Which two photos are alike?", "images"),
    ("Choose all images that show a dog.", "images"),
    ("Sort the images by size.", "order"),
    ("Please rank the four photos from dark to bright.", "order"),
    ("Put the images in the right order.", "order"),
    ("What is the correct chronological order of the images?", "order"),
    ("In which order were the images taken?", "order"),
    ("Here is a caption. Which image fits? Answer with the number of the image only.", "image"),
    ("Which image shows a dog? Explain your reasoning.", "image"),
]

NOT_ON_THE_LIST = [
    "Which dog is largest?",
    "Which image side is darker?",
    "Which image number is written on the wall?",
    "Which image shows a dog, and how many are there?",
    "Which image shows a dog and which a cat?",
    "Which image shows a dog? How old is it?",
    "Which image shows a dog? Answer with the number of dogs.",
    "Which image shows a dog? Give the number of its legs.",
    "Which of them is darker?",
    "Which one is darker?",
    "Find the odd one out.",
    "Find the number of the image with a dog.",
    "What is the position of the darkest image?",
    "Which image is between the dark ones?",
    "Which image should be moved to the end?",
    "Which image is in the wrong place?",
    "Counting from the right, which image shows a dog?",
    "Which image from the end shows a dog?",
    "Sort the dogs by size.",
    "Sort the numbers in the images.",
    "What is the rank of each image?",
    "Sort the images and list the number of dogs.",
    "How many images show a dog?",
    "Is it dark?",
    "",
]


@pytest.mark.parametrize(("question", "kind"), ON_THE_LIST)
def test_a_question_on_the_list_asks_for_images(question, kind):
    assert asked_for(question, NOUNS) == kind


@pytest.mark.parametrize("question", NOT_ON_THE_LIST)
def test_any_other_question_asks_for_none(question):
    assert asked_for(question, NOUNS) is None


def test_every_form_of_the_list_is_tried():
    assert {kind for _, kind, _ in FORMS} == {kind for _, kind in ON_THE_LIST}


@pytest.mark.parametrize("question", NOT_ON_THE_LIST[:-3])
@pytest.mark.parametrize("answer", ["2", "second", "the left one", "B", "1 and 2"])
def test_a_bare_answer_to_any_other_question_is_refused(question, answer):
    own = Example("x", "mine", question, ("a", "b", "c"), answer)
    with pytest.raises(CannotPermute):
        permute(own, (1, 2, 0), Rule(answer="reference"))


def test_the_page_lists_every_form():
    page = (Path(__file__).parents[3] / "docs" / "permutation.md").read_text()
    listed = re.findall(r"^\| (.*?) \| (?:an image|a set of images|an order) \|$", page, re.M)
    assert listed == [example for example, _, _ in FORMS]


def test_a_question_of_another_form_is_told_from_an_instruction():
    assert asking("Which image is dark? Answer with the letter only.") == ("Which image is dark?",)
    assert len(asking("Which image is dark? Answer with the number of dogs.")) == 2
