"""Every field of a configuration can be set by a flag, from any configuration file."""

import dataclasses
import re
import typing
from pathlib import Path

import pytest

from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.data.config import SourceConfig
from perl_jax.fields import REQUIRED, fields_of, section_in
from perl_jax.overrides import open_config
from perl_jax.preparation.config import PrepareConfig
from perl_jax.settings import alternatives, check_value, choices_of, hints_of, taken_apart

CONFIGS = Path(__file__).parent.parent / "configs"
FILES = {
    "demo": TrainConfig,
    "qwen2_5_vl_3b_v5e16": TrainConfig,
    "tiny_warmstart": WarmstartConfig,
    "prepare_mantis": PrepareConfig,
}
# Of each type at least one is valid for every field: sizes that others divide, ladders that hold
# any length, names that exist.
VALUES = (
    False, True, 0.25, 0.5, 2.5, 8, 4, 3, (2**20,), (2, 3), "http://{question}", ("text",), ("A",),
    {"mine": {"movable": "none"}}, {"accuracy": 0.25}, {"mine": "package.module:function"},
    {"mine": ("text",)}, (("text", 0.5),),
)  # fmt: skip
# Texts of fields that take no address but that of a bucket.
PLACES = {"checkpoint.directory": "gs://bucket/run"}
WRONG = ("(", "many words", "3", "-7", "{'mine': 3}")
# Fields with a single valid value, which says what is not done.
FIXED = {"learner.lora.dropout"}
# What must be set too, for a field that only goes with others.
TOGETHER = {
    "evaluation.num_rollouts": {"evaluation.temperature": "1"},
    "evaluation.top_k": {"evaluation.temperature": "1"},
    "evaluation.top_p": {"evaluation.temperature": "1"},
    "evaluation.min_p": {"evaluation.temperature": "1"},
    "learner.importance": {"learner.importance_cap": "2"},
    "objective.kl_target": {"objective.kl_coefficient": "0.1"},
    "objective.surrogate": {"objective.dual_clip": "None"},
    "fresh": {"model.path": "''"},
    "rollout.merge_adapters": {"learner.lora.rank": "4"},
    "reward.functions": {"reward.weights": "{'mine': 1.0}"},
}
# Texts that are not free: an address, and what must hold {question}.
OF_A_FORM = ("base_url", "template")
SOURCE = re.compile(r"(data\.train|data\.held_out|source)\.(\w+)[.[].*")
ONE_PART = "({'source': {'digits': {}}},)"


def leaves(kind):
    return [field for field in fields_of(kind) if field.section is None]


def value_at(config, path):
    """The value of a field; None if a section around it is closed."""
    for name in re.findall(r"\w+", path):
        if config is not None:
            config = config[int(name)] if name.isdigit() else getattr(config, name)
    return config


def fits(field, value):
    try:
        check_value(field.annotation, value, field.name)
    except (TypeError, ValueError):
        return False
    return True


def another(field, current):
    """A value that is valid for a field, and not the one that it has."""
    kind, _, _ = taken_apart(field.annotation)
    items = [item for one in (alternatives(kind) or (kind,)) for item in typing.get_args(one)]
    choices = [*choices_of(kind), *((one,) for item in items for one in choices_of(item))]
    own = [PLACES[field.path]] if field.path in PLACES else []
    found = [one for one in (*own, *choices, *VALUES) if one != current and fits(field, one)]
    assert found, f"{field.path}: add a value to VALUES"
    return found[0]


