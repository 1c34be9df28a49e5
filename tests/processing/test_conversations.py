"""Placeholders and messages: what is shown where, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perl_jax.processing import PromptError, Slot, read_conversation, split_placeholders
from perl_jax.processing.conversation import MAX_CHARACTERS, check_texts

IMAGE = {"type": "image"}


def text(value):
    return {"type": "text", "text": value}


def parts(prompt, images):
    (message,) = read_conversation(prompt, images).messages
    return message["content"]


def shown(prompt, images):
    conversation = read_conversation(prompt, images)
    return [conversation.images[k] for k in conversation.shown]


@pytest.mark.parametrize(
    ("written", "number"),
    [("<image>", None), ("<image 1>", 1), ("<image1>", 1), ("<image_1>", 1), ("<image 12>", 12)],
)
def test_every_form_of_placeholder_is_read(written, number):
    assert split_placeholders(f"a {written} b") == ["a ", Slot(number, written), " b"]


@pytest.mark.parametrize(
    "written",
    ["<Image>", "< image>", "<image  1>", "<image-1>", "<image a>", "<image", "image>", "<images>",
     "<image 1234567>", "<image ١>"],
)  # fmt: skip
def test_what_only_resembles_a_placeholder_stays_text(written):
    assert split_placeholders(written) == [written]


@given(st.lists(st.sampled_from(["<image>", "<image 2>", "<image", ">", " ", "\n", "x", "1"])))
def test_the_pieces_of_a_text_give_the_text_again(pieces):
    whole = "".join(pieces)
    again = [p.text if isinstance(p, Slot) else p for p in split_placeholders(whole)]
    assert "".join(again) == whole
    assert "" not in again


def test_white_space_around_placeholders_is_kept():
    assert parts("  <image>\n\n <image>\t", ["a", "b"]) == [
        text("  "), IMAGE, text("\n\n "), IMAGE, text("\t"),
    ]  # fmt: skip


def test_neighbouring_placeholders_leave_no_empty_text_between_them():
    assert parts("<image><image>", ["a", "b"]) == [IMAGE, IMAGE]


def test_plain_placeholders_show_the_images_in_turn():
    assert shown("<image> then <image>", ["a", "b"]) == ["a", "b"]


def test_numbered_placeholders_show_the_image_of_that_number():
    assert shown("<image 2> then <image_1>", ["a", "b"]) == ["b", "a"]


def test_a_numbered_image_may_be_shown_twice():
    assert shown("<image1><image2><image1>", ["a", "b"]) == ["a", "b", "a"]


def test_text_alone_is_handed_to_the_template_as_text():
    assert parts("hello", []) == "hello"
    assert parts([{"role": "user", "content": [text("hel"), text("lo")]}], None) == "hello"


@pytest.mark.parametrize(
    ("prompt", "images", "message"),
    [
        ("<image>", [], "1 image placeholders for 0 images"),
        ("<image><image>", ["a"], "2 image placeholders for 1 images"),
        ("<image>", ["a", "b", "c"], "1 image placeholders for 3 images"),
        ("no image", ["a"], "0 image placeholders for 1 images"),
        ("<image 3>", ["a", "b"], "'<image 3>' .*1 image placeholders for 2 images"),
        ("<image 0>", ["a"], "'<image 0>' asks for an image that is not there"),
        ("<image 2>", ["a", "b", "c"], "shows image 1, 3: 1 image placeholders for 3 images"),
        ("<image 1><image>", ["a", "b"], "plain and numbered .*'<image>', '<image 1>'"),
        ("", [], "messages\\[0\\]: the message is empty"),
        (" \n", [], "the message is empty"),
        (None, [], "prompt: expected a list, got NoneType"),
        (7, [], "prompt: expected a list, got int"),
        ([], [], "the prompt has no messages"),
        ("<image>", "photo.png", "images: expected a list, got str"),
        ("<image>", np.zeros((2, 2, 3), np.uint8), "images: expected a list, got ndarray"),
        (["hello"], [], "messages\\[0\\]: expected a mapping, got str"),
        ([{"role": "tool", "content": "x"}], [], "role: expected one of system, user, assistant"),
        ([{"role": "user"}], [], "messages\\[0\\].content is missing"),
        ([{"role": "user", "content": None}], [], "content is missing"),
        ([{"role": "user", "content": 3}], [], "content: expected a list, got int"),
        ([{"role": "user", "content": []}], [], "the message is empty"),
        ([{"role": "user", "content": "x", "name": "y"}], [], "got 'name'"),
        ([{"role": "user", "content": [{"type": "video"}]}], [], "content\\[0\\].*'video'"),
        ([{"role": "user", "content": [{"type": "text"}]}], [], "got type 'text'"),
        ([{"role": "user", "content": [{"text": "x"}]}], [], "got type None"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "x", "image": "y"}]}],
            [],
            "got type 'text' with the fields",
        ),
        ([{"role": "user", "content": [text("see <image>"), IMAGE]}], ["a"], "holds '<image>'"),
    ],
)
def test_a_prompt_that_does_not_fit_is_an_error_that_says_why(prompt, images, message):
    with pytest.raises(PromptError, match=message):
        read_conversation(prompt, images)


def test_images_are_taken_in_turn_across_messages():
    messages = [
        {"role": "user", "content": "<image> what?"},
        {"role": "assistant", "content": "a cat"},
        {"role": "user", "content": [text("and "), IMAGE]},
    ]
    assert shown(messages, ["a", "b"]) == ["a", "b"]


def test_parts_may_hold_their_images():
    content = [{"type": "image", "image": "a"}, text("or"), {"type": "image", "image": "b"}]
    assert shown([{"role": "user", "content": content}], ()) == ["a", "b"]


@pytest.mark.parametrize(("extra", "images"), [([], ["b"]), ([IMAGE], []), ([IMAGE], ["b"])])
def test_images_in_parts_exclude_a_list_of_images(extra, images):
    content = [{"type": "image", "image": "a"}, *extra]
    with pytest.raises(PromptError, match="no other image may be given"):
        read_conversation([{"role": "user", "content": content}], images)


def test_keys_that_hold_none_are_as_good_as_absent():
    content = [
        {"type": "text", "text": "see ", "image": None},
        {"type": "image", "text": None, "image": None},
    ]
    messages = [{"role": "user", "content": content, "name": None}]
    assert parts(messages, ["a"]) == [text("see "), IMAGE]


def test_lists_may_come_as_arrays_of_objects():
    content = np.array([text("see "), IMAGE], dtype=object)
    messages = np.array([{"role": "user", "content": content}], dtype=object)
    assert parts(messages, np.array(["a"], dtype=object)) == [text("see "), IMAGE]


def test_what_the_assistant_says_is_kept_as_it_is():
    messages = [
        {"role": "user", "content": "<image 1> or <image 2>?"},
        {"role": "assistant", "content": "<image 2>, not <image 1>"},
    ]
    conversation = read_conversation(messages, ["a", "b"])
    assert conversation.shown == (0, 1)
    assert conversation.messages[1]["content"] == "<image 2>, not <image 1>"


def test_reading_changes_nothing_that_was_given():
    content = [{"type": "text", "text": "x", "image": None}, IMAGE]
    messages, images = [{"role": "user", "content": content}], ["a"]
    read_conversation(messages, images)
    assert messages == [{"role": "user", "content": content}]
    assert content == [{"type": "text", "text": "x", "image": None}, {"type": "image"}]
    assert images == ["a"]


def test_a_special_token_split_over_two_parts_is_found():
    messages = [{"role": "user", "content": [text("<|im_"), text("end|>"), IMAGE]}]
    texts = read_conversation(messages, ["a"]).texts
    with pytest.raises(PromptError, match=r"special token '<.im_end.>'"):
        check_texts(texts, ["<|im_end|>"])


def test_an_image_between_two_halves_keeps_a_special_token_apart():
    texts = read_conversation("<|im_<image>end|>", ["a"]).texts
    check_texts(texts, ["<|im_end|>"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a\0b", "NUL, at character 1"),
        ("ab\ud800", "lone surrogate, at character 2"),
        ("x" * (MAX_CHARACTERS + 1), "4194305 characters of text; at most 4194304"),
    ],
)
def test_text_that_cannot_be_tokenised_is_refused(value, message):
    with pytest.raises(PromptError, match=message):
        check_texts([value], [])
