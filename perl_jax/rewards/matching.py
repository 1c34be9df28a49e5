r"""Compares an answer with the truth by strings alone: letters, numbers, lists, orders and words.

Nothing here evaluates anything, so all of it is safe in the main process. Pairs of LaTeX texts that
only mathematics can compare are handed on. An answer with anything that is not accounted for, such
as a second value, a doubt or a denial, is different from every truth.
"""

import re
from dataclasses import dataclass, replace

from perl_jax.rewards.equations import Labelled, read_labelled, with_label_of_first
from perl_jax.rewards.expressions import mathematics, split_unit
from perl_jax.rewards.formulas import read_reaction, same_formula
from perl_jax.rewards.intervals import read_interval, same_in_other_form
from perl_jax.rewards.normalise import clean, is_prose, prose, unwrapped_text, without_preamble
from perl_jax.rewards.numeric import Tolerance, read_number, same_number
from perl_jax.rewards.options import Option, is_bare_option, read_option, read_true_option
from perl_jax.rewards.references import read_reference, same_picture, with_noun_of_last
from perl_jax.rewards.sequences import (
    Sequence,
    read_block,
    read_both_signs,
    read_enclosed,
    read_letters,
    read_named_values,
    read_order,
    read_rows,
    read_sequence,
    without_block_label,
    without_both,
)
from perl_jax.rewards.solutions import (
    agree,
    any_order,
    as_set,
    common_label,
    is_word,
    names_in_other_order,
)
from perl_jax.rewards.units import counts_other_things, same_unit
from perl_jax.rewards.words import words
from perl_jax.rewards.written import compare_written, read_date
from perl_jax.rewards.yes_no import verdict

# Not the space between two digits, or between a command and a letter.
_LOOSE_SPACE = re.compile(r"(?<!\w)\s+|\s+(?!\w)")
_BELOW = re.compile(r"_\{[^{}]*\}")
_TWO_LETTERS = re.compile("[A-Za-z]{2}")
_SHORT_WORDS = words("no up on in ok go us uk eu un tv pc it he me we at to by or is do ai id la")
_PRODUCT = re.compile(r"\*|\\(?:cdot|times)(?![a-z])")
_POINT = re.compile(r"[A-Z]\s*(\([^()]*,[^()]*\))")
_SHAPE = re.compile(r"\\(?:angle|triangle)(?![a-z])")
_NO_NUMBER = re.compile(r"no\s+[0-9]", re.IGNORECASE)  # "no. 2" is number 2
_MAX_NESTING = 4


@dataclass(frozen=True)
class Match:
    """The comparison of an answer with the truth."""

    equal: bool | None  # None: every one of ``pairs`` must be compared symbolically
    how: str  # what decided: exact, letter, number, list, text or symbolic
    pairs: tuple[tuple[str, str], ...] = ()  # LaTeX texts (answer, truth)


def match(answer: str, truth: str, tolerance: Tolerance) -> Match:
    """Compares the contents of a box with the ground truth.

    The truth decides the comparison. A capital letter is an option: a longer word never matches it,
    but an option as printed (``(B) the left image``) does. A number is compared exactly, or within
    the tolerance. A list is compared item by item, in order; in any order if the truth is in
    braces or joined by "and" or "or". Words are compared without regard to case and spacing.
    """
    if answer.strip() == truth.strip():
        return Match(True, "exact")
    return _match(_tidy(answer), _tidy(truth), tolerance, 0)


def _tidy(text: str) -> str:
    return without_preamble(clean(text))


def _match(answer: str, truth: str, tolerance: Tolerance, depth: int) -> Match:
    # The text of an option is no option again.
    if depth <= _MAX_NESTING and (true := read_true_option(truth)):
        return _match_option(answer, true, truth, tolerance)
    if is_prose(truth) and (_same_words(answer, truth) or verdict(answer) == prose(truth)):
        return Match(True, "text")
    if (found := _match_intervals(answer, truth)) or (found := _match_formulas(answer, truth)):
        return found
    found = _match_block(answer, truth, tolerance, depth) if depth < _MAX_NESTING else None
    if found is None and depth < _MAX_NESTING:
        found = _match_sequence(answer, truth, tolerance, depth)
    if found is None and read_enclosed(answer):
        return Match(False, "list")
    return found or _match_single(answer, truth, tolerance)


