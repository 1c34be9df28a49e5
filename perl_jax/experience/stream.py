"""The groups of one step as a stream: drawn and judged while others are sampled."""

from collections.abc import Callable, Sequence
from typing import Protocol

from perl_jax.activity import Activity, silent
from perl_jax.filtering import PassRate, Refill
from perl_jax.types import Group, Rollouts


class Sampling(Protocol):
    """What a stream needs of a `perl_jax.rollout` session, see `Sampler.start`."""

    @property
    def busy(self) -> bool:
        """Whether groups are waiting or running."""

    def add(self, groups: Sequence[Group]) -> None:
        """Adds groups to the queue; they are numbered from 0 in the order added."""

    def launch(self) -> None:
        """Starts the next chunk of decoding, and does not wait for it."""

    def collect(self) -> Sequence[int]:
        """Waits for the chunk; the numbers of the groups that are complete since the last call."""

    def drop(self, numbers: Sequence[int]) -> None:
        """Ends groups that are not wanted any more."""

    def rollouts(self, numbers: Sequence[int]) -> Rollouts:
        """The rollouts of complete groups."""


def run_stream(
    sampling: Sampling,
    draw: Callable[[int, int], Sequence[Group]],
    judge: Callable[[Refill, Sequence[int], Rollouts], Refill],
    refill: Refill,
    past: PassRate,
    activity: Activity = silent,
) -> Refill:
    """Draws, samples and judges groups until the batch is known.

    While the devices decode one chunk, the host judges the groups that the chunk before completed,
    and draws more if those on their way may not do. Every decision follows from the verdicts alone,
    so all hosts take the same ones; which groups make the batch does not even depend on the chunks.

    Args:
        sampling: A session of the sampler without groups.
        draw: Makes the groups from a number on, of a number.
        judge: Grades complete groups, and adds the verdicts.
        refill: The step's draw at its beginning.
        past: What earlier steps say of the share of groups that inform.
        activity: Hears what is done while no chunk is decoded.

    Returns:
        The draw at its end.
    """

    def extend(most: int) -> None:
        nonlocal refill
        count = min(refill.next_draw(past), most)
        if count:
            first = len(refill.verdicts)
            sampling.add(draw(first, count))
            refill = refill.draw(count)

    def decide(numbers: Sequence[int]) -> None:
        nonlocal refill
        # What became surplus since it was sampled is not graded.
        if wanted := [number for number in numbers if number < refill.drawn]:
            before = refill.drawn
            refill = judge(refill, wanted, sampling.rollouts(wanted))
            surplus = range(refill.drawn, before)
            if running := [number for number in surplus if refill.verdicts[number] is None]:
                sampling.drop(running)

    # As many as make a batch start at once; others are drawn while these are sampled.
    activity("waiting for rows")
    extend(refill.target)
    complete: Sequence[int] = ()
    while not refill.done:
        # A chunk that nobody needs would be decoded in vain.
        if complete and refill.may_end_with(complete):
            activity("grading")
            decide(complete)
            complete = ()
            extend(refill.max_groups)
            continue
        launched = sampling.busy
        if launched:
            sampling.launch()
        decide(complete)
        extend(refill.max_groups)
        complete = sampling.collect() if launched else ()
    return refill
