"""Scripted parts of a step: a sampler whose responses are written down, and a grader of them.

A response is a word of digits, which are its tokens. Its last digit is its grade: 1 is right, 0 is
wrong, and 9 cannot be graded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perl_jax.rewards import Grade
from perl_jax.types import Example, Prompt, Rollouts

SOURCE = "scripted"
END = 7  # The token that ends a response.


def example(id: str, images: str = "abcd", **fields: Any) -> Example:
    """An example whose images are letters."""
    return Example(id, SOURCE, "<image>" * len(images), tuple(images), "1", **fields)


class Processor:
    """A prompt's tokens are the letters of its images; a text is the digits of its tokens."""

    def encode(self, text: str, images: Sequence[str]) -> Prompt:
        tokens = np.array([ord(image) for image in images], np.int32)
        return Prompt(tokens, np.zeros((3, len(tokens)), np.int32), 0)

    def decode(self, tokens: np.ndarray) -> str:
        return "".join(str(token) for token in tokens.tolist() if token != END)


class Sampler:
    """Gives the responses that are written down for an example, order after order.

    Attributes:
        calls: The arguments of every call; ``groups`` among them.
    """

    def __init__(self, responses: Mapping[str, Sequence[str]]) -> None:
        self.processor = Processor()
        self.responses = responses
        self.calls: list[dict[str, Any]] = []

    def sample(self, model: Any, groups: Any, **arguments: Any) -> Rollouts:
        self.calls.append({"model": model, "groups": groups, **arguments})
        orders = max(len(group.prompts) for group in groups)
        shape = (len(groups), orders, arguments["num_rollouts"])
        rollouts = Rollouts(
            np.zeros((*shape, arguments["max_new_tokens"]), np.int32),
            np.zeros((*shape, arguments["max_new_tokens"]), np.float32),
            np.zeros(shape, np.int32),
            np.zeros(shape, bool),
        )
        for g, group in enumerate(groups):
            words = iter(self.responses[group.id.split("/", 1)[1]])
            for k in range(len(group.prompts)):
                for n in range(shape[2]):
                    # A word that ends with a dot ends itself; another one is cut off.
                    word = next(words)
                    tokens = [int(digit) for digit in word.strip(".")]
                    tokens += [END] * word.endswith(".")
                    rollouts.tokens[g, k, n, : len(tokens)] = tokens
                    rollouts.logprobs[g, k, n, : len(tokens)] = -0.5
                    rollouts.lengths[g, k, n] = len(tokens)
                    rollouts.stopped[g, k, n] = word.endswith(".")
        return rollouts


class Grader:
    """Grades a response by its last digit.

    Attributes:
        asked: The responses and the answers that they were compared with.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def grade(self, responses: Sequence[str], answers: Sequence[str]) -> list[Grade]:
        self.asked += zip(responses, answers, strict=True)
        return [
            Grade(None, "unscored", "deadline")
            if text.endswith("9")
            else Grade(float(text[-1]), "scored", "exact")
            for text in responses
        ]
