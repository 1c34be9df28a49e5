"""Shows an example's images in another order, and keeps its question and answer true."""

from collections.abc import Sequence
from dataclasses import replace

from perl_jax.legible import brief
from perl_jax.permutation import answers, texts
from perl_jax.permutation.layout import lay_out, movable_slots
from perl_jax.permutation.orders import inverse
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.permutation.rules import Rule
from perl_jax.types import Example


def permute(example: Example, order: Sequence[int], rule: Rule) -> Example:
    """A new example with its images in another order, its text and answer changed to fit.

    Placeholders stay where they are, as do captions of their places; the rule decides about the
    rest. Turns are rewritten as the question is. ``id``, ``source`` and ``metadata`` stay.
    Permuting the result by the inverse order gives back the example exactly, and the identity
    changes nothing.

    Args:
        example: A row with its images in their slots.
        order: A permutation of the slots: new slot j shows old image ``order[j]``.
        rule: The rule of its source, from `rule_for`.

    Raises:
        CannotPermute: If the result would not be exact with certainty. Its ``reason`` is a stable
            code, see `REASONS`.
        ValueError: If the order is no permutation of the slots, or moves one that the rule fixes.
    """
    order = tuple(int(slot) for slot in order)
    if sorted(order) != list(range(len(example.images))):
        raise ValueError(
            f"order: expected a permutation of 0 to {len(example.images) - 1}; got {list(order)}"
        )
    moved = {old for new, old in enumerate(order) if new != old}
    if not moved:
        return example
    if fixed := moved - set(movable_slots(example, rule)):
        raise ValueError(f"order: the rule of {brief(example.source)} fixes slots {sorted(fixed)}")
    permuted = _move(example, order, rule)
    try:
        restored = _move(permuted, inverse(order), rule)
    except CannotPermute as error:
        raise CannotPermute("not_reversible", str(error)) from None
    for name in ("turns", "question", "options", "answer"):
        if getattr(restored, name) != getattr(example, name):
            raise CannotPermute("not_reversible", f"{name}: {getattr(permuted, name)}")
    return permuted


def _move(example: Example, order: tuple[int, ...], rule: Rule) -> Example:
    layout = lay_out(example, order, rule)
    follows = rule.answer == "remap_letter" and layout.has_letter
    *fields, answer = texts.rewritten(layout)
    said, (question, *options) = fields[: len(example.turns)], fields[len(example.turns) :]
    turns = tuple(replace(turn, text=text) for turn, text in zip(example.turns, said, strict=True))
    if follows and layout.change_needed is False:  # the answer is the same in any order
        if layout.options:
            raise CannotPermute("change_needed_conflict")
    elif follows:
        answer = answers.follow_letter(
            example, layout.options, layout.letters, layout.new_slot, rule.fixed_letters
        )
    images = tuple(example.images[slot] for slot in order)
    return replace(
        example,
        question=question,
        options=tuple(options),
        answer=answer,
        images=images,
        turns=turns,
    )
