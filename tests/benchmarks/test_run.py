"""The command of the benchmarks, with scripted ones."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.harness import Case, Unavailable


def scripted(**ratios):
    def measure(options):
        yield Case("case", ratios, {"us": [1.0] * options.turns(3)})

    return measure


def without(options):
    raise Unavailable("trl is not installed")
    yield


@pytest.fixture
def committed(tmp_path):
    file = tmp_path / "committed.json"
    file.write_text(json.dumps({"step": {"case": {"ratios": {"time": 3.0}}}}))
    return ["--committed", str(file)]


def call(*arguments, **benches):
    # Tests stay on all cores.
    return run.main(arguments, benches=benches, pin=lambda core: None)


def test_the_results_are_printed_and_written(tmp_path, capsys):
    file = tmp_path / "out.json"
    assert call("step", "--json", str(file), "--repeats", "2", step=scripted(time=3.0)) == 0
    assert "case: time 3.00" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert written["step"]["case"]["ratios"] == {"time": 3.0}


def test_what_was_measured_before_an_interruption_is_written(tmp_path):
    file = tmp_path / "out.json"

    def interrupted(options):
        yield Case("first", {"time": 2.0})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call("step", "--json", str(file), step=interrupted)
    assert json.loads(file.read_text())["step"]["first"]["ratios"] == {"time": 2.0}


def test_a_check_passes_if_no_ratio_is_worse(committed, capsys):
    assert call("step", "--check", *committed, step=scripted(time=2.7)) == 0
    assert "no ratio is worse" in capsys.readouterr().out


def test_a_check_fails_and_names_the_ratio_that_is_worse(committed, capsys):
    assert call("step", "--check", *committed, step=scripted(time=2.0)) == 1
    assert "worse: step: case: time: 2.0, 33% below the committed 3.0" in capsys.readouterr().out


def test_without_a_check_nothing_is_compared(committed):
    assert call("step", *committed, step=scripted(time=0.1)) == 0


def test_a_benchmark_that_cannot_run_says_why_and_fails_only_if_it_is_named(capsys):
    assert call("step", step=without) == 1
    assert "step: not measured: trl is not installed" in capsys.readouterr().err
    others = {name: scripted(time=1.0) for name in run.BENCHES} | {"step": without}
    assert call(**others) == 0
    assert "case: time 1.00" in capsys.readouterr().out


def test_a_name_that_is_unknown_is_refused_with_the_choices(capsys):
    with pytest.raises(SystemExit):
        call("steps")
    assert "unknown benchmark 'steps'; choose from rollout, update" in capsys.readouterr().err


def test_everything_runs_on_the_core_that_is_asked_for():
    cores = []
    run.main(["step", "--core", "1"], benches={"step": scripted(time=1.0)}, pin=cores.append)
    assert cores == [1]


def test_every_benchmark_has_a_module_that_runs_and_a_line_of_help():
    folder = Path(run.__file__).parent
    for name in run.BENCHES:
        assert (
            "\ndef run(options: Options) -> Iterator[Case]:" in (folder / f"{name}.py").read_text()
        )
        assert re.search(rf"^    {name}  ", run.__doc__, re.MULTILINE)
