"""What a run wrote and reads again may hold anything: checkpoints, leases, logs, predictions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perl_jax.evaluation import comparison
from perl_jax.evaluation.answerer import read_responses
from perl_jax.evaluation.predictions import JsonLines, answers_of
from perl_jax.files import ResumableLog, read_object
from perl_jax.page import run as page_run
from perl_jax.page.groups import Group
from perl_jax.page.render import render
from perl_jax.page.run_files import RunFiles
from perl_jax.rollout.answering import read_questions
from perl_jax.training.checkpoint.lease import Owner
from perl_jax.training.checkpoint.record import CheckpointError, Leaf, StepRecord
from perl_jax.training.earlier import CONFIG, EarlierRun
from perl_jax.training.workdir import fingerprint_of_config
from tests.fuzz.fuzzing import JSON, changed, damaged, fuzz, outcome
from tests.page.runs import write_run

pytestmark = pytest.mark.fuzz

RECORD = StepRecord(
    3, 0.5, {"data": "x"}, [{"next": 1}], {"w": Leaf((2,), "float32", "0" * 16, None)}
).to_json()


def signed(content):
    """The content with the digest that belongs to it."""
    if not isinstance(content, dict):
        return content
    content = {name: value for name, value in content.items() if name != "sha256"}
    return {**content, "sha256": fingerprint_of_config(content)}


@fuzz(300)
@given(content=changed(RECORD), sign=st.booleans())
def test_any_record_of_a_step_is_one_or_refused(content, sign):
    given = signed(content) if sign else content
    found = outcome(lambda: StepRecord.from_json(given), ValueError, where="record")
    if found is not None:
        assert found.hosts
        as_written, as_given = (json.loads(json.dumps(one)) for one in (found.to_json(), given))
        assert as_written == as_given or sign


OWNER = vars(Owner.me("run"))


@fuzz(200)
@given(content=changed(OWNER).map(lambda value: json.dumps(value).encode())
       | damaged(json.dumps(OWNER).encode()) | st.just(b"[" * 20_000))  # fmt: skip
def test_any_lease_names_its_owner_or_is_damaged(content):
    owner = outcome(lambda: Owner.read(content))
    if owner is not None:
        assert str(owner)
        assert owner.is_dead() in (True, False)


def lines_of(value):
    """The bytes of a file of JSON lines, one of which is changed or damaged."""
    good = json.dumps(value).encode()
    bad = changed(value).map(lambda one: json.dumps(one).encode())
    line = bad | damaged(good) | st.just(b"[" * 20_000) | st.binary(max_size=20)
    return st.tuples(line, st.sampled_from([b"", b"\n"])).map(
        lambda parts: b"\n".join([good, parts[0]]) + parts[1]
    )


SAMPLE = {"response": "r", "prediction": "A", "score": 1.0}
PREDICTION = {
    "id": "1", "task": "t", **SAMPLE, "samples": [SAMPLE, SAMPLE],
    "orders": [{"order": [0, 1], **SAMPLE}, {"order": [1, 0], **SAMPLE}], "again": SAMPLE,
}  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("records") / "predictions.jsonl"


@fuzz(150)
@given(content=lines_of(PREDICTION))
def test_any_predictions_are_read_or_their_line_named(path, content):
    path.write_bytes(content)
    for row in outcome(lambda: JsonLines(path).read(), ValueError, where=path.name) or []:
        documented = (TypeError, KeyError, AttributeError)
        answers = outcome(lambda row=row: answers_of(row), *documented)
        assert answers is None or all(isinstance(r, tuple) for r in answers.responses)


@fuzz(150)
@given(content=lines_of(PREDICTION))
def test_any_predictions_are_compared_or_their_line_named(path, content):
    path.write_bytes(content)
    outcome(lambda: comparison._read(path), ValueError, where=path.name)


@fuzz(150)
@given(content=lines_of({"id": "2", "response": "r"}))
def test_any_responses_of_another_system_are_read_or_their_line_named(path, content):
    path.write_bytes(content)
    outcome(lambda: read_responses(path), ValueError, where=path.name)


@fuzz(100)
@given(content=lines_of({"id": "2", "prompt": "p", "images": ["a.png"]}))
def test_any_questions_are_read_or_their_line_named(path, content):
    path.write_bytes(content)
    outcome(lambda: read_questions(path), ValueError, where=path.name)


@fuzz(100)
@given(content=lines_of({"step": 1, "loss": 0.5}))
def test_a_log_gives_its_sound_rows_whatever_else_it_holds(path, content):
    path.write_bytes(content)
    log = ResumableLog(path, "step")
    assert {"step": 1, "loss": 0.5} in outcome(lambda: list(log.rows()))
    outcome(lambda: log.add(2, {"loss": 0.1}))
    assert [row["step"] for row in log.rows()][-1] == 2


@fuzz(100)
@given(content=damaged(b'{"steps": 3}') | JSON.map(lambda value: json.dumps(value).encode())
       | st.just(b"[" * 20_000))  # fmt: skip
def test_any_summary_is_an_object_or_named(path, content):
    path.write_bytes(content)
    found = outcome(lambda: read_object(path), ValueError, where=path.name)
    assert found is None or isinstance(found, dict)


RUN = {"steps": 3, "checkpoint": {"directory": None, "every": 5}, "logging": {}}


@fuzz(100)
@given(content=changed(RUN))
def test_any_configuration_of_an_earlier_run_is_read_or_named(path, content):
    (path.parent / CONFIG).write_text(json.dumps(content))
    outcome(lambda: EarlierRun.of(path.parent), ValueError, CheckpointError, where=CONFIG)


GRADE = {"score": 1.0, "outcome": "scored", "detail": "exact", "message": ""}
EVALUATED = {
    "id": "1", "source": "s", "kind": None, "order": [0, 1], "rollout": 0, "response": "r",
    "answer": "A", "prediction": "A", "grade": GRADE, "consistent": True, "tokens": 3,
    "truncated": False, "flips": 0.0, "slot": 0, "true_slot": 0,
}  # fmt: skip


@fuzz(150)
@given(line=changed(EVALUATED).map(lambda value: json.dumps(value).encode())
       | damaged(json.dumps(EVALUATED).encode()) | st.just(b"[" * 20_000))  # fmt: skip
def test_any_record_of_an_evaluation_is_shown_or_its_line_named(line):
    where = "step_1.jsonl, line 1"
    outcome(lambda: page_run._record(line, where), ValueError, where=where)


LOGGED = {
    "step": 1, "group": 0, "id": "1", "source": "s", "outcome": "kept", "unpermuted": None,
    "images": ["d"], "orders": [[0]], "questions": ["q"], "truths": ["A"], "responses": [["r"]],
    "lengths": [[3]], "stopped": [[True]], "accuracy": [[1.0]], "rewards": {"accuracy": [[1.0]]},
    "reward": [[1.0]], "advantages": [[0.0]],
}  # fmt: skip


@fuzz(150)
@given(row=changed(LOGGED).filter(lambda value: isinstance(value, dict)))
def test_any_group_of_a_log_is_shown_or_its_file_named(row):
    group = outcome(lambda: Group.of(row, "rollouts.jsonl"), ValueError, where="rollouts.jsonl")
    if group is not None:
        outcome(lambda: (group.permuted, group.flips))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run, and its files: each the lines of JSON that it holds."""
    place = write_run(tmp_path_factory.mktemp("runs") / "run")
    files = {file: file.read_bytes().splitlines() for file in place.rglob("*.json*")}
    return place, {file: list(map(json.loads, files[file])) for file in sorted(files)}


@fuzz(60)
@given(data=st.data())
def test_a_page_of_any_run_is_written_or_its_file_named(workdir, data):
    place, files = workdir
    file = data.draw(st.sampled_from(list(files)))
    rows = data.draw(changed(files[file]).filter(lambda rows: isinstance(rows, list)))
    before = file.read_text()
    file.write_text("\n".join(map(json.dumps, rows)))
    try:
        with RunFiles(str(place)) as read:
            outcome(lambda: render(read, 200), ValueError, where=file.name)
    finally:
        file.write_text(before)
