"""Every command of perl-jax: its help, its exit codes, and what it prints where."""

import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from perl_jax import __main__ as entry
from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.overrides import load_config, open_config
from perl_jax.preparation.config import PrepareConfig
from perl_jax.settings import read_config

ROOT = Path(__file__).parent.parent
COMMANDS = list(entry.COMMANDS)
# The commands with a configuration: one that they take, and what else they must have.
CONFIGURED = {
    "train": ("demo", TrainConfig, ["--workdir={tmp}/run"]),
    "warmstart": ("tiny_warmstart", WarmstartConfig, ["--workdir={tmp}/run"]),
    "plan": ("demo", TrainConfig, ["--topology=cpu:2"]),
    "check": ("demo", TrainConfig, []),
    "lint": ("demo", TrainConfig, []),
    "show": ("demo", TrainConfig, ["--out={tmp}/page.html"]),
    "prepare": ("prepare_mantis", PrepareConfig, ["--workdir={tmp}/run"]),
}
# A wrong value for each of the others.
WRONG = {
    "generate": ["--model={tmp}/none", "--prompt=What?"],
    "evaluate": ["--responses={tmp}/none", "--data=blink={tmp}", "--out={tmp}/out"],
    "export": ["--workdir={tmp}/none", "--out={tmp}/out"],
    "report": ["--workdir={tmp}/none", "--out={tmp}/page.html"],
    "build": ["mantis_nlvr", "--data={tmp}", "--out={tmp}/out"],
}


