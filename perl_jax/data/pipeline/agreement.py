"""Rows on many hosts: each prepares a share of them, and all know what became of every row."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from perl_jax.data.pipeline.rows import Filtered, Skipped
from perl_jax.types import Example

if TYPE_CHECKING:
    # It imports jax, which worker processes do not need.
    from perl_jax.mesh import Feeds

# Tells all hosts a JSON-able value, and what it is; gives the values of all of them, by host.
Exchange = Callable[[Any, str], list[Any]]

_MAX_TOLD = 2000


def alone(value: Any, what: str) -> list[Any]:
    """The exchange of a single host."""
    return [value]


class Share:
    """The rows of an order that a host prepares.

    The row at place r, from 0, is of shard r modulo the number of shards. So a host knows its rows
    without asking, whichever of them turn out to be bad.

    Args:
        feeds: Which shards this host provides for, and which others do.
    """

    def __init__(self, feeds: "Feeds"):
        of_shard = {shard: feed for feed, shards in enumerate(feeds.shards) for shard in shards}
        self._feeds = [of_shard[shard] for shard in range(len(of_shard))]
        self._mine = sorted(feeds.shards[feeds.here])

    def feed(self, place: int) -> int:
        """The feed whose hosts prepare the row at a place."""
        return self._feeds[place % len(self._feeds)]

    def place(self, number: int) -> int:
        """Where the row of this host is that has so many of its own before it."""
        rounds, within = divmod(number, len(self._mine))
        return rounds * len(self._feeds) + self._mine[within]

    def before(self, place: int) -> int:
        """How many rows before a place are this host's."""
        rounds, shard = divmod(place, len(self._feeds))
        return rounds * len(self._mine) + bisect_left(self._mine, shard)

    def within(self, first: int, stop: int) -> list[int]:
        """The places of this host's rows from ``first`` on, before ``stop``."""
        return [self.place(number) for number in range(self.before(first), self.before(stop))]


def agree(
    first: int,
    stop: int,
    rows: Mapping[int, Example | Skipped],
    feeds: "Feeds",
    exchange: Exchange,
) -> list[Example | Skipped | None]:
    """What became of some rows of the order, on all hosts; all of them must call it.

    Args:
        first: The place of the first row.
        stop: The place after the last.
        rows: Those of this host, by place.
        feeds: Which hosts prepare which rows.
        exchange: Tells the other hosts.

    Returns:
        Of every place a prepared example, or why it is left out; None for an example of another
        host.

    Raises:
        RuntimeError: The hosts are at different places, or two that prepare the same rows differ.
    """
    left_out = [_told(place, row) for place, row in rows.items() if isinstance(row, Skipped)]
    told = exchange({"rows": [first, stop], "left_out": left_out}, "rows that are left out")
    _check(told, [first, stop], feeds)
    skipped = {
        place: (Filtered if filtered else Skipped)(reason, row, message)
        for host in feeds.speakers
        for place, filtered, reason, row, message in told[host]["left_out"]
    }
    return [skipped.get(place, rows.get(place)) for place in range(first, stop)]


def _told(place: int, row: Skipped) -> list[Any]:
    message = row.message
    if len(message) > _MAX_TOLD:
        message = f"{message[:_MAX_TOLD]}..."
    return [place, isinstance(row, Filtered), row.reason, row.row, message]


def _check(told: list[Any], expected: list[int], feeds: "Feeds") -> None:
    if len(told) != len(feeds.of_host):
        raise RuntimeError(
            f"rows that are left out: expected those of {len(feeds.of_host)} hosts; got those of "
            f"{len(told)}"
        )
    for host, (feed, said) in enumerate(zip(feeds.of_host, told, strict=True)):
        if said["rows"] != expected:
            raise RuntimeError(
                f"the rows of a batch: host {feeds.host} is at {expected}, host {host} at "
                f"{said['rows']}: expected the same of all hosts"
            )
        speaker = feeds.speakers[feed]
        difference = _difference(told[speaker]["left_out"], said["left_out"])
        if difference is not None:
            raise RuntimeError(
                f"row {difference[0]} of the order: hosts {speaker} and {host} both prepare it, "
                f"and only one of them leaves it out, or for another reason: {difference[2]}: "
                f"{difference[3]}: {difference[4]}; expected the same files on both"
            )


def _difference(one: list[Any], other: list[Any]) -> list[Any] | None:
    """What only one of two hosts says; the message may have paths of its host."""
    known = [{tuple(row[:3]) for row in rows} for rows in (one, other)]
    differing = known[0] ^ known[1]
    return next((row for row in (*one, *other) if tuple(row[:3]) in differing), None)
