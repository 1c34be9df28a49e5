"""Kernels, interpreted on a CPU, against XLA's attention: values and all gradients."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from perl_jax.attention import KeyValues, attend
from perl_jax.kernels import Kernel, tpu
from perl_jax.mesh import SHARD_AXES, TENSOR_AXIS, make_mesh

KERNELS = {name: Kernel(name, interpret=True, least=1) for name in ("tpu", "gpu")}


class Case(NamedTuple):
    """Arrays of `attend`: the floating-point ones, and the others."""

    arrays: dict
    numbers: dict


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(tpu, "_MAX_QUERIES", 128)
    monkeypatch.setattr(tpu, "_MAX_KEYS", 128)


@pytest.fixture(params=KERNELS)
def kernel(request):
    return KERNELS[request.param]


def case(b, n, r, s, t, heads, *, slots=None, starts=None, valid=None, prompts=None):
    rng = np.random.default_rng(0)
    h, j, f = heads

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    arrays = {
        "queries": normal(b, n, r, h, f),
        "keys": normal(b, n, s, j, f),
        "values": normal(b, n, s, j, f),
    }
    numbers = {"valid": jnp.ones((b, n, s), bool) if valid is None else jnp.asarray(valid)}
    if t:
        arrays |= {"prefix_keys": normal(b, t, j, f), "prefix_values": normal(b, t, j, f)}
        numbers["prefix_valid"] = jnp.arange(t)[None] < jnp.asarray(prompts)[:, None]
    for name, given in (("slots", slots), ("starts", starts)):
        if given is not None:
            numbers[name] = jnp.asarray(np.broadcast_to(given, (b, n, r)), jnp.int32)
    return Case(arrays, numbers)


def of(kernel, numbers, arrays):
    prefix = None
    if "prefix_keys" in arrays:
        prefix = KeyValues(arrays["prefix_keys"], arrays["prefix_values"], numbers["prefix_valid"])
    return attend(
        arrays["queries"],
        KeyValues(arrays["keys"], arrays["values"], numbers["valid"]),
        prefix,
        query_slots=numbers.get("slots"),
        query_starts=numbers.get("starts"),
        kernel=kernel,
    )


def values_and_gradients(kernel, case, counted):
    """Of a loss that counts these queries only: others have no meaning."""
    weights = np.random.default_rng(1).normal(size=case.arrays["queries"].shape)
    weights = jnp.asarray(np.where(counted[..., None, None], weights, 0), jnp.float32)

    @jax.jit
    def run(arrays):
        out, gradients = jax.vjp(partial(of, kernel, case.numbers), arrays)
        return jnp.where(weights != 0, out, 0), gradients(weights)[0]

    return run(case.arrays)


def compare(kernel, case, counted=None):
    if counted is None:
        counted = np.ones(case.arrays["queries"].shape[:3], bool)
    got, want = (values_and_gradients(which, case, counted) for which in (kernel, None))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


def packed_rows(b=2, n=2, r=200, t=150, heads=(4, 2, 8)):
    """Rows with responses of 60, 100 and 25 tokens and then padding, to prompts of two lengths."""
    lengths = [60, 100, 25]
    starts = np.repeat(np.cumsum([0, *lengths])[:4], [*lengths, r - 185])
    valid = np.broadcast_to(np.arange(r) < 185, (b, n, r))
    prompts = [t, t // 3] * (b // 2)
    rows = case(b, n, r, r, t, heads, slots=np.arange(r), starts=starts, valid=valid,
                prompts=prompts)  # fmt: skip
    return rows, valid


def test_several_responses_in_a_row_attend_to_the_prompt_and_to_themselves(kernel):
    rows, counted = packed_rows()
    compare(kernel, rows, counted)


def test_a_prompt_attends_to_its_own_past_and_not_to_its_padding(kernel):
    valid = np.arange(300) < np.array([[[300]], [[140]]])
    compare(kernel, case(2, 1, 300, 300, 0, (6, 2, 16), slots=np.arange(300), valid=valid), valid)


def test_an_image_attends_to_all_of_itself_with_heads_of_any_width(kernel):
    """Two images and no third one, in one row: bounds are those of their image."""
    first = np.repeat([0, 70, 0], [70, 100, 30])
    last = np.repeat([69, 169, -1], [70, 100, 30])
    image = case(1, 1, 200, 200, 0, (2, 2, 20), slots=last, starts=first)
    compare(kernel, image, np.broadcast_to(last >= 0, (1, 1, 200)))


@pytest.mark.parametrize("bounded", [True, False])
def test_any_bounds_and_any_valid_keys_are_kept_to(bounded, kernel):
    rng = np.random.default_rng(2)
    slots = rng.integers(0, 150, (2, 2, 40))
    starts = np.maximum(slots - rng.integers(0, 150, slots.shape), 0)
    valid = rng.random((2, 2, 150)) < 0.8
    given = {"slots": slots, "starts": starts} if bounded else {}
    compare(kernel, case(2, 2, 40, 150, 130, (2, 1, 8), valid=valid, prompts=[130, 1], **given))


def test_a_query_that_may_attend_to_nothing_stays_finite_and_has_no_gradient(kernel):
    nothing = case(1, 1, 130, 130, 0, (1, 1, 8), slots=np.arange(130), starts=np.arange(130) + 1)
    out, gradients = values_and_gradients(kernel, nothing, np.ones((1, 1, 130), bool))
    assert jnp.isfinite(out).all()
    assert all(jnp.all(leaf == 0) for leaf in jax.tree.leaves(gradients))


def test_on_a_mesh_each_device_attends_to_its_part_of_the_batch_and_of_the_heads():
    mesh = make_mesh(fsdp=2, tensor=2, devices=jax.devices()[:4])
    rows, counted = packed_rows()
    kernel = KERNELS["tpu"].on(mesh, SHARD_AXES, TENSOR_AXIS)
    split = NamedSharding(mesh, PartitionSpec(SHARD_AXES))
    compare(kernel, Case(*(jax.device_put(part, split) for part in rows)), counted)


def test_rows_that_are_short_or_that_the_mesh_does_not_divide_are_left_to_xla():
    kernel = Kernel("tpu")
    assert kernel.takes((3, 2, 128, 6, 8), 3)
    assert not kernel.takes((3, 2, 127, 6, 8), 3)
    on = kernel.on(make_mesh(fsdp=2, tensor=2, devices=jax.devices()[:4]), SHARD_AXES, TENSOR_AXIS)
    assert on.takes((4, 2, 128, 6, 8), 2)
    assert not on.takes((3, 2, 128, 6, 8), 2)
    assert not on.takes((4, 2, 128, 6, 8), 3)
