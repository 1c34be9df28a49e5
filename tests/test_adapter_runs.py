"""A whole run of adapters, killed once and gone on with, and what commands make of it.

The other family's policy is killed and goes on in the same way.
"""

import json
import re
import shutil
import time
import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from perl_jax import runs
from perl_jax.config import TrainConfig
from perl_jax.evaluate import main as evaluate_main
from perl_jax.evaluation.sets.table import BENCHMARKS
from perl_jax.export import main as export_main
from perl_jax.generate import main as generate_main
from perl_jax.models import load_model, save_model
from perl_jax.models.adapter_files import CONFIG, WEIGHTS, with_adapter
from perl_jax.processing import load_processor
from perl_jax.settings import read_config
from perl_jax.train import main as train_main
from perl_jax.training.checkpoint.lease import LEASE
from perl_jax.update.learner import Learner
from tests.evaluation.scripted import ROWS, SCRIPTED, lines_of, write_rows
from tests.graders import quick_runs
from tests.models.fixtures import assert_close
from tests.training.resume_config import get_config
from tests.training.resuming import differences
from tests.update.real_runs import POLICY, QWEN3_POLICY

LORA = {"rank": 4, "alpha": 8.0, "paths": (".*self_attn.*", ".*mlp.*")}
QUESTION = "--prompt=Which is the largest digit?"
BRIEF = "--max_new_tokens=12"
IMAGE = np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8)


def settings(policy=POLICY, lora=None):
    """Two steps that are both saved."""
    config = get_config()
    config.model.path = str(policy)
    config.steps = 2
    config.optimizer.warmup_updates = 0
    config.data.held_out = None
    config.learner.lora = lora
    return read_config(TrainConfig, config)


def run_and_cut(config, workdir, cut):
    """A run that nothing happened to; `cut` is what a kill in its second update leaves of it."""
    reinforce, updates = Learner.reinforce, []

    def copies(self, *arguments, **options):
        updates.append(0)
        if len(updates) == 2:
            # The save of the first step goes on beside the second.
            deadline = time.monotonic() + 300
            while not (workdir / "checkpoints" / "1").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            # The lease of a process that is dead is none.
            shutil.copytree(workdir, cut, ignore=shutil.ignore_patterns(LEASE))
        return reinforce(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "reinforce", copies)
        runs.train(config, workdir)
    assert [path.name for path in (cut / "checkpoints").glob("[0-9]")] == ["1"]


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_runs():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def workdir(place):
    """A run of adapters that nothing happened to."""
    run_and_cut(settings(lora=LORA), place / "adapters", place / "killed")
    return place / "adapters"


@pytest.fixture(scope="module")
def whole(place):
    """A run of the other family's policy, without adapters, that nothing happened to."""
    run_and_cut(settings(QWEN3_POLICY), place / "whole", place / "cut")
    return place / "whole"


@pytest.fixture
def failed(capsys):
    """Runs a command that must fail; returns its error."""

    def run(main, *flags):
        with pytest.raises(SystemExit) as ended:
            main([str(flag) for flag in flags])
        assert ended.value.code == 1
        _, error, message = capsys.readouterr().err.partition("error: ")
        assert error
        return message.strip()

    return run


# Going on.


def test_a_run_of_adapters_that_was_killed_ends_bitwise_as_one_that_was_not(workdir, place):
    runs.train(settings(lora=LORA), place / "killed")
    assert differences(workdir, place / "killed") == []
    mine, theirs = (load_file(one / "adapter" / WEIGHTS) for one in (workdir, place / "killed"))
    assert all(np.array_equal(mine[name], tensor) for name, tensor in theirs.items())


@pytest.mark.story
def test_a_run_of_another_family_that_was_killed_ends_bitwise_as_one_that_was_not(whole, place):
    runs.train(settings(QWEN3_POLICY), place / "cut")
    assert differences(whole, place / "cut") == []


# Starting.


