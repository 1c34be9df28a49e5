"""Token log-probabilities: chunks of the vocabulary against dense, loss and gradient.

"dense" is what one writes first: logits, log_softmax, a gather, and the entropy from the same
log_softmax. Both sides compute the same loss of log-probabilities and entropies, and its gradients
for the hidden states and the unembedding, of 512 tokens with the vocabulary of Qwen2.5-VL-3B and a
width of 512, in float32. The ratio of memory is that of temporaries by the compiler's own figure,
without arguments and results, which are the same on both sides. The difference is the largest over
the loss and both gradients, relative to the largest value; float32 leaves it on either side.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from benchmarks.harness import Case, Options, alternate, ratio
from perl_jax.flops import count_in_jaxpr
from perl_jax.objectives import token_logprobs

TOKENS, WIDTH, VOCABULARY = 512, 512, 151_936
CHUNKS = (2048, 8192)


def run(options: Options) -> Iterator[Case]:
    """One case for each chunk."""
    arrays = inputs()
    steps = {"dense": jax.jit(loss_and_gradient(dense))}
    for chunk in CHUNKS:
        chunked = lambda *head, size=chunk: token_logprobs(*head, chunk=size)  # noqa: E731
        steps[f"chunk {chunk}"] = jax.jit(loss_and_gradient(chunked))
    traced = {name: step.trace(*arrays) for name, step in steps.items()}
    compiled = {name: one.lower().compile() for name, one in traced.items()}
    seconds = alternate(
        {
            name: lambda one=one: jax.block_until_ready(one(*arrays))
            for name, one in compiled.items()
        },
        options.turns(5),
        clock=options.clock,
    )
    counted = {
        name: {
            "flops": count_in_jaxpr(traced[name].jaxpr),
            "bytes": one.memory_analysis().temp_size_in_bytes,
        }
        for name, one in compiled.items()
    }
    expected = jax.tree.leaves(compiled["dense"](*arrays))
    for chunk in CHUNKS:
        name = f"chunk {chunk}"
        pairs = zip(jax.tree.leaves(compiled[name](*arrays)), expected, strict=True)
        yield Case(
            name,
            {
                "time": ratio(seconds["dense"], seconds[name]),
                "memory": counted["dense"]["bytes"] / counted[name]["bytes"],
            },
            {side: seconds[side] for side in ("dense", name)},
            {side: counted[side] for side in ("dense", name)},
            {"difference": f"{max(relative_difference(*pair) for pair in pairs):.1e}"},
        )


def dense(
    hidden: jax.Array, unembedding: jax.Array, tokens: jax.Array
) -> tuple[jax.Array, jax.Array]:
    logits = jnp.einsum("bd,vd->bv", hidden, unembedding, preferred_element_type=jnp.float32)
    logp = jax.nn.log_softmax(logits, axis=-1)
    chosen = jnp.take_along_axis(logp, tokens[:, None], axis=-1)[:, 0]
    return chosen, -jnp.sum(jnp.exp(logp) * logp, axis=-1)


def loss_and_gradient(head: Callable) -> Callable:
    """A fixed weighting of both outputs, and its gradients."""

    def loss(hidden: jax.Array, unembedding: jax.Array, tokens: jax.Array, weights: jax.Array):
        logprobs, entropy = head(hidden, unembedding, tokens)
        return jnp.sum(weights * logprobs) - 0.01 * jnp.mean(entropy)

    return jax.value_and_grad(loss, argnums=(0, 1))


def relative_difference(ours: jax.Array, theirs: jax.Array) -> float:
    """The largest difference, relative to the largest value."""
    return float(jnp.max(jnp.abs(ours - theirs)) / jnp.max(jnp.abs(theirs)))


def inputs() -> tuple[jax.Array, ...]:
    keys = jax.random.split(jax.random.key(0), 4)
    hidden = jax.random.normal(keys[0], (TOKENS, WIDTH))
    unembedding = jax.random.normal(keys[1], (VOCABULARY, WIDTH)) * WIDTH**-0.5
    tokens = jax.random.randint(keys[2], (TOKENS,), 0, VOCABULARY)
    weights = jax.random.normal(keys[3], (TOKENS,)) / TOKENS
    return hidden, 2 * unembedding, tokens, weights
