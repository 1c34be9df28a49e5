"""Tokens per second of the sampler against transformers' batched ``generate``.

8 prompts x 2 orders x 8 rollouts, 2 images each, 64 new tokens, prefill and images included, in
float32. No response ends early, on either side. transformers, too, encodes the images of a prompt
once (so 32), and only then expands the batch. Counted are the operations that the workload needs
at least, and those that transformers executes. ``products`` is the share of the sampler's time that
the linear maps of decoding take, which both sides do alike.

``sharing``: the sampler alone, 128 rollouts as 32 orders x 4 and as 8 orders x 16: seconds of 63
decode steps, that is of a call with 64 new tokens less one with a single one. The ratio is the time
with more prefixes over that with fewer.
"""

import dataclasses
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.harness import Case, Clock, Options, Unavailable, alternate, ratio
from benchmarks.workload import MODELS, make_group, pictures, write_policy
from perl_jax.models import Policy, load_model
from perl_jax.models.layers import scan_layers
from perl_jax.processing import Processor, load_processor
from perl_jax.rollout import Rollouts, Sampler, SamplerConfig, Strategy
from perl_jax.types import Group, Responses
from perl_jax.update.operations import forward_operations

PROMPTS, ORDERS, ROLLOUTS, NEW_TOKENS = 8, 2, 8, 64
SIZES = (112, 504)
TEXT = "Which image shows the largest digit? Answer in boxed."


