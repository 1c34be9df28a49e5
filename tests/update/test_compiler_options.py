"""What XLA is told about an update's programs; the devices are names, nothing is compiled."""

from dataclasses import dataclass

import jax
import pytest

from perl_jax.mesh import make_mesh
from perl_jax.update.compiler_options import compiler_options

RING, SUMS = (
    "xla_jf_spmd_threshold_for_windowed_einsum_mib",
    "xla_tpu_enable_async_collective_fusion_fuse_all_reduce",
)


@dataclass(frozen=True)
class Chip:
    number: int
    platform: str = "tpu"


CHIPS = {Chip(number) for number in range(8)}


@pytest.fixture(autouse=True)
def no_flags(monkeypatch):
    monkeypatch.delenv("LIBTPU_INIT_ARGS", raising=False)


@pytest.mark.parametrize(("tensor", "beside"), [(1, True), (2, False)])
def test_gradients_are_summed_beside_the_rest_of_a_layer_where_layers_are_whole(tensor, beside):
    options = compiler_options(CHIPS, make_mesh(1, 8 // tensor, tensor))
    assert options[RING] == 1 << 20
    assert (SUMS in options) == beside


def test_a_single_chip_has_what_any_mesh_has():
    assert SUMS not in compiler_options({Chip(0)}, None)


@pytest.mark.parametrize("flag", [f"--{SUMS}=false", f"-{SUMS}=0", f"--other=1 --{SUMS}"])
def test_a_flag_for_the_compiler_of_tpus_wins(flag, monkeypatch):
    monkeypatch.setenv("LIBTPU_INIT_ARGS", flag)
    options = compiler_options(CHIPS, make_mesh(1, 8, 1))
    assert SUMS not in options
    assert RING in options


def test_a_flag_whose_name_only_begins_alike_leaves_an_option(monkeypatch):
    monkeypatch.setenv("LIBTPU_INIT_ARGS", f"--{SUMS}_or_not=false")
    assert SUMS in compiler_options(CHIPS, make_mesh(1, 8, 1))


def test_other_platforms_have_options_of_their_own():
    mesh = make_mesh(1, 8, 1)
    several = compiler_options(set(jax.devices()), mesh)
    assert several == {"xla_cpu_enable_concurrency_optimized_scheduler": False}
    assert compiler_options(set(jax.devices()[:1]), None) is None
    assert compiler_options({Chip(0, "cuda")}, None) is None
