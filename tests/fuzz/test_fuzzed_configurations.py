"""Configurations, flags and rules may hold anything: a run, or one line that names the field."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perl_jax.config import TrainConfig
from perl_jax.inspection.naming import load_rules
from perl_jax.overrides import load_config, split_overrides
from perl_jax.permutation import rules_from_config
from perl_jax.settings import FlagText, plain, read_config
from tests.fuzz.fuzzing import JSON, TEXTS, changed, fuzz, outcome

pytestmark = pytest.mark.fuzz

DEMO = plain(read_config(TrainConfig, load_config("configs/demo.py", {}), "config"))


@fuzz(125)
@given(content=changed(DEMO))
def test_any_configuration_is_one_or_an_error_that_names_the_field(content):
    config = outcome(
        lambda: read_config(TrainConfig, content, "config"), ValueError, TypeError, where="config"
    )
    if config is not None:
        # What was read is recorded, and read again when the run goes on.
        assert read_config(TrainConfig, json.loads(json.dumps(plain(config))), "config") == config


VALUES = TEXTS | JSON.map(str) | st.sampled_from(
    ["(" * 500, "[" * 5000, "{" * 300, "-" * 5000 + "1", "1e400", "inf", "()", "(1,)", "{1: 2}",
     "9" * 5000, "0x" + "f" * 400, "f'{1}'", "lambda: 0", "a.b", "'\\ud800'", "b'x'", "1j", "..."]
)  # fmt: skip


def leaves(values, path="config"):
    """The paths of all fields."""
    for name, value in values.items():
        yield f"{path}.{name}"
        if isinstance(value, dict):
            yield from leaves(value, f"{path}.{name}")


FIELDS = sorted(leaves(DEMO))


@fuzz(200)
@given(flag=st.sampled_from(FIELDS), value=VALUES)
def test_any_value_of_a_flag_is_read_or_its_field_named(flag, value):
    def read():
        overrides, rest = split_overrides([f"--{flag}={value}"])
        assert not rest
        return read_config(TrainConfig, load_config("configs/demo.py", overrides), "config")

    outcome(read, ValueError, TypeError, where="config")


@fuzz(200)
@given(VALUES)
def test_a_flag_is_never_evaluated(value):
    outcome(lambda: FlagText(value).literal())


RULE = {"movable": "all", "answer": "invariant", "sides": "images", "nouns": ["image"]}
RULES = {"cats": RULE, "dogs": {"column": "kind", "cases": {"x": RULE}, "otherwise": RULE}}


@fuzz(100)
@given(content=changed(RULES))
def test_any_rules_are_read_or_their_field_named(content):
    outcome(lambda: rules_from_config(content, "rules"), ValueError, TypeError, where="rules")


@fuzz(60)
@given(content=changed(RULES).map(json.dumps) | st.text(max_size=9) | st.just("[" * 20_000))
def test_any_file_of_rules_is_read_or_named(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "rules.json"
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    outcome(lambda: load_rules(str(path)), ValueError, TypeError, where=path.name)