def run(options: Options) -> Iterator[Case]:
    """A case for each policy and size of images, and one of sharing for each policy."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise Unavailable(f"{error}; pip install torch") from None
    for name in MODELS:
        with tempfile.TemporaryDirectory() as directory:
            path = write_policy(directory, name)
            for size in SIZES:
                yield compare(path, name, size, options)
            yield sharing(path, name, options)


def make_groups(processor: Processor, count: int, size: int) -> list[Group]:
    """Groups of two orders of two random images."""
    shown = [pictures(2, size, seed=number) for number in range(count)]
    return [make_group(processor, one, ORDERS, TEXT, str(n)) for n, one in enumerate(shown)]


def sharing(path: Path, name: str, options: Options, size: int = 112) -> Case:
    """Decode time as the same number of rollouts shares fewer prefixes."""
    model, processor = load_model(path, dtype="float32"), load_processor(path)
    seconds: dict[int, list[float]] = {4: [], 16: []}
    runs = {n: Ours(model, processor, make_groups(processor, 64 // n, size)) for n in seconds}
    for turn in range(options.turns(5) + 1):
        for n, sample in runs.items():
            times = []
            for new_tokens in (1, NEW_TOKENS):
                start = options.clock()
                sample(num_rollouts=n, max_new_tokens=new_tokens)
                times.append(options.clock() - start)
            if turn:
                seconds[n].append(times[1] - times[0])
    named = {"32 orders x 4": seconds[4], "8 orders x 16": seconds[16]}
    return Case(f"{name}, sharing", {"time": ratio(seconds[4], seconds[16])}, named)


def compare(path: Path, name: str, size: int, options: Options) -> Case:
    """Both sides in turn."""
    from torch.utils.flop_counter import FlopCounterMode

    processor = load_processor(path)
    groups = make_groups(processor, PROMPTS, size)
    ours = Ours(load_model(path, dtype="float32"), processor, groups)
    theirs = Theirs(path, groups)
    with FlopCounterMode(display=False) as counter:
        theirs()
    seconds = alternate(
        {"transformers": theirs, "perl_jax": ours}, options.turns(5), clock=options.clock
    )
    drawn = ours()
    assert drawn.lengths.sum() == PROMPTS * ORDERS * ROLLOUTS * NEW_TOKENS
    responses = Responses(drawn.tokens, drawn.lengths)
    needed = forward_operations(ours.model.config, groups, responses).forward()
    rows = PROMPTS * ORDERS * ROLLOUTS
    median = {side: statistics.median(times) for side, times in seconds.items()}
    products = (
        products_seconds(ours.model, rows, NEW_TOKENS - 1, options.clock) / median["perl_jax"]
    )
    return Case(
        f"{name}, {size} pixels",
        {"time": ratio(seconds["transformers"], seconds["perl_jax"])},
        seconds,
        {"transformers": {"flops": counter.get_total_flops()}, "perl_jax": {"flops": needed}},
        {
            "prompt_tokens": len(groups[0].prompts[0].tokens),
            "tokens per second": {
                side: round(rows * NEW_TOKENS / seconds) for side, seconds in median.items()
            },
            "products": round(products, 2),
        },
    )


def products_seconds(model: Policy, rows: int, steps: int, clock: Clock) -> float:
    """Seconds of the linear maps alone in that many decode steps of that many rows."""

    def of_layer(layer, x, _):
        attention, mlp = layer.self_attn, layer.mlp
        q, k, v = (p(x) for p in (attention.q_proj, attention.k_proj, attention.v_proj))
        x = x + attention.o_proj(q + jnp.tile(k + v, (1, q.shape[-1] // k.shape[-1])))
        return x + mlp.down_proj(mlp.gate_proj(x) + mlp.up_proj(x)), None

    @jax.jit
    def run(parameters, x):
        def step(x, _):
            model = nnx.merge(definition, parameters)
            x, _ = scan_layers(model.text.layers, of_layer, x * 1e-3, None)
            return x + 1e-9 * model.unembed(x).max(axis=-1, keepdims=True), None

        return jax.lax.scan(step, x, None, length=steps)[0]

    definition, parameters = nnx.split(model)
    x = jnp.ones((rows, model.config.text.hidden_size))
    times = []
    for _ in range(4):
        start = clock()
        run(parameters, x).block_until_ready()
        times.append(clock() - start)
    return statistics.median(times[1:])


class Ours:
    """The sampler."""

    def __init__(self, model: Policy, processor: Processor, groups: list[Group]) -> None:
        length = -(-len(groups[0].prompts[0].tokens) // 32) * 32
        config = SamplerConfig(
            prompt_lengths=(length,),
            response_lengths=(16, 32, 48, 64),
            patches=(2 * len(groups[0].images[0].patches),),
            prefill_tokens=4 * length,
            chunk=16,
        )
        endless = dataclasses.replace(processor, stop_tokens=())
        self.model, self.sampler = model, Sampler(endless, config)
        self.groups = groups
        self.strategy = Strategy(temperature=1.0)

    def __call__(self, num_rollouts: int = ROLLOUTS, max_new_tokens: int = NEW_TOKENS) -> Rollouts:
        """Samples."""
        return self.sampler.sample(
            self.model,
            self.groups,
            num_rollouts=num_rollouts,
            max_new_tokens=max_new_tokens,
            strategy=self.strategy,
            key=0,
        )


class Theirs:
    """transformers' generate, all prompts and orders in one batch."""

    def __init__(self, directory: Path, groups: list[Group]) -> None:
        import torch
        from transformers import AutoModelForImageTextToText

        torch.set_num_threads(1)
        self.torch = torch
        self.model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32)
        self.model.eval()
        prompts = [prompt for group in groups for prompt in group.prompts]
        ids = torch.tensor(np.stack([prompt.tokens for prompt in prompts]), dtype=torch.long)
        images = [image for prompt in prompts for image in prompt.images]
        self.arguments: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == self.model.config.image_token_id).long(),
            "pixel_values": torch.tensor(np.concatenate([image.patches for image in images])),
            "image_grid_thw": torch.tensor([[1, *image.grid] for image in images]),
        }

    def __call__(self) -> int:
        """Samples; returns the number of tokens drawn."""
        with self.torch.no_grad():
            out = self.model.generate(
                **self.arguments,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                repetition_penalty=1.0,
                num_return_sequences=ROLLOUTS,
                min_new_tokens=NEW_TOKENS,
                max_new_tokens=NEW_TOKENS,
            )
        return out[:, self.arguments["input_ids"].shape[1] :].numel()
