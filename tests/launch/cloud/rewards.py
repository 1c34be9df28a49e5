"""Rewards of the stories on the cloud, which are packed and installed with the tree."""

import os


def fails_on_one_host(responses, answers, metadata):
    """Raises on the second host only, and not in the checks at the start."""
    checked = any("A response that checks the reward" in text for text in responses)
    if "host-1" in os.environ["HOME"] and not checked:
        raise RuntimeError("the grader of host 1 is out of order")
    return [0.0] * len(responses)
