"""Every fault that shows before the weights are read is found, and all are named at once."""

import contextlib
import json
import logging
import shutil
from types import SimpleNamespace

import pytest
from etils import epath
from PIL import Image

from perl_jax import hosts, readiness, runs
from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.models import opening
from perl_jax.parts import fit_ladders, open_rows
from perl_jax.readiness import Finding, NotReadyError, check_ready, findings
from perl_jax.rewards import Grader, RewardConfig
from perl_jax.rewards.functions import Fault
from perl_jax.settings import read_config
from perl_jax.types import Example
from tests.update.real_runs import POLICY

FUNCTIONS = """
def zero(responses, answers, metadata): return [0.0] * len(responses)
def wants_a_column(responses, answers, metadata): return [row["weight"] for row in metadata]
def misspelt(responses, question): return [0.0]
def wrong_number(responses): return []
def shown(responses, questions, ids, orders, groups):
    raise ValueError(f"{len(responses)} {len(questions[0]) > 9} {bool(ids[0])} {orders} {groups}")
"""


@pytest.fixture
def own_rewards(tmp_path, monkeypatch):
    """A module of the user, which only the process of the functions imports."""
    (tmp_path / "own_rewards.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture(scope="module")
def grader():
    with Grader(num_workers=1) as grader:
        yield grader


def settings(**changes):
    return {
        "model": {"path": str(POLICY), "compute_dtype": "float32"},
        "data": {
            "train": {"digits": {"rows": 64}},
            "held_out": {"digits": {"split": "held_out", "rows": 4}},
            "max_prompt_tokens": 80,
        },
        "steps": 2,
        "rollout": {"groups": 4, "max_new_tokens": 48},
        "evaluation": {"examples": 4, "num_orders": 1},
        **changes,
    }


def found(grader, directory, kind=TrainConfig, **changes):
    config = read_config(kind, settings(**changes))
    rows = open_rows(config)
    reward = getattr(config, "reward", runs.RewardConfig())
    fitted = fit_ladders(config, rows)
    return findings(fitted, rows, reward, grader, epath.Path(directory) / "checkpoints")


def only(faults):
    (fault,) = faults
    return fault


def rows_file(folder, *rows):
    """A JSONL file of rows with two images each, in our own layout by columns."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (28, 28), (len(name), 80, 80)).save(folder / name)
    file = folder / "rows.jsonl"
    whole = [
        {"q": "<image><image> The first image shows the digit.\nA. True\nB. False", **row}
        for row in rows
    ]
    file.write_text("".join(json.dumps({"images": ["a.png", "b.png"], **r}) + "\n" for r in whole))
    columns = {"question": "q", "answer": "answer", "images": ("images",), "source": "source"}
    return {
        "jsonl": {"paths": (str(file),), "columns": columns, "image_root": str(folder)},
    }


def data(train, **more):
    return {"train": train, "max_prompt_tokens": 400, **more}


def test_a_good_run_has_no_fault(grader, tmp_path):
    assert found(grader, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.reliability("50")
def test_prompts_and_responses_longer_than_the_models_context_are_faults(grader, tmp_path):
    model = shutil.copytree(POLICY, tmp_path / "model")
    file = model / "config.json"
    content = json.loads(file.read_text())

    def of_context(most, **changes):
        file.write_text(json.dumps({**content, "max_position_embeddings": most}))
        given = {"path": str(model), "compute_dtype": "float32"}
        return found(grader, tmp_path, model=given, **changes)

    evaluation = {"examples": 4, "num_orders": 1, "max_new_tokens": 40}
    assert of_context(80 + 48, evaluation=evaluation) == []
    fault = only(of_context(80 + 47, evaluation=evaluation))
    assert fault.field == "rollout.max_new_tokens"
    assert "expected at most 47 beside data.max_prompt_tokens of 80" in fault.message
    assert "max_position_embeddings 127; got 48" in fault.message
    both = of_context(80 + 39, evaluation=evaluation)
    assert [one.field for one in both] == ["rollout.max_new_tokens", "evaluation.max_new_tokens"]


def test_a_context_length_of_a_text_section_counts(grader, tmp_path):
    model = shutil.copytree(POLICY, tmp_path / "model")
    file = model / "config.json"
    content = json.loads(file.read_text())
    section = {**content.get("text_config", {}), "max_position_embeddings": 100}
    read = readiness.read_json

    def with_section(path):
        return {**read(path), "text_config": section}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readiness, "read_json", with_section)
        faults = found(grader, tmp_path)
    assert {one.field for one in faults} >= {"rollout.max_new_tokens"}


@pytest.mark.reliability("24")
def test_a_source_without_a_rule_is_named_with_a_row(grader, tmp_path):
    train = rows_file(tmp_path, {"answer": "A", "source": "digits2"})
    fault = only(found(grader, tmp_path, data=data(train)))
    assert fault.field == "data.train"
    assert "no permutation rule for the multi-image source 'digits2'" in fault.message
    assert "did you mean 'digits'" in fault.message
    assert "rows.jsonl" in fault.message
    assert fault.ends


def test_a_source_without_a_rule_may_be_kept_in_order(grader, tmp_path):
    train = rows_file(tmp_path, {"answer": "A", "source": "digits2"})
    assert found(grader, tmp_path, data=data(train), permutation={"unknown": "keep"}) == []
    rules = {"digits2": {"movable": "all"}}
    assert found(grader, tmp_path, data=data(train), permutation={"rules": rules}) == []


def test_held_out_sources_need_rules_only_for_other_orders(grader, tmp_path):
    held_out = rows_file(tmp_path, {"answer": "A", "source": "digits2"})
    given = data({"digits": {"rows": 64}}, held_out=held_out)
    assert only(found(grader, tmp_path, data=given)).field == "data.held_out"
    assert found(grader, tmp_path, data=given, evaluation={"num_orders": 0}) == []


def test_all_values_of_a_parquet_source_column_are_looked_at(grader, tmp_path):
    """Not only the rows of the sample: the strange source is one row of a thousand."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows_file(tmp_path, {"answer": "A"})
    table = pa.table(
        {
            "q": ["<image><image> The first image shows it.\nA. True\nB. False"] * 3000,
            "answer": ["A"] * 3000,
            "images": [["a.png", "b.png"]] * 3000,
            "source": ["digits3" if n == 1777 else "Mantis-Eval" for n in range(3000)],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=64)
    columns = {"question": "q", "answer": "answer", "images": ("images",), "source": "source"}
    train = {
        "parquet": {
            "paths": (str(tmp_path / "rows.parquet"),),
            "columns": columns,
            "image_root": str(tmp_path),
        }
    }
    fault = only(found(grader, tmp_path, data=data(train)))
    assert "'digits3'" in fault.message
    assert "rows.parquet:1777" in fault.message


@pytest.mark.reliability("54", "F22")
@pytest.mark.usefixtures("own_rewards")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own_rewards:zeros", "no function 'zeros' (did you mean 'zero'?)"),
        ("own_no_rewards:zero", "cannot import own_no_rewards"),
        ("own_rewards:wants_a_column", "own_rewards:wants_a_column: raised KeyError('weight')"),
        ("own_rewards:misspelt", "got 'question' (did you mean 'questions'?)"),
        ("own_rewards:wrong_number", "expected 1 numbers; got 0"),
        ("own_rewards:shown", "1 True True [(0, 1, 2, 3)] [0]"),
    ],
)
def test_reward_functions_are_called_once_with_a_row(grader, tmp_path, path, message):
    reward = {"functions": {"mine": path}, "weights": {"mine": 1.0}}
    fault = only(found(grader, tmp_path / "run", reward=reward))
    assert fault.field == "reward.functions.mine"
    assert message in fault.message