FLAGS = (
    "--config=tests/training/resume_config.py", "--config.steps=1",
    "--config.optimizer.warmup_updates=0", "--config.data.held_out=None",
    # So small that nothing moves: what is written at the end is what was read.
    "--config.optimizer.learning_rate=1e-30", "--config.optimizer.weight_decay=0",
)  # fmt: skip
RANK = ("--config.learner.lora.rank=4", "--config.learner.lora.alpha=8")
MAPS = ("--config.learner.lora.paths=('.*self_attn.*', '.*mlp.*')",)


def test_a_new_run_starts_from_adapters_and_goes_on_without_them(workdir, tmp_path, failed):
    start = scaled(workdir / "adapter", tmp_path / "start")
    flags = [*FLAGS, *RANK, *MAPS, f"--workdir={tmp_path / 'run'}"]
    train_main([*flags, f"--init_adapter={start}"])
    written, read = (load_file(one / WEIGHTS) for one in (tmp_path / "run" / "adapter", start))
    assert all(np.array_equal(written[name], tensor) for name, tensor in read.items())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["init_from"] == {"from": f"the adapter {start}"}
    said = failed(train_main, *flags, f"--init_adapter={workdir / 'adapter'}", "--config.steps=2")
    assert "--init_adapter" in said
    assert "this one has done 1, starting from the adapter" in said


@pytest.fixture
def unloaded(monkeypatch):
    """No part of a run may be opened."""

    def opened(*arguments):
        raise AssertionError("the rows were opened")

    monkeypatch.setattr(runs, "open_rows", opened)


@pytest.mark.parametrize(
    ("flags", "fields", "message"),
    [
        ((), {}, "--init_adapter: expected a run with adapters, .* --config.learner.lora.rank=R"),
        (RANK, None, r"start: expected a directory of adapters, with adapter_config\.json and .*"),
        (("--config.learner.lora.rank=8",), {}, r"expected learner\.lora\.rank = 8; got 4"),
        (RANK[:1], {}, r"expected learner\.lora\.alpha = 32; got 8"),
        (RANK, {"use_dora": True}, r"use_dora: expected False, as only plain LoRA .* got True"),
        ((*RANK, "--init_from=runs/other"), {}, "--init_adapter: expected it or --init_from"),
    ],
)
def test_adapters_that_a_run_cannot_start_from_are_refused_before_anything_is_loaded(
    flags, fields, message, workdir, tmp_path, unloaded, failed
):
    start = tmp_path / "start"
    if fields is not None:
        scaled(workdir / "adapter", start)
        content = json.loads((start / CONFIG).read_text()) | fields
        (start / CONFIG).write_text(json.dumps(content))
    given = [*FLAGS, *flags, f"--workdir={tmp_path / 'run'}", f"--init_adapter={start}"]
    assert re.search(message, failed(train_main, *given))


def test_adapters_of_another_model_are_refused_with_its_name(workdir, tmp_path, failed):
    given = [*FLAGS, *RANK, f"--workdir={tmp_path / 'run'}"]
    given += [f"--init_adapter={workdir / 'adapter'}", f"--config.model.path={QWEN3_POLICY}"]
    for main, flags in (
        (train_main, [*given, *MAPS]),
        (generate_main, [f"--model={QWEN3_POLICY}", f"--adapter={workdir / 'adapter'}", QUESTION]),
    ):
        said = failed(main, *flags)
        assert f"these adapters are of {POLICY}" in said
        assert "shape: base_model.model.model.language_model.layers.0.mlp" in said


def test_adapters_that_name_another_model_of_the_same_shapes_are_a_warning(
    workdir, tmp_path, capsys
):
    adapter = scaled(workdir / "adapter", tmp_path / "scaled")
    content = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(
        json.dumps(content | {"base_model_name_or_path": "Some/Other-Model"})
    )
    generate_main([f"--model={POLICY}", f"--adapter={adapter}", QUESTION, BRIEF])
    said = capsys.readouterr().err
    assert f"warning: {adapter}: these adapters are of Some/Other-Model; the model is " in said


