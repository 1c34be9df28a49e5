"""Groups and rollouts: who shows which image, and which tokens are a response's."""

import pickle

import numpy as np
import pytest

from perl_jax.types import Group, ImagePatches, Prompt, Rollouts


def image():
    return ImagePatches(np.zeros((4, 1), np.float32), (2, 2))


def prompt(*images):
    return Prompt(np.zeros(3, np.int32), np.zeros((3, 3), np.int32), 0, images)


# Groups.


def test_an_image_that_several_orders_show_is_held_once():
    a, b, c = image(), image(), image()
    prompts = [prompt(a, b, c), prompt(c, a, b), prompt(b, a, c)]
    group = Group.of("7", prompts)
    assert group.id == "7"
    assert group.prompts == tuple(prompts)
    assert group.images == (a, b, c)
    assert group.slots == ((0, 1, 2), (2, 0, 1), (1, 0, 2))


def test_an_image_that_one_prompt_shows_twice_is_held_once():
    a, b = image(), image()
    group = Group.of("7", [prompt(a, b, a)])
    assert group.images == (a, b)
    assert group.slots == ((0, 1, 0),)


def test_images_with_different_keys_are_two_images_even_if_their_pixels_are_equal():
    group = Group.of("7", [prompt(image(), image())])
    assert len(group.images) == 2
    assert group.slots == ((0, 1),)


def test_copies_of_an_image_are_that_image_such_as_those_from_a_worker_process():
    a, b = image(), image()
    copies = [pickle.loads(pickle.dumps(one)) for one in (b, a)]
    group = Group.of("7", [prompt(a, b), prompt(*copies)])
    assert group.images == (a, b)
    assert group.slots == ((0, 1), (1, 0))


def test_orders_may_show_different_images():
    a, b, c = image(), image(), image()
    group = Group.of("7", [prompt(a), prompt(b, c), prompt()])
    assert group.images == (a, b, c)
    assert group.slots == ((0,), (1, 2), ())


def test_a_group_without_prompts_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="group '7': expected at least one prompt, got none"):
        Group.of("7", [])


# Rollouts.


@pytest.fixture
def rollouts():
    """A group of two orders and a group of one, two rollouts each, up to three tokens."""
    lengths = np.array([[[3, 1], [2, 2]], [[1, 3], [0, 0]]], np.int32)
    tokens = np.arange(2 * 2 * 2 * 3, dtype=np.int32).reshape(2, 2, 2, 3)
    return Rollouts(tokens, np.zeros(tokens.shape, np.float32), lengths, lengths < 3)


def test_the_mask_is_true_at_the_tokens_of_each_response(rollouts):
    assert rollouts.mask.astype(int).tolist() == [
        [[[1, 1, 1], [1, 0, 0]], [[1, 1, 0], [1, 1, 0]]],
        [[[1, 0, 0], [1, 1, 1]], [[0, 0, 0], [0, 0, 0]]],
    ]


def test_texts_leave_out_padding_and_the_orders_that_a_group_does_not_have(rollouts):
    texts = rollouts.texts(lambda tokens: " ".join(map(str, tokens)))
    assert texts == [
        [["0 1 2", "3"], ["6 7", "9 10"]],
        [["12", "15 16 17"]],
    ]


def test_a_prompt_that_is_given_several_times_is_read_once():
    first, second = (Prompt(np.zeros(3, np.int32), np.zeros((3, 3), np.int32), 0) for _ in "ab")
    group = Group.of("a", [first, second, first])
    assert group.prompts == (first, second)
    assert group.asked == (0, 1, 0)
    assert group.num_orders == 3
