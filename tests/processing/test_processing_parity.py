"""Bit for bit the same as transformers: pixels, sizes, tokens, positions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from perl_jax.processing import (
    extract_patches,
    load_processor,
    load_rgb,
    multimodal_positions,
    read_image_settings,
    smart_resize,
)
from perl_jax.testing import write_tiny_checkpoint

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def reference(checkpoint):
    """The image processor of transformers that works with Pillow."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )

    return Qwen2VLImageProcessorPil.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def image_settings(checkpoint):
    return read_image_settings(checkpoint)


def load_reference(directory):
    """The whole processor of transformers, less its video part, which needs torchvision."""
    from transformers import AutoTokenizer, Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )
    from transformers.processing_utils import ProcessorMixin

    class ImagesOnly(Qwen2_5_VLProcessor):
        def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    tokenizer = AutoTokenizer.from_pretrained(directory)
    return ImagesOnly(
        Qwen2VLImageProcessorPil.from_pretrained(directory), tokenizer, tokenizer.chat_template
    )


def assert_same_patches(image, reference_output):
    np.testing.assert_array_equal(
        image.patches.view(np.int32), reference_output["pixel_values"].view(np.int32)
    )
    assert [1, *image.grid] == reference_output["image_grid_thw"][0].tolist()


SIZES = [
    (56, 56), (56, 84), (112, 112), (140, 196), (28, 308), (84, 56), (224, 224), (101, 67),
    (57, 83), (333, 512), (1, 1), (3, 2), (1, 199), (200, 1), (10, 1000), (1000, 10), (42, 70),
    (13, 29), (1100, 900), (640, 480), (37, 1021), (2000, 31),
]  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_are_bit_equal(reference, image_settings, picture, size):
    rgb = picture(*size)
    expected = reference(Image.fromarray(rgb), return_tensors="np")
    assert_same_patches(extract_patches(rgb, image_settings), expected)


@pytest.mark.parametrize(
    ("low", "high"), [(3136, 100352), (784, 784), (100352, 200704), (401408, 12845056)]
)
@pytest.mark.parametrize("size", [(333, 512), (30, 40), (900, 31), (28, 28)], ids=str)
def test_pixels_are_bit_equal_under_other_limits(checkpoint, reference, picture, size, low, high):
    rgb = picture(*size)
    limits = {"shortest_edge": low, "longest_edge": high}
    expected = reference(Image.fromarray(rgb), size=limits, return_tensors="np")
    ours = read_image_settings(checkpoint, min_pixels=low, max_pixels=high)
    assert_same_patches(extract_patches(rgb, ours), expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_pixels_of_random_images_are_bit_equal(reference, image_settings, height, width, seed):
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    expected = reference(Image.fromarray(rgb), return_tensors="np")
    assert_same_patches(extract_patches(rgb, image_settings), expected)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 10**7), st.integers(1, 10**7))
def test_sizes_are_equal(height, width, a, b):
    from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as theirs

    if max(height, width) > 200 * min(height, width):
        return
    low, high = sorted((a, b))
    assert smart_resize(
        height, width, factor=28, min_pixels=low, max_pixels=high
    ) == theirs.smart_resize(height, width, 28, low, high)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV"])
def test_modes_of_eight_bits_convert_as_in_the_reference(reference, picture, mode):
    # Quantising RGBA would give a palette with alpha, which the reference does not see.
    image = Image.fromarray(picture(60, 50, 3 if mode == "P" else 4)).convert(mode)
    np.testing.assert_array_equal(
        load_rgb(image), reference.process_image(image, True).transpose(1, 2, 0)
    )


PROMPTS = {
    "several images": (
        "Look: <image> and\n<image>, then <image>?",
        [(90, 60), (30, 200), (61, 57)],
    ),
    "image first": ("<image>Which is it?", [(70, 70)]),
    "image last": ("Which is it? <image>", [(70, 140)]),
    "adjacent images": ("<image><image>", [(28, 28), (56, 112)]),
    "images alone": ("<image>\n<image>", [(33, 99), (99, 33)]),
    "text only": ("What is 3 + 4?  Answer 12.\n", []),
    "unicode": ("Voilà, e\u0301té: 图像 <image> 🙂", [(50, 50)]),
}


