"""Every guard of the table is needed: without it, the fault happens that it protects against."""

from collections import Counter

import pytest

from tests.guards.removal import Fault, Guard, hold, refused, shown_to_be_needed
from tests.guards.table import GUARDS

AREAS = {
    "loading", "data", "images", "rewards", "sampler", "update", "checkpoint", "files", "settings",
    "launch", "page", "judge",
}  # fmt: skip


@pytest.mark.parametrize("guard", GUARDS, ids=str)
def test_without_the_guard_its_fault_happens(guard, tmp_path):
    shown_to_be_needed(guard, tmp_path)


def test_guards_of_every_area_are_in_the_table():
    counts = Counter(guard.area for guard in GUARDS)
    assert counts.keys() == AREAS
    assert min(counts.values()) >= 3, counts
    assert len(GUARDS) >= 80
    assert len({(guard.file, guard.text) for guard in GUARDS}) == len(GUARDS)


FILE = "perl_jax/legible.py"
GUARD = 'return _UNSEEN.sub(lambda match: f"\\\\u{ord(match[0]):04x}", text'


def unseen(module, directory):
    hold(module.legible("\u202e") == "\\u202e", "it turns the text around")


def nothing(module, directory):
    pass


def always(module, directory):
    raise Fault("always")


def other_error(module, directory):
    raise TypeError("other")


@pytest.mark.parametrize(
    ("text", "instead", "scenario", "kind", "message"),
    [
        (GUARD, "return (text", nothing, AssertionError, "nothing happens without the guard"),
        (GUARD, "return (text", always, AssertionError, "happens with the guard too"),
        (GUARD, "return (text", other_error, TypeError, "other"),
        (GUARD, "return (texts", unseen, NameError, "texts"),
        ("no such text", "", unseen, AssertionError, "got it 0 times"),
        ("text", "", unseen, AssertionError, "expected the guard once"),
        (GUARD, GUARD, unseen, AssertionError, "takes nothing away"),
    ],
)
def test_a_guard_that_is_not_shown_to_be_needed_is_an_error(
    text, instead, scenario, kind, message, tmp_path
):
    with pytest.raises(kind, match=message) as caught:
        shown_to_be_needed(Guard("page", FILE, text, instead, scenario), tmp_path)
    assert caught.type is not Fault


@pytest.mark.parametrize("error", [NameError, AttributeError, ImportError, SyntaxError])
def test_code_that_a_removal_broke_is_no_fault(error):
    def broken():
        raise error("broken")

    with pytest.raises(error, match="broken"):
        refused(ValueError, "words", broken)


@pytest.mark.parametrize("found", [None, ValueError("another message"), TypeError("words")])
def test_another_outcome_than_the_refusal_is_a_fault(found):
    def call():
        if found is not None:
            raise found

    with pytest.raises(Fault):
        refused(ValueError, "words", call)


def test_a_removal_does_not_reach_other_tests(tmp_path):
    from perl_jax.legible import legible

    shown_to_be_needed(Guard("page", FILE, GUARD, "return (text", unseen), tmp_path)
    assert legible("\u202e") == "\\u202e"
