"""The records of an evaluation, one for every response."""

from dataclasses import asdict, dataclass
from typing import Any

from perl_jax.rewards import Grade


@dataclass(frozen=True)
class Record:
    """One response to one example under one order.

    Attributes:
        id: The example's id, followed by ``#2`` and so on if an earlier example has it.
        source: The example's source.
        kind: The example's ``question_type``, or None.
        order: New slot j shows the image of slot ``order[j]``.
        rollout: The response's number under this order.
        response: The response.
        answer: The true answer under this order.
        prediction: The response's last boxed answer; None if it cannot be graded.
        grade: The response's grade.
        consistent: Whether the answers of this rollout agree under all orders of the example, the
            same on all their records; None if there is one order only.
        tokens: The length of the response.
        truncated: Whether the response was cut off at the token limit.
        flips: The share of the answers under the own order that this one differs from, beyond what
            the order changes; under the own order, of the other ones. None if there are none, or
            one order only.
        slot: The slot that the prediction names, counted from 0, see `slots.slot_of`; None if the
            truth names none, or the prediction does not.
        true_slot: The slot that the truth names.
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
    # Records that older runs wrote have none of these.
    flips: float | None = None
    slot: int | None = None
    true_slot: int | None = None

    @property
    def in_own_order(self) -> bool:
        """Whether the order is the example's own."""
        return self.order == tuple(range(len(self.order)))

    def as_json(self) -> dict[str, Any]:
        """The record as plain values, as docs/logging.md lists them."""
        task = self.source if self.kind is None else f"{self.source}/{self.kind}"
        return {**asdict(self), "order": list(self.order), "task": task, "score": self.grade.score}
