"""What a policy answered to an example under several orders of its images."""

from collections.abc import Sequence
from dataclasses import dataclass

from perl_jax.permutation import Rule
from perl_jax.types import Example


@dataclass(frozen=True)
class Answered:
    """One example, and the answers to it under K orders, N to each.

    Attributes:
        id: Unique within the evaluation.
        task: What results are split by; None: nothing.
        rule: The permutation rule of the example.
        orders: The K orders, the example's own first: new slot j shows the image of slot
            ``order[j]``.
        examples: The example under each order.
        predictions: For each order, the answers that were read from its N responses; None where
            none was.
        scores: The scores of the same; None where they are unknown.
        again: More answers under the own order, drawn as those of ``predictions[0]`` were but by
            another seed; empty where ``predictions[0]`` holds several.
    """

    id: str
    task: str | None
    rule: Rule
    orders: tuple[tuple[int, ...], ...]
    examples: tuple[Example, ...]
    predictions: Sequence[Sequence[str | None]]
    scores: Sequence[Sequence[float | None]]
    again: Sequence[str | None] = ()
