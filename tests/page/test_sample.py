from perl_jax.page.groups import Group
from perl_jax.page.sample import Logged, choose
from tests.training.display.rows import row


def logged(counts, steps=10):
    """So many groups of each source in each of some steps."""
    groups = []
    for step in range(1, steps + 1):
        number = 0
        for source, count in counts.items():
            for _ in range(count):
                one = {"step": step, **row(number, source=source)}
                groups.append(Group.of(one, "log"))
                number += 1
    return Logged.of(groups)


def test_all_are_chosen_if_there_are_no_more():
    found = logged({"a": 2, "b": 1})
    assert found.total == 30
    assert (
        choose(found, 30)
        == choose(found, 99)
        == {key for one in found.keys.values() for key in one}
    )


def test_a_rare_source_is_shown_whole_and_others_share_the_rest():
    found = logged({"common": 30, "usual": 5, "rare": 1})
    chosen = choose(found, 50)
    of = {source: len(chosen & set(keys)) for source, keys in found.keys.items()}
    assert of == {"rare": 10, "usual": 20, "common": 20}


def test_every_step_is_shown_alike():
    chosen = choose(logged({"a": 20}), 100)
    assert [sum(step == wanted for step, _ in chosen) for wanted in range(1, 11)] == [10] * 10


def test_not_only_the_first_groups_of_the_steps_are_shown():
    chosen = choose(logged({"a": 16}, steps=32), 32)
    assert {step for step, _ in chosen} == set(range(1, 33))
    assert len({group for _, group in chosen}) > 8


def test_the_same_log_gives_the_same_choice():
    assert choose(logged({"a": 9, "b": 3}), 17) == choose(logged({"a": 9, "b": 3}), 17)


def test_what_was_logged_is_counted_by_source_and_reason():
    rows = [
        row(0),
        row(1, accuracy=[[1.0, 1.0], [0.0, 0.0]], outcome="too_hard"),
        row(2, orders=[[0, 1], [0, 1]], unpermuted="ambiguous_side"),
        row(3, source="other"),
    ]
    found = Logged.of(Group.of({"step": 1, **one}, "log") for one in rows)
    assert found.outcomes == {
        ("digits", "kept"): 2,
        ("digits", "too_hard"): 1,
        ("other", "kept"): 1,
    }
    assert found.permuted == {"digits": 2, "other": 1}
    # Of the row as it is, half is right under one order, and all under the other.
    assert found.flips == {"digits": 2, "other": 1}
    assert found.unpermuted == {"ambiguous_side": 1}
