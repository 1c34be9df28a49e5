"""Sentences about several images, made by a grammar that knows what each mention means.

Every sentence is a list of plain strings and of mentions, each of which names a slot. What the
code makes of it is right if it leaves the plain strings alone and every mention names, read afresh,
the slot to which its image has moved. A refusal is never wrong; a sentence that depends on the
order may only be refused.

    python -m tests.permutation.grammar 50000    checks so many, and reports the share rewritten
"""

import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from perl_jax.permutation import CannotPermute, Rule, permute
from perl_jax.types import Example

WORDS = ["one", "two", "three", "four"]
NTH = ["first", "second", "third", "fourth"]
NTHS = ["1st", "2nd", "3rd", "4th"]
LETTERS = "ABCD"
PLAIN = Rule()
REFERENCE = Rule(answer="reference")
SIDES = {2: ["left", "right"], 3: ["left", "middle", "right"]}
OWN = ["image", "picture", "photo", "photograph", "Image", "Picture", "PHOTO"]
OTHERS = ["panel", "frame", "snapshot", "screenshot", "slide", "scan", "sample", "X-ray", "figure",
          "view", "shot", "drawing", "plot", "print", "capture", "exhibit"]  # fmt: skip
ONE = ["a dog", "a cat", "an old car", "the tower", "two birds", "3 men", "snow", "a red house"]
GAPPED = ["a cat", "an old bus", "sand", "cats", "blue", "two birds", "3 men", "green",
          "a blurry one", "tea", "square", "dogs and cats"]  # fmt: skip
VERBS = ["shows", "contains", "has", "depicts"]
INSIDE = ["the second car", "the left dog", "the man on the left", "the third window",
          "the first row", "2 people", "the top shelf", "the last house", "player 2",
          "the clock at 2 pm", "a sign for $1", "the number 1", "two left shoes"]  # fmt: skip
JOINS = [" and ", ", and ", "; ", ", ", " while ", ". ", ", whereas "]

ASKED = ["Which image is darkest?", "Which of the images is unlike the rest?", "Which one is it?",
         "In which picture is the cat asleep?", "Find the odd one out.",
         "Tell me the number of the darkest picture."]  # fmt: skip
AROUND_ANSWERS = [("", ""), ("(", ")"), ("#", ""), ("number ", ""), ("\\boxed{", "}"), ("the ", ""),
                  ("**", "**"), ("", "."), ("The ", " one")]  # fmt: skip
MARKS = [("**", "**"), ('"', '"'), ("'", "'"), ("[", "]"), ("(", ")"), ("*", "*"), ("\u00a0", ""),
         (": ", ""), (". ", ""), ("\u2018", "\u2019"), ("$", "$"), ("`", "`"), ("<b>", "</b>"),
         ("\u201c", "\u201d")]  # fmt: skip
IN_ORDER = [
    "What happens in the next image?", "Is this brighter than the previous one?",
    "What changed from before to after?", "The images are frames of a video. What is he doing?",
    "Which edit turns the source into the target?", "What is the original and what the copy?",
    "Which comes first?", "What happened then?", "Is the last one the result of the edit?",
    "Are the earlier images darker?", "Is the image above darker than the one below?",
    "Does the former show a dog?", "What does the man do after sitting down?",
    "What was removed?",
    "Did the number of dogs increase?", "What is missing?", "Is the query image like the others?",
    "Is the dog no longer there?", "Is the image next to image 1 dark?", "Is (a) like (b)?",
    "Sort the images in chronological order.", "What has changed?", "Is the top picture dark?",
]  # fmt: skip


@dataclass(frozen=True)
class Named:
    """A mention: the slot that it names, the words for it, and how to read such words."""

    slot: int
    words: str
    way: str


Sentence = list["str | Named"]


@dataclass(frozen=True)
class Case:
    """A sentence in its place.

    Attributes:
        kind: The rule of the grammar that made it.
        plain: Whether it has to be rewritten: a refusal is a loss.
        depends: Whether it depends on the order, so that it may only be refused.
        as_set: Whether the mentions of the answer are a set.
    """

    kind: str
    count: int
    question: Sentence
    options: tuple[Sentence, ...] = ()
    answer: "Sentence | str" = "yes"
    rule: Rule = PLAIN
    plain: bool = False
    depends: bool = False
    as_set: bool = False


