"""Which of a directory's chat templates counts, and what is said when there is none."""

import json

import pytest

from perl_jax.processing import load_processor
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
    ["{{ raise_exception('no such role') }}", "{% for %}", "{{ ''.__class__.__mro__ }}"],
)
def test_a_template_that_fails_or_reaches_out_is_an_error_that_names_its_file(
    directory, edit, template
):
    edit("chat_template.json", chat_template=template)
    with pytest.raises(ValueError, match=r"chat_template.json: the chat template fails"):
        load_processor(directory).encode("hello")


@pytest.mark.parametrize(
    "template", ["{% for m in messages %}{{ 'a' + m['content'] }}{% endfor %}", "{{ 1 / 0 }}"]
)
def test_a_template_for_text_alone_says_that_it_cannot_take_images(
    directory, edit, picture, template
):
    edit("chat_template.json", chat_template=template)
    message = r"chat_template.json: the chat template fails; it cannot take images: \w+Error: "
    with pytest.raises(ValueError, match=message):
        load_processor(directory).encode("<image>Q?", [picture(56, 56)])


def test_a_template_that_drops_images_is_an_error(directory, edit, picture):
    edit("chat_template.json", chat_template="nothing")
    with pytest.raises(
        ValueError, match="cannot take images: it gives 0 image tokens for 1 images"
    ):
        load_processor(directory).encode("<image>", [picture(56, 56)])
