"""Every kind of source has all that belongs to one: nothing is left out when a kind is added."""

import dataclasses
import re
import typing
from pathlib import Path

import pytest

from perl_jax.data.config import PartConfig, SourceConfig, open_source
from perl_jax.data.sources.digits import DigitsConfig
from perl_jax.data.sources.source import SourceKind
from perl_jax.inspection.naming import KINDS

DOCS = Path(__file__).parents[2] / "docs" / "data.md"
FIELDS = {field.name for field in dataclasses.fields(SourceConfig)}
# A mixture holds other sources; it has no files of its own, and is named by a configuration file.
OF_ONE_SOURCE = sorted(FIELDS - {"mixture"})


def configuration(kind):
    """The class of a field of `SourceConfig`."""
    (found,) = set(typing.get_args(typing.get_type_hints(SourceConfig)[kind])) - {type(None)}
    return found


@pytest.mark.parametrize("kind", OF_ONE_SOURCE)
def test_the_configuration_of_every_kind_opens_itself(kind):
    assert issubclass(configuration(kind), SourceKind)
    assert dataclasses.is_dataclass(configuration(kind))
    assert not configuration(kind).__abstractmethods__


def test_every_configuration_of_a_source_is_a_field():
    def concrete(kind):
        return {kind} if not kind.__abstractmethods__ else set()

    def below(kind):
        return concrete(kind).union(*map(below, kind.__subclasses__()))

    ours = {kind for kind in below(SourceKind) if kind.__module__.startswith("perl_jax.")}
    assert ours == {configuration(kind) for kind in OF_ONE_SOURCE}


def test_every_kind_has_a_name_on_the_command_line():
    assert KINDS.keys() == set(OF_ONE_SOURCE)
    for words, _ in KINDS.values():
        assert words.strip()


def test_every_kind_is_a_row_of_the_documentation():
    table = re.search(r"\| kind \| fields \|.*\n\|[-|]*\n((?:\|.*\n)+)", DOCS.read_text())
    assert {line.split("`")[1] for line in table[1].splitlines()} == FIELDS


@pytest.mark.parametrize("kind", sorted({*OF_ONE_SOURCE} - {"digits"}))
def test_the_documentation_names_the_fields_that_only_this_kind_has(kind):
    own = set(vars(configuration(kind)).get("__annotations__", ()))
    (row,) = re.findall(rf"^\| `{kind}` \| (.*?) \|", DOCS.read_text(), re.MULTILINE)
    assert own <= set(re.findall(r"`(\w+)`", row))


def test_a_source_is_opened_by_its_own_configuration():
    class Scripted(DigitsConfig):
        def open(self):
            return "its rows"

    assert open_source(SourceConfig(digits=Scripted())) == "its rows"


def test_the_sources_of_a_mixture_are_opened_with_their_filters_and_numbers_as_names():
    part = PartConfig(SourceConfig(digits=DigitsConfig(rows=3)), weight=2.0)
    mixture = open_source(SourceConfig(mixture=(part, dataclasses.replace(part, name="second"))))
    assert [(one.name, one.weight, len(one.source)) for one in mixture.parts] == [
        ("1", 2.0, 3),
        ("second", 2.0, 3),
    ]


def test_a_mixture_without_parts_is_refused():
    with pytest.raises(ValueError, match="mixture: expected parts of different names"):
        open_source(SourceConfig(mixture=()))
