"""The order check: does the answer depend on the order of the images?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from perl_jax import permutation
from perl_jax.data.sources.source import Source
from perl_jax.endpoint import Refused
from perl_jax.preparation.questions import Ask, ask_rows, asking_depends
from perl_jax.preparation.stage import Context, KeptRow, Outcome, map_rows
from perl_jax.settings import Checked
from perl_jax.types import Example

COLUMN = "change_needed"
_ORDERS = 8


@dataclass(frozen=True)
class OrderConfig(Checked):
    """How the order check decides.

    Attributes:
        rules: Your permutation rules by source (see `rules_from_config`), before the shipped ones.
        ask: Whether the endpoint decides if the rules cannot.
        prompt: The text file of the prompt; None: the package's.
    """

    rules: Mapping[str, Any] = field(default_factory=dict)
    ask: bool = False
    prompt: str | None = None

    def _check_together(self) -> None:
        permutation.rules_from_config(self.rules)


def check_orders(source: Source, config: OrderConfig, context: Context) -> Iterator[Outcome]:
    """Marks in every row's ``change_needed`` whether its answer depends on the order of its images.

    A mark that is there stays. Otherwise the rules decide (`changes_by_rule`), then the endpoint
    with ``ask``; if neither can, there is no mark. All rows are kept and counted as ``given_true``,
    ``rule_false``, ``endpoint_true`` and so on, ``unknown``, or ``malformed`` or ``refused`` (the
    endpoint's answer cannot be used).
    """
    rules = permutation.rules_from_config(config.rules)

    def by_rule(row: Example) -> KeptRow:
        given = row.metadata.get(COLUMN)
        if given is not None:
            return KeptRow(row, f"given_{str(given).lower()}")
        changes = changes_by_rule(
            row, permutation.rule_for(row, rules=rules, unknown="keep"), context.seed
        )
        return KeptRow(row, "unknown") if changes is None else _marked(row, changes, "rule")

    def decide(row: Example, ask: Ask) -> KeptRow:
        outcome = by_rule(row)
        return _asked(row, ask) if outcome.note == "unknown" else outcome

    if config.ask:
        return ask_rows(source, context, "order", config.prompt, decide)
    return map_rows(source, by_rule)


def checking_depends(config: OrderConfig, context: Context) -> Any:
    """The dependencies of the endpoint's answers; see `Stage`."""
    return asking_depends(context, "order", config.prompt) if config.ask else None


def changes_by_rule(example: Example, rule: permutation.Rule, seed: int) -> bool | None:
    """Whether some order of the images changes text or answer under a rule; None: unknown.

    Tries an order that moves every movable image, and random ones. True if the rule rewrites
    question, options or answer for one of them; false if it rewrites nothing and the first order is
    possible, or for a single image. None if the mark itself would prevent a permutation.
    """
    if len(example.images) < 2:
        return False
    metadata = {name: value for name, value in example.metadata.items() if name != COLUMN}
    plain = replace(example, metadata=metadata)
    try:
        movable = permutation.movable_slots(plain, rule)
    except permutation.CannotPermute:
        return None
    count = len(plain.images)
    rotation = list(range(count))
    for slot, other in zip(movable, (*movable[1:], movable[0]), strict=True):
        rotation[slot] = other
    drawn = permutation.sample_orders(seed, 0, plain.id, count, _ORDERS, movable=movable)
    results = {tuple(order): _try(plain, order, rule) for order in (rotation, *drawn.tolist())}
    possible = [permuted for permuted in results.values() if permuted is not None]
    changes = any(_differs(permuted, plain) for permuted in possible)
    if not changes and results[tuple(rotation)] is None:
        return None
    marked = replace(plain, metadata={**plain.metadata, COLUMN: changes})
    for order, permuted in results.items():
        if permuted is not None:
            again = _try(marked, list(order), rule)
            if again is None or _differs(again, permuted):
                return None
    return changes


def _try(example: Example, order: list[int], rule: permutation.Rule) -> Example | None:
    try:
        return permutation.permute(example, order, rule)
    except permutation.CannotPermute:
        return None


def _differs(a: Example, b: Example) -> bool:
    return (a.turns, a.question, a.options, a.answer) != (
        b.turns,
        b.question,
        b.options,
        b.answer,
    )


def _marked(row: Example, changes: bool, who: str) -> KeptRow:
    marked = replace(row, metadata={**row.metadata, COLUMN: changes})
    return KeptRow(marked, f"{who}_{str(changes).lower()}")


def _asked(row: Example, ask: Ask) -> KeptRow:
    try:
        changes = ask().get("answer_depends_on_order")
    except Refused:
        return KeptRow(row, "refused")
    except ValueError:
        changes = None
    if not isinstance(changes, bool):
        return KeptRow(row, "malformed")
    return _marked(row, changes, "endpoint")
