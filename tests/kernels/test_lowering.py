"""The programs of a step with kernels in them, lowered for accelerators that are not there."""

import jax
import pytest

from perl_jax.kernels import Kernel
from perl_jax.mesh import make_mesh
from tests.kernels.step import scores_in, traced
from tests.libtpu import compiled, needs_libtpu

MARKS = {"tpu": "tpu_custom_call", "cuda": "__gpu$xla.gpu.triton"}
KERNELS = {"tpu": Kernel("tpu"), "cuda": Kernel("gpu")}


@pytest.fixture(autouse=True)
def _gpu(monkeypatch):
    """Newer jax asks which GPU a Triton kernel is lowered for, even where it looks for none."""
    if tuple(map(int, jax.__version__.split(".")[:2])) >= (0, 11):
        kind = "jax._src.pallas.triton.gpu_info.get_device_kind"
        monkeypatch.setattr(kind, lambda: "NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize("platform", MARKS)
def test_every_program_of_a_step_is_lowered_with_its_kernels(platform):
    mesh = make_mesh(fsdp=2, tensor=2, devices=jax.devices()[:4])
    count = {
        name: program.lower(lowering_platforms=(platform,)).as_text().count(MARKS[platform])
        for name, program in traced(mesh, KERNELS[platform]).items()
    }
    # Forward, there is one for the prompts, one for each part of what responses attend to, and one
    # for patches. The backward pass of a layer runs them again and has two for each of them; it
    # also runs the vision tower again as a whole.
    assert count == {
        "update": 4 + 4 * 3 + 1, "score": 4, "encode": 1, "prefill": 1, "decode": 2,
    }  # fmt: skip


def test_arrays_with_an_axis_of_queries_and_one_of_keys_are_told():
    text = "%a = f32[1,4,1,1152,7,1152]{5,4} fusion() %b = bf16[6,300,28,128] %c = pred[1152,1152]"
    assert scores_in(text) == ["f32[1,4,1,1152,7,1152]"]


@pytest.mark.soak  # minutes of compiling
@needs_libtpu
def test_no_array_as_large_as_the_scores_is_in_the_memory_of_a_tpu():
    for name, program in compiled("tests.kernels.step", "v5e:4x4", "tpu", "1", "16", "1").items():
        assert program["kernels"] > 0, name
        assert program["scores"] == [], name
