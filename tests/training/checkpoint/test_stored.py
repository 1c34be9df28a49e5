"""What arrays a directory holds is told without what Orbax's metadata leave in memory."""

import gc
import shutil

import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest
from etils import epath

from perl_jax.training.checkpoint.stored import _spec, stored_arrays

ARRAYS = {
    "key": jnp.zeros(2, jnp.uint32),
    "count": jnp.int32(3),
    "a.b c%20/d": jnp.ones((3, 5), jnp.bfloat16),
    "flags": jnp.ones(4, bool),
    "weights": jnp.ones((2, 3, 4), jnp.float32),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = epath.Path(tmp_path_factory.mktemp("a run #1 %41")) / "arrays"
    handler = ocp.StandardCheckpointer()
    handler.save(path, ARRAYS)
    handler.wait_until_finished()
    handler.close()
    return path


def test_shape_and_dtype_of_every_array_are_told_by_name(directory):
    expected = {name: (array.shape, str(array.dtype)) for name, array in ARRAYS.items()}
    assert stored_arrays(directory) == expected
    orbax = ocp.StandardCheckpointHandler().metadata(directory).tree
    assert expected == {name: (tuple(a.shape), str(a.dtype)) for name, a in orbax.items()}


def test_a_path_in_a_bucket_is_taken_as_it_is():
    directory = epath.Path("gs://bucket/run%411/a|b/checkpoints/3/arrays")
    assert _spec(directory)["base"] == {
        "driver": "gcs", "bucket": "bucket", "path": "run%411/a|b/checkpoints/3/arrays/",
    }  # fmt: skip


def test_it_leaves_nothing_in_memory(directory):
    def objects():
        gc.collect()
        return len(gc.get_objects())

    stored_arrays(directory)
    before = objects()
    for _ in range(50):
        stored_arrays(directory)
    assert objects() - before < 50


def test_a_directory_without_a_store_holds_none(tmp_path):
    assert stored_arrays(epath.Path(tmp_path)) == {}


def test_a_damaged_store_raises(directory, tmp_path):
    shutil.copytree(directory, tmp_path / "arrays")
    (tmp_path / "arrays" / "manifest.ocdbt").write_bytes(b"{}")
    with pytest.raises(ValueError, match="manifest"):
        stored_arrays(epath.Path(tmp_path / "arrays"))
