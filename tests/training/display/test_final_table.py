"""The table at the end of a run, and its best evaluation."""

from perl_jax.training.display.final_table import best_evaluation, final_table


def test_the_final_table_lines_up_before_after_and_change():
    before = {"accuracy": 0.4123, "truncated": 0.05, "examples": 200, "dropped": 1.0}
    after = {"accuracy": 0.7811, "truncated": 0.0, "examples": 212, "steps": 120}
    text = final_table(before, after)
    assert [line.split() for line in text.splitlines()] == [
        ["before", "after", "change"],
        ["accuracy", "0.412", "0.781", "+0.369"],
        ["truncated", "0.050", "0.000", "-0.050"],
        ["examples", "200", "212", "+12"],
        ["dropped", "1.000", "-", "-"],
        ["steps", "-", "120", "-"],
    ]
    assert len({len(line) for line in text.splitlines()}) == 1


def test_the_best_evaluation_is_the_first_of_the_highest_accuracy():
    rows = [
        {"step": 0, "eval/accuracy": 0.0},
        {"step": 1, "reward/mean": 1.0},
        {"step": 2, "eval/accuracy": 0.5},
        {"step": 4, "eval/accuracy": None},
        {"step": 6, "eval/accuracy": 0.5},
    ]
    assert best_evaluation(rows) == (2, 0.5)
    assert best_evaluation(rows[:1]) == (0, 0.0)
    assert best_evaluation(rows[1:2]) is None
