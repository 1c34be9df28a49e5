"""Scripted parts of a step: a sampler whose responses are written down, and a grader of them.

A response is a word of digits, which are its tokens. Its last digit is its grade: 1 is right, 0 is
wrong, and 9 cannot be graded.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from perl_jax.rewards import Grade
from perl_jax.types import Example, Group, Prompt, Rollouts

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

    A response takes a decode step for each of its tokens, and an order a place until its last
    response ends.

    Attributes:
        sessions: The sessions so far, one for each step.
        orders: The orders that are decoded at once.
        chunk: The decode steps of one launch.
        late: Decode steps that a group waits for before its first token, by the example's id.
    """

    def __init__(
        self,
        responses: Mapping[str, Sequence[str]],
        *,
        orders: int = 1000,
        chunk: int = 1000,
        late: Mapping[str, int] | None = None,
    ) -> None:
        self.processor = Processor()
        self.responses, self.orders, self.chunk = responses, orders, chunk
        self.late = late or {}
        self.sessions: list[Session] = []

    def words(self, group: Any, order: int, count: int) -> Sequence[str]:
        """The responses to an order of a group, of so many rollouts an order."""
        words = self.responses[group.id.split("/", 1)[1]]
        return words[order * count : (order + 1) * count]

    def sample(self, model: Any, groups: Any, **arguments: Any) -> Rollouts:
        count = arguments["num_rollouts"]
        words = [[self.words(one, k, count) for k in range(len(one.prompts))] for one in groups]
        return rollouts_of(words, arguments["max_new_tokens"])

    def start(self, model: Any, **arguments: Any) -> "Session":
        self.sessions.append(Session(self, {"model": model, **arguments}))
        return self.sessions[-1]


class Session:
    """A scripted session of a `Sampler`.

    Attributes:
        arguments: Those of `Sampler.start`.
        groups: The groups that were added, by their numbers.
        adds: The ids of the groups of each call of `add`.
        dropped: The numbers that were dropped.
    """

    def __init__(self, sampler: Sampler, arguments: dict[str, Any]) -> None:
        self.sampler, self.arguments = sampler, arguments
        self.groups: list[Group] = []
        self.adds: list[list[str]] = []
        self.dropped: list[int] = []
        self.launched = False
        self.stats = Counter({"decode_steps": 0})
        # Group, order: the steps that are left.
        self._waiting: list[tuple[int, int, int]] = []
        self._running: list[tuple[int, int, int]] = []
        self._left: dict[int, int] = {}

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._running)

    def add(self, groups: Sequence[Group]) -> None:
        for group in groups:
            number = len(self.groups)
            self.groups.append(group)
            self._left[number] = group.num_orders
            for k in range(group.num_orders):
                self._waiting.append((number, k, self._steps(group, k)))
        self.adds.append([group.id for group in groups])

    def launch(self) -> None:
        assert self.busy
        assert not self.launched
        self.launched = True
        free = self.sampler.orders - len(self._running)
        self._running += self._waiting[:free]
        self._waiting = self._waiting[free:]

    def collect(self) -> list[int]:
        assert self.launched
        self.launched = False
        most = max((left for _, _, left in self._running), default=0)
        steps = min(self.sampler.chunk, most)
        self.stats["decode_steps"] += steps
        after = [(number, k, left - steps) for number, k, left in self._running]
        for number, _, left in after:
            self._left[number] -= left <= 0
        done = {number for number, _, left in after if left <= 0 and not self._left[number]}
        self._running = [one for one in after if one[2] > 0]
        return sorted(done)

    def drop(self, numbers: Iterable[int]) -> None:
        gone = set(numbers)
        for number in gone:
            assert self._left[number] > 0 or self.launched
        self.dropped += sorted(gone)
        self._waiting = [one for one in self._waiting if one[0] not in gone]
        self._running = [one for one in self._running if one[0] not in gone]

    def rollouts(self, numbers: Sequence[int]) -> Rollouts:
        groups = [self.groups[number] for number in numbers]
        assert not any(self._left[number] for number in numbers)
        words = [[self._words(group, k) for k in range(group.num_orders)] for group in groups]
        return rollouts_of(words, self.arguments["max_new_tokens"])

    def _words(self, group: Group, k: int) -> Sequence[str]:
        return self.sampler.words(group, k, self.arguments["num_rollouts"])

    def _steps(self, group: Group, k: int) -> int:
        longest = max(len(tokens_of(word)) for word in self._words(group, k))
        return longest + self.sampler.late.get(group.id.split("/", 1)[1], 0)


def rollouts_of(words: Sequence[Sequence[Sequence[str]]], longest: int) -> Rollouts:
    """The rollouts of these words, nested as groups, orders and rollouts."""
    shape = (len(words), max(map(len, words)), len(words[0][0]))
    rollouts = Rollouts(
        np.zeros((*shape, longest), np.int32),
        np.zeros((*shape, longest), np.float32),
        np.zeros(shape, np.int32),
        np.zeros(shape, bool),
    )
    for g, orders in enumerate(words):
        for k, responses in enumerate(orders):
            for n, word in enumerate(responses):
                tokens = tokens_of(word)
                rollouts.tokens[g, k, n, : len(tokens)] = tokens
                rollouts.logprobs[g, k, n, : len(tokens)] = -0.5
                rollouts.lengths[g, k, n] = len(tokens)
                rollouts.stopped[g, k, n] = word.endswith(".")
    return rollouts


def tokens_of(word: str) -> list[int]:
    """The tokens of a word: one that ends with a dot ends itself, another one is cut off."""
    return [int(digit) for digit in word.strip(".")] + [END] * word.endswith(".")


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
