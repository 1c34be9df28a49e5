"""The command line: one question on the screen, or a file of questions in a file."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from perl_jax.generate import main
from perl_jax.models import load_model
from perl_jax.rollout import Group, Sampler, SamplerConfig, Strategy
from perl_jax.rollout.answering import TextStream, read_questions

pytestmark = pytest.mark.usefixtures("compiled_quickly")

QUESTION = "<image><image> Which is the largest digit?"
# Long enough that the compiled calls of 4 steps have a chunk of their own to print.
MAX_NEW_TOKENS = 11


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A directory with a three as PNG and an eight as JPEG."""
    directory = tmp_path_factory.mktemp("digits")
    images = load_digits().images
    for number, name in ((3, "three.png"), (8, "eight.jpg")):
        pixels = np.kron(images[number] * 15, np.ones((7, 7))).astype(np.uint8)
        Image.fromarray(pixels).save(directory / name)
    return directory


@pytest.fixture(scope="session")
def sample(checkpoint, processor):
    """Responses of the sampler to one prompt."""
    model = load_model(checkpoint, dtype="float32")
    sampler = Sampler(processor, SamplerConfig(chunk=4))

    def texts(
        question,
        images=(),
        *,
        num_rollouts=1,
        max_new_tokens=MAX_NEW_TOKENS,
        temperature=0.0,
        seed=0,
    ):
        rollouts = sampler.sample(
            model,
            [Group.of("0", [processor.encode(question, images)])],
            num_rollouts=num_rollouts,
            max_new_tokens=max_new_tokens,
            strategy=Strategy(temperature=temperature),
            key=seed,
        )
        return rollouts.texts(processor.decode)[0][0]

    return texts


@pytest.fixture
def generate(checkpoint):
    def run(*arguments):
        model = [f"--model={checkpoint}", "--dtype=float32", f"--max_new_tokens={MAX_NEW_TOKENS}"]
        main([*model, *map(str, arguments)])

    return run


# One question.


def test_one_question_prints_what_the_sampler_gives(generate, sample, digits, capsys):
    images = [digits / "three.png", digits / "eight.jpg"]
    generate(f"--prompt={QUESTION}", *(f"--image={image}" for image in images))
    (text,) = sample(QUESTION, images)
    assert len(text) > 10
    assert capsys.readouterr().out == f"{text}\n"
    assert sample(QUESTION, images[::-1]) != [text]


def test_a_response_cut_off_within_a_character_is_printed_to_its_end(generate, sample, capsys):
    question = "the largest digit?"
    (text,) = sample(question, max_new_tokens=2)
    assert text.endswith("\N{REPLACEMENT CHARACTER}")
    generate(f"--prompt={question}", "--max_new_tokens=2")
    assert capsys.readouterr().out == f"{text}\n"


def test_several_samples_are_printed_with_their_numbers(generate, sample, capsys):
    generate("--prompt=Which?", "--num_samples=2", "--temperature=3", "--seed=5")
    first, second = sample("Which?", num_rollouts=2, temperature=3.0, seed=5)
    assert first != second
    assert capsys.readouterr().out == f"--- 1\n{first}\n--- 2\n{second}\n"


def stream_of(*chunks):
    """Streams bytes as tokens; what was printed after each chunk, and at the end."""
    bytes_of = SimpleNamespace(decode=lambda tokens: bytes(tokens).decode("utf-8", "replace"))
    stream = TextStream(bytes_of)
    for chunk in chunks:
        stream(0, 0, 0, np.frombuffer(chunk, np.uint8))
        yield
    stream.finish()
    yield


@pytest.mark.parametrize(
    ("chunks", "printed"),
    [
        ([b"one ", b"two"], ["one ", "two", "\n"]),
        ([b"caf\xc3", b"\xa9 ol\xc3\xa9"], ["caf", "é olé", "\n"]),
        ([b"ab\xf0\x9f", b"\xa6", b"\x8ac"], ["ab", "", "🦊c", "\n"]),
        ([b"ab\xff", b"cd"], ["ab", "\ufffdcd", "\n"]),
        ([b"ab", b"cd\xc3"], ["ab", "cd", "\ufffd\n"]),
    ],
    ids=["text", "two_bytes", "four_bytes", "no_character", "cut_off"],
)
def test_characters_are_printed_when_they_are_whole_and_the_rest_at_the_end(
    chunks, printed, capsys
):
    assert [capsys.readouterr().out for _ in stream_of(*chunks)] == printed


# A file of questions.


