"""The text around every question: what it says, and that no permutation reads it."""

import re

import pytest

from perl_jax.data.pipeline.preparer import Preparer
from perl_jax.data.pipeline.prompt import PromptConfig
from perl_jax.permutation import Rule, permute
from perl_jax.processing import load_processor
from perl_jax.settings import read_config
from perl_jax.types import PROMPT_SUFFIX, Example, Turn, prompt_of, prompt_text
from tests.data.sources.parquet_files import digit_png

EXAMPLE = Example(
    "1", "mine", "<image><image>Which?", (b"a", b"b"), "A", ("A. 1", "B. 2"), {PROMPT_SUFFIX: "!"}
)
WHOLE = "<image><image>Which?\nA. 1\nB. 2!"


def test_the_template_holds_the_question_its_options_and_its_suffix():
    config = PromptConfig(template="Look.\n{question}\nThen say \\boxed{answer} or \\boxed{}.")
    shown = config.around(EXAMPLE)
    assert prompt_text(shown) == f"Look.\n{WHOLE}\nThen say \\boxed{{answer}} or \\boxed{{}}."
    assert prompt_of(shown) == prompt_text(shown)
    assert PromptConfig().around(EXAMPLE) is EXAMPLE


def test_braces_of_the_question_are_not_a_template():
    example = Example("1", "mine", "Is {question} {x}?", (), "A")
    shown = PromptConfig(template="{question} Think.").around(example)
    assert prompt_text(shown) == "Is {question} {x}? Think."


def test_the_system_message_is_for_rows_without_one():
    config = PromptConfig(system="Be brief.")
    assert prompt_of(config.around(EXAMPLE)) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": WHOLE},
    ]
    own = Example("1", "mine", "?", (), "A", turns=(Turn("system", "Be long."),))
    assert prompt_of(config.around(own))[0]["content"] == "Be long."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"template": "Think."}, "config.data.prompt.template: expected {question} once; got 'Th"),
        ({"template": "{question}{question}"}, "template: expected {question} once"),
        ({"template": "{qestion}"}, "expected only {question}; got {qestion} (did you mean 'quest"),
        ({"template": "{question} {options}"}, "template: expected only {question}; got {options}"),
        ({"template": "<image>{question}"}, "template: expected no image, as the rows say where"),
        ({"system": "<image 1>"}, "system: expected no image, .* got <image 1>"),
    ],
)
def test_a_wrong_template_is_an_error_that_says_what_is_expected(fields, message):
    pattern = ".*".join(map(re.escape, message.split(" .* ")))
    with pytest.raises(ValueError, match=pattern):
        read_config(PromptConfig, fields, "config.data.prompt")


def test_the_model_is_shown_the_text_and_a_permutation_leaves_it_alone(checkpoint):
    text = "The first image is the first. {question}"
    prompt = PromptConfig(system="Image 1 comes first.", template=text)
    prepare = Preparer(load_processor(checkpoint), max_prompt_tokens=4000, prompt=prompt)
    images = (digit_png(1), digit_png(2))
    example = Example("1", "mine", "<image><image>What does image 1 show?", images, "a dog")
    shown = permute(prepare(example), [1, 0], Rule())
    assert prompt_of(shown) == [
        {"role": "system", "content": "Image 1 comes first."},
        {
            "role": "user",
            "content": "The first image is the first. <image><image>What does image 2 show?",
        },
    ]
    encoded = prepare.processor.encode(prompt_of(shown), shown.images)
    decoded = prepare.processor.decode(encoded.tokens, skip_special_tokens=False)
    assert "Image 1 comes first." in decoded
    assert encoded.images == shown.images
