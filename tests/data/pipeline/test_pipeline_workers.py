"""Worker processes: the same rows in the same order, and none is ever left or waited for."""

import gc
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from perl_jax.data import ParquetSource, Pipeline, PipelineConfig, Preparer
from perl_jax.data.pipeline.rows import PipelineError
from tests.data.pipeline.numbers import (
    Numbers,
    Stuck,
    Unreadable,
    numbers,
    slow_if_even,
    unchanged,
    with_lambda,
    with_large_image,
    with_process,
)
from tests.data.sources.parquet_files import verl_row, write_verl


def pipeline(source, prepare=unchanged, *, workers, prefetch=8, max_bad_fraction=0.5, **options):
    config = PipelineConfig(workers=workers, prefetch=prefetch, max_bad_fraction=max_bad_fraction)
    return Pipeline(source, prepare, config, seed=3, **options)


def take(rows, count):
    return numbers(itertools.islice(rows, count))


def is_alive(process_id):
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Where nobody collects an orphan, its entry stays.
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def wait_until(condition):
    """For however long it takes on a busy machine; what never comes is an error."""
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def assert_gone(process_ids):
    wait_until(lambda: not any(map(is_alive, process_ids)))


def assert_fails_soon(rows, error, message):
    """The next rows lead to the error, and not to waiting, which would not end."""
    with pytest.raises(error, match=message) as caught:
        take(rows, 1000)
    return caught.value


BAD = {2: "answer_null", 3: "answer_null", 7: "bad_image", 11: "too_long"}


def test_workers_change_neither_the_rows_nor_the_states():
    source = Numbers(13, bad=BAD)
    with pipeline(source, workers=0) as rows:
        expected = [(row.id, rows.state()) for row in itertools.islice(rows, 25)]
    for workers in (1, 3):
        with pipeline(source, slow_if_even, workers=workers) as rows:
            assert [(row.id, rows.state()) for row in itertools.islice(rows, 25)] == expected


@pytest.mark.reliability("F12")
def test_a_state_saved_with_any_number_of_workers_is_restored_with_any_other():
    source = Numbers(13, bad=BAD)
    with pipeline(source, workers=0) as rows:
        states, taken = [rows.state()], []
        for _ in range(25):
            taken += take(rows, 1)
            states.append(rows.state())
    with pipeline(source, slow_if_even, workers=2) as rows:
        # In a pipeline in use, rows are on their way while the place changes.
        for place in [*range(24, -1, -1), 0]:
            rows.restore(states[place])
            count = min(1 + place % 3, 25 - place)
            assert take(rows, count) == taken[place : place + count]
        assert rows.state() == states[1]
        assert take(rows, 24) == taken[1:]
        assert rows.state() == states[25]
        saved = rows.state()
    with pipeline(source, workers=0) as alone, pipeline(source, workers=1) as helped:
        alone.restore(saved)
        helped.restore(saved)
        assert take(alone, 20) == take(helped, 20)


def test_a_single_epoch_ends_with_workers_too():
    with pipeline(Numbers(9), workers=2, repeat=False) as rows:
        assert len(take(rows, 100)) == 9
        with pytest.raises(StopIteration):
            next(rows)


def test_prepared_images_are_bitwise_those_of_this_process(tmp_path, processor):
    source = ParquetSource(
        write_verl(tmp_path / "a.parquet", [verl_row(n) for n in range(6)], row_group_size=2)
    )
    prepare = Preparer(processor, max_prompt_tokens=1000)
    with (
        pipeline(source, prepare, workers=0) as alone,
        pipeline(source, prepare, workers=2) as helped,
    ):
        for here, there in itertools.islice(zip(alone, helped, strict=True), 10):
            assert here.id == there.id
            for image, other in zip(here.images, there.images, strict=True):
                np.testing.assert_array_equal(image.patches, other.patches)


def test_rows_are_prepared_in_the_workers_which_hold_neither_jax_nor_a_device():
    with pipeline(Numbers(50), with_process, workers=2) as rows:
        seen = [row.metadata for row in itertools.islice(rows, 50)]
        assert {row["pid"] for row in seen} == set(rows.process_ids)
        assert os.getpid() not in rows.process_ids
    assert not any(row["jax"] for row in seen)
    assert {row["env"] for row in seen} == {"cpu"}


def test_a_worker_killed_while_large_rows_wait_ends_the_run():
    """While a step runs, workers have finished what they may; large rows fill every buffer."""
    with pipeline(Numbers(50), with_large_image, workers=2, prefetch=4) as rows:
        next(rows)
        time.sleep(0.3)
        processes = rows.process_ids
        state = rows.state()
        os.kill(processes[0], signal.SIGKILL)
        message = rf"data worker {processes[0]} was killed by signal 9 \(out of memory\?\)"
        assert_fails_soon(rows, PipelineError, message)
        assert rows.process_ids == ()
        assert_gone(processes)
        assert rows.state()["rows"] >= state["rows"]
        with pytest.raises(ValueError, match="the pipeline is closed"):
            next(rows)


def test_a_worker_killed_at_any_moment_ends_the_run():
    for delay in (0.0, 0.003, 0.01):
        with pipeline(Numbers(500), with_large_image, workers=1, prefetch=2) as rows:
            next(rows)
            killer = threading.Timer(delay, os.kill, (rows.process_ids[0], signal.SIGKILL))
            killer.start()
            assert_fails_soon(rows, PipelineError, r"was killed by signal 9")
            killer.join()


@pytest.mark.reliability("F35")
def test_a_worker_killed_while_it_works_on_a_row_ends_the_run(tmp_path):
    begun = tmp_path / "begun"

    def kill(process_id):
        wait_until(begun.exists)
        os.kill(process_id, signal.SIGKILL)

    with pipeline(Numbers(50), Stuck(begun), workers=1) as rows:
        killer = threading.Thread(target=kill, args=rows.process_ids)
        killer.start()
        assert_fails_soon(rows, PipelineError, r"killed by signal 9 .* while it had row \d+")
        killer.join()


