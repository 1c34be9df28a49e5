"""What tests of processes share: waiting for them, and asking whether they live."""

import os
import time
from collections.abc import Callable


def eventually(condition: Callable[[], object]) -> bool:
    """Waits until a condition holds; False after minutes."""
    for _ in range(6000):
        if condition():
            return True
        time.sleep(0.05)
    return False


def alive(process_id: int) -> bool:
    """Whether a process has this number."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True
