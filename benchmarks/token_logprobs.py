"""Token log-probabilities: chunked against dense, loss and gradient, in one run.

    python benchmarks/token_logprobs.py

On 2 CPU cores (jax 0.10.2, float32, 512 tokens, width 512, vocabulary 151,936):

                 temp MiB  of dense  seconds  difference
    dense           890.3     1.000    1.761
    chunk 1024        6.0     0.007    1.479     9.6e-07
    chunk 2048       12.0     0.013    1.404     8.9e-07
    chunk 4096       24.0     0.027    1.408     8.9e-07
    chunk 8192       48.0     0.054    1.411     9.6e-07

The difference is the largest over the loss and both gradients, relative to the largest value; it
is what float32 leaves on either side. With --dtype bfloat16 the CPU compiler keeps a float32 copy
of the unembedding for want of bfloat16 arithmetic (311 of 1,485 MiB); that is no property of the
function.

"dense" is what one writes first: logits, log_softmax, a gather, and the entropy from the same
log_softmax. Both sides compute the same loss of log-probabilities and entropies, and its gradients
for the hidden states and the unembedding. Temporary memory is the compiler's own figure
(``memory_analysis``), without arguments and results, which are the same on both sides.
Wall time is the fastest of several calls, taken in turns, after one to warm up.
"""

import argparse
import json
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from perl_jax.objectives import token_logprobs


def dense(
    hidden: jax.Array, unembedding: jax.Array, tokens: jax.Array
) -> tuple[jax.Array, jax.Array]:
    logits = jnp.einsum("bd,vd->bv", hidden, unembedding, preferred_element_type=jnp.float32)
    logp = jax.nn.log_softmax(logits, axis=-1)
    chosen = jnp.take_along_axis(logp, tokens[:, None], axis=-1)[:, 0]
    return chosen, -jnp.sum(jnp.exp(logp) * logp, axis=-1)


def loss_and_gradient(head: Callable, arrays: tuple[jax.Array, ...]) -> Callable:
    """Compiled: a fixed weighting of both outputs, and its gradients."""

    def loss(hidden: jax.Array, unembedding: jax.Array, tokens: jax.Array, weights: jax.Array):
        logprobs, entropy = head(hidden, unembedding, tokens)
        return jnp.sum(weights * logprobs) - 0.01 * jnp.mean(entropy)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(*arrays).compile()


def wall_times(calls: dict[str, Callable], arrays: tuple[jax.Array, ...], repeats: int) -> dict:
    """The fastest of several calls each, in turns, so that a busy moment hits every side."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call(*arrays))
            seconds[name].append(time.perf_counter() - start)
    return {name: min(each[1:]) for name, each in seconds.items()}


def relative_difference(ours: jax.Array, theirs: jax.Array) -> float:
    """The largest difference, relative to the largest value."""
    ours, theirs = ours.astype(jnp.float32), theirs.astype(jnp.float32)
    return float(jnp.max(jnp.abs(ours - theirs)) / jnp.max(jnp.abs(theirs)))


def inputs(args: argparse.Namespace) -> tuple[jax.Array, ...]:
    keys = jax.random.split(jax.random.key(0), 4)
    hidden = jax.random.normal(keys[0], (args.tokens, args.width)).astype(args.dtype)
    unembedding = jax.random.normal(keys[1], (args.vocabulary, args.width)) * args.width**-0.5
    tokens = jax.random.randint(keys[2], (args.tokens,), 0, args.vocabulary)
    weights = jax.random.normal(keys[3], (args.tokens,)) / args.tokens
    return hidden, (2 * unembedding).astype(args.dtype), tokens, weights


def run(args: argparse.Namespace) -> dict:
    arrays = inputs(args)
    heads = {"dense": dense}
    for chunk in args.chunk:
        heads[f"chunk {chunk}"] = lambda *head, size=chunk: token_logprobs(*head, chunk=size)
    compiled = {name: loss_and_gradient(head, arrays) for name, head in heads.items()}
    seconds = wall_times(compiled, arrays, args.repeats)
    temporary = {n: call.memory_analysis().temp_size_in_bytes for n, call in compiled.items()}
    rows: dict[str, dict[str, float]] = {}
    value, gradients = compiled["dense"](*arrays)
    for name, call in compiled.items():
        ours, our_gradients = call(*arrays)
        pairs = [(ours, value), *zip(our_gradients, gradients, strict=True)]
        rows[name] = {
            "temp_mib": temporary[name] / 2**20,
            "memory_share": temporary[name] / temporary["dense"],
            "seconds": seconds[name],
            "relative_difference": max(relative_difference(*pair) for pair in pairs),
        }
    device = jax.devices()[0]
    return {"jax": jax.__version__, "device": device.device_kind, **vars(args), "results": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description="chunked against dense token log-probabilities")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=151_936, help="that of Qwen2.5-VL-3B")
    parser.add_argument("--chunk", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=5)
    report = run(parser.parse_args())
    print(f"{'':12} {'temp MiB':>10} {'of dense':>9} {'seconds':>8} {'difference':>11}")
    for name, row in report["results"].items():
        print(
            f"{name:12} {row['temp_mib']:10.1f} {row['memory_share']:9.3f} "
            f"{row['seconds']:8.3f} {row['relative_difference']:11.1e}"
        )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
