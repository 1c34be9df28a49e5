"""Grades, with real worker processes that really hang, run out of memory and are killed."""

import signal
import threading

import numpy as np
import pytest

from perl_jax.rewards import Grade, Grader, GradingError, count_grades, grade_arrays
from perl_jax.rewards.grader import _stop_at_failures

# Every one of these would outlive any deadline.
ENDLESS = (
    "9^{{9^{{9^{{{n}}}}}}}",  # a power tower
    "(({n}00000!)!)!",  # a factorial tower
    r"\binom{{10^{{9}}+{n}}}{{10^{{8}}}}",
    r"\sum_{{n=1}}^{{10^{{9}}+{n}}} \sin(n)",
    r"\int_{{0}}^{{{n}}} x^{{x}} \sin(x^{{x}}) dx",
)


def boxed(text):
    return f"<think>so</think> The answer is \\boxed{{{text}}}."


def one(grader, response, answer):
    return grader.grade([response], [answer])[0]


@pytest.mark.parametrize(
    ("answer", "truth", "score"),
    [
        ("x+1", "1+x", 1.0),
        ("(x-1)(x+1)", "x^2-1", 1.0),
        (r"\frac{\sqrt{3}}{2}", r"\sqrt{3}/2", 1.0),
        ("sqrt(12)", r"2\sqrt{3}", 1.0),
        (r"x=\sqrt{25}", "5", 1.0),
        ("π+1", r"1+\pi", 1.0),
        (r"\sqrt{2}, 1", r"(\frac{2}{\sqrt{2}}, 1)", 1.0),
        (r"\{\sqrt{4}, x\}", r"\{x, 2\}", 1.0),
        (r"\sum_{n=1}^{5} n", "15", 1.0),
        ("5 \\geq x", r"x \leq 5", 1.0),
        ("x+2", "1+x", 0.0),
        (r"x=\sqrt{25}", "6", 0.0),
        ("y", "x", 0.0),
        (r"1, \sqrt{2}", r"\sqrt{2}, 1", 0.0),
    ],
)
def test_expressions_are_compared_by_what_they_mean(grader, answer, truth, score):
    assert one(grader, boxed(answer), truth) == Grade(score, "scored", "symbolic")


@pytest.mark.reliability(
    "70", "71", "72", "73", "74", "78", "80", "81", "82", "83", "84", "85", "89"
)
@pytest.mark.parametrize(
    ("response", "answer", "grade"),
    [
        ("", "5", Grade(0.0, "zero", "no_box")),
        ("I think it is 5", "5", Grade(0.0, "zero", "no_box")),
        ("!" * 8192, "5", Grade(0.0, "zero", "no_box")),
        (r"\boxed{5", "5", Grade(0.0, "zero", "unclosed_box")),
        (r"\boxed{4} \boxed{5}", "5", Grade(1.0, "scored", "exact")),
        (r"\boxed{5} \boxed{4}", "5", Grade(0.0, "scored", "number")),
        (r"\boxed{}", "5", Grade(0.0, "zero", "empty_box")),
        (r"\boxed" + "{" * 20_000, "5", Grade(0.0, "zero", "unclosed_box")),
        (boxed("{" * 10_000 + "}" * 10_000), "5", Grade(0.0, "zero", "too_long")),
        (boxed("9" * 1_000_000), "5", Grade(0.0, "zero", "too_long")),
        (boxed("1+" * 5000 + "1"), "5001", Grade(0.0, "zero", "too_long")),
        (boxed(",".join(map(str, range(2000)))), "5", Grade(0.0, "zero", "too_long")),
        (r"\boxed{a}" * 2000, "5", Grade(0.0, "scored", "symbolic")),
        (boxed("٥"), "5", Grade(1.0, "scored", "number")),
        (boxed("５"), "5", Grade(1.0, "scored", "number")),
        (boxed("5\u200b"), "5", Grade(0.0, "zero", "invisible_characters")),
        (boxed("\u202e5"), "5", Grade(0.0, "zero", "invisible_characters")),
        (boxed("0/0"), "5", Grade(0.0, "zero", "undefined")),
        (boxed(r"\infty-\infty"), "0", Grade(0.0, "zero", "undefined")),
        (boxed("+++"), "5", Grade(0.0, "zero", "malformed")),
        (boxed(r"\frac{1}{}"), "5", Grade(0.0, "zero", "malformed")),
    ],
)  # fmt: skip
def test_every_response_gets_its_score_or_a_zero_with_its_reason(grader, response, answer, grade):
    assert one(grader, response, answer) == grade


