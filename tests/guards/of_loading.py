"""Scenarios of model directories: weights, configurations, templates, downloads."""

import json
from types import SimpleNamespace

import numpy as np
from safetensors.numpy import save_file

from tests.guards.removal import hold, refused


def write_weights(path, **tensors):
    save_file(tensors or {"weight": np.ones((2, 3), np.float32)}, path)


def write_index(directory, **weight_map):
    content = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(content))


def an_index_leads_out_of_its_directory(module, directory):
    write_weights(directory / "secret.safetensors")
    inside = directory / "model"
    inside.mkdir()
    write_index(inside, weight="../secret.safetensors")
    refused(ValueError, "expected safetensors files of", lambda: module.read_headers(inside))


def an_index_names_pickled_weights(module, directory):
    (directory / "model.bin").write_bytes(b"\x80\x04.")
    write_index(directory, weight="model.bin")
    words = "expected safetensors files of this directory"
    refused(ValueError, words, lambda: module.read_headers(directory))


def an_index_names_a_number(module, directory):
    write_index(directory, weight=7)
    refused(ValueError, "expected names of files, got 7", lambda: module.read_headers(directory))


def an_index_is_nested_without_end(module, directory):
    (directory / module.INDEX).write_text("[" * 100_000)
    refused(ValueError, module.INDEX, lambda: module.read_headers(directory))


def a_tensor_is_in_two_files(module, directory):
    write_weights(directory / "a.safetensors")
    write_weights(directory / "b.safetensors")
    write_index(directory, weight="a.safetensors", other="b.safetensors")
    refused(ValueError, "is also in", lambda: module.read_headers(directory))


def a_file_is_cut_off(module, directory):
    file = directory / "model.safetensors"
    write_weights(file)
    file.write_bytes(file.read_bytes()[:-1])
    refused(ValueError, "not a complete safetensors file", lambda: module.read_headers(directory))


def tensor_of(directory, values):
    from perl_jax.models.safetensors_files import read_tensors

    write_weights(directory / "model.safetensors", weight=values)
    return read_tensors(directory / "model.safetensors")[0]


def a_weight_is_not_a_number(module, directory):
    tensor = tensor_of(directory, np.array([[1.0, np.nan]], np.float32))
    buffer = np.zeros((1, 2), np.float32)
    whole = (slice(None), slice(None))
    refused(ValueError, "finite weights", lambda: module._read_into(buffer, tensor, whole))


def misfit(module, directory, values, shape):
    tensor = tensor_of(directory, values)
    stored = {"path": SimpleNamespace(names=("weight",), shape=shape)}
    return lambda: module._check(directory, {"weight": tensor}, stored)


def weights_are_whole_numbers(module, directory):
    refused(ValueError, "dtype:", misfit(module, directory, np.ones((2, 3), np.int8), (2, 3)))


def weights_have_another_shape(module, directory):
    refused(ValueError, "shape:", misfit(module, directory, np.ones((3, 2), np.float32), (2, 3)))


def weights_are_missing(module, directory):
    stored = {"path": SimpleNamespace(names=("weight",), shape=(2, 3))}
    refused(ValueError, "missing:", lambda: module._check(directory, {}, stored))


def the_tied_copy_differs(module, directory):
    write_weights(
        directory / "model.safetensors",
        head=np.ones((2, 3), np.float32),
        embedding=np.zeros((2, 3), np.float32),
    )
    from perl_jax.models.safetensors_files import read_headers

    files = read_headers(directory)
    call = lambda: module._without_tied_copy(files, "head", "embedding", directory)  # noqa: E731
    refused(ValueError, "differs from", call)


def a_model_brings_its_own_code(module, directory):
    content = {"model_type": "qwen2_5_vl", "auto_map": {"AutoConfig": "code.Config"}}
    refused(ValueError, "their own code", lambda: module.parse_config(content))


def weights_are_quantized(module, directory):
    content = {"model_type": "qwen2_5_vl", "quantization_config": {"quant_method": "awq"}}
    refused(ValueError, "not quantized", lambda: module.parse_config(content))


def the_hub_offers_code_and_pickles(module, directory):
    from fnmatch import fnmatch

    offered = ["config.json", "model.safetensors", "modeling.py", "pytorch_model.bin", "x.pt"]
    taken = [name for name in offered if any(fnmatch(name, one) for one in module._PATTERNS)]
    hold(taken == ["config.json", "model.safetensors"], f"fetches {taken}")


def template(module, directory, text):
    """What a template of this text renders."""
    from transformers.utils.chat_template_utils import render_jinja_template

    class Tokenizer:
        def apply_chat_template(self, messages, chat_template, add_generation_prompt, tokenize):
            rendered, _ = render_jinja_template([messages], chat_template=chat_template)
            return rendered[0]

    file = directory / "chat_template.jinja"
    file.write_text(text)
    messages = [{"role": "user", "content": "?"}]
    return lambda: module.read_chat_template(directory).render(Tokenizer(), messages)


def a_template_loops_within_loops(module, directory):
    module.time = SimpleNamespace(monotonic=iter(range(0, 10**9, 10)).__next__)
    loops = "{% for a in range(9) %}{% for b in range(9) %}{% endfor %}{% endfor %}"
    refused(ValueError, "did not end within", template(module, directory, loops))


def a_template_raises_to_a_power(module, directory):
    # One operation of the interpreter, which nothing can stop: larger ones take hours.
    refused(ValueError, "powers", template(module, directory, "{{ (7 ** 7 ** 5) % 2 }}"))


def a_template_does_not_show_images(module, directory):
    chat = module.ChatTemplate("", directory / "chat_template.jinja")

    class Silent:
        def apply_chat_template(self, messages, **_):
            return "no image"

    refused(ValueError, "cannot take images", lambda: chat.check_images(Silent(), "<|image_pad|>"))


def an_adapter_holds_nan(module, directory):
    tensor = tensor_of(directory, np.array([[1.0, np.nan]], np.float32))
    entries = [module._Stored("weight", None)]
    refused(ValueError, "finite weights", lambda: module._read({"weight": tensor}, entries))


def image_settings_are_of_another_model(module, directory):
    settings = SimpleNamespace(patch_size=16, temporal_patch_size=2, merge_size=2)
    config = {"vision_config": {"patch_size": 14}}
    refused(ValueError, "patch_size", lambda: module._check_vision(config, settings, directory))
