"""What the stories of the launchers share: a tiny checkpoint and the environment of its runs."""

import os
from pathlib import Path

from perl_jax.testing import write_tiny_checkpoint
from tests.compiling import QUICKLY
from tests.training.resume_config import GROUPS

CONFIG = "--config=tests/launch/tiny_config.py"
# The configuration is for two hosts.
ONE_HOST = ("--config.mesh.fsdp=1", "--config.rollout.mesh.data=1")


def write_checkpoint(directory: Path) -> Path:
    """A policy of one layer."""
    return write_tiny_checkpoint(
        directory, text={"num_hidden_layers": 1}, vision={"depth": 1, "fullatt_block_indexes": [0]}
    )


def variables() -> dict[str, str]:
    """Of a process that trains on one CPU device and shares what was compiled."""
    return {
        "HF_HUB_OFFLINE": "1",
        "JAX_PLATFORMS": "cpu",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "XLA_FLAGS": QUICKLY,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": os.environ["JAX_COMPILATION_CACHE_DIR"],
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


class Gate:
    """Holds a run in the rewards of a step, and lets it go on; see tiny_config.py.

    Args:
        directory: Is made here; the run gets it as $STORY_GATE.
        steps: How many steps may come through at first.
        hosts: How many hosts share the groups of a step.
    """

    def __init__(self, directory: Path, steps: int, hosts: int = 1) -> None:
        self.directory, self._groups = directory, GROUPS // hosts
        directory.mkdir()
        self.allow(steps)

    def allow(self, steps: int) -> None:
        """Lets so many steps come through, from the first one."""
        self._say(str(steps * self._groups))

    def open(self) -> None:
        """Lets the run go on to its end."""
        self._say("1000000")

    def fail(self) -> None:
        """Has the reward that waits fail, or the next one."""
        self._say("error")

    def waits(self, step: int, hosts: int = 1) -> bool:
        """Whether a reward of this step was asked for on a host; the others then wait for it."""
        files = [self.directory / f"calls-{host}" for host in range(hosts)]
        before = (step - 1) * self._groups
        return any(file.exists() and file.read_text().count("\n") > before for file in files)

    def _say(self, word: str) -> None:
        partial = self.directory / "open.partial"
        partial.write_text(word)
        partial.replace(self.directory / "open")
