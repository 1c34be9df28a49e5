"""Sentences that depend on the order of the images although they name none of them."""

import pytest

from perl_jax.permutation import CannotPermute, Rule, permute
from perl_jax.types import Example

REFERENCE, ORDERS = Rule(answer="reference"), Rule(answer="relabel_order")

# Question, answer, number of images.
DEPEND = [
    ("Do image 1 to image 3 show dogs?", "yes", 3),
    ("Are the odd-numbered images brighter?", "yes", 3),
    ("Are the even images brighter?", "yes", 3),
    ("Are the outer images brighter than the inner one?", "yes", 3),
    ("Is every other image dark?", "yes", 3),
    ("Are the images sorted by brightness?", "yes", 3),
    ("Are these photos arranged by size?", "yes", 3),
    ("Do the images get darker?", "yes", 3),
    ("Is the dog getting closer?", "yes", 2),
    ("The set begins with a dog. True?", "yes", 3),
    ("Does the light become increasingly red?", "yes", 3),
    ("What number do the digits in the images form?", "314", 3),
    ("What word do the letters in the images spell?", "cat", 3),
    ("Read the images as a number.", "314", 3),
    ("Are they the same?", "No, the window is open", 2),
    ("Compare.", "It got dark.", 2),
    ("Compare the two pictures.", "The dog is bigger and it is sunny", 2),
    ("What was built?", "a house", 2),
    ("What has been demolished?", "a house", 2),
    ("What was switched on?", "a lamp", 2),
    ("Has the wound healed?", "yes", 2),
    ("Who took the first photograph?", "Niepce", 2),
    ("Which is the first photo ever?", "a roof", 2),
    ("Does each image show a dog?", "yes no yes", 3),
    ("Is there a dog in the images?", "YNY", 3),
    ("Is there a dog in the images?", "T F T", 3),
    ("Which is darker?", "That one", 2),
    ("Is it darker here than there?", "yes", 2),
    ("Is the other picture darker?", "yes", 2),
    ("Do the people look at each other across the images?", "yes", 2),
    ("Describe the images.", "A dog. A cat.", 2),
    ("What is the ratio of dogs?", "3:2", 2),
]
# These do not, and stay as they are.
STAY = [
    ("Do both images show the same dog?", "yes", 2),
    ("Are they the same?", "No, they are different", 2),
    ("Are the two pictures alike?", "Both show dogs", 2),
    ("How many dogs are there in total?", "3", 3),
    ("What is the largest number among the images?", "3", 3),
    ("Is one dog bigger than the other one?", "yes", 2),
    ("Is there a dog here?", "yes", 2),
    ("Is a man with tattooed arms in both images?", "yes", 2),
    ("What animal do the images have in common?", "a dog", 3),
]


def example(question, answer, count):
    return Example("x", "test", question, tuple("abcdefgh"[:count]), answer)


@pytest.mark.parametrize(("question", "answer", "count"), DEPEND)
def test_a_sentence_that_depends_on_the_order_is_refused(question, answer, count):
    order = (1, 0) if count == 2 else (1, 2, 0)
    with pytest.raises(CannotPermute):
        permute(example(question, answer, count), order, Rule())


@pytest.mark.parametrize(("question", "answer", "count"), STAY)
def test_a_sentence_that_does_not_depend_on_the_order_stays(question, answer, count):
    order = (1, 0) if count == 2 else (1, 2, 0)
    permuted = permute(example(question, answer, count), order, Rule())
    assert (permuted.question, permuted.answer) == (question, answer)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many dogs are in each image?", "2, 3, 1"),
        ("What digits are shown?", "[2, 3, 1]"),
        ("Which digits do you read?", "2-3-1"),
    ],
)
def test_a_list_of_numbers_is_an_order_only_where_one_is_asked_for(question, answer):
    with pytest.raises(CannotPermute) as refused:
        permute(example(question, answer, 3), (1, 2, 0), ORDERS)
    assert refused.value.reason == "no_order"
    asked = example("Sort the images by the digits in them.", answer, 3)
    assert permute(asked, (1, 2, 0), ORDERS).answer != answer
    with pytest.raises(CannotPermute):  # two questions: it may answer either
        permute(example(f"{question} Sort the images by it.", answer, 3), (1, 2, 0), ORDERS)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Which images show a dog? Answer with the count.", "2"),
        ("Which image side is brighter?", "left"),
        ("Which image number is written on the wall?", "2"),
    ],
)
def test_a_bare_answer_to_another_question_names_no_image(question, answer):
    with pytest.raises(CannotPermute):
        permute(example(question, answer, 2), (1, 0), REFERENCE)


def test_a_text_with_thousands_of_words_for_places_is_refused_soon():
    with pytest.raises(CannotPermute) as refused:
        permute(example("7 dogs " * 3000, "yes", 8), (*range(1, 8), 0), Rule())
    assert refused.value.reason == "text_too_long"


def test_a_set_in_brackets_follows_its_images():
    asked = example("Which images show dogs?", "(1,3)", 3)
    assert permute(asked, (1, 2, 0), REFERENCE).answer == "(2,3)"
