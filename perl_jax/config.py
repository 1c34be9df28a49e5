"""From a configuration file to the frozen dataclasses of every part, checked before anything runs.

A file defines ``get_config()``, which returns an ``ml_collections.ConfigDict``; fields are
overridden as ``--config.rollout.num_rollouts=8``. Each part's fields are documented beside the code
that they configure; `perl_jax.settings` reads them.
"""

from dataclasses import dataclass, field

from perl_jax.data.config import SourceConfig
from perl_jax.data.pipeline.pipeline import PipelineConfig
from perl_jax.evaluation import EvaluationConfig
from perl_jax.experience.config import GroupFilterConfig, PermutationConfig, RolloutConfig
from perl_jax.hosts import HostsConfig
from perl_jax.mesh import MeshConfig
from perl_jax.models.fresh import FreshModel
from perl_jax.models.opening import ModelConfig
from perl_jax.objectives import PRESETS, Objective
from perl_jax.rewards import RewardConfig
from perl_jax.settings import Checked, Count
from perl_jax.training.checkpoint import CheckpointConfig
from perl_jax.training.display.writers import LoggingConfig
from perl_jax.training.loop import EarlyStop
from perl_jax.update.learner import UpdateConfig
from perl_jax.update.optimizer import OptimizerConfig


@dataclass(frozen=True)
class DataConfig(Checked):
    """What is trained and evaluated on.

    Attributes:
        train: The rows to train on.
        held_out: The rows to evaluate on; None does not evaluate.
        max_prompt_tokens: Rows with a longer prompt are skipped and counted.
        pipeline: How rows are read.
    """

    train: SourceConfig
    held_out: SourceConfig | None = None
    max_prompt_tokens: Count = 8192
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)


@dataclass(frozen=True)
class RunConfig(Checked):
    """What every run has.

    Attributes:
        model: The policy that it starts from.
        data: What it reads.
        steps: How many.
        seed: Of everything drawn.
        mesh: The layout of the devices; None, or of one: the first device alone.
        hosts: How long hosts wait for each other.
        learner: How batches become updates.
        optimizer: How gradients move parameters.
        evaluation: Of the held-out rows.
        checkpoint: What is kept.
        logging: Where metrics go.
        early_stop: When to stop before ``steps``.
        export: Whether the last policy is written as a Hugging Face directory when the run ends.
    """

    model: ModelConfig
    data: DataConfig
    steps: Count
    seed: int = 0
    mesh: MeshConfig | None = None
    hosts: HostsConfig = field(default_factory=HostsConfig)
    learner: UpdateConfig = field(default_factory=UpdateConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    early_stop: EarlyStop = field(default_factory=EarlyStop)
    export: bool = True


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """A run of reinforcement learning.

    Attributes:
        objective: What is optimised.
        rollout: How responses are drawn.
        permutation: In which orders examples are shown.
        filtering: Which groups inform.
        reward: What responses earn.
    """

    objective: Objective = field(default_factory=lambda: PRESETS["perl"])
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    permutation: PermutationConfig = field(default_factory=PermutationConfig)
    filtering: GroupFilterConfig = field(default_factory=GroupFilterConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)

    def _check_together(self) -> None:
        if not self.model.path:
            raise ValueError("model.path: expected a model directory or a hub id; got ''")
        groups, updates = self.rollout.groups, self.learner.updates_per_batch
        if groups % updates:
            raise ValueError(
                f"learner.updates_per_batch: expected a divisor of rollout.groups = {groups}; "
                f"got {updates}"
            )
        if (1 + self.permutation.num_orders) * self.rollout.num_rollouts < 2:
            raise ValueError(
                "rollout.num_rollouts: expected a group of at least 2 rollouts, as advantages "
                "compare them; got 1 of 1 order"
            )
        longest = self.learner.packing.response_lengths[-1]
        if self.rollout.max_new_tokens > longest:
            raise ValueError(
                f"learner.packing.response_lengths: expected a rung for rollout.max_new_tokens = "
                f"{self.rollout.max_new_tokens}; the largest is {longest}"
            )
        for name, rungs in (
            ("learner.packing.prompt_lengths", self.learner.packing.prompt_lengths),
            ("rollout.sampler.prompt_lengths", self.rollout.sampler.prompt_lengths),
        ):
            if self.data.max_prompt_tokens > rungs[-1]:
                raise ValueError(
                    f"{name}: expected a rung for data.max_prompt_tokens = "
                    f"{self.data.max_prompt_tokens}; the largest is {rungs[-1]}"
                )


@dataclass(frozen=True)
class WarmstartConfig(RunConfig):
    """A run of supervised training on given responses.

    Attributes:
        fresh: A model with random weights to start from; ``model.path`` is then not given.
        rows: Examples in a step.
        max_response_tokens: Rows with a longer response are an error.
        rollout: How responses are drawn for evaluation.
        permutation: The orders that evaluation shows.
    """

    fresh: FreshModel | None = None
    rows: Count = 64
    max_response_tokens: Count = 2048
    permutation: PermutationConfig = field(default_factory=PermutationConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)

    def _check_together(self) -> None:
        if (self.fresh is None) == (not self.model.path):
            raise ValueError("model.path: expected it or fresh, and not both")
