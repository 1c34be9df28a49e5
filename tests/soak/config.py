"""The run that is battered for hours: the demo's, a step of which takes a fraction of a second.

Rows lie in files, and some are damaged; a reward function hangs now and then. Both depend on
nothing but the rows and the responses, so that they strike two runs alike.
"""

import os
from pathlib import Path

from ml_collections import ConfigDict

from tests.training import resume_config
from tests.training.resume_config import GROUPS


def get_config() -> ConfigDict:
    config = resume_config.get_config()
    rows = Path(os.environ["PERL_JAX_SOAK_ROWS"])
    config.data = {
        "train": {"jsonl": {"paths": (str(rows / "rows.jsonl"),), "image_root": str(rows)}},
        "max_prompt_tokens": 80,
        "pipeline": {"workers": 1, "prefetch": 4, "max_bad_fraction": 0.1},
    }
    # One size of each, the largest, so that one program does all updates.
    prompts, responses = 2 * 80, 2 * config.rollout.num_rollouts * config.rollout.max_new_tokens
    config.learner.packing.tokens = (GROUPS * (prompts + responses),)
    config.learner.packing.predicted = (GROUPS * responses,)
    config.reward.weights = {"accuracy": 0.8, "format": 0.1, "moody": 0.1}
    config.reward.functions = {"moody": "tests.soak.rewards:moody"}
    # What a call that hangs costs; a busy machine must not make another call as slow.
    config.reward.function_deadline = 15.0
    # So small that the policy stays one of which groups inform.
    config.optimizer = {"learning_rate": 1e-5, "warmup_updates": 2}
    config.early_stop = {"ruined": None}
    config.filtering = {"max_draws": 2, "max_empty_steps": 1_000_000}
    config.checkpoint = {"every": 10}
    config.logging = {"tensorboard": False, "console": False, "rollouts": {"images": False}}
    return config
