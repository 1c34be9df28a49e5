"""Every field of every configuration is held to its annotation, however an instance is made."""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import annotated_types
import pytest
from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MaxLen, MinLen, Predicate, Unit

from perl_jax.buckets import Rungs
from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.data.config import SourceConfig
from perl_jax.preparation.config import PrepareConfig
from perl_jax.settings import (
    Checked,
    Count,
    Expects,
    FlagText,
    MayBeInfinite,
    Positive,
    WrongType,
    alternatives,
    read_config,
)

# Numbers of any size, and why.
FREE_NUMBERS = {
    "seed": "any whole number is one",
    "entropy_coefficient": "either sign has a meaning",
    "weights.x": "a penalty weighs less than 0",
    "images[0]": "the range is checked as one",
    "images[1]": "the range is checked as one",
}
INFINITE = {"clip_high": "never clips"}
# Texts that name something outside: a file, a column, a model, a pattern of parameters.
FREE_TEXTS = {
    "answer", "api_key_env", "base_url", "cache", "directory", "frozen[0]", "functions.x", "id[0]",
    "image_root", "images[0]", "metadata[0]", "metadata_json", "model", "name", "no_decay[0]",
    "options", "path", "paths[0]", "prompt", "prompt_suffix", "question", "question_types[0]",
    "rates[0][0]",
    "source", "sources[0]", "stop[0]", "system", "template", "trainable[0]", "wandb_project",
    "words[0]",
}  # fmt: skip
# A split of files may have any name; that of the digits is a choice.
FREE_TEXTS |= {"split"}
# Fields of any content, which other code reads.
OPAQUE = {"rules.x", "parameters.x", "only.x[0]", "without.x[0]", "text.x", "vision.x"}


@dataclass(frozen=True)
class Leaf:
    """A number, text, choice or truth value in a field, alone or in a tuple or mapping."""

    owner: type
    field: str
    path: str
    kind: Any
    bounds: list
    place: Any = field(compare=False)

    def __str__(self):
        return (
            f"{self.owner.__module__.removeprefix('perl_jax.')}.{self.owner.__name__}.{self.path}"
        )


def taken_apart(hint):
    bounds = []
    while True:
        if typing.get_origin(hint) is Annotated:
            hint, *more = typing.get_args(hint)
            for bound in more:
                bounds += bound if isinstance(bound, annotated_types.GroupedMetadata) else [bound]
        elif typing.get_origin(hint) in (typing.Union, types.UnionType):
            kinds = [item for item in typing.get_args(hint) if item is not type(None)]
            if len(kinds) > 1:
                return hint, bounds
            (hint,) = kinds
        else:
            return hint, bounds


def fields_of(kind):
    hints = typing.get_type_hints(kind, include_extras=True)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


def parts_of(hint):
    """The dataclasses in an annotation."""
    hint, _ = taken_apart(hint)
    if dataclasses.is_dataclass(hint):
        return {hint}
    return set().union(*(parts_of(item) for item in typing.get_args(hint)), set())


def configurations():
    found, waiting = [], [TrainConfig, WarmstartConfig, PrepareConfig]
    while waiting:
        kind = waiting.pop()
        if kind not in found:
            found.append(kind)
            waiting += [part for hint in fields_of(kind).values() for part in parts_of(hint)]
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


def leaves_in(owner, name, hint, path, above, place):
    kind, bounds = taken_apart(hint)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kinds := alternatives(kind):
        # Beside free text, a choice is only a text with a meaning.
        for one in [one for one in kinds if one is str or str not in kinds]:
            yield from leaves_in(owner, name, one, path, [*above, *bounds], place)
    elif origin is tuple:
        items = arguments[:1] if arguments[-1] is Ellipsis else arguments
        for number, item in enumerate(items):
            others = [valid(other) for other in items]
            yield from leaves_in(
                owner, name, item, f"{path}[{number}]", [*above, *bounds],
                lambda value, number=number, others=others: place(
                    (*others[:number], value, *others[number + 1 :])
                ),
            )  # fmt: skip
    elif origin is Mapping:
        yield from leaves_in(
            owner, name, arguments[1], f"{path}.x", [*above, *bounds],
            lambda value: place({"x": value}),
        )  # fmt: skip
    elif not dataclasses.is_dataclass(kind):
        yield Leaf(owner, name, path, kind, [*above, *bounds], place)