# Commands.


def test_the_run_left_adapters_that_moved_and_the_model_with_them(workdir):
    tensors = load_file(workdir / "adapter" / WEIGHTS)
    assert all(tensor.any() for tensor in tensors.values())
    base, whole = (load_file(path / "model.safetensors") for path in (POLICY, workdir / "export"))
    changed = {name for name, tensor in whole.items() if not np.array_equal(tensor, base[name])}
    assert changed == {name for name in base if re.search(r"_proj\.weight$", name)}


def test_export_writes_the_adapters_and_with_merged_the_whole_model(workdir, tmp_path, failed):
    export_main([f"--workdir={workdir}", f"--out={tmp_path / 'adapter'}"])
    for name in (CONFIG, WEIGHTS):
        file = tmp_path / "adapter" / name
        assert file.read_bytes() == (workdir / "adapter" / name).read_bytes()
    assert sorted(f.name for f in (tmp_path / "adapter").iterdir()) == [CONFIG, WEIGHTS]
    export_main([f"--workdir={workdir}", f"--out={tmp_path / 'first'}", "--step=1"])
    first, last = (load_file(tmp_path / name / WEIGHTS) for name in ("first", "adapter"))
    assert not any(np.array_equal(first[name], tensor) for name, tensor in last.items())
    export_main([f"--workdir={workdir}", f"--out={tmp_path / 'whole'}", "--merged"])
    whole, want = (
        load_file(path / "model.safetensors") for path in (tmp_path / "whole", workdir / "export")
    )
    assert all(np.array_equal(whole[name], tensor) for name, tensor in want.items())


def asked(capsys, *flags):
    generate_main([QUESTION, "--dtype=float32", BRIEF, *map(str, flags)])
    return capsys.readouterr().out


def test_generate_takes_adapters_beside_their_model(workdir, tmp_path, capsys):
    adapter = scaled(workdir / "adapter", tmp_path / "scaled")
    beside = asked(capsys, f"--model={POLICY}", f"--adapter={adapter}")
    assert beside != asked(capsys, f"--model={POLICY}")
    export_as_merged(adapter, tmp_path / "whole")
    assert beside == asked(capsys, f"--model={tmp_path / 'whole'}")


def scaled(adapter, out, factor=60):
    """The adapters of a few steps, so large that answers change."""
    out.mkdir()
    tensors = load_file(adapter / WEIGHTS)
    save_file({n: x * (factor if "lora_B" in n else 1) for n, x in tensors.items()}, out / WEIGHTS)
    (out / CONFIG).write_text((adapter / CONFIG).read_text())
    return out


def export_as_merged(adapter, out):
    save_model(with_adapter(load_model(POLICY, dtype="float32"), adapter), out)


def test_evaluate_takes_adapters_beside_their_model(workdir, tmp_path, monkeypatch, failed):
    monkeypatch.setitem(BENCHMARKS, "scripted", SCRIPTED)
    adapter = scaled(workdir / "adapter", tmp_path / "scaled")
    path = write_rows(tmp_path, ROWS[:3])
    rest = [f"--data=scripted={path}", "--dtype=float32", BRIEF]
    export_as_merged(adapter, tmp_path / "whole")
    given = {
        "beside": [f"--model={POLICY}", f"--adapter={adapter}"],
        "bare": [f"--model={POLICY}"],
        "merged": [f"--model={tmp_path / 'whole'}"],
    }
    for name, flags in given.items():
        evaluate_main([*flags, *rest, f"--out={tmp_path / name}"])
    beside, bare, merged = (lines_of(tmp_path / name / "scripted") for name in given)
    assert beside == merged
    assert beside != bare
    # Results are those of these adapters: others do not go on with them.
    scaled(workdir / "adapter", tmp_path / "other", factor=30)
    flags = [f"--model={POLICY}", f"--adapter={tmp_path / 'other'}", *rest]
    said = failed(evaluate_main, *flags, f"--out={tmp_path / 'beside'}")
    assert "adapter_sha256 was" in said
    with pytest.raises(SystemExit) as ended:
        evaluate_main([f"--workdir={workdir}", f"--adapter={adapter}", *rest, "--out=x"])
    assert ended.value.code == 2


