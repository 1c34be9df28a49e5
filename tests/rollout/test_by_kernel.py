"""The sampler with kernels, interpreted, draws what it draws with XLA."""

import numpy as np
from flax import nnx

from perl_jax.kernels import Kernel
from tests.rollout.test_sampler import draw


def test_what_is_drawn_by_kernels_is_what_xla_draws(sampler, model, groups):
    by_kernel = nnx.merge(*nnx.split(model))
    by_kernel.attend_by(Kernel("tpu", interpret=True, least=1))
    given = {"num_rollouts": 2, "max_new_tokens": 6}
    want, got = (draw(sampler, one, groups, **given) for one in (model, by_kernel))
    np.testing.assert_array_equal(got.tokens, want.tokens)
    np.testing.assert_allclose(got.logprobs, want.logprobs, atol=1e-4)
