"""How often an answer changes with the order of the images, and when the same order is repeated."""

from collections.abc import Sequence

from perl_jax.evaluation.consistency import Order, Same, answered_as, by_text, same_under
from perl_jax.permutation import Rule
from perl_jax.types import Example

Predictions = Sequence[str | None]


def flip_shares(
    example: Example,
    rule: Rule,
    orders: Sequence[Order],
    predictions_KxN: Sequence[Predictions],
    same: Same = by_text,
) -> list[list[float | None]]:
    """For every answer, the share of the answers under the own order that it differs from.

    An answer under another order is compared with each of the N answers under the own one, which
    the order changes as `is_consistent` says: what differs beyond that has flipped. An answer under
    the own order is compared with the N - 1 others, see `repeat_shares`; None where N is 1.

    Args:
        example: The example in its own order.
        rule: The rule of its source.
        orders: The example's own order, then others.
        predictions_KxN: The answers under each order; None where none could be read.
        same: Compares two answers.

    Returns:
        The shares, by order and answer.
    """
    own, *others = predictions_KxN
    shares = [repeat_shares(example, rule, own, same=same)]
    answered = {one: answered_as(example, rule, one) for one in own}
    for order, given in zip(orders[1:], others, strict=True):
        flipped = {
            (mine, one): not same_under(answered[mine], rule, order, one, same)
            for mine in set(own)
            for one in set(given)
        }
        shares.append([_share([flipped[mine, one] for mine in own]) for one in given])
    return shares


def repeat_shares(
    example: Example,
    rule: Rule,
    answers: Predictions,
    again: Predictions = (),
    same: Same = by_text,
) -> list[float | None]:
    """For every answer under the own order, the share of more such answers that it differs from.

    These are all of ``again``, or without it the other ``answers``; None where there are none.
    What is spelled alike is alike, a missing answer and another missing one as well: a policy that
    always answers the same never flips here, whatever it answers.
    """
    answered = {one: answered_as(example, rule, one) for one in set(answers)}
    order = tuple(range(len(example.images)))

    def differs(mine: str | None, one: str | None) -> bool:
        return mine != one and not same_under(answered[mine], rule, order, one, same)

    known = {(mine, one): differs(mine, one) for mine in answered for one in {*answers, *again}}
    return [
        _share([known[mine, one] for one in again or [*answers[:n], *answers[n + 1 :]]])
        for n, mine in enumerate(answers)
    ]


def _share(flipped: Sequence[bool]) -> float | None:
    return sum(flipped) / len(flipped) if flipped else None
