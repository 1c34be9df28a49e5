"""A kernel attends where its check agrees with XLA; otherwise the run says so and goes on."""

import jax.numpy as jnp
import pytest

from perl_jax.kernels import Kernel, gpu_decoding, shared_prefix, tpu, tpu_decoding
from perl_jax.models import attending
from perl_jax.models.attending import checked, kernel_for
from perl_jax.models.opening import ModelConfig, load_policy

HEADS, OF_IMAGES = (2, 1, 8), (2, 2, 6)
KERNEL = Kernel("tpu", interpret=True)


class Scripted:
    """An engine whose forward pass, or gradient of keys, is what a function makes of it."""

    blocks_for = staticmethod(tpu.blocks_for)

    def __init__(self, forward=lambda out: out, of_keys=lambda gradient: gradient):
        self.change_forward, self.change_keys = forward, of_keys

    def forward(self, *arguments):
        out, lse = tpu.forward(*arguments)
        return self.change_forward(out), lse

    def backward(self, *arguments):
        of_q, of_k, of_v = tpu.backward(*arguments)
        return of_q, self.change_keys(of_k), of_v


def does_not_compile(out):
    raise RuntimeError("Mosaic failed\nto compile")


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (Scripted(), None),
        (Scripted(forward=lambda out: 1.1 * out), "it differs from XLA by"),
        (Scripted(forward=lambda out: jnp.nan * out), "it differs from XLA by inf"),
        (Scripted(of_keys=jnp.zeros_like), "it differs from XLA by 100.0%"),
        (Scripted(forward=does_not_compile), "it does not run: Mosaic failed to compile"),
    ],
)
def test_a_kernel_that_is_wrong_or_does_not_compile_is_told_and_not_used(
    engine, reason, monkeypatch, caplog
):
    monkeypatch.setattr(shared_prefix, "_ENGINES", {"tpu": engine})
    found = checked(KERNEL, HEADS, OF_IMAGES, "float32")
    assert found == (KERNEL if reason is None else None)
    assert [reason in message for message in caplog.messages] == ([] if reason is None else [True])
    if reason is not None:
        assert "XLA attends instead" in caplog.text


def test_where_it_fails_on_one_host_all_attend_by_xla(monkeypatch, caplog):
    monkeypatch.setattr(attending.hosts, "gather", lambda fault, what: [fault, "it does not run"])
    assert checked(KERNEL, HEADS, OF_IMAGES, "float32") is None
    (message,) = caplog.messages
    assert "on host 1 (it does not run)" in message


def test_the_heads_of_images_are_checked_as_well(monkeypatch, caplog):
    def forward(*arguments):
        out, lse = tpu.forward(*arguments)
        return out * (1.1 if out.shape[-1] == OF_IMAGES[-1] else 1.0), lse

    engine = Scripted()
    engine.forward = forward
    monkeypatch.setattr(shared_prefix, "_ENGINES", {"tpu": engine})
    assert checked(KERNEL, HEADS, OF_IMAGES, "float32") is None
    assert "it differs from XLA by" in caplog.text


@pytest.mark.parametrize(("platform", "engine"), [("tpu", tpu_decoding), ("gpu", gpu_decoding)])
def test_what_decodes_is_checked_as_well(platform, engine, monkeypatch, caplog):
    kernel, heads = Kernel(platform, interpret=True), (2, 1, 16)
    assert checked(kernel, heads, OF_IMAGES, "float32") == kernel
    merge = engine.merge
    monkeypatch.setattr(engine, "merge", lambda *parts: 0 * merge(*parts))
    assert checked(kernel, heads, OF_IMAGES, "float32") is None
    assert "it differs from XLA by 100.0%" in caplog.text


def test_kernels_are_for_accelerators_and_can_be_turned_off():
    assert kernel_for("auto", "tpu") == Kernel("tpu")
    assert kernel_for("auto", "gpu") == Kernel("gpu")
    assert kernel_for("auto", "cpu") is None
    assert kernel_for("xla", "tpu") is None


def test_the_policy_of_a_run_attends_by_the_kernel_that_was_checked(checkpoint, monkeypatch):
    seen = []

    def check(kernel, heads, of_images, dtype):
        seen.append((kernel, heads, of_images, jnp.dtype(dtype)))
        return answer

    monkeypatch.setattr(attending, "checked", check)
    monkeypatch.setattr(attending, "kernel_for", lambda attention, platform: KERNEL)
    config = ModelConfig(path=str(checkpoint))
    for answer in (KERNEL, None):
        model = load_policy(config)
        assert model.text.kernel == model.vision.kernel == answer
    heads = model.config.attention_heads, model.config.image_attention_heads
    assert seen == [(KERNEL, *heads, jnp.bfloat16)] * 2
