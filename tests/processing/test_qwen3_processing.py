"""Qwen3-VL's directories: larger patches, limits under other names, thoughts that are opened."""

import json

import numpy as np
import pytest
from PIL import Image

from perl_jax.processing import load_processor, read_image_settings, smart_resize
from tests.models.qwen3 import write_tiny_qwen3

# Says what the published one says: answers before the last question lose their thoughts, those
# after it keep them, the last message gets an empty one if it has none; responses start in one.
THINKING = """\
{%- macro body(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}
{%- for part in content -%}
{%- if part.type == 'image' or 'image' in part -%}
{{ '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif 'text' in part -%}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- set last = namespace(user=-1) -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}{%- set last.user = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
{%- set said = body(message.content) -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' -%}
{%- set answer = said.split('</think>')[-1].lstrip('\\n') -%}
{%- set thought = said.split('</think>')[0].split('<think>')[-1].strip('\\n') -%}
{%- set thought = thought if '</think>' in said else '' -%}
{%- if loop.index0 > last.user and (loop.last or thought) -%}
{{ '<think>\\n' + thought + '\\n</think>\\n\\n' + answer }}
{%- else -%}{{ answer }}
{%- endif -%}
{%- else -%}{{ said }}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n<think>\\n' }}{%- endif -%}
"""
PUBLISHED = {"min_pixels": 65536}


def with_template(directory, template):
    """The directory with another chat template."""
    for name in ("chat_template.json", "tokenizer_config.json"):
        content = json.loads((directory / name).read_text())
        (directory / name).write_text(json.dumps({**content, "chat_template": template}))
    return directory


def saved_by_v5(directory):
    """The directory with what transformers 5 writes instead of the published files."""
    image = json.loads((directory / "preprocessor_config.json").read_text())
    template = json.loads((directory / "chat_template.json").read_text())["chat_template"]
    image |= {"do_convert_rgb": True, "do_resize": True, "resample": 3, "rescale_factor": 1 / 255}
    for name in ("preprocessor_config.json", "chat_template.json"):
        (directory / name).unlink()
    (directory / "processor_config.json").write_text(
        json.dumps({"image_processor": image, "processor_class": "Qwen3VLProcessor"})
    )
    (directory / "chat_template.jinja").write_text(template)
    return directory


@pytest.mark.parametrize("saved", [False, True])
def test_settings_are_those_of_images_whatever_those_of_videos_are(saved, tmp_path):
    directory = write_tiny_qwen3(tmp_path, **PUBLISHED)
    content = json.loads((directory / "preprocessor_config.json").read_text())
    video = {**content, "size": {"shortest_edge": 4096, "longest_edge": 25165824}}
    (directory / "video_preprocessor_config.json").write_text(json.dumps(video))
    settings = read_image_settings(saved_by_v5(directory) if saved else directory)
    assert (settings.min_pixels, settings.max_pixels) == (65536, 16777216)
    assert (settings.patch_size, settings.factor, settings.merge_size) == (16, 32, 2)
    assert settings.mean == settings.std == (0.5, 0.5, 0.5)
    reduced = read_image_settings(directory, max_pixels=100352)
    assert (reduced.min_pixels, reduced.max_pixels) == (65536, 100352)
    with pytest.raises(ValueError, match="min_pixels is 65536, more than max_pixels, 50176"):
        read_image_settings(directory, max_pixels=50176)


@pytest.mark.parametrize(
    ("size", "whole", "reduced"),
    [
        ((16, 16), (256, 256), (256, 256)),
        ((112, 112), (256, 256), (256, 256)),
        ((161, 233), (224, 320), (224, 320)),
        ((480, 640), (480, 640), (480, 640)),
        ((1080, 1920), (1088, 1920), (736, 1312)),
        ((4000, 6000), (3328, 4992), (800, 1216)),
        ((10, 1000), (32, 2560), None),
        ((1, 199), (32, 3616), None),
    ],
)
def test_images_are_resized_to_multiples_of_32(size, whole, reduced):
    limits = {"factor": 32, "min_pixels": 65536}
    assert smart_resize(*size, **limits, max_pixels=16777216) == whole
    if reduced:
        assert smart_resize(*size, **limits, max_pixels=1003520) == reduced