@pytest.fixture(scope="module", params=["hub", "v5", "saved again"])
def both(request, tmp_path_factory):
    """Our processor and the reference's, of each form of directory."""
    layout = "hub" if request.param == "hub" else "v5"
    directory = write_tiny_checkpoint(tmp_path_factory.mktemp("model"), layout=layout)
    reference = load_reference(directory)
    if request.param == "saved again":
        for name in ("preprocessor_config.json", "chat_template.json", "tokenizer_config.json"):
            (directory / name).unlink()
        reference.save_pretrained(directory)
        assert (directory / "processor_config.json").exists()
        assert not (directory / "preprocessor_config.json").exists()
    return load_processor(directory), reference, directory


def parts_of(text):
    """The message parts that data sets' authors make of a text with placeholders."""
    parts = []
    for i, piece in enumerate(text.split("<image>")):
        parts += [{"type": "image"}] * (i > 0)
        parts += [{"type": "text", "text": piece}] * bool(piece)
    return parts


@pytest.mark.parametrize("name", PROMPTS)
def test_tokens_pixels_and_positions_are_equal(both, picture, name):
    ours, reference, directory = both
    text, sizes = PROMPTS[name]
    images = [Image.fromarray(picture(*size)) for size in sizes]
    rendered = reference.apply_chat_template(
        [{"role": "user", "content": parts_of(text)}], add_generation_prompt=True
    )
    expected = reference(text=[rendered], images=images or None, return_tensors="pt")
    prompt = ours.encode(text, images)
    np.testing.assert_array_equal(prompt.tokens, expected["input_ids"][0].numpy())
    if images:
        np.testing.assert_array_equal(
            np.concatenate([image.patches for image in prompt.images]),
            expected["pixel_values"].numpy(),
        )
    positions, delta = rope_index(directory, expected)
    np.testing.assert_array_equal(prompt.positions, positions)
    assert prompt.rope_delta == delta


def rope_index(directory, inputs):
    import torch
    from transformers import AutoConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    with torch.device("meta"):
        model = Qwen2_5_VLModel(AutoConfig.from_pretrained(directory))
    positions, delta = model.get_rope_index(
        inputs["input_ids"],
        inputs["mm_token_type_ids"],
        image_grid_thw=inputs.get("image_grid_thw"),
        attention_mask=inputs["attention_mask"],
    )
    return positions[:, 0].numpy(), delta.item()


def test_messages_of_several_turns_are_equal(both, picture):
    ours, reference, _ = both
    images = [Image.fromarray(picture(70, 50)), Image.fromarray(picture(40, 90))]
    messages = [
        {"role": "system", "content": "Answer in a word."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " first?"}]},
        {"role": "assistant", "content": "left"},
        {"role": "user", "content": [{"type": "text", "text": "second? "}, {"type": "image"}]},
        {"role": "assistant", "content": "right"},
    ]
    for length in (2, 4, 5):
        turns, shown = messages[:length], images[: 1 + (length > 3)]
        rendered = reference.apply_chat_template(turns, add_generation_prompt=length < 5)
        expected = reference(text=[rendered], images=shown, return_tensors="np")
        np.testing.assert_array_equal(ours.encode(turns, shown).tokens, expected["input_ids"][0])


def test_positions_of_long_prompts_are_equal(both):
    import torch
    from transformers import AutoConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    rng = np.random.default_rng(0)
    with torch.device("meta"):
        model = Qwen2_5_VLModel(AutoConfig.from_pretrained(both[2]))
    for _ in range(20):
        types, grids = [], []
        for _ in range(rng.integers(1, 6)):
            rows, columns = rng.integers(1, 9, 2)
            types += [0] * rng.integers(1, 9) + [1] * (rows * columns)
            grids.append((int(2 * rows), int(2 * columns)))
        types = np.array(types + [0] * rng.integers(0, 9))
        expected, delta = model.get_rope_index(
            torch.zeros(1, len(types), dtype=torch.long),
            torch.tensor(types)[None],
            image_grid_thw=torch.tensor([[1, *grid] for grid in grids]),
        )
        positions, ours = multimodal_positions(types == 1, grids, merge_size=2)
        np.testing.assert_array_equal(positions, expected[:, 0].numpy())
        assert ours == delta.item()
