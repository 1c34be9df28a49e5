"""What was asked and said in a step: a row of plain values for each group that was drawn."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from perl_jax.experience.draws import Draw
from perl_jax.filtering import Refill, Verdict
from perl_jax.types import Example, ImagePatches, conversation_text

KEPT = "kept"


def outcomes_of(refill: Refill) -> list[str]:
    """What became of each group: ``kept``, or the last part of the name of a ``filter/`` metric."""
    verdicts = [one for one in refill.verdicts[: refill.drawn] if one is not None]
    return [KEPT if one == Verdict.INFORMATIVE else one.name.lower() for one in verdicts]


def records_of(
    drawn: Draw,
    outcomes: Sequence[str],
    advantages: Mapping[int, np.ndarray],
    decode: Callable[[np.ndarray], str],
    most: int | None = None,
) -> list[dict[str, Any]]:
    """A row for each group, in the order drawn; docs/logging.md lists the fields.

    Args:
        drawn: The groups. Responses whose text another host has decoded are decoded here.
        outcomes: See `outcomes_of`.
        advantages: Of the groups that were kept, by their numbers, ``[K, N]``.
        decode: Turns tokens into text.
        most: The most rows, of the groups drawn first; None: all.
    """
    return [
        _record(drawn, number, outcomes[number], advantages.get(number), decode)
        for number in range(len(drawn.groups))[:most]
    ]


def _record(
    drawn: Draw,
    number: int,
    outcome: str,
    advantages: np.ndarray | None,
    decode: Callable[[np.ndarray], str],
) -> dict[str, Any]:
    orders, rewards = drawn.orders[number], drawn.rewards
    own, count = orders.examples[0], len(orders.examples)
    lengths = drawn.rollouts.lengths[number, :count]
    tokens = drawn.rollouts.tokens[number, :count]
    scored = rewards.scored[number, :count]

    def of_scored(values: np.ndarray | None) -> list[list[float | None]]:
        """A number for each response; None where there is no grade, or no finite number."""
        rows = np.zeros(scored.shape) if values is None else values[:count]
        known = scored & (values is not None)
        return [
            [
                round(float(value), 6) if here and np.isfinite(value) else None
                for value, here in zip(*row, strict=True)
            ]
            for row in zip(rows, known, strict=True)
        ]

    return {
        "group": number,
        "id": own.id,
        "source": own.source,
        "outcome": outcome,
        "unpermuted": orders.reason,
        "images": digests(own),
        "orders": orders.orders.tolist(),
        "questions": [conversation_text(one) for one in orders.examples],
        "truths": [one.answer for one in orders.examples],
        "responses": [
            [
                decode(row[:length]) if text is None else text
                for text, row, length in zip(*of_order, strict=True)
            ]
            for of_order in zip(drawn.texts[number], tokens, lengths, strict=False)
        ],
        "lengths": lengths.tolist(),
        "stopped": drawn.rollouts.stopped[number, :count].tolist(),
        "accuracy": of_scored(rewards.accuracy[number]),
        "rewards": {name: of_scored(one[number]) for name, one in rewards.components.items()},
        "reward": of_scored(rewards.reward[number]),
        "advantages": of_scored(advantages),
        "tokens_sha256": _digest(tokens, lengths),
    }


def digests(example: Example) -> list[str]:
    """The digest of the picture in each slot; empty for one that is not prepared."""
    return [one.digest if isinstance(one, ImagePatches) else "" for one in example.images]


def _digest(tokens: np.ndarray, lengths: np.ndarray) -> str:
    """The digest of the tokens of a group, whatever they are padded to."""
    digest = hashlib.sha256(lengths.tobytes())
    for row, length in zip(tokens.reshape(-1, tokens.shape[-1]), lengths.flat, strict=True):
        digest.update(row[:length].tobytes())
    return digest.hexdigest()
