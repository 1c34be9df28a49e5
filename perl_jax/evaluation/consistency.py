"""Whether a policy gives the same answer under all orders of an example's images."""

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

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

Predictions = Sequence[str | None]
Same = Callable[[str, str], bool]
"""Whether an answer, the first, is the same as a second one, which stands for the truth."""


def by_text(answer: str, truth: str) -> bool:
    """Compares as grading does without symbolic mathematics: expressions by their spelling."""
    return match(answer, truth, _EXACT).equal is True


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
    if len(orders) != len(predictions):
        raise ValueError(
            f"predictions: expected one for each of {len(orders)} orders; got {len(predictions)}"
        )
    flipped = flips(example, rule, orders, [[prediction] for prediction in predictions])
    return None if len(orders) == 1 else not flipped.any()


def flips(
    example: Example,
    rule: Rule,
    orders: Sequence[Order],
    predictions_KxN: Sequence[Predictions],
    same: Same = by_text,
) -> NDArray[np.bool_]:
    """Which answers differ from those under the own order, beyond what the order changes.

    `is_consistent` says how two answers are compared.

    Args:
        example: The example in its own order.
        rule: The rule of its source.
        orders: The example's own order and others.
        predictions_KxN: N answers under each order; None where there is none.
        same: Compares an answer with what an answer under the own order becomes.

    Returns:
        bool ``[K - 1, N, N]``: for each other order, each answer under the own order, and each
        answer under the other order.

    Raises:
        ValueError: The first order is not the example's own.
    """
    if not orders or list(orders[0]) != list(range(len(example.images))):
        raise ValueError(f"orders: expected the example's own order first; got {list(orders)[:1]}")
    own, *others = predictions_KxN
    answered = {one: _answered(example, rule, one) for one in set(own)}
    flipped = np.ones((len(others), len(own), len(own)), np.bool_)
    for k, (order, given) in enumerate(zip(orders[1:], others, strict=True)):
        expected = {mine: _answer_under(answered[mine], rule, order) for mine in answered}
        flipped[k] = _differ(own, given, expected, same)
    return flipped


def flips_again(
    example: Example, rule: Rule, answers: Predictions, again: Predictions, same: Same = by_text
) -> NDArray[np.bool_]:
    """Which answers differ that were given under the own order, and again under the same one.

    Answers compare as across orders, but what is spelled alike is the same, and so are two missing
    answers: a policy that always answers the same never flips, whatever it answers.

    Returns:
        bool ``[answers, again]``.
    """
    answered = {one: _answered(example, rule, one) for one in set(answers)}
    read = {mine: None if one is None else one.answer for mine, one in answered.items()}
    spelled = np.array([[one != mine for one in again] for mine in answers], np.bool_)
    return spelled & _differ(answers, again, read, same)


def _differ(
    own: Predictions,
    others: Predictions,
    expected: Mapping[str | None, str | None],
    same: Same,
) -> NDArray[np.bool_]:
    """Whether others are not what is expected for each own answer: bool ``[own, others]``."""
    known = {
        (mine, one): wanted is None or one is None or not same(one, wanted)
        for mine, wanted in expected.items()
        for one in set(others)
    }
    return np.array([[known[mine, one] for one in others] for mine in own], np.bool_)


def _answered(example: Example, rule: Rule, prediction: str | None) -> Example | None:
    """The example with a prediction in the place of the truth; None if it cannot answer it."""
    answer = None if prediction is None else _as_answer(example, rule, prediction)
    if answer is None:
        return None
    # Slot numbers replace the images, as equal pictures must not count as equal.
    return replace(example, answer=answer, images=tuple(range(len(example.images))))


def _answer_under(answered: Example | None, rule: Rule, order: Order) -> str | None:
    """What the answer becomes under an order; None if the rule cannot say with certainty."""
    try:
        return None if answered is None else permute(answered, order, rule).answer
    except CannotPermute:
        return None


def _as_answer(example: Example, rule: Rule, prediction: str) -> str | None:
    """A prediction in the form that `permute` reads; None if it cannot answer this example."""
    if len(prediction) > max(_MAX_CHARACTERS, 2 * len(example.answer)):
        return None
    true_letter = letter_of(example.answer)
    if true_letter is not None:
        letters = letters_of(example, rule)
        known = letters if true_letter in letters else string.ascii_uppercase
        return next((letter for letter in known if match(prediction, letter, _EXACT).equal), None)
    if prediction in map(str.strip, example.options):
        return prediction
    answer = clean(prediction)
    count = len(example.images)
    ordered = rule.answer == "relabel_order" and looks_like_order(example.answer, count)
    return None if ordered and not looks_like_order(answer, count) else answer


def letters_of(example: Example, rule: Rule) -> tuple[str, ...]:
    """The letters that may answer an example, in their order; empty if it lists no options."""
    try:
        letters = tuple(option.letter for option in find_options(example))
        if not letters and isinstance(rule.movable, tuple):
            # The rule itself says where the options are, lettered in the order of the slots.
            letters = tuple(string.ascii_uppercase[: len(movable_slots(example, rule))])
    except CannotPermute:
        letters = ()
    return letters + rule.fixed_letters
