"""What a run's configuration says of its policy: the prompt it knows, the rows it has seen."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perl_jax.config import DataConfig
from perl_jax.evaluation.prompts import PERL_SUFFIX, BoxedPrompt
from perl_jax.evaluation.recorded import recorded_prompt, warning_of
from perl_jax.settings import plain, read_config
from perl_jax.types import Example

EXAMPLE = Example("1", "digits", "<image><image>Which?", (0, 1), "A", ("A. left", "B. right"))


def recorded(train, **prompt):
    data = read_config(DataConfig, {"train": train, "prompt": prompt}, "config.data")
    return json.loads(json.dumps({"data": plain(data)}))


def test_the_published_prompt_follows_the_options():
    text = "<image><image>Which?\nA. left\nB. right" + PERL_SUFFIX
    assert BoxedPrompt()(EXAMPLE) == text
    assert PERL_SUFFIX.startswith(" You FIRST think")


def test_a_run_asks_as_it_was_trained():
    rows = {"paths": ("rows.jsonl",), "prompt_suffix": "\nBox it."}
    settings = recorded({"jsonl": rows}, system="Be brief.", template="Look: {question}!")
    assert recorded_prompt(settings)(EXAMPLE) == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": "Look: <image><image>Which?\nA. left\nB. right\nBox it.!",
        },
    ]
    digits = recorded({"digits": {"rows": 8}})
    assert recorded_prompt(digits)(EXAMPLE) == "<image><image>Which?\nA. left\nB. right"


def test_the_largest_weight_of_a_mixture_says_the_suffix():
    def part(suffix, weight):
        source = {"jsonl": {"paths": ("rows.jsonl",), "prompt_suffix": suffix}}
        return {"source": source, "weight": weight}

    for weight, suffix in ((2.0, "2"), (3.0, "1")):
        parts = (part("1", weight), part("2", 1.5), part("2", 1.0))
        assert recorded_prompt(recorded({"mixture": parts})).suffix == suffix


@pytest.mark.parametrize(
    "train",
    [
        {"tfds": {"directory": "data/virl39k/1.0.0"}},
        {"parquet": {"paths": ("data/ViRL39K-*.parquet",)}},
        {"mixture": ({"source": {"digits": {}}}, {"source": {"digits": {}}, "name": "ViRL39K"})},
    ],
)
def test_training_rows_that_hold_rows_of_the_benchmark_are_told(train):
    settings = recorded(train)
    assert warning_of(settings, "mv_math").startswith("mv_math: the policy was trained on ViRL39K")
    assert warning_of(settings, "mathvista") is None


def test_the_sources_within_the_files_are_told_too(tmp_path):
    def settings(source):
        table = pa.table(
            {"problem": ["?"], "images": [[b""]], "answer": ["1"], "source": [source], "id": ["1"]}
        )
        pq.write_table(table, tmp_path / "train.parquet")
        return recorded({"parquet": {"paths": (str(tmp_path / "train.parquet"),)}})

    assert warning_of(settings("TIGER-Lab/ViRL39K"), "mv_math") is not None
    assert warning_of(settings("ViRL39K"), "mv_math") is not None
    assert warning_of(settings("Mantis-Instruct-nlvr2"), "mv_math") is None
    assert warning_of(recorded({"parquet": {"paths": ("nowhere.parquet",)}}), "mv_math") is None
