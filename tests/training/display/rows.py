"""Rows of a step's record, as `perl_jax.experience.records` makes them."""

from typing import Any


def row(group: int = 0, **changes: Any) -> dict[str, Any]:
    """The row of a group of two orders of two responses, of which the last has no grade."""
    return {
        "group": group,
        "id": f"row-{group}",
        "source": "digits",
        "outcome": "kept",
        "unpermuted": None,
        "images": ["aa", "bb"],
        "orders": [[0, 1], [1, 0]],
        "questions": ["<image><image> First?", "<image><image> Second?"],
        "truths": ["A", "B"],
        "responses": [["A", "é \u2028"], ["B", ""]],
        "lengths": [[2, 3], [2, 1]],
        "stopped": [[True, False], [True, True]],
        "accuracy": [[1.0, 0.0], [1.0, None]],
        "rewards": {"accuracy": [[1.0, 0.0], [1.0, None]], "mine": [[0.5, 0.5], [0.5, None]]},
        "reward": [[0.9, 0.0], [0.9, None]],
        "advantages": [[0.5, -1.0], [0.5, None]],
        "tokens_sha256": "00",
        **changes,
    }
