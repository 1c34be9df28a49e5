"""The run of the launchers' stories: two hosts of one device, a tiny checkpoint, three steps.

A story decides how far the run goes: its reward (`gated`) waits for the story's word.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from tests.training import resume_config

_DEADLINE_SECONDS = 1200.0
_OF_THE_CHECKS = "<think>A response that checks the reward.</think>\\boxed{0}"


def get_config() -> ConfigDict:
    config = resume_config.get_config()
    config.model = {"path": "given on the command line", "compute_dtype": "float32"}
    config.data.held_out = None
    config.steps = 3
    config.objective = {"kl_coefficient": 0.0}
    config.mesh = {"data": 1, "fsdp": 2, "tensor": 1}
    config.rollout.mesh = {"data": 2, "fsdp": 1, "tensor": 1}
    config.rollout.max_new_tokens = 16
    config.learner.packing.patches = (128,)
    config.filtering = {"enabled": False}
    config.reward.functions = {"gated": "tests.launch.tiny_config:gated"}
    config.reward.weights = {"gated": 1.0}
    # The gate holds a call for as long as the story takes, and one that fails ends the run.
    config.reward.function_deadline = 2 * _DEADLINE_SECONDS
    config.reward.max_failed = 0.0
    return config


def gated(
    responses: Sequence[str], answers: Sequence[str], metadata: Sequence[dict]
) -> list[float]:
    """A reward of the text alone, once the story lets it come.

    The directory $STORY_GATE says in the file ``open`` how many calls may come through on a host,
    all processes of the run together, or ``error`` to have the next one fail. A call is for one
    group, and leaves a line in ``calls-HOST``; that of the checks at the start does not count.
    """
    if responses == [_OF_THE_CHECKS]:
        return [0.0]
    gate, host = Path(os.environ["STORY_GATE"]), _host_number()
    with (gate / f"calls-{host}").open("a+") as file:
        file.write("call\n")
        file.seek(0)
        number = len(file.readlines())
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while (word := (gate / "open").read_text()) != "error" and int(word) < number:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the story did not open the gate for call {number}")
        time.sleep(0.05)
    if word == "error":
        raise RuntimeError(f"no reward on host {host}: the story says so")
    return [len(set(text)) / 100 for text in responses]


def _host_number() -> str:
    """The number of the host: that of the process which trains, as rewards are told of no host."""
    process = os.getpid()
    while process > 1:
        variables = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
        found = dict(one.split("=", 1) for one in variables if "=" in one)
        if number := found.get("SLURM_PROCID") or found.get("TPU_WORKER_ID"):
            return number
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    raise LookupError("no process above this one is that of a host")
