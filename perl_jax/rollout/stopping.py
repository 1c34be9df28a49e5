"""Where a response ends: at a stop token, a stop string, or the token limit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Ending:
    """What ends a response: a token, a string as soon as its text holds it, or the token limit."""

    stop_tokens: tuple[int, ...]
    stop_strings: tuple[str, ...]
    limit: int
    decode: Callable[[Sequence[int]], str]


@dataclass(eq=False)
class Response:
    """One rollout as it grows; ``stopped`` if a token or a string ended it, not the limit."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    done: bool = False
    stopped: bool = False

    def extend(self, tokens: np.ndarray, logprobs: np.ndarray, ending: Ending) -> int:
        """Appends drawn tokens up to the response's end; returns how many."""
        before = len(self.tokens)
        room = ending.limit - before
        tokens = tokens[:room]
        ends = np.flatnonzero(np.isin(tokens, ending.stop_tokens))
        taken = int(ends[0]) + 1 if len(ends) else len(tokens)
        self.tokens += tokens[:taken].tolist()
        self.logprobs += logprobs[:taken].tolist()
        self.stopped = len(ends) > 0
        length = self._end_of_stop_string(before, ending)
        if length is not None:
            del self.tokens[length:], self.logprobs[length:]
            self.stopped = True
        self.done = self.stopped or len(self.tokens) == ending.limit
        return len(self.tokens) - before

    def _end_of_stop_string(self, before: int, ending: Ending) -> int | None:
        """The number of tokens that completes the first stop string; None if none is complete."""

        def holds(count: int) -> bool:
            text = ending.decode(self.tokens[:count])
            return any(stop in text for stop in ending.stop_strings)

        if not ending.stop_strings or not holds(len(self.tokens)):
            return None
        return next(n for n in range(before + 1, len(self.tokens) + 1) if holds(n))