def _match_intervals(answer: str, truth: str) -> Match | None:
    """Compares inequalities with intervals; None where both are written in the same way."""
    given, true = read_interval(answer), read_interval(truth)
    if given is None or true is None or not same_in_other_form(given, true):
        return None
    latex, true_latex = mathematics(given.latex), mathematics(true.latex)
    if latex is None or true_latex is None:
        return None
    return Match(None, "symbolic", ((latex, true_latex),))


def _match_formulas(answer: str, truth: str) -> Match | None:
    given, true = read_reaction(answer), read_reaction(truth)
    if not given or not true:
        return None
    # HO2 is no product of H, 2 and O.
    return Match(same_formula(given, true), "text")


def _match_option(answer: str, true: Option, truth: str, tolerance: Tolerance) -> Match:
    """Compares an answer with an option: its letter, its text, or both, which must then agree."""
    given = read_option(answer)
    if given is None or given.letter != true.letter:
        if not true.text or _same_words(answer, truth):
            return Match(bool(true.text), "letter")
        # Its text alone names the option too.
        found = _match(answer, _tidy(true.text), tolerance, _MAX_NESTING + 1)
        return found if found.equal else Match(False, "letter")
    if given.has_words_of(true):
        return Match(True, "letter")
    return _match(_tidy(given.text), _tidy(true.text), tolerance, _MAX_NESTING + 1)


def _same_words(answer: str, truth: str) -> bool:
    if _TWO_LETTERS.fullmatch(truth) and truth.casefold() not in _SHORT_WORDS:
        # RT is a product of two variables.
        return unwrapped_text(answer) == truth
    return prose(answer) == prose(truth)


def _match_block(answer: str, truth: str, tolerance: Tolerance, depth: int) -> Match | None:
    """Compares a matrix entry by entry, and a system in any order; None if the truth is neither."""
    answer, truth = without_block_label(answer), without_block_label(truth)
    true_block = read_block(truth)
    if true_block is None:
        return None
    given = read_block(answer)
    kind, rows = true_block
    if kind == "cases":
        if given and given[0] == kind:
            return _match_items(_system(given[1]), _system(rows), tolerance, depth)
        solution = read_sequence(answer)
        if solution is None:
            return None
        # The solution (1, 2) of x = 1 and y = 2 is no interval or point.
        return _match_items(replace(solution, brackets=""), _system(rows), tolerance, depth)
    given = given or read_rows(answer)
    if given and given[0] == "vector" and 1 in (len(rows), len(rows[0])):
        return _in_order_if_as_long(
            given[1][0], tuple(c for row in rows for c in row), tolerance, depth
        )
    if given is None or given[0] != kind:
        return None
    if [len(row) for row in given[1]] != [len(row) for row in rows]:
        return Match(False, "list")
    cells, true_cells = (tuple(cell for row in block for cell in row) for block in (given[1], rows))
    return _in_order(cells, true_cells, tolerance, depth)


def _system(rows: tuple[tuple[str, ...], ...]) -> Sequence:
    lines = (row[0] if len(row) == 1 else f"({', '.join(row)})" for row in rows)
    return Sequence(tuple(lines), "\\{\\}")


