import re

import pytest

from perl_jax.permutation import (
    BUILT_IN,
    CannotPermute,
    Rule,
    RuleByColumn,
    movable_slots,
    rule_for,
    rules_from_config,
)
from perl_jax.types import Example


def row(source, num_images=2, **metadata):
    return Example("x", source, "?", tuple(range(num_images)), "A", (), metadata)


@pytest.mark.parametrize(
    ("source", "metadata", "movable", "answer"),
    [
        ("IIGroup/Mantis-Instruct-nlvr2", {}, "all", "invariant"),
        ("Mantis-Instruct-dreamsim", {}, "all", "invariant"),
        ("Mantis-Instruct-iconqa", {}, "option_images", "remap_letter"),
        ("TIGER-Lab/Mantis-Instruct/imagecode", {}, "all", "remap_letter"),
        ("TIGER-Lab/Mantis-Instruct/multi_vqa", {}, "all", "invariant"),
        ("ShowHowTo", {"question_type": "missing_frame"}, (-4, -3, -2, -1), "remap_letter"),
        ("ShowHowTo", {"question_type": "description_to_frame"}, (-4, -3, -2, -1), "remap_letter"),
        ("ShowHowTo_e", {"question_type": "next_frame"}, (-4, -3, -2, -1), "remap_letter"),
        ("ShowHowTo_e", {"question_type": "ordering"}, "all", "relabel_order"),
        ("TIGER-Lab/Mantis-Eval", {}, "all", "invariant"),
        ("tiger-lab/nlvr2", {}, "all", "invariant"),
        ("BLINK", {"sub_task": "Art_Style"}, "all_but_first", "remap_letter"),
        ("BLINK", {"sub_task": "multi view reasoning"}, "all", "invariant"),
        ("MMIU", {"task": "face_retrieval"}, "all_but_first", "remap_letter"),
        ("mehrankazemi/ReMI", {"task": "IQ"}, (1, 2, 3, 4), "remap_letter"),
        ("MuirBench", {"task": "Counting"}, "option_images", "remap_letter"),
        ("MMMU/MMMU", {}, "option_images", "remap_letter"),
        ("PeijieWang/MV-MATH", {}, "option_images", "remap_letter"),
        ("TIGER-Lab/ViRL39K", {}, "option_images", "remap_letter"),
    ],
)
def test_the_rule_of_a_source(source, metadata, movable, answer):
    rule = rule_for(row(source, **metadata))
    assert (rule.movable, rule.answer) == (movable, answer)


@pytest.mark.parametrize(
    ("source", "metadata", "reason"),
    [
        ("Mantis-Instruct-nextqa", {}, "temporal"),
        ("Mantis-Instruct-star", {}, "temporal"),
        ("Mantis-Instruct-visual_story_telling", {}, "temporal"),
        ("Mantis-Instruct-spot-the-diff", {}, "free_text"),
        ("MMIU", {"task": "temporal_ordering"}, "temporal"),
        ("MMIU", {"task": "next_img_prediction"}, "temporal"),
        ("MMIU", {"task": "video_captioning"}, "temporal"),
        ("MMIU", {"task": "single_object_tracking"}, "tracking"),
        ("MMIU", {"task": "point_tracking"}, "tracking"),
        ("MMIU", {"task": "visual_cloze"}, "cloze"),
        ("MMIU", {"task": "jigsaw_puzzle_solving"}, "jigsaw"),
        ("MMIU", {"task": "ravens_progressive_matrices"}, "raven"),
        ("MMIU", {"task": "a task of tomorrow"}, "unlisted_task"),
        ("BLINK", {"sub_task": "Counting"}, "unlisted_task"),
        ("ReMI", {"task": "Collisions"}, "temporal"),
        ("ReMI", {"task": "Maps"}, "bound_tags"),
        ("MuirBench", {"task": "Ordering"}, "temporal"),
        ("MuirBench", {"task": "Action Understanding"}, "temporal"),
    ],
)
def test_tasks_that_are_never_permuted_say_why(source, metadata, reason):
    example = row(source, **metadata)
    with pytest.raises(CannotPermute) as refusal:
        movable_slots(example, rule_for(example))
    assert refusal.value.reason == reason


def test_an_example_of_one_image_needs_no_rule():
    with pytest.raises(CannotPermute) as refusal:
        movable_slots(row("hiyouga/geometry3k", 1), rule_for(row("hiyouga/geometry3k", 1)))
    assert refusal.value.reason == "single_image"