def flags_for(field, kind, config):
    """Flags that open the sections around a field, and set what it goes with."""
    flags = dict(TOGETHER.get(field.path) or TOGETHER.get(field.path.split(".")[0], {}))
    if kind is WarmstartConfig and field.path == "model.path":
        flags["fresh"] = "None"
    if match := SOURCE.match(field.path):
        source, chosen = match.groups()
        for item in dataclasses.fields(SourceConfig):
            if item.name != chosen and value_at(config, f"{source}.{item.name}") is not None:
                flags[f"{source}.{item.name}"] = "None"
        if chosen == "mixture" and value_at(config, f"{source}.mixture") is None:
            flags[f"{source}.mixture"] = ONE_PART
    way, section = "", kind
    for name in field.path.replace("[0]", "").split(".")[:-1]:
        section, way = section_in(hints_of(section)[name]), f"{way}{name}."
        if "[0]" not in field.path and value_at(config, way) is None:
            flags |= required_in(section, way)
    flags.pop(field.path, None)
    return flags


def required_in(section, way):
    needed = [item for item in fields_of(section, way) if item.default is REQUIRED]
    own = [item for item in needed if item.path == way + item.name and item.section is None]
    return {item.path: text_of(another(item, None)) for item in own}


def text_of(value):
    return value if isinstance(value, str) else repr(value)


@pytest.fixture(params=FILES)
def file(request):
    return str(CONFIGS / f"{request.param}.py"), FILES[request.param]


def test_a_value_of_the_right_type_ends_up_in_the_configuration(file):
    path, kind = file
    config, wrong = open_config(kind, path, {}), []
    for field in leaves(kind):
        if field.path in FIXED:
            continue
        value = another(field, value_at(config, field.path))
        flags = {**flags_for(field, kind, config), field.path: text_of(value)}
        try:
            found = value_at(open_config(kind, path, flags), field.path)
        except (TypeError, ValueError) as error:
            wrong.append(f"{flags}: {error}")
            continue
        if found != value or type(found) is not type(value):
            wrong.append(f"{flags}: expected {value!r}; got {found!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.reliability("47")
def test_a_value_of_a_wrong_type_is_one_line_with_the_path(file):
    path, kind = file
    config, wrong, refused = open_config(kind, path, {}), [], 0
    for field in leaves(kind):
        flags = flags_for(field, kind, config)
        for text in WRONG:
            if _is_text(field) or _may_be(field, text):
                continue
            refused += 1
            try:
                open_config(kind, path, {**flags, field.path: text})
            except (TypeError, ValueError) as error:
                told = str(error)
                starts = told.startswith(f"config.{field.path}")
                if not starts or "expected" not in told or "got" not in told or "\n" in told:
                    wrong.append(f"{field.path}={text}: {told}")
            else:
                wrong.append(f"{field.path}={text}: taken")
    assert not wrong, "\n".join(wrong)
    assert refused > len(leaves(kind))


def _is_text(field):
    kind, _, _ = taken_apart(field.annotation)
    return str in (alternatives(kind) or (kind,))


def _may_be(field, text):
    """Whether a wrong text is a right one here: -7 as a seed, 3 as a count."""
    if text in ("3", "-7"):
        return fits(field, int(text)) or fits(field, float(text))
    return text.startswith("{") and fits(field, {"mine": 3})


def test_text_is_text_whatever_it_looks_like(file):
    path, kind = file
    config = open_config(kind, path, {})
    for field in leaves(kind):
        if _is_text(field) and field.name not in OF_A_FORM:
            flags = flags_for(field, kind, config)
            for text in ("7", "true", "(1, 2)", "1e5", "-x"):
                read = open_config(kind, path, {**flags, field.path: text})
                assert value_at(read, field.path) == text
            if "None" in str(field.annotation):
                read = open_config(kind, path, {**flags, field.path: "'None'"})
                assert value_at(read, field.path) == "None"


def test_the_table_holds_every_field(file):
    _, kind = file
    told = {field.path for field in fields_of(kind)}

    def reached(section, way, above):
        for item in dataclasses.fields(section):
            yield way + item.name
            hint = hints_of(section)[item.name]
            inner = section_in(hint)
            if inner is not None and inner not in above:
                several = typing.get_origin(taken_apart(hint)[0]) is tuple
                yield from reached(inner, f"{way}{item.name}{'[0]' * several}.", (*above, inner))

    assert told == set(reached(kind, "", (kind,)))
