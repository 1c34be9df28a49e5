"""Every kind of array comes back bit by bit, on any mesh; its checksum sees every change."""

import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from perl_jax.training.checkpoint import CheckpointConfig, CheckpointError, Checkpoints
from perl_jax.training.checkpoint.checksums import checksums
from perl_jax.training.checkpoint.files import absolute
from tests.training.checkpoint.checkpoint_states import (
    FINGERPRINT,
    abstract,
    assert_same,
    host,
    mesh,
    shardings,
    state,
)

EVERY_STEP = CheckpointConfig(every=1)


def open_at(directory, **options):
    return Checkpoints(directory, EVERY_STEP, fingerprint=FINGERPRINT, **options)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    with open_at(directory) as checkpoints:
        assert checkpoints.save(3, state(3, mesh(2, 4)), host(3), metric=0.25)
    return directory


@pytest.mark.parametrize("shape", [(2, 4), (8, 1), (1, 8), (4, 2)])
def test_a_state_sharded_over_eight_devices_comes_back_on_any_mesh(saved, shape):
    wanted = state(3, mesh(2, 4))
    restored = open_at(saved).restore(abstract(wanted, mesh(*shape)))
    assert (restored.step, restored.host, restored.metric) == (3, host(3), 0.25)
    assert_same(restored.arrays, wanted)
    for leaf, place in zip(
        jax.tree.leaves(restored.arrays), jax.tree.leaves(shardings(mesh(*shape))), strict=True
    ):
        assert leaf.sharding.is_equivalent_to(place, leaf.ndim)


def test_a_state_comes_back_on_one_device_and_as_concrete_arrays_say(saved):
    one = jax.device_put(state(1), jax.devices()[0])
    restored = open_at(saved).restore(one)
    assert_same(restored.arrays, state(3))
    assert restored.arrays["params"]["kernel"].devices() == {jax.devices()[0]}


def test_restored_keys_draw_the_same_numbers(saved):
    keys = open_at(saved).restore(abstract(state(3))).arrays["keys"]
    for name, key in state(3)["keys"].items():
        draw = jax.random.normal if key.ndim == 0 else jax.vmap(jax.random.normal)
        np.testing.assert_array_equal(draw(keys[name]), draw(key))


def test_a_moved_directory_is_read_as_well(saved, tmp_path):
    moved = shutil.copytree(saved, tmp_path / "moved")
    assert_same(open_at(moved).restore(abstract(state(3))).arrays, state(3))


def test_donated_buffers_and_a_changed_host_state_do_not_reach_the_checkpoint(tmp_path):
    overwrite = jax.jit(lambda tree: jax.tree.map(jnp.zeros_like, tree), donate_argnums=0)
    arrays = {"w": jnp.arange(1e6)}
    position = {"next_index": 1}
    with open_at(tmp_path / "c") as checkpoints:
        checkpoints.save(1, arrays, position)
        like = abstract(arrays)
        overwrite(arrays)
        position["next_index"] = 2
        restored = checkpoints.restore(like)
    np.testing.assert_array_equal(restored.arrays["w"], np.arange(1e6, dtype=np.float32))
    assert restored.host == {"next_index": 1}


def test_named_tuples_lists_and_odd_names_keep_their_structure(tmp_path):
    import optax

    params = {"a.b": jnp.ones(3), "a/b": [jnp.zeros(2), jnp.ones(2)], "ü ": jnp.int8(-1)}
    arrays = (params, optax.adamw(1e-3).init({"w": jnp.ones(4)}))
    with open_at(tmp_path / "c") as checkpoints:
        checkpoints.save(1, arrays, {})
        assert_same(checkpoints.restore(abstract(arrays)).arrays, arrays)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w": np.ones(3)}, r"w: expected a jax.Array; got ndarray"),
        ({"w": [jnp.ones(3), 1.0]}, r"w\.1: expected a jax.Array; got float"),
        ({}, "arrays: expected at least one; got none"),
        ({"a": {"b": jnp.ones(1)}, "a.b": jnp.ones(1)}, r"a\.b: expected different paths"),
    ],
)
def test_what_cannot_be_saved_is_refused_by_name(tmp_path, arrays, message):
    with open_at(tmp_path / "c") as checkpoints, pytest.raises(ValueError, match=message):
        checkpoints.save(1, arrays, {})