def test_there_is_no_system_turn_of_its_own(tmp_path):
    processor = load_processor(write_tiny_qwen3(tmp_path))
    tokens = processor.encode("<image>Which is it?", [np.zeros((32, 64, 3), np.uint8)]).tokens
    shown = processor.tokenizer.decode(tokens)
    pads = "<|image_pad|>" * 2
    assert shown == (
        f"<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>Which is it?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert processor.opening == ""


def test_a_thinking_template_opens_the_thought_and_what_is_said_keeps_its_end(tmp_path):
    processor = load_processor(with_template(write_tiny_qwen3(tmp_path), THINKING))
    assert processor.opening == "<think>\n"
    tokens = processor.encode("Which is it?").tokens
    assert processor.tokenizer.decode(tokens).endswith("<|im_start|>assistant\n<think>\n")
    said = processor.tokenizer("first</think>\n\nB<|im_end|>")["input_ids"]
    assert processor.decode(np.array(said)) == "first</think>\n\nB"


ASKED = {"role": "user", "content": "<image> first?"}
THOUGHT = {"role": "assistant", "content": "<think>\nA or B\n</think>\n\nB"}
AGAIN = {"role": "user", "content": "And <image>?"}
TURN, ANSWER = "<|im_start|>{}\n{}<|im_end|>\n", "<|im_start|>assistant\n{}<|im_end|>\n"
OPENED = "<|im_start|>assistant\n<think>\n"
# Messages, and what stands in the prompt after the first question.
CONVERSATIONS = {
    "an earlier thought": (
        [ASKED, THOUGHT, AGAIN],
        ANSWER.format("B") + TURN.format("user", "And *?") + OPENED,
    ),
    "two earlier thoughts": (
        [ASKED, THOUGHT, AGAIN, THOUGHT, {"role": "user", "content": "Sure?"}],
        ANSWER.format("B")
        + TURN.format("user", "And *?")
        + ANSWER.format("B")
        + TURN.format("user", "Sure?")
        + OPENED,
    ),
    "an earlier answer without a thought": (
        [ASKED, {"role": "assistant", "content": "B"}, AGAIN],
        ANSWER.format("B") + TURN.format("user", "And *?") + OPENED,
    ),
    "a thought that goes on": (
        [ASKED, THOUGHT],
        ANSWER.format("<think>\nA or B\n</think>\n\nB"),
    ),
    "an answer without a thought": (
        [ASKED, {"role": "assistant", "content": "B"}],
        ANSWER.format("<think>\n\n</think>\n\nB"),
    ),
    "a later system message": (
        [ASKED, THOUGHT, {"role": "system", "content": "Be brief."}, AGAIN],
        ANSWER.format("B")
        + TURN.format("system", "Be brief.")
        + TURN.format("user", "And *?")
        + OPENED,
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_thinking_template_keeps_the_thoughts_after_the_last_question_alone(name, tmp_path):
    processor = load_processor(with_template(write_tiny_qwen3(tmp_path), THINKING))
    messages, expected = CONVERSATIONS[name]
    images = [np.zeros((32, 32, 3), np.uint8)] * str(messages).count("<image>")
    shown = processor.tokenizer.decode(processor.encode(messages, images).tokens)
    shown = shown.replace("<|vision_start|><|image_pad|><|vision_end|>", "*")
    assert shown == TURN.format("user", "* first?") + expected


def load_reference(directory):
    """The whole processor of transformers, less its video part, which needs torchvision."""
    from transformers import AutoTokenizer, Qwen3VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )
    from transformers.processing_utils import ProcessorMixin

    class ImagesOnly(Qwen3VLProcessor):
        def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    tokenizer = AutoTokenizer.from_pretrained(directory)
    return ImagesOnly(
        Qwen2VLImageProcessorPil.from_pretrained(directory), tokenizer, tokenizer.chat_template
    )


def parts_of(text):
    """A text with placeholders as transformers' templates take it."""
    pieces = text.split("<image>")
    parts = [{"type": "text", "text": pieces[0]}] * bool(pieces[0])
    for piece in pieces[1:]:
        parts += [{"type": "image"}, *[{"type": "text", "text": piece}] * bool(piece)]
    return parts


CASES = {
    "several images": ("Look: <image> and\n<image>, <image>?", [(90, 60), (30, 200), (61, 57)]),
    "adjacent images": ("<image><image>", [(32, 32), (256, 320)]),
    "text only": ("What is 3 + 4?  Answer 12.\n", []),
    "unicode": ("Voilà: 图像 <image> 🙂 <think> aloud </think>", [(500, 50)]),
}


@pytest.mark.parity
@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("saved", [False, True])
def test_tokens_pixels_and_positions_are_those_of_transformers(saved, thinking, tmp_path, picture):
    directory = write_tiny_qwen3(tmp_path, layout="v5" if saved else "hub", **PUBLISHED)
    if thinking:
        with_template(directory, THINKING)
    reference = load_reference(directory)
    if saved:
        saved_by_v5(directory)
    ours = load_processor(directory)
    for text, sizes in CASES.values():
        images = [Image.fromarray(picture(*size)) for size in sizes]
        rendered = reference.apply_chat_template(
            [{"role": "user", "content": parts_of(text)}], add_generation_prompt=True
        )
        expected = reference(text=[rendered], images=images or None, return_tensors="pt")
        prompt = ours.encode(text, images)
        np.testing.assert_array_equal(prompt.tokens, expected["input_ids"][0].numpy())
        if images:
            patches = np.concatenate([image.patches for image in prompt.images])
            np.testing.assert_array_equal(patches, expected["pixel_values"].numpy())
        positions, delta = rope_index(directory, expected)
        np.testing.assert_array_equal(prompt.positions, positions)
        assert prompt.rope_delta == delta


@pytest.mark.parity
@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_are_those_of_transformers(name, thinking, tmp_path, picture):
    """Except that the assistant's turn is opened unless the last message is the assistant's."""
    directory = write_tiny_qwen3(tmp_path, **PUBLISHED)
    if thinking:
        with_template(directory, THINKING)
    reference, ours = load_reference(directory), load_processor(directory)
    messages, _ = CONVERSATIONS[name]
    images = [
        Image.fromarray(picture(90, 60 + number))
        for number in range(str(messages).count("<image>"))
    ]
    rendered = reference.apply_chat_template(
        [{**message, "content": parts_of(message["content"])} for message in messages],
        add_generation_prompt=messages[-1]["role"] == "user",
    )
    expected = reference(text=[rendered], images=images, return_tensors="pt")
    prompt = ours.encode(messages, images)
    np.testing.assert_array_equal(prompt.tokens, expected["input_ids"][0].numpy())


def rope_index(directory, inputs):
    import torch
    from transformers import AutoConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

    with torch.device("meta"):
        model = Qwen3VLModel(AutoConfig.from_pretrained(directory))
    ids = inputs["input_ids"]
    positions, delta = model.get_rope_index(
        ids,
        image_grid_thw=inputs.get("image_grid_thw"),
        attention_mask=inputs["attention_mask"],
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
    )
    return positions[:, 0].numpy(), int(delta[0, 0])
