"""Directories in, directories out, and every way in which a directory can be wrong."""

import json
import subprocess
import sys
import textwrap

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from perl_jax.mesh import make_mesh
from perl_jax.models import load_model, save_model
from perl_jax.testing import write_tiny_checkpoint

VARIANTS = [
    (layout, tied, shards)
    for layout in ("hub", "v5")
    for tied in (True, False)
    for shards in (1, 3)
]


def tensors_of(directory):
    """Every tensor of a directory, by its stored name."""
    tensors = {}
    for file in directory.glob("*.safetensors"):
        tensors.update(load_file(file))
    return tensors


@pytest.fixture
def directory(tmp_path):
    return write_tiny_checkpoint(tmp_path / "model")


@pytest.fixture
def sharded(tmp_path):
    return write_tiny_checkpoint(tmp_path / "model", shards=3)


def edit_config(directory, **changes):
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config.update(changes)
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def edit_weights(directory, edit):
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    save_file(tensors, directory / "model.safetensors")


@pytest.mark.parametrize(("layout", "tied", "shards"), VARIANTS)
def test_what_is_saved_is_what_was_loaded(layout, tied, shards, tmp_path):
    source = write_tiny_checkpoint(tmp_path / "source", layout=layout, tied=tied, shards=shards)
    saved = tmp_path / "saved"
    save_model(
        load_model(source, dtype="float32"),
        saved,
        max_shard_bytes=10**9 if shards == 1 else 300_000,
    )
    before, after = tensors_of(source), tensors_of(saved)
    assert before.keys() == after.keys()
    for name in before:
        assert before[name].dtype == after[name].dtype
        np.testing.assert_array_equal(before[name].view(np.uint16), after[name].view(np.uint16))
    assert json.loads((saved / "config.json").read_text()) == json.loads(
        (source / "config.json").read_text()
    )
    carried = {f.name for f in source.iterdir() if "safetensors" not in f.name}
    assert {f.name for f in saved.iterdir() if "safetensors" not in f.name} == carried
    assert (saved / "model.safetensors").exists() == (shards == 1)


def test_shards_stay_below_the_limit_and_the_index_lists_every_tensor(directory, tmp_path):
    saved = tmp_path / "saved"
    save_model(load_model(directory, dtype="float32"), saved, max_shard_bytes=200_000)
    index = json.loads((saved / "model.safetensors.index.json").read_text())
    sizes = {}
    for file in saved.glob("*.safetensors"):
        tensors = load_file(file)
        sizes[file.name] = sum(tensor.nbytes for tensor in tensors.values())
        assert {index["weight_map"][name] for name in tensors} == {file.name}
    assert max(sizes.values()) <= 200_000
    assert sum(sizes.values()) == index["metadata"]["total_size"]
    count = len(sizes)
    assert set(sizes) == {f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)}


def test_a_changed_weight_is_saved_in_the_dtype_of_the_source(directory, tmp_path):
    model = load_model(directory, dtype="float32")
    model.text.norm.weight[...] = model.text.norm.weight[...] + 1.0
    save_model(model, tmp_path / "saved")
    before, after = tensors_of(directory), tensors_of(tmp_path / "saved")
    want = (before["model.norm.weight"].astype(np.float32) + 1).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(after["model.norm.weight"], want)


def test_saving_never_overwrites(directory, tmp_path):
    model = load_model(directory, dtype="float32")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="saved: expected a new or empty directory"):
        save_model(model, tmp_path / "saved")
    assert [f.name for f in (tmp_path / "saved").iterdir()] == ["notes.txt"]


def test_a_failed_save_leaves_nothing_behind(directory, tmp_path):
    model = load_model(directory, dtype="float32")
    model.source.names.pop("model.norm.weight")
    with pytest.raises(KeyError):
        save_model(model, tmp_path / "saved")
    assert [f.name for f in tmp_path.iterdir()] == ["model"]


def test_saving_needs_the_files_of_the_source(directory, tmp_path):
    model = load_model(directory, dtype="float32")
    directory.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match="is gone"):
        save_model(model, tmp_path / "saved")


