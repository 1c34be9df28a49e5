from perl_jax.evaluation.statistics import STATISTICS
from perl_jax.page import numbers
from perl_jax.page.run import read_run
from perl_jax.page.run_files import RunFiles
from tests.page.runs import write_run


def read(workdir):
    with RunFiles(str(workdir)) as files:
        return read_run(files)


def test_the_result_is_the_first_and_the_last_evaluation():
    rows = [
        {"step": 0, "eval/accuracy": 0.25, "eval/examples": 8.0},
        {"step": 1, "eval/accuracy": None},
        {"step": 2, "eval/accuracy": 0.75, "eval/examples": 8.0},
    ]

    class Run:
        metrics = rows

    assert numbers.result(Run) == [
        ("accuracy", "25.0 %", "75.0 %", "+50.0"),
        ("examples", "8", "8", "+0"),
    ]
    assert numbers.best(Run) == (2, "75.0 %")
    Run.metrics = rows[:1]
    assert numbers.result(Run)[0] == ("accuracy", "25.0 %", "25.0 %", "")


def test_every_statistic_is_a_column_of_every_evaluation(tmp_path):
    tables = numbers.evaluation_tables(read(write_run(tmp_path)))
    assert [table.step for table in tables] == [0, 2]
    assert len(numbers.HEADINGS) == len(STATISTICS)
    assert [name for name, _ in tables[1].rows] == ["all", "digits", "digits/match"]
    cells = dict(zip(STATISTICS, tables[1].rows[2][1], strict=True))
    # Two examples under two orders each; one answer of the second is wrong.
    assert cells["accuracy"] == "100.0 %"
    assert cells["accuracy_all_orders"] == "75.0 %"
    assert cells["order_consistency"] == "50.0 %"
    assert (cells["length"], cells["examples"]) == ("3", "2")


def test_of_many_evaluations_some_are_shown_in_detail():
    parts = [numbers.Part(step, []) for step in range(0, 1010, 10)]
    shown = [part.step for part in numbers.spread(parts)]
    assert (len(shown), shown[0], shown[-1]) == (20, 0, 1000)
    assert sorted(set(shown)) == shown
    assert numbers.spread(parts[:20]) == parts[:20]


def test_reasons_come_with_their_share_and_their_meaning():
    rows = [
        {"step": 1, "permutation/rate": 1.0, "permutation/kept/single_image": 0.5},
        {"step": 2, "permutation/rate": 1.0, "permutation/kept/mine": 0.25},
    ]
    assert numbers.refusals(rows) == [
        numbers.Reason("single_image", "25.0 %", "there is only one image, or none"),
        numbers.Reason("mine", "12.5 %", "the rule lets nothing move"),
    ]


def test_rows_left_out_are_those_of_the_last_step():
    rows = [{"step": 1, "skipped/a": 1.0}, {"step": 2, "skipped/a": 3.0, "skipped/b": 7.0}]
    found = [(one.code, one.amount) for one in numbers.left_out(rows, "skipped")]
    assert found == [("b", "7"), ("a", "3")]
    assert numbers.left_out(rows, "filtered") == []


def test_a_run_without_groups_has_no_chart_of_them():
    assert numbers.filter_charts([{"step": 1, "supervised/loss": 0.5}]) == []


def test_the_settings_are_those_of_the_run(tmp_path):
    main, everything = numbers.settings(read(write_run(tmp_path, steps=3)).config)
    found = dict(main)
    assert (found["steps"], found["rollout.groups"]) == ("3", "16")
    assert found["reward.weights"] == "accuracy 0.9, format 0.1"
    assert found["data.train.digits"].startswith("split train, rows 20000")
    assert dict(everything)["optimizer.learning_rate"] == "0.0002"
    assert dict(everything)["reward.weights.accuracy"] == "0.9"


def test_every_metric_has_its_meaning(tmp_path):
    found = {name: rest for name, *rest in numbers.metrics(read(write_run(tmp_path)))}
    assert found["skipped/bad_image"][:2] == ["2", "rows"]
    assert found["eval/accuracy"][2] == STATISTICS["accuracy"].meaning
