"""The commands in docs/launch.md are ones that the scripts take."""

import re
import shlex

import pytest

from tests.launch.conftest import ROOT

BLOCKS = re.findall(
    r"^```sh\n(.*?)^```", (ROOT / "docs" / "launch.md").read_text(), re.MULTILINE | re.DOTALL
)
COMMANDS = [
    words
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if (words := shlex.split(line)) and words[0] != "docker" and "launch/" in line
]


def test_there_is_a_command_for_each_platform():
    scripts = {word for words in COMMANDS for word in words if word.startswith("launch/")}
    assert scripts == {
        "launch/tpu_pod.sh", "launch/gke_jobset.sh", "launch/slurm_gpu.sh", "launch/local_gpu.sh"
    }  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_command_of_the_documentation_is_understood(machine, words):
    (at,) = [index for index, word in enumerate(words) if word.startswith("launch/")]
    script, flags = words[at].removeprefix("launch/"), words[at + 1 :]
    ended = machine.run(script, "--dry-run", *flags)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
