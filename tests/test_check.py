"""What would make a launch fail is found on any machine, all of it, before chips are asked for."""

import json

import pytest

from perl_jax import check, hub
from perl_jax.config import TrainConfig
from perl_jax.models import opening
from perl_jax.overrides import open_config
from tests.bucket import NAME, running_bucket
from tests.graders import kept_graders
from tests.test_readiness import rows_file
from tests.update.real_runs import POLICY

PLAN_3B = "--config=qwen2_5_vl_3b_v5e16"
# Few rows to look at.
FEW = ("--config.data.train.digits.rows=8", "--config.data.held_out=None")


@pytest.fixture(scope="module")
def graders():
    with kept_graders() as make:
        yield make


@pytest.fixture(autouse=True)
def _no_weights_and_few_graders(monkeypatch, graders):
    def read(*arguments, **settings):
        raise AssertionError("the weights were read")

    monkeypatch.setattr(opening, "load_model", read)
    monkeypatch.setattr(check, "make_grader", graders)


@pytest.fixture
def run(capfd):
    """Checks with these flags; returns the status, standard output and standard error."""

    def call(*arguments):
        try:
            code = check.main(arguments)
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capfd.readouterr()

    return call


def demo(tmp_path, *flags):
    place = f"--config.checkpoint.directory={tmp_path}/checkpoints"
    return ("--config=demo", place, *FEW, *flags)


def faults(err):
    """The faults that end a launch, by field."""
    said = err[err.index("error: ") :].removeprefix("error: ")
    lines = [line.strip() for line in said.splitlines() if not line.startswith("this launch has")]
    return dict(line.split(": ", 1) for line in lines)


def warnings(err):
    lines = [line for line in err.splitlines() if line.startswith("warning: ")]
    return dict(line.removeprefix("warning: ").split(": ", 1) for line in lines)


def plan_of(fits, text, monkeypatch):
    """Answers as the plan would; returns what is asked."""
    asked = []

    def answer(request):
        asked.append(request)
        return {"plan": {"fits": fits}, "text": f"A table\n\nVerdict: {text}\nadvice\n\nnotes"}

    monkeypatch.setattr(check, "plan_in_a_process", answer)
    return asked


def test_a_launch_without_fault_ends_with_0_and_leaves_nothing(run, tmp_path):
    code, out, err = run(*demo(tmp_path))
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "nothing was found that would make this launch fail"
    assert f"checkpoints: {tmp_path}/checkpoints can be written" in out
    assert list(tmp_path.iterdir()) == []


def test_all_faults_are_named_at_once(run, tmp_path):
    """No rule for the source, no place for checkpoints, other chips than those asked for."""
    train = rows_file(tmp_path, {"answer": "A", "source": "unheard of"})["jsonl"]
    (tmp_path / "file").touch()
    flags = [
        "--config.data.train.digits=None",
        f"--config.data.train.jsonl.paths=('{train['paths'][0]}',)",
        f"--config.data.train.jsonl.image_root={tmp_path}",
        f"--config.data.train.jsonl.columns={json.dumps(train['columns'])}",
        "--config.data.max_prompt_tokens=400",
        "--config.rollout.sampler.prompt_lengths=auto",
        "--config.learner.packing.prompt_lengths=auto",
        f"--config.checkpoint.directory={tmp_path}/file/checkpoints",
    ]
    code, _, err = run("--config=demo", *flags, "--type=v5litepod-16", "--no_plan")
    found = faults(err)
    assert code == 1
    assert set(found) == {"mesh", "data.train", "checkpoint.directory"}, err
    assert found["mesh"] == (
        "expected data x fsdp x tensor = 16, as v5e:4x4 has so many chips; got 1 x 1 x 1 = 1"
    )
    assert "no permutation rule for the multi-image source 'unheard of'" in found["data.train"]
    assert f"got {tmp_path}/file/checkpoints" in found["checkpoint.directory"]