def spell(way: str, slot: int, count: int) -> str:
    """The words of a way for a slot."""
    lists = {"digit": "1234", "word": WORDS, "nth": NTH, "nths": NTHS, "letter": LETTERS}
    if way == "side":
        return SIDES[count][slot]
    return lists[way][slot]


def read(way: str, words: str, count: int) -> int:
    """The slot that words mean; raises ValueError where they mean none."""
    words = words.lower()
    if way == "letter":
        return LETTERS.lower().index(words)
    for known in ("1234", WORDS, NTH, NTHS, SIDES.get(count, [])):
        if words in list(known):
            return list(known).index(words)
    if words == "last":
        return count - 1
    return count - 1 - NTH.index(words.removesuffix("-to-last"))


def name(rng, slot: int, count: int, way: str) -> Named:
    words = spell(way, slot, count)
    return Named(slot, str(rng.choice([words, words, words, words.capitalize()])), way)


def bare(slot: int, count: int, way: str) -> Named:
    return Named(slot, spell(way, slot, count), way)


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def full(rng, slot: int, count: int, way: str | None = None) -> Sentence:
    """A reference with its noun."""
    ways = ["digit", "word", "nth", "nths", *(["side"] if count < 4 else [])]
    way = way or pick(rng, ways)
    noun = pick(rng, OWN)
    mention = name(rng, slot, count, way)
    if way == "digit":
        between = pick(rng, [" ", " ", " ", " #", " no. ", "_", "-", ""])
        return [noun + between, mention]
    return [f"{noun} ", mention] if way == "word" else ["the ", mention, f" {noun}"]


def two_slots(rng, count: int) -> tuple[int, int]:
    a, b = rng.permutation(count)[:2]
    return int(a), int(b)


def plain_compare(rng, count):
    a, b = two_slots(rng, count)
    verb = pick(rng, ["brighter", "darker", "larger", "older"])
    head, tail = pick(
        rng, [("Is ", "?"), ("True or false: ", "."), ("", "."), ("First, look. Is ", "?")]
    )
    be = " " if head.endswith("Is ") else " is "
    sentence = [head, *full(rng, a, count), f"{be}{verb} than ", *full(rng, b, count), tail]
    return Case("two references", count, sentence, plain=True)


def plain_inside(rng, count):
    a, b = two_slots(rng, count)
    way = pick(rng, ["digit", "nth"])
    sentence = [
        "Is ", pick(rng, ["the dog", "the tree", "a man", "the second car"]), " in ",
        *full(rng, a, count, way), " like the one in ", *full(rng, b, count, way), "?",
    ]  # fmt: skip
    return Case("things inside", count, sentence, plain=True)


def inside(rng, count):
    (a, _) = two_slots(rng, count)
    thing = pick(rng, INSIDE)
    frames = [
        [f"Is {thing} in ", *full(rng, a, count), " red?"],
        ["In ", *full(rng, a, count), f", is {thing} red?"],
        ["Does ", *full(rng, a, count), f" show {thing}?"],
        [f"{thing.capitalize()} can be seen in ", *full(rng, a, count), "."],
    ]
    return Case("decoys", count, pick(rng, frames))


def gapped(rng, count):
    a, b = two_slots(rng, count)
    way = pick(rng, ["digit", "word", "nth", "nth", "nths", *(["side"] if count < 4 else [])])
    join = pick(rng, JOINS)
    shown = pick(rng, ONE)
    head = [*full(rng, a, count, way), " ", pick(rng, VERBS), " ", shown]
    article = "" if way in ("digit", "word") else "the "
    other = pick(rng, GAPPED)
    if shown in ("two birds", "3 men") and way in ("digit", "word"):
        other = "a cat"  # "shows two birds and 2 cats" is a count
    tail = [join, article, bare(b, count, way), " ", other, "."]
    if rng.integers(4) == 0:
        head = ["In ", *full(rng, a, count, way), " there is ", pick(rng, ONE)]
        tail = [join, f"in {article}", bare(b, count, way), " ", pick(rng, GAPPED), "."]
    return Case("noun left out", count, [*head, *tail])


