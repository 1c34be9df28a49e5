"""Settings of the evaluation."""

from dataclasses import dataclass
from typing import Annotated

from perl_jax.rollout import Strategy
from perl_jax.rollout.config import StrategyConfig
from perl_jax.settings import Count, CountOrZero, Expects, PositiveOrZero

_Count = Annotated[Count, Expects("a whole number of at least 1")]


@dataclass(frozen=True)
class EvaluationConfig(StrategyConfig):
    """Evaluation on held-out examples.

    Attributes:
        every: Training steps from one evaluation to the next.
        examples: The number of examples, taken from the start of the data.
        num_orders: The most orders besides an example's own; 0: no order consistency.
        max_new_tokens: The most tokens of a response.
        batch: Examples sampled together; changes memory and speed, never the result.
        temperature: The sampling temperature; 0 takes the most probable token.
        num_rollouts: Responses to each order; 1 at temperature 0.
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
        if self.temperature == 0 and self.truncated_by:
            raise ValueError(
                f"{self.truncated_by[0]}: expected a temperature above 0 with it, as the most "
                "probable token is taken at 0; got temperature=0"
            )

    def strategy(self) -> Strategy:
        """How the tokens of answers are drawn."""
        return self.strategy_at(self.temperature)
