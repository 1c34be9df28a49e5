"""The command line: a policy on benchmarks, given responses, and comparisons."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from perl_jax import evaluate as evaluating
from perl_jax.evaluate import main
from perl_jax.evaluation.benchmark import Scored
from perl_jax.evaluation.sets.table import BENCHMARKS
from tests.evaluation.scripted import ROWS, SCRIPTED, lines_of, write_rows
from tests.preparation.preparing import chat_server

pytestmark = pytest.mark.usefixtures("compiled_quickly")

ROOT = Path(__file__).parent.parent

FILES = ("predictions.jsonl", "scores.json", "table.md")


@pytest.fixture(autouse=True)
def scripted(monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "scripted", SCRIPTED)


@pytest.fixture
def evaluate(checkpoint, tmp_path):
    """Evaluates the tiny checkpoint on the scripted rows; returns the folder of the results."""
    path = write_rows(tmp_path)

    def run(*flags, out="out"):
        model = [f"--model={checkpoint}", "--dtype=float32", "--max_new_tokens=5"]
        main([*model, "--benchmark=scripted", f"--data={path}", f"--out={tmp_path / out}", *flags])
        return tmp_path / out

    return run


def test_a_policy_answers_every_row(evaluate, capsys):
    out = evaluate()
    lines = lines_of(out)
    assert [line["id"] for line in lines] == [row["id"] for row in ROWS]
    assert len({line["response"] for line in lines}) > 1
    scores = json.loads((out / "scores.json").read_text())
    assert (scores["benchmark"], scores["examples"]) == ("scripted", 7)
    assert capsys.readouterr().out == f"{(out / 'table.md').read_text()}\nresults: {out}\n"


def test_the_same_command_goes_on_and_other_settings_are_refused(evaluate, capsys):
    out = evaluate("--batch=4")
    before = {name: (out / name).read_bytes() for name in FILES}
    # As if it had been killed within the fourth line.
    whole = before["predictions.jsonl"]
    (out / "predictions.jsonl").write_bytes(whole[: whole.find(b'"four"') + 9])
    (out / "scores.json").unlink()
    evaluate("--batch=4")
    assert {name: (out / name).read_bytes() for name in FILES} == before
    capsys.readouterr()
    with pytest.raises(SystemExit):
        evaluate("--seed=1", "--orders=all", "--prompt=boxed")
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith(f"error: {out}: it holds results of other settings: prompt was ")
    assert "orders was null, and is 120; seed was 0, and is 1" in err


def test_orders_and_their_statistics(evaluate):
    out = evaluate("--orders=3", "--limit=3")
    lines = lines_of(out)
    assert [len(line["orders"]) for line in lines] == [3, 3, 3]
    assert lines[0]["orders"][0] | {"order": [0, 1, 2]} == lines[0]["orders"][0]
    statistics = json.loads((out / "scores.json").read_text())["orders"]
    assert (statistics["examples"], statistics["permuted"]) == (3, 3)
    assert statistics["noise_floor"]["value"] == 0


def test_a_mesh_of_devices_writes_the_same_predictions(evaluate):
    one = evaluate("--limit=3")
    meshed = evaluate(
        "--limit=3", "--mesh.data=2", "--mesh.fsdp=2", "--mesh.tensor=2", out="meshed"
    )
    assert lines_of(one) == lines_of(meshed)


def test_several_benchmarks_have_a_folder_each_and_one_table(tmp_path, monkeypatch, capsys):
    other = replace(SCRIPTED, name="other", paper={"a system": 40.0})
    apart = replace(SCRIPTED, name="apart", paper={"a system": 30.0})
    for one in (other, apart):
        monkeypatch.setitem(BENCHMARKS, one.name, one)
    first, second = write_rows(tmp_path / "a"), write_rows(tmp_path / "b", ROWS[:2])
    given = tmp_path / "theirs.jsonl"
    given.write_text('{"id": "one", "response": "A"}\n')
    out = tmp_path / "out"
    # The policy is one whose answers are in a file.
    monkeypatch.setattr(
        evaluating, "_of_model", lambda args: evaluating._given(Namespace(responses=given))
    )
    main(["--model=any", f"--data=scripted={first},other={second}", f"--out={out}"])
    assert len(lines_of(out / "scripted")) == 7
    assert len(lines_of(out / "other")) == 2
    table = (out / "table.md").read_text()
    lines = [line.replace("\\|", "/") for line in table.splitlines()]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    shown = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows if len(row) > 1}
    assert [shown["a system"][name] for name in ("scripted", "other", "apart")] == [
        "50.00", "40.00", "30.00",
    ]  # fmt: skip
    ours = shown["**theirs**"]
    assert [ours[name] for name in ("scripted", "other", "apart")] == ["12.50", "50.00", ""]
    assert "mantis_eval" in shown["system"]
    assert capsys.readouterr().out == f"{table}\nresults: {out}\n"


def test_given_responses_need_no_device(tmp_path):
    program = (
        "from perl_jax.evaluate import main; from perl_jax.evaluation.sets.table import BENCHMARKS;"
        "from tests.evaluation.scripted import SCRIPTED; BENCHMARKS['scripted'] = SCRIPTED; main()"
    )
    given = tmp_path / "theirs.jsonl"
    given.write_text('{"id": "one", "response": "A"}\n')
    flags = [f"--responses={given}", f"--data={write_rows(tmp_path)}", f"--out={tmp_path}/out"]
    done = subprocess.run(
        [sys.executable, "-c", program, "--benchmark=scripted", *flags],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "rocm"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(lines_of(tmp_path / "out")) == 7
    assert "6 of 7 rows have no response and score 0" in done.stderr


def test_two_results_are_compared_by_folder_and_by_benchmark(tmp_path, capsys):
    path = write_rows(tmp_path)
    for name, letter in (("a", "A"), ("b", "B")):
        given = tmp_path / f"{name}.jsonl"
        given.write_text(
            "".join(f'{{"id": "{row["id"]}", "response": "{letter}"}}\n' for row in ROWS)
        )
        flags = [f"--responses={given}", f"--data=scripted={path}", f"--out={tmp_path / name}"]
        main(flags)
    capsys.readouterr()
    main(["--compare", str(tmp_path / "a"), str(tmp_path / "b")])
    several = capsys.readouterr().out
    assert f"A: {tmp_path}/a/scripted/predictions.jsonl" in several
    file = tmp_path / "b/scripted/predictions.jsonl"
    main(["--compare", str(tmp_path / "a/scripted"), str(file)])
    assert capsys.readouterr().out == several


def test_the_judge_of_the_flags_is_asked(evaluate, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("JUDGE_KEY", "secret")
    unsure = replace(SCRIPTED, score=lambda example, response: Scored(None, None))
    monkeypatch.setitem(BENCHMARKS, "scripted", unsure)
    with chat_server(answer=lambda prompt: "yes") as chat:
        flags = ["--judge_model=rewriter", f"--judge_url={chat.url}", "--judge_key_env=JUDGE_KEY"]
        out = evaluate("--limit=2", *flags)
    assert [line["score"] for line in lines_of(out)] == [1.0, 1.0]
    assert {headers["Authorization"] for headers in chat.headers} == {"Bearer secret"}
    assert chat.requests[0][1]["model"] == "rewriter"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--benchmark=scripted"], "expected --data and --out"),
        (["--data=x", "--out=y"], "expected --benchmark=NAME with --data=PATH, or --data=NAME="),
        (["--benchmark=scripted", "--data=x", "--out=y", "--orders=none"], "--orders: expected"),
        (["--benchmark=scripted", "--data=x", "--out=y", "--orders=0"], "--orders: expected"),
        (["--benchmark=scripted", "--data=x", "--out=y", "--limit=0"], "--limit: expected at"),
        (["--benchmark=scripted", "--data=x", "--out=y", "--mesh.data=0"], "--mesh.data: expected"),
        (["--benchmark=scripted", "--data=x", "--out=y", "--num_samples=2"], "at temperature 0"),
        (["--benchmark=scripted", "--data=x", "--out=y", "--step=1"], "--step goes with"),
        (["--benchmark=scripted", "--data=x", "--out=y", "--judge_url=z"], "both --judge_url"),
        (["--workdir=w", "--data=a=x", "--out=y"], "expected one of --model, --workdir"),
    ],
)
def test_flags_that_do_not_fit_are_wrong_usage(flags, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--model=m", *flags])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_given_responses_are_those_of_one_benchmark(capsys):
    # Several benchmarks number their rows alike.
    with pytest.raises(SystemExit) as ended:
        main(["--responses=r.jsonl", "--data=mmiu=x,remi=y", "--out=z"])
    assert ended.value.code == 2
    assert "--responses: expected one benchmark" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--benchmark=scriptd"], "no benchmark 'scriptd' (did you mean 'scripted'?); expected"),
        (
            ["--model={model}", "--data=scripted=x,scripted=y"],
            "every benchmark once; got scripted",
        ),
        (["--benchmark=scripted", "--data={tmp}/none.jsonl"], "none.jsonl: no such file"),
        (["--benchmark=scripted", "--responses={tmp}/none"], "No such file or directory"),
        (["--benchmark=scripted", "--model={tmp}/none"], "none: no such directory"),
        (["--benchmark=scripted", "--workdir={tmp}/none"], "No such file or directory"),
        (["--benchmark=scripted", "--model={model}", "--mesh.data=3"], "data x fsdp x tensor = 8"),
        (["--benchmark=scripted", "--model={model}", "--top_p=2"], "top_p: expected"),
        (["--benchmark=scripted", "--workdir={model}"], "but perhaps that of a model"),
        (["--compare", "{tmp}/a", "{tmp}/b"], "/a"),
    ],
)
def test_what_is_wrong_is_an_error_of_one_line(flags, message, tmp_path, checkpoint, capsys):
    path = write_rows(tmp_path)
    given = tmp_path / "theirs.jsonl"
    given.write_text('{"id": "one", "response": "A"}\n')
    flags = [flag.format(tmp=tmp_path, model=checkpoint) for flag in flags]
    names = {flag.partition("=")[0] for flag in flags}
    if "--compare" not in names:
        defaults = [f"--data={path}", f"--out={tmp_path}/out"]
        flags += [flag for flag in defaults if flag.partition("=")[0] not in names]
        if not names & {"--model", "--workdir", "--responses"}:
            flags.append(f"--responses={given}")
    with pytest.raises(SystemExit) as ended:
        main(flags)
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert message in err


def test_given_responses_are_scored_without_jax(tmp_path):
    (tmp_path / "given.jsonl").write_text('{"id": "one", "response": "A"}\n')
    data = write_rows(tmp_path)
    program = f"""import sys
from perl_jax.evaluate import main
from perl_jax.evaluation.sets.table import BENCHMARKS
from tests.evaluation.scripted import SCRIPTED
BENCHMARKS["scripted"] = SCRIPTED
main(["--responses={tmp_path}/given.jsonl", "--benchmark=scripted", "--data={data}",
    "--out={tmp_path}/out"])
assert not {{"jax", "flax"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    assert len(lines_of(tmp_path / "out")) == len(ROWS)
