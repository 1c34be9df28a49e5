"""Estimates of the KL divergence between the policy and its reference, per drawn token."""

from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from perl_jax.objectives import checks
from perl_jax.objectives.checks import keep

KLKind = Literal["k1", "k2", "k3", "abs"]
KL_KINDS: tuple[KLKind, ...] = get_args(KLKind)

MAX_LOG_RATIO = 20.0
MAX_K3 = 10.0


# The most that a single step moves an adaptive coefficient by, in shares of its target.
MAX_KL_ERROR = 0.2


def kl_penalty(
    logprobs: ArrayLike,
    reference_logprobs: ArrayLike,
    kind: KLKind = "k3",
    *,
    mask: ArrayLike | None = None,
) -> jax.Array:
    r"""An estimate, per token, of KL(policy || reference) from tokens that the policy drew.

    With ``d = logprobs - reference_logprobs``:

    =======  =====================  ==========================================================
    kind     value                  as an estimate, and as a loss
    =======  =====================  ==========================================================
    ``k1``   ``d``                  Unbiased, noisy, can be negative. Its gradient does not
                                    depend on the reference: use it in a reward, not as a loss.
    ``k2``   ``d^2 / 2``            Biased, low variance. On tokens of the policy itself its
                                    gradient is that of the KL.
    ``k3``   ``exp(-d) - 1 + d``    Unbiased, low variance, never negative: GRPO's penalty
                                    (arXiv 2402.03300 eq. 4).
    ``abs``  ``|d|``                The absolute value of k1.
    =======  =====================  ==========================================================

    The estimators are J. Schulman's (joschu.net/blog/kl-approx.html). ``k3`` is bounded as verl's
    ``low_var_kl`` is: d to [-20, 20] before the exponential, and the result to at most 10 (verl's
    lower bound of -10 never acts). A bound also stops the gradient: a token of d < -2.6 (the
    policy gives it less than 1/13.6 of the reference's probability) or of d > 11 is no longer
    pulled back.

    No gradient flows into the reference.

    Args:
        logprobs: float ``[..., R]`` of the policy.
        reference_logprobs: float, the same shape.
        kind: The estimator.
        mask: Bool, or 0 and 1, of the same shape: elsewhere the result and its gradient are 0,
            even where a log-probability is NaN or infinite. None: every token counts.

    Returns:
        float32 of the same shape.
    """
    checks.choice("kind", kind, KL_KINDS)
    policy = checks.real("logprobs", logprobs)
    reference = checks.real("reference_logprobs", reference_logprobs)
    checks.same_shape("reference_logprobs", reference, policy.shape)
    keep_mask = checks.boolean("mask", mask, policy.shape)
    difference = keep(policy, keep_mask) - jax.lax.stop_gradient(keep(reference, keep_mask))
    match kind:
        case "k1":
            return difference
        case "k2":
            return 0.5 * difference**2
        case "abs":
            return jnp.abs(difference)
        case "k3":
            bounded = jnp.clip(difference, -MAX_LOG_RATIO, MAX_LOG_RATIO)
            # expm1: exp(-d) - 1 loses all digits of a small d, where k3 is about d^2 / 2.
            return jnp.minimum(jnp.expm1(-bounded) + bounded, MAX_K3)
        case _:
            assert_never(kind)


def adapted_kl_coefficient(
    coefficient: ArrayLike, kl: ArrayLike, rollouts: ArrayLike, *, target: float, horizon: float
) -> jax.Array:
    r"""The next coefficient of a penalty that holds the KL divergence near a target.

    ``c (1 + clip(kl / target - 1, -0.2, 0.2) rollouts / horizon)``: Ziegler et al., arXiv
    1909.08593, section 2.2, whose ``K`` is ``rollouts / horizon``, so that batches of another size
    move it as far over the same number of rollouts.

    Args:
        coefficient: The present one.
        kl: The divergence that was measured with it, in the units of the target.
        rollouts: The number of rollouts of the step.
        target: The divergence to hold, more than 0.
        horizon: The number of rollouts over which the coefficient changes by at most a fifth.

    Returns:
        A float32 scalar. A measure that is not finite changes nothing.
    """
    checks.at_least("target", target, 0, exclusive=True)
    checks.at_least("horizon", horizon, 0, exclusive=True)
    now, measured = checks.real("coefficient", coefficient), checks.real("kl", kl)
    error = jnp.clip(measured / target - 1, -MAX_KL_ERROR, MAX_KL_ERROR)
    error = jnp.where(jnp.isfinite(measured), error, jnp.zeros_like(error))
    return now * (1 + error * checks.real("rollouts", rollouts) / horizon)
