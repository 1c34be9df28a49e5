"""The lines of a run in order, by a clock that is set, without a terminal and on a real one."""

import io
import itertools
import logging
import os
import re
import termios
from contextlib import suppress

import pytest
from jax import monitoring

from perl_jax.training.display.console import Console, groups_kept

COMPILE = "/jax/core/compile/backend_compile_duration"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def console_of(total, **settings):
    """A console without its thread, whose ticks a test makes."""
    stream, clock = io.StringIO(), Clock()
    return Console(total, stream=stream, clock=clock, **settings), stream, clock


def shown(total, seconds_per_step, first=0):
    console, stream, clock = console_of(total)
    console.begin(first)
    for step in range(first + 1, total + 1):
        clock.now += seconds_per_step
        console.step(step, {"reward/mean": step / total})
    console.close()
    return stream.getvalue().splitlines()


def compile_for(console, clock, seconds, name="jit(decode)"):
    """Lets the compiler be at a program for so long; the console is told as JAX does it."""
    monitoring.record_scalar(COMPILE, 0.0, fun_name=name)
    clock.now += seconds
    console.tick()
    monitoring.record_event_duration_secs(COMPILE, seconds, fun_name=name)


# Lines.


def test_without_a_terminal_there_is_a_line_for_every_tenth_of_the_run():
    lines = shown(200, 0.5)
    assert [line.split()[1] for line in lines] == [f"{step}/200" for step in range(20, 201, 20)]
    assert lines[0] == "step 20/200  reward 0.100  01:30 left"
    assert lines[-1] == "step 200/200  reward 1.000  00:00 left"


def test_a_slow_run_has_a_line_every_half_minute():
    lines = shown(1000, 14.0)
    steps = [int(re.search(r"step (\d+)/", line)[1]) for line in lines]
    # Three steps of 14 seconds pass half a minute; the first line of a tenth comes on its own.
    assert steps[:4] == [3, 6, 9, 12]
    assert set(range(100, 1001, 100)) <= set(steps)
    assert max(later - earlier for earlier, later in itertools.pairwise(steps)) == 3


def test_the_time_left_is_that_of_the_steps_made_since_the_start():
    # 10 steps of 6 seconds each, made after a resume at 80; 10 are left.
    lines = shown(100, 6.0, first=80)
    assert "step 90/100  reward 0.900  01:00 left" in lines


def test_a_line_shows_what_the_step_has_and_keeps_what_it_lacks():
    console, stream, _ = console_of(2)
    metrics = {"reward/mean": 0.5, "reward/accuracy": 0.25, "perf/tokens_per_second": 12345.6}
    console.step(1, {**metrics, "x": 1})
    console.step(2, {"reward/mean": 0.75})
    assert stream.getvalue().splitlines() == [
        "step 1/2  reward 0.500  accuracy 0.250  tokens/s 12,346  00:00 left",
        "step 2/2  reward 0.750  accuracy 0.250  tokens/s 12,346  00:00 left",
    ]


def test_supervised_training_shows_its_loss():
    console, stream, _ = console_of(1)
    console.step(1, {"supervised/loss": 0.12345, "supervised/likely": 0.987})
    assert stream.getvalue() == "step 1/1  loss 0.1235  likely 0.987  00:00 left\n"


def test_a_step_says_how_many_groups_it_kept_and_why_others_were_dropped():
    counts = {"kept": 8, "drawn": 1200, "too_easy": 1100, "too_hard": 89, "unscored": 1}
    metrics = {f"filter/{name}": count for name, count in counts.items()}
    # What was drawn ahead is not among the 1,200.
    metrics["filter/surplus"] = 2
    told = "8 of 1,200 (1,100 too easy, 89 too hard, 1 unscored)"
    assert groups_kept(metrics) == told
    assert groups_kept({"filter/kept": 4, "filter/drawn": 4, "filter/too_easy": 0}) == "4 of 4"
    console, stream, _ = console_of(1)
    console.step(1, metrics)
    assert f"kept {told}" in stream.getvalue()


def test_rows_of_the_data_that_were_left_out_are_counted_where_there_are_any():
    console, stream, _ = console_of(2)
    console.step(1, {"filtered/prompt_tokens": 1200, "filtered/source": 34, "skipped/bad_image": 0})
    console.step(2, {"skipped/bad_image": 2})
    first, second = stream.getvalue().splitlines()
    assert first == "step 1/2  rows filtered 1,234  00:00 left"
    assert second == "step 2/2  rows filtered 1,234  rows skipped 2  00:00 left"


def test_a_long_step_says_what_is_going_on_after_half_a_minute_of_silence():
    console, stream, clock = console_of(200)
    console.begin(12)
    for done in range(0, 1536, 50):
        console("drawing", done, 1536)
        clock.now += 1
        console.tick()
    console("grading")
    clock.now += 30
    console.tick()
    assert stream.getvalue().splitlines() == [
        "step 13 of 200: drawing 1,450 of 1,536",
        "step 13 of 200: grading",
    ]


