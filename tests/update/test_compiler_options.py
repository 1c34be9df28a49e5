"""What XLA is told about an update's programs; the devices are names, nothing is compiled."""

from dataclasses import dataclass

import jax
import optax
import pytest

from perl_jax.mesh import BatchSharding, make_mesh
from perl_jax.models import abstract_model
from perl_jax.update import programs
from perl_jax.update.compiler_options import compiler_options
from perl_jax.update.forward import Head
from perl_jax.update.state import SplitPolicy
from tests.update.update_on_topology import small_config

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


@pytest.mark.parametrize("flag", [f"--{SUMS}=false", f"--{SUMS}", f"--other=1 --{SUMS}=true"])
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


def test_programs_that_run_the_model_are_compiled_with_the_options_of_its_devices(monkeypatch):
    asked = []
    monkeypatch.setattr(
        programs, "compiler_options", lambda *given: asked.append(given) or {"of": "devices"}
    )
    mesh = make_mesh(1, 4, 2)
    model = abstract_model(small_config(), dtype="float32", mesh=mesh)
    policy, found = SplitPolicy(model), {}

    def compile(name, function, **options):
        found[name] = options.get("compiler_options")

    programs.Programs(
        policy,
        policy.split(model),
        loss=None,
        head=Head(mesh=mesh),
        optimizer=optax.sgd(1.0),
        schedule=optax.constant_schedule(1.0),
        sharding=BatchSharding.of(mesh),
        compile=compile,
    )
    assert {name for name, options in found.items() if options} == {"add", "score"}
    assert asked == [(set(jax.devices()), mesh)]
