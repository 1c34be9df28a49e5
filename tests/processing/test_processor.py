"""The processor as a whole: what a prompt is made of, and how failures are named."""

import io
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from perl_jax.processing import ImageError, PromptError, load_processor
from perl_jax.testing import write_tiny_checkpoint
from perl_jax.types import ImagePatches

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"


def said(processor, prompt):
    """The text of a prompt, each image written as one image token."""
    tokens = prompt.tokens
    is_image = tokens == processor.image_token
    once = ~is_image | ~np.roll(is_image, 1)
    return processor.decode(tokens[once], skip_special_tokens=False)


def test_a_prompt_is_written_out_by_the_template(processor, picture):
    prompt = processor.encode("<image>Which?\n<image>", [picture(56, 84), picture(28, 112)])
    picture_text = "<|vision_start|><|image_pad|><|vision_end|>"
    assert said(processor, prompt) == (
        f"{SYSTEM}<|im_start|>user\n{picture_text}Which?\n{picture_text}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_prompt_has_as_many_image_tokens_as_merged_features(processor, picture):
    images = [picture(56, 84), picture(200, 100), picture(1, 1)]
    prompt = processor.encode("<image><image> <image>", images)
    features = [image.patches.shape[0] // 4 for image in prompt.images]
    assert features == [6, 28, 4]
    assert np.count_nonzero(prompt.tokens == processor.image_token) == 38
    assert prompt.tokens.dtype == prompt.positions.dtype == np.int32
    assert prompt.positions.shape == (3, len(prompt.tokens))
    assert prompt.rope_delta == prompt.positions.max() + 1 - len(prompt.tokens)
    assert type(prompt.rope_delta) is int


def test_positions_follow_the_images_in_reading_order(processor, picture):
    wide, tall = picture(28, 112), picture(112, 28)
    prompt = processor.encode("<image 2><image 1>", [wide, tall])
    assert [image.grid for image in prompt.images] == [(8, 2), (2, 8)]
    _, height, width = prompt.positions[:, prompt.tokens == processor.image_token]
    first, second = height[0], width[4]
    np.testing.assert_array_equal(height, [first + r for r in range(4)] + [second] * 4)
    np.testing.assert_array_equal(width, [first] * 4 + [second + c for c in range(4)])


def test_an_image_that_is_shown_twice_is_preprocessed_once(processor, picture):
    prompt = processor.encode("<image 1> <image 1>", [picture(56, 56)])
    assert prompt.images[0] is prompt.images[1]


def test_a_picture_that_is_listed_twice_is_one_image(processor, picture):
    one, other = picture(56, 56), picture(56, 84)
    prompt = processor.encode("<image><image><image>", [one, other, one.copy()])
    first, second, third = (image.key for image in prompt.images)
    assert first == third != second


def test_preprocessing_returns_the_known_image_that_shows_the_same_picture(processor, picture):
    known = [processor.preprocess(picture(56, 84)), processor.preprocess(picture(56, 56))]
    assert processor.preprocess(picture(56, 56), known=known) is known[1]
    assert processor.preprocess(picture(56, 56)).key != known[1].key


def test_preprocessed_images_give_the_same_prompt(processor, picture):
    image = picture(100, 70)
    patches = processor.preprocess(image)
    direct, reused = processor.encode("<image>", [image]), processor.encode("<image>", [patches])
    assert reused.images == (patches,)
    np.testing.assert_array_equal(direct.images[0].patches, patches.patches)
    np.testing.assert_array_equal(direct.tokens, reused.tokens)


def test_patches_of_another_processor_are_refused(processor, picture):
    patches = processor.preprocess(picture(56, 56))
    wrong = [
        (type(patches)(patches.patches[:, :588], patches.grid), r"expected float32 \[16, 1176\]"),
        (type(patches)(patches.patches, (4, 5)), r"for a grid of 4x5"),
        (type(patches)(patches.patches[:12], (4, 3)), "4x3 is not made of whole tokens"),
    ]
    for image, message in wrong:
        with pytest.raises(ImageError, match=f"image 1 of the prompt: .*{message}"):
            processor.encode("<image>", [image])


def test_patches_of_frames_that_differ_are_refused(processor, picture):
    patches = processor.preprocess(picture(56, 56)).patches.copy()
    processor.encode("<image>", [ImagePatches(patches, (4, 4))])
    patches[3, 200] += 1
    with pytest.raises(ImageError, match="image 1 of the prompt: patches of several frames"):
        processor.encode("<image>", [ImagePatches(patches, (4, 4))])


def test_text_alone_makes_a_prompt_without_images(processor):
    prompt = processor.encode("hello")
    assert prompt.images == ()
    assert prompt.rope_delta == 0
    np.testing.assert_array_equal(prompt.positions, np.tile(np.arange(len(prompt.tokens)), (3, 1)))


def test_a_system_message_replaces_the_default_one(processor):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert said(processor, processor.encode(messages)) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_prompt_that_ends_with_the_assistant_opens_no_turn(processor):
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert said(processor, processor.encode(messages)) == (
        f"{SYSTEM}<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n"
    )


def test_encoding_is_deterministic_and_survives_pickling(processor, picture):
    image = picture(90, 50)
    first = processor.encode("<image>hi", [image])
    second = pickle.loads(pickle.dumps(processor)).encode("<image>hi", [image])
    np.testing.assert_array_equal(first.tokens, second.tokens)
    np.testing.assert_array_equal(first.images[0].patches, second.images[0].patches)


def test_limits_on_pixels_change_the_number_of_tokens(checkpoint, picture):
    small = load_processor(checkpoint, min_pixels=784, max_pixels=3136)
    prompt = small.encode("<image><image>", [picture(400, 400), picture(28, 28)])
    assert [image.grid for image in prompt.images] == [(4, 4), (2, 2)]


def test_tokens_decode_to_their_text(processor):
    ids = processor.tokenizer("Which image is  it?\n é")["input_ids"]
    assert processor.decode(ids) == "Which image is  it?\n é"
    stop = [*ids, processor.stop_tokens[0]]
    assert processor.decode(np.array(stop)) == "Which image is  it?\n é"
    assert processor.decode(stop, skip_special_tokens=False).endswith("é<|im_end|>")
    assert processor.decode([]) == ""


def test_ids_come_from_the_files_of_the_directory(processor):
    id_of = processor.tokenizer.convert_tokens_to_ids
    assert processor.image_token == id_of("<|image_pad|>")
    assert processor.pad_token == id_of("<|endoftext|>")
    assert processor.stop_tokens == (id_of("<|im_end|>"), id_of("<|endoftext|>"))
    names = ["vision_start", "vision_end", "vision_pad", "image_pad", "video_pad"]
    assert set(processor.banned_tokens) == {id_of(f"<|{name}|>") for name in names}
    assert processor.vocab_size == len(processor.tokenizer)


def test_the_newer_layout_of_config_gives_the_same_processor(tmp_path, processor):
    newer = load_processor(write_tiny_checkpoint(tmp_path / "v5", layout="v5"))
    for name in ("image_token", "pad_token", "stop_tokens", "banned_tokens", "image_settings"):
        assert getattr(newer, name) == getattr(processor, name)


def test_a_single_stop_token_may_be_a_number(directory, edit):
    edit("generation_config.json", eos_token_id=7)
    assert load_processor(directory).stop_tokens == (7,)


def test_without_generation_config_the_tokenizer_says_where_to_stop(directory):
    (directory / "generation_config.json").unlink()
    loaded = load_processor(directory)
    assert loaded.stop_tokens == (loaded.tokenizer.eos_token_id,)


@pytest.mark.parametrize("value", ["<|im_end|>", [3, None], [-1], [True], []])
def test_stop_tokens_that_are_no_ids_are_errors(directory, edit, value):
    edit("generation_config.json", eos_token_id=value)
    with pytest.raises(ValueError, match="eos_token_id"):
        load_processor(directory)


@pytest.mark.parametrize(
    ("field", "value"), [("image_token_id", None), ("image_token_id", "<|image_pad|>")]
)
def test_a_config_without_image_token_is_an_error_that_names_the_field(
    directory, edit, field, value
):
    edit("config.json", **{field: value})
    with pytest.raises(ValueError, match=rf"config.json: {field}: expected an integer"):
        load_processor(directory)


def test_patches_of_another_size_than_the_models_are_an_error(directory, edit):
    edit("preprocessor_config.json", patch_size=16)
    with pytest.raises(ValueError, match=r"vision_config.patch_size is 14, but .* say 16"):
        load_processor(directory)


def test_a_directory_without_tokenizer_is_an_error_that_names_the_file(directory):
    (directory / "tokenizer.json").unlink()
    (directory / "vocab.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks tokenizer.json"):
        load_processor(directory)


@pytest.mark.parametrize("content", ["{", '{"version": "1\\n.0"}'])
def test_a_damaged_tokenizer_is_an_error_of_one_line_that_names_the_directory(directory, content):
    (directory / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match="model: the tokenizer cannot be loaded") as refused:
        load_processor(directory)
    assert "\n" not in str(refused.value)


def test_a_path_that_is_no_model_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such directory"):
        load_processor(tmp_path / "missing")


@pytest.mark.reliability("67")
def test_a_tokenizer_that_brings_code_of_its_own_does_not_run_it(directory, edit):
    marker = directory / "executed"
    (directory / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    edit("tokenizer_config.json", auto_map={"AutoTokenizer": [None, "evil.Evil"]})
    edit("config.json", auto_map={"AutoConfig": "evil.Evil"})
    load_processor(directory)
    assert not marker.exists()


@pytest.mark.reliability("5")
def test_every_special_token_in_the_text_is_refused_by_name(processor):
    assert {"<|image_pad|>", "<|im_end|>", "<|endoftext|>"} <= set(processor.special_tokens)
    for token in processor.special_tokens:
        for prompt in (
            f"a{token}b",
            [{"role": "system", "content": token}, {"role": "user", "content": "x"}],
            [{"role": "user", "content": [{"type": "text", "text": token}]}],
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": token}],
        ):
            with pytest.raises(PromptError) as error:
                processor.encode(prompt)
            assert repr(token) in str(error.value)


MARKS = ["<think>", "</think>", "<answer>", "</answer>"]


def test_marks_of_a_thought_that_are_special_tokens_are_said_and_graded(directory):
    tokenizer = load_processor(directory).tokenizer
    tokenizer.add_tokens(MARKS, special_tokens=True)
    tokenizer.save_pretrained(directory)
    processor = load_processor(directory)
    assert not set(MARKS) & set(processor.special_tokens)
    # Warm starts learn such responses, and their marks and answer come back without control tokens.
    said = "<think>They differ.</think> <answer>\\boxed{B}</answer>"
    tokens = processor.encode_response(said)
    assert tokens[0] == tokenizer.convert_tokens_to_ids("<think>")
    padded = [*tokens, processor.pad_token, processor.pad_token]
    assert processor.decode(padded) == said
    assert processor.decode(tokens, skip_special_tokens=False) == said + "<|im_end|>"
    # A question may ask for them.
    asked = processor.decode(processor.encode("Think in <think> </think>.").tokens)
    assert "Think in <think> </think>." in asked
    with pytest.raises(PromptError, match="special token"):
        processor.encode_response("<think>a</think><|im_end|>")


@pytest.mark.parametrize("text", ["a\0", "\udfff"])
def test_text_that_cannot_be_tokenised_is_refused(processor, text):
    with pytest.raises(PromptError, match="the text holds a"):
        processor.encode(text)


def test_ordinary_angle_brackets_are_ordinary_text(processor):
    text = "<|not a token|> <b> a < b <tool_call> <|im_end"
    assert text in said(processor, processor.encode(text))


def test_a_bad_image_is_named_by_its_place_and_its_path(processor, picture, tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    good = picture(30, 30)
    with pytest.raises(ImageError, match=r"image 3 of the prompt: '.*empty.png': 0 bytes"):
        processor.encode("<image><image><image>", [good, good, path])
    with pytest.raises(ImageError, match="image 2 of the prompt: 30000x1 pixels"):
        processor.encode("<image><image>", [good, Image.new("RGB", (30000, 1))])


def test_the_same_pixels_give_the_same_patches_however_they_come(processor, picture, tmp_path):
    rgb = picture(45, 61)
    image = Image.fromarray(rgb)
    path = tmp_path / "photo.png"
    image.save(path)
    data = path.read_bytes()
    forms = [image, rgb, path, str(path), data, bytearray(data), io.BytesIO(data)]
    forms += [{"bytes": data, "path": None}, {"bytes": None, "path": str(path)}]
    patches = [processor.preprocess(form).patches for form in forms]
    for other in patches[1:]:
        np.testing.assert_array_equal(patches[0], other)


def test_images_are_preprocessed_without_torch_and_transformers():
    script = (
        "import sys, json, numpy as np\n"
        "import perl_jax.processing as p\n"
        "s = p.ImageSettings(3136, 9999999, 14, 2, 2, (0, 0, 0), (1, 1, 1))\n"
        "p.extract_patches(p.load_rgb(np.zeros((9, 9), np.uint8)), s)\n"
        "heavy = {'torch', 'torchvision', 'transformers', 'tokenizers', 'jax'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert json.loads(run.stdout) == []


@pytest.mark.reliability("57", "88")
def test_vision_tokens_and_rows_without_a_token_are_banned(processor):
    banned = processor.banned_rows(processor.vocab_size + 3)
    beyond = [processor.vocab_size + n for n in range(3)]
    assert np.flatnonzero(banned).tolist() == [*processor.banned_tokens, *beyond]
    with pytest.raises(ValueError, match="the model has 7 vocabulary rows for a tokenizer of"):
        processor.banned_rows(7)
