"""The share of the devices' capability that a step used."""

import timeit
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from perl_jax.chips import chip_of

_MEASURED_SIDE = 1024
_MEASUREMENTS = 5


@dataclass(frozen=True)
class Throughput:
    """The throughput of steps on a number of devices, given the peak operations/s of each."""

    devices: int
    peak: float

    def metrics(self, tokens: float, operations: float, seconds: float) -> dict[str, float]:
        """``perf/tokens_per_second`` and ``perf/mfu`` of a step, as defined in `docs/metrics.md`.

        ``operations`` is the number of floating-point operations that the step required.
        """
        return {
            "perf/tokens_per_second": tokens / seconds / self.devices,
            "perf/mfu": operations / seconds / (self.devices * self.peak),
        }


def peak_of(device: jax.Device) -> float:
    """The peak rate of a device, in floating-point operations per second.

    For known accelerators it is the bfloat16 figure of the data sheet. Any other device, such as a
    CPU, is measured: the fastest of a few float32 products of two square matrices.
    """
    chip = chip_of(device.device_kind)
    return _measured_peak(device) if chip is None else chip.peak


def _measured_peak(device: jax.Device) -> float:
    matrix = jax.device_put(np.ones((_MEASURED_SIDE, _MEASURED_SIDE), np.float32), device)
    multiply = jax.jit(jnp.matmul)
    multiply(matrix, matrix).block_until_ready()
    seconds = timeit.repeat(
        lambda: multiply(matrix, matrix).block_until_ready(), number=1, repeat=_MEASUREMENTS
    )
    return 2 * _MEASURED_SIDE**3 / min(seconds)