def test_a_run_with_adapters_is_evaluated_as_the_model_that_it_left(workdir, tmp_path, monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "scripted", SCRIPTED)
    path = write_rows(tmp_path, ROWS[:3])
    for name, *source in (
        ("run", f"--workdir={workdir}"),
        ("export", f"--model={workdir / 'export'}", "--dtype=float32"),
    ):
        evaluate_main([*source, f"--data=scripted={path}", BRIEF, f"--out={tmp_path / name}"])
    assert lines_of(tmp_path / "run/scripted") == lines_of(tmp_path / "export/scripted")


@pytest.mark.story  # of the run above
def test_a_run_without_adapters_has_none_to_merge(whole, tmp_path, failed):
    said = failed(export_main, f"--workdir={whole}", f"--out={tmp_path / 'x'}", "--merged")
    assert said.endswith(f"--merged: expected a run with learner.lora; {whole} has no adapters")


def test_commands_name_what_they_miss(workdir, tmp_path, failed):
    missing = tmp_path / "none"
    for main, more in ((generate_main, [QUESTION]), (evaluate_main, ["--data=blink=x", "--out=y"])):
        said = failed(main, f"--model={POLICY}", f"--adapter={missing}", *more)
        assert f"{missing}: expected a directory of adapters" in said
    said = failed(generate_main, f"--model={workdir / 'adapter'}", QUESTION)
    assert f"an adapter (LoRA) without its model, {POLICY}" in said
    assert "--adapter" in said


# With torch.


@pytest.fixture
def peft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("peft", reason="peft is not installed (make test FULL=1 has it)")


@pytest.mark.parity
def test_a_new_run_starts_from_adapters_that_peft_wrote(peft, tmp_path):
    from tests.models.reference import Reference

    targets = r".*language_model.*\.(q_proj|down_proj)|.*visual\.merger\.mlp\.[02]"
    config = peft.LoraConfig(
        r=4, lora_alpha=8, lora_dropout=0.1, target_modules=targets, init_lora_weights=False
    )
    adapted = peft.get_peft_model(Reference(POLICY).model, config)
    adapted.save_pretrained(tmp_path / "theirs")
    maps = r"--config.learner.lora.paths=('text.*(q_proj|down_proj)', 'vision\.merger\..*')"
    flags = [*FLAGS, *RANK, maps, f"--workdir={tmp_path / 'run'}"]
    train_main([*flags, f"--init_adapter={tmp_path / 'theirs'}"])
    written, read = (
        load_file(one / WEIGHTS) for one in (tmp_path / "run" / "adapter", tmp_path / "theirs")
    )
    assert written.keys() == read.keys()
    assert all(np.array_equal(written[name], tensor) for name, tensor in read.items())


@pytest.mark.parity
def test_peft_and_transformers_load_what_the_run_left_and_agree(peft, workdir, tmp_path):
    from tests.models.reference import Reference

    adapter = tmp_path / "adapter"
    export_main([f"--workdir={workdir}", f"--out={adapter}"])
    export_main([f"--workdir={workdir}", f"--out={tmp_path / 'whole'}", "--merged"])
    prompt = load_processor(POLICY).encode("<image> Which digit is it?", [IMAGE])
    beside, merged = Reference(POLICY), Reference(tmp_path / "whole")
    beside.model = peft.PeftModel.from_pretrained(beside.model, adapter)
    want = np.asarray(load_model(tmp_path / "whole", dtype="float32").logits(prompt))
    assert_close(merged.logits([prompt])[0], want)
    assert_close(beside.logits([prompt])[0], want)
