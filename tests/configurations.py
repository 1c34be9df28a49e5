"""The shipped configurations of runs, each with the flags that shrink it to seconds on two CPUs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perl_jax.config import RunConfig, TrainConfig
from perl_jax.inspection.naming import open_run
from perl_jax.overrides import load_config, shipped_configs
from perl_jax.testing import write_tiny_checkpoint
from tests.data.sources.parquet_files import verl_row, write_verl
from tests.models.qwen3 import write_tiny_qwen3

# Two orders of the same two digits, as the published rows of two images are asked.
QUESTION = "<image><image> Does the first image show a larger digit?\nA. Yes\nB. No"
STEP = {
    "steps": 1,
    "optimizer.warmup_updates": 0,
    "data.pipeline.workers": 1,
    "checkpoint.every": 1,
    "logging.tensorboard": False,
    "logging.console": False,
}
OF_TRAINING = {
    "rollout.groups": 4,
    "rollout.num_rollouts": 2,
    "rollout.max_new_tokens": 8,
    "rollout.sampler.rows": 16,
    "learner.packing.micro_groups": 2,
    "reward.workers": 1,
    "filtering.max_draws": 1,
}


def configurations() -> list[str]:
    """The names of the shipped configurations of runs."""
    return [name for name in shipped_configs() if "train" in (_fields(name).get("data") or {})]


def _fields(name: str) -> dict:
    return load_config(name, {})


@dataclass(frozen=True)
class Places:
    """What a configuration needs besides its file.

    Attributes:
        models: A tiny checkpoint of each family, by how its published names begin.
        rows: Rows in the layout that the published run reads.
    """

    models: Mapping[str, Path]
    rows: Path

    @classmethod
    def make(cls, directory: Path) -> "Places":
        rows = [verl_row(n, question=QUESTION, data_source="mine") for n in range(8)]
        (directory / "rows").mkdir(parents=True)
        return cls(
            {
                "Qwen/Qwen2.5-VL-": write_tiny_checkpoint(directory / "tiny", dtype="float32"),
                "Qwen/Qwen3-VL-": write_tiny_qwen3(directory / "tiny_qwen3", dtype="float32"),
            },
            write_verl(directory / "rows" / "train-0.parquet", rows),
        )


def is_trained(name: str) -> bool:
    return isinstance(open_run(name, {}), TrainConfig)


def shrunk(name: str, places: Places) -> list[str]:
    """The flags for a step on one or two devices, of this model and these rows."""
    config: RunConfig = open_run(name, {})
    fields = dict(STEP)
    if isinstance(config, TrainConfig):
        fields |= OF_TRAINING
    else:
        fields |= {"rows": 4, "learner.packing.micro_groups": 4}
    if config.data.train.digits is not None:
        fields["data.train.digits.rows"] = 16
    if config.evaluation is not None:
        fields |= {"evaluation.examples": 2, "evaluation.max_new_tokens": 8}
    # The packaged policies are tiny.
    for published, model in places.models.items():
        if config.model.path.startswith(published):
            fields |= {"model.path": model, "data.max_prompt_tokens": 256}
    if config.data.train.parquet is not None:
        fields["data.train.parquet.paths"] = f"('{places.rows}',)"
        if config.data.held_out is not None:
            fields["data.held_out.parquet.paths"] = f"('{places.rows}',)"
        fields["permutation.rules.mine"] = "{'movable': 'all', 'answer': 'invariant'}"
    if config.mesh is not None and config.mesh.devices > 1:
        fields |= _mesh("mesh", 1, 2)
        if config.rollout.mesh is not None:
            fields |= _mesh("rollout.mesh", 2, 1)
    return [f"--config.{path}={value}" for path, value in fields.items()]


def _mesh(section: str, data: int, fsdp: int) -> dict[str, int]:
    return {f"{section}.data": data, f"{section}.fsdp": fsdp, f"{section}.tensor": 1}


def devices(name: str) -> int:
    """The number of devices that `shrunk` leaves."""
    mesh = open_run(name, {}).mesh
    return 1 if mesh is None or mesh.devices == 1 else 2
