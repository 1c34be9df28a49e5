"""A step of supervised training on given responses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perl_jax.activity import Activity, silent
from perl_jax.data.pipeline.pipeline import Pipeline
from perl_jax.legible import brief
from perl_jax.processing import Processor
from perl_jax.training.loop import Stepper, StepResult
from perl_jax.types import Example, Group, Responses, prompt_of
from perl_jax.update.exchange import gather_groups
from perl_jax.update.learner import Learner
from perl_jax.update.state import TrainState

RESPONSE = "response"


@dataclass(eq=False)
class Supervised(Stepper):
    """The stepper of supervised training.

    Attributes:
        pipeline: The source of examples, whose metadata has a ``response``.
        rows: The number of examples in a step.
        max_response_tokens: The maximum length of a response, including its end token.
        activity: Hears what a step is at.
    """

    learner: Learner
    pipeline: Pipeline
    processor: Processor
    rows: int
    max_response_tokens: int
    activity: Activity = silent

    def step(self, number: int, state: TrainState) -> StepResult:
        """Trains on the responses of the next rows."""
        self.activity("waiting for rows")
        taken = self.pipeline.take(self.rows)
        encoded = [
            None if one is None else self._group(n, one) for n, one in enumerate(taken.examples)
        ]
        told = [None if one is None else self._response(one).tolist() for one in taken.examples]
        groups, told = gather_groups(encoded, told, self.learner.sharding, taken.feeds)
        responses = padded_responses(told)
        state, stats = self.learner.supervise(state, groups, responses, self.activity)
        prompts = sum(len(group.prompts[0].tokens) for group in groups)
        metrics = {
            "rollout/tokens": float(prompts + responses.lengths.sum()),
            **self.pipeline.metrics(),
        }
        operations = self.learner.operations_of(groups, responses)
        return StepResult(state, metrics, stats, operations)

    def _group(self, number: int, example: Example) -> Group:
        prompt = self.processor.encode(prompt_of(example), example.images)
        return Group.of(f"{number}/{example.id}", [prompt])

    def _response(self, example: Example) -> np.ndarray:
        """The tokens of an example's response; raises ValueError if it is missing or too long."""
        text = example.metadata.get(RESPONSE)
        where = f"{example.place}: " if example.place else ""
        name = f"{where}example {example.id!r} of {example.source!r}"
        if not isinstance(text, str) or not text:
            raise ValueError(
                f"{name}: expected a text in metadata[{RESPONSE!r}] to train on; got {brief(text)}"
            )
        tokens = self.processor.encode_response(text)
        if len(tokens) > self.max_response_tokens:
            raise ValueError(
                f"{name}: expected a response of at most {self.max_response_tokens} tokens "
                f"(max_response_tokens); got {len(tokens)}"
            )
        return tokens


def padded_responses(rows: Sequence[Sequence[int]]) -> Responses:
    """The responses to examples, one for each, as ``[B, 1, 1, R]``."""
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens = np.zeros((len(rows), np.max(lengths)), np.int32)
    for padded, row in zip(tokens, rows, strict=True):
        padded[: len(row)] = row
    return Responses(tokens[:, None, None], lengths[:, None, None])
