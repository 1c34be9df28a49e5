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
    return config


def gated(
    responses: Sequence[str], answers: Sequence[str], metadata: Sequence[dict]
) -> list[float]:
    """A reward of the text alone, once the story lets it come.

    The directory $STORY_GATE says in the file ``open`` how many calls may come through on a host,
    all processes of the run together, or ``error`` to have the next one fail. A call leaves a line
    in ``calls-HOST``. The first one is that of the checks at the start.
    """
    gate = Path(os.environ["STORY_GATE"])
    host = os.environ.get("SLURM_PROCID") or os.environ["TPU_WORKER_ID"]
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
