"""What the tests of evaluation share: a grader, questions, and a policy whose answers are known."""

from itertools import pairwise

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from perl_jax.models import load_model
from perl_jax.permutation import Rule, RuleByColumn
from perl_jax.processing import load_processor
from perl_jax.rewards import Grader
from perl_jax.rollout import Sampler, SamplerConfig
from perl_jax.testing import write_tiny_checkpoint
from perl_jax.types import Example
from tests.models.fixtures import random_image

# One shape for everything, so that little is compiled; eight orders fill a batch.
CONFIG = SamplerConfig(
    prompt_lengths=(256,),
    response_lengths=(8,),
    patches=(512,),
    rows=8,
    prefill_tokens=256,
    chunk=8,
    refill=False,
)
RULES = {
    "pick": Rule(movable="option_images", answer="remap_letter"),
    "mixed": RuleByColumn("question_type", {"claim": Rule(), "fixed": Rule(movable="none")}),
}
# Every text is followed by one of these: the first one when greedy, any at temperature 1.
CHAIN = (("\n",), ("\\",), ("boxed",), ("{",), ("A", "B", "C"), ("}",), ("<|im_end|>",))


@pytest.fixture(scope="session")
def grader():
    with Grader(num_workers=1, deadline=120.0) as made:
        yield made


@pytest.fixture(scope="session")
def examples():
    """Six to pick an image (answers A, B, C twice), three claims, one fixed, one of one image."""
    rng = np.random.default_rng(0)

    def images(count):
        return tuple(random_image(rng, (56, 56)) for _ in range(count))

    listed = "\nA. <image>\nB. <image>\nC. <image>"
    picks = [
        Example(
            f"pick-{n}", "pick", f"Which image is the largest?{listed}", images(3), "ABC"[n % 3]
        )
        for n in range(6)
    ]
    claim = "<image><image>The first image is the largest.\nA. True\nB. False"
    claims = [
        Example(f"claim-{n}", "mixed", claim, images(2), "AAB"[n], (), {"question_type": "claim"})
        for n in range(3)
    ]
    fixed = Example("fixed", "mixed", claim, images(2), "A", (), {"question_type": "fixed"})
    single = Example("single", "mixed", "<image>Is it left? A. Yes B. No", images(1), "A")
    # Sources mixed, as in a shuffled set.
    return [picks[0], claims[0], *picks[1:4], single, *claims[1:], fixed, *picks[4:]]


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """A sampler, and a policy whose response changes with everything in its prompt."""
    directory = tmp_path_factory.mktemp("untrained")
    return sampler_and_policy(write_tiny_checkpoint(directory, tied=False, dtype="float32"))


@pytest.fixture(scope="session")
def constant(tmp_path_factory):
    r"""A sampler, and a policy that writes ``\boxed{A}``, or at temperature 1 a random letter.

    Nothing moves a token's embedding on its way up, so the next token is read off the last one: the
    unembedding of a token is a multiple of the sum of the embeddings of those that it may follow.
    """
    directory = write_tiny_checkpoint(
        tmp_path_factory.mktemp("constant"), tied=False, dtype="float32"
    )
    tokenizer = load_processor(directory).tokenizer
    file = directory / "model.safetensors"
    tensors = load_file(file)
    for name, tensor in tensors.items():
        if name.startswith("model.") and ("o_proj" in name or "down_proj" in name):
            tensor[:] = 0
    tensors["model.norm.weight"][:] = 1
    embeddings = tensors["model.embed_tokens.weight"]
    unembedding = tensors["lm_head.weight"]
    unembedding[:] = 0
    for before, after in pairwise(CHAIN):
        for other in before:
            (read,) = tokenizer(other)["input_ids"]
            direction = embeddings[read] / np.linalg.norm(embeddings[read])
            for text in after:
                (written,) = tokenizer(text)["input_ids"]
                unembedding[written] += 6 * direction
    save_file(tensors, file, metadata={"format": "pt"})
    return sampler_and_policy(directory)


def sampler_and_policy(directory):
    return Sampler(load_processor(directory), CONFIG), load_model(directory, dtype="float32")
