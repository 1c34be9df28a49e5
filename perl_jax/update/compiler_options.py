"""What XLA is told about the programs of an update, for each platform."""

import os
from collections.abc import Collection
from typing import Any

from jax.sharding import Mesh

from perl_jax.mesh import TENSOR_AXIS

Options = dict[str, bool | int]

# Where flags for the compiler of TPUs are given; those win over the ones here.
_TPU_FLAGS = "LIBTPU_INIT_ARGS"

_OF_PLATFORM: dict[str, Options] = {
    "tpu": {
        # Otherwise the parameters of all layers are cast to bfloat16 before the loop over layers.
        # For a 7B policy on 16 chips that copy takes 0.8 GiB of each.
        "xla_jf_bf16_propagation": False,
        # Otherwise the parts of a split weight go around a ring, and each adds its product to the
        # whole result, which is read from HBM and written again for each of them: the update of
        # that policy is then expected to take 2.5 times the cycles. Weights are gathered instead,
        # while the chip multiplies by those before.
        "xla_jf_spmd_threshold_for_windowed_einsum_mib": 1 << 20,
        # The compiler ends the process where it makes one collective of an all-reduce and a slice
        # of some sizes: a failed check in rotated_pincer_fusion_emitter.cc, of libtpu 0.0.42.1, for
        # a policy of 8B on v5e:8x8. The all-reduces that are left send a few percent more.
        "xla_tpu_enable_all_reduce_scatter_fusion": False,
    },
    # The devices of a CPU share its threads, and a waiting collective holds one. If devices start
    # independent collectives in different orders, all threads may wait for ever.
    "cpu": {"xla_cpu_enable_concurrency_optimized_scheduler": False},
}

# Collectives that TPUs run beside the rest of a layer, where each layer is whole on a chip. The
# sums of its gradients otherwise have the chip wait, for a tenth of the update of a 7B policy on
# sixteen v5e, and on v5p the gathers of its weights do so too. Where layers are split, these sums
# are found to stay where they are, and some gathers of weights then wait.
_BESIDE_WHOLE_LAYERS: Options = {
    "xla_enable_async_all_reduce": True,
    "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": True,
    "xla_enable_async_all_gather": True,
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": True,
}


def compiler_options(devices: Collection[Any], mesh: Mesh | None) -> Options | None:
    """Options for `jax.jit`; those that ``LIBTPU_INIT_ARGS`` names are left to it.

    Args:
        devices: Those of the program, of one platform.
        mesh: How they are arranged; None: a single device.
    """
    platform = next(iter(devices)).platform
    # A single device has no collectives.
    if platform == "cpu" and len(devices) == 1:
        return None
    options = _OF_PLATFORM.get(platform)
    if platform == "tpu" and options and mesh is not None and mesh.shape[TENSOR_AXIS] == 1:
        options = options | _BESIDE_WHOLE_LAYERS
    given = {flag.lstrip("-") for flag in os.environ.get(_TPU_FLAGS, "").replace("=", " ").split()}
    return options and {name: value for name, value in options.items() if name not in given}