def leaves():
    return [
        leaf
        for owner in configurations()
        for name, hint in fields_of(owner).items()
        for leaf in leaves_in(owner, name, hint, name, [], lambda value: value)
    ]


def valid(hint):
    """A value of the type, to fill what must be given."""
    kind, _ = taken_apart(hint)
    if kinds := alternatives(kind):
        return valid(kinds[0])
    if dataclasses.is_dataclass(kind):
        return read_config(kind, given(kind))
    if typing.get_origin(kind) is tuple:
        return (valid(typing.get_args(kind)[0]),)
    return {int: 1, float: 0.5, str: "x", Any: 1}.get(kind) or typing.get_args(kind)[0]


def given(kind):
    """The least that must be given to make one."""
    if kind is SourceConfig:
        return {"digits": {}}
    missing = dataclasses.MISSING
    required = {
        item.name: fields_of(kind)[item.name]
        for item in dataclasses.fields(kind)
        if item.default is missing and item.default_factory is missing
    }
    return {
        name: given(hint) if dataclasses.is_dataclass(hint) else valid(hint)
        for name, hint in required.items()
    }


def refusals(leaf, value):
    """What is said of a value in a file, and where the class is called."""
    changed = {leaf.field: leaf.place(value)}
    with pytest.raises(ValueError) as in_file:  # noqa: PT011
        read_config(leaf.owner, {**given(leaf.owner), **changed}, "config.part")
    hints = fields_of(leaf.owner)
    rest = {name: valid(hints[name]) for name in given(leaf.owner)}
    with pytest.raises(ValueError) as called:  # noqa: PT011
        leaf.owner(**{**rest, **changed})
    return str(in_file.value), str(called.value)


def assert_refused(leaf, value, *texts):
    in_file, called = refusals(leaf, value)
    # A tuple of choices is refused as one, and so is a ladder.
    path = leaf.path if called.startswith(leaf.path) else leaf.field
    assert called.startswith(f"{path}: expected "), called
    assert in_file.startswith(f"config.part.{path}: expected "), in_file
    for text in texts:
        assert text in called


def limited(leaf):
    limits = (Ge, Gt, Le, Lt, Predicate)
    return [bound for bound in leaf.bounds if isinstance(bound, limits)]


def of_kind(*kinds):
    chosen = [leaf for leaf in leaves() if leaf.kind in kinds]
    return pytest.mark.parametrize("leaf", chosen, ids=str)


CHOICES = [leaf for leaf in leaves() if typing.get_origin(leaf.kind) is Literal]


def test_every_configuration_is_reached_and_checked():
    names = {kind.__name__ for kind in configurations()}
    assert {"PackingConfig", "SamplerConfig", "RowFilter", "Bounds", "ObjectiveConfig"} <= names
    assert len(names) > 30
    unchecked = [kind for kind in configurations() if not issubclass(kind, Checked)]
    assert not unchecked, "derive these from perl_jax.settings.Checked"


def test_every_field_is_validated_or_said_to_be_free():
    free = []
    for leaf in leaves():
        validated = (
            typing.get_origin(leaf.kind) is Literal
            or leaf.kind is bool
            or (leaf.kind in (int, float) and (limited(leaf) or leaf.path in FREE_NUMBERS))
            or (leaf.kind is str and leaf.path in FREE_TEXTS)
            or (leaf.kind is Any and leaf.path in OPAQUE)
        )
        free += [] if validated else [str(leaf)]
    assert not free, (
        "give these bounds or choices in their annotation, or say here why they are free"
    )


def test_nothing_is_said_to_be_free_that_is_not():
    paths = {leaf.path for leaf in leaves() if not limited(leaf)}
    assert FREE_NUMBERS.keys() | INFINITE.keys() | FREE_TEXTS | OPAQUE <= paths | INFINITE.keys()


@pytest.mark.reliability("53")
@of_kind(float)
def test_nan_and_infinity_are_refused(leaf):
    values = [math.nan, -math.inf] + [math.inf] * (leaf.path not in INFINITE)
    for value in values:
        assert_refused(leaf, value, f"got {value}")


