"""One group from question to loss, on real digits and an untrained policy: ``make demo``."""

import tempfile

import jax.numpy as jnp
import numpy as np

from perl_jax.filtering import informative_groups
from perl_jax.models import load_model
from perl_jax.objectives import aggregate, group_advantages, policy_loss
from perl_jax.permutation import permute, rule_for, rules_from_config, sample_orders
from perl_jax.processing import load_processor
from perl_jax.rewards import Grader, grade_arrays
from perl_jax.rollout import Group, Sampler, SamplerConfig, Strategy
from perl_jax.testing import write_tiny_checkpoint
from perl_jax.types import Example

ORDERS, ROLLOUTS = 2, 4


def digits_example() -> Example:
    """A question about two handwritten digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = [np.kron(digits.images[n] * 15, np.ones((14, 14))).astype(np.uint8) for n in (3, 8)]
    question = "<image> <image> Which digit is larger, that of the first image or of image 2?"
    return Example("digits-0", "digits", question, tuple(pixels), answer="the second image")


def main() -> None:
    """Runs the demonstration."""
    example = digits_example()
    rules = rules_from_config({"digits": {"movable": "all", "answer": "reference"}})
    rule = rule_for(example, rules=rules)
    drawn = sample_orders(0, 0, example.id, len(example.images), ORDERS - 1)
    examples = [example, *(permute(example, order, rule) for order in drawn)]
    for k, one in enumerate(examples):
        print(f"order {k}: {one.question}\n         answer: {one.answer}")

    with tempfile.TemporaryDirectory() as directory:
        write_tiny_checkpoint(directory)
        processor = load_processor(directory)
        policy = load_model(directory, dtype="float32")
    images = {id(image): processor.preprocess(image) for image in example.images}
    prompts = [
        processor.encode(one.question, [images[id(image)] for image in one.images])
        for one in examples
    ]
    config = SamplerConfig(prompt_lengths=(256,), response_lengths=(16,), patches=(512,), chunk=8)
    rollouts = Sampler(policy, processor, config).sample(
        [Group.of(example.id, prompts)],
        num_rollouts=ROLLOUTS,
        max_new_tokens=12,
        strategy=Strategy(temperature=2.0),
    )
    print(f"\n{ORDERS} orders x {ROLLOUTS} rollouts of a policy with random weights:")
    texts = rollouts.texts(processor.decode)[0]
    for k, of_order in enumerate(texts):
        print(*(f"  order {k}: {text!r}" for text in of_order), sep="\n")
    print("the sampler's work:", dict(rollouts.stats))

    # An untrained policy never answers; so that the arithmetic shows, two right answers are added.
    texts[0][0] += r" \boxed{the second image}"
    texts[1][2] += rf" \boxed{{{examples[1].answer}}}"
    with Grader(num_workers=1) as grader:
        grades = grader.grade(
            [text for of_order in texts for text in of_order],
            [one.answer for one in examples for _ in range(ROLLOUTS)],
        )
    accuracy, graded = (array[None] for array in grade_arrays(grades))
    print("\naccuracy, two answers put in by hand:", accuracy[0])
    print("informative:", bool(informative_groups(accuracy, graded)[0]))
    advantages = group_advantages(accuracy, graded)
    print("advantages:", np.round(np.asarray(advantages[0]), 2))
    shape = (1, ORDERS * ROLLOUTS, rollouts.tokens.shape[-1])
    logprobs, mask = (jnp.asarray(a).reshape(shape) for a in (rollouts.logprobs, rollouts.mask))
    loss, stats = policy_loss(logprobs, logprobs, advantages, mask)
    mean = float(aggregate(loss, mask, "token_mean"))
    print(f"loss: {mean:.4f} over {int(stats['tokens'])} tokens")


if __name__ == "__main__":
    main()
