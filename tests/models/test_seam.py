"""Nothing outside `perl_jax.models` knows a model family, and every family keeps to the seam."""

import json
import math
import re
from typing import get_args, get_type_hints

import jax.numpy as jnp
import pytest
from flax import nnx

from perl_jax.models import abstract_model, parse_config
from perl_jax.models.families import FAMILIES
from perl_jax.models.fresh import FAMILIES as FRESH
from perl_jax.models.fresh import FreshModel
from perl_jax.models.paths import OUTER_MATRICES, STACKED, TEXT_LAYERS, VISION, leaves_of, within
from tests.models.published import published_config, published_qwen3
from tests.test_import_ranks import PACKAGE, imported, modules

ROOT = PACKAGE.parent
OUTSIDE = [path for path in modules() if path.relative_to(PACKAGE).parts[0] != "models"]
# Spellings of a family's name.
NAMES = re.compile(r"qwen", re.IGNORECASE)
# A path of a configuration file chooses one; a published score has the name of its system.
NOT_OURS = re.compile(r"configs/\w+\.py|\"[^\"]+\": \d+\.\d+")
# Besides, tests choose one by a hub id, a shipped configuration or policy, a config.json, or what
# writes a tiny checkpoint of one.
CHOOSING = re.compile(
    r"Qwen/Qwen[\w.-]+|Qwen2\.5-VL-\dB(-Instruct)?|\bqwen\d(_5)?_vl_\d+b_\w+|\b\w+_qwen3(_\w+)?"
    r"|\"model_type\": \"qwen\w+\"|QWEN3_POLICY|tests\.models\.qwen3|OF_QWEN3"
    # What transformers calls its own, which benchmarks compare with.
    r"|transformers\.models\.\w+\.\w+|\bQwen2(_5_)?VL(ImageProcessorPil|Processor)\b"
)
OF_A_FAMILY = {"tests/models", "tests/processing"}
# What is said of every family, by all their names.
ALL_OF_THEM = {
    "tests/test_config.py": 'second.fresh.family) == ("qwen2_5_vl", "qwen3_vl")',
}
CONFIGS = {"qwen2_5_vl": published_config("3B"), "qwen3_vl": published_qwen3("8B")}


def test_no_module_outside_models_imports_a_family():
    families = tuple(f"perl_jax.models.{name}" for name in FAMILIES)
    offenders = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in OUTSIDE
        for name in sorted(imported(path))
        if name.startswith(families)
    ]
    assert not offenders, "\n".join(offenders)


def test_no_module_outside_models_and_processing_names_a_family():
    offenders = [
        f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for path in OUTSIDE
        if path.relative_to(PACKAGE).parts[0] != "processing"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if NAMES.search(NOT_OURS.sub("", line))
    ]
    assert not offenders, "\n".join(offenders)


def test_no_test_and_no_benchmark_names_a_family_but_to_choose_one():
    offenders = []
    for path in sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]):
        place = path.relative_to(ROOT).as_posix()
        if place.startswith(tuple(OF_A_FAMILY)):
            continue
        text = path.read_text().replace(ALL_OF_THEM.get(place, "\0"), "")
        for number, line in enumerate(text.splitlines(), start=1):
            if NAMES.search(CHOOSING.sub("", line)):
                offenders.append(f"{place}:{number}: {line.strip()}")
            if re.search(r"perl_jax\.models\.qwen", line):
                offenders.append(f"{place}:{number}: imports a family")
    assert not offenders, "\n".join(offenders)


def test_a_family_has_a_configuration_here():
    assert CONFIGS.keys() == FAMILIES.keys()


def test_a_family_has_fresh_directories_and_published_sizes():
    assert FRESH.keys() == FAMILIES.keys()
    assert set(get_args(get_type_hints(FreshModel)["family"])) == FAMILIES.keys()
    files = (PACKAGE / "assets" / "published").glob("*.json")
    assert {json.loads(file.read_text())["model_type"] for file in files} == FAMILIES.keys()


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    return parse_config(CONFIGS[request.param])


@pytest.fixture(scope="module")
def shapes(config):
    state = nnx.state(abstract_model(config, dtype=jnp.bfloat16))
    return {path: leaf.shape for path, leaf in leaves_of(state).items()}


def test_a_configuration_says_its_family_and_is_a_static_argument(config):
    assert parse_config(CONFIGS[config.model_type]) == config
    assert hash(parse_config(CONFIGS[config.model_type])) == hash(config)


def test_parameters_are_stacked_where_the_seam_says_so(config, shapes):
    family = FAMILIES[config.model_type]
    for path, shape in shapes.items():
        assert family.stored(path, shape, config).stacked == within(path, *STACKED), path
    layers = {shape[0] for path, shape in shapes.items() if within(path, TEXT_LAYERS)}
    assert layers == {config.cache_sizes[0]}
    assert any(within(path, VISION) for path in shapes)


def test_matrices_that_face_the_outside_are_those_of_pixels_and_of_the_vocabulary(config, shapes):
    facing = {path for path in shapes if re.fullmatch(OUTER_MATRICES, path)}
    sides = {config.patch_width, config.vocab_size}
    of_sides = {path for path, shape in shapes.items() if sides & set(shape)}
    assert facing == of_sides | {path for path in shapes if path.endswith("pos_embed.weight")}


def test_a_pass_reads_every_matrix_of_the_layers_once(config, shapes):
    moved = config.traffic(1)
    matrices = {path: math.prod(shape) for path, shape in shapes.items() if len(shape) == 3}
    of_text = sum(size for path, size in matrices.items() if within(path, TEXT_LAYERS))
    of_vision = sum(size for path, size in matrices.items() if within(path, VISION))
    (width,) = config.feature_shape[-1:]
    assert moved.text_weights == of_text + config.vocab_size * width
    assert moved.vision_weights == of_vision


def test_traffic_of_a_token_a_pair_and_a_patch_of_a_published_size():
    moved = parse_config(CONFIGS["qwen2_5_vl"]).traffic(2)
    # 36 layers of width 2048: 16 and 2 heads of 128, and 11008 hidden units.
    assert moved.of_token == 36 * (4 * 2048 + (2 * 2048 + 2 * 256 + 3 * 11008) / 2)
    assert moved.of_pair == 36 * 16 / 2
    # 32 blocks of width 1280 and 3420 hidden units.
    assert moved.of_patch == 32 * (8 * 1280 + 3 * 3420)