def test_a_source_without_a_rule_is_found_without_the_model(run, tmp_path, monkeypatch):
    train = rows_file(tmp_path, {"answer": "A", "source": "unheard of"})
    config = tmp_path / "mine.py"
    model = {"path": "/data/models/only-on-the-hosts"}
    fields = {"model": model, "data": {"train": train}, "steps": 1}
    config.write_text(f"def get_config():\n    return {fields!r}\n")
    code, _, err = run(f"--config={config}")
    assert code == 1
    assert (
        "no permutation rule for the multi-image source 'unheard of'" in faults(err)["data.train"]
    )
    assert "prompts, images and answers were not checked" in warnings(err)["model.path"]


@pytest.mark.parametrize("path", ["somewhere/deep/below", "gs://bucket/model"])
def test_a_model_that_no_host_could_open_is_a_fault(run, tmp_path, path):
    code, _, err = run(*demo(tmp_path, f"--config.model.path={path}"))
    assert code == 1
    assert path in faults(err)["model.path"]


def test_only_small_files_of_a_model_are_fetched(run, tmp_path, monkeypatch):
    asked = []

    def download(name, *, revision, allow_patterns):
        asked.append((name, revision, allow_patterns))
        return str(POLICY)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    code, _, err = run(*demo(tmp_path, "--config.model.path=someone/tiny@abc"))
    assert (code, err) == (0, "")
    ((name, revision, patterns),) = asked
    assert (name, revision) == ("someone/tiny", "abc")
    assert "*.json" in patterns
    assert "*.safetensors" not in patterns
    assert hub.resolve_directory("someone/tiny") == POLICY
    assert "*.safetensors" in asked[1][2]


def test_the_plan_has_the_last_word(run, tmp_path, monkeypatch):
    chips = ("--type=h100-2", "--config.mesh.fsdp=2")
    asked = plan_of(True, "fits. decode needs 3 of 75 GiB.", monkeypatch)
    code, out, _ = run(*demo(tmp_path, *chips))
    assert code == 0
    assert "memory: fits. decode needs 3 of 75 GiB." in out
    (request,) = asked
    assert request.topology.name == "h100:2"
    expected = open_config(TrainConfig, "demo", {"mesh.fsdp": "2"})
    assert request.config.mesh == expected.mesh
    plan_of(False, "does not fit: decode.", monkeypatch)
    code, _, err = run(*demo(tmp_path, *chips))
    assert code == 1
    assert faults(err)["memory"] == "does not fit: decode. advice"


def test_a_plan_that_cannot_be_made_is_a_warning(run, tmp_path, monkeypatch):
    def fail(request):
        raise RuntimeError("expected libtpu")

    monkeypatch.setattr(check, "plan_in_a_process", fail)
    code, _, err = run(*demo(tmp_path, "--type=h100-1"))
    assert code == 0
    assert warnings(err)["memory"] == "the programs were not compiled: expected libtpu"


def test_without_a_plan_parameters_and_optimizer_are_compared_with_the_memory(
    run, tmp_path, monkeypatch
):
    asked = plan_of(True, "", monkeypatch)
    place = f"--config.checkpoint.directory={tmp_path}/c"
    _, out, _ = run(PLAN_3B, "--type=v5litepod-16", "--no_plan", place)
    # The row "reshard" of docs/plans/3b_v5e16.txt: 0.719 + 0.157 + 1.08 + 3.5.
    assert "memory: parameters and optimizer take 5.45 of 15 GiB of a chip" in out
    one = [
        f"--config.{mesh}.{axis}=1"
        for mesh in ("mesh", "rollout.mesh")
        for axis in ("data", "fsdp", "tensor")
    ]
    _, _, err = run(PLAN_3B, "--type=v5litepod-1", place, *one)
    assert "parameters and optimizer take" in faults(err)["memory"]
    assert asked == []


