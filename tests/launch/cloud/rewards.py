"""Rewards of the stories on the cloud, which are packed and installed with the tree."""

import jax


def fails_on_one_host(responses, answers, metadata):
    """Raises on the second host only."""
    if jax.process_index() == 1:
        raise RuntimeError("the grader of host 1 is out of order")
    return [0.0] * len(responses)
