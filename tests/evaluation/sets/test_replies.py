"""Replies of judges are read as text, strictly."""

import pytest

from perl_jax.evaluation.sets.replies import plain_reply, verdict_of


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (" 14 \n", "14"),
        ("Extracted answer: 14", "14"),
        ("**14**", "14"),
        ("14\n15", None),
        ("1" * 201, None),
        ("", None),
        (" \n ", None),
    ],
)
def test_a_reply_is_one_short_line(reply, text):
    assert plain_reply(reply) == text


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("true", 1.0),
        ("Verdict: False.", 0.0),
        ("not true", None),
        ("", None),
        ("True\nFalse", None),
    ],
)
def test_a_verdict_is_one_of_two_words(reply, score):
    assert verdict_of(reply, "true", "false") == score
