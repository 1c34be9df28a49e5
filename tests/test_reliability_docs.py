"""docs/reliability.md is what the markers of the tests say, and leaves no fault out."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("make_reliability", DOCS / "make_reliability.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def faults_of(*lines):
    return "\n".join(["# a note", "## Rows", *lines])


def test_the_page_is_what_the_markers_say(made):
    content = (DOCS / "reliability.md").read_text(encoding="utf-8")
    assert content == made.page(), "run python docs/make_reliability.py"


def test_every_fault_of_the_list_is_on_the_page_once(made):
    numbers = [str(n) for n in range(1, 91)] + [f"F{n}" for n in range(1, 43)]
    faults = made.read_faults(made.FAULTS.read_text(encoding="utf-8"))
    assert [fault.number for rows in faults.values() for fault in rows] == numbers
    rows = [line for line in made.page().splitlines() if line.startswith("| ")]
    shown = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert [number for number in shown if number in numbers] == numbers


def test_a_line_that_is_no_fault_is_named(made):
    for line in ("1 | alone", "1 | a | b | c | d", "1 |  | b", "2 | again | b"):
        with pytest.raises(ValueError, match=f"line 4: .*got '{line.split()[0]}"):
            made.read_faults(faults_of("2 | a | b", line))
    with pytest.raises(ValueError, match="line 1: expected a new number"):
        made.read_faults("1 | a | b")


def test_a_fault_without_a_test_needs_a_reason_and_only_such_a_one(made):
    tests = {"1": [made.Test("test_a.py::test_it", False)]}
    made.check(made.read_faults(faults_of("1 | a | b", "2 | c | d | no machine does it")), tests)
    with pytest.raises(ValueError, match="without a test and without a reason: 2"):
        made.check(made.read_faults(faults_of("1 | a | b", "2 | c | d")), tests)
    with pytest.raises(ValueError, match="with a test and a reason why there is none: 1"):
        made.check(made.read_faults(faults_of("1 | a | b | it cannot be")), tests)
    with pytest.raises(ValueError, match=r"in markers and not in faults\.txt: 1"):
        made.check(made.read_faults(faults_of("2 | a | b | none")), tests)


def test_markers_are_found_on_functions_and_methods_of_every_file(made, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.reliability('1', 'F2')\n"
        "@pytest.mark.parametrize('n', [1])\n"
        "def test_one(n): pass\n"
        "class TestMore:\n"
        "    @pytest.mark.story\n"
        "    @pytest.mark.reliability('1')\n"
        "    def test_two(self): pass\n"
        "def test_three(): pass\n"
    )
    (tmp_path / "test_story.py").write_text(
        "pytestmark = pytest.mark.story\n@pytest.mark.reliability('3')\ndef test_it(): pass\n"
    )
    one = made.Test("deep/test_it.py::test_one", False)
    assert made.marked_tests(tmp_path) == {
        "1": [one, made.Test("deep/test_it.py::TestMore::test_two", True)],
        "F2": [one],
        "3": [made.Test("test_story.py::test_it", True)],
    }
