"""Times that are scripted: turns, ratios, and what counts as worse."""

import pytest

from benchmarks.harness import Case, Options, alternate, ratio, worse


class Clock:
    """Advances by what each call of a side takes."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def side(self, name, *seconds):
        taken = iter(seconds)

        def run():
            self.calls.append(name)
            self.now += next(taken)

        return run


def test_sides_take_turns_and_the_first_turns_are_dropped():
    clock = Clock()
    sides = {"a": clock.side("a", 9, 1, 2), "b": clock.side("b", 8, 3, 5)}
    assert alternate(sides, 2, clock=clock) == {"a": [1, 2], "b": [3, 5]}
    assert clock.calls == ["a", "b"] * 3


def test_as_many_turns_are_dropped_as_asked_for():
    clock = Clock()
    found = alternate({"a": clock.side("a", *range(10))}, 3, dropped=4, clock=clock)
    assert found == {"a": [4, 5, 6]}


def test_a_ratio_is_the_median_of_the_ratios_of_turns():
    # Load that doubles both sides of a turn changes nothing; one bad turn changes nothing either.
    assert ratio([4, 8, 90], [2, 4, 3]) == 2


def test_sides_of_a_ratio_have_as_many_turns():
    with pytest.raises(ValueError, match="shorter"):
        ratio([1, 2], [1])


def test_repeats_replace_what_a_benchmark_takes_by_default():
    assert Options().turns(5) == 5
    assert Options(repeats=2).turns(5) == 2


def test_a_case_is_written_with_medians_and_spread():
    case = Case("x", {"time": 2.34567}, {"a": [1, 3, 2]}, {"a": {"flops": 7}}, {"tokens": 4})
    assert case.as_json() == {
        "ratios": {"time": 2.346},
        "seconds": {"a": {"median": 2, "least": 1, "most": 3}},
        "counted": {"a": {"flops": 7}},
        "facts": {"tokens": 4},
    }
    lines = case.lines()
    assert lines[0] == "x: time 2.35"
    assert " ".join(lines[1].split()) == "a 2.000 s (1.000 to 3.000) 7.000e+00 flops"
    assert lines[2] == "  tokens: 4"


def cases(**ratios):
    return {"update": {"whole": {"ratios": ratios}}}


@pytest.mark.parametrize(("now", "is_worse"), [(8.6, False), (8.4, True), (20.0, False)])
def test_a_ratio_is_worse_if_it_lost_more_than_15_percent(now, is_worse):
    assert bool(worse(cases(time=now), cases(time=10.0))) is is_worse


def test_what_is_worse_is_named_with_both_ratios():
    (line,) = worse(cases(time=5.0, memory=4.0), cases(time=10.0, memory=4.0))
    assert line == "update: whole: time: 5.0, 50% below the committed 10.0"


def test_a_committed_ratio_that_is_gone_is_told():
    lines = worse(cases(time=10.0), cases(time=10.0, memory=3.0))
    assert lines == ["update: whole: memory: 3.0 is committed; it was not measured"]
    (line,) = worse({"update": {}}, cases(time=10.0))
    assert line.startswith("update: whole: time")


def test_only_benchmarks_that_ran_are_compared():
    assert worse({}, cases(time=10.0)) == []
    assert worse(cases(time=1.0), {}) == []
