"""Settings of the sampler."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval, MinLen

from perl_jax.buckets import AutoRungs
from perl_jax.rollout.strategies import Strategy
from perl_jax.settings import Checked, Count, Expects, Fraction, Positive

# The sizes for rows that are not known. Steps of up to 1.5 in length and 2 in patches.
_ANY: dict[str, tuple[int, ...]] = {
    "prompt_lengths": (
        256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384,
    ),
    "response_lengths": (128, 256, 512, 1024, 2048, 4096),
    "patches": (1024, 2048, 4096, 8192, 16384, 32768, 65536),
}  # fmt: skip

Temperature = Annotated[
    Positive, Expects("a positive number, as greedy rollouts of a prompt are all the same")
]


_TopP = Annotated[float, Interval(gt=0, le=1), Expects("a share above 0, up to 1")]
_Stop = Annotated[str, MinLen(1), Expects("a text of at least one character")]


@dataclass(frozen=True)
class StrategyConfig(Checked):
    """Which tokens may be drawn, and where a response ends besides the end of a turn.

    Attributes:
        top_k: Draws from this many of the most probable tokens; None: from all.
        top_p: Draws from the fewest most probable tokens that reach this probability together.
        min_p: Draws from tokens at least this many times as probable as the most probable one.
        stop: A response ends as soon as its text holds one of these.
    """

    top_k: Count | None = None
    top_p: _TopP = 1.0
    min_p: Fraction = 0.0
    stop: tuple[_Stop, ...] = ()

    @property
    def truncated_by(self) -> tuple[str, ...]:
        """The fields by which some tokens are never drawn; with any, draws are not the policy's."""
        given = {"top_k": self.top_k is not None, "top_p": self.top_p < 1, "min_p": self.min_p > 0}
        return tuple(name for name, acts in given.items() if acts)

    def strategy_at(self, temperature: float) -> Strategy:
        """How tokens are drawn at a temperature."""
        return Strategy(
            temperature=temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            stop=self.stop,
        )


@dataclass(frozen=True)
class SamplerConfig(Checked):
    """How work is cut into compiled calls; no setting changes what is sampled.

    Ladders that are ``auto`` are fitted to the rows of a run; see `perl_jax.ladders`.

    Attributes:
        prompt_lengths: Padded prompt lengths, in tokens.
        response_lengths: Sizes of the response caches, in tokens.
        patches: Padded numbers of patches that a shard encodes in one call; the last limits images.
        rows: The most rollouts decoded at once; more if a single order has more.
        prefill_tokens: The most prompt tokens a shard reads in one call; more for longer prompts.
        chunk: Decode steps in one call.
        refill: Whether waiting orders replace finished ones between calls and the batch shrinks.
            Otherwise a batch runs until its last response ends.
        ahead: Whether the devices get the next call before the host has read the last one, so that
            they do not wait for the host. Only while no order waits for a place.
    """

    prompt_lengths: AutoRungs = "auto"
    response_lengths: AutoRungs = "auto"
    patches: AutoRungs = "auto"
    rows: Count = 192
    prefill_tokens: Count = 16384
    chunk: Count = 32
    refill: bool = True
    ahead: bool = True

    def rungs(self, ladder: str) -> tuple[int, ...]:
        """The sizes of a ladder; sizes for any rows if it is ``auto`` and was not fitted."""
        sizes: tuple[int, ...] | str = getattr(self, ladder)
        return _ANY[ladder] if isinstance(sizes, str) else sizes

    def slots(self, max_new_tokens: int) -> tuple[int, ...]:
        """The sizes that response caches grow through, up to the longest response and a chunk.

        The old cache and the new one exist together while one grows, so all sizes but the last are
        at most half of the last.
        """
        largest = max_new_tokens + self.chunk
        return (*(rung for rung in self.rungs("response_lengths") if 2 * rung <= largest), largest)
