"""A reward function of a user that raises as long as a file is there."""

import os
from collections.abc import Sequence
from pathlib import Path

BROKEN = "PERL_JAX_TEST_BROKEN"


def mine(responses: Sequence[str]) -> list[float]:
    if Path(os.environ[BROKEN]).exists():
        raise RuntimeError("the reward is out of order")
    return [0.0] * len(responses)
