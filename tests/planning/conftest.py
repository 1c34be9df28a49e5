"""A run of the smallest model on eight virtual devices."""

import pytest

from perl_jax.config import TrainConfig
from perl_jax.mesh import make_mesh
from perl_jax.models import read_config as read_model_config
from perl_jax.planning.rehearsal import Rehearsal
from perl_jax.planning.shapes import sharded_model
from perl_jax.planning.workload import Step, Workload
from perl_jax.settings import read_config
from tests.update.cases import write_small_checkpoint

WORKLOAD = Workload(images=2, pixels=56 * 56, text_tokens=20, pass_rate=1.0)


@pytest.fixture(scope="package")
def small(tmp_path_factory):
    return write_small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="package")
def config(small):
    return read_config(
        TrainConfig,
        {
            "model": {"path": str(small), "compute_dtype": "float32"},
            "data": {"train": {"digits": {"rows": 64}}, "max_prompt_tokens": 40},
            "mesh": {"fsdp": 4, "tensor": 2},
            "steps": 10,
            "objective": {"kl_coefficient": 0.1},
            "rollout": {
                "groups": 8,
                "num_rollouts": 2,
                "max_new_tokens": 8,
                "sampler": {
                    "prompt_lengths": (40,),
                    "response_lengths": (6,),
                    "patches": (512,),
                    "chunk": 4,
                    "rows": 16,
                },
            },
            "learner": {
                "packing": {
                    "micro_groups": 8,
                    "prompt_lengths": (40,),
                    "response_lengths": (8,),
                    "patches": (64,),
                }
            },
        },
    )


@pytest.fixture(scope="package")
def mesh():
    return make_mesh(fsdp=4, tensor=2)


@pytest.fixture(scope="package")
def step(config):
    return Step.of(config, read_model_config(config.model.path), WORKLOAD)


@pytest.fixture(scope="package")
def shapes(config, mesh):
    """The model as shapes."""
    device = mesh.devices.flat[0]
    return sharded_model(config.model, read_model_config(config.model.path), mesh, device)


@pytest.fixture(scope="package")
def rehearsal(config, mesh, step, shapes):
    return Rehearsal(config, shapes, mesh, mesh.devices.flat[0], step, WORKLOAD)


@pytest.fixture(scope="package")
def recorder(rehearsal):
    """A step of the run, recorded."""
    return rehearsal.largest()