@pytest.fixture
def run(capfd, tmp_path, monkeypatch):
    """Runs a command here; returns its exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*arguments):
        given = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
        try:
            code = entry.main(given)
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capfd.readouterr()

    return call


def assert_one_line_error(ended, *texts):
    code, out, err = ended
    assert (code, out) == (1, ""), ended
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: "), err
    for text in texts:
        assert text in lines[0]


def test_the_help_of_the_entry_lists_every_command_in_under_a_second():
    command = [sys.executable, "-X", "importtime", "-m", "perl_jax", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    for name, (_, summary) in entry.COMMANDS.items():
        assert re.search(rf"^    {name} +{summary}$", done.stdout, re.MULTILINE)
    # The time depends on the machine; what takes it does not.
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    slow = {"jax", "numpy", "ml_collections", "transformers", "perl_jax.main", "perl_jax.config"}
    assert not imported & slow
    assert "perl_jax.legible" in imported


def test_an_unknown_command_is_wrong_usage_with_a_suggestion(run):
    code, out, err = run("trian")
    assert (code, out) == (2, "")
    assert "expected one of train, warmstart" in err
    assert err.endswith("got 'trian' (did you mean 'train'?)\n")
    assert run()[:2] == (2, "")


def test_every_module_of_the_table_can_be_run_by_python_too():
    for module, _ in entry.COMMANDS.values():
        text = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert re.search(r'if __name__ == "__main__":\n    (main\(\)|sys.exit\(main\(\)\))\n', text)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_goes_to_standard_output_and_words_every_flag(command, run):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: perl-jax {command} ")
    assert f"\n    perl-jax {command} " in out, "an example"
    flags = re.split(r"\n  (?=-)", out.split("options:\n", 1)[1])
    wordless = [flag for flag in flags if not re.search(r"\S\s{2,}\w", flag)]
    assert not wordless


def flags_of(command, run):
    _, out, _ = run(command, "--help")
    return set(re.findall(r"^  --(\w+)", out, re.MULTILINE))


def test_the_same_things_have_the_same_names(run):
    flags = {command: flags_of(command, run) for command in COMMANDS}
    everywhere = set.intersection(*flags.values())
    assert everywhere == {"debug"}
    assert all({"config", "print_config"} <= flags[command] for command in CONFIGURED)
    with_workdir = {command for command in COMMANDS if "workdir" in flags[command]}
    assert with_workdir == {"train", "warmstart", "prepare", "evaluate", "export", "report"}
    with_out = {command for command in COMMANDS if "out" in flags[command]}
    assert with_out == {"generate", "evaluate", "export", "plan", "lint", "show", "build", "report"}
    with_data = {command for command in COMMANDS if "data" in flags[command]}
    assert with_data == {"generate", "evaluate", "lint", "show", "build"}
    for former in ("json", "input", "output", "n", "source", "data_dir"):
        assert not any(former in names for names in flags.values())


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_flag_is_wrong_usage(command, run):
    code, out, err = run(command, "--nonsense=1")
    assert (code, out) == (2, "")
    assert f"\nperl-jax {command}: error: unrecognized arguments: --nonsense=1\n" in err


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "build"])
def test_no_arguments_are_wrong_usage(command, run):
    code, out, err = run(command)
    assert (code, out) == (2, "")
    assert f"\nperl-jax {command}: error: " in err


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_value_is_an_error_of_one_line(command, run):
    assert_one_line_error(run(command, *WRONG[command]))


@pytest.mark.parametrize("command", CONFIGURED)
@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("seed=many", "config.seed: expected int; got str 'many'"),
        ("sed=1", "config.sed: unknown key (did you mean 'seed'?)"),
        ("seed.x=1", "config.seed.x: expected a field of a section; config.seed is "),
        ("a[b=1", "config.a[b: expected names with a dot between them"),
    ],
)
def test_a_wrong_field_of_a_configuration_is_an_error_of_one_line(command, flag, message, run):
    config, _, rest = CONFIGURED[command]
    assert_one_line_error(run(command, f"--config={config}", *rest, f"--config.{flag}"), message)


@pytest.mark.parametrize("command", CONFIGURED)
def test_a_printed_configuration_is_a_file_with_every_field(command, run, tmp_path):
    config, kind, _ = CONFIGURED[command]
    code, out, err = run(command, f"--config={config}", "--print_config", "--config.seed=-3")
    assert (code, err) == (0, "")
    file = tmp_path / "printed.py"
    file.write_text(out)
    opened = open_config(kind, config, {"seed": "-3"})
    assert opened.seed == -3
    assert read_config(kind, load_config(str(file), {})) == opened
    again = run(command, f"--config={file}", "--print_config")
    assert again == (0, out, "")


@pytest.mark.parametrize("command", CONFIGURED)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "wrong.py: no such configuration file; looked for "),
        ("", "wrong.py: expected a file that defines get_config()"),
        ("x = (\n", "wrong.py:1: SyntaxError: '(' was never closed"),
        ("\nimport nowhere\n", "wrong.py:2: ModuleNotFoundError: No module named 'nowhere'"),
        (
            "def get_config():\n    return 1 / 0\n",
            "wrong.py:2: ZeroDivisionError: division by zero",
        ),
        ("def get_config():\n    return None\n", "wrong.py: expected a ConfigDict of get_config()"),
        ("def get_config(x):\n    return {}\n", "wrong.py: TypeError: get_config() missing 1 "),
    ],
)
def test_a_wrong_configuration_file_is_an_error_of_one_line(command, text, message, run, tmp_path):
    file = tmp_path / "wrong.py"
    if text is not None:
        file.write_text(text)
    _, _, rest = CONFIGURED[command]
    assert_one_line_error(run(command, f"--config={file}", *rest), message)


@pytest.mark.parametrize(
    ("command", "former", "present"),
    [
        ("lint", ["digits", "--limit=3", "--json={tmp}/a.json"],
         ["--data=digits", "--limit=3", "--out={tmp}/b.json"]),
        ("show", ["digits", "--n", "2", "--out={tmp}/a.html"],
         ["--data=digits", "--limit", "2", "--out={tmp}/b.html"]),
    ],
)  # fmt: skip
def test_former_spellings_stay_valid(command, former, present, run, tmp_path):
    first, second = run(command, *former), run(command, *present)
    assert first[0] == second[0] == 0
    assert first[1].replace("a.html", "b.html") == second[1]
    (one, two) = sorted(tmp_path.iterdir())
    assert one.read_text() == two.read_text()


def test_a_missing_package_of_a_bucket_is_an_error_of_one_line():
    # In another process: fsspec keeps what it has imported.
    program = "import sys; sys.modules['s3fs'] = None; from perl_jax.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "lint", "--data=s3://bucket/rows.parquet"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert_one_line_error((done.returncode, done.stdout, done.stderr), "s3fs")


@pytest.mark.parametrize(
    "arguments",
    [("train", "--config=demo", "--workdir={tmp}"), ("generate", "--model=x", "--prompt=y")],
    ids=["train", "generate"],
)
def test_a_platform_without_devices_is_an_error_of_one_line(arguments, tmp_path):
    given = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "perl_jax", *given],
        capture_output=True, text=True, cwd=ROOT,
        env={"PATH": "", "JAX_PLATFORMS": "rocm", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    ended = (done.returncode, done.stdout, done.stderr)
    assert_one_line_error(ended, "JAX_PLATFORMS", "rocm")


def test_what_starts_a_run_is_taken_from_the_flags(monkeypatch, run):
    from perl_jax.training.start import Start

    starts = []
    for command in ("train", "warmstart"):
        config, kind, rest = CONFIGURED[command]
        module = importlib.import_module(f"perl_jax.{command}")
        monkeypatch.setattr(module, command, lambda *given: starts.append(given))
        plain = [f"--config={config}", *rest]
        assert run(command, *plain)[0] == 0
        more = ["--allow_changes=seed,data.train", "--init_from=runs/a@7", "--init_moments"]
        assert run(command, *plain, *more, "--restart")[0] == 0
        assert [type(config) for config, _, _ in starts] == [kind, kind]
        assert starts[0][2] == Start()
        assert starts[1][2] == Start(("seed", "data.train"), "runs/a@7", True, True)
        starts.clear()


def test_the_modules_of_a_working_directory_are_found(monkeypatch, run):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    run("build")
    assert sys.path[0] == ""


def test_the_page_about_configurations_is_what_the_code_says():
    written = runpy.run_path(str(ROOT / "docs" / "make_configuration.py"))
    told = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert told == written["page"](), "run python docs/make_configuration.py"
