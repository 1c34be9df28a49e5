"""How often and how thoroughly a policy is evaluated."""

from dataclasses import dataclass
from typing import Annotated

from perl_jax.settings import Checked, Count, CountOrZero, Expects, PositiveOrZero

_Count = Annotated[Count, Expects("a whole number of at least 1")]


@dataclass(frozen=True)
class EvaluationConfig(Checked):
    """Evaluation on held-out examples.

    Attributes:
        every: Training steps from one evaluation to the next.
        examples: How many examples are asked, the first of those there are.
        num_orders: Orders beside its own that an example is asked under, or all where it has
            fewer; 0 leaves order consistency unmeasured.
        max_new_tokens: The most tokens of a response.
        batch: Examples sampled together. It changes memory and speed, never the result.
        temperature: Of the sampling; 0 takes the most probable token.
        num_rollouts: Responses to an example under one order; at temperature 0 they would be equal.
    """

    every: _Count = 20
    examples: _Count = 128
    num_orders: Annotated[CountOrZero, Expects("a whole number of at least 0")] = 5
    max_new_tokens: _Count = 256
    batch: _Count = 64
    temperature: Annotated[PositiveOrZero, Expects("a number from 0")] = 0.0
    num_rollouts: _Count = 1

    def _check_together(self) -> None:
        if self.temperature == 0 and self.num_rollouts > 1:
            raise ValueError(
                "num_rollouts: expected 1 at temperature 0, where all responses are the same; "
                f"got {self.num_rollouts}"
            )
