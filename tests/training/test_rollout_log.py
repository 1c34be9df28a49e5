"""The log of rollouts after a process died while it wrote."""

import json

import pytest

from perl_jax.training.loop import RolloutLog

RESPONSE = "first\u2028second\u2029third\x85 \N{LATIN SMALL LETTER E WITH ACUTE}"


def write(path, steps, resume_step):
    log = RolloutLog(path, resume_step)
    for step in steps:
        log(step, {"first_response": RESPONSE})
    log.close()


def steps_in(path):
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert all(row["first_response"] == RESPONSE for row in rows)
    return [row["step"] for row in rows]


def test_records_of_steps_that_are_done_again_are_taken_back(tmp_path):
    write(tmp_path / "rollouts.jsonl", [1, 2, 3], -1)
    write(tmp_path / "rollouts.jsonl", [3, 4], 2)
    assert steps_in(tmp_path / "rollouts.jsonl") == [1, 2, 3, 4]


def test_a_run_that_starts_anew_keeps_none(tmp_path):
    write(tmp_path / "rollouts.jsonl", [1, 2], -1)
    write(tmp_path / "rollouts.jsonl", [1], -1)
    assert steps_in(tmp_path / "rollouts.jsonl") == [1]


# The line feed alone, between characters, and within one.
@pytest.mark.parametrize("cut", [1, 3, 4])
def test_a_line_that_was_cut_off_is_left_out_wherever_it_ends(tmp_path, cut):
    path = tmp_path / "rollouts.jsonl"
    write(path, [1, 2], -1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])
    write(path, [3], 2)
    assert steps_in(path) == ([1, 2, 3] if cut == 1 else [1, 3])