@pytest.mark.parametrize(
    "position", [{"at": (1, 2)}, {1: "x"}, {"at": {1}}, {"at": np.int64(3)}, {"at": float("nan")}]
)
def test_a_host_state_that_json_would_change_is_refused(tmp_path, position):
    with open_at(tmp_path / "c") as checkpoints, pytest.raises(ValueError, match="host: expected"):
        checkpoints.save(1, {"w": jnp.ones(1)}, position)


def test_abstract_arrays_must_say_where_they_go(saved):
    wanted = jax.eval_shape(lambda: state(3))
    with pytest.raises(ValueError, match=r"count: expected a jax.ShapeDtypeStruct with a sharding"):
        open_at(saved).restore(wanted)


def test_without_a_fingerprint_a_directory_is_only_read(saved):
    checkpoints = Checkpoints(saved, EVERY_STEP, fingerprint=None)
    assert_same(checkpoints.restore(abstract(state(3))).arrays, state(3))
    with pytest.raises(ValueError, match="fingerprint: expected one to save under; got None"):
        checkpoints.save(4, state(4), {})


def test_a_step_that_is_not_there_is_not_restored(saved):
    with pytest.raises(CheckpointError, match=r"step 4 is not in .* \(3 is\)"):
        open_at(saved).restore(abstract(state(3)), step=4)


def oracle(array: np.ndarray) -> str:
    """The checksum once more, one element after the other, in whole numbers."""

    def scramble(word: int) -> int:
        word = (word ^ word >> 16) * 0x85EBCA6B % 2**32
        word = (word ^ word >> 13) * 0xC2B2AE35 % 2**32
        return word ^ word >> 16

    array = np.asarray(array)
    size = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint32}[array.dtype.itemsize]
    bits = [int(word) for word in np.frombuffer(array.tobytes(), size)]
    return "".join(
        f"{sum(scramble(w ^ scramble((i + seed) % 2**32)) for i, w in enumerate(bits)) % 2**32:08x}"
        for seed in (0x9E3779B9, 0x85EBCA77)
    )


SPECIAL = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, 1e-45, 3e38], np.float32)


@pytest.mark.parametrize(
    "array",
    [
        SPECIAL,
        SPECIAL.astype(jnp.bfloat16).reshape(7, 1),
        np.arange(24, dtype=np.int8).reshape(2, 3, 4) - 12,
        np.array([True, False, True]),
        np.float16(1.5),
        np.uint32(2**32 - 1),
        np.zeros((3, 0), np.float32),
        np.arange(6).astype(jnp.float8_e4m3fn),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_checksums_equal_those_of_a_slow_program(array):
    assert checksums({"w": jnp.asarray(array)}) == {"w": oracle(array)}


def test_checksums_do_not_depend_on_the_mesh():
    array = np.random.default_rng(0).normal(size=(16, 24)).astype(np.float32)
    expected = {"w": oracle(array)}
    for shape in ((2, 4), (8, 1), (1, 8)):
        for spec in ((), ("a", "b"), ("b", "a"), (("a", "b"), None), (None, "b")):
            place = NamedSharding(mesh(*shape), PartitionSpec(*spec))
            assert checksums({"w": jax.device_put(array, place)}) == expected, (shape, spec)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.uint8], ids=str)
def test_any_flipped_bit_changes_the_checksum(dtype):
    array = np.arange(1, 6).astype(dtype)
    before = checksums({"w": jnp.asarray(array)})
    for bit in range(array.nbytes * 8):
        raw = bytearray(array.tobytes())
        raw[bit // 8] ^= 1 << bit % 8
        assert checksums({"w": jnp.asarray(np.frombuffer(raw, dtype))}) != before, bit


def test_moved_elements_and_pairs_of_flipped_signs_change_the_checksum():
    array = np.random.default_rng(1).normal(size=8).astype(np.float32)
    array[1] = -array[0]
    seen = {oracle(array)}
    for i in range(8):
        for j in range(i):
            swapped, signs = array.copy(), array.copy()
            swapped[[i, j]] = swapped[[j, i]]
            signs[[i, j]] *= -1
            seen |= set(checksums({"w": jnp.asarray(swapped)}).values())
            # Two signs flipped are, for these two, the same as a swap.
            if (i, j) != (1, 0):
                seen |= set(checksums({"w": jnp.asarray(signs)}).values())
    assert len(seen) == 1 + 28 + 27


def test_a_bucket_stays_one_where_a_local_directory_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("gs://bucket/run/checkpoints", "s3://bucket/run"):
        assert os.fspath(absolute(url)) == url
    assert os.fspath(absolute("runs/a")) == f"{tmp_path}/runs/a"
    assert os.fspath(absolute("~")) == os.path.expanduser("~")
