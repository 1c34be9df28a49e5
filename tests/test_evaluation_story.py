"""An evaluation that is killed and started again, as a user would."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.compiling import QUICKLY

pytestmark = pytest.mark.story

ROOT = Path(__file__).parent.parent
ROWS = 24


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """NLVR2's files: statements about pairs of pictures."""
    folder = tmp_path_factory.mktemp("nlvr2")
    rng = np.random.default_rng(0)
    lines = []
    for number in range(ROWS):
        for side in (0, 1):
            pixels = rng.integers(0, 256, (56, 56, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"dev-{number}-0-img{side}.png")
        sentence = f"The {('left', 'right')[number % 2]} image shows a dog."
        label = ("True", "False")[number % 2]
        lines.append({"identifier": f"dev-{number}-0-0", "sentence": sentence, "label": label})
    (folder / "dev.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def start(data, out):
    model = ROOT / "perl_jax" / "assets" / "tiny_policy"
    flags = [
        f"--model={model}", "--dtype=float32", "--benchmark=nlvr2", f"--data={data}",
        f"--out={out}", "--orders=all", "--temperature=1", "--max_new_tokens=24", "--batch=2",
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "perl_jax", "evaluate", *flags],
        cwd=ROOT, env={**os.environ, "XLA_FLAGS": QUICKLY},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_killed_evaluation_goes_on_to_the_same_bytes(data, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    out, err = start(data, whole).communicate(timeout=600)
    assert "| **" in out, err

    process = start(data, killed)
    predictions = killed / "predictions.jsonl"
    while not predictions.exists() or predictions.read_bytes().count(b"\n") < 4:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 4 <= predictions.read_bytes().count(b"\n") < ROWS
    # Written to the middle of a line.
    predictions.write_bytes(predictions.read_bytes()[:-9])

    process = start(data, killed)
    assert "| **" in process.communicate(timeout=600)[0]
    for name in ("predictions.jsonl", "scores.json", "settings.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    lines = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert len(lines) == ROWS
    assert all(len(line["orders"]) == 2 and "again" in line for line in lines)
