"""The reasons for leaving an example in its own order."""

REASONS = {
    # Decided by the rule.
    "never_permute": "the rule of this source lets nothing move",
    "single_image": "there is only one image, or none",
    "unknown_source": "no rule is declared for this source",
    "too_few_movable": "the rule lets fewer than two images move",
    # Rows that are malformed, or that contradict the rule.
    "placeholder_mismatch": "the placeholders do not fit the images",
    "slots_missing": "the rule names slots that this example does not have",
    "no_option_images": "the rule moves option images, but no option shows or names one image",
    "options_ambiguous": "it is not certain where the options begin, or which slot one stands for",
    "option_image_moves": "an option shows an image that moves, but the rule keeps the letters",
    "moved_image_without_letter": "a letter is to follow its image, but some moved image has none",
    "answer_not_a_letter": "a letter is to follow its image, but the answer is not a letter",
    "letter_outside_options": "the answer's letter is not among the options",
    "duplicate_images": "two options show the same picture, so the new letter is not unique",
    "change_needed_conflict": "the row says that order does not matter, but its options are images",
    "unexplained_change": "the row says that order matters, but its text names no image by place",
    "no_order": "the rule relabels orders, but the example holds none",
    "malformed_order": "an order repeats an image, or names one that does not exist",
    "undeclared_order": "an option or the answer looks like an order of the images",
    "earlier_answers": "an earlier answer of the conversation may depend on the order",
    # Text that cannot be rewritten with certainty.
    "text_too_long": "the texts are longer than what is read",
    "other_language": "a text is not English, so its references cannot be read",
    "quoted_words": "quoted words that may be a reference, or words that a picture shows",
    "caption_mismatch": "a caption does not agree with the slot that it stands at",
    "inline_placeholder": "an image stands inside a sentence whose meaning its place decides",
    "repeated_tag": "the tag of a moved image appears more than once",
    "tags_out_of_order": "the image tags are not in reading order",
    "reference_out_of_range": "the text names an image that does not exist",
    "ambiguous_reference": "words that may or may not name an image by its place",
    "ambiguous_noun": "a figure, chart, frame or the like is named by its place",
    "ambiguous_side": "left or right may mean an image or a place inside one",
    "ambiguous_answer": "a bare number, ordinal or side may name an image",
    "named_image": "an image is called by a name that no caption gives it",
    "layout_reference": "an image is named by its place in a layout that is not known",
    "group_reference": "a pair, row or group of images is named by its place",
    "set_not_expressible": "a range or run of images is no longer one after the permutation",
    "not_expressible": "the new place has no word of the same kind",
    "not_reversible": "the rewritten text would not lead back to the original",
    "sequence_word": "the text speaks of the images as a sequence",
    "unproven_sentence": "the sentence is not proven to need no order of the images",
    "respectively": "the text matches words to images by their order",
    "former_latter": "the former, the latter: it is not certain what they stand for",
}  # fmt: skip
"""Every reason code that `CannotPermute` carries, with its meaning. The codes are stable."""


_LONGEST = 300


class CannotPermute(Exception):
    """The example cannot be permuted exactly, so it must keep its own order.

    Attributes:
        reason: A stable code: a key of `REASONS`, or the ``why`` of a rule that lets nothing move.
        detail: The part of the example that caused it.
    """

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        meaning = REASONS.get(self.reason, "the rule lets nothing move")
        detail = " ".join(self.detail.split())
        if len(detail) > _LONGEST:
            detail = f"{detail[:_LONGEST]}..."
        return f"{self.reason}: {meaning}" + (f" ({detail})" if detail else "")
