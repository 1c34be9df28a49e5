import pytest

from perl_jax.page.groups import Group, read_groups
from perl_jax.page.run_files import RunFiles
from tests.page.runs import write_run
from tests.training.display.rows import row


def groups_of(workdir):
    with RunFiles(str(workdir)) as files:
        return list(read_groups(files))


def group(**changes):
    return Group.of({"step": 1, **row(**changes)}, "log")


def test_every_format_of_the_log_gives_the_same_groups(tmp_path):
    rows = {1: [row(0), row(1, source="other")], 2: [row(0)]}
    read = [
        groups_of(write_run(tmp_path / name, rows, format=name))
        for name in ("jsonl", "jsonl.gz", "parquet")
    ]
    assert [(one.step, one.group, one.source) for one in read[0]] == [
        (1, 0, "digits"), (1, 1, "other"), (2, 0, "digits"),
    ]  # fmt: skip
    assert read[0][0].responses == row()["responses"]
    for other in read[1:]:
        for one, same in zip(read[0], other, strict=True):
            assert one.responses == same.responses
            assert one.mean_reward == pytest.approx(same.mean_reward)


def test_a_run_that_changed_its_format_keeps_the_groups_of_both(tmp_path):
    rows = {step: [row()] for step in (1, 2, 3, 10)}
    write_run(tmp_path, rows, steps=2)
    write_run(tmp_path, rows, steps=10, format="jsonl.gz", resume_step=2)
    assert [one.step for one in groups_of(tmp_path)] == [1, 2, 3, 10]


def test_a_line_that_is_still_written_is_no_group_yet(tmp_path):
    write_run(tmp_path)
    with (tmp_path / "rollouts.jsonl").open("a") as file:
        file.write('{"step": 3, "group": 0, "id": "tr')
    assert [one.step for one in groups_of(tmp_path)] == [1, 2]


def test_answers_flip_if_most_are_right_under_one_order_and_not_under_another():
    right, wrong, half = [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]
    cases = [
        ([right, wrong], True), ([right, right], False), ([wrong, wrong], False),
        # Half is not most.
        ([half, right], True), ([half, wrong], False),
        # Without a grade nothing is known of an order.
        ([right, [None, None]], False), ([right, [None, 0.0]], True),
    ]  # fmt: skip
    for accuracy, flips in cases:
        assert group(accuracy=accuracy).flips == flips, accuracy


def test_an_example_that_keeps_its_order_flips_nothing():
    same = group(orders=[[0, 1], [0, 1]], accuracy=[[1.0, 1.0], [0.0, 0.0]])
    assert not same.permuted
    assert not same.flips


def test_the_mean_reward_is_over_the_responses_that_have_one():
    assert group(reward=[[0.9, 0.0], [0.9, None]]).mean_reward == pytest.approx(0.6)
    assert group(reward=[[None, None], [None, None]]).mean_reward is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truths": ["A"]}, "log, step 1, group 0: expected 2 truths, one for each order"),
        ({"lengths": [[2], [2, 1]]}, "expected lengths of each response"),
        ({"rewards": {"mine": [[1.0, 1.0]]}}, r"expected rewards\.mine of each response"),
        ({"orders": [[0, 1], [0, 2]]}, r"expected orders of 2 images; got \[0, 2\]"),
    ],
)
def test_a_row_that_does_not_fit_itself_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        group(**changes)


def test_a_row_without_a_field_and_a_damaged_file_are_named(tmp_path):
    lacking = {name: value for name, value in row().items() if name != "truths"}
    write_run(tmp_path / "a", {1: [lacking]})
    with pytest.raises(ValueError, match=r"rollouts\.jsonl, step 1, group 0: .* truths is missing"):
        groups_of(tmp_path / "a")
    write_run(tmp_path / "b", format="jsonl.gz")
    file = tmp_path / "b" / "rollouts" / "step_2.jsonl.gz"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"rollouts/step_2\.jsonl\.gz: expected compressed lines"):
        groups_of(tmp_path / "b")
    write_run(tmp_path / "c", format="parquet")
    (tmp_path / "c" / "rollouts" / "step_1.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"rollouts/step_1\.parquet: expected a parquet file"):
        groups_of(tmp_path / "c")
