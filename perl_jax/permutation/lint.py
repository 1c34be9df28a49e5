"""Reports what share of a data set can be permuted, why the rest cannot, and what changes."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from perl_jax.permutation.expand import Orders, orders_for
from perl_jax.permutation.refusal import REASONS
from perl_jax.permutation.rules import Rules
from perl_jax.permutation.sources import rule_for
from perl_jax.types import Example


@dataclass(frozen=True)
class Rewrite:
    """One example of a change: the text of a field before and after, and the order."""

    example_id: str
    order: tuple[int, ...]
    field: str
    before: str
    after: str


@dataclass(frozen=True)
class LintReport:
    """The result of linting.

    Attributes:
        total: Examples read.
        permuted: Examples that at least one of the sampled orders permutes.
        reasons: The number of examples kept in their own order, by reason.
        samples: The ids of the first such examples, by reason.
        sources: Examples read and examples permuted, by source.
        rewrites: The first changes of each source and field.
    """

    total: int
    permuted: int
    reasons: Mapping[str, int]
    samples: Mapping[str, tuple[str, ...]]
    sources: Mapping[str, tuple[int, int]]
    rewrites: tuple[Rewrite, ...]

    @property
    def fraction(self) -> float:
        """The fraction of all examples that can be permuted; 0 if there are none."""
        return self.permuted / self.total if self.total else 0.0

    def table(self) -> str:
        """The report as text of at most 100 columns."""
        counts = f"{self.permuted} of {self.total} examples can be permuted ({self.fraction:.1%})"
        lines = [counts, "", f"{'source':<48}{'examples':>10}{'permuted':>10}{'share':>8}"]
        for source, (total, permuted) in sorted(self.sources.items()):
            name, share = _short(source, 46), permuted / total
            lines.append(f"{name:<48}{total:>10}{permuted:>10}{share:>8.1%}")
        if self.reasons:
            lines += ["", f"{'kept in order because':<30}{'examples':>10}  such as"]
        for reason, count in sorted(self.reasons.items(), key=lambda item: (-item[1], item[0])):
            lines.append(f"{reason:<30}{count:>10}  {_short(', '.join(self.samples[reason]), 58)}")
            lines.append(f"    {_short(REASONS.get(reason, 'the rule lets nothing move'), 96)}")
        for rewrite in self.rewrites:
            lines += ["", f"{rewrite.field} of {rewrite.example_id}, order {list(rewrite.order)}"]
            lines += [f"  - {_short(rewrite.before, 96)}", f"  + {_short(rewrite.after, 96)}"]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def lint(
    examples: Iterable[Example],
    *,
    rules: Rules | None = None,
    unknown: str = "keep",
    seed: int = 0,
    num_orders: int = 2,
    num_samples: int = 3,
) -> LintReport:
    """Tries to permute every example of a data set, in ``num_orders`` orders, and reports.

    The report has ``num_samples`` ids for each reason, and rewrites for each source and field.
    ``rules`` and ``unknown`` are those of `rule_for`.
    """
    reasons: Counter[str] = Counter()
    samples: dict[str, list[str]] = {}
    totals: Counter[str] = Counter()
    permuted: Counter[str] = Counter()
    rewrites: dict[tuple[str, str], list[Rewrite]] = {}
    for example in examples:
        rule = rule_for(example, rules=rules, unknown=unknown)
        result = orders_for(example, rule, seed=seed, step=0, rate=1.0, num_orders=num_orders)
        totals[example.source] += 1
        if len(result.orders) > 1:
            permuted[example.source] += 1
            for rewrite in _changes(result):
                kept = rewrites.setdefault((example.source, rewrite.field), [])
                kept.extend([rewrite][: num_samples - len(kept)])
        elif result.reason is not None:
            reasons[result.reason] += 1
            ids = samples.setdefault(result.reason, [])
            ids.extend([example.id][: num_samples - len(ids)])
    return LintReport(
        total=sum(totals.values()),
        permuted=sum(permuted.values()),
        reasons=dict(reasons),
        samples={reason: tuple(ids) for reason, ids in samples.items()},
        sources={source: (total, permuted[source]) for source, total in totals.items()},
        rewrites=tuple(rewrite for kept in rewrites.values() for rewrite in kept),
    )


def _changes(result: Orders) -> list[Rewrite]:
    """The fields that the first permuted order changes."""
    own, other = result.examples[:2]
    order = tuple(result.orders[1].tolist())
    turns = zip(own.turns, other.turns, strict=True)
    changes = [
        *(Rewrite(own.id, order, f"{a.role} turn", a.text, b.text) for a, b in turns),
        Rewrite(own.id, order, "question", own.question, other.question),
        Rewrite(own.id, order, "options", " ".join(own.options), " ".join(other.options)),
        Rewrite(own.id, order, "answer", own.answer, other.answer),
    ]
    return [change for change in changes if change.before != change.after]


def _short(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 3] + "..."
