"""Tokens per second of the sampler beside transformers' batched ``generate``.

    python benchmarks/rollout.py [--model tiny small] [--size 112 504] [--repeats 3]

8 prompts x 2 orders x 8 rollouts, 2 images each, 64 new tokens, prefill and images included,
float32 on the CPU. Both run in one process on the one core that it is pinned to, in turn; every
figure is the median of the repeats, after one warm-up. No response ends early, on either side.

Then the sampler alone, 128 rollouts as 32 orders x 4 and as 8 orders x 16: seconds of 63 decode
steps, that is of a call with 64 new tokens less one with a single one.

On one core of a shared Xeon, jax 0.10.2, torch 2.13, transformers 5.23, tokens per second:

    model  pixels  perl_jax  transformers  ratio    decode, N = 16 against N = 4
    tiny      112     37140         15435   2.41    0.90
    tiny      504      5325          1905   2.80
    small     112      6527          3030   2.15    0.85
    small     504      1962           253   7.74

At 112 pixels the linear maps of decoding, which both sides do alike, are 40 % of the sampler's time
on the small model and 9 % on the tiny one (``share_of_products``). On the tiny one at 504, half of
it is attention within the 16 images, by heads of width 16; transformers, too, encodes the images of
a prompt once (so 32), and only then expands the batch.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time

PROMPTS, ORDERS, ROLLOUTS, NEW_TOKENS = 8, 2, 8, 64

MODELS = {
    "tiny": {},
    "small": {
        "text": {
            "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2,
        },
        "vision": {"hidden_size": 64, "intermediate_size": 128, "num_heads": 2},
        "mrope_section": [8, 12, 12],
    },
}  # fmt: skip


def main() -> None:
    args = _parse()
    # Before jax and torch start their threads: one core each is the only fair comparison here.
    os.sched_setaffinity(0, {args.core})
    os.environ.update(OMP_NUM_THREADS="1", JAX_PLATFORMS="cpu")
    results = []
    for name in args.model:
        with tempfile.TemporaryDirectory() as directory:
            results += [compare(directory, name, size, args.repeats) for size in args.size]
            results += [sharing(directory, name, repeats=args.repeats)]
    for row in results:
        print(json.dumps(row))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--size", nargs="+", type=int, default=[112, 504], help="pixels a side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--core", type=int, default=0)
    return parser.parse_args()


def make_groups(processor, count: int, size: int) -> list:
    """Groups of two orders of two random images."""
    import numpy as np

    from perl_jax.rollout import Group

    rng = np.random.default_rng(0)
    groups = []
    for number in range(count):
        images = [
            processor.preprocess(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
            for _ in range(2)
        ]
        text = "<image><image> Which image shows the largest digit? Answer in boxed."
        orders = [processor.encode(text, images), processor.encode(text, images[::-1])]
        groups.append(Group.of(str(number), orders))
    return groups


def sharing(directory: str, name: str, repeats: int, size: int = 112) -> dict:
    """Decode time as the same number of rollouts shares fewer prefixes."""
    from perl_jax.models import load_model
    from perl_jax.processing import load_processor

    model, processor = load_model(directory, dtype="float32"), load_processor(directory)
    seconds: dict[int, list[float]] = {4: [], 16: []}
    runs = {n: Ours(model, processor, make_groups(processor, 64 // n, size)) for n in seconds}
    for turn in range(repeats + 1):
        for n, run in runs.items():
            times = []
            for new_tokens in (1, NEW_TOKENS):
                start = time.perf_counter()
                run(num_rollouts=n, max_new_tokens=new_tokens)
                times.append(time.perf_counter() - start)
            if turn:
                seconds[n].append(times[1] - times[0])
    median = {n: statistics.median(times) for n, times in seconds.items()}
    row = {
        "model": name,
        "decode_seconds": {f"N={n}": round(s, 3) for n, s in median.items()},
        "ratio_16_to_4": round(median[16] / median[4], 3),
    }
    print(row, file=sys.stderr)
    return row


def compare(directory: str, name: str, size: int, repeats: int) -> dict:
    """Both sides in turn."""
    from perl_jax.models import load_model
    from perl_jax.processing import load_processor
    from perl_jax.testing import write_tiny_checkpoint

    write_tiny_checkpoint(directory, dtype="float32", **MODELS[name])
    processor = load_processor(directory)
    groups = make_groups(processor, PROMPTS, size)
    ours = Ours(load_model(directory, dtype="float32"), processor, groups)
    theirs = Theirs(directory, groups)
    seconds: dict[str, list[float]] = {"perl_jax": [], "transformers": []}
    for turn in range(repeats + 1):
        for side, run in (("perl_jax", ours), ("transformers", theirs)):
            start = time.perf_counter()
            count = run()
            if turn:
                seconds[side].append(time.perf_counter() - start)
            assert count == PROMPTS * ORDERS * ROLLOUTS * NEW_TOKENS, (side, count)
    median = {side: statistics.median(times) for side, times in seconds.items()}
    row = {
        "model": name,
        "pixels": size,
        "prompt_tokens": len(groups[0].prompts[0].tokens),
        "tokens_per_second": {side: round(count / s) for side, s in median.items()},
        "seconds": {side: [round(s, 2) for s in times] for side, times in seconds.items()},
        "ratio": round(median["transformers"] / median["perl_jax"], 2),
        "share_of_products": round(
            products_seconds(ours.model, count // NEW_TOKENS, NEW_TOKENS - 1) / median["perl_jax"],
            2,
        ),
    }
    print(row, file=sys.stderr)
    return row


def products_seconds(model, rows: int, steps: int) -> float:
    """Seconds of the linear maps alone in that many decode steps of that many rows."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from perl_jax.models.layers import scan_layers

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
        start = time.perf_counter()
        run(parameters, x).block_until_ready()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


class Ours:
    """The sampler."""

    def __init__(self, model, processor, groups) -> None:
        import dataclasses

        from perl_jax.rollout import Sampler, SamplerConfig, Strategy

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

    def __call__(self, num_rollouts: int = ROLLOUTS, max_new_tokens: int = NEW_TOKENS) -> int:
        """Samples; returns the number of tokens drawn."""
        rollouts = self.sampler.sample(
            self.model,
            self.groups,
            num_rollouts=num_rollouts,
            max_new_tokens=max_new_tokens,
            strategy=self.strategy,
            key=0,
        )
        return int(rollouts.lengths.sum())


class Theirs:
    """transformers' generate, all prompts and orders in one batch."""

    def __init__(self, directory: str, groups) -> None:
        import numpy as np
        import torch
        from transformers import AutoModelForImageTextToText

        torch.set_num_threads(1)
        self.torch = torch
        self.model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32)
        self.model.eval()
        prompts = [prompt for group in groups for prompt in group.prompts]
        ids = torch.tensor(np.stack([prompt.tokens for prompt in prompts]), dtype=torch.long)
        images = [image for prompt in prompts for image in prompt.images]
        self.arguments = {
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


if __name__ == "__main__":
    main()