@pytest.mark.reliability("75", "76", "77", "79", "F21")
@pytest.mark.parametrize("text", [text.format(n=9) for text in ENDLESS])
def test_what_outlives_the_deadline_is_unscored(impatient, text):
    assert one(impatient, boxed(text), "5") == Grade(None, "unscored", "deadline")


@pytest.mark.reliability("F20")
def test_what_exhausts_the_memory_is_unscored_and_not_a_silent_zero():
    # The shift that makes this number fails at once, in code that takes all errors for inequality.
    with Grader(num_workers=1, deadline=120.0, memory_bytes=256 * 1024**2) as grader:
        grades = grader.grade([boxed(r"\gcd(2^{3000000000},4)"), boxed("x+1")], ["5", "1+x"])
    assert grades == [Grade(None, "unscored", "memory"), Grade(1.0, "scored", "symbolic")]


@pytest.mark.reliability("86", "87")
@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch MARKER')",
        "().__class__.__base__.__subclasses__()",
        "exec(\"open('MARKER','w')\")",
        r"frac('\137\137import\137\137(\'os\').system(\'touch MARKER\')')" + "{" * 400 + "}" * 400,
        r"\frac{'\137\137import\137\137(\'os\').system(\'touch MARKER\')'}{1}",
        r"\text{__import__('os').system('touch MARKER')}+1",
        "1+__import__('os').system('touch MARKER')",
        r"\operatorname{eval}(open('MARKER', 'w'))",
        "lambda: 1",
    ],
)
def test_code_in_an_answer_is_never_run(grader, tmp_path, text):
    marker = tmp_path / "marker"
    grade = one(grader, boxed(text.replace("MARKER", str(marker))), "5")
    assert not marker.exists()
    assert not grade.score


@pytest.mark.reliability("75", "76", "77", "79")
def test_hostile_answers_cost_no_other_grade(impatient):
    ordinary = [("B.", "B", 1.0), ("C", "B", 0.0), ("0.5", "1/2", 1.0), ("2, 1, 3", "2→1→3", 1.0)]
    ordinary += [(f"{n}+x", f"x+{n}", 1.0) for n in range(20)]
    ordinary += [(f"{n}+x", f"x+{n + 1}", 0.0) for n in range(20)]
    endless = [text.format(n=n) for text in ENDLESS for n in range(2, 6)]
    zeros = ["1+" * 5000, "9" * 100_000, "+++", "5\u200b", "{" * 3000 + "}" * 3000]
    hostile = [(text, "7", None) for text in endless]
    hostile += [(text + " " * n, "7", 0.0) for text in zeros for n in range(16)]
    assert len(hostile) == 100
    rows = [*ordinary * 20, *hostile]
    order = np.random.default_rng(0).permutation(len(rows))
    rows = [rows[i] for i in order]
    answers, truths, scores = zip(*rows, strict=True)
    grades = impatient.grade(list(map(boxed, answers)), list(truths))
    assert [grade.score for grade in grades] == list(scores)
    assert count_grades(grades)["unscored"] == len(endless)
    assert count_grades(grades)["zero"] == 80


def test_the_same_answer_to_different_truths_is_graded_for_each(grader):
    truths = ["1+x", "2+x", "1+x", "5", "B"]
    grades = grader.grade([boxed("x+1")] * 5, truths)
    assert [grade.score for grade in grades] == [1.0, 0.0, 1.0, 0.0, 0.0]


def test_an_endless_answer_that_many_rows_share_is_killed_once(impatient, monkeypatch):
    killed = []
    run = impatient._pool.run
    monkeypatch.setattr(impatient._pool, "run", lambda tasks: killed.extend(tasks) or run(tasks))
    grades = impatient.grade([boxed("9^{9^{9^{77}}}")] * 50, ["5"] * 50)
    assert {grade.outcome for grade in grades} == {"unscored"}
    assert len(killed) == 1


def test_verdicts_are_remembered_and_lost_grades_are_tried_again(impatient, monkeypatch):
    rows = [boxed("a+b+c"), boxed("9^{9^{9^{78}}}")], ["c+b+a", "5"]
    first = impatient.grade(*rows)
    asked = []
    run = impatient._pool.run
    monkeypatch.setattr(impatient._pool, "run", lambda tasks: asked.extend(tasks) or run(tasks))
    assert impatient.grade(*rows) == first
    assert [task.pairs[0][0] for task in asked] == ["9^{9^{9^{78}}}"]


