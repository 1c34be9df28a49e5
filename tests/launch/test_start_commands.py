"""What each launcher starts on the hosts is a command line that `perl_jax.train` takes."""

import re
import shlex

import pytest
import yaml

from perl_jax.train import main
from tests.launch.conftest import ROOT
from tests.launch.test_launch_docs import COMMANDS

# Those of `perl-jax train`; the other configurations are of other commands.
CONFIGS = sorted(
    f"configs/{path.name}"
    for path in (ROOT / "configs").glob("*.py")
    if path.name not in ("prepare_mantis.py", "tiny_warmstart.py", "tiny_qwen3_warmstart.py")
)
LAUNCHERS = {
    "tpu_pod.sh": ("--name=a", "--zone=z", "--type=v5litepod-16", "--bucket=gs://b/runs"),
    "gke_jobset.sh": ("--name=a", "--type=v5e", "--topology=4x4", "--image=i",
                      "--bucket=gs://b/runs"),
    "slurm_gpu.sh": ("--workdir=runs/a", "--python=python"),
    "local_gpu.sh": ("--workdir=runs/a", "--python=python"),
}  # fmt: skip
HARD_TO_QUOTE = '--config.model.path=models/it is $5 & "more"'


def arguments_of_train(machine, script, *flags):
    """What the program gets on a host, from what the launcher shows."""
    shows = "--render" if script == "gke_jobset.sh" else "--dry-run"
    ended = machine.run(script, shows, *flags)
    assert ended.returncode == 0, ended.stderr
    if script == "gke_jobset.sh":
        given = container_of(yaml.safe_load(ended.stdout))["args"]
        words = [word.replace("$$", "$") for word in given]  # as Kubernetes does
    else:
        (line,) = (
            line
            for line in ended.stdout.splitlines()
            if "-m perl_jax.train" in line and not line.startswith("gcloud")
        )
        words = shlex.split(line.removeprefix("# every host runs: "))
    return words[words.index("perl_jax.train") + 1 :]


def container_of(manifest):
    """The container of a JobSet's pods."""
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    return container


def printed(capsys, arguments):
    """The configuration that the program makes of its arguments."""
    main([*arguments, "--print_config"])
    return capsys.readouterr().out


@pytest.mark.parametrize("script", LAUNCHERS)
@pytest.mark.parametrize("config", CONFIGS)
def test_the_program_takes_what_a_launcher_gives_it(machine, capsys, script, config):
    flags = (*LAUNCHERS[script], f"--config={config}", "--config.steps=77", HARD_TO_QUOTE)
    text = printed(capsys, arguments_of_train(machine, script, *flags))
    assert re.search(r"\bsteps\b\D+77\b", text)
    assert 'models/it is $5 & "more"' in text
    where = "gs://b/runs/a/checkpoints"
    assert (where in text) == (script in ("tpu_pod.sh", "gke_jobset.sh"))


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_the_program_takes_what_the_documentation_launches(machine, capsys, words):
    (at,) = [index for index, word in enumerate(words) if word.startswith("launch/")]
    script = words[at].removeprefix("launch/")
    python = ("--python=python",) if script in ("slurm_gpu.sh", "local_gpu.sh") else ()
    arguments = arguments_of_train(machine, script, *words[at + 1 :], *python)
    assert printed(capsys, arguments)


def test_what_follows_the_two_dashes_goes_to_the_program_too(machine):
    for script, flags in LAUNCHERS.items():
        given = arguments_of_train(
            machine, script, *flags, "--config=configs/demo.py", "--", "--restart", "--debug"
        )
        assert given[-2:] == ["--restart", "--debug"]
