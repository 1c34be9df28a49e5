"""A reward function of a user that hangs now and then: for the same responses in every run."""

import time
import zlib
from collections.abc import Sequence

# One group in so many.
RARITY = 400


def hangs(ids: Sequence[str], responses: Sequence[str]) -> bool:
    """Whether the function hangs over these responses to a row."""
    return zlib.crc32("\0".join([ids[0], *responses]).encode()) % RARITY == 0


def moody(responses: Sequence[str], ids: Sequence[str]) -> list[float]:
    """The share of responses that are as long as this one, or no answer at all."""
    if hangs(ids, responses):
        time.sleep(3600)
    lengths = [len(response) for response in responses]
    return [lengths.count(length) / len(lengths) for length in lengths]
