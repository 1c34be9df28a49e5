"""Sentences that name images and still place them in a row, or tell a change, are refused."""

import pytest

from perl_jax.permutation import CannotPermute, permute, rules_from_config
from perl_jax.types import Example

ORDERS = {2: [1, 0], 3: [1, 2, 0], 4: [2, 0, 3, 1]}


def permuted(question, answer, count, order=None):
    images = tuple(f"image{i}" for i in range(count))
    example = Example("1", "mine", "<image>" * count + " " + question, images, answer)
    got = permute(example, order or ORDERS[count], rules_from_config({"mine": {}})["mine"])
    return got.question.replace("<image>", "").strip(), got.answer


@pytest.mark.parametrize(
    ("count", "question", "answer"),
    [
        # The word before a name makes it a place in the row.
        (3, "Image 1 shows no snow. By image 3 the field is covered.", "True"),
        (3, "The road is finished by image 2.", "True"),
        (3, "Which image is farthest from image 1?", "Image 3"),
        (4, "Reading the letters in the images from image 1 to image 4, what is it?", "WORD"),
        (4, "Does the light go off from image 1 to image 3?", "yes"),
        (2, "Is image 1 read before image 2?", "yes"),
        (2, "Image 1/2 shows a dog.", "True"),
        (4, "Over the course of images 1, 2, 3 and 4, how often is it dark?", "once"),
        (4, "In images 1 through 3 the ball moves right.", "True"),
        # What stands after a name does.
        (4, "Is image 1 diagonally opposite to image 4?", "yes"),
        (4, "Columns: image 1 and image 3 are in the same column.", "True"),
        (3, "Image 2 is out of place.", "True"),
        (3, "Image 3 belongs at the front.", "True"),
        (3, "Image 2 is sandwiched by the two other images.", "True"),
        (4, "Image 1 shares an edge with image 2.", "True"),
        (3, "Image 2 interrupts the story.", "True"),
        (
            4,
            "Image 1 has one dog, image 2 has two dogs, image 3 has three dogs, and so on.",
            "True",
        ),
        (3, "Is the man in image 3 still sitting?", "yes"),
        (4, "Image 1 and image 2 are shown in the upper row.", "True"),
        (4, "Are the images, except image 1, sorted by size?", "yes"),
        (4, "Image 1 is larger than all of the following images.", "True"),
        (4, "In image 2 snow falls for the second time.", "True"),
        (4, "The number of people rises, peaking in image 3.", "True"),
        (3, "Image 3 contains the third apple.", "True"),
        (2, "A hand reaches out of image 1 into image 2.", "True"),
        (2, "Image 1 tops the pile.", "True"),
        (3, "The man in image 1 is still as calm as the one in image 3.", "True"),
        (4, "Two images, image 1 and image 4, are at the ends.", "True"),
        (3, "The gap between image 1 and image 2 is two pixels.", "True"),
        # A relation reaches from one picture to another.
        (2, "The person in image 1 is standing to the left of the person in image 2.", "True"),
        (2, "The man in the left image hands a ball to the woman in the right image.", "True"),
        (2, "Both dogs look inwards; the left image's dog is brown.", "True"),
        (
            4,
            "The ball is higher in each image than in the one to the left; it is in image 1.",
            "no",
        ),
        # Its place in the row is compared with what it shows.
        (4, "Is the number of dogs in image 3 equal to its number?", "yes"),
        (4, "Does each image contain as many dogs as its position?", "yes"),
        (4, "The nth image shows n dogs; image 1 shows one dog.", "True"),
        (3, "How many images away from image 1 is the image with a dog?", "2"),
        (2, "One image shows a dog, and the image to its right shows a cat.", "True"),
        # An ordinal may count only the images that the words after it choose.
        (3, "Which is the first image in which the barn can be seen?", "Image 2"),
        (3, "The first photo from Paris shows the tower.", "True"),
        (4, "Image 2 is the first dark image.", "True"),
        (4, "Which is the first image to be dark?", "Image 2"),
        (3, "The number of image 1 is written in the corner.", "True"),
        (4, "The images show days 1 to 4. What is the weather on day 2? Image 1 is sunny.", "wet"),
        (3, "Only the first photo of the dog is sharp.", "True"),
        (3, "Which image would come fourth?", "a cat"),
        # A sentence beside one that names images tells a change, or compares.
        (2, "In image 1 the candle is long. Does it melt?", "yes"),
        (2, "In image 1 the man is sitting. Does he stand up?", "yes"),
        (2, "There is a dog in image 1. The cat is bigger.", "True"),
    ],
)
def test_a_sentence_that_places_named_images_in_a_row_is_refused(count, question, answer):
    for order in (ORDERS[count], [0, *range(count - 1, 0, -1)] if count > 2 else [1, 0]):
        with pytest.raises(CannotPermute):
            permuted(question, answer, count, order)


@pytest.mark.parametrize(
    ("count", "question", "answer", "becomes"),
    [
        (2, "Is the left lung in image 1 darker than in image 2?", "yes",
         "Is the left lung in image 2 darker than in image 1?"),
        (3, "Do the numbers in images 1 and 2 add up to the number in image 3?", "yes",
         "Do the numbers in images 3 and 1 add up to the number in image 2?"),
        (3, "All images except image 2 show shoes.", "True",
         "All images except image 1 show shoes."),
        (3, "Image 1 is to image 2 as image 3 is to what?", "a dog",
         "Image 3 is to image 1 as image 2 is to what?"),
        (2, "Which object is present in image 1 but absent in image 2?", "a lamp",
         "Which object is present in image 2 but absent in image 1?"),
        (2, "What has changed in image 2 compared to image 1?", "the lamp",
         "What has changed in image 1 compared to image 2?"),
        (2, "Is image 2 a crop of image 1?", "yes", "Is image 1 a crop of image 2?"),
        (2, "The clock in the right image is ten minutes ahead of that in the left image.", "True",
         "The clock in the left image is ten minutes ahead of that in the right image."),
    ],
)  # fmt: skip
def test_a_sentence_that_compares_named_images_follows_them(count, question, answer, becomes):
    assert permuted(question, answer, count) == (becomes, answer)
