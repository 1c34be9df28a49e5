"""The configuration of a preparation."""

from dataclasses import dataclass

from perl_jax.data.config import SourceConfig
from perl_jax.endpoint import EndpointConfig
from perl_jax.preparation.deduplicate import DeduplicateConfig
from perl_jax.preparation.difficulty import DifficultyConfig
from perl_jax.preparation.filter import FilterConfig
from perl_jax.preparation.order_check import OrderConfig
from perl_jax.preparation.rephrase import RephraseConfig
from perl_jax.preparation.split import SplitConfig
from perl_jax.settings import Checked, Fraction


@dataclass(frozen=True)
class PrepareConfig(Checked):
    """The rows to prepare, and a section for each stage; None: the stage is left out.

    Attributes:
        source: The rows to prepare.
        seed: The seed of all draws.
        max_bad_fraction: The largest share of a stage's rows that may be bad.
        endpoint: Answers for ``rephrase``, and for ``order`` with ``ask``.
        filter: Keeps wanted rows whose answers can be graded.
        rephrase: Turns open-ended questions into multiple choice.
        deduplicate: Drops rows that look the same as earlier ones.
        difficulty: Keeps questions that a policy answers rightly neither always nor never.
        order: Marks whether answers depend on the order of the images.
        split: Parts training and held-out rows.
    """

    source: SourceConfig
    seed: int = 0
    max_bad_fraction: Fraction = 0.01
    endpoint: EndpointConfig | None = None
    filter: FilterConfig | None = None
    rephrase: RephraseConfig | None = None
    deduplicate: DeduplicateConfig | None = None
    difficulty: DifficultyConfig | None = None
    order: OrderConfig | None = None
    split: SplitConfig | None = None

    def _check_together(self) -> None:
        asks = self.rephrase is not None or (self.order is not None and self.order.ask)
        if asks and self.endpoint is None:
            raise ValueError("endpoint: expected one, as a stage asks it; got none")
