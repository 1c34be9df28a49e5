"""The rules of the data sets that PeRL trains and is evaluated on.

What a source's examples look like decides its rule; where a set mixes kinds, a column selects.
Every rule refuses the examples whose text it cannot rewrite with certainty, so a rule that fits
most of a set loses coverage on the rest, never exactness.
"""

from typing import TypeVar

from perl_jax.legible import brief, suggestion
from perl_jax.permutation.rules import Rule, RuleByColumn, Rules
from perl_jax.settings import check_choice
from perl_jax.types import Example

# Characters of a name that a message shows.
_LONGEST_NAME = 200

_AnyRule = TypeVar("_AnyRule", Rule, RuleByColumn)

REWRITE = Rule()
CANDIDATES = Rule(movable="all_but_first", answer="remap_letter")
OPTION_IMAGES = Rule(movable="option_images", answer="remap_letter")
# Pairs of photographs side by side: "left" and "right" name the images. Flipping the truth value
# instead would be unsound: that a statement is false of (a, b) does not make it true of (b, a).
SIDE_BY_SIDE = Rule(sides="strict")


def _never(why: str) -> Rule:
    return Rule(movable="none", why=why)


def _each(names: str, rule: _AnyRule) -> dict[str, _AnyRule]:
    return dict.fromkeys(names.split(), rule)


TEMPORAL = _never("temporal")
UNLISTED = _never("unlisted_task")

_MANTIS = {
    "nlvr2": SIDE_BY_SIDE,
    # The reference may stand at any place; the text says at which, and is rewritten.
    "dreamsim": REWRITE,
    "iconqa": OPTION_IMAGES,
    # Ten frames, and either lettered images or an answer such as "Image 7".
    "imagecode": Rule(answer="remap_letter"),
    # Free descriptions of a difference, told from one image to the other without naming them.
    **_each("birds-to-words spot-the-diff", _never("free_text")),
    **_each("contrastive_caption coinstruct multi_vqa lrv_multi llava_665k_multi", REWRITE),
    **_each("nextqa star visual_story_telling", TEMPORAL),
}

_ORDERING = Rule(answer="relabel_order")  # "2→1→3→4", counted from 1


def _show_how_to(change_column: str | None) -> RuleByColumn:
    # The four options are the last four images, lettered A to D in this order.
    choice = Rule(
        movable=(-4, -3, -2, -1),
        answer="remap_letter",
        fixed_letters=("E",) if change_column is None else (),
        change_column=change_column,
    )
    choices = _each("description_to_frame missing_frame next_frame", choice)
    return RuleByColumn("question_type", {**choices, "ordering": _ORDERING})


_BLINK = RuleByColumn(
    "sub_task",
    {
        # The first image is the reference, or the picture with the missing part.
        **_each("Art_Style Jigsaw Visual_Similarity", CANDIDATES),
        "Forensic_Detection": OPTION_IMAGES,
        **_each("Functional_Correspondence Semantic_Correspondence", REWRITE),
        **_each("Visual_Correspondence Multi-view_Reasoning", REWRITE),
    },
    otherwise=UNLISTED,
)

_MMIU = RuleByColumn(
    "task",
    {
        **_each("face_retrieval handwritten_retrieval image2image_retrieval", CANDIDATES),
        **_each("sketch2image_retrieval vehicle_retrieval person_reid", CANDIDATES),
        **_each("text2image_retrieval forensic_detection_blink", OPTION_IMAGES),
        **_each("spot_the_diff spot_the_similarity", REWRITE),
        **_each("functional_correspondence_blink semantic_correspondence_blink", REWRITE),
        "visual_correspondence_blink": REWRITE,
        "visually_grounded_reasoning_nlvr2": SIDE_BY_SIDE,
        "visually_grounded_reasoning_marvl": SIDE_BY_SIDE,
        **_each("action_quality_assessment casuality_reasoning_next_qa", TEMPORAL),
        **_each("casuality_reasoning_var egocentric_video_question_answering", TEMPORAL),
        **_each("general_action_recognition gui_next_action_prediction", TEMPORAL),
        **_each("meme_vedio_understanding mevis multiview_action_recognition", TEMPORAL),
        **_each("next_img_prediction temporal_localization temporal_ordering", TEMPORAL),
        **_each("video_captioning visual_coherence visual_ordering", TEMPORAL),
        **_each("point_tracking single_object_tracking threed_object_tracking", _never("tracking")),
        **_each("textual_cloze visual_cloze", _never("cloze")),
        "jigsaw_puzzle_solving": _never("jigsaw"),
        "ravens_progressive_matrices": _never("raven"),
    },
    otherwise=UNLISTED,
)