# Compilations.


def test_a_compilation_of_a_second_is_announced_while_it_lasts_and_its_time_is_told():
    console, stream, clock = console_of(4)
    with console:
        compile_for(console, clock, 0.9)
        compile_for(console, clock, 12.34)
        compile_for(console, clock, 2.0, "jit(<lambda>)")
    assert stream.getvalue().splitlines() == [
        "compiling decode",
        "compiled decode in 12.3 s",
        "compiling a program",
        "compiled a program in 2.0 s",
    ]


def test_the_time_left_is_without_the_time_of_compilations():
    console, stream, clock = console_of(10)
    with console:
        console.begin(0)
        compile_for(console, clock, 300.0)
        clock.now += 6
        console.step(1, {})
    assert stream.getvalue().splitlines()[-1] == "step 1/10  00:54 left"


def test_the_activity_is_the_compilation_while_it_lasts():
    console, stream, clock = console_of(4)
    with console:
        console("drawing", 0, 16)
        monitoring.record_scalar(COMPILE, 0.0, fun_name="jit(decode)")
        clock.now += 1.5
        console.tick()
        clock.now += 31
        console.tick()
    assert stream.getvalue().splitlines() == ["compiling decode", "step 1 of 4: compiling decode"]


# What others say.


def logged(console, log):
    with console.logging_of("perl_jax"):
        logger = logging.getLogger("perl_jax.some.module")
        logger.setLevel(logging.INFO)
        log(logger)
        logger.setLevel(logging.NOTSET)


def test_log_records_are_plain_lines_and_go_nowhere_else(capsys):
    console, stream, _ = console_of(4)
    elsewhere = logging.StreamHandler(io.StringIO())
    logging.getLogger().addHandler(elsewhere)
    try:
        logged(console, lambda log: (log.info("going on"), log.warning("row %d is bad", 3)))
    finally:
        logging.getLogger().removeHandler(elsewhere)
    assert stream.getvalue() == "going on\nwarning: row 3 is bad\n"
    assert elsewhere.stream.getvalue() == ""
    logger = logging.getLogger("perl_jax")
    assert logger.propagate
    assert not logger.handlers


def test_escapes_of_data_and_model_text_are_shown_and_not_obeyed():
    console, stream, _ = console_of(1)
    console.say("id \x1b[2J\x07")
    console("drawing \x1b[1m")
    logged(console, lambda log: log.warning("%s", "row \u202e1"))
    assert stream.getvalue() == "id \\u001b[2J\\u0007\nwarning: row \\u202e1\n"


def test_disabled_it_shows_warnings_alone_and_names_the_host():
    console, stream, clock = console_of(2, enabled=False, host="host 1")
    with console:
        console.begin(0)
        console("drawing", 1, 2)
        console.say("held-out accuracy 0.5")
        compile_for(console, clock, 40.0)
        console.step(1, {"reward/mean": 0.5})
        logged(console, lambda log: (log.info("quiet"), log.warning("loud")))
    assert stream.getvalue() == "host 1: warning: loud\n"


def test_after_its_end_lines_can_still_be_written():
    console, stream, _ = console_of(1)
    with console:
        pass
    console.say("exporting")
    assert stream.getvalue() == "exporting\n"


# On a terminal.


def terminal_output(use):
    """What ``use`` makes appear on a real terminal."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    with os.fdopen(theirs, "w") as stream:
        use(stream)
    # A read gives what has come through by then; one after the last raises.
    output = b""
    with suppress(OSError):
        while part := os.read(ours, 1 << 16):
            output += part
    os.close(ours)
    return output.decode()


@pytest.fixture(scope="module")
def terminal():
    def use(stream):
        clock = Clock()
        console = Console(40, stream=stream, clock=clock)
        console.begin(10)
        clock.now += 5
        console.step(11, {"reward/mean": 0.5})
        clock.now += 45
        console.step(20, {"reward/accuracy": 0.25, "filter/kept": 8, "filter/drawn": 9})
        for done in range(500):
            console("drawing", done, 500)
        clock.now += 1
        console("drawing", 400, 500)
        console.say("held-out accuracy 0.5")
        console.close()

    return terminal_output(use)


def test_on_a_terminal_it_is_one_bar_with_the_activity_the_numbers_and_the_time_left(terminal):
    last = re.findall(r"step \d+ of 40:.*", terminal)[-1]
    assert last.startswith("step 21 of 40: drawing 400 of 500 |")
    assert "|  50% " in last
    # 10 steps took 50 seconds; 20 are left.
    assert "01:40 left, reward 0.500, accuracy 0.250, kept 8 of 9" in last
    assert "held-out accuracy 0.5" in terminal


def test_a_terminal_is_drawn_on_ten_times_a_second_at_most(terminal):
    assert len(re.findall(r"drawing \d+ of 500", terminal)) < 10
