import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.soak import watch
from tests.soak.watch import Sample, growth, left_in_shared_memory, left_over, sample, shared_memory

EMPTY = Sample(step=0, process=1, megabytes=500.0, handles=20, children=3)


def samples(megabytes=lambda step: 500.0, handles=lambda step: 20, steps=range(0, 2000, 7)):
    return [replace(EMPTY, step=n, megabytes=megabytes(n), handles=handles(n)) for n in steps]


def test_memory_that_stays_within_what_comes_and_goes_does_not_grow():
    found = growth(samples(lambda step: 500 + 30 * (step % 100 < 30)), settled=200)
    assert abs(found.megabytes) < 0.2
    assert found.handles == 0
    assert (found.first, found.last) == (203, 1995)


def test_a_leak_is_a_slope_in_100_steps():
    found = growth(samples(lambda step: 500 + 0.02 * step, lambda step: 20 + step // 50), 200)
    assert found.megabytes == pytest.approx(2.0)
    assert found.handles == pytest.approx(2.0, abs=0.1)


def test_what_is_compiled_and_cached_at_first_is_no_leak():
    assert growth(samples(lambda step: min(900, 300 + 5 * step)), 200).megabytes == 0


def test_of_a_run_that_was_interrupted_the_longest_part_counts():
    short = [replace(EMPTY, process=2, step=step, megabytes=step) for step in range(500, 900, 20)]
    assert growth([*short, *samples()], 200).megabytes == 0


def test_too_few_samples_are_an_error_and_no_figure():
    with pytest.raises(ValueError, match="expected samples of several steps after 200"):
        growth(samples(steps=range(100)), settled=200)


def test_a_process_is_seen_with_those_that_it_started():
    program = "import subprocess as s, sys; s.run([sys.executable, '-c', 'print(); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        seen = sample(process.pid, 12)
        process.stdin.close()
    assert (seen.step, seen.process, seen.children) == (12, process.pid, 1)
    assert seen.megabytes > 10
    assert seen.handles >= 3
    with pytest.raises(OSError, match=r"No such|has ended"):
        sample(process.pid, 13)


@pytest.fixture
def shared(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "_SHARED_MEMORY", tmp_path)
    return tmp_path


def test_shared_memory_is_left_if_it_is_new_and_nobody_has_it(shared):
    (shared / "others").touch()
    before = shared_memory()
    (shared / "ours").touch()
    assert left_in_shared_memory(before) == ["ours"]
    with (shared / "ours").open():
        assert left_in_shared_memory(before) == []
    (shared / "ours").unlink()
    assert left_in_shared_memory(before) == []


def test_files_beyond_those_of_the_other_run_leases_and_temporary_ones_are_left_over(tmp_path):
    one, other, temporary = tmp_path / "one", tmp_path / "other", tmp_path / "tmp"
    for run in (one, other):
        (run / "checkpoints" / "10" / "arrays").mkdir(parents=True)
        (run / "metrics.jsonl").touch()
        # Random names.
        (run / "checkpoints" / "10" / "arrays" / os.urandom(4).hex()).touch()
    temporary.mkdir()
    (one / "before-20260101-000000").mkdir()
    (one / "before-20260101-000000" / "metrics.jsonl").touch()
    assert left_over(one, other, temporary) == {}
    (one / "checkpoints" / "20.orbax-checkpoint-tmp").mkdir()
    (one / "checkpoints" / ".lease").touch()
    (temporary / "tmp1234").touch()
    assert left_over(one, other, temporary) == {
        "work directory": ["checkpoints/.lease", "checkpoints/20.orbax-checkpoint-tmp"],
        "lease": [str(one / "checkpoints" / ".lease")],
        "temporary directory": ["tmp1234"],
    }
