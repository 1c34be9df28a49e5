"""Hosts that prepare rows together: each learns which rows the others left out."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from perl_jax.data.pipeline.rows import Filtered, PipelineError, Skipped
from perl_jax.types import Example

if TYPE_CHECKING:
    # mesh imports jax, which worker processes do not need.
    from perl_jax.mesh import BatchSharding

# (JSON-able value, what it is) -> the values of all hosts, by host.
Exchange = Callable[[Any, str], list[Any]]

_MAX_TOLD = 2000


def alone(value: Any, what: str) -> list[Any]:
    """The exchange of a single host."""
    return [value]


def agree(
    first: int,
    stop: int,
    rows: Mapping[int, Example | Skipped],
    sharding: "BatchSharding",
    exchange: Exchange,
) -> list[Example | Skipped | None]:
    """Tells all hosts which of the rows ``first:stop`` are left out. Every host must call it.

    ``rows`` are those that this host prepared, by place in the order.

    Returns:
        Per place the example, or why it is left out; None for an example of another feed.

    Raises:
        PipelineError: Hosts are at different places, or two that prepare the same rows disagree.
    """
    left_out = [_told(place, row) for place, row in rows.items() if isinstance(row, Skipped)]
    told = exchange({"rows": [first, stop], "left_out": left_out}, "rows that are left out")
    _check(told, [first, stop], sharding)
    skipped = {
        place: (Filtered if filtered else Skipped)(reason, row, message, id)
        for host in sharding.leaders
        for place, filtered, reason, row, message, id in told[host]["left_out"]
    }
    return [skipped.get(place, rows.get(place)) for place in range(first, stop)]


def _told(place: int, row: Skipped) -> list[Any]:
    message = row.message[:_MAX_TOLD] + ("..." if len(row.message) > _MAX_TOLD else "")
    return [place, isinstance(row, Filtered), row.reason, row.row, message, row.row_id]


def _check(told: list[Any], expected: list[int], sharding: "BatchSharding") -> None:
    if len(told) != sharding.num_hosts:
        raise PipelineError(
            f"rows that are left out: expected those of {sharding.num_hosts} hosts; got those of "
            f"{len(told)}"
        )
    for host, (feed, said) in enumerate(zip(sharding.feed_of_host, told, strict=True)):
        if said["rows"] != expected:
            raise PipelineError(
                f"the rows of a batch: host {sharding.host} is at {expected}, host {host} at "
                f"{said['rows']}: expected the same of all hosts"
            )
        leader = sharding.leaders[feed]
        difference = _difference(told[leader]["left_out"], said["left_out"])
        if difference is not None:
            raise PipelineError(
                f"row {difference[0]} of the order: hosts {leader} and {host} both prepare it, "
                f"and only one of them leaves it out, or for another reason: {difference[2]}: "
                f"{difference[3]}: {difference[4]}; expected the same files on both"
            )


def _difference(one: list[Any], other: list[Any]) -> list[Any] | None:
    """The first row that two hosts treat differently."""
    # Messages are not compared: they may name paths of their host.
    known = [{tuple(row[:3]) for row in rows} for rows in (one, other)]
    differing = known[0] ^ known[1]
    return next((row for row in (*one, *other) if tuple(row[:3]) in differing), None)
