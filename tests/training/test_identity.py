"""What a run may change while it goes on, and how the rest is refused."""

import json
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest

from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.parts import tied_to_steps
from perl_jax.settings import plain, read_config
from perl_jax.training.checkpoint import FingerprintError
from perl_jax.training.identity import FREE, Identity, check_names
from tests.test_runs import settings, warmstart_settings

PLACE = "/runs/a/checkpoints/2"
CONTENTS = {"data": "d" * 64, "model": "m" * 64, "code": "c" * 64}


def identity(given=None, contents=(), kind=TrainConfig, origin="org/name", **changes):
    config = read_config(kind, given or settings(**changes))
    name = "train" if kind is TrainConfig else "warmstart"
    return Identity(name, config, {**CONTENTS, **dict(contents)}, origin, tied_to_steps(config))


def compare(saved, now, *allow):
    """Compares as a checkpoint's record is: after a trip through JSON."""
    return now.compare(PLACE, json.loads(json.dumps(saved.record(), allow_nan=False)), allow)


def refusal(saved, now, *allow):
    with pytest.raises(FingerprintError) as caught:
        compare(saved, now, *allow)
    return str(caught.value)


def changed(path, value, given=None):
    """The settings with another value in one field, which need not be in them."""
    given = json.loads(json.dumps(given or settings()))
    *sections, name = path.split(".")
    inner = reduce(lambda at, section: at.setdefault(section, {}), sections, given)
    inner[name] = value
    return given


def test_the_same_run_has_no_differences():
    assert compare(identity(), identity()) == []
    warm = [identity(warmstart_settings(), kind=WarmstartConfig) for _ in range(2)]
    assert compare(*warm) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("steps", 4),
        ("evaluation.every", 7),
        ("early_stop.patience", 3),
        ("checkpoint.directory", "gs://bucket/a"),
        ("logging.every", 5),
        ("export", False),
        ("hosts.deadline", 60.0),
        ("data.held_out", None),
        ("data.held_out", {"jsonl": {"paths": ["mine.jsonl"]}}),
        ("data.pipeline.max_bad_fraction", 0.5),
        ("data.pipeline.workers", 2),
        ("permutation.unknown", "keep"),
        ("permutation.rules", {"mine": {"movable": "all"}}),
        ("optimizer.max_skipped", 9),
        ("learner.max_logprob_gap", 0.5),
        ("mesh", {"data": 2}),
        ("reward.workers", 2),
        # Ladders: another rung, padded otherwise.
        ("learner.packing.prompt_lengths", [80, 96]),
        ("rollout.sampler.rows", 8),
        ("model.path", "/elsewhere"),
    ],
)
def test_what_only_says_how_far_how_closely_and_where_may_change(path, value):
    lines = compare(identity(), identity(changed(path, value)))
    assert all(line.startswith(f"{path}") for line in lines)
    # Only the model's place is not worth a line.
    assert lines or path == "model.path"


def test_every_free_name_is_a_field_and_stands_in_the_documents():
    known = set(paths_of(plain(identity().config)))
    assert [name for name in FREE if name not in known] == []
    page = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
    assert [name for name in FREE if f"`{name}`" not in page] == []


def paths_of(value, prefix=""):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield prefix + name
            yield from paths_of(inner, f"{prefix}{name}.")


@pytest.mark.reliability("F13")
@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("seed", 1, "seed: saved as 0, now 1"),
        ("optimizer.learning_rate", 2e-3, "optimizer.learning_rate: saved as 0.001, now 0.002"),
        ("permutation.num_orders", 2, "permutation.num_orders: saved as 1, now 2"),
        ("model.max_pixels", 1000, "model.max_pixels: saved as null, now 1000"),
        ("learner.frozen", ["a.*"], 'learner.frozen: saved as [], now ["a.*"]'),
        ("objective.clip_high", 0.5, "objective.clip_high: saved as 0.2, now 0.5"),
        (
            "reward.weights",
            {"accuracy": 0.9, "format": 0.1, "length": 0.5},
            "reward.weights.length: saved as nothing, now 0.5",
        ),
    ],
)
def test_everything_else_is_refused_with_both_values_and_the_flag(path, value, line):
    before = identity(changed("objective.clip_high", 0.2))
    now = identity(changed(path, value, changed("objective.clip_high", 0.2)))
    name = line.split(":")[0]
    said = refusal(before, now)
    assert said.splitlines()[:2] == [f"{PLACE} belongs to a run with other settings:", f"  {line}"]
    (flag,) = [word for word in said.split() if word.startswith("--allow_changes=")]
    # What the flag says is enough, and so is its section.
    for given in (flag.removeprefix("--allow_changes=").rstrip("."), name.split(".")[0]):
        check_names(now.config, [given])
        assert compare(before, now, given) == [line]
    assert refusal(before, now, "data")


