"""Runs of patches: padded, each a row of attention, or bounds within one row."""

import jax
import jax.numpy as jnp
import numpy as np

from perl_jax.flops import count_in_kernels
from perl_jax.kernels import Kernel
from perl_jax.models.patches import attend_in_a_row, attend_within, segments

# Three runs, an empty one, and two patches that belong to none.
RUNS = segments([3, 5, 2], num_patches=12, num_segments=4, longest=6)


def test_the_bounds_of_a_patch_are_those_of_its_run():
    first, last = RUNS.bounds()
    assert first.tolist() == [0, 0, 0, 3, 3, 3, 3, 3, 8, 8, 0, 0]
    assert last.tolist() == [2, 2, 2, 7, 7, 7, 7, 7, 9, 9, -1, -1]


def test_a_kernel_attends_in_one_row_to_what_padded_runs_attend_to():
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(12, 2, 4)), jnp.float32) for _ in range(3))
    kernel = Kernel("tpu", interpret=True, least=1)
    got = attend_in_a_row(RUNS.bounds(), 5, kernel, q, k, v)
    np.testing.assert_allclose(got[:10], attend_within(RUNS, q, k, v)[:10], atol=1e-5)


def test_a_kernel_is_expected_to_compare_what_patches_see():
    """Windows of 64 in a row of two blocks of 512: a block of queries and a window, of two."""

    def attended(x):
        row = segments([64] * 16, num_patches=1024, num_segments=16, longest=64)
        return attend_in_a_row(row.bounds(), 64, Kernel("tpu"), x, x, x)

    traced = jax.make_jaxpr(attended)(jnp.zeros((1024, 2, 8)))
    whole = 2 * 2 * 1024 * 1024 * 2 * 8
    assert count_in_kernels(traced) == whole * (512 + 64) / 1024
