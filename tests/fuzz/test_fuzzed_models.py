"""Directories of models may hold anything: headers of weights, configurations, templates."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from perl_jax.models import adapter_files
from perl_jax.models.families import parse_config
from perl_jax.models.safetensors_files import INDEX, SINGLE, read_headers, read_slice
from perl_jax.processing.chat import read_chat_template
from perl_jax.processing.images import read_image_settings
from tests.fuzz.fuzzing import TEXTS, changed, damaged, fuzz, outcome

pytestmark = pytest.mark.fuzz

ASSETS = Path(__file__).parents[2] / "perl_jax" / "assets"
CONFIGS = [
    json.loads(path.read_text())
    for path in (*sorted(ASSETS.glob("tiny*/config.json")), *sorted(ASSETS.glob("published/*")))
]
WEIGHTS = save({"weight": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)})
TENSOR = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("model")


def weights(header, body=bytes(24), length=None):
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


HEADERS = (
    changed({"weight": TENSOR, "__metadata__": {"format": "pt"}}).map(weights)
    | st.integers(0, 2**64 - 1).map(lambda length: weights({"weight": TENSOR}, length=length))
    | damaged(WEIGHTS)
    | st.binary(max_size=60)
    | st.just(weights({}, body=b"")[:8] + b"[" * 20_000)
)


@fuzz(150)
@given(content=HEADERS)
def test_any_header_of_weights_is_read_or_the_file_named(directory, content):
    (directory / SINGLE).write_bytes(content)
    (directory / INDEX).unlink(missing_ok=True)
    found = outcome(lambda: read_headers(directory), ValueError, where=SINGLE)
    for tensor in (found or {}).values():
        # Such as another dtype than numpy has; loading compares the dtypes before it reads.
        if tensor.dtype == "F32":
            assert read_slice(tensor, ()).shape == tensor.shape


@fuzz(100)
@given(content=changed({"metadata": {}, "weight_map": {"weight": SINGLE}}).map(json.dumps)
       | st.text(max_size=20) | st.just("[" * 20_000))  # fmt: skip
def test_any_index_is_read_or_named(directory, content):
    (directory / SINGLE).write_bytes(WEIGHTS)
    (directory / INDEX).write_text(content, encoding="utf-8", errors="surrogatepass")
    outcome(lambda: read_headers(directory), ValueError, FileNotFoundError, where=str(directory))
    (directory / INDEX).unlink()


@pytest.mark.parametrize("number", range(len(CONFIGS)))
@fuzz(60)
@given(data=st.data())
def test_any_configuration_of_a_model_is_read_or_its_field_named(number, data):
    content = data.draw(changed(CONFIGS[number]).filter(lambda value: isinstance(value, dict)))
    outcome(lambda: parse_config(content, where="config.json"), ValueError, where="config.json")


PREPROCESSOR = json.loads((ASSETS / "tiny_policy" / "preprocessor_config.json").read_text())


@fuzz(150)
@given(content=changed(PREPROCESSOR), nested=st.booleans())
def test_any_settings_of_images_are_read_or_their_field_named(directory, content, nested):
    name = "processor_config.json" if nested else "preprocessor_config.json"
    for other in ("processor_config.json", "preprocessor_config.json"):
        (directory / other).unlink(missing_ok=True)
    text = json.dumps({"image_processor": content} if nested else content)
    (directory / name).write_text(text)
    outcome(
        lambda: read_image_settings(directory), ValueError, FileNotFoundError, where=str(directory)
    )


TEMPLATES = st.sampled_from(["chat_template.json", "chat_template.jinja", "tokenizer_config.json"])
NAMED = [{"name": "default", "template": "{{ messages }}"}, {"name": "tool", "template": "x"}]
BLOCKS = ["{{", "}}", "{%", "%}", "{#", "#}", "x", "**", "for", "in", "endfor", "(", ")", "-", "'"]


@fuzz(150)
@given(name=TEMPLATES, content=changed({"chat_template": NAMED}).map(json.dumps)
       | st.lists(st.sampled_from(BLOCKS), max_size=12).map(" ".join)
       | st.lists(st.sampled_from(BLOCKS), max_size=12).map(
           lambda parts: json.dumps({"chat_template": " ".join(parts)})))  # fmt: skip
def test_any_template_is_read_or_its_file_named(tmp_path_factory, name, content):
    directory = tmp_path_factory.mktemp("template")
    (directory / name).write_text(content)
    outcome(lambda: read_chat_template(directory), ValueError, where=str(directory))


ADAPTER = {
    "peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "use_dora": False,
    "rank_pattern": {}, "modules_to_save": None, "target_modules": ["q_proj"],
}  # fmt: skip


@fuzz(100)
@given(content=changed(ADAPTER))
def test_any_configuration_of_an_adapter_is_read_or_named(directory, content):
    (directory / adapter_files.CONFIG).write_text(json.dumps(content))
    outcome(lambda: adapter_files._config(directory), ValueError, where=adapter_files.CONFIG)


@fuzz(50)
@given(name=TEXTS)
def test_no_name_of_a_tensor_is_a_path(directory, name):
    try:
        content = save({name: np.ones(2, np.float32)})
    except (UnicodeEncodeError, BaseException):  # the library's own writer refuses it
        return
    (directory / SINGLE).write_bytes(content)
    (directory / INDEX).unlink(missing_ok=True)
    assert set(read_headers(directory)) == {name}