def test_functions_are_called_in_the_process_that_the_run_then_uses(monkeypatch):
    class Scripted:
        def __init__(self):
            self.paths = {"one": "my:one", "two": "my:two"}
            self.asked = []

        def problems(self):
            return {}

        def call(self, name, columns):
            self.asked.append(name)
            return None, [Fault("raised", f"raised {name}")] if name == "two" else []

    functions = Scripted()
    others = (
        *("_row_faults", "_rule_faults", "_ladder_faults", "_schedule_faults", "_truth_faults"),
        "_context_faults",
    )
    for name in others:
        monkeypatch.setattr(f"perl_jax.readiness.{name}", lambda *_: [])
    rows = SimpleNamespace(surveyed=[SimpleNamespace(example=Example("p", "s", "q", (), "A"))])
    (fault,) = findings(None, rows, RewardConfig(), None, None, functions)
    assert str(fault) == "reward.functions.two: my:two: raised two"
    assert functions.asked == ["one", "two"]


@pytest.mark.reliability("11")
def test_truths_that_match_nothing_are_told_with_file_row_and_id(grader, tmp_path):
    bad = {"answer": "\\frac{a}{0}+\\sqrt{}", "source": "Mantis-Eval"}
    good = [{"answer": "A", "source": "Mantis-Eval"}] * 9
    train = rows_file(tmp_path, *good, bad)
    fault = only(found(grader, tmp_path, data=data(train, pipeline={"max_bad_fraction": 0.0})))
    assert fault.field == "data.train"
    assert "1 of 10 rows looked at have others (10.0%)" in fault.message
    assert "rows.jsonl:10 (id " in fault.message
    assert fault.ends
    allowed = only(found(grader, tmp_path, data=data(train, pipeline={"max_bad_fraction": 0.1})))
    assert not allowed.ends