@of_kind(Any)
def test_nan_is_refused_in_what_other_code_reads(leaf):
    place = leaf.place
    nested = dataclasses.replace(leaf, place=lambda value: place({"inner": [value]}))
    for message in refusals(nested, math.nan):
        assert f"{leaf.path}.inner[0]: expected a finite number; got nan" in message


@pytest.mark.reliability("53")
@of_kind(int, float)
def test_a_number_outside_its_bounds_is_refused(leaf):
    for bound in limited(leaf):
        match bound:
            case Ge(limit):
                assert_refused(leaf, limit - 1)
            case Le(limit):
                assert_refused(leaf, limit + 1)
            case Gt(limit) | Lt(limit):
                assert_refused(leaf, limit)
            case Predicate():
                assert_refused(leaf, 0)


@of_kind(int, float)
def test_neither_truth_values_nor_texts_are_numbers(leaf):
    for value in (True, "3"):
        assert_refused(leaf, value, repr(value))
    if leaf.kind is int:
        assert_refused(leaf, 1.5, "1.5")


@of_kind(bool)
def test_only_true_and_false_are_truth_values(leaf):
    for value in (1, "yes"):
        assert_refused(leaf, value, f"expected true or false; got {value!r}")


@of_kind(str)
def test_a_number_is_no_text(leaf):
    words = () if leaf.path in ("no_decay[0]", "cache", "stop[0]") else ("got int 7",)
    assert_refused(leaf, 7, *words)


@pytest.mark.parametrize("leaf", CHOICES, ids=str)
def test_a_misspelt_choice_is_refused_with_a_suggestion(leaf):
    for choice in typing.get_args(leaf.kind):
        assert_refused(leaf, f"{choice}x", "got ", f"{choice}x'", f"(did you mean {choice!r}?)")


@dataclass(frozen=True)
class Inner(Checked):
    rate: Annotated[float, Interval(ge=0, lt=1)] = 0.5