def before_noun(rng, count):
    a, b = two_slots(rng, count)
    way = pick(rng, ["nth", "nths"])
    what = pick(
        rng, ["a copy of", "blurrier than", "a part of", "like", "zoomed in from", "darker than"]
    )
    return Case("noun comes later", count, [
        "Is the ", bare(a, count, way), f" {what} ", *full(rng, b, count, way), "?",
    ])  # fmt: skip


def no_noun(rng, count):
    a, b = two_slots(rng, count)
    way = pick(rng, ["digit", "word", "nth", "side" if count < 4 else "nth"])
    article = "" if way in ("digit", "word") else "the "
    mark = pick(rng, ["", "", "#", "No. ", "number "]) if way == "digit" else ""
    frames = [
        ["Which is brighter, " + article + mark, bare(a, count, way), " or " + article + mark,
         bare(b, count, way), "?"],
        ["Does " + article + mark, bare(a, count, way), " show ", pick(rng, ONE), "?"],
        ["A dog is in " + article + mark, bare(a, count, way), " but not in " + article + mark,
         bare(b, count, way), "."],
        ["Compare " + article + mark, bare(a, count, way), " with " + article + mark,
         bare(b, count, way), "."],
        [(article + mark).capitalize(), bare(a, count, way), ": a dog, " + article + mark,
         bare(b, count, way), ": a cat."],
    ]  # fmt: skip
    return Case("no noun at all", count, pick(rng, frames))


def lists(rng, count):
    slots = [int(slot) for slot in rng.permutation(count)[: int(rng.integers(2, count + 1))]]
    sentence: Sentence = [
        pick(rng, ["Do images ", "Only pictures ", "Photos ", "Not only images "])
    ]
    for index, slot in enumerate(slots):
        sentence += [bare(slot, count, "digit")]
        left = len(slots) - 1 - index
        sentence += [", " if left > 1 else " and " if left else " show dogs"]
    rest = [slot for slot in range(count) if slot not in slots]
    if rest and rng.integers(2):
        sentence += [pick(rng, ["; ", ", but ", " and "]), bare(rest[0], count, "digit"), " ",
                     pick(rng, ["shows a cat", "does not", "a cat"])]  # fmt: skip
    return Case("lists", count, [*sentence, "."])


def captions(rng, count):
    way = pick(rng, ["letter", "digit"])
    noun = pick(rng, ["Image", "Picture", "Photo"])
    labels = "".join(f"{noun} {spell(way, slot, count)}: <image>\n" for slot in range(count))
    a, b = two_slots(rng, count)
    one, other = bare(a, count, way), bare(b, count, way)
    frames = [
        ([labels + "Is ", one, " brighter than ", other, "?"], "yes"),
        ([labels + f"Is {noun} ", one, " brighter than ", other, "?"], "yes"),
        ([labels + f"Is {noun} ", one, f" brighter than {noun} ", other, "?"], "yes"),
        ([labels + "Which is brighter, ", one, " or ", other, "?"], "same"),
        ([labels + f"Which {noun.lower()} is brighter?"], [one]),
        ([labels + f"Which {noun.lower()} is brighter?"], [f"{noun} ", one]),
        ([labels + "Does ", one, " show a dog?"], "yes"),
        ([labels + f"What is in {noun} ", one, "?"], "a dog"),
    ]
    index = int(rng.integers(len(frames)))
    question, answer = frames[index]
    return Case("captions", count, question, answer=answer, plain=index in (2, 5, 7))