def test_meshes_must_be_of_the_chips_asked_for(run, tmp_path):
    place = f"--config.checkpoint.directory={tmp_path}/c"
    _, _, err = run(PLAN_3B, "--type=v5litepod-32", place)
    assert faults(err)["mesh"] == (
        "expected data x fsdp x tensor = 32, as v5e:4x8 has so many chips; got 1 x 16 x 1 = 16"
    )
    _, _, err = run(PLAN_3B, "--type=v5litepod-16", "--config.rollout.mesh.data=4", place)
    assert faults(err)["rollout.mesh"] == "expected 16 chips, as mesh has; got 4 x 1 x 2 = 8"
    code, _, err = run(*demo(tmp_path, "--type=h100-8", "--no_plan"))
    assert code == 0
    assert warnings(err)["mesh"].endswith("got 1 x 1 x 1 = 1: all others idle")
    code, _, err = run(*demo(tmp_path, "--type=h100-16", "--no_plan"))
    assert "mesh" in faults(err)


def test_what_only_this_machine_has_is_a_warning_where_hosts_are_new(run, tmp_path):
    train = rows_file(tmp_path, {"answer": "A", "source": "mine"})["jsonl"]
    flags = (
        "--config.model.path=/none", "--config.data.train.digits=None",
        f"--config.data.train.jsonl.paths=('{train['paths'][0]}',)", "--no_plan",
        f"--config.data.train.jsonl.columns={json.dumps(train['columns'])}",
        f"--config.data.train.jsonl.image_root={tmp_path}", "--config.permutation.unknown=keep",
    )  # fmt: skip
    _, _, err = run(*demo(tmp_path, *flags, "--type=v5litepod-1"))
    assert set(warnings(err)) >= {"checkpoint.directory", "data.train", "model.path"}, err
    assert train["paths"][0] in warnings(err)["data.train"]
    # Nodes of a cluster share a disk with the one that the check runs on.
    _, _, err = run(*demo(tmp_path, *flags, "--type=h100-1"))
    assert set(warnings(err)) == {"model.path", "memory"}, err


def test_checkpoints_on_s3_are_a_fault_with_several_hosts(run):
    for kind, several in (("v5litepod-16", True), ("v5litepod-4", False)):
        place = "--config.checkpoint.directory=s3://none/run"
        _, _, err = run("--config=demo", *FEW, place, f"--type={kind}", "--no_plan")
        assert ("as s3:// is for one host; got s3://none/run" in err) == several, err


def test_an_unknown_type_is_an_error_of_one_line(run, tmp_path):
    code, out, err = run(*demo(tmp_path, "--type=v5-16"))
    assert (code, out) == (1, "")
    assert err.startswith("error: type: expected KIND-N")
    assert len(err.splitlines()) == 1


def test_flags_of_the_start_are_those_of_the_run(run, tmp_path):
    assert run(*demo(tmp_path, "--allow_changes=seed", "--restart"))[0] == 0
    assert "--allow_changes: expected" in run(*demo(tmp_path, "--allow_changes=sead"))[2]
    assert "--init_from" in run(*demo(tmp_path, "--init_moments"))[2]


def test_a_supervised_run_is_checked_too(run, tmp_path):
    code, out, err = run(
        "--config=tiny_warmstart", *FEW, f"--config.checkpoint.directory={tmp_path}/c"
    )
    assert (code, err) == (0, "")
    assert "data.train: 8 rows looked at can be used" in out


def test_a_bucket_that_can_be_written_and_one_that_is_not_there(run, monkeypatch):
    with running_bucket() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        place = "--config.checkpoint.directory=gs://{}/run/checkpoints"
        code, out, err = run("--config=demo", *FEW, place.format(NAME))
        assert (code, err) == (0, "")
        assert f"checkpoints: gs://{NAME}/run/checkpoints can be written" in out
        code, _, err = run("--config=demo", *FEW, place.format("nobody-has-it"))
        assert code == 1
        assert "gs://nobody-has-it/run/checkpoints" in faults(err)["checkpoint.directory"]