@pytest.mark.parametrize("prepare", [unchanged, with_large_image])
def test_no_process_is_left_when_a_pipeline_closes(prepare):
    with pipeline(Numbers(50), prepare, workers=2) as rows:
        processes = rows.process_ids
        assert all(map(is_alive, processes))
        take(rows, 3)
    assert not any(map(is_alive, processes))


def test_closing_does_not_wait_for_workers_and_ends_whoever_waits_for_a_row(tmp_path):
    rows = pipeline(Numbers(50), Stuck(tmp_path / "begun"), workers=2)
    processes, raised = rows.process_ids, []

    def read():
        try:
            next(rows)
        except PipelineError as error:
            raised.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    # Rows are asked for by who waits for one.
    wait_until((tmp_path / "begun").exists)
    rows.close()  # it would wait for an hour
    assert not any(map(is_alive, processes))
    reader.join()
    assert len(raised) == 1


def test_no_process_is_left_after_an_error_of_the_consumer():
    processes = []

    def consume():
        with pipeline(Numbers(50), workers=1) as rows:
            processes.extend(rows.process_ids)
            raise KeyError

    with pytest.raises(KeyError):
        consume()
    assert not any(map(is_alive, processes))


def test_no_process_is_left_after_an_error_of_the_data():
    source = Numbers(10, bad=dict.fromkeys(range(10), "bad_image"))
    rows = pipeline(source, workers=1)
    processes = rows.process_ids
    assert_fails_soon(rows, ValueError, "no row of a whole epoch can be used")
    assert not any(map(is_alive, processes))


def test_no_process_is_left_where_nobody_closes_the_pipeline():
    rows = pipeline(Numbers(50), workers=1)
    take(rows, 3)
    processes = rows.process_ids
    del rows
    gc.collect()
    assert_gone(processes)


# No "if __name__" protects it, and its source is its own: workers neither run it nor import it.
SCRIPT = """
import os, sys, time
from dataclasses import dataclass
from perl_jax.data import Pipeline, PipelineConfig
from perl_jax.types import Example

@dataclass
class Mine:
    rows: int
    def __len__(self): return self.rows
    def __getitem__(self, index): return Example(str(index), "mine", "?", (), str(index))
    def fingerprint(self): return "mine"

print("script", flush=True)
rows = Pipeline(Mine(20), lambda row: row, PipelineConfig(workers=1), seed=0)
print(sorted(int(next(rows).id) for _ in range(20)) == list(range(20)), flush=True)
print(*rows.process_ids, flush=True)
"""


def run_script(tmp_path, end):
    (tmp_path / "mine.py").write_text(SCRIPT + end)
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "mine.py")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


@pytest.mark.parametrize("how", ["ends", "raises", "is interrupted", "is killed"])
def test_no_process_is_left_when_the_reading_one_ends(tmp_path, how):
    end = {"ends": "", "raises": "raise SystemExit(3)"}.get(how, "time.sleep(3600)")
    script = run_script(tmp_path, end)
    assert script.stdout.readline() == "script\n"
    assert script.stdout.readline() == "True\n"
    processes = tuple(map(int, script.stdout.readline().split()))
    assert len(processes) == 1
    if how.startswith("is"):
        assert all(map(is_alive, processes))
        script.send_signal(signal.SIGKILL if how == "is killed" else signal.SIGTERM)
    script.wait()
    assert_gone(processes)
    script.stdout.close()


def test_workers_outlive_the_signals_that_end_a_job_until_the_reader_is_done():
    with pipeline(Numbers(50), workers=2) as rows:
        first = take(rows, 5)
        for process in rows.process_ids:
            os.kill(process, signal.SIGTERM)
            os.kill(process, signal.SIGINT)
        first += take(rows, 45)
    assert sorted(first) == list(range(50))


def test_what_raises_in_a_worker_comes_with_its_traceback():
    source = Numbers(10, raising={4: OSError(5, "Input/output error")})
    with pipeline(source, workers=1, repeat=False) as rows:
        error = assert_fails_soon(rows, PipelineError, "a data worker failed on row 4")
    assert str(error) == "a data worker failed on row 4: OSError: [Errno 5] Input/output error"
    assert 'numbers.py", line' in error.__notes__[0]


def test_the_cause_of_a_failure_is_one_line_whatever_was_noted_of_it():
    cause = OSError("no room\n  for this row")
    cause.add_note("while reading shard 3")
    with pipeline(Numbers(10, raising={4: cause}), workers=1, repeat=False) as rows:
        error = assert_fails_soon(rows, PipelineError, "a data worker failed on row 4")
    assert str(error) == "a data worker failed on row 4: OSError: no room for this row"
    assert any("while reading shard 3" in note for note in error.__notes__)


def test_a_source_that_cannot_be_made_in_a_worker_is_an_error_that_says_why():
    with pipeline(Unreadable(10), workers=1) as rows:
        assert_fails_soon(rows, PipelineError, r"failed on row \d+: .*are not mounted here")


def test_a_source_that_cannot_be_pickled_is_an_error_at_once():
    source = Numbers(10, raising={0: threading.Lock()})
    with pytest.raises((TypeError, pickle.PicklingError), match="lock"):
        pipeline(source, workers=1)


def test_a_row_that_cannot_be_sent_is_an_error_and_not_lost():
    with pipeline(Numbers(10), with_lambda, workers=1) as rows:
        assert_fails_soon(rows, PipelineError, r"(?s)data worker failed on row \d.*pickle")
