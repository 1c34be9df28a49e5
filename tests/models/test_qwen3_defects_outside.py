"""Every defect around Qwen3-VL's model that its description warns of makes a test fail.

Each is injected, and a test of the suite is called, as pytest would call it, and must fail. What
drops features for the sake of memory is in
``tests/update/test_shared_prefix_of_added_features.py``.
"""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from perl_jax.models import config_file, decoder, load_model, save, vision_language
from perl_jax.models.qwen3_vl import config, vision
from perl_jax.models.qwen3_vl.config import Qwen3VLConfig
from perl_jax.processing import chat, images
from perl_jax.processing.files import read_json
from tests.models.qwen3 import write_tiny_qwen3
from tests.models.test_qwen3_config import (
    test_a_field_that_is_missing_or_wrong_is_named as of_a_field,
)
from tests.models.test_qwen3_config import (
    test_a_published_size_has_exactly_the_published_parameters_and_tensors as of_a_size,
)
from tests.models.test_qwen3_config import (
    test_of_two_statements_about_tying_the_outer_one_counts as of_tying,
)
from tests.models.test_qwen3_golden import (  # noqa: F401
    checkpoint,
    golden,
    model,
    processor,
    prompts,
)
from tests.models.test_qwen3_golden import test_greedy_tokens_equal_the_golden_ones as of_decoding
from tests.models.test_qwen3_loading import test_what_is_saved_is_what_was_loaded as of_saving
from tests.processing.test_qwen3_processing import (
    test_a_thinking_template_opens_the_thought_and_what_is_said_keeps_its_end as of_thinking,
)
from tests.processing.test_qwen3_processing import (
    test_settings_are_those_of_images_whatever_those_of_videos_are as of_settings,
)
from tests.processing.test_qwen3_processing import (
    test_there_is_no_system_turn_of_its_own as of_the_system,
)

FAILS = (AssertionError, ValueError, pytest.fail.Exception)
CLIP = {"image_mean": (0.4815, 0.4578, 0.4082), "image_std": (0.2686, 0.2613, 0.2758)}


def replaced(owner, name, make):
    """An attribute becomes ``make(attribute)``."""
    return lambda patch: patch.setattr(owner, name, make(getattr(owner, name)))


def least_of_the_other_family(real):
    return lambda given, where, name, edge: (
        3136 if name == "min_pixels" else real(given, where, name, edge)
    )


def of_videos(real):
    def read(directory):
        file = directory / "video_preprocessor_config.json"
        return (read_json(file), str(file)) if file.is_file() else real(directory)

    return read


def with_a_system_turn(real):
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    return lambda self, tokenizer, messages: system + real(self, tokenizer, messages)


def without_the_thought(real):
    return lambda *arguments: real(*arguments).removesuffix("<think>\n")


def width_by_the_heads(real):
    def read(section, rope, *, rope_theta, head_dim):
        head_dim = section.size("hidden_size") // section.size("num_attention_heads")
        return real(section, rope, rope_theta=rope_theta, head_dim=head_dim)

    return read


def tied_as_the_text_says(real):
    def get(self, name, default=None):
        if name == "tie_word_embeddings" and "text_config" in self.content:
            return default
        return real(self, name, default)

    return get


def never_refusing(real, field):
    def only(self, name, *implemented):
        if name != field:
            real(self, name, *implemented)

    return only


def three_mergers(real):
    def stack(count, rngs, build):
        is_deep = build.func is vision.PatchMerger
        return real(3 if is_deep else count, rngs, build)

    return stack


def added_in_decoding(real):
    """Hidden states of responses get features too; these are ones."""

    def through_layers(self, apply, carry, inputs):
        def adding(layer, carry, given):
            (x, cache), nothing = apply(layer, carry, given)
            return (jnp.where(given[0] < 3, x + 1, x), cache), nothing

        return real(self, adding, carry, inputs)

    return through_layers


