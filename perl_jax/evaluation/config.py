"""How often and how thoroughly a policy is evaluated."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationConfig:
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

    every: int = 20
    examples: int = 128
    num_orders: int = 5
    max_new_tokens: int = 256
    batch: int = 64
    temperature: float = 0.0
    num_rollouts: int = 1

    def __post_init__(self) -> None:
        for name, value, least in (
            ("every", self.every, 1),
            ("examples", self.examples, 1),
            ("num_orders", self.num_orders, 0),
            ("max_new_tokens", self.max_new_tokens, 1),
            ("batch", self.batch, 1),
            ("num_rollouts", self.num_rollouts, 1),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(
                    f"{name}: expected a whole number of at least {least}; got {value!r}"
                )
        # Written so that NaN fails as well.
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature: expected a number from 0; got {self.temperature!r}")
        if self.temperature == 0 and self.num_rollouts > 1:
            raise ValueError(
                "num_rollouts: expected 1 at temperature 0, where all responses are the same; "
                f"got {self.num_rollouts}"
            )
