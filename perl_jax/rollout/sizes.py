"""The sizes of the sampler's calls: few, so that few programs are compiled."""

from dataclasses import dataclass

from perl_jax.rollout.config import SamplerConfig

# A batch of less than this share of the rows costs about as much as a smaller one.
_SMALLEST_SHARE = 16


@dataclass(frozen=True)
class Sizes:
    """Turns counts into padded sizes.

    Attributes:
        config: How work is cut.
        num_rollouts: N.
        max_new_tokens: The most tokens of a response.
        shards: Shards of a batch.
        most_orders: The most orders that are drawn together; see `Sampler.start`.
    """

    config: SamplerConfig
    num_rollouts: int
    max_new_tokens: int
    shards: int = 1
    most_orders: int | None = None

    def places(self, count: int) -> int:
        """Rounds up to places that divide over the shards, of few values: so few programs."""
        return self.shards * power_of_two(-(-count // self.shards))

    def table(self, orders: int) -> int:
        """The places of a table in which so many orders are to be decoded."""
        least = self.config.rows // _SMALLEST_SHARE // self.num_rollouts + 1
        return self._share(min(orders, self._at_once), least)

    def prompts(self, count: int, length: int) -> int:
        """The rows of a call that reads so many prompts of a padded length."""
        return min(self._share(count), self.most_prompts(length))

    def most_prompts(self, length: int) -> int:
        """The most prompts of a padded length that one call reads."""
        return self.shards * max(1, self.config.prefill_tokens // length)

    def slots(self, needed: int) -> int:
        """The smallest cache with at least so many slots."""
        sizes = self.config.slots(self.max_new_tokens)
        return next(size for size in sizes if size >= needed)

    @property
    def most_slots(self) -> int:
        """The slots of the largest cache."""
        return self.config.slots(self.max_new_tokens)[-1]

    def is_small(self, places: int, columns: int) -> bool:
        """Whether a table is so small that a smaller one is not worth its program."""
        return places * columns <= self.config.rows // _SMALLEST_SHARE

    @property
    def _at_once(self) -> int:
        return max(1, self.config.rows // self.num_rollouts)

    def _share(self, count: int, least: int = 1) -> int:
        """Places for so many orders: the most of all calls, or a quarter of them, a sixteenth, ...

        Without a number of orders that calls share, padding is worth less than a program.
        """
        places = self.places(count)
        if self.most_orders is None:
            return places
        least = max(places, least)
        size = max(self.places(min(self.most_orders, self._at_once)), places)
        while size // 4 >= least and size % (4 * self.shards) == 0:
            size //= 4
        return size


def power_of_two(size: int) -> int:
    """Rounds a positive size up to a power of two."""
    return 1 << (size - 1).bit_length()
