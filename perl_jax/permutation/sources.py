"""The rules of the data sets that PeRL trains and is evaluated on.

What a source's examples look like decides its rule; where a set mixes kinds, a column selects.
Every rule refuses the examples whose text it cannot rewrite with certainty, so a rule that fits
most of a set loses coverage on the rest, never exactness.
"""

from perl_jax.permutation.rules import Rule, RuleByColumn, Rules, find_rule
from perl_jax.types import Example

REWRITE = Rule()
CANDIDATES = Rule(movable="all_but_first", answer="remap_letter")
OPTION_IMAGES = Rule(movable="option_images", answer="remap_letter")
# Pairs of photographs side by side: "left" and "right" name the images. Flipping the truth value
# instead would be unsound: that a statement is false of (a, b) does not make it true of (b, a).
SIDE_BY_SIDE = Rule(sides="strict")


def _never(why: str) -> Rule:
    return Rule(movable="none", why=why)


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
    "birds-to-words": _never("free_text"),
    "spot-the-diff": _never("free_text"),
    "contrastive_caption": REWRITE,
    "coinstruct": REWRITE,
    "multi_vqa": REWRITE,
    "lrv_multi": REWRITE,
    "llava_665k_multi": REWRITE,
    "nextqa": TEMPORAL,
    "star": TEMPORAL,
    "visual_story_telling": TEMPORAL,
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
    kinds = ("description_to_frame", "missing_frame", "next_frame")
    return RuleByColumn("question_type", {**dict.fromkeys(kinds, choice), "ordering": _ORDERING})


_BLINK = RuleByColumn(
    "sub_task",
    {
        # The first image is the reference, or the picture with the missing part.
        "Art_Style": CANDIDATES,
        "Jigsaw": CANDIDATES,
        "Visual_Similarity": CANDIDATES,
        "Forensic_Detection": OPTION_IMAGES,
        "Functional_Correspondence": REWRITE,
        "Semantic_Correspondence": REWRITE,
        "Visual_Correspondence": REWRITE,
        "Multi-view_Reasoning": REWRITE,
    },
    otherwise=UNLISTED,
)

_MMIU = RuleByColumn(
    "task",
    {
        **dict.fromkeys(
            (
                "face_retrieval", "handwritten_retrieval", "image2image_retrieval",
                "sketch2image_retrieval", "vehicle_retrieval",
            ),
            CANDIDATES,
        ),
        "text2image_retrieval": OPTION_IMAGES,
        "forensic_detection_blink": OPTION_IMAGES,
        **dict.fromkeys(
            (
                "person_reid", "spot_the_diff", "spot_the_similarity",
                "functional_correspondence_blink", "semantic_correspondence_blink",
                "visual_correspondence_blink",
            ),
            REWRITE,
        ),
        "visually_grounded_reasoning_nlvr2": SIDE_BY_SIDE,
        "visually_grounded_reasoning_marvl": SIDE_BY_SIDE,
        **dict.fromkeys(
            (
                "action_quality_assessment", "casuality_reasoning_next_qa",
                "casuality_reasoning_var", "egocentric_video_question_answering",
                "general_action_recognition", "gui_next_action_prediction",
                "meme_vedio_understanding", "mevis", "multiview_action_recognition",
                "next_img_prediction", "temporal_localization", "temporal_ordering",
                "video_captioning", "visual_coherence", "visual_ordering",
            ),
            TEMPORAL,
        ),
        **dict.fromkeys(
            ("point_tracking", "single_object_tracking", "threed_object_tracking"),
            _never("tracking"),
        ),
        "textual_cloze": _never("cloze"),
        "visual_cloze": _never("cloze"),
        "jigsaw_puzzle_solving": _never("jigsaw"),
        "ravens_progressive_matrices": _never("raven"),
    },
    otherwise=UNLISTED,
)  # fmt: skip

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
    {
        "Ordering": TEMPORAL,
        "Action Understanding": TEMPORAL,
        "Cartoon Understanding": TEMPORAL,
    },
    otherwise=OPTION_IMAGES,
)

# The built-in demo, perl_jax.data.sources.digits.
_DIGITS = RuleByColumn(
    "question_type",
    {
        "position": REWRITE,
        "property": OPTION_IMAGES,
        "match": OPTION_IMAGES,
        "order": _ORDERING,
    },
)


def _named(rule: Rule | RuleByColumn, *names: str) -> Rules:
    return dict.fromkeys(names, rule)


BUILT_IN: Rules = {
    **{
        f"{owner}{joint}{subset}": rule
        for subset, rule in _MANTIS.items()
        for owner in ("", "TIGER-Lab/", "IIGroup/")
        for joint in ("Mantis-Instruct-", "Mantis-Instruct/")
    },
    **_named(_show_how_to("change_needed"), "ShowHowTo", "soCzech/ShowHowTo"),
    **_named(_show_how_to(None), "ShowHowTo_e"),
    **_named(OPTION_IMAGES, "ViRL39K", "TIGER-Lab/ViRL39K"),
    **_named(REWRITE, "Mantis-Eval", "TIGER-Lab/Mantis-Eval"),
    **_named(SIDE_BY_SIDE, "NLVR2", "TIGER-Lab/NLVR2", "lil-lab/nlvr"),
    **_named(_BLINK, "BLINK", "BLINK-Benchmark/BLINK"),
    **_named(_MMIU, "MMIU", "MMIU-Benchmark", "FanqingM/MMIU-Benchmark"),
    **_named(_REMI, "ReMI", "mehrankazemi/ReMI"),
    **_named(OPTION_IMAGES, "MV-MATH", "PeijieWang/MV-MATH"),
    **_named(_MUIR, "MuirBench", "MUIRBENCH/MUIRBENCH"),
    **_named(OPTION_IMAGES, "MMMU", "MMMU/MMMU"),
    "digits": _DIGITS,
}
"""The shipped rules by source; the letter case of a name does not count."""


def rule_for(
    example_or_source: Example | str,
    *,
    rules: Rules | None = None,
    unknown: str = "error",
) -> Rule:
    """The permutation rule of an example, or of a source whose rows all have the same one.

    An example with fewer than two images gets a rule that lets nothing move.

    Args:
        example_or_source: The example, or the name of its source.
        rules: Your own rules by source, from `rules_from_config`; they come before the shipped
            ones of the same name.
        unknown: ``error``, or ``keep`` to give examples of an undeclared source a rule that lets
            nothing move, under the reason ``unknown_source``.

    Raises:
        ValueError: If no rule is declared for the source or the row's kind; it says how to declare
            one.
    """
    return find_rule(example_or_source, {**BUILT_IN, **(rules or {})}, unknown=unknown)
