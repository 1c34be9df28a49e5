"""Which of a directory's chat templates counts, and what is said when there is none."""

import json
import re
import sys
import threading

import pytest

from perl_jax.models.opening import ModelConfig, open_model
from perl_jax.processing import chat, load_processor
from perl_jax.processing.chat import read_chat_template

OTHER = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"


@pytest.fixture
def sources(directory, edit):
    """Puts a different template into every place that may hold one."""
    edit("chat_template.json", chat_template="of chat_template.json")
    (directory / "chat_template.jinja").write_text("of chat_template.jinja")
    (directory / "processor_config.json").write_text(
        json.dumps({"chat_template": "of processor_config.json"})
    )
    edit("tokenizer_config.json", chat_template="of tokenizer_config.json")
    return directory


def test_the_places_are_looked_at_in_the_order_of_the_reference(sources):
    order = [
        "chat_template.json",
        "chat_template.jinja",
        "processor_config.json",
        "tokenizer_config.json",
    ]
    for name in order:
        template = read_chat_template(sources)
        assert (template.text, template.source) == (f"of {name}", sources / name)
        (sources / name).unlink()
    with pytest.raises(ValueError, match=r"no chat template: expected chat_template.json"):
        read_chat_template(sources)


def test_the_template_of_the_directory_is_the_one_that_renders(directory, edit):
    edit("chat_template.json", chat_template=OTHER)
    processor = load_processor(directory)
    assert processor.decode(processor.encode("hello").tokens) == "[hello]"


def test_of_several_named_templates_the_default_counts(directory, edit):
    (directory / "chat_template.json").unlink()
    named = [{"name": "tool", "template": "no"}, {"name": "default", "template": OTHER}]
    edit("tokenizer_config.json", chat_template=named)
    assert read_chat_template(directory).text == OTHER


@pytest.mark.parametrize("content", ["{}", '{"chat_template": null}'])
def test_a_template_file_without_template_is_an_error_that_names_it(directory, content):
    (directory / "chat_template.json").write_text(content)
    with pytest.raises(ValueError, match=r"chat_template.json: the field chat_template is missing"):
        read_chat_template(directory)


def test_a_template_that_is_not_text_is_an_error(directory, edit):
    edit("chat_template.json", chat_template=3)
    with pytest.raises(ValueError, match=r"chat_template.json: chat_template: expected text"):
        read_chat_template(directory)


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('no such\nrole') }}", "{% for %}", "{{ ''.__class__.__mro__ }}"],
)
def test_a_template_that_fails_or_reaches_out_is_an_error_that_names_its_file(
    directory, edit, template
):
    edit("chat_template.json", chat_template=template)
    with pytest.raises(ValueError, match=r"chat_template.json: the chat template fails") as failed:
        load_processor(directory).encode("hello")
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    "template", ["{% for m in messages %}{{ 'a' + m['content'] }}{% endfor %}", "{{ 1 / 0 }}"]
)
def test_a_template_for_text_alone_says_that_it_cannot_take_images(
    directory, edit, picture, template
):
    edit("chat_template.json", chat_template=template)
    message = (
        r"chat_template.json: the chat template cannot take images: it fails on them: \w+Error"
    )
    with pytest.raises(ValueError, match=message):
        load_processor(directory).encode("<image>Q?", [picture(56, 56)])


def test_a_template_that_drops_images_is_an_error(directory, edit, picture):
    edit("chat_template.json", chat_template="nothing")
    with pytest.raises(
        ValueError, match="cannot take images: it gives 0 image tokens for 1 images"
    ):
        load_processor(directory).encode("<image>", [picture(56, 56)])


def opening_with(directory, added):
    """Puts a template into the directory whose turn of the assistant begins with a text."""
    template = json.loads((directory / "chat_template.json").read_text())["chat_template"]
    turn = r"{{ '<|im_start|>assistant\n' }}"
    assert turn in template
    begun = template.replace(turn, r"{{ '<|im_start|>assistant\n" + added + "' }}")
    (directory / "chat_template.json").write_text(json.dumps({"chat_template": begun}))
    return load_processor(directory)


@pytest.mark.parametrize(
    ("added", "opening"),
    [
        ("", ""),
        (r"<think>\n", "<think>\n"),
        (r"Well.\n<think>", "<think>"),
        (r"<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),
    ],
)
def test_what_a_template_opens_for_the_model_is_known(directory, added, opening):
    processor = opening_with(directory, added)
    assert processor.opening == opening
    prompt = processor.decode(processor.encode("Q?").tokens, skip_special_tokens=False)
    assert prompt.endswith(opening)


def test_a_question_about_the_mark_opens_nothing(directory):
    processor = load_processor(directory)
    processor.encode("Write <think> first.")
    assert processor.opening == ""


def test_a_response_to_learn_from_does_not_open_its_thought_twice(directory):
    processor = opening_with(directory, r"<think>\n")
    for given in ("<think>\nSo.</think> B", "<think>So.</think> B", "So.</think> B"):
        said = processor.decode(processor.encode_response(given))
        assert (processor.opening + said).count("<think>") == 1
        assert said.endswith("So.</think> B")


TEXT_ALONE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (TEXT_ALONE, "TypeError"),
        ("{{ 7 / 0 }}", "ZeroDivisionError"),
        ("{% for m in messages %}{{ m['role'] }}{% endfor %}", "gives 0 image tokens"),
        ("{{ messages[0]['content'][0]['missing']['deeper'] }}", "UndefinedError"),
    ],
)
def test_a_template_for_text_alone_is_one_error_that_names_its_file(
    directory, picture, template, why
):
    (directory / "chat_template.json").unlink()
    (directory / "chat_template.jinja").write_text(template)
    processor = load_processor(directory)
    with pytest.raises(ValueError, match=r"chat_template.jinja: .*cannot take images") as at_start:
        processor.check_template()
    assert why in str(at_start.value)
    with pytest.raises(ValueError, match=r"chat_template.jinja: .*cannot take images"):
        processor.encode("<image>Q?", [picture(56, 56)])


def test_a_model_with_a_template_for_text_alone_is_refused_before_its_tensors_are_read(directory):
    (directory / "chat_template.json").write_text(json.dumps({"chat_template": TEXT_ALONE}))
    (directory / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"chat_template.json: .*cannot take images"):
        open_model(ModelConfig(path=str(directory)))


@pytest.mark.parametrize(
    "template",
    [
        # The sandbox bounds a range, but not ranges within ranges.
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro again(n) %}{% for a in range(9) %}{{ again(n - 1) if n else '' }}{% endfor %}"
        "{% endmacro %}{{ again(20) }}",
    ],
)
def test_a_template_that_does_not_end_is_an_error_that_names_it(
    directory, edit, template, monkeypatch
):
    edit("chat_template.json", chat_template=template)
    monkeypatch.setattr(chat, "_MAX_SECONDS", 0.1)
    traced = sys.gettrace()
    processor = load_processor(directory)
    failures = []

    def encode():
        try:
            processor.encode("hello")
        except ValueError as error:
            failures.append(str(error))

    # Prompts are rendered in threads too.
    thread = threading.Thread(target=encode)
    thread.start()
    thread.join()
    encode()
    for failure in failures:
        assert re.search(
            r"chat_template\.json: the chat template .*: TimeoutError: it did not end within 0\.1",
            failure,
        )
    assert len(failures) == 2
    assert sys.gettrace() is traced