@pytest.mark.parametrize(
    ("section", "ladder", "rungs"),
    [
        ("packing", "patches", (32,)),
        ("packing", "images", (3,)),
        ("packing", "orders", (4,)),
        ("sampler", "patches", (2,)),
    ],
)
def test_ladders_that_do_not_hold_a_row_are_named(grader, tmp_path, section, ladder, rungs):
    changes = {
        "packing": {"learner": {"packing": {"micro_groups": 4, ladder: rungs}}},
        "sampler": {"rollout": {"groups": 4, "max_new_tokens": 48, "sampler": {ladder: rungs}}},
    }[section]
    fault = only(found(grader, tmp_path, **changes))
    assert fault.field.endswith(f"{section}.{ladder}")
    assert f"the largest is {rungs[-1]}" in fault.message


def test_held_out_rows_must_be_usable(grader, tmp_path):
    long = rows_file(tmp_path, {"answer": "A", "source": "Mantis-Eval", "q": "word " * 900})
    given = data({"digits": {"rows": 64}}, held_out=long)
    fault = only(found(grader, tmp_path, data=given))
    assert str(fault) == "data.held_out: expected at least one row that can be used; got none"


def test_training_rows_must_be_usable(grader, tmp_path):
    long = rows_file(tmp_path, {"answer": "A", "source": "Mantis-Eval", "q": "word " * 900})
    fault = only(found(grader, tmp_path, data=data(long)))
    assert fault.field == "data.train"
    assert "perl-jax lint" in fault.message


def test_the_warm_up_must_end_before_the_run(grader, tmp_path):
    fault = only(found(grader, tmp_path, optimizer={"warmup_updates": 2}))
    assert fault.field == "optimizer.warmup_updates"
    assert fault.message == "expected fewer than the run's 2 updates; got 2"
    more = {"learner": {"updates_per_batch": 2}, "optimizer": {"warmup_updates": 3}}
    assert found(grader, tmp_path, **more) == []


def test_checkpoints_must_have_a_place(grader, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    fault = only(found(grader, file))
    assert fault.field == "checkpoint.directory"
    assert str(file) in fault.message


def test_supervised_training_grades_and_permutes_nothing(grader, tmp_path):
    train = rows_file(tmp_path, {"answer": "\\frac{a}{0}+\\sqrt{}", "source": "unheard of"})
    changes = {"rollout": {}, "data": data(train), "kind": WarmstartConfig}
    assert found(grader, tmp_path, **changes) == []


def ready(monkeypatch, faults, others=()):
    monkeypatch.setattr("perl_jax.readiness.findings", lambda *_: faults)
    told = [[[one.field, one.message, one.ends] for one in host] for host in others]
    monkeypatch.setattr(hosts, "gather", lambda value, what: [value, *told])
    check_ready(None, None, None, None, None)


def test_all_faults_are_named_in_one_error(monkeypatch):
    with pytest.raises(NotReadyError) as error:
        ready(monkeypatch, [Finding("a", "one"), Finding("b", "two")])
    assert str(error.value) == "this run has 2 faults:\n  a: one\n  b: two"


def test_a_fault_of_another_host_ends_this_one_too(monkeypatch):
    with pytest.raises(NotReadyError, match=r"^b: theirs$"):
        ready(monkeypatch, [], others=[[Finding("b", "theirs")]])


def test_a_warning_ends_nothing(monkeypatch, caplog):
    with caplog.at_level(logging.WARNING, "perl_jax.readiness"):
        ready(monkeypatch, [Finding("a", "seldom", ends=False)])
    assert "a: seldom" in caplog.text


def test_a_run_finds_its_faults_before_it_reads_weights(tmp_path, monkeypatch):
    def read(*arguments, **settings):
        raise AssertionError("the weights were read")

    monkeypatch.setattr(opening, "load_model", read)
    reward = {"functions": {"mine": "own_no_rewards:none"}, "weights": {"mine": 1.0}}
    packing = {"packing": {"micro_groups": 4, "patches": (32,)}}
    config = read_config(TrainConfig, settings(reward=reward, learner=packing))
    with pytest.raises(NotReadyError, match="2 faults") as error:
        runs.train(config, tmp_path / "run")
    assert "reward.functions.mine" in str(error.value)
    assert "learner.packing.patches" in str(error.value)
    with contextlib.suppress(FileNotFoundError):
        assert not (tmp_path / "run" / "metrics.jsonl").exists()
