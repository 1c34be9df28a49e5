"""The configuration of a run, composed of frozen dataclasses and checked before anything runs.

Each part's fields are documented beside the code that they configure. `perl_jax.overrides` reads
configuration files, and `perl_jax.settings` turns them into these dataclasses.
"""

from dataclasses import dataclass, field
from operator import attrgetter

from perl_jax.compilation import CompilationConfig
from perl_jax.data.config import SourceConfig
from perl_jax.data.pipeline.pipeline import PipelineConfig
from perl_jax.data.pipeline.prompt import PromptConfig
from perl_jax.evaluation.config import EvaluationConfig
from perl_jax.experience.config import GroupFilterConfig, PermutationConfig, RolloutConfig
from perl_jax.hosts import HostsConfig
from perl_jax.mesh import MeshConfig
from perl_jax.models.fresh import FreshModel
from perl_jax.models.opening import ModelConfig
from perl_jax.objectives import ObjectiveConfig
from perl_jax.rewards import RewardConfig
from perl_jax.settings import Checked, Count
from perl_jax.training.checkpoint import CheckpointConfig
from perl_jax.training.display.writers import LoggingConfig
from perl_jax.training.loop import EarlyStop
from perl_jax.update.config import UpdateConfig
from perl_jax.update.optimizer import OptimizerConfig


@dataclass(frozen=True)
class DataConfig(Checked):
    """The rows to train and evaluate on.

    Attributes:
        train: The rows to train on.
        held_out: The rows to evaluate on; None disables evaluation.
        prompt: The text around every question, in training and evaluation.
        max_prompt_tokens: Rows with a longer prompt are skipped and counted.
        pipeline: How rows are ordered and prepared.
    """

    train: SourceConfig
    held_out: SourceConfig | None = None
    prompt: PromptConfig = field(default_factory=PromptConfig)
    max_prompt_tokens: Count = 8192
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)


@dataclass(frozen=True)
class RunConfig(Checked):
    """The settings that both kinds of run have.

    Attributes:
        model: The policy to start from.
        data: The rows to train and evaluate on.
        steps: The number of steps of the whole run.
        seed: The seed of all random draws.
        mesh: The layout of the devices; None, or a layout of one: only the first device.
        hosts: Settings for waiting on other hosts.
        learner: How a batch becomes updates.
        optimizer: How gradients move parameters.
        evaluation: When and how held-out rows are asked.
        checkpoint: When to save checkpoints, and which to keep.
        compilation: Where compiled programs are kept for later runs.
        logging: The outputs of the run: its logs and its progress bar.
        early_stop: Conditions that end the run before its last step.
        rollout: Sampling settings, for training and for evaluation.
        permutation: The orders that examples are shown in.
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
    compilation: CompilationConfig = field(default_factory=CompilationConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    early_stop: EarlyStop = field(default_factory=EarlyStop)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    permutation: PermutationConfig = field(default_factory=PermutationConfig)
    export: bool = True


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """A run of reinforcement learning.

    Attributes:
        objective: The loss that is minimised, and how advantages are computed.
        filtering: Which groups are informative enough to learn from.
        reward: What a response is rewarded for.
    """

    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    filtering: GroupFilterConfig = field(default_factory=GroupFilterConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)

    def _check_together(self) -> None:
        if not self.model.path:
            raise ValueError("model.path: expected a model directory or a hub id; got ''")
        groups, updates = self.rollout.groups, self.learner.updates_per_batch
        if updates > groups:
            raise ValueError(
                f"learner.updates_per_batch: expected at most rollout.groups = {groups}; "
                f"got {updates}"
            )
        if (1 + self.permutation.num_orders) * self.rollout.num_rollouts < 2:
            raise ValueError(
                "rollout.num_rollouts: expected a group of at least 2 rollouts, as advantages "
                "compare them; got 1 of 1 order"
            )
        if self.rollout.merge_adapters is not None and self.learner.lora is None:
            raise ValueError(
                f"rollout.merge_adapters: expected None without learner.lora; "
                f"got {self.rollout.merge_adapters}"
            )
        for section, ladder, name in (
            ("learner.packing", "response_lengths", "rollout.max_new_tokens"),
            ("learner.packing", "prompt_lengths", "data.max_prompt_tokens"),
            ("rollout.sampler", "prompt_lengths", "data.max_prompt_tokens"),
        ):
            ladders, longest = attrgetter(section, name)(self)
            rungs = getattr(ladders, ladder)
            # Sizes that are fitted to the rows hold them.
            if rungs != "auto" and longest > rungs[-1]:
                raise ValueError(
                    f"{section}.{ladder}: expected a rung for {name} = {longest}; "
                    f"the largest is {rungs[-1]}"
                )


@dataclass(frozen=True)
class WarmstartConfig(RunConfig):
    """A run of supervised training on given responses.

    Attributes:
        fresh: A model with random weights to start from; ``model.path`` must then be absent.
        rows: The number of examples in a step.
        max_response_tokens: The maximum length of a response; a longer one is an error.
    """

    fresh: FreshModel | None = None
    rows: Count = 64
    max_response_tokens: Count = 2048

    def _check_together(self) -> None:
        if (self.fresh is None) == (not self.model.path):
            raise ValueError("model.path: expected it or fresh, and not both")


def groups_of_micro_batch(config: RunConfig) -> int:
    """The most groups of a micro-batch over all devices: not more than a pass has.

    A pass is an update, or what scores the whole batch for a penalty in its rewards.
    """
    learned = 0
    if isinstance(config, TrainConfig):
        scored = config.objective.penalises_rewards and config.objective.needs_reference
        passes = 1 if scored else config.learner.updates_per_batch
        learned = -(-config.rollout.groups // passes)
    elif isinstance(config, WarmstartConfig):
        learned = config.rows
    return min(config.learner.packing.micro_groups, learned)