@pytest.fixture
def questions(digits, tmp_path):
    """A file beside a link to the images; its paths are relative to itself."""
    (tmp_path / "digits").symlink_to(digits)

    def write(*lines):
        path = tmp_path / "questions.jsonl"
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_every_line_of_a_file_is_answered_beside_its_fields(
    generate, sample, questions, digits, tmp_path, capsys
):
    images = ["digits/three.png", "digits/eight.jpg"]
    path = questions(
        {"prompt": QUESTION, "images": images, "id": "both", "answer": "é", "level": 3},
        "",
        {"prompt": "<image> Which?", "images": ["digits/nine.png"]},
        {"prompt": "Which?", "id": 7},
        {"prompt": "<image> Which?"},
        {"prompt": "Which is it?"},
    )
    output = tmp_path / "answers.jsonl"
    generate(f"--input={path}", f"--output={output}", "--batch=2")
    both, nine, seven, bare, last = map(json.loads, output.read_text("utf-8").splitlines())

    (response,) = both.pop("responses")
    assert both == {
        "prompt": QUESTION, "images": images, "id": "both", "answer": "é", "level": 3
    }  # fmt: skip
    assert [response["text"]] == sample(QUESTION, [digits / "three.png", digits / "eight.jpg"])
    assert set(response) == {"text", "tokens", "finish_reason"}
    ended = response["finish_reason"] == "stop"
    assert ended or (response["finish_reason"], response["tokens"]) == ("length", MAX_NEW_TOKENS)

    # Blank lines count, so that a number is that of a line in an editor.
    assert [row["id"] for row in (nine, seven, bare, last)] == ["3", "7", "5", "6"]
    assert set(nine) == {"prompt", "images", "id", "error"}
    assert set(bare) == {"prompt", "id", "error"}
    assert "nine.png" in nine["error"]
    assert "1 image placeholders for 0 images" in bare["error"]
    assert [seven["responses"][0]["text"]] == sample("Which?")
    assert [last["responses"][0]["text"]] == sample("Which is it?")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "3 answered, 2 skipped" in shown.err
    assert "skipped 3: " in shown.err


def test_a_question_that_is_too_long_is_skipped_and_the_others_are_answered(
    generate, questions, tmp_path
):
    path = questions({"prompt": "a " * 20000}, {"prompt": "Which?"})
    output = tmp_path / "answers.jsonl"
    generate(f"--input={path}", f"--output={output}")
    long, short = map(json.loads, output.read_text("utf-8").splitlines())
    assert "is more than the largest of prompt_lengths, 16384" in long["error"]
    assert len(short["responses"]) == 1


def test_a_file_of_questions_is_never_overwritten(generate, questions):
    path = questions({"prompt": "Which?"})
    with pytest.raises(SystemExit):
        generate(f"--input={path}", f"--output={path.parent / '.' / path.name}")
    assert json.loads(path.read_text())["prompt"] == "Which?"


def test_a_question_may_hold_any_character_that_json_does(questions):
    prompt = "one\u2028two\x85three\tfour"
    (row,) = read_questions(questions(json.dumps({"prompt": prompt}, ensure_ascii=False)))
    assert row == {"prompt": prompt, "id": "1"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"prompt": "a"}, "{prompt}"], r"questions\.jsonl:2: not JSON"),
        ([{"question": "a"}], r"jsonl:1: expected an object with a string 'prompt', got {\"q"),
        ([{"prompt": ["a"]}], r"jsonl:1: expected an object with a string 'prompt'"),
        (["", "[1]"], r"jsonl:2: expected an object with a string 'prompt', got \[1\]"),
        ([{"prompt": "a", "images": "x.png"}], r"jsonl:1: images: expected a list of paths, got "),
        ([{"prompt": "a", "id": "x"}] * 2, r"jsonl:2: id 'x' is that of an earlier line too"),
        ([{"prompt": "a", "id": 2}, {"prompt": "b"}], r"jsonl:2: id '2' is that of an earlier"),
        (["", " "], r"questions\.jsonl: expected at least one line, got none"),
    ],
)
def test_a_line_that_is_no_question_is_named(lines, message, questions):
    with pytest.raises(ValueError, match=message):
        read_questions(questions(*lines))


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected either --prompt, or --data and --out"),
        (["--prompt=a", "--input=b", "--output=c"], "expected either --prompt, or --data"),
        (["--input=b"], "expected either --prompt, or --data and --out"),
        (["--prompt=a", "--output=c"], "expected either --prompt, or --data and --out"),
        (["--input=b", "--output=c", "--image=d"], "--image goes with --prompt"),
        (["--input=b", "--output=c", "--batch=0"], "--batch: expected at least 1, got 0"),
        (["--prompt=a", "--dtype=float16"], "invalid choice: 'float16'"),
        (["--prompt=a", "--num_samples=two"], "invalid int value: 'two'"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--model=nowhere", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_model_must_be_named(capsys):
    with pytest.raises(SystemExit):
        main(["--prompt=a"])
    assert "the following arguments are required: --model" in capsys.readouterr().err


def test_a_missing_image_is_one_line_on_the_screen(checkpoint):
    run = subprocess.run(
        [
            sys.executable, "-m", "perl_jax.generate",
            f"--model={checkpoint}", "--prompt=<image> Which?", "--image=nowhere/nine.png",
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: image 1 of the prompt: ")
    assert "nowhere/nine.png" in line