def test_an_unknown_source_is_an_error_that_says_how_to_declare_one():
    message = (
        "no permutation rule for the multi-image source 'TIGER-Lab/NLVR' (did you mean "
        "'TIGER-Lab/NLVR2'?): declare one, as in rules={'TIGER-Lab/NLVR': {'movable': 'all', "
        "'answer': 'invariant', 'text': 'rewrite'}}, or pass unknown='keep' to leave such examples "
        "in their own order"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        rule_for(row("TIGER-Lab/NLVR"))


def test_of_names_that_fill_pages_that_message_shows_the_beginning():
    for example in (row(2000 * "long"), row("ShowHowTo", question_type=[2000 * "long"])):
        with pytest.raises(ValueError, match="no permutation rule for") as refusal:
            rule_for(example)
        assert "longlong" in str(refusal.value)
        assert len(str(refusal.value)) < 1500


def test_the_declaration_in_that_message_works():
    rules = rules_from_config(
        {"TIGER-Lab/NLVR": {"movable": "all", "answer": "invariant", "text": "rewrite"}}
    )
    assert rule_for("TIGER-Lab/NLVR", rules=rules) == Rule()


def test_an_unknown_source_is_kept_when_asked_and_counted_under_its_reason():
    example = row("nobody/knows")
    with pytest.raises(CannotPermute) as refusal:
        movable_slots(example, rule_for(example, unknown="keep"))
    assert refusal.value.reason == "unknown_source"


def test_a_row_of_an_unlisted_kind_is_an_error():
    with pytest.raises(ValueError, match=r"question_type 'orderin' \(did you mean 'ordering'\?\)"):
        rule_for(row("ShowHowTo", question_type="orderin"))
    with pytest.raises(ValueError, match="question_type None"):
        rule_for(row("ShowHowTo"))


def test_a_source_whose_rows_differ_needs_the_example():
    with pytest.raises(ValueError, match="depends on the column 'question_type': pass the example"):
        rule_for("ShowHowTo")


def test_a_misspelt_way_to_treat_unknown_sources_is_an_error():
    with pytest.raises(ValueError, match=r"unknown: expected one of error, keep; got 'kep'"):
        rule_for(row("MMMU"), unknown="kep")


def test_own_rules_come_before_the_shipped_ones_in_any_letter_case():
    mine = Rule(movable="all_but_first")
    assert rule_for("nlvr2", rules={"Nlvr2": mine}) == mine
    assert rule_for("NLVR2") != mine


def test_a_rule_is_read_from_a_mapping():
    rules = rules_from_config(
        {
            "mine": {"movable": [0, -1], "answer": "remap_letter", "nouns": ["image", "chart"]},
            "mixed": {
                "column": "kind",
                "cases": {"order": {"answer": "relabel_order", "index_base": 0}},
                "otherwise": {"movable": "none", "why": "odd"},
            },
        }
    )
    assert rules["mine"] == Rule((0, -1), "remap_letter", nouns=("image", "chart"))
    assert rule_for(row("mixed", kind="Order"), rules=rules) == Rule(
        answer="relabel_order", index_base=0
    )
    assert rule_for(row("mixed", kind="else"), rules=rules).why == "odd"
    assert isinstance(rules["mixed"], RuleByColumn)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"answer": "remap_leter"}, "perm.rules.mine.answer: expected one of invariant, reference, "
         "remap_letter, relabel_order; got 'remap_leter' (did you mean 'remap_letter'?)"),
        ({"text": "rewritten"}, "perm.rules.mine.text: expected one of rewrite, keep; "
         "got 'rewritten' (did you mean 'rewrite'?)"),
        ({"movable": "first"}, "perm.rules.mine.movable: expected one of all, all_but_first, "
         "option_images, none or a list of slots; got 'first'"),
        ({"movable": [1, "2"]}, "perm.rules.mine.movable[1]: expected int; got str '2'"),
        ({"index_base": 2}, "perm.rules.mine.index_base: expected 0 or 1; got 2"),
        ({"index_base": True}, "perm.rules.mine.index_base: expected 0 or 1; got True"),
        ({"sides": "loose"}, "perm.rules.mine.sides: expected one of images, strict; got 'loose'"),
        ({"nouns": "image"}, "perm.rules.mine.nouns: expected a list; got 'image'"),
        ({"nouns": [1]}, "perm.rules.mine.nouns[0]: expected str; got int 1"),
        ({"nouns": []}, "perm.rules.mine.nouns: expected at least 1; got none"),
        ({"fixed_letters": ["e"]}, "perm.rules.mine.fixed_letters[0]: expected a letter from A to "
         "Z; got 'e'"),
        ({"change_column": 3}, "perm.rules.mine.change_column: expected str; got int 3"),
        ({"answer": "reference", "text": "keep"}, "perm.rules.mine.text: expected 'rewrite' with "
         "answer='reference'; got 'keep'"),
        ({"anwser": "invariant"}, "perm.rules.mine.anwser: unknown key (did you mean 'answer'?); "
         "expected some of movable, answer, text, index_base, nouns, sides, fixed_letters, "
         "change_column, why"),
        ("all", "perm.rules.mine: expected fields of Rule; got 'all'"),
        ({"column": "kind", "case": {}}, "perm.rules.mine.case: unknown key (did you mean 'cases'?)"
         "; expected some of column, cases, otherwise"),
        ({"column": 1}, "perm.rules.mine.column: expected str; got int 1"),
        ({"column": "kind", "cases": []}, "perm.rules.mine.cases: expected Mapping; got list []"),
        ({"column": "kind", "cases": {"a": {"text": "x"}}}, "perm.rules.mine.cases.a.text: "
         "expected one of rewrite, keep; got 'x'"),
        ({"column": "kind", "otherwise": {"why": 1}}, "perm.rules.mine.otherwise.why: expected "
         "str; got int 1"),
    ],
)  # fmt: skip
def test_a_wrong_rule_names_the_field_and_the_choices(config, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        rules_from_config({"mine": config}, "perm.rules")


def test_rules_that_are_no_mapping_are_an_error():
    with pytest.raises(
        ValueError, match=r"rules: expected a mapping of sources to rules; got \[\]"
    ):
        rules_from_config([])


def test_a_rule_is_hashable_and_immutable():
    assert len({Rule(), Rule(), Rule(text="keep")}) == 2
    with pytest.raises(AttributeError):
        Rule().text = "keep"


def test_no_shipped_rule_flips_truth_values_and_all_are_checked_against_the_text():
    rules = [
        rule
        for entry in BUILT_IN.values()
        for rule in ([entry] if isinstance(entry, Rule) else entry.cases.values())
    ]
    assert all(rule.text == "rewrite" for rule in rules)
