"""Rewrites the references of an example's texts for a new order, all of them simultaneously."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from perl_jax.permutation.reading.placeholders import MASK, mask
from perl_jax.permutation.reading.scan import Mention, Run, Scan
from perl_jax.permutation.reading.words import compiled, like, spell
from perl_jax.permutation.refusal import CannotPermute

# What may stand around the images of a list: a label, commas and brackets, nouns.
_AROUND_A_LIST = (
    rf"\s*(?:\(?(?-i:[A-Z])[.):]+\s*)?(?:[\s,.&/()*#{MASK}]|\[|\]|\\boxed\{{|\}}"
    r"|\b(?:and|or|the|only|just|NOUNs?|ones?)\b)*"
)


def check_doubts(scans: Collection[Scan], moved: Collection[int]) -> None:
    """Raises CannotPermute at the first doubt that concerns a moved slot."""
    for scan in scans:
        for doubt in scan.doubts:
            if doubt.slots is None or any(slot in moved for slot in doubt.slots):
                raise CannotPermute(doubt.reason, doubt.quote)


def pair_first_and_last(scans: Sequence[Scan], new_slot: Sequence[int]) -> None:
    """Lets "first" and "last" stand for each other where an example uses just these two.

    Otherwise the last image of four that moves to the second place is "the third-to-last image",
    which leads back to "the last image", whereas "the second image" would lead to "the fourth".
    """
    ends = {0, len(new_slot) - 1}
    counted = [m for scan in scans for m in scan.mentions if m.style in ("ordinal", "from_last")]
    used = {(m.style, m.slot, m.shift) for m in counted}
    pair = {("ordinal", 0, 0), ("from_last", len(new_slot) - 1, 0)}
    if used == pair and {new_slot[e] for e in ends} == ends:
        for scan in scans:
            scan.mentions = [
                replace(m, style="ends") if m.style in ("ordinal", "from_last") else m
                for m in scan.mentions
            ]


def in_reading_order(text: str, scan: Scan, new_slot: Sequence[int]) -> list[Mention]:
    """The mentions of a text; those of a list such as "images 1 and 3" as the set that they are.

    The list then names its images in ascending order again. Only a text that is nothing but the
    list, in ascending order itself, is one.
    """
    mentions = sorted(scan.mentions, key=lambda mention: mention.start)
    slots = [mention.slot for mention in mentions]
    rest = mask(text, mentions)
    if len(mentions) < 2 or scan.runs or len({m.style for m in mentions}) > 1:
        return mentions
    around = compiled(_AROUND_A_LIST, scan.reader.nouns)
    if slots != sorted(set(slots)) or not around.fullmatch(rest):
        return mentions
    by_place = sorted(slots, key=new_slot.__getitem__)
    return [replace(mention, slot=slot) for mention, slot in zip(mentions, by_place, strict=True)]


def rewrite(text: str, scan: Scan, new_slot: Sequence[int]) -> str:
    """The text with each reference of its scan naming the slot that its image has moved to.

    Raises:
        CannotPermute: ``not_expressible`` or ``set_not_expressible``.
    """
    words: dict[tuple[int, int], str] = {}
    for mention in scan.mentions:
        words |= _respelled(text, scan, mention, new_slot[mention.slot])
    for run in scan.runs:
        words |= _respelled_run(text, scan, run, new_slot)
    parts, done = [], 0
    for start, end in sorted(words):
        parts += [text[done:start], words[start, end]]
        done = end
    return "".join([*parts, text[done:]])


def _respelled(text: str, scan: Scan, mention: Mention, slot: int) -> dict[tuple[int, int], str]:
    if slot == mention.slot:
        return {}
    original, reader, spelled = text[mention.start : mention.end], scan.reader, slot - mention.shift
    word = None
    if 0 <= spelled < reader.num_slots:
        word = spell(mention.style, spelled, reader.num_slots, reader.base, reader.names)
    if not word:
        raise CannotPermute("not_expressible", f"{original!r} as slot {slot}")
    suffix = ""
    if mention.style == "outer_side":  # "left-hand", "rightmost": the ending stays
        spelt = next(w for w in ("left", "right", "middle", "") if original.lower().startswith(w))
        suffix = original[len(spelt) :]
    return {(mention.start, mention.end): like(original, word) + suffix}


def _respelled_run(
    text: str, scan: Scan, run: Run, new_slot: Sequence[int]
) -> dict[tuple[int, int], str]:
    slots = sorted(new_slot[slot] for slot in run.slots)
    low, high, last = slots[0], slots[-1], len(new_slot) - 1
    if slots == list(run.slots):
        return {}
    if slots == list(range(low, high + 1)):
        if len(run.ends) == 2:
            first, final = run.ends
            return _respelled(text, scan, first, low) | _respelled(text, scan, final, high)
        if run.ends and (low == 0 or high == last):
            (token,) = run.ends
            word = like(text[token.start : token.end], "first" if low == 0 else "last")
            return {(token.start, token.end): word}
    raise CannotPermute("set_not_expressible", f"slots {list(run.slots)} become {slots}")
