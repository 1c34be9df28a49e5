"""The shared update against a control in which every sequence stands alone.

One group of three images of 504 pixels, two orders and six responses of 300 tokens each: twelve
sequences. The control gets them as twelve groups of one order and one response: each encodes its
own images and reads its own prompt, in one micro-batch ("whole") or in micro-batches of four. The
losses are the same. Both use the small policy in float32; nothing is scored, and nothing sampled.

Counted are the operations of the gradients' programs, and the temporaries of the largest of them.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np

from benchmarks.harness import Case, Options, alternate, ratio
from benchmarks.workload import Watched, make_group, pictures, write_policy
from perl_jax.config import TrainConfig
from perl_jax.models import Policy, load_model
from perl_jax.parts import make_learner
from perl_jax.processing import load_processor
from perl_jax.settings import read_config
from perl_jax.types import Group, TrainBatch

IMAGES, SIZE, ORDERS, ROLLOUTS, RESPONSE, WORDS = 3, 504, 2, 6, 300, 60
MICRO = 4


@dataclass
class Side:
    """One way to compute the update."""

    step: Callable[[], None]
    watched: Watched

    def count(self) -> dict[str, int]:
        """The operations and the temporaries of one update."""
        return self.watched.counts(self.step)


def run(options: Options) -> Iterator[Case]:
    """One case for each control."""
    with tempfile.TemporaryDirectory() as directory:
        write_policy(directory, "small")
        model = load_model(directory, dtype="float32")
        processor = load_processor(directory, max_pixels=SIZE**2)
        banned = processor.banned_rows(model.config.vocab_size)
    text = ("Which image shows the largest digit " * WORDS).split()[:WORDS]
    group = make_group(processor, pictures(IMAGES, SIZE), ORDERS, " ".join(text))
    together, alone = make_batch([group], ROLLOUTS), make_batch(apart(group), 1)
    shared = make_side(model, banned, together, micro_groups=1)
    for name, micro in (("whole", len(alone.groups)), ("micro-batches of 4", MICRO)):
        naive = make_side(model, banned, alone, micro_groups=micro)
        # Counting is the turn that is dropped.
        counted = {"naive": naive.count(), "shared": shared.count()}
        sides = {"naive": naive.step, "shared": shared.step}
        seconds = alternate(sides, options.turns(5), dropped=0, clock=options.clock)
        yield Case(
            name,
            {
                "time": ratio(seconds["naive"], seconds["shared"]),
                "memory": counted["naive"]["bytes"] / counted["shared"]["bytes"],
            },
            seconds,
            counted,
            {"prompt_tokens": len(group.prompts[0].tokens), "sequences": ORDERS * ROLLOUTS},
        )


def apart(group: Group) -> list[Group]:
    """A group for each rollout, with images of its own."""
    found = []
    for order, prompt in enumerate(group.prompts):
        for number in range(ROLLOUTS):
            name = f"{order}-{number}"
            images = tuple(replace(one, key=f"{name}-{one.key}") for one in prompt.images)
            found.append(Group.of(name, [replace(prompt, images=images)]))
    return found


def make_batch(groups: Sequence[Group], rollouts: int) -> TrainBatch:
    """Random responses and advantages; the same ones for the same number of sequences."""
    shape = (len(groups), groups[0].num_orders, rollouts)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 64, (np.prod(shape), RESPONSE), dtype=np.int32)
    advantages = rng.standard_normal(np.prod(shape)).astype(np.float32).reshape(shape)
    logprobs = rng.normal(-5, 0.1, (*shape, RESPONSE)).astype(np.float32)
    return TrainBatch(
        groups=tuple(groups),
        tokens=tokens.reshape(*shape, RESPONSE),
        lengths=np.full(shape, RESPONSE, np.int32),
        logprobs=logprobs,
        rewards=np.zeros(shape, np.float32),
        advantages=advantages,
        mask=np.ones((*shape, RESPONSE), bool),
    )


def make_side(model: Policy, banned: np.ndarray, batch: TrainBatch, micro_groups: int) -> Side:
    """Updates a copy of the policy on the batch, again and again."""
    longest = max(len(prompt.tokens) for group in batch.groups for prompt in group.prompts)
    config = read_config(
        TrainConfig,
        {
            "model": {"path": "small"},
            "data": {"train": {"jsonl": {"paths": ("unused",)}}, "max_prompt_tokens": longest},
            "steps": 1000,
            "rollout": {"max_new_tokens": RESPONSE, "sampler": {"response_lengths": (RESPONSE,)}},
            "objective": {"kl_coefficient": 0.0},
            "learner": {"packing": {
                "micro_groups": micro_groups,
                # The sizes of these rows: padding is no part of the comparison.
                "prompt_lengths": (longest,),
                "response_lengths": (RESPONSE,),
                "patches": (micro_groups * sum(i.num_patches for i in batch.groups[0].images),),
                "images": (micro_groups * len(batch.groups[0].images),),
                "orders": (micro_groups * batch.groups[0].num_orders,),
            }},
        },
    )  # fmt: skip
    watched = Watched("add")
    learner = make_learner(config, model, banned, None, compile=watched)
    state = learner.init(model, jax.random.key(0))

    def step() -> None:
        nonlocal state
        state, stats = learner.reinforce(state, batch)
        jax.block_until_ready((state, stats))

    return Side(step, watched)