def counts_in_two(rng, count):
    a, b = two_slots(rng, count)
    way = pick(rng, ["digit", "word", "nth"])
    noun = pick(rng, OWN)
    article, before = ("the ", "") if way == "nth" else ("", f"{noun} ")
    after = f" {noun}" if way == "nth" else ""
    first, second = pick(rng, ["1", "2", "two", "3", "A"]), pick(rng, ["1", "2", "one", "two", "3"])
    join = pick(rng, [" and ", ", and ", " & ", " or ", " versus ", ", ", " but "])
    goes_on = pick(rng, ["", "", " are", " with hats", " more"])
    end = after + pick(rng, [".", "?", ""])
    return Case("counts in two images", count, [
        f"{first} dogs in {article}{before}", bare(a, count, way),
        f"{after}{join}{second}{goes_on} in {article}{before}", bare(b, count, way), end,
    ])  # fmt: skip


def answers(rng, count):
    (a, _) = two_slots(rng, count)
    way = pick(rng, ["digit", "nth", "word", *(["side"] if count < 4 else [])])
    asked = pick(rng, ASKED)
    open_, close = pick(rng, AROUND_ANSWERS)
    if way == "word":
        open_, close = "", ""  # "the one one" is no English
    rule = pick(rng, [PLAIN, REFERENCE])
    if rng.integers(2):
        return Case(
            "bare answers", count, [asked], answer=[open_, bare(a, count, way), close], rule=rule
        )
    options = tuple(
        [f"{LETTERS[i]}. {open_}", bare(int(slot), count, way), close]
        for i, slot in enumerate(rng.permutation(count))
    )
    return Case("bare options", count, [asked], options, pick(rng, list(LETTERS[:count])), rule)


def set_answers(rng, count):
    slots = sorted(int(slot) for slot in rng.permutation(count)[: int(rng.integers(2, count + 1))])
    if rng.integers(2):
        answer: Sentence = ["Images "]
        way, rule = "digit", PLAIN
    else:
        answer, rule = [], REFERENCE
        way = pick(rng, ["digit", "nth"])
    for index, slot in enumerate(slots):
        answer += [bare(slot, count, way), (", " if index < len(slots) - 2 else " and ")]
    asked = pick(rng, ["Which images show a dog?", "Which of the pictures are dark?"])
    return Case("set answers", count, [asked], answer=answer[:-1], rule=rule, as_set=True)


def counted(rng, count):
    asked = pick(rng, ["How many images show a dog?", "How many dogs are there in all images?",
                       "How many people are in both pictures together?"])  # fmt: skip
    rule = pick(rng, [PLAIN, REFERENCE])
    answer = pick(rng, ["1", "2", "3", "two", "2 dogs"])
    return Case("counts", count, [asked], answer=answer, rule=rule, plain=answer in ("1", "2"))


def other_nouns(rng, count):
    a, b = two_slots(rng, count)
    noun = pick(rng, OTHERS)
    noun = pick(rng, [noun, noun.capitalize()])
    if rng.integers(2):
        words = ["Is the ", bare(a, count, "nth"), f" {noun} brighter than the ",
                 bare(b, count, "nth"), f" {noun}?"]  # fmt: skip
    else:
        words = [f"Is {noun} ", bare(a, count, "digit"), f" brighter than {noun} ",
                 bare(b, count, "digit"), "?"]  # fmt: skip
    return Case("other nouns", count, words)


def marked(rng, count):
    a, b = two_slots(rng, count)
    open_, close = pick(rng, MARKS)
    if rng.integers(2):
        noun = pick(rng, ["image", "picture", "Pic", "img", "photo"])
        words = [f"Is {noun} {open_}", bare(a, count, "digit"), f"{close} like {noun} {open_}",
                 bare(b, count, "digit"), f"{close}?"]  # fmt: skip
    else:
        words = [f"Is the {open_}", bare(a, count, "nth"), f"{close} image like the {open_}",
                 bare(b, count, "nth"), f"{close} image?"]  # fmt: skip
    return Case("marks", count, words)


def in_order(rng, count):
    sentence = pick(rng, IN_ORDER)
    return Case("order words", count, [sentence], depends=True)