def test_all_refused_changes_are_named_at_once_and_allowed_ones_are_not():
    given = changed("seed", 3, changed("optimizer.b1", 0.5, changed("evaluation.every", 9)))
    now = identity(changed("rollout.groups", 4, given))
    said = refusal(identity(), now, "rollout.groups")
    assert "  seed: saved as 0, now 3\n  optimizer.b1: saved as 0.9, now 0.5\nTo go on" in said
    assert "add --allow_changes=rollout.groups,seed,optimizer.b1." in said
    assert "evaluation" not in said


# Steps and schedules.


@pytest.mark.parametrize(
    ("change", "tied"),
    [
        ({"optimizer": {"schedule": "cosine"}}, "optimizer.schedule=cosine"),
        ({"permutation": {}}, "permutation.schedule.kind=linear"),
        (
            {"permutation": {"schedule": {"kind": "constant", "warmup": 0.5}}},
            "permutation.schedule.warmup=0.5",
        ),
    ],
)
def test_a_run_whose_schedule_depends_on_its_steps_is_extended_by_a_flag_alone(change, tied):
    before, now = (identity(settings(steps=steps, **change)) for steps in (2, 4))
    said = refusal(before, now)
    assert f"steps: saved as 2, now 4 ({tied} depends on it)\n" in said
    assert "--allow_changes=steps." in said
    assert len(compare(before, now, "steps")) == 1


def test_steps_are_free_where_nothing_depends_on_them():
    assert tied_to_steps(read_config(TrainConfig, settings(permutation={"num_orders": 0}))) == ()
    given = warmstart_settings(permutation={"schedule": {"kind": "linear"}})
    assert tied_to_steps(read_config(WarmstartConfig, given)) == ()
    (line,) = compare(identity(), identity(steps=9))
    assert line == "steps: saved as 2, now 9"


# Fields that one side lacks.


def test_a_field_that_the_checkpoint_lacks_had_its_default():
    saved = identity().record()
    del saved["config"]["seed"], saved["config"]["optimizer"]["b1"], saved["config"]["filtering"]
    assert identity().compare(PLACE, saved, ()) == []
    now = identity(changed("optimizer.b1", 0.5))
    with pytest.raises(FingerprintError, match=r"optimizer\.b1: saved as 0\.9, now 0\.5"):
        now.compare(PLACE, saved, ())


def test_a_field_that_is_gone_is_allowed_by_its_section():
    saved = identity().record()
    saved["config"]["optimizer"]["gone"] = 1
    saved["config"]["lost"] = 2
    with pytest.raises(FingerprintError) as caught:
        identity().compare(PLACE, saved, ())
    assert "  optimizer.gone: saved as 1, now nothing\n  lost: saved as 2, now" in str(caught.value)
    assert "--allow_changes=optimizer,code." in str(caught.value)
    assert len(identity().compare(PLACE, saved, ("optimizer", "code"))) == 2


def test_infinity_is_stored_and_compared():
    infinite = identity(changed("objective.clip_high", float("inf")))
    assert compare(infinite, infinite) == []
    assert "objective.clip_high: saved as inf, now 0.2" in refusal(
        infinite, identity(changed("objective.clip_high", 0.2))
    )


# Rules.


