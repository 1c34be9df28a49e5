"""Whether a policy gives the same answer whatever order the images of an example stand in."""

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
# Reading hostile text takes time quadratic in its length; what is longer is no answer.
_MAX_CHARACTERS = 200


def orders_of(
    example: Example, rule: Rule, num_orders: int, seed: int
) -> list[tuple[Order, Example]]:
    """The orders in which an example is evaluated, and the example under each of them.

    Its own order comes first. Then come ``num_orders`` others, drawn by the seed and the id of the
    example, or all where it has no more. An order under which its text cannot be rewritten is left
    out; an example that cannot be permuted has its own order alone.
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
    r"""Whether a policy answered the same under all orders, right or wrong.

    Its answer under the example's own order is put in the place of the true one and permuted as
    that would be: what comes out must be what it answered under the other order. "A" and "A" are
    the same answer where options are words, and different ones where letters stand for images.

    Answers compare as they do in grading ("(B)" is "B", "2, 1, 3" is "2→1→3"), numbers exactly,
    and without symbolic mathematics: expressions must be spelled alike. Inconsistent is also

    - a missing answer, under any order;
    - an answer under the own order that cannot be one to this example, however often it is
      repeated: where the truth is a letter, anything but the letter of an option; where it is an
      order, anything but an order of all images; what the rule cannot permute with certainty;
      text of more than 200 characters and twice the length of the truth.

    Which examples count does thus not depend on the policy. Of two slots that show equal pictures,
    only the same one counts as the same answer.

    Args:
        example: In its own order.
        rule: Of its source.
        orders: The example's own order and others, as `orders_of` has them.
        predictions: What the last box of the response held under each of them; None where there
            was none that could be graded.

    Returns:
        None where there is only the own order.

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
    if any(prediction is None for prediction in predictions):
        return False
    own, *others = (prediction or "" for prediction in predictions)
    answer = _as_answer(example, rule, own)
    if answer is None:
        return False
    # Slots stand in for the images: equal pictures matter to a true answer, not to this one.
    answered = replace(example, answer=answer, images=tuple(range(len(example.images))))
    try:
        expected = [permute(answered, order, rule).answer for order in orders[1:]]
    except CannotPermute:
        return False
    return all(match(*pair, _EXACT).equal is True for pair in zip(others, expected, strict=True))


def _as_answer(example: Example, rule: Rule, prediction: str) -> str | None:
    """A prediction in the form that `permute` reads; None where it is no answer to this example."""
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
    """The letters that an answer to the example may be, where its options can be read."""
    try:
        options = find_options(example)
    except CannotPermute:
        return ()
    return tuple(option.letter for option in options) + rule.fixed_letters
