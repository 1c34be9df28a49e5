"""Responses, truths and replies of judges may hold anything."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perl_jax import endpoint
from perl_jax.endpoint import EndpointError
from perl_jax.evaluation.sets.table import BENCHMARKS
from perl_jax.preparation.questions import read_object
from perl_jax.rewards import Grader, check_truth
from perl_jax.rewards.answers import answer_text, asked_answer
from perl_jax.rewards.extract import last_boxed
from perl_jax.rewards.matching import match
from perl_jax.rewards.numeric import Tolerance
from perl_jax.types import Example
from tests.fuzz.fuzzing import JSON, TEXTS, fuzz, outcome

pytestmark = pytest.mark.fuzz

_PIECES = r"""
    \boxed{ } { \{ \} \frac \frac{1}{0} \sqrt ^ _ ( ) [ ] , ; : . = < > \leq \pm \approx \cdot + - *
    / % \% $ \$ \text{ \mathrm{ \begin{pmatrix} \end{pmatrix} \begin{cases} \end{cases} & \\ x y pi
    \pi \infty 0 1 2 9 12 1,234 0.5 .5 1e9 \overline{3} \circ ° A B (C) D. Image image 1 first
    second left right yes no and or not than two hundred million dozen half 3:40 pm July 4, 2019
    cm m kg ft ' " 5'2" H_2O CO2 \angle \triangle → \to \in \cup | ! ? <answer> </answer> <think>
    </think> #### ** the answer is Answer: None <|im_end|> \( \) \, ~ \sum \int ½ ² √ ∞ ３ ٣
"""
PIECES = _PIECES.split()
SOUP = st.lists(st.sampled_from(PIECES) | TEXTS, max_size=14).flatmap(
    lambda parts: st.sampled_from(["", " "]).map(lambda joint: joint.join(parts))
)


@fuzz(400)
@given(SOUP, SOUP)
def test_any_answer_is_compared_with_any_truth(answer, truth):
    found = outcome(lambda: match(answer, truth, Tolerance()))
    assert found.equal in (True, False, None)
    assert (found.equal is None) == bool(found.pairs)


@fuzz(300)
@given(SOUP)
def test_a_box_of_any_response_is_found_or_its_problem_told(response):
    box = outcome(lambda: last_boxed(response))
    assert bool(box.text) != bool(box.problem)


@fuzz(300)
@given(JSON | SOUP)
def test_any_truth_is_text_or_refused(truth):
    text = outcome(lambda: answer_text(truth), TypeError, ValueError)
    assert text is None or text.strip() == text != ""
    if check_truth(truth) is None:
        assert match(text, text, Tolerance()).equal


@fuzz(150)
@given(SOUP, st.dictionaries(st.just("answer_form"), st.sampled_from(["set", "order"]) | JSON))
def test_any_truth_is_asked_for_in_any_form(answer, metadata):
    outcome(lambda: asked_answer(answer, metadata), ValueError, where="answer_form")


@pytest.fixture(scope="module")
def quick_grader():
    with Grader(num_workers=2, deadline=0.5) as grader:
        yield grader


@fuzz(6)
@given(rows=st.lists(st.tuples(SOUP, SOUP), min_size=1, max_size=12))
def test_any_response_is_graded(quick_grader, rows):
    rows = [(answer, truth) for answer, truth in rows if check_truth(truth) is None]
    responses = ["\\boxed{" + answer + "}" for answer, _ in rows]
    grades = outcome(lambda: quick_grader.grade(responses, [truth for _, truth in rows]))
    for grade in grades:
        assert (grade.score is None) == (grade.outcome == "unscored")
        assert grade.score in (None, 0.0, 1.0)
        assert grade.detail != "failed"


# What the rows of each benchmark hold, besides what they share.
_CHOICE = {"letters": "AB", "choices": ["a cat", "a dog"]}
_OPEN = {"question_for_eval": "What?", "query": "What?", "query_cot": "What?", "prepended": 0}
_KINDS = {
    "mantis_eval": ({"question_type": "multi-choice"}, {"question_type": "short-answer"}),
    "mathverse": ({"question_type": "multi-choice"}, {"question_type": "free-form"}),
    "mathvista": tuple({"answer_type": kind} for kind in ("integer", "float", "text", "list")),
    "mmmu": ({"question_type": "multiple-choice"}, {"question_type": "open", "answers": ["a cat"]}),
    "mv_math": tuple({"answer_type": kind} for kind in ("multi-step", "single-step", "choice")),
    "remi": tuple({"task": task} for task in ("Clocks", "Schedule", "IQ", "Charts")),
}


def example_of(name, kind):
    kinds = _KINDS.get(name, ({},))
    metadata = {"precision": 1, **_CHOICE, **_OPEN, **kinds[kind % len(kinds)]}
    options = ("A. a cat", "B. a dog")
    return Example("1", BENCHMARKS[name].source, "<image> What?", (b"x",), "A", options, metadata)


REPLIES = SOUP | st.sampled_from(["A", "NONE", "1", "0", "correct", "Judgement: 1"])


@pytest.mark.parametrize("name", BENCHMARKS)
@fuzz(40)
@given(response=SOUP, reply=REPLIES, kind=st.integers(0, 3))
def test_a_benchmark_scores_any_response_and_any_reply_of_a_judge(name, response, reply, kind):
    benchmark, example = BENCHMARKS[name], example_of(name, kind)
    assert outcome(lambda: benchmark.official(example))
    scored = [outcome(lambda: benchmark.score(example, response))]
    if benchmark.judge is not None:
        scored.append(outcome(lambda: benchmark.judge(example, response, lambda message: reply)))
    for one in scored:
        assert one.score is None or 0 <= one.score <= 1
        assert one.prediction is None or isinstance(one.prediction, str)


@fuzz(75)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
       | JSON.map(lambda value: json.dumps({"choices": [{"message": value}]}).encode())
       | st.just(b"[" * 20_000))  # fmt: skip
def test_any_reply_of_an_endpoint_is_a_text_or_an_error_that_names_it(body):
    response = SimpleNamespace(content=body, text=body.decode("utf-8", "replace"))
    url = "http://host/v1"
    text = outcome(lambda: endpoint._answer(response, url), EndpointError, where=url)
    assert text is None or isinstance(text, str)


@fuzz(75)
@given(
    SOUP | JSON.map(lambda value: "Sure: " + json.dumps(value)) | st.just('{"a":' * 20_000 + "}")
)
def test_any_answer_of_a_model_holds_an_object_or_not(answer):
    found = outcome(lambda: read_object(answer), ValueError, where="not a JSON object")
    assert found is None or isinstance(found, dict)
