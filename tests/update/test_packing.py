"""Where groups, responses and images stand in the padded arrays of a micro-batch."""

import dataclasses

import jax
import numpy as np
import pytest

from perl_jax.models import load_model
from perl_jax.processing import load_processor
from perl_jax.types import Group, Prompt, Responses
from perl_jax.update.packing import MicroBatch, PackingConfig, Sizes, pack
from tests.update.cases import make_group, write_small_checkpoint

CONFIG = PackingConfig(prompt_lengths=(64, 128), response_lengths=(4, 8), patches=(128, 512))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def processor(checkpoint):
    return load_processor(checkpoint)


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_model(checkpoint, dtype="float32").config


@pytest.fixture(scope="module")
def groups(processor):
    """Three orders of two images (6 and 4 features), one order of one (12), one of text."""
    return (
        make_group(processor, "two", [(56, 84), (56, 56)], [[0, 1], [1, 0], [0, 1]]),
        make_group(processor, "one", [(112, 84)], [[0]]),
        make_group(processor, "text", [], [[]]),
    )


@pytest.fixture(scope="module")
def responses(groups):
    """Token 100 b + 10 k + n, as often as 1 + (b + k + n) % 4; the rest of the array is 999."""
    b, k, n = np.indices((3, 3, 2))
    real = k < np.array([len(group.prompts) for group in groups])[:, None, None]
    lengths = np.where(real, 1 + (b + k + n) % 4, 0).astype(np.int32)
    held = np.arange(5) < lengths[..., None]
    tokens = np.where(held, (100 * b + 10 * k + n)[..., None], 999).astype(np.int32)
    return Responses(tokens, lengths)


def packed(groups, responses, values, config, model) -> MicroBatch:
    """The groups as the only shard."""
    sizes = Sizes.of([groups], responses.lengths, config, model)
    return pack(groups, responses, values, model, sizes)


ORDERS = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]


def test_orders_stand_one_after_the_other_with_their_responses_beside_them(
    groups, responses, model
):
    values = {
        "advantages": responses.tokens[..., 0] + 0.5,
        "old": np.where(responses.tokens == 999, np.nan, -responses.tokens),
    }
    micro = packed(groups, responses, values, CONFIG, model)
    assert micro.tokens.shape == (6, 2, 4)  # 5 orders in a bucket of 6, 4 tokens in a rung of 4
    for row, (b, k) in enumerate(ORDERS):
        prompt, end = groups[b].prompts[k], len(groups[b].prompts[k].tokens)
        np.testing.assert_array_equal(micro.prompts.tokens[row, :end], prompt.tokens)
        np.testing.assert_array_equal(micro.prompts.positions[:, row, :end], prompt.positions)
        np.testing.assert_array_equal(micro.prompts.valid[row], np.arange(64) < end)
        assert micro.start[row] == prompt.positions.max() + 1
        for n in range(2):
            length = 1 + (b + k + n) % 4
            token = 100 * b + 10 * k + n
            want = [token] * length + [0] * (4 - length)
            assert micro.tokens[row, n].tolist() == want
            assert micro.valid[row, n].tolist() == [True] * length + [False] * (4 - length)
            assert micro.values["old"][row, n].tolist() == [-float(token) for token in want]
            assert micro.values["advantages"][row, n] == token + 0.5
    assert not micro.prompts.valid[5:].any()
    assert not micro.valid[5:].any()
    assert not any(value[5:].any() for value in micro.values.values())
    assert {value.dtype for value in micro.values.values()} == {np.dtype(np.float32)}


def test_every_distinct_image_is_there_once_and_orders_point_at_their_own(groups, responses, model):
    micro = packed(groups, responses, {}, CONFIG, model)
    rows = [row[row >= 0].tolist() for row in micro.prompts.feature_rows]
    first, second, third = list(range(6)), list(range(6, 10)), list(range(10, 22))
    assert rows == [first + second, second + first, first + second, third, [], []]
    assert micro.prompts.images.images.valid.any(-1).sum() == 3
    images = [*groups[0].images, *groups[1].images]
    sizes = model.image_sizes([[i.grid for i in images]], num_patches=128, num_images=3)
    alone = sizes.pack(images)
    np.testing.assert_array_equal(micro.prompts.images.patches[0], alone.patches)
    is_image = micro.prompts.tokens == model.image_token
    np.testing.assert_array_equal(micro.prompts.feature_rows >= 0, is_image)


