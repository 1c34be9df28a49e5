"""Attention kernels whose scores stay on the chip; see `perl_jax.attention`."""

from perl_jax.kernels.parts import Bounds
from perl_jax.kernels.shared_prefix import Kernel, Part, Platform
from perl_jax.kernels.shared_prefix import attend as attend_by_kernel

__all__ = ["Bounds", "Kernel", "Part", "Platform", "attend_by_kernel"]
