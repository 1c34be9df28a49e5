"""Real rollouts of the demo's policy on real digits, few and short."""

from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

import perl_jax
from perl_jax.data import Pipeline, PipelineConfig, Preparer
from perl_jax.data.sources.digits import Digits, DigitsConfig
from perl_jax.experience.collect import Collected, Collector
from perl_jax.experience.config import GroupFilterConfig, PermutationConfig, RolloutConfig
from perl_jax.experience.past import Past
from perl_jax.models import Policy, load_model
from perl_jax.objectives import Objective
from perl_jax.permutation import Schedule
from perl_jax.processing import Processor, load_processor
from perl_jax.rewards import Grader, RewardConfig, Rewarder
from perl_jax.rollout import Sampler, SamplerConfig
from perl_jax.update.config import UpdateConfig
from perl_jax.update.learner import Learner
from perl_jax.update.optimizer import OptimizerConfig
from perl_jax.update.packing import PackingConfig

ASSETS = Path(perl_jax.__file__).parent / "assets"
POLICY, QWEN3_POLICY = ASSETS / "tiny_policy", ASSETS / "tiny_qwen3_policy"
GROUPS, ROLLOUTS, TOKENS = 4, 4, 48
SAMPLER = SamplerConfig(
    prompt_lengths=(80,), response_lengths=(64,), patches=(256,), rows=32, chunk=16
)
PACKING = PackingConfig(
    micro_groups=1, prompt_lengths=(80,), response_lengths=(TOKENS,), patches=(64,), images=(4,)
)


@dataclass(frozen=True, eq=False)
class Demo:
    """A demo's policy, and what draws and learns with it."""

    model: Policy
    processor: Processor
    sampler: Sampler
    grader: Grader
    objective: Objective = field(default_factory=Objective)

    @classmethod
    def load(cls, grader: Grader, policy: Path = POLICY) -> "Demo":
        model, processor = load_model(policy, dtype="float32"), load_processor(policy)
        return cls(model, processor, Sampler(processor, SAMPLER), grader)

    def collect(self, *, filtering=None, reward=None, seed=0, skew=None) -> Collected:
        """The first step's rollouts of a run."""
        return self.collect_steps(1, filtering, reward, seed, skew)[0]

    def collect_steps(
        self, steps, filtering=None, reward=None, seed=0, skew=None, sampler=SAMPLER
    ) -> list[Collected]:
        """The rollouts of the first steps of a run whose policy stays as it is."""
        prepare = Preparer(self.processor, max_prompt_tokens=80)
        source = Digits(DigitsConfig(rows=64, seed=1, skew=skew))
        with Pipeline(source, prepare, PipelineConfig(), seed=seed) as pipeline:
            collector = Collector(
                self.sampler if sampler is SAMPLER else Sampler(self.processor, sampler),
                pipeline.take_ahead,
                pipeline.put_back,
                Rewarder(reward or RewardConfig(), self.grader, TOKENS),
                lambda groups, responses: 0,
                rollout=RolloutConfig(groups=GROUPS, num_rollouts=ROLLOUTS, max_new_tokens=TOKENS),
                permutation=PermutationConfig(num_orders=1, schedule=Schedule("constant")),
                filtering=filtering or GroupFilterConfig(enabled=False),
                objective=self.objective,
                response_lengths=PACKING.response_lengths,
                seed=seed,
                total_steps=10,
            )
            past, found = Past(), list[Collected]()
            for step in range(steps):
                key = jax.random.key(seed + 100 * step)
                found.append(collector.collect(self.model, step, key, past))
                past = found[-1].past
            return found

    def learner(self) -> Learner:
        """A learner whose optimizer has no weight decay."""
        return Learner(
            self.model,
            self.processor.banned_rows(self.model.config.vocab_size),
            config=UpdateConfig(packing=PACKING),
            optimizer=OptimizerConfig(learning_rate=1e-3, weight_decay=0.0),
            total_updates=10,
            objective=self.objective,
        )


def arrays(state) -> dict[str, np.ndarray]:
    """The parameters of a state as NumPy arrays."""
    return {path: np.asarray(leaf) for path, leaf in state.params.items()}