def test_an_image_that_two_groups_show_is_there_once(processor, model):
    (image,) = make_group(processor, "one", [(56, 56)], [[0]]).images
    groups = [Group.of(name, [processor.encode("<image> Which?", [image])]) for name in ("a", "b")]
    responses = Responses(np.ones((2, 1, 1, 2), np.int32), np.ones((2, 1, 1), np.int32))
    micro = packed(groups, responses, {}, CONFIG, model)
    assert micro.prompts.images.images.valid.any(-1).sum() == 1
    rows = [row[row >= 0].tolist() for row in micro.prompts.feature_rows]
    assert rows == [[0, 1, 2, 3]] * 2


def test_an_image_shown_twice_has_two_places_of_the_same_rows(processor, model):
    image = processor.preprocess(np.zeros((56, 56, 3), np.uint8))
    prompt = processor.encode("<image 1> is it <image 1> ?", [image])
    responses = Responses(np.ones((1, 1, 1, 1), np.int32), np.ones((1, 1, 1), np.int32))
    micro = packed([Group.of("twice", [prompt])], responses, {}, CONFIG, model)
    rows = micro.prompts.feature_rows[0]
    assert rows[rows >= 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_text_alone_has_no_images(groups, responses, model):
    micro = packed(groups[2:], responses[2:], {}, CONFIG, model)
    assert micro.prompts.images is None
    assert (micro.prompts.feature_rows == -1).all()


def test_all_shards_have_the_shapes_of_the_largest_and_rows_of_their_own(groups, responses, model):
    shards = [[0], [1, 2], []]
    members = [[groups[b] for b in numbers] for numbers in shards]
    sizes = Sizes.of(members, responses.lengths, CONFIG, model)
    micros = [
        pack(of_shard, responses[numbers], {}, model, sizes)
        for numbers, of_shard in zip(shards, members, strict=True)
    ]
    shapes = [jax.tree.map(np.shape, micro) for micro in micros]
    assert shapes[0] == shapes[1] == shapes[2]
    assert micros[0].tokens.shape[0] == 3
    rows = [row[row >= 0].tolist() for row in micros[1].prompts.feature_rows]
    assert rows == [list(range(12)), [], []]
    assert not micros[2].valid.any()
    assert not micros[2].prompts.valid.any()
    assert not micros[2].prompts.images.images.valid.any()


def test_a_prompt_of_several_orders_is_there_once_and_each_order_names_it(processor, model):
    own, other = make_group(processor, "two", [(56, 84), (56, 56)], [[0, 1], [1, 0]]).prompts
    (text,) = make_group(processor, "text", [], [[]]).prompts
    groups = [
        Group.of("mixed", [own, other, own]),
        Group.of("text", [text] * 3),
    ]
    lengths = np.ones((2, 3, 2), np.int32)
    tokens = np.arange(12, dtype=np.int32).reshape(2, 3, 2, 1)
    config = dataclasses.replace(CONFIG, orders=(2, 4, 8))
    micro = packed(groups, Responses(tokens, lengths), {}, config, model)
    # Three prompts in a rung of four, six orders in one of eight.
    assert micro.prompts.tokens.shape[0] == 4
    assert micro.prompts.valid.any(-1).tolist() == [True, True, True, False]
    assert micro.prompt_of.tolist() == [0, 1, 0, 2, 2, 2, 0, 0]
    assert micro.tokens.shape == (8, 2, 4)
    np.testing.assert_array_equal(micro.tokens[:6, :, 0].ravel(), np.arange(12))
    assert not micro.valid[6:].any()
    starts = [groups[0].prompts[0], other, own, text, text, text]
    assert micro.start.tolist() == [*(prompt.next_position for prompt in starts), 0, 0]
    # An order has the images of its prompt.
    rows = [row[row >= 0].tolist() for row in micro.prompts.feature_rows]
    assert rows == [[*range(10)], [6, 7, 8, 9, *range(6)], [], []]


def test_shards_of_prompts_that_are_asked_once_follow_those_that_are_not(groups, model):
    """All shards have the same shapes, so one of them decides for all."""
    kept = Group.of("kept", [groups[1].prompts[0]] * 3)
    members, lengths = [[groups[0]], [kept], []], np.ones((3, 3, 2), np.int32)
    sizes = Sizes.of(members, lengths, dataclasses.replace(CONFIG, orders=(3,)), model)
    responses = Responses(np.ones((1, 3, 2, 1), np.int32), lengths[:1])
    of_none = Responses(np.ones((0, 3, 2, 1), np.int32), lengths[:0])
    micros = [
        pack(of_shard, responses if of_shard else of_none, {}, model, sizes) for of_shard in members
    ]
    assert [micro.prompt_of.tolist() for micro in micros] == [[0, 1, 2], [0, 0, 0], [0, 0, 0]]
    assert sizes.prompts == 3


def test_a_micro_batch_that_is_not_full_has_the_shapes_of_a_full_one(groups, responses, model):
    """What remains of a part that micro-batches do not divide compiles nothing."""
    fixed = {"patches": (512,), "images": (8,), "orders": (10,)}
    config = dataclasses.replace(CONFIG, **fixed, tokens=(300,), predicted=(40,))

    def shapes(numbers):
        chosen = [groups[number] for number in numbers]
        return jax.tree.map(np.shape, packed(chosen, responses[numbers], {}, config, model))

    assert shapes([0, 1, 2]) == shapes([0, 1])
    # Of the largest image alone.
    assert shapes([0, 1]) == shapes([1, 2])


def test_a_ladder_of_orders_fixes_their_number(groups, responses, model):
    config = dataclasses.replace(CONFIG, orders=(4, 10))
    assert packed(groups, responses, {}, config, model).tokens.shape[0] == 10
    with pytest.raises(ValueError, match=r"orders of a micro-batch: 5 is more than .* 4"):
        packed(groups, responses, {}, dataclasses.replace(CONFIG, orders=(4,)), model)


def test_with_a_ladder_of_images_their_number_changes_no_shape(processor, model):
    config = dataclasses.replace(CONFIG, images=(4, 8))

    def shapes(count):
        group = make_group(processor, "g", [(56, 56)] * count, [list(range(count))])
        responses = Responses(np.ones((1, 1, 1, 1), np.int32), np.ones((1, 1, 1), np.int32))
        images = packed([group], responses, {}, config, model).prompts.images
        return [np.shape(part) for part in dataclasses.astuple(images)[:2]], [
            (segments.patches.shape, segments.place.shape)
            for segments in (images.windows, images.images)
        ]

    assert shapes(1) == shapes(3) == shapes(4)
    assert shapes(4) != shapes(5)


@pytest.mark.reliability("F40")
def test_what_does_not_fit_a_ladder_is_named(groups, responses, model):
    long = Responses(np.ones((3, 3, 2, 9), np.int32), np.where(responses.lengths > 0, 9, 0))
    with pytest.raises(ValueError, match=r"response length: 9 is more than .* 8"):
        packed(groups, long, {}, CONFIG, model)
    small = dataclasses.replace(CONFIG, prompt_lengths=(16,))
    with pytest.raises(ValueError, match=r"group 'two': prompt length: .* is more than .* 16"):
        packed(groups, responses, {}, small, model)
    with pytest.raises(ValueError, match=r"patches of a micro-batch: 88 is more than .* 64"):
        packed(groups, responses, {}, dataclasses.replace(CONFIG, patches=(64,)), model)
    with pytest.raises(ValueError, match=r"images of a micro-batch: 3 is more than .* 2"):
        packed(groups, responses, {}, dataclasses.replace(CONFIG, images=(2,)), model)


def test_what_does_not_belong_together_is_named(groups, responses, model):
    with pytest.raises(ValueError, match="expected them to 2 groups; got 3"):
        packed(groups[:2], responses, {}, CONFIG, model)
    surplus = responses.lengths.copy()
    surplus[1, 1] = 2
    with pytest.raises(ValueError, match=r"'one': .* to its 1 orders; got them to 2 of 3"):
        packed(groups, Responses(responses.tokens, surplus), {}, CONFIG, model)
    fewer = Responses(responses.tokens[:, :2], responses.lengths[:, :2])
    with pytest.raises(ValueError, match=r"'two': .* to its 3 orders; got them to 2 of 2"):
        packed(groups, fewer, {}, CONFIG, model)
    prompt = groups[1].prompts[0]
    cut = Prompt(prompt.tokens[:-20], prompt.positions[:, :-20], 0, prompt.images)
    damaged = [groups[0], Group.of("cut", [cut]), groups[2]]
    with pytest.raises(ValueError, match=r"'cut', order 0: .* image tokens .*; got \d+ and 12"):
        packed(damaged, responses, {}, CONFIG, model)
    with pytest.raises(ValueError, match="expected lengths of at most R = 5; got 6"):
        Responses(responses.tokens, responses.lengths + 2)
    with pytest.raises(ValueError, match=r"tokens \[B, K, N, R\] .* got \[3, 3, 2\] and"):
        Responses(responses.tokens[..., 0], responses.lengths)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"micro_groups": 0}, "micro_groups: expected at least 1; got 0"),
        ({"patches": (512, 128)}, "patches: expected rising positive sizes"),
        ({"prompt_lengths": ()}, "prompt_lengths: expected rising"),
        ({"response_lengths": (0, 4)}, "response_lengths: expected rising"),
        ({"images": (4, 4)}, "images: expected rising"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        PackingConfig(**settings)