def test_a_mesh_gives_each_device_its_own_shard_only(directory, model, prompts):
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    sharded = load_model(directory, dtype="float32", mesh=mesh)
    state = nnx.to_flat_state(nnx.state(sharded))
    parts = {
        ".".join(path): leaf[...].addressable_shards[0].data.size / leaf[...].size
        for path, leaf in state
    }
    matrices = {path for path in parts if path.endswith("proj.weight") or "qkv.weight" in path}
    assert {parts[path] for path in matrices} == {1 / 4}
    assert parts["text.embed_tokens.weight"] == 1 / 4
    whole = {path for path, part in parts.items() if part == 1}
    assert all("norm" in path or "bias" in path or "ln_q" in path for path in whole), whole
    np.testing.assert_allclose(
        np.asarray(sharded.logits(prompts["two_images"])),
        np.asarray(model.logits(prompts["two_images"])),
        atol=2e-4,
    )


def test_a_sharded_model_saves_like_a_whole_one(directory, tmp_path):
    mesh = make_mesh(fsdp=4, tensor=2)
    save_model(load_model(directory, dtype="float32", mesh=mesh), tmp_path / "saved")
    before, after = tensors_of(directory), tensors_of(tmp_path / "saved")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.story  # writes and reads 700 MB
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_loading_takes_the_checkpoints_size_and_its_largest_tensor(tmp_path):
    """Measured in a process of its own: 400 MB of stacked layers, an embedding of 256 MiB."""
    write_tiny_checkpoint(
        tmp_path,
        text={"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 12,
              "vocab_size": 131072, "num_attention_heads": 16, "num_key_value_heads": 16},
        mrope_section=[8, 12, 12],
        shards=2,
    )  # fmt: skip
    script = f"""
        import re, jax
        from pathlib import Path
        from perl_jax.models import load_model
        from perl_jax.models import abstract_model, read_config
        # Not getrusage: a process starts with the peak of the one that forked it.
        def peak():
            status = Path("/proc/self/status").read_text()
            return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024
        abstract_model(read_config(Path({str(tmp_path)!r})), dtype="bfloat16")
        jax.device_put(0.0).block_until_ready()
        before = peak()
        loaded = load_model({str(tmp_path)!r}, dtype="bfloat16")
        print(peak() - before)
    """
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    sizes = [tensor.nbytes for tensor in tensors_of(tmp_path).values()]
    assert sum(sizes) / 2 < int(out.stdout) < sum(sizes) + max(sizes)


def test_an_unembedding_stored_beside_the_embedding_it_is_tied_to_is_accepted(directory, tmp_path):
    want = load_model(directory, dtype="float32").unembedding

    def copy(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()

    edit_weights(directory, copy)
    model = load_model(directory, dtype="float32")
    np.testing.assert_array_equal(model.unembedding, want)
    save_model(model, tmp_path / "saved")
    assert "lm_head.weight" not in tensors_of(tmp_path / "saved")


def test_an_unembedding_that_differs_from_the_embedding_it_is_tied_to_is_refused(directory):
    def differ(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * 2

    edit_weights(directory, differ)
    with pytest.raises(ValueError, match=r"lm_head.weight differs from model.embed_tokens"):
        load_model(directory, dtype="float32")


@pytest.mark.reliability("63", "64", "65")
def test_all_tensors_that_do_not_fit_are_listed_together(directory):
    def damage(tensors):
        del tensors["model.layers.1.mlp.up_proj.weight"]
        tensors["visual.blocks.0.attn.extra"] = np.zeros(3, np.float32)
        tensors["model.norm.weight"] = np.zeros((65,), np.float32)
        tensors["visual.merger.mlp.2.bias"] = np.zeros(64, np.int32)

    edit_weights(directory, damage)
    with pytest.raises(ValueError, match="4 tensors do not fit") as error:
        load_model(directory, dtype="float32")
    message = str(error.value)
    assert "missing: model.layers.1.mlp.up_proj.weight (112, 64)" in message
    assert "surplus: visual.blocks.0.attn.extra (3,) in model.safetensors" in message
    assert "model.norm.weight in model.safetensors: expected (64,), got (65,)" in message
    assert "visual.merger.mlp.2.bias" in message
    assert "got I32" in message


@pytest.mark.reliability("62")
def test_a_missing_shard_is_named(sharded):
    (sharded / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing model-00002-of-00003\S+ of the 3"):
        load_model(sharded, dtype="float32")


@pytest.mark.reliability("61")
@pytest.mark.parametrize("keep", [0, 4, 1000, -100])
def test_a_truncated_file_is_named(directory, keep):
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model.safetensors: not a complete safetensors file"):
        load_model(directory, dtype="float32")


@pytest.mark.reliability("61")
def test_a_header_is_refused_in_one_line_whatever_is_in_it(directory):
    header = json.dumps({"w": {"dtype": "F\n32" + "x" * 5000}}).encode()
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"not a complete safetensors file") as refused:
        load_model(directory, dtype="float32")
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.reliability("66")
def test_pickled_weights_are_never_read(directory):
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"pytorch_model.bin: pickled weights are never"):
        load_model(directory, dtype="float32")


@pytest.mark.reliability("68")
@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "weights.bin"])
def test_an_index_names_only_safetensors_of_its_own_directory(sharded, name):
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.norm.weight"] = name
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match="expected safetensors files of this directory"):
        load_model(sharded, dtype="float32")


