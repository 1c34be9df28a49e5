import io
import itertools
import os
import re
import termios
import time

from perl_jax.training.display.progress import ProgressBar, final_table


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def shown(total, seconds_per_step, **settings):
    stream, clock = io.StringIO(), Clock()
    first = settings.get("initial_step", 0)
    progress = ProgressBar(total, stream=stream, clock=clock, **settings)
    for step in range(first + 1, total + 1):
        clock.now += seconds_per_step
        progress.update(step, {"reward/mean": step / total})
    progress.close()
    return stream.getvalue().splitlines()


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
    lines = shown(100, 6.0, initial_step=80)
    assert "step 90/100  reward 0.900  01:00 left" in lines


def test_a_line_shows_what_the_step_has_and_keeps_what_it_lacks():
    stream = io.StringIO()
    progress = ProgressBar(2, stream=stream, clock=Clock())
    progress.update(
        1, {"reward/mean": 0.5, "reward/accuracy": 0.25, "perf/tokens_per_second": 12345.6, "x": 1}
    )
    progress.update(2, {"reward/mean": 0.75})
    assert stream.getvalue().splitlines() == [
        "step 1/2  reward 0.500  accuracy 0.250  tokens/s 12,346  00:00 left",
        "step 2/2  reward 0.750  accuracy 0.250  tokens/s 12,346  00:00 left",
    ]


def test_supervised_training_shows_its_loss():
    stream = io.StringIO()
    ProgressBar(1, stream=stream, clock=Clock()).update(
        1, {"supervised/loss": 0.12345, "supervised/likely": 0.987}
    )
    assert stream.getvalue() == "step 1/1  loss 0.1235  likely 0.987  00:00 left\n"


def test_disabled_it_shows_nothing():
    stream = io.StringIO()
    progress = ProgressBar(2, enabled=False, stream=stream)
    progress.update(1, {"reward/mean": 0.5})
    progress.write("held-out accuracy 0.5")
    progress.close()
    assert stream.getvalue() == ""


def terminal_output(use):
    """What ``use`` makes appear on a real terminal."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    with os.fdopen(theirs, "w") as stream:
        use(stream)
        time.sleep(0.01)
        output = os.read(ours, 1 << 16).decode()
    os.close(ours)
    return output


def test_on_a_terminal_it_is_one_bar_with_the_numbers_and_the_time_left():
    def use(stream):
        progress = ProgressBar(40, initial_step=10, stream=stream)
        progress.update(11, {"reward/mean": 0.5})
        time.sleep(0.15)  # The bar is drawn ten times a second at most.
        progress.update(20, {"reward/accuracy": 0.25, "perf/tokens_per_second": 800.0})
        progress.write("held-out accuracy 0.5")
        progress.close()

    output = terminal_output(use)
    assert "held-out accuracy 0.5" in output
    last = re.findall(r"training:.*", output)[-1]
    assert " 50%|" in last
    assert "20/40" in last
    assert "reward=0.500, accuracy=0.250, tokens/s=800" in last
    assert re.search(r"\[00:\d\d<\d\d:\d\d", last)


def test_the_final_table_lines_up_before_after_and_change():
    before = {"accuracy": 0.4123, "truncated": 0.05, "examples": 200, "dropped": 1.0}
    after = {"accuracy": 0.7811, "truncated": 0.0, "examples": 212, "steps": 120}
    text = final_table(before, after)
    assert [line.split() for line in text.splitlines()] == [
        ["before", "after", "change"],
        ["accuracy", "0.412", "0.781", "+0.369"],
        ["truncated", "0.050", "0.000", "-0.050"],
        ["examples", "200", "212", "+12"],
        ["dropped", "1.000", "-", "-"],
        ["steps", "-", "120", "-"],
    ]
    assert len({len(line) for line in text.splitlines()}) == 1
