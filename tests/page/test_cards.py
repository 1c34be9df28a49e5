from perl_jax.page.cards import card, without_middle
from perl_jax.page.groups import Group
from tests.page.runs import HOSTILE, SEEN
from tests.training.display.rows import row


def shown(limit=1_000, **changes):
    return card(Group.of({"step": 3, **row(**changes)}, "log"), {}, limit)


def text(pieces):
    return "".join(piece.text for piece in pieces)


def changed(pieces):
    return [piece.text for piece in pieces if piece.changed]


def test_each_order_has_its_images_question_and_truth_with_the_changes_marked():
    own, other = shown().columns
    assert [slot.number for slot in own.slots] == [1, 2]
    assert [(slot.number, slot.moved) for slot in other.slots] == [(2, True), (1, True)]
    assert (text(own.question), text(other.question)) == tuple(row()["questions"])
    assert (changed(own.question), changed(other.question)) == (["First"], ["Second"])
    assert (changed(own.truth), changed(other.truth)) == (["A"], ["B"])
    assert (own.own, other.own) == (True, False)


def test_of_three_orders_the_others_are_marked_against_the_own_one():
    one = shown(
        images=["aa", "bb", "cc"],
        orders=[[0, 1, 2], [2, 0, 1], [1, 2, 0]],
        questions=["Is 1 it?", "Is 2 it?", "Is 3 it?"],
        truths=["1", "2", "3"],
        responses=[["x"]] * 3, lengths=[[1]] * 3, stopped=[[True]] * 3, accuracy=[[1.0]] * 3,
        rewards={}, reward=[[1.0]] * 3, advantages=[[0.0]] * 3,
    )  # fmt: skip
    assert [changed(column.question) for column in one.columns] == [[], ["2"], ["3"]]
    assert [slot.moved for slot in one.columns[1].slots] == [True, True, True]


def test_a_response_has_its_rewards_its_advantage_and_its_verdict():
    own, other = shown().columns
    first, second = own.responses
    assert (first.verdict, second.verdict, other.responses[1].verdict) == (
        "right", "wrong", "no grade",
    )  # fmt: skip
    assert dict(first.figures) == {
        "reward": "0.9", "advantage": "+0.5", "accuracy": "1", "mine": "0.5", "tokens": "2",
    }  # fmt: skip
    assert dict(other.responses[1].figures)["advantage"] == "none"
    assert (first.cut_off, second.cut_off) == (False, True)
    assert own.right == "1 of 2 right"
    assert other.right == "1 of 1 right"


def test_responses_that_are_alike_in_everything_stand_together():
    same = {"lengths": [[2, 2], [2, 2]], "stopped": [[True, True], [True, True]]}
    alike = shown(
        responses=[["A", "A"], ["A", "A"]], accuracy=[[1.0, 1.0], [1.0, 0.0]],
        reward=[[1.0, 1.0], [1.0, 1.0]], advantages=[[0.5, 0.5], [0.5, 0.5]], rewards={}, **same,
    )  # fmt: skip
    assert [one.count for one in alike.columns[0].responses] == [2]
    assert [one.count for one in alike.columns[1].responses] == [1, 1]


def test_the_answers_to_an_order_are_counted():
    one = shown(responses=[[r"\boxed{B}", r"\boxed{B}"], [r"\boxed{A}", "none"]])
    assert one.columns[0].answers == (("B", 2),)
    assert one.columns[1].answers == (("A", 1), ("no answer", 1))


def test_a_long_response_keeps_its_start_and_its_end():
    long = "a" * 600 + "b" * 1_000 + r"\boxed{C}"
    cut = without_middle(long, 100)
    assert cut == "a" * 50 + "\n[… 1,509 characters …]\n" + "b" * 41 + r"\boxed{C}"
    assert without_middle("abc", 3) == "abc"
    one = shown(100, responses=[[long, ""], ["", ""]])
    assert one.columns[0].responses[0].text == cut
    assert one.columns[0].answers[0] == ("C", 1)


def test_why_an_example_kept_its_order_is_said_in_words():
    one = shown(orders=[[0, 1], [0, 1]], unpermuted="ambiguous_side", outcome="too_hard")
    assert one.reason == "ambiguous_side: left or right may mean an image or a place inside one"
    assert (one.kind, one.outcome) == ("own order", "too hard")
    assert [column.own for column in one.columns] == [True, True]
    assert shown(unpermuted="a rule's own words").reason == "a rule's own words"


def test_characters_that_are_not_seen_are_written_out():
    one = shown(
        id=HOSTILE, source=HOSTILE, questions=[HOSTILE, HOSTILE], truths=[HOSTILE, HOSTILE],
        responses=[[HOSTILE, HOSTILE], [HOSTILE, HOSTILE]], unpermuted=HOSTILE, outcome=HOSTILE,
    )  # fmt: skip
    column = one.columns[0]
    everywhere = (one.id, one.source, one.reason, text(column.question), text(column.truth))
    assert set(everywhere) == {SEEN}
    assert one.outcome == SEEN
    assert [response.text for response in column.responses] == [SEEN, SEEN]