@pytest.mark.reliability("69")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.layers.1.mlp.down_proj.weight", (3, 5)),
        ("model.embed_tokens.weight", (-1, -1)),
        ("visual.patch_embed.proj.weight", (0, 0, 0, 0, 0)),
    ],
)
def test_weights_that_are_not_finite_are_refused_by_file_and_tensor(directory, value, name, place):
    def damage(tensors):
        tensors[name][place] = value

    edit_weights(directory, damage)
    message = rf"model\.safetensors: tensor {name}: expected finite weights; got {value}"
    with pytest.raises(ValueError, match=message):
        load_model(directory, dtype="float32")


def test_an_index_may_name_a_file_that_no_disk_can_hold(sharded):
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.norm.weight"] = "9" * 5000
    path.write_text(json.dumps(index))
    with pytest.raises(
        FileNotFoundError, match=r"missing 9{100}\.\.\. \(4900 more characters\) of the"
    ):
        load_model(sharded, dtype="float32")


@pytest.mark.parametrize("value", [3, None, ["model.safetensors"]])
def test_an_index_that_names_no_file_is_refused_with_what_it_names(sharded, value):
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"][next(iter(index["weight_map"]))] = value
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"index\.json: weight_map: expected names of files, got"):
        load_model(sharded, dtype="float32")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index_is_named(sharded, content):
    (sharded / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match=r"index.json: expected an object with a weight_map"):
        load_model(sharded, dtype="float32")


def test_a_tensor_in_two_files_is_refused(sharded):
    file = sharded / "model-00001-of-00003.safetensors"
    other = sharded / "model-00002-of-00003.safetensors"
    save_file({**load_file(other), **load_file(file)}, other)
    with pytest.raises(ValueError, match=r"is also in model-00001-of-00003.safetensors"):
        load_model(sharded, dtype="float32")


def test_an_unknown_model_type_is_named(directory):
    edit_config(directory, model_type="llama")
    with pytest.raises(ValueError, match="model_type: expected 'qwen2_5_vl' or 'qwen3_vl', got"):
        load_model(directory, dtype="float32")


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "awq", "bits": 4, "group_size": 128},
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "fp8"},
    ],
)
def test_quantized_weights_are_refused_before_any_is_read(directory, quantization):
    (directory / "model.safetensors").write_bytes(b"")
    edit_config(directory, quantization_config=quantization)
    with pytest.raises(ValueError, match="quantization_config: expected weights that") as caught:
        load_model(directory, dtype="float32")
    message = str(caught.value)
    assert message.startswith(f"{directory}/config.json: ")
    assert f"got {quantization['quant_method']}: use the checkpoint that was quant" in message
    assert "\n" not in message


def test_a_quantization_of_null_is_none(directory):
    edit_config(directory, quantization_config=None)
    load_model(directory, dtype="float32")


def test_a_path_that_is_nowhere_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such directory; expected a directory with"):
        load_model(tmp_path / "nowhere", dtype="float32")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="expected a model directory, got a file"):
        load_model(tmp_path / "file", dtype="float32")


def test_a_hub_id_without_a_network_says_what_to_do():
    with pytest.raises(FileNotFoundError, match=r"hf download Qwen/Qwen2.5-VL-3B-Instruct"):
        load_model("Qwen/Qwen2.5-VL-3B-Instruct", dtype="float32")


def test_models_of_two_directories_share_their_compiled_programs(directory, tmp_path):
    other = write_tiny_checkpoint(tmp_path / "other", seed=1)
    first, second = (load_model(path, dtype="float32") for path in (directory, other))
    assert nnx.graphdef(first) == nnx.graphdef(second)
    assert hash(nnx.graphdef(first)) == hash(nnx.graphdef(second))
    assert not np.array_equal(first.unembedding, second.unembedding)


def test_parameters_have_the_dtype_that_was_asked_for(directory):
    model = load_model(directory, dtype="float32", compute_dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {np.dtype("float32")}
    assert model.compute_dtype == ml_dtypes.bfloat16
