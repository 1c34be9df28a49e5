import json

import pytest

from perl_jax.page.run import read_run
from perl_jax.page.run_files import RunFiles
from tests.page.runs import RECORDS, write_run


def read(workdir):
    with RunFiles(str(workdir)) as files:
        return read_run(files)


def test_a_run_that_has_ended_is_read_whole(tmp_path):
    run = read(write_run(tmp_path / "mine"))
    assert (run.name, run.step, run.finished, run.seconds) == ("mine", 2, True, 61.5)
    assert run.config["steps"] == 2
    assert [row["step"] for row in run.metrics] == [0, 1, 2]
    assert list(run.evaluations) == [0, 2]
    assert run.evaluations[2].records == RECORDS
    assert run.evaluations[2].order_consistency == 0.5


def test_a_run_that_still_runs_or_was_extended_has_not_ended(tmp_path):
    assert not read(write_run(tmp_path / "a", ended=False)).finished
    write_run(tmp_path / "b")
    assert read(tmp_path / "b").finished
    write_run(tmp_path / "b", steps=4, resume_step=2, ended=False)
    run = read(tmp_path / "b")
    assert (run.step, run.finished) == (4, False)


def test_a_run_that_has_just_begun_is_read(tmp_path):
    write_run(tmp_path, steps=1, evaluations=(), ended=False)
    (tmp_path / "metrics.jsonl").unlink()
    run = read(tmp_path)
    assert (run.step, list(run.metrics), run.evaluations) == (0, [], {})


def test_evaluations_are_in_the_order_of_the_steps(tmp_path):
    run = read(write_run(tmp_path, steps=10, evaluations=(0, 2, 10)))
    assert list(run.evaluations) == [0, 2, 10]


def test_what_is_no_work_directory_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is not a directory"):
        read(tmp_path / "nothing")
    with pytest.raises(
        ValueError, match=r"expected the work directory of a run, which has a config"
    ):
        read(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    with pytest.raises(ValueError, match="perhaps that of a model"):
        read(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: expected JSON"):
        read(tmp_path)


def test_a_damaged_evaluation_is_named(tmp_path):
    write_run(tmp_path)
    with (tmp_path / "evaluations" / "step_2.jsonl").open("a") as file:
        file.write('{"id": "a"}\n')
    with pytest.raises(ValueError, match=r"evaluations/step_2\.jsonl, line 5: expected a record"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": "3"}, "tokens: expected int; got str '3'"),
        ({"source": ["digits"]}, r"source: expected str; got list"),
        (
            {"grade": {"score": {}, "outcome": "scored", "detail": ""}},
            "score: expected a finite number or None; got {}",
        ),
        ({"grade": {"score": 1.0, "outcome": "won", "detail": ""}}, "outcome: expected one of"),
    ],
)
def test_a_value_of_another_kind_in_an_evaluation_is_named(tmp_path, change, message):
    file = write_run(tmp_path) / "evaluations" / "step_2.jsonl"
    first, *others = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps(json.loads(first) | change), *others]))
    with pytest.raises(ValueError, match=r"evaluations/step_2\.jsonl, line 1: .*" + message):
        read(tmp_path)


def test_a_summary_or_a_configuration_without_its_numbers_is_named(tmp_path):
    write_run(tmp_path)
    (tmp_path / "summary.json").write_text('{"steps": 2, "seconds": "61"}')
    with pytest.raises(ValueError, match=r"summary\.json: seconds: expected a finite number"):
        read(tmp_path)
    (tmp_path / "summary.json").write_text('{"steps": 2}')
    with pytest.raises(ValueError, match=r"summary\.json: seconds: expected a finite number"):
        read(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"steps": None}))
    with pytest.raises(ValueError, match=r"config\.json: steps: expected a whole number; got None"):
        read(tmp_path)
