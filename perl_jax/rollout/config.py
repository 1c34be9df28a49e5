"""How the sampler cuts its work."""

from dataclasses import dataclass
from typing import Annotated

from perl_jax.buckets import Rungs
from perl_jax.settings import Checked, Count, Expects, Positive

Temperature = Annotated[
    Positive, Expects("a positive number, as greedy rollouts of a prompt are all the same")
]


@dataclass(frozen=True)
class SamplerConfig(Checked):
    """How work is cut into compiled calls; none of it changes what is sampled.

    Attributes:
        prompt_lengths: The ladder of padded prompt lengths, in tokens.
        response_lengths: The ladder of the caches for responses, in tokens.
        patches: The ladder of patches encoded in one call, by every device that encodes images of
            its own; no image may have more than the last.
        rows: The most rollouts decoded at once (more where one order alone has more).
        prefill_tokens: The most prompt tokens read in one call, by every device that reads prompts
            of its own (more where one prompt is longer).
        chunk: Decode steps in one call, after which the host looks.
        refill: Whether, between calls, orders that are done make room for waiting ones and the
            batch shrinks. Without it a batch runs until its last response ends.
    """

    prompt_lengths: Rungs = (
        256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384,
    )  # fmt: skip
    response_lengths: Rungs = (128, 256, 512, 1024, 2048, 4096)
    patches: Rungs = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
    rows: Count = 192
    prefill_tokens: Count = 16384
    chunk: Count = 32
    refill: bool = True

    def slots(self, max_new_tokens: int) -> tuple[int, ...]:
        """The sizes that caches for responses grow through.

        The last has room for the longest response and a chunk. While a cache grows, the old one
        lies beside it: so each is at most half of the last.
        """
        largest = max_new_tokens + self.chunk
        return (*(rung for rung in self.response_lengths if 2 * rung <= largest), largest)