def _match_sequence(answer: str, truth: str, tolerance: Tolerance, depth: int) -> Match | None:
    """Compares an answer with a true list; None if the truth is no list."""
    if read_date(truth):
        return None
    true = read_sequence(truth) or read_letters(truth) or read_order(truth)
    if true is None and (read_sequence(answer) or read_both_signs(answer)):
        true = read_both_signs(truth) or read_named_values(truth)
    # A bare 1,234 is a number; [1,234] is a list.
    if true is None or (not true.brackets and read_number(truth) is not None):
        return None
    true = with_label_of_first(true)
    letters = all(read_true_option(item) for item in true.items)
    given = _labelled_list(answer, true)
    given = (
        given or read_sequence(without_both(answer)) or (read_letters(answer) if letters else None)
    )
    given = given or read_enclosed(answer)
    if given is None and not true.is_set:
        given = read_order(answer)
    block = read_block(answer)
    if given is None and block and block[0] == "cases":
        given = _system(block[1])
        if true.brackets == "()":
            # The point (1, 2) as the solution x = 1, y = 2.
            given = Sequence(
                tuple(sorted(given.items, key=lambda item: read_labelled(item).label)), ""
            )
    is_plain = true.brackets in ("", "\\{\\}") and common_label(true) is not None
    if given is None and is_plain and (given := read_both_signs(answer)):
        given, true = (replace(one, brackets="\\{\\}", joint="comma") for one in (given, true))
    if (
        given is None
        and block
        and true.brackets in ("()", "[]")
        and 1 in (len(block[1]), len(block[1][0]))
    ):
        given = Sequence(tuple(cell for row in block[1] for cell in row), true.brackets)
    if given is None:
        return Match(False, "list") if letters else _match_whole(answer, truth, true)
    if letters and len({is_bare_option(item) for item in given.items}) == 2:
        # In "B, D. A", the text after the full stop is more than the text of an option.
        return Match(False, "list")
    given, true = (
        replace(one, items=with_noun_of_last(one.items))
        for one in (with_label_of_first(given), true)
    )
    return _match_items(given, true, tolerance, depth)


def _labelled_list(answer: str, true: Sequence) -> Sequence | None:
    """Reads the list behind a label, ``Vertex: (1, 2)``, ``P(1, 2)`` or ``(a, b) = (1, 2)``."""
    if point := _POINT.fullmatch(answer):
        return read_sequence(point[1]) if true.brackets == "()" else None
    if read_sequence(answer):
        return None
    if names := read_named_values(answer):
        return names if all(read_labelled(item).label for item in true.items) else None
    labelled = read_labelled(answer)
    is_label = is_word(labelled.label) and len(labelled.values) == 1
    return read_sequence(labelled.values[0]) if is_label else None


def _match_whole(answer: str, truth: str, true: Sequence) -> Match:
    r"""Compares an answer that is no list with all of a true list: ``\pm 2`` is 2 and -2."""
    given, solutions = read_labelled(answer), common_label(true)
    if solutions is None or not given.is_value or len(given.values) > 1:
        latex, true_latex = mathematics(answer), mathematics(truth) if true.brackets else None
    elif (given.label and solutions and given.label != solutions) or read_number(given.values[0]):
        return Match(False, "list")
    else:
        latex = mathematics(given.values[0])
        true_latex = as_set(true) if solutions or not true.brackets else mathematics(truth)
    if latex is None or true_latex is None or is_prose(answer) or is_prose(truth):
        return Match(False, "list")
    return Match(None, "symbolic", ((latex, true_latex),))


def _match_items(given: Sequence, truth: Sequence, tolerance: Tolerance, depth: int) -> Match:
    if (
        len(given.items) != len(truth.items)
        or not agree(given, truth)
        or names_in_other_order(given, truth)
    ):
        return Match(False, "list")
    if any_order(given, truth):
        return _match_unordered(given, truth, tolerance, depth)
    return _in_order(given.items, truth.items, tolerance, depth)


def _in_order_if_as_long(
    given: tuple[str, ...], truth: tuple[str, ...], tolerance: Tolerance, depth: int
) -> Match:
    if len(given) != len(truth):
        return Match(False, "list")
    return _in_order(given, truth, tolerance, depth)


def _in_order(
    given: tuple[str, ...], truth: tuple[str, ...], tolerance: Tolerance, depth: int
) -> Match:
    pairs: list[tuple[str, str]] = []
    for item, true_item in zip(given, truth, strict=True):
        found = _match(item, true_item, tolerance, depth + 1)
        if found.equal is False:
            return Match(False, "list")
        pairs.extend(found.pairs)
    return Match(None, "symbolic", tuple(pairs)) if pairs else Match(True, "list")


def _match_unordered(given: Sequence, truth: Sequence, tolerance: Tolerance, depth: int) -> Match:
    """Pairs the items of two sets; hands on the whole sets if strings cannot pair them."""
    left = list(given.items)
    undecided = False
    for true_item in truth.items:
        found = [_match(item, true_item, tolerance, depth + 1).equal for item in left]
        if True in found:
            left.pop(found.index(True))
        elif None in found:
            undecided = True
        else:
            return Match(False, "list")
    if not undecided:
        return Match(True, "list")
    sets = [as_set(sequence) for sequence in (given, truth)]
    if sets[0] is None or sets[1] is None:
        return Match(False, "list")
    return Match(None, "symbolic", ((sets[0], sets[1]),))