@pytest.mark.reliability("F25")
def test_a_grader_works_in_a_thread_and_for_several_threads(grader):
    grades = {}

    def work(n):
        answers = [f"x+{n}+{i}" for i in range(8)]
        grades[n] = grader.grade([boxed(f"{i}+{n}+x") for i in range(8)], answers)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [grade.score for n in range(4) for grade in grades[n]] == [1.0] * 32


def test_the_alarm_of_the_caller_rings_while_grading_and_keeps_its_handler(grader, impatient):
    rung = []

    def ring(number, frame):
        rung.append(number)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        assert one(impatient, boxed("9^{9^{9^{79}}}"), "5").outcome == "unscored"
        assert rung == [signal.SIGALRM]
        signal.alarm(3600)
        assert one(grader, boxed("z+1"), "1+z").score == 1.0
        assert signal.getsignal(signal.SIGALRM) is ring
        assert signal.alarm(0) > 0
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_numbers_inside_expressions_keep_to_the_tolerance():
    with Grader(num_workers=1, deadline=120.0, relative_tolerance=0.01) as grader:
        grades = grader.grade([boxed("1.41"), boxed("1.3")], [r"\sqrt{2}", r"\sqrt{2}"])
    assert [grade.score for grade in grades] == [1.0, 0.0]


def test_a_truth_is_checked_before_it_is_trained_on(grader):
    truths = ["B", 5, [2, 1, 3], r"\sqrt{3}", r"\boxed{7}", "the left image", r"(\pi, 2)"]
    assert grader.check_gold(truths) == [""] * len(truths)
    assert grader.check_gold(["2→1→3", "[1, 0, 2]", "(x+1, 2)"]) == [""] * 3
    problems = grader.check_gold([None, "", "+++", "0/0", r"\frac{1}{2", float("nan")])
    words = ["NoneType", "empty", "itself: bad_truth", "itself: bad_truth", "balance", "finite"]
    for problem, word in zip(problems, words, strict=True):
        assert word in problem


def test_a_row_that_cannot_be_graded_at_all_is_named(grader):
    with pytest.raises(TypeError, match=r"answers\[1\].*NoneType"):
        grader.grade(["a", "b"], ["5", None])
    with pytest.raises(TypeError, match=r"responses\[1\].*bytes"):
        grader.grade(["a", b"b"], ["5", "5"])
    with pytest.raises(ValueError, match="2 and 1"):
        grader.grade(["a", "b"], ["5"])
    with pytest.raises(ValueError, match="expected a list"):
        grader.grade("5", "5")


def test_no_rows_have_no_grades(grader):
    assert grader.grade([], []) == []
    assert count_grades([]) == {"scored": 0, "zero": 0, "unscored": 0}


def test_unscored_rows_are_masked_and_counted():
    grades = [
        Grade(1.0, "scored", "letter"),
        Grade(0.0, "scored", "number"),
        Grade(0.0, "zero", "no_box"),
        Grade(None, "unscored", "deadline"),
        Grade(None, "unscored", "deadline"),
    ]
    scores, mask = grade_arrays(grades)
    np.testing.assert_array_equal(scores, np.array([1, 0, 0, 0, 0], np.float32))
    np.testing.assert_array_equal(mask, [True, True, True, False, False])
    assert count_grades(grades) == {
        "scored": 2, "zero": 1, "unscored": 2, "scored/letter": 1, "scored/number": 1,
        "zero/no_box": 1, "unscored/deadline": 2,
    }  # fmt: skip


@pytest.mark.reliability("F23")
def test_errors_of_our_own_on_more_than_one_percent_of_the_rows_stop_the_run():
    good = [Grade(1.0, "scored", "letter")] * 297
    failed = Grade(None, "unscored", "failed", "TypeError: parse() has no argument")
    _stop_at_failures([*good, *[failed] * 3])
    with pytest.raises(GradingError, match=r"4 of 301 rows: TypeError: parse\(\)"):
        _stop_at_failures([*good, *[failed] * 4])


def test_a_closed_grader_says_so():
    grader = Grader(num_workers=1)
    grader.close()
    grader.close()
    with pytest.raises(GradingError, match="closed"):
        grader.grade([boxed("5")], ["5"])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_workers", 0),
        ("deadline", 0.0),
        ("deadline", float("nan")),
        ("memory_bytes", 1000),
        ("relative_tolerance", -0.1),
    ],
)
def test_a_setting_out_of_range_is_named(setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be at least"):
        Grader(**{setting: value})
