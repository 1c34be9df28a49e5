"""A program that does not fit into a device's memory is named, with what makes it smaller."""

import re
from collections import Counter
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.device_memory import DeviceMemoryError, explained_memory
from perl_jax.main import one_line_errors
from perl_jax.models import load_model
from perl_jax.rollout.runner import Runner
from perl_jax.testing import write_tiny_checkpoint
from perl_jax.update.programs import jit

# More than any machine has: the CPU's own allocator refuses it.
HUGE = 1 << 46


@jax.tree_util.register_dataclass
@dataclass
class Batch:
    tokens: np.ndarray
    images: np.ndarray | None


def grow(parameters, batch):
    return jnp.zeros((HUGE + batch.tokens.shape[0],), jnp.float32) + parameters["a"].sum()


def arguments():
    batch = Batch(np.zeros((4, 512), np.int32), None)
    return {"a": np.ones((3, 3), np.float32)}, batch


@pytest.mark.reliability("F42")
def test_an_update_that_does_not_fit_names_its_program_its_shapes_and_the_settings():
    with pytest.raises(DeviceMemoryError) as caught:
        jit("add", grow)(*arguments())
    said = str(caught.value)
    assert re.match(r"add: a device has not enough memory, for tokens int32\[4, 512\]: ", said)
    assert "RESOURCE_EXHAUSTED" in said
    assert "Lower learner.packing.micro_groups, learner.logprob_chunk, learner.remat=" in said


def test_a_program_of_the_sampler_that_does_not_fit_names_its_own_settings(tmp_path):
    runner = Runner(
        load_model(write_tiny_checkpoint(tmp_path / "model"), dtype="float32"), Counter()
    )

    def prefill(definition, parameters, batch):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    with pytest.raises(
        DeviceMemoryError, match=r"^prefill: .*, for tokens int32\[4, 512\]: RES"
    ) as e:
        runner.call(prefill, runner.definition, runner.parameters, arguments()[1])
    assert "Lower rollout.sampler.prefill_tokens;" in str(e.value)


def test_other_failures_of_a_device_are_left_as_they_are():
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"^INTERNAL"), explained_memory("add"):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_no_more_than_a_few_shapes_are_told():
    many = [np.zeros((n,), np.int32) for n in range(1, 31)]
    with pytest.raises(DeviceMemoryError, match="and 18 more: RES"), explained_memory("add", *many):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: x")


@pytest.mark.reliability("F42")
def test_a_command_says_it_in_one_line(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        jit("decode", grow)(*arguments())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: decode: a device has not enough memory")
    assert "rollout.sampler.rows" in line
