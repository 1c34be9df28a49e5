"""A step of supervised training on given responses."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from perl_jax.data.pipeline import Pipeline
from perl_jax.data.prompting import prompt_text
from perl_jax.processing import Processor
from perl_jax.training.learner import Learner
from perl_jax.training.loop import StepResult
from perl_jax.training.packing import Responses
from perl_jax.training.state import TrainState
from perl_jax.types import Example, Group

RESPONSE = "response"


class Supervised:
    """The stepper of supervised training.

    Args:
        learner: Updates the policy.
        pipeline: Gives examples whose metadata has a ``response``.
        processor: Of the policy.
        rows: Examples in a step.
        max_response_tokens: The longest response, its end token included.
    """

    def __init__(
        self,
        learner: Learner,
        pipeline: Pipeline,
        processor: Processor,
        *,
        rows: int,
        max_response_tokens: int,
    ) -> None:
        self.learner = learner
        self.pipeline = pipeline
        self.processor = processor
        self.rows = rows
        self.max_response_tokens = max_response_tokens

    def start(self, state: TrainState) -> None:
        """Nothing is drawn."""

    def step(self, number: int, state: TrainState) -> StepResult:
        """Updates towards the responses of the next rows."""
        examples = [next(self.pipeline) for _ in range(self.rows)]
        groups = [
            Group.of(f"{n}/{one.id}", [self.processor.encode(prompt_text(one), one.images)])
            for n, one in enumerate(examples)
        ]
        responses = encode_responses(
            examples, self.processor.encode_response, self.max_response_tokens
        )
        state, stats = self.learner.supervise(state, groups, responses)
        prompts = sum(len(group.prompts[0].tokens) for group in groups)
        metrics = {
            "rollout/tokens": float(prompts + responses.lengths.sum()),
            **self.pipeline.metrics(),
        }
        return StepResult(state, metrics, stats)

    def host_state(self) -> dict[str, Any]:
        """The position in the data."""
        return {"data": self.pipeline.state()}

    def restore(self, host: dict[str, Any]) -> None:
        """Goes on from there."""
        self.pipeline.restore(host["data"])


def encode_responses(
    examples: Sequence[Example], encode: Callable[[str], np.ndarray], longest: int
) -> Responses:
    """The responses of examples, one each, as ``[B, 1, 1, R]``.

    Raises:
        ValueError: An example has no response or too long a one; names it.
    """
    rows = []
    for example in examples:
        text = example.metadata.get(RESPONSE)
        if not isinstance(text, str) or not text:
            raise ValueError(
                f"example {example.id!r} of {example.source!r}: expected a text in "
                f"metadata[{RESPONSE!r}] to train on; got {text!r}"
            )
        tokens = encode(text)
        if len(tokens) > longest:
            raise ValueError(
                f"example {example.id!r} of {example.source!r}: expected a response of at most "
                f"{longest} tokens (max_response_tokens); got {len(tokens)}"
            )
        rows.append(tokens)
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens = np.zeros((len(rows), lengths.max()), np.int32)
    for padded, row in zip(tokens, rows, strict=True):
        padded[: len(row)] = row
    return Responses(tokens[:, None, None], lengths[:, None, None])