@dataclass(frozen=True)
class Sample(Checked):
    count: Count = 1
    size: Annotated[int, Ge(2), Le(4)] = 3
    speed: Positive | None = None
    limit: Annotated[float, Gt(0), MayBeInfinite()] = 1.0
    any_number: float = 0.0
    drift: Annotated[float, MayBeInfinite()] = 0.0
    words: Annotated[tuple[Annotated[str, Predicate(str.islower), Expects("small letters")], ...],
                     Len(1, 2), Expects("one or two words")] = ("a",)  # fmt: skip
    kinds: tuple[Literal["red", "green"], ...] = ()
    pair: tuple[int, str] = (1, "a")
    weights: Mapping[str, Positive] = field(default_factory=dict)
    base: Literal[0, 1] = 0
    inner: Inner = Inner()
    ladder: Literal["auto"] | Rungs = "auto"
    place: Literal["here", "there"] | int | None = None
    name: Annotated[Literal["auto"] | Annotated[int, Ge(1)], Expects("auto or a count")] = "auto"

    def _check_together(self):
        if self.size < self.count:
            raise ValueError(f"size: expected at least count, {self.count}; got {self.size}")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": 0}, "count: expected at least 1; got 0"),
        ({"count": True}, "count: expected int; got bool True"),
        ({"count": None}, "count: expected int; got NoneType None"),
        ({"count": "3"}, "count: expected int; got str '3'"),
        ({"size": 5}, "size: expected at least 2 and at most 4; got 5"),
        ({"count": 4}, "size: expected at least count, 4; got 3"),
        ({"count": 0, "size": 0}, "count: expected at least 1; got 0"),
        ({"speed": 0}, "speed: expected a positive number or None; got 0"),
        ({"speed": "3"}, "speed: expected a positive number or None; got '3'"),
        ({"limit": math.nan}, "limit: expected a positive number; got nan"),
        ({"drift": math.nan}, "drift: expected a finite number; got nan"),
        ({"any_number": math.inf}, "any_number: expected a finite number; got inf"),
        ({"inner": 3}, "inner: expected Inner; got int 3"),
        ({"words": ()}, "words: expected one or two words; got none"),
        ({"words": ("a", "b", "c")}, "words: expected one or two words; got ('a', 'b', 'c')"),
        ({"words": ["a"]}, "words: expected one or two words; got ['a']"),
        ({"words": ("a", "B")}, "words[1]: expected small letters; got 'B'"),
        ({"kinds": ("red", "gren")}, "kinds: expected some of red, green; got ('red', 'gren') (did "
         "you mean 'green'?)"),
        ({"kinds": "red"}, "kinds: expected a tuple; got 'red'"),
        ({"pair": (1,)}, "pair: expected 2 values; got (1,)"),
        ({"pair": (1, 2)}, "pair[1]: expected str; got int 2"),
        ({"weights": {"a": 1, "b": -1}}, "weights.b: expected a positive number; got -1"),
        ({"weights": {1: 2}}, "weights: expected text as the names of fields; got 1"),
        ({"base": True}, "base: expected one of 0, 1; got True"),
        ({"base": 2}, "base: expected one of 0, 1; got 2"),
        ({"ladder": "atuo"}, "ladder: expected auto or rising positive sizes; got 'atuo' (did you "
         "mean 'auto'?)"),
        ({"ladder": (3, 2)}, "ladder: expected rising positive sizes; got (3, 2)"),
        ({"ladder": (3, "4")}, "ladder[1]: expected int; got str '4'"),
        ({"ladder": 3}, "ladder: expected auto or rising positive sizes; got 3"),
        ({"ladder": None}, "ladder: expected auto or rising positive sizes; got None"),
        ({"place": "here?"}, "place: expected one of here, there or int; got 'here?' (did you mean "
         "'here'?)"),
        ({"place": True}, "place: expected one of here, there or int; got True"),
        ({"name": "x"}, "name: expected auto or a count; got 'x'"),
        ({"name": 0}, "name: expected at least 1; got 0"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_where_an_instance_is_made(changed, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Sample(**changed)


def test_a_value_of_another_type_is_a_type_error_too():
    for wrong in ({"count": "3"}, {"kinds": []}, {"inner": None}):
        with pytest.raises(TypeError):
            Sample(**wrong)
    with pytest.raises(WrongType, match=r"^config\.inner: expected fields of Inner; got 3$"):
        read_config(Sample, {"inner": 3})


def test_what_the_annotations_allow_is_left_as_it_is():
    sample = Sample(
        2, 4, 3, math.inf, -1, -math.inf, ("a", "b"), ("red",), (0, ""), {"a": 2}, 1, Inner(0)
    )
    assert sample.speed == 3
    assert read_config(Sample, {"limit": math.inf, "speed": None}).limit == math.inf


@pytest.mark.parametrize(
    ("text", "value"),
    [("auto", "auto"), ("(1, 2)", (1, 2)), ("[3]", (3,))],
)
def test_a_field_of_several_kinds_is_read_by_the_one_that_fits(text, value):
    assert read_config(Sample, {"ladder": FlagText(text)}).ladder == value
    given = text if text == "auto" else list(value)
    assert read_config(Sample, {"ladder": given}).ladder == value
    assert read_config(Sample, {"place": FlagText("3")}).place == 3
    assert read_config(Sample, {"place": FlagText("there")}).place == "there"


def test_messages_of_a_file_have_the_whole_path():
    with pytest.raises(ValueError, match=r"^config\.inner\.rate: expected a number of at least 0 "):
        read_config(Sample, {"inner": {"rate": 1}})
    with pytest.raises(ValueError, match=r"^config\.size: expected at least count, 4; got 3$"):
        read_config(Sample, {"count": 4})
    with pytest.raises(ValueError, match=r"^here\.words\[0\]: expected small letters; got 'A'$"):
        read_config(Sample, {"words": ["A"]}, "here")


def test_a_class_that_compares_by_identity_still_does():
    @dataclass(frozen=True, eq=False)
    class Tool(Checked):
        count: Count = 1

    assert Tool() != Tool()
    assert Sample() == Sample() != Sample(2)


def test_a_bound_that_nobody_checks_is_an_error_and_not_ignored():
    @dataclass(frozen=True)
    class Odd(Checked):
        speed: Annotated[float, Unit("m/s")] = 1.0

    with pytest.raises(NotImplementedError, match="Unit"):
        Odd()


def test_bounds_of_lengths_are_whole():
    assert list(Len(1, 2)) == [MinLen(1), MaxLen(2)]
