"""What an evaluation asked and was told: one record for every response."""

from dataclasses import asdict, dataclass
from typing import Any

from perl_jax.rewards import Grade


@dataclass(frozen=True)
class Record:
    """One response to one example under one order.

    Attributes:
        id: Names the example within the evaluation: its own id, or that with ``#2`` and so on
            where an earlier example has it.
        source: Of the example.
        kind: Its ``question_type``, or None.
        order: New slot j showed the image of slot ``order[j]``.
        rollout: Its number among the responses under this order.
        response: What the policy wrote.
        answer: The truth under this order.
        prediction: What the last box of the response holds; None where that cannot be graded.
        grade: Of the response.
        consistent: Whether the answers of this rollout are the same under all orders of the
            example; the same on all of them, and None where there is one order only.
        tokens: The length of the response.
        truncated: Whether it was cut off at the most tokens.
    """

    id: str
    source: str
    kind: str | None
    order: tuple[int, ...]
    rollout: int
    response: str
    answer: str
    prediction: str | None
    grade: Grade
    consistent: bool | None
    tokens: int
    truncated: bool

    @property
    def in_own_order(self) -> bool:
        """Whether the images stood as the example has them."""
        return self.order == tuple(range(len(self.order)))

    def as_json(self) -> dict[str, Any]:
        """The record as plain values, the grade's in a mapping of their own."""
        return {**asdict(self), "order": list(self.order)}
