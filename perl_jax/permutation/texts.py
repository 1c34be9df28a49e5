"""Reads all texts of an example together, accounts for their words, and rewrites them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from perl_jax.permutation import answers
from perl_jax.permutation.layout import Layout, said_before
from perl_jax.permutation.reading import named, placeholders, unnamed, unordered
from perl_jax.permutation.reading.accounting import account_for
from perl_jax.permutation.reading.options import inline_options, question_field
from perl_jax.permutation.reading.questions import (
    asked_for,
    asking,
    asks_for_a_number,
    asks_for_a_set,
    asks_for_an_order,
    asks_yes_or_no,
)
from perl_jax.permutation.reading.references import read_references
from perl_jax.permutation.reading.rewriting import (
    check_doubts,
    in_reading_order,
    pair_first_and_last,
    rewrite,
)
from perl_jax.permutation.reading.scan import Mention, Reader, Scan
from perl_jax.permutation.reading.uses import Facts, Role
from perl_jax.permutation.reading.words import compiled
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.types import Example

MAX_LENGTH = 65_536
"""The most characters that the texts of an example may have."""

Part = tuple[int, int, str]
"""A text that an answer may consist of: its field, where it begins there, and its words."""


def rewritten(layout: Layout) -> list[str]:
    """The turns, the question, the options and the answer, rewritten as the rule says.

    Raises:
        CannotPermute: If a word that could bear on the order is not accounted for.
    """
    texts, scans = read(layout)
    check_doubts(scans, layout.moved)
    _check_lists(scans, layout)
    _check_answers(texts, scans, layout)
    _check_things(texts, scans, layout)
    _check_unnamed(texts, scans, layout)
    _check_explained(scans, layout)
    pair_first_and_last(scans, layout.new_slot)
    sets, new = asks_for_a_set(layout.asked, layout.rule.nouns), []
    for field, (text, scan) in enumerate(zip(texts, scans, strict=True)):
        if sets and field > question_field(layout.example):
            scan.mentions = in_reading_order(text, scan, layout.new_slot)
        new.append(rewrite(text, scan, layout.new_slot))
    return [*new[:-1], new[-1] or layout.example.answer]


def read(layout: Layout) -> tuple[tuple[str, ...], list[Scan]]:
    """The texts of an example, and what was read of each: references, doubts and accounts."""
    rule, captions = layout.rule, placeholders.Captions()
    if sum(map(len, layout.fields)) + len(layout.example.answer) > MAX_LENGTH:
        raise CannotPermute("text_too_long", f"more than {MAX_LENGTH} characters")
    if rule.text == "rewrite":
        captions = placeholders.find_captions(
            layout.fields, layout.places, layout.moved, rule.nouns, rule.index_base
        )
        placeholders.check_places(layout.fields, layout.places, captions, layout.moved)
    follows = rule.answer == "remap_letter"
    reader = Reader(
        num_slots=len(layout.new_slot),
        base=rule.index_base,
        nouns=rule.nouns,
        names=captions.names,
        strict_sides=rule.sides == "strict",
        sequences=follows or rule.answer == "relabel_order",
        letters_follow=follows,
    )
    texts = (*layout.fields, _answer_text(layout, captions.names))
    orders = _orders(texts, layout, reader)
    bare = _bare_references(texts, layout, reader)
    fixed, scans = (*layout.places, *captions.spans, *layout.named), []
    for index, text in enumerate(texts):
        known = [*(s for s in fixed if s.field == index), *orders.get(index, [])]
        masked = placeholders.mask(text, [*known, *bare.get(index, [])])
        scan = read_references(masked, reader) if rule.text == "rewrite" else Scan(masked, reader)
        scans.append(scan)
    if rule.text == "rewrite":
        _account(texts, scans, layout, captions)
    for index, scan in enumerate(scans):
        scan.mentions += orders.get(index, []) + bare.get(index, [])
    return texts, scans


def _answer_text(layout: Layout, names: Sequence[str]) -> str:
    """The answer, or nothing where it is a letter that follows its option or stays with it."""
    example, letter = layout.example, answers.letter_of(layout.example.answer)
    if layout.rule.answer == "remap_letter" and layout.has_letter:
        return ""
    if letter is None:
        return example.answer
    rule, asked = layout.rule, layout.asked
    if layout.options or rule.text == "keep" or rule.answer == "relabel_order":
        return ""
    # Without options it may be that of a caption, except where the question wants a yes or a no.
    verdict = not asking(asked) or asks_yes_or_no(asked)
    return example.answer if letter in names or not verdict else ""


def _account(
    texts: Sequence[str], scans: Sequence[Scan], layout: Layout, captions: placeholders.Captions
) -> None:
    mentions = [mention for scan in scans for mention in scan.mentions]
    captioned = bool(captions.spans)
    joined = "\n".join(scan.text for scan in scans)
    facts = Facts(
        reader=scans[0].reader,
        question=layout.asked,
        refers=captioned or bool(mentions) or any(scan.runs for scan in scans),
        numbered=(captioned and not captions.names) or any(map(_has_numbered_subject, scans)),
        spelled=any(mention.style == "cardinal" for mention in mentions),
        sided=layout.rule.sides == "strict" or any("side" in m.style for m in mentions),
        bound=_is_bound(layout, joined),
        lettered=frozenset(option.letter for option in layout.options) or frozenset(layout.letters),
        shown=bool(layout.letters) and bool(layout.options) and not layout.named,
    )
    for index, (text, scan) in enumerate(zip(texts, scans, strict=True)):
        options = [option for option in layout.options if option.field == index]
        for option in options:
            if _NO_TEXT.fullmatch(text[option.start : option.end]):
                continue  # "(A) or (B)" are no options
            scan.claim(option.label_start, option.start)
        parts = [(option.start, option.end) for option in options]
        role: Role = "question" if index <= question_field(layout.example) else "option"
        if index == len(texts) - 1:
            account_for(scan, text, facts, "answer", [(0, len(text))])
        elif _is_earlier_answer(layout, index):
            asked = replace(facts, question="" if index == 0 else texts[index - 1])
            account_for(scan, text, asked, "answer", [(0, len(text))])
        else:
            account_for(scan, text, facts, role, parts)


_NO_TEXT = re.compile(r"(?i)\W*(?:or|and)?\W*")
_LISTS = re.compile(r"(?i)[,;/\n]|\b(?:and|or|then|while|but|whereas)\b")
_BOUND = re.compile(r"\a[^.\n]{0,60}\b(?:beginning|start)\b[^.\n]{0,60}\a[^.\n]{0,60}\bend\b")
_PREPOSITION = re.compile(
    r"(?i)\b(?:in|of|on|from|to|with|than|between|for|at|into|like|and|or|vs\.?|versus)\s+(?:the\s+)?"
    r"\w+\s*(?:no\.?|number|[#_-])?\s*$"
)


def _is_bound(layout: Layout, read: str) -> bool:
    """Whether the text says of two images which one begins the video and which one ends it."""
    return len(layout.new_slot) == 2 and _BOUND.search(read) is not None


def _has_numbered_subject(scan: Scan) -> bool:
    """Whether a numbered image is a subject, so that "2 a dog" may go on from "image 1 is"."""
    numbered = [m for m in scan.mentions if m.style in ("digits", "cardinal")]
    return any(not _PREPOSITION.search(scan.before(m.start)) for m in numbered) or bool(scan.runs)


def _is_earlier_answer(layout: Layout, field: int) -> bool:
    turns = layout.example.turns
    return field < len(turns) and turns[field].role == "assistant"


def _check_lists(scans: Sequence[Scan], layout: Layout) -> None:
    """Refuses earlier answers that list things without a word for their images: "a dog, a cat"."""
    for field, (turn, scan) in enumerate(zip(layout.example.turns, scans, strict=False)):
        is_list = _is_earlier_answer(layout, field) and _LISTS.search(turn.text.strip())
        if is_list and layout.rule.text == "rewrite" and not (scan.mentions or scan.runs):
            raise CannotPermute("earlier_answers", turn.text.strip())


_DIFFERENCE = re.compile(
    r"(?i)\b(?:same|identical|alike|compare|comparison|contrast|different|match|matching)\b|"
    r"\bwhat\b[^.?!]{0,40}\bdiffer\w*|\bhow\s+(?:do|does|are)\b[^.?!]{0,60}\bdiffer\w*"
    r"|\b(?:describe|list|name|find|spot|state|explain|identify|summari[sz]e|compare)\b[^.?!]{0,60}\bdifferen\w*"
)
_STATES = re.compile(
    r"(?i)\b(?:there\s+(?:is|are)|is|are|was|were|has|have|had|got|became|went|turned|more|fewer|less|no|not|\w{3,}er)\b"
)
_SYMMETRIC = re.compile(
    r"(?i)\bone\b.{0,200}\b(?:other|another)\b|\bboth\b|\bneither\b"
    r"|\b(?:they|these|those|the\s+(?:two\s+)?(?:images|pictures|photos))\s+(?:are|do|have|show|look|match|differ)\b"
)
_SHARED = re.compile(r"(?i)\b(?:common|share|shared|both|all|alike|similar\w*)\b")
_EACH = (
    r"\b(?:each|every|per)\s+(?:one\s+)?(?:of\s+(?:the|these|those)\s+)?(?:\w+\s+)?NOUNs?\b"
    r"|\beach\s+(?:one|of\s+(?:them|these|those))\b|\bNOUNs\s+respectively\b|\beach\s*[.?!]"
)
_RATIO = re.compile(r"(?i)\bratio\b")
_DESCRIBES = (
    r"\b(?:describe|caption|label|title|narrate|summari[sz]e)\b[^.?!]{0,40}\b(?:NOUNs|these|them)\b"
)


def _check_answers(texts: Sequence[str], scans: Sequence[Scan], layout: Layout) -> None:
    """Refuses answers that tell images apart, or go through them, without naming them."""
    rule, question = layout.rule, layout.asked
    if rule.text == "keep" or rule.answer in ("remap_letter", "relabel_order"):
        return
    asked = compiled(_EACH, rule.nouns).search(question) is not None
    ratio = _RATIO.search(question) is not None
    described = compiled(_DESCRIBES, rule.nouns).search(question) is not None
    for field, start, text in _parts(texts, layout):
        spans = [m.start for m in scans[field].mentions] + [
            e.start for r in scans[field].runs for e in r.ends
        ]
        if any(start <= place < start + len(text) for place in spans):
            continue
        items = [item for item in re.split(r"\s*[,;\n]\s*|\.\s+", text.strip(" .")) if item]
        verdict = _SHORT.fullmatch(text.strip()) and not re.search(r"(?i)\w{3}er\b", text)
        tells = not verdict and _DIFFERENCE.search(question) and _STATES.search(text)
        lists = (asked and _LISTS.search(text.strip())) or (len(items) > 1 and (asked or described))
        by_place = len(items) == len(layout.new_slot) and (
            ";" in text or all(_SHORT.fullmatch(item) for item in items)
        )
        by_place = by_place and not _SHARED.search(question)
        ratio_of = ratio and re.search(r"\d\s*(?::|to|/)\s*\d", text)
        if (tells or lists or by_place or ratio_of) and not _SYMMETRIC.search(text):
            raise CannotPermute("ambiguous_answer", text.strip())


_SHORT = re.compile(r"(?i)(?:yes|no|true|false|none|[^\W\d_]+)\.?")


_IN_ALL = re.compile(r"(?i)\b(?:both|each|every|all|together)\b")
_OWN_NUMBER = re.compile(
    r"(?i)\b(person|man|woman|house|building|room|car|object|animal|team|item|product)\s*#?$"
)


def _check_things(texts: Sequence[str], scans: Sequence[Scan], layout: Layout) -> None:
    """Refuses "the first dog" against "the second dog" where each may be alone in its image."""
    rule, places = layout.rule, dict[str, set[str]]()
    if rule.text == "keep" or rule.answer in ("remap_letter", "relabel_order"):
        return
    if any(scan.mentions or scan.runs for scan in scans) or _IN_ALL.search("\n".join(texts)):
        return
    asked = layout.example.question
    for field, (text, scan) in enumerate(zip(texts, scans, strict=True)):
        for account in scan.accounts:
            label, _, thing = account.taken_for.partition(" of a thing: ")
            numbered = _OWN_NUMBER.search(text[max(0, account.start - 30) : account.start])
            if numbered:
                thing = numbered[1].lower()
            elif label not in ("the place", "the side"):
                continue
            word = text[account.start : account.end].lower()
            places.setdefault(thing.removesuffix("s"), set()).add(word)
            chosen = field > question_field(layout.example) and re.search(
                rf"(?i)\b(?:which|what|whose)\s+(?:\w+\s+)?{re.escape(thing)}s?\b|\bwho\b", asked
            )
            if chosen or len(places[thing.removesuffix("s")]) > 1:
                raise CannotPermute("ambiguous_reference", f"{word} {thing}")


def _check_unnamed(texts: Sequence[str], scans: Sequence[Scan], layout: Layout) -> None:
    """Refuses sentences that depend on the order of the images although they name none."""
    rule, asked = layout.rule, question_field(layout.example)
    if rule.text == "keep":
        return
    names = any(scan.mentions or scan.runs for scan in scans)
    sequences = scans[0].reader.sequences
    for field, text in enumerate(texts):
        if row := unnamed.find_rows(text, rule.nouns, sequences=sequences):
            raise CannotPermute(*row)
        words = bool(scans[field].mentions) and unnamed.asks_for_words(layout.asked)
        if field > asked and (words or unnamed.is_pointing(text, rule.nouns)):
            raise CannotPermute("ambiguous_answer", text.strip())
    for _, _, text in _parts(texts, layout):
        if unnamed.lists_verdicts(text):
            raise CannotPermute("ambiguous_answer", text.strip())
    if not sequences:
        _check_named(texts, scans, layout) if names else _check_unordered(texts, layout)


def _check_named(texts: Sequence[str], scans: Sequence[Scan], layout: Layout) -> None:
    """Refuses texts that place the images they name in a row, or tell a change beside them."""
    bound = _is_bound(layout, "\n".join(scan.text for scan in scans))
    for field, (text, scan) in enumerate(zip(texts, scans, strict=True)):
        shown = placeholders.mask(text, [p for p in layout.places if p.field == field])
        runs = [placeholders.Span(r.ends[0].start, r.ends[-1].end) for r in scan.runs if r.ends]
        told = field <= question_field(layout.example) and not _is_earlier_answer(layout, field)
        if words := named.unproven(
            shown, [*scan.mentions, *runs], scan.reader, alone=told and not bound
        ):
            raise CannotPermute("unproven_sentence", words)


def _check_unordered(texts: Sequence[str], layout: Layout) -> None:
    """Refuses an example that names no image, unless it is proven to need no order."""
    nouns, asked = layout.rule.nouns, ""
    shown = min((p.field for p in layout.places if p.slot in layout.moved), default=0)
    for field in range(shown, len(layout.example.turns)):
        if _is_earlier_answer(layout, field):
            _check_unordered_answer(texts[field], asked, nouns)
        else:
            asked = placeholders.mask(texts[field], [p for p in layout.places if p.field == field])
            _check_unordered_question(asked, nouns)
    _check_unordered_question(layout.asked, nouns)
    for _, _, text in _parts(texts, layout):
        _check_unordered_answer(text, layout.asked, nouns)
        if unordered.lists_one_each(text, layout.asked, len(layout.new_slot)):
            raise CannotPermute("ambiguous_answer", text.strip())


def _check_unordered_question(text: str, nouns: tuple[str, ...]) -> None:
    if sentence := unordered.depends(text, nouns):
        raise CannotPermute("unproven_sentence", sentence)


def _check_unordered_answer(text: str, asked: str, nouns: tuple[str, ...]) -> None:
    if words := unordered.answer_depends(text, asked, nouns):
        raise CannotPermute("ambiguous_answer", words)


def _check_explained(scans: list[Scan], layout: Layout) -> None:
    """Refuses rows whose text does not show what their columns and answers say."""
    rule, refers = layout.rule, any(scan.mentions or scan.runs for scan in scans)
    if rule.text == "keep":
        return
    if rule.answer in ("invariant", "reference") and not refers and layout.change_needed:
        raise CannotPermute("unexplained_change")
    if rule.answer == "remap_letter" and not layout.has_letter and not scans[-1].mentions:
        raise CannotPermute("answer_not_a_letter", layout.example.answer)


def _parts(texts: Sequence[str], layout: Layout) -> list[Part]:
    """The texts that an answer may consist of: those of the options, and the answer itself."""
    parts = [(o.field, o.start, texts[o.field][o.start : o.end]) for o in layout.options]
    return [*parts, (len(texts) - 1, 0, texts[-1])]


def _orders(texts: Sequence[str], layout: Layout, reader: Reader) -> dict[int, list[Mention]]:
    """The numbers of all orders, by text, where the rule relabels orders."""
    parts = _parts(texts, layout)
    if layout.rule.answer != "relabel_order":
        said = [*(part for _, _, part in parts), *said_before(layout.example)]
        for part in said if layout.rule.text == "rewrite" else ():
            if answers.looks_like_order(part, reader.num_slots):
                raise CannotPermute("undeclared_order", part.strip())
        return {}
    asked = "\n".join((*said_before(layout.example), *texts[: question_field(layout.example) + 1]))
    if asked_for(layout.asked, layout.rule.nouns) != "order" and not (
        asks_for_an_order(asked) and any(answers.has_arrows(part) for _, _, part in parts)
    ):
        raise CannotPermute("no_order", "the question asks for no order")
    found: dict[int, dict[int, Mention]] = {}
    for field, offset, text, whole in [
        *((field, offset, text, True) for field, offset, text in parts),
        *((field, 0, text, False) for field, text in enumerate(texts)),
    ]:
        for mention in answers.find_orders(text, reader, whole, offset):
            found.setdefault(field, {})[mention.start] = mention
    if not found:
        raise CannotPermute("no_order")
    for field, offset, text in parts:
        listed = any(offset <= start < offset + len(text) for start in found.get(field, {}))
        letter = answers.letter_of(text) is not None
        if not (listed or letter or not text.strip() or answers.NO_ORDER.fullmatch(text)):
            raise CannotPermute("undeclared_order", text.strip())
    return {field: list(mentions.values()) for field, mentions in found.items()}


def _bare_references(
    texts: Sequence[str], layout: Layout, reader: Reader
) -> dict[int, list[Mention]]:
    """References without a noun in options and answer; refuses those that the rule excludes."""
    rule, found = layout.rule, dict[int, list[Mention]]()
    if rule.text == "keep":
        return found
    for text, asked in _earlier_parts(layout.example):
        for mention in answers.find_bare(text, reader, 0):
            counted = mention.style in ("digits", "cardinal") and asks_for_a_number(asked)
            if mention.slot in layout.moved and not counted:
                raise CannotPermute("ambiguous_answer", text.strip())
    wanted = asked_for(layout.asked, rule.nouns) in ("image", "images")
    for field, offset, text in _parts(texts, layout):
        named = answers.find_name(text, reader, offset)
        bare = named or (answers.find_bare(text, reader, offset) if wanted else [])
        if wanted and answers.ROMAN.fullmatch(text):
            raise CannotPermute("ambiguous_answer", text.strip())
        followed = wanted and (rule.answer == "reference" or bool(named))
        for mention in bare:
            if followed and 0 <= mention.slot < reader.num_slots:
                found.setdefault(field, []).append(mention)
            elif followed:
                raise CannotPermute("reference_out_of_range", text.strip())
            elif mention.slot in layout.moved:
                raise CannotPermute("ambiguous_answer", text.strip())
    return found


def _earlier_parts(example: Example) -> Iterator[tuple[str, str]]:
    """The texts before the question that an answer may consist of, each with what was asked.

    These are answers, and texts of options. The rule does not say whether a bare number or ordinal
    among them names an image.
    """
    asked = ""
    for field, turn in enumerate(example.turns):
        if turn.role == "assistant":
            yield turn.text, asked
        else:
            yield from ((turn.text[o.start : o.end], "") for o in inline_options(turn.text, field))
            asked = turn.text
