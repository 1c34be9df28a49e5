"""Other orders of an example's images, with question and answer kept true.

`rule_for` finds what may move in a source, `sample_orders` draws orders, `permute` applies one, and
`permutation_rate` says how often to do it; `orders_for` does all of it for one example. Pure
functions: no model, no device, no state.
"""

from perl_jax.permutation.audit import Accounted, account
from perl_jax.permutation.expand import Orders, orders_for, permutation_metrics
from perl_jax.permutation.layout import movable_slots
from perl_jax.permutation.lint import LintReport, Rewrite, lint
from perl_jax.permutation.orders import inverse, sample_orders
from perl_jax.permutation.permute import permute
from perl_jax.permutation.refusal import REASONS, CannotPermute
from perl_jax.permutation.rules import Rule, RuleByColumn, Rules, rules_from_config
from perl_jax.permutation.schedule import Schedule, is_permuted, permutation_rate
from perl_jax.permutation.sources import BUILT_IN, rule_for

__all__ = [
    "BUILT_IN",
    "REASONS",
    "Accounted",
    "CannotPermute",
    "LintReport",
    "Orders",
    "Rewrite",
    "Rule",
    "RuleByColumn",
    "Rules",
    "Schedule",
    "account",
    "inverse",
    "is_permuted",
    "lint",
    "movable_slots",
    "orders_for",
    "permutation_metrics",
    "permutation_rate",
    "permute",
    "rule_for",
    "rules_from_config",
    "sample_orders",
]
