"""Whether a policy gives the same answer under all orders of an example's images."""

import string
from collections.abc import Sequence
from dataclasses import replace

from perl_jax.permutation import CannotPermute, Rule, movable_slots, permute, sample_orders
from perl_jax.permutation.answers import letter_of, looks_like_order
from perl_jax.permutation.reading.options import find_options
from perl_jax.rewards.matching import match
from perl_jax.rewards.normalise import clean
from perl_jax.rewards.numeric import Tolerance
from perl_jax.types import Example

Order = tuple[int, ...]

_EXACT = Tolerance()
# Reading hostile text takes quadratic time; longer text is no answer.
_MAX_CHARACTERS = 200


def orders_of(
    example: Example, rule: Rule, num_orders: int, seed: int
) -> list[tuple[Order, Example]]:
    """The orders in which an example is evaluated, and the example under each of them.

    Its own order comes first, then up to ``num_orders`` others, drawn by the seed and the example's
    id. Orders under which it cannot be rewritten are left out, perhaps all but its own.
    """
    count = len(example.images)
    found = [(tuple(range(count)), example)]
    try:
        movable = movable_slots(example, rule)
    except CannotPermute:
        return found
    for row in sample_orders(seed, 0, example.id, count, num_orders, movable=movable).tolist():
        try:
            found.append((tuple(row), permute(example, row, rule)))
        except CannotPermute:
            continue
    return found


def is_consistent(
    example: Example, rule: Rule, orders: Sequence[Order], predictions: Sequence[str | None]
) -> bool | None:
    """Whether a policy answered the same under all orders, right or wrong.

    The answer under the example's own order is permuted in place of the true one; it must then
    equal the answer under the other order. "A" and "A" are the same answer if options are words,
    and different ones if letters stand for images.

    Answers compare as in grading ("(B)" is "B", "2, 1, 3" is "2→1→3"), but numbers exactly, and
    expressions by their spelling. Also inconsistent, so that the policy has no influence on which
    examples count, are

    - a missing answer, under any order;
    - an answer under the own order that cannot answer this example: no option's letter where the
      truth is a letter; no order of all images where it is an order; anything that the rule cannot
      permute with certainty; text of more than 200 characters and twice the length of the truth.

    If two slots show equal pictures, they still count as different answers.

    Args:
        example: The example in its own order.
        rule: The rule of its source.
        orders: The example's own order and others, see `orders_of`.
        predictions: The last boxed answer under each order; None if none can be graded.

    Returns:
        None if there is only the own order.

    Raises:
        ValueError: The first order is not the example's own, or the lengths differ.
    """
    if not orders or list(orders[0]) != list(range(len(example.images))):
        raise ValueError(f"orders: expected the example's own order first; got {list(orders)[:1]}")
    if len(orders) != len(predictions):
        raise ValueError(
            f"predictions: expected one for each of {len(orders)} orders; got {len(predictions)}"
        )
    if len(orders) == 1:
        return None
    if None in predictions:
        return False
    own, *others = (prediction or "" for prediction in predictions)
    answer = _as_answer(example, rule, own)
    if answer is None:
        return False
    # Slot numbers replace the images, as equal pictures must not count as equal.
    answered = replace(example, answer=answer, images=tuple(range(len(example.images))))
    try:
        expected = [permute(answered, order, rule).answer for order in orders[1:]]
    except CannotPermute:
        return False
    return all(match(*pair, _EXACT).equal is True for pair in zip(others, expected, strict=True))


def _as_answer(example: Example, rule: Rule, prediction: str) -> str | None:
    """A prediction in the form that `permute` reads; None if it cannot answer this example."""
    if len(prediction) > max(_MAX_CHARACTERS, 2 * len(example.answer)):
        return None
    true_letter = letter_of(example.answer)
    if true_letter is not None:
        letters = _letters(example, rule)
        known = letters if true_letter in letters else string.ascii_uppercase
        return next((letter for letter in known if match(prediction, letter, _EXACT).equal), None)
    if prediction in map(str.strip, example.options):
        return prediction
    answer = clean(prediction)
    count = len(example.images)
    ordered = rule.answer == "relabel_order" and looks_like_order(example.answer, count)
    return None if ordered and not looks_like_order(answer, count) else answer


def _letters(example: Example, rule: Rule) -> tuple[str, ...]:
    """The letters that may answer the example, if its options can be read."""
    try:
        options = find_options(example)
    except CannotPermute:
        return ()
    return tuple(option.letter for option in options) + rule.fixed_letters