def first_features_alone(real):
    """A table of features that are kept has one for each image token, and zeros."""

    def prefill(self, inputs, features=None, mesh=None, wanted=None):
        if features is not None:
            features = features.at[:, :, 1:].set(0)
        return real(self, inputs, features, mesh, wanted)

    return prefill


def unwritten(real, part):
    """Tensors with this in their name are not saved."""
    return lambda policy, source: {
        name: tensor for name, tensor in real(policy, source).items() if part not in name
    }


def of_two_features(tmp_path):
    source = write_tiny_qwen3(tmp_path, vision={"deepstack_visual_indexes": [0, 4]})
    policy = load_model(source, dtype="float32")
    assert policy.config.feature_shape == (3, 64)
    images = policy.config.image_sizes([[(2, 2)]])
    zeros = jax.tree.map(jnp.zeros_like, images.pack([]))
    assert policy.encode_images(zeros).shape[1:] == policy.config.feature_shape


settings_of_images = partial(of_settings, False)
of_interleaving = partial(
    of_a_field,
    {"rope_scaling.mrope_interleaved": False},
    "mrope_interleaved: expected True, got False",
)
as_saved = partial(of_saving, "hub", True, 1, "bfloat16")

# How a defect comes in, and the test that it must fail.
DEFECTS = {
    "images in multiples of 28": (
        lambda patch: patch.setattr(images.ImageSettings, "factor", 28),
        settings_of_images,
    ),
    "mean and deviation of CLIP": (
        lambda patch: patch.setattr(images, "_channels", lambda given, where, name: CLIP[name]),
        settings_of_images,
    ),
    "least pixels of the other family": (
        replaced(images, "_area", least_of_the_other_family),
        settings_of_images,
    ),
    "settings of videos": (replaced(images, "_image_config", of_videos), settings_of_images),
    "a system turn": (replaced(chat.ChatTemplate, "render", with_a_system_turn), of_the_system),
    "no thought opened": (
        replaced(chat.ChatTemplate, "_rendered", without_the_thought),
        of_thinking,
    ),
    "head width by the width": (
        replaced(config, "read_text_config", width_by_the_heads),
        partial(of_a_size, "4B"),
    ),
    "tied as the text section says": (
        replaced(config_file.Section, "get", tied_as_the_text_says),
        partial(of_tying, False, True, False),
    ),
    "features of three layers, whatever is configured": (
        replaced(vision, "stack", three_mergers),
        of_two_features,
    ),
    "sizes of features of three layers": (
        lambda patch: patch.setattr(Qwen3VLConfig, "feature_shape", (4, 64)),
        of_two_features,
    ),
    "features in the decoding step": (
        replaced(decoder.Decoder, "_through_layers", added_in_decoding),
        of_decoding,
    ),
    "kept features without those of layers": (
        replaced(vision_language.VisionLanguageModel, "prefill", first_features_alone),
        of_decoding,
    ),
    "learned positions not saved": (
        replaced(save, "_tensors", partial(unwritten, part="pos_embed")),
        as_saved,
    ),
    "norms of queries not saved": (
        replaced(save, "_tensors", partial(unwritten, part="q_norm")),
        as_saved,
    ),
    "sections in chunks accepted": (
        replaced(config_file.Section, "only", partial(never_refusing, field="mrope_interleaved")),
        of_interleaving,
    ),
}


def with_its_fixtures(check, request):
    """A test and the values of the fixtures that it names; they are made by sound code."""
    test = check.func if isinstance(check, partial) else check
    given = len(check.args) if isinstance(check, partial) else 0
    names = test.__code__.co_varnames[given : test.__code__.co_argcount]
    return partial(check, *map(request.getfixturevalue, names))


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_outside_the_model_makes_a_test_fail(defect, request, monkeypatch):
    inject, check = DEFECTS[defect]
    test = with_its_fixtures(check, request)
    inject(monkeypatch)
    jax.clear_caches()
    with pytest.raises(FAILS):
        test()
    jax.clear_caches()


def test_a_model_has_as_many_features_as_its_directory_says(tmp_path):
    of_two_features(tmp_path)