# Images stand at tags inside sentences, which bind each picture to its role there.
_BOUND = _never("bound_tags")
_REMI = RuleByColumn(
    "task",
    {
        "Isomorphism": REWRITE,
        # "options A, B, C, and D shown in the following images in order <image2>...<image5>"
        "IQ": Rule(movable=(1, 2, 3, 4), answer="remap_letter"),
        "Collisions": TEMPORAL,
    },
    otherwise=_BOUND,
)

_MUIR = RuleByColumn(
    "task",
    dict.fromkeys(("Ordering", "Action Understanding", "Cartoon Understanding"), TEMPORAL),
    otherwise=OPTION_IMAGES,
)

# The built-in demo, perl_jax.data.sources.digits.
_DIGITS = RuleByColumn(
    "question_type",
    {"position": REWRITE, **_each("property match", OPTION_IMAGES), "order": _ORDERING},
)


BUILT_IN: Rules = {
    **{
        f"{owner}{joint}{subset}": rule
        for subset, rule in _MANTIS.items()
        for owner in ("", "TIGER-Lab/", "IIGroup/")
        for joint in ("Mantis-Instruct-", "Mantis-Instruct/")
    },
    **_each("ShowHowTo soCzech/ShowHowTo", _show_how_to("change_needed")),
    "ShowHowTo_e": _show_how_to(None),
    **_each("ViRL39K TIGER-Lab/ViRL39K MMMU MMMU/MMMU", OPTION_IMAGES),
    **_each("MV-MATH PeijieWang/MV-MATH", OPTION_IMAGES),
    **_each("Mantis-Eval TIGER-Lab/Mantis-Eval", REWRITE),
    **_each("NLVR2 TIGER-Lab/NLVR2 lil-lab/nlvr", SIDE_BY_SIDE),
    **_each("BLINK BLINK-Benchmark/BLINK", _BLINK),
    **_each("MMIU MMIU-Benchmark FanqingM/MMIU-Benchmark", _MMIU),
    **_each("ReMI mehrankazemi/ReMI", _REMI),
    **_each("MuirBench MUIRBENCH/MUIRBENCH", _MUIR),
    "digits": _DIGITS,
}
"""The shipped rules by source; the letter case of a name does not count."""


def rule_for(
    example_or_source: Example | str, *, rules: Rules | None = None, unknown: str = "error"
) -> Rule:
    """The permutation rule of an example, or of a source whose rows all have the same one.

    An example with fewer than two images gets a rule that lets nothing move. With
    ``unknown="keep"`` an example of an undeclared source gets one too, with the reason
    ``unknown_source``.
    Your own ``rules`` by source, as `rules_from_config` reads them, come before the shipped ones.

    Raises:
        ValueError: If no rule is declared for the source or the row's kind; it says how to declare
            one.
    """
    check_choice("unknown", unknown, ("error", "keep"))
    example = None if isinstance(example_or_source, str) else example_or_source
    source = example_or_source if isinstance(example_or_source, str) else example_or_source.source
    if example is not None and len(example.images) < 2:
        return _never("single_image")
    known = {**BUILT_IN, **(rules or {})}
    # The last of several spellings wins: a user's rules come after the shipped ones.
    rule = entry = {name.lower(): rule for name, rule in known.items()}.get(source.lower())
    if isinstance(entry, RuleByColumn):
        if example is None:
            raise ValueError(
                f"the rule of {brief(source)} depends on the column {entry.column!r}: "
                "pass the example"
            )
        rule = entry.select(example.metadata)
    if isinstance(rule, Rule):
        return rule
    if unknown == "keep":
        return _never("unknown_source")
    what = f"the multi-image source {brief(source)}{suggestion(source, known)}"
    declared: dict[str, object] = {"movable": "all", "answer": "invariant", "text": "rewrite"}
    if isinstance(entry, RuleByColumn) and example is not None:
        value = example.metadata.get(entry.column)
        what = f"{brief(source)} with {entry.column} {brief(value)}{suggestion(value, entry.cases)}"
        # Nothing but a text can be a case; a row may hold anything, of any length.
        declared = {"column": entry.column, "cases": {_cut(value): {"movable": "all"}}}
    shown = {_cut(source): declared}
    raise ValueError(
        f"no permutation rule for {what}: declare one, as in rules={shown!r}, or "
        "pass unknown='keep' to leave such examples in their own order"
    )


def _cut(name: object) -> str:
    """A name to be copied from a message, as it is but where a row holds pages."""
    text = str(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."