def two_sentences(rng, count):
    first, second = pick(rng, MAKERS[:6])(rng, count), pick(rng, MAKERS[:6])(rng, count)
    return Case("two sentences", count, [*first.question, pick(rng, [" ", "\n"]), *second.question])


MAKERS: list[Callable[..., Case]] = [
    plain_compare, plain_inside, inside, gapped, before_noun, no_noun, lists, captions, answers,
    counts_in_two, set_answers, counted, other_nouns, marked, in_order, two_sentences,
]  # fmt: skip


def text_of(sentence: "Sentence | str") -> str:
    return "".join(part if isinstance(part, str) else part.words for part in sentence)


def slots_read(sentence: "Sentence | str", text: str, count: int) -> list[int] | None:
    """The slots that the mentions of a rewritten text name; None if other words have changed."""
    pattern = "".join(
        re.escape(part) if isinstance(part, str) else r"([\w-]+?)" for part in sentence
    )
    match = re.fullmatch(pattern, text)
    if match is None:
        return None
    ways = [part.way for part in sentence if isinstance(part, Named)]
    try:
        return [read(way, words, count) for way, words in zip(ways, match.groups(), strict=True)]
    except ValueError:
        return None


def case_number(number: int) -> tuple[Case, tuple[int, ...]]:
    """A case of the grammar and an order for it; the same number gives the same case."""
    rng = np.random.default_rng((7, number))
    count = int(rng.integers(2, 5))
    case = MAKERS[number % len(MAKERS)](rng, count)
    order = tuple(range(count))
    while order == tuple(range(count)):
        order = tuple(int(slot) for slot in rng.permutation(count))
    return case, order


def outcome(case: Case, order: tuple[int, ...]) -> tuple[str, str]:
    """``rewritten``, ``refused`` or ``wrong``, and the reason or the text."""
    question = text_of(case.question)
    if "<image>" not in question:
        question = "<image>" * case.count + "\n" + question
    own = Example(
        "x", "mine", question, tuple(f"picture {slot}" for slot in range(case.count)),
        text_of(case.answer), tuple(map(text_of, case.options)),
    )  # fmt: skip
    try:
        new = permute(own, order, case.rule)
    except CannotPermute as error:
        return "refused", f"{error.reason}: {error.detail}"
    shown = f"{own.question!r} {own.options} {own.answer!r} {order} -> "
    shown += f"{new.question!r} {new.options} {new.answer!r}"
    if case.depends:
        return "wrong", shown
    prefix = "" if "<image>" in text_of(case.question) else "<image>" * case.count + "\n"
    pairs = [([prefix, *case.question], new.question), (case.answer, new.answer)]
    pairs += zip(case.options, new.options, strict=True)
    for sentence, text in pairs:
        meant = [order.index(part.slot) for part in sentence if isinstance(part, Named)]
        found = slots_read(sentence, text, case.count)
        if case.as_set and sentence is case.answer:
            meant = sorted(meant)  # in ascending order again
        if found != meant:
            return "wrong", shown
    return "rewritten", shown


def main(cases: int) -> int:
    """Checks cases, prints every wrong one and the share rewritten by kind."""
    results: Counter[tuple[str, str]] = Counter()
    lost, wrong = 0, 0
    for number in range(cases):
        case, order = case_number(number)
        result, text = outcome(case, order)
        results[case.kind, result] += 1
        wrong += result == "wrong"
        if result == "wrong" or (case.plain and result == "refused"):
            lost += result != "wrong"
            print(f"{result} ({case.kind}, {number}): {text_of(case.question)!r} {text}")
    for kind in sorted({kind for kind, _ in results}):
        rewritten, refused = results[kind, "rewritten"], results[kind, "refused"]
        total = rewritten + refused + results[kind, "wrong"]
        print(f"{kind:20} {rewritten:6} of {total:6} rewritten ({rewritten / total:6.1%})")
    rewritten = sum(count for (_, result), count in results.items() if result == "rewritten")
    print(
        f"{cases} sentences: {rewritten / cases:.1%} rewritten, {wrong} wrong, {lost} plain refused"
    )
    return 1 if wrong or lost else 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1])))
