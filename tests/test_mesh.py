import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from jax.sharding import PartitionSpec as P

from perl_jax import mesh as meshes
from perl_jax.mesh import find_devices, fit_sharding, make_mesh, partition_of

REPOSITORY = Path(__file__).parent.parent

TABLE = {r".*\.proj\.weight": P("fsdp", "tensor"), r".*\.bias": P("tensor"), r"norm": P()}


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(data=1, fsdp=4, tensor=2)


def sharding_of(path, shape, table, mesh):
    return fit_sharding(shape, partition_of(path, shape, table), mesh)


def test_a_mesh_covers_all_devices_in_three_axes(mesh):
    assert dict(mesh.shape) == {"data": 1, "fsdp": 4, "tensor": 2}
    assert mesh.size == jax.device_count()


@pytest.mark.reliability("52")
def test_a_mesh_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"= 8 devices, got 2 x 2 x 1 = 4"):
        make_mesh(data=2, fsdp=2)


def test_the_first_pattern_that_matches_the_whole_path_counts(mesh):
    assert sharding_of("a.proj.weight", (8, 8), TABLE, mesh).spec == P("fsdp", "tensor")
    assert sharding_of("norm", (8,), TABLE, mesh).spec == P(None)


def test_a_leading_layer_axis_stays_whole(mesh):
    assert sharding_of("a.proj.weight", (5, 8, 8), TABLE, mesh).spec == P(None, "fsdp", "tensor")
    assert sharding_of("a.bias", (6, 8), TABLE, mesh).spec == P(None, "tensor")


def test_an_axis_that_the_mesh_does_not_divide_stays_whole(mesh):
    assert sharding_of("a.proj.weight", (6, 8), TABLE, mesh).spec == P(None, "tensor")


def test_a_path_without_a_pattern_is_an_error(mesh):
    with pytest.raises(KeyError, match="no pattern of the sharding table matches"):
        sharding_of("unknown", (8,), TABLE, mesh)


def test_an_axis_may_be_split_over_several_mesh_axes_if_their_product_divides_it(mesh):
    spec = P(None, ("fsdp", "tensor"), "data")
    assert fit_sharding((5, 16, 3), spec, mesh).spec == spec
    # 12 is a multiple of fsdp = 4 and of tensor = 2, and not of both together.
    assert fit_sharding((5, 12, 3), spec, mesh).spec == P(None, None, "data")


def test_a_fitted_sharding_splits_an_array_into_equal_parts(mesh):
    sharding = fit_sharding((16, 6, 5), P(("fsdp", "tensor"), "fsdp", None), mesh)
    assert sharding.shard_shape((16, 6, 5)) == (2, 6, 5)
    assert sharding.mesh == mesh


def test_a_partition_must_name_every_axis_of_the_shape(mesh):
    with pytest.raises(ValueError, match="shorter"):
        fit_sharding((8, 8), P("fsdp"), mesh)


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("no GPU\nis visible")])
def test_a_platform_that_is_not_there_is_one_line(monkeypatch, error):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    with pytest.raises(ValueError, match=r"^JAX_PLATFORMS=cpu: expected devices of this") as caught:
        find_devices()
    assert "\n" not in str(caught.value)
    assert ("no GPU is visible" in str(caught.value)) == bool(str(error))


@pytest.mark.parametrize(
    ("asked", "plugin", "warned"),
    [("", "xla_cuda13", True), ("cpu", "xla_cuda13", False), ("", "libtpu", False)],
)
def test_a_gpu_that_is_not_found_is_a_warning(monkeypatch, caplog, asked, plugin, warned):
    monkeypatch.setenv("JAX_PLATFORMS", asked)
    monkeypatch.setattr(meshes, "entry_points", lambda group: [SimpleNamespace(name=plugin)])
    with caplog.at_level(logging.WARNING):
        assert find_devices() == jax.devices()
    assert [record.message[:38] for record in caplog.records] == (
        ["JAX is installed for GPUs and finds no"] if warned else []
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["perl_jax.train", "--config=configs/demo.py", "--workdir=never"],
        ["perl_jax.generate", "--model=never", "--prompt=?"],
    ],
)
def test_a_command_says_so_before_it_opens_anything(arguments, tmp_path):
    # No machine has devices of this kind.
    environment = {**os.environ, "JAX_PLATFORMS": "abacus", "PYTHONPATH": str(REPOSITORY)}
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    ended = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: JAX_PLATFORMS=abacus: expected devices of this kind")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "never").exists()
