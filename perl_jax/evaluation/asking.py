"""Asks a policy the rows of a benchmark."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perl_jax.activity import Activity, silent
from perl_jax.data.sources.source import BadRow
from perl_jax.evaluation.answerer import Outcome
from perl_jax.evaluation.consistency import orders_of
from perl_jax.evaluation.predictions import Answers
from perl_jax.models import Policy
from perl_jax.permutation import rule_for
from perl_jax.processing import ImageError, PromptError
from perl_jax.rollout import Group, Sampler, SamplerConfig, Strategy
from perl_jax.types import Example, ImagePatches

SAMPLER = SamplerConfig(
    prompt_lengths=(
        256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768,
    ),
)  # fmt: skip
"""Rows of 32 images, which some benchmarks have, need longer prompts than others."""

AsPrompt = Callable[[Example], str | list[dict[str, str]]]
"""What a processor encodes for an example under one of its orders."""


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes:
        strategy: How tokens are drawn.
        num_samples: N, the responses to each order.
        max_new_tokens: The most tokens of a response.
        orders: The most orders of an example, its own included; None: only its own one.
        seed: Draws the orders and the responses.
        most_rows: The most rows that are asked together.
    """

    strategy: Strategy
    num_samples: int
    max_new_tokens: int
    orders: int | None
    seed: int
    most_rows: int

    @property
    def greedy(self) -> bool:
        """Whether a prompt has one possible response."""
        return self.strategy.temperature == 0


class PolicyAnswers:
    """Asks a policy.

    A response depends on the policy, the row, the order and the seed only: not on the batch, the
    devices, or what other orders are asked.

    Args:
        sampler: Has the processor.
        model: The policy.
        as_prompt: The prompt of an example.
        asked: What is asked for.
    """

    def __init__(self, sampler: Sampler, model: Policy, as_prompt: AsPrompt, asked: Asked) -> None:
        self._sampler, self._model, self._as_prompt, self._asked = sampler, model, as_prompt, asked

    def __call__(self, rows: Sequence[Example], activity: Activity = silent) -> list[Outcome]:
        """Answers rows; one that cannot be encoded is bad."""
        tasks = [self._task(row) for row in rows]
        groups = [task.group for task in tasks if isinstance(task, _Task)]
        texts: list[list[list[str]]] = []
        if groups:
            rollouts = self._sampler.sample(
                self._model,
                groups,
                num_rollouts=self._asked.num_samples,
                max_new_tokens=self._asked.max_new_tokens,
                strategy=self._asked.strategy,
                key=self._asked.seed,
                most_orders=self._asked.most_rows * ((self._asked.orders or 0) + 1),
                activity=activity,
            )
            texts = rollouts.texts(self._sampler.processor.decode)
        found = iter(texts)
        return [
            self._answers(task, next(found)) if isinstance(task, _Task) else task for task in tasks
        ]

    def _task(self, example: Example) -> "_Task | BadRow":
        asked = self._asked
        rule = rule_for(example, unknown="keep")
        shown = orders_of(example, rule, (asked.orders or 1) - 1, asked.seed)
        processor = self._sampler.processor
        try:
            patches: list[ImagePatches] = []
            for number, image in enumerate(example.images, 1):
                name = f"image {number}"
                patches.append(processor.preprocess(image, name=name, known=patches))
            prompts = [
                processor.encode(self._as_prompt(one), [patches[slot] for slot in order])
                for order, one in shown
            ]
        except ImageError as error:
            return BadRow.of(example, "bad_image", str(error))
        except PromptError as error:
            return BadRow.of(example, "bad_prompt", str(error))
        # How often answers change by chance is seen where one prompt is asked twice.
        again = len(prompts) > 1 and asked.num_samples == 1 and not asked.greedy
        group = Group.of(example.id, [*prompts, *prompts[:1]] if again else prompts)
        try:
            self._sampler.check(group)
        except ValueError as error:
            return BadRow.of(example, "too_large", str(error))
        return _Task(tuple(order for order, _ in shown), group)

    def _answers(self, task: "_Task", texts: Sequence[Sequence[str]]) -> Answers:
        if self._asked.orders is None:
            return Answers((tuple(texts[0]),))
        count, again = len(task.orders), None
        if len(texts) > count:
            again = texts[count][0]
        elif count > 1 and self._asked.greedy:
            again = texts[0][0]
        return Answers(tuple(map(tuple, texts[:count])), task.orders, again)


@dataclass(frozen=True, eq=False)
class _Task:
    orders: tuple[tuple[int, ...], ...]
    group: Group
