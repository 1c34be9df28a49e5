"""No sentence of the grammar is rewritten wrongly, and the plain ones are not refused."""

from collections import Counter

import pytest

from tests.permutation.grammar import MAKERS, case_number, outcome, text_of

CASES = 5000
PART = 500


@pytest.mark.parametrize("first", range(0, CASES, PART))
def test_no_generated_sentence_is_rewritten_wrongly(first):
    results = Counter()
    for number in range(first, first + PART):
        case, order = case_number(number)
        result, text = outcome(case, order)
        assert result != "wrong", (number, text)
        assert result == "rewritten" or not case.plain, (number, text_of(case.question), text)
        results[result] += 1
    assert results["rewritten"] > 0.4 * results.total()


def test_every_kind_of_the_grammar_is_tried():
    kinds = {case_number(number)[0].kind for number in range(3 * len(MAKERS))}
    assert len(kinds) >= len(MAKERS)