def test_a_rule_that_is_changed_removed_or_takes_the_place_of_a_shipped_one_is_refused():
    rules = [{"mine": {"movable": "all"}}, {"mine": {"movable": "none"}}, {}]
    first, second, none = (identity(changed("permutation.rules", one)) for one in rules)
    assert "permutation.rules.mine.movable: saved as all, now none" in refusal(first, second)
    removed = 'permutation.rules.mine: saved as {"movable": "all"}, now nothing'
    assert removed in refusal(first, none)
    shipped = identity(changed("permutation.rules", {"Digits": {"movable": "all"}}))
    assert "permutation.rules.Digits: saved as nothing" in refusal(none, shipped)
    assert len(compare(none, first)) == 1


# Contents.


def test_another_model_is_refused_although_its_path_is_the_same():
    now = identity(contents={"model": "n" * 64}, origin="org/name at revision abc")
    said = refusal(identity(), now)
    assert (
        "model: saved as mmmmmmmmmmmm from org/name, "
        "now nnnnnnnnnnnn from org/name at revision abc (digests of the files)\n" in said
    )
    assert "--allow_changes=model." in said
    assert len(compare(identity(), now, "model")) == 1


@pytest.mark.reliability("F13")
def test_other_rows_under_the_same_settings_are_refused_as_data():
    now = identity(contents={"data": "e" * 64})
    said = refusal(identity(), now)
    assert "data: saved as dddddddddddd, now eeeeeeeeeeee (digests of the rows)" in said
    for name in ("data", "data.train"):
        assert len(compare(identity(), now, name)) == 1


def test_a_source_that_is_added_to_a_mixture_is_one_change_of_data_train():
    parts = [{"source": {"digits": {"rows": rows}}} for rows in (64, 32)]
    before = identity(changed("data.train", {"mixture": parts[:1]}))
    given = changed("data.train", {"mixture": parts})
    now = identity(
        changed("permutation.rules", {"mine": {"movable": "all"}}, given), {"data": "e" * 64}
    )
    said = refusal(before, now)
    (line,) = [line for line in said.splitlines() if line.startswith("  ")]
    assert line.startswith('  data.train.mixture[1]: saved as nothing, now {"source":')
    assert "--allow_changes=data.train. To keep" in said
    assert len(compare(before, now, "data.train")) == 2


def test_repaired_code_is_reported_and_goes_on():
    (line,) = compare(identity(), identity(contents={"code": "k" * 64}))
    assert line.startswith("code: saved as cccccccccccc, now kkkkkkkkkkkk")


def test_a_run_of_the_other_command_is_refused():
    warm = identity(warmstart_settings(), kind=WarmstartConfig)
    said = refusal(identity(), warm, "code", "data", "model")
    assert "was saved by `train`, and this is `warmstart`" in said


def test_a_checkpoint_without_settings_is_named_as_old():
    with pytest.raises(FingerprintError, match="did not record settings; --init_from=WORKDIR"):
        identity().compare(PLACE, {"config": "abc", "data": "d"}, ())


# Names and hosts.


def test_a_name_that_is_no_field_is_an_error_with_a_suggestion():
    config = identity().config
    check_names(config, ["seed", "optimizer", "data.train", "model", "code", "optimizer.b1"])
    message = r"--allow_changes: .*got 'optimizer\.learning_rat' \(did you mean 'optimizer\.lear"
    with pytest.raises(ValueError, match=message):
        check_names(config, ["optimizer.learning_rat"])


def test_hosts_may_differ_in_what_is_their_own_only():
    one = identity().fixed()
    for path, value in (("data.pipeline.workers", 2), ("logging.every", 3), ("mesh", {"data": 2})):
        assert identity(changed(path, value)).fixed() == one
    for path, value in (("evaluation.every", 7), ("seed", 1), ("learner.packing.images", [8])):
        assert identity(changed(path, value)).fixed() != one
    assert replace(identity(), kind="warmstart").fixed() != one


def test_an_objective_is_known_by_its_fields_not_by_the_name_of_its_preset():
    fields = {"preset": "dapo", "clip_high": 0.2}
    saved, now = identity(settings(objective=fields)), identity(settings(objective={
        "preset": "grpo", "aggregation": "token_mean", "kl_coefficient": 0.0,
    }))  # fmt: skip
    assert compare(saved, now) == ["objective.preset: saved as dapo, now grpo"]
    other = identity(settings(objective={"preset": "dapo"}))
    assert "objective.clip_high: saved as 0.2, now 0.28" in refusal(saved, other)
