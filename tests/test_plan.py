"""The command line of plans."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perl_jax.plan import _flags_of, _plans_of, main

ROOT = Path(__file__).parents[1]
SMALL = ("--images=2", "--pixels=784", "--text_tokens=60", "--programs=prefill")


def plan(*arguments):
    return command("--config=configs/demo.py", *arguments)


def plan_again(file, *arguments):
    return command(f"--again={file}", *arguments)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "perl_jax.plan", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """What a command says, and the file that it writes."""
    file = tmp_path_factory.mktemp("plans") / "plans.json"
    run = plan("--topology=cpu:2", "--topology=h100:4", f"--json={file}", "--pass_rate=0.8", *SMALL)
    assert run.returncode == 0, run.stderr
    return run, file


def test_every_topology_gets_a_plan_on_paper_and_as_json(planned):
    run, file = planned
    virtual = (
        "tiny_policy on cpu:2: 2 virtual devices, each with the figures of one h100 of 80 GiB, "
        "75.2 usable; mesh data=1 fsdp=2"
    )
    assert virtual in run.stdout
    assert "tiny_policy on h100:4: 4 x h100" in run.stdout
    assert run.stdout.count("Verdict: fits. prefill needs") == 2
    # 16 / 0.8 = 20, and two deviations of sqrt(16 x 0.2) / 0.8 = 2.2.
    drawn = "At a pass rate of 0.8, 20 groups hold 16 that inform on average. 25 are drawn"
    assert run.stdout.count(drawn) == 2
    assert run.stdout.count("s if every group informed. Groups drawn ahead count whole.") == 2
    two, four = (answer["plan"] for answer in json.loads(file.read_text()))
    assert [one["name"] for one in two["programs"]] == ["prefill"]
    assert (two["draws"]["kept"], two["draws"]["needed"], two["draws"]["drawn"]) == (16, 20, 25)
    prefill = two["programs"][0]
    assert prefill["calls"] > prefill["calls_unfiltered"] > 0
    parameters = [answer["programs"][0]["memory"]["parameters"] for answer in (two, four)]
    assert parameters[0] > parameters[1]


@pytest.mark.story
def test_only_the_figures_of_what_is_given_anew_change_and_nothing_is_compiled(planned, tmp_path):
    _, file = planned
    other = tmp_path / "again.json"
    again = plan_again(file, "--compute=0.3", f"--out={other}")
    assert again.returncode == 0, again.stderr
    assert "compiling" not in again.stderr
    assert "Matrix products reach 30% of the peak" in again.stdout
    assert f"--programs=prefill --compute=0.3 --out={other}" in again.stdout
    for old, new in zip(json.loads(file.read_text()), json.loads(other.read_text()), strict=True):
        (before,), (after,) = (answer["plan"]["programs"] for answer in (old, new))
        for name in ("compiled", "memory", "collectives", "calls", "traffic", "flops"):
            assert after[name] == before[name], name
        # 60% of the peak is the default.
        twice = 2 * before["seconds"].pop("compute")
        assert after["seconds"].pop("compute") == pytest.approx(twice)
        assert after["seconds"] == pytest.approx(before["seconds"])


def test_an_older_plan_cannot_be_made_again(tmp_path):
    file = tmp_path / "old.json"
    made_by = "python -m perl_jax.plan --config=configs/demo.py --topology=cpu:2"
    old = {"command": made_by, "topology": {"name": "cpu:2"}, "notes": ["Compiled."],
           "programs": [{"name": "decode"}]}  # fmt: skip
    file.write_text(json.dumps([{"plan": old}]))
    run = plan_again(file)
    assert run.returncode == 1
    assert "error: program decode: expected what compiling told" in run.stderr


def test_a_file_without_plans_cannot_be_made_again(tmp_path):
    file = tmp_path / "other.json"
    file.write_text('{"steps": 3}')
    run = plan_again(file)
    assert run.returncode == 1
    (line,) = run.stderr.strip().splitlines()
    assert line == f"error: {file}: expected plans that perl-jax plan --out wrote"
    for content in ("", "[[]]", '[{"plans": 1}]', 100_000 * "["):
        file.write_text(content)
        with pytest.raises(ValueError, match="expected plans that perl-jax plan --out wrote"):
            _plans_of(file)


@pytest.mark.parametrize("out", ["--out=docs/x.json", "--out docs/x.json", "--json docs/x.json"])
def test_a_plan_that_is_made_again_is_not_written_over(out):
    command = f"python -m perl_jax.plan --config=a.py {out} --tries=0"
    assert _flags_of([{"command": command}]) == ["--config=a.py", "--tries=0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--topology=v5:4x4",), "error: topology: v5:4x4: expected one of v4, v5e"),
        (("--topology=cpu:2", "--images=0"), "error: images: expected at least 1; got 0"),
        (("--topology=cpu:2", "--pass_rate=0"), "error: pass_rate: expected a share from above 0"),
        (("--topology=cpu:2", "--images=9"), "at most data.max_prompt_tokens = 80; got one of"),
    ],
)
def test_what_cannot_be_planned_is_told_in_one_line(arguments, message, capfd):
    with pytest.raises(SystemExit) as ended:
        main(["--config=configs/demo.py", *arguments])
    assert ended.value.code == 1
    (line,) = capfd.readouterr().err.strip().splitlines()[-1:]
    assert message in line