def _match_single(answer: str, truth: str, tolerance: Tolerance) -> Match:
    true, given = read_labelled(truth), read_labelled(answer)
    clash = given.label and true.label and given.label != true.label
    if clash and "(" in given.label and "(" in true.label:
        return Match(False, "text")  # f(2) = 7 is not f(3) = 7
    if not true.is_value or not given.is_value or clash:
        # y = 2x + 1 and x = (y - 1) / 2 are the same line.
        return _match_equations(answer, truth)
    value = true.values[-1]
    if given.label and not is_word(given.label) and (_SHAPE.match(value) or read_reaction(value)):
        return Match(False, "text")  # "CO_2 = H2O" names two things
    if given.is_rounded and read_number(value) is None and mathematics(value) is None:
        return Match(False, "text")  # "about Image 2"
    if found := _match_written(given, value) or _match_numbers(given, value, tolerance):
        return found
    if found := _match_pictures(given, value):
        return found
    if _LOOSE_SPACE.sub("", answer) == _LOOSE_SPACE.sub("", truth) and not is_prose(truth):
        return Match(True, "text")
    return _match_expressions(given.values, value)


def _equates(latex: str) -> bool:
    """Whether an equation stands within brackets, but not below a sum."""
    return "=" in _BELOW.sub("", latex)


def _match_equations(answer: str, truth: str) -> Match:
    given, true = mathematics(answer), mathematics(truth)
    if given is None or true is None or ("=" in given) != ("=" in true):
        return Match(False, "text")
    return Match(None, "symbolic", ((given, true),))


def _match_written(given: Labelled, truth: str) -> Match | None:
    """Compares dates, times and ranges; None if neither text is one."""
    true, true_unit = split_unit(truth)
    alone = len(given.values) == 1
    verdicts = []
    for expression, unit in map(split_unit, given.values):
        same = compare_written(expression, true, alone=alone)
        fits = not unit or not true_unit or same_unit(unit, true_unit)
        verdicts.append(same if same is None else same and fits)
    return Match(all(verdicts), "text") if any(v is not None for v in verdicts) else None


def _match_numbers(given: Labelled, truth: str, tolerance: Tolerance) -> Match | None:
    true = read_number(truth)
    if given.label and any(value[:1].isalpha() for value in given.values):
        # Behind an equals sign a number stands in digits: "red = two dogs" names two things.
        return None
    numbers = [number for value in given.values if (number := read_number(value))]
    if true is None or len(numbers) < len(given.values):
        return None
    if true.unit and counts_other_things(given.label, true.unit):
        return Match(False, "number")
    return Match(all(same_number(number, true, tolerance) for number in numbers), "number")


def _match_pictures(given: Labelled, truth: str) -> Match | None:
    """Compares references to pictures; None where one is missing, or both are bare numbers."""
    true, named = read_reference(prose(truth)), read_reference(prose(given.values[-1]))
    if _NO_NUMBER.match(given.values[-1]):
        return None
    if true is None or named is None or true.form == named.form == "bare":
        return None
    return Match(not given.label and len(given.values) == 1 and same_picture(named, true), "text")


def _match_expressions(values: tuple[str, ...], truth: str) -> Match:
    """Compares mathematics with its units; what is no mathematics, as words."""
    true, true_unit = split_unit(truth)
    true_latex = mathematics(true)
    pairs = []
    for value in values:
        expression, unit = split_unit(value)
        latex = mathematics(expression)
        is_words = is_prose(expression) or (is_prose(true) and not _is_product(true, expression))
        if latex is None or true_latex is None or is_words or _equates(latex):
            return Match(False, "text")
        if unit and true_unit and not same_unit(unit, true_unit):
            return Match(False, "text")
        pairs.append((latex, true_latex))
    return Match(None, "symbolic", tuple(pairs))


def _is_product(truth: str, answer: str) -> bool:
    """Whether two letters are two variables, as the answer says: ``a*b`` for ``ab``."""
    is_word = not _TWO_LETTERS.fullmatch(truth) or truth.casefold() in _SHORT_WORDS
    return not is_word and _PRODUCT.search(answer) is not None
