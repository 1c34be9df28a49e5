"""Whether two lists can be the same by their brackets, joints and the names of their items."""

import re

from perl_jax.rewards.equations import read_labelled
from perl_jax.rewards.expressions import mathematics
from perl_jax.rewards.sequences import Sequence, compatible
from perl_jax.rewards.written import read_written

_INDEX = re.compile("_[0-9]$")
_INEQUALITY = re.compile(r"[<>]|\\(?:lt|gt|leq?|geq?)(?![a-z])")


def agree(given: Sequence, truth: Sequence) -> bool:
    """Whether brackets, joints and labels agree."""
    label, true_label = common_label(given), common_label(truth)
    if label and true_label and label != true_label:
        return False
    others = {_INDEX.sub("", read_labelled(item).label) for item in given.items}
    if true_label and not _INDEX.search(true_label) and others - {"", true_label}:
        return False
    if given.joint == "or" and truth.joint != "or":
        # Whoever says "2 or 3" does not say that it is both; "x = 2 or x = 3" has both solutions.
        solutions = label and not is_word(label) and true_label is not None
        if not solutions or truth.joint != "comma" or truth.brackets not in ("", "\\{\\}"):
            return False
    if given.joint == "and" and truth.joint == "or" and any(map(_INEQUALITY.search, truth.items)):
        return False
    if given.brackets in ("()", "[]") and (true_label or truth.joint == "or"):
        # The point (2, 3) and the interval [2, 3] are not the solutions 2 and 3.
        return False
    return compatible(given, truth)


def names_in_other_order(given: Sequence, truth: Sequence) -> bool:
    """Whether named values stand in another order than those of a point: y = 4, x = 3."""
    labels = [read_labelled(item).label for item in given.items]
    if any(read_labelled(item).label for item in truth.items) or truth.is_set:
        return False
    return all(labels) and not any(map(is_word, labels)) and labels != sorted(labels)


def is_word(label: str) -> bool:
    """Whether a label is a word or several, and no variable."""
    return len(label) > 2 and label.replace(" ", "").isalpha()


def common_label(sequence: Sequence) -> str | None:
    """The label that all items have, which may be none (empty); None if they differ."""
    labels = {read_labelled(item).label for item in sequence.items}
    return labels.pop() if len(labels) == 1 else None


def any_order(given: Sequence, truth: Sequence) -> bool:
    """Whether order says nothing: in a set, and where items name what they are the value of.

    2 and 3 may be 3 and 2, and "x = 2, y = 3" is "y = 3, x = 2", but not "3 and 2".
    """
    labels = [read_labelled(item).label for item in truth.items]
    own_labels = [read_labelled(item).label for item in given.items]
    # x = 2 or x = 5 are solutions, whatever the truth calls them.
    named = all(own_labels) and (all(labels) or len(set(own_labels)) == 1)
    return named or ((truth.is_set or all(labels)) and len(set(labels)) == 1)


def as_set(sequence: Sequence) -> str | None:
    """Returns a list as a set in LaTeX, without a label that all items have; None if it is none."""
    labelled = [read_labelled(item) for item in sequence.items]
    if any(len(one.values) > 1 or read_written(one.values[0]) for one in labelled):
        return None
    same = len({one.label for one in labelled}) == 1
    items = [
        one.values[-1] if same else item for one, item in zip(labelled, sequence.items, strict=True)
    ]
    latex = [mathematics(item) for item in items]
    if any(item is None for item in latex):
        return None
    return "\\{" + ",".join(item for item in latex if item) + "\\}"
