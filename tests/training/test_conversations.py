"""Whatever asks the model, it shows the turns before the question and the configured text."""

import numpy as np
import pytest

from perl_jax.evaluation.evaluate import _task
from perl_jax.experience.groups import encode_group
from perl_jax.permutation import Rule, orders_for
from perl_jax.training.supervised import Supervised
from perl_jax.types import PROMPT_TEMPLATE, SYSTEM_PROMPT, Example, ImagePatches, Prompt, Turn

TURNS = (Turn("user", "<image><image> What does image 1 show?"), Turn("assistant", "A dog."))
TEXT = {SYSTEM_PROMPT: "Be brief.", PROMPT_TEMPLATE: "{question} Think."}
IMAGES = tuple(ImagePatches(np.zeros((4, 2), np.float32), (2, 2), key=key) for key in "ab")
EXAMPLE = Example("1", "mine", "And image 2?", IMAGES, "A cat", metadata=TEXT, turns=TURNS)


class Recorder:
    """A processor that keeps what it is asked to encode."""

    def __init__(self):
        self.asked = []

    def preprocess(self, image, known=()):
        return image

    def encode(self, messages, images):
        self.asked.append((messages, tuple(image.key for image in images)))
        return Prompt(np.zeros(1, np.int32), np.zeros((3, 1), np.int32), 0, tuple(images))


def collected(orders, processor):
    encode_group("1", orders, processor)


def evaluated(orders, processor):
    shown = [tuple(order.tolist()) for order in orders.orders]
    pairs = list(zip(shown, orders.examples, strict=True))
    _task("1", Rule(), pairs, processor)


def supervised(orders, processor):
    for example in orders.examples:
        Supervised(None, None, processor, 1, 100)._group(0, example)


@pytest.mark.parametrize("ask", [collected, evaluated, supervised])
def test_the_model_is_shown_the_whole_conversation_in_each_order(ask):
    orders = orders_for(EXAMPLE, Rule(), seed=0, step=0, rate=1.0, num_orders=1)
    processor = Recorder()
    ask(orders, processor)
    expected = []
    for first, second, keys in (("1", "2", ("a", "b")), ("2", "1", ("b", "a"))):
        told = [("system", "Be brief."), ("user", f"<image><image> What does image {first} show?")]
        told += [("assistant", "A dog."), ("user", f"And image {second}? Think.")]
        expected.append(([{"role": role, "content": text} for role, text in told], keys))
    assert processor.asked == expected
