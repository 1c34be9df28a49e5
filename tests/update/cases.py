"""Groups, rollouts, and the plain way to compute what an update computes: one row a rollout."""

import contextlib
import zlib
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from perl_jax.models import load_model
from perl_jax.models.prompts import pack_prompts
from perl_jax.objectives import Objective
from perl_jax.processing import load_processor
from perl_jax.testing import write_tiny_checkpoint
from perl_jax.types import Group, Prompt, TrainBatch
from perl_jax.update.config import UpdateConfig
from perl_jax.update.learner import Learner
from perl_jax.update.optimizer import OptimizerConfig
from perl_jax.update.packing import PackingConfig
from perl_jax.update.state import TrainState
from tests.models.fixtures import random_image

# As little of everything as still has every part: two layers of each kind, shared heads, windows.
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_heads": 2,
    "fullatt_block_indexes": [1],
}
TEMPERATURE = 3.0
OBJECTIVE = Objective(
    clip_low=0.2,
    clip_high=0.28,
    dual_clip=1.5,
    aggregation="sequence_mean_token_mean",
    kl="k3",
    kl_coefficient=0.3,
    entropy_coefficient=0.05,
)
# One padded size of each kind, so that all ways to cut a batch share one program.
PACKING = PackingConfig(
    prompt_lengths=(72,), response_lengths=(16,), patches=(512,), images=(12,), orders=(12,),
    tokens=(1200,), predicted=(400,),
)  # fmt: skip


def write_small_checkpoint(path, **changes):
    return write_tiny_checkpoint(path, text=TEXT, vision=VISION, dtype="float32", **changes)


@contextlib.contextmanager
def quick_compilation() -> Iterator[None]:
    """Compiles in half the time to slower code: what is computed is the same."""
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


def make_group(processor, id, sizes, orders, text="Which is the largest digit?"):
    """A group that shows images of these sizes in these orders."""
    rng = np.random.default_rng(zlib.crc32(id.encode()))
    images = [processor.preprocess(random_image(rng, size)) for size in sizes]
    text = "<image>" * len(images) + text
    return Group.of(id, [processor.encode(text, [images[i] for i in order]) for order in orders])


def make_batch(groups, banned, *, num_rollouts, longest, seed=0, unscored=()) -> TrainBatch:
    """Random responses of very different lengths, some of them without a grade."""
    rng = np.random.default_rng(seed)
    orders = max(group.num_orders for group in groups)
    shape = (len(groups), orders, num_rollouts)
    lengths = rng.integers(1, longest + 1, shape).astype(np.int32)
    lengths[0, 0, :2] = 1, longest
    for number, group in enumerate(groups):
        lengths[number, group.num_orders :] = 0
    mask = np.arange(longest) < lengths[..., None]
    tokens = rng.choice(np.flatnonzero(~banned), (*shape, longest)).astype(np.int32)
    logprobs = np.where(mask, rng.normal(-2, 1, tokens.shape), 0).astype(np.float32)
    for where in unscored:
        mask[where] = False
    advantages = np.where(mask.any(-1), rng.normal(0, 1, shape), 0).astype(np.float32)
    rewards = advantages + 1
    return TrainBatch(tuple(groups), tokens, lengths, logprobs, rewards, advantages, mask)


def perturbed(model, seed, scale=0.06):
    """The model with every parameter moved a little."""
    rng = np.random.default_rng(seed)
    definition, state = nnx.split(model)

    def move(leaf):
        noise = scale * rng.standard_normal(leaf.shape).astype(np.float32)
        return jax.device_put(np.asarray(leaf) * (1 + noise), leaf.sharding)

    return nnx.merge(definition, jax.tree.map(move, state))


def quiet_gradients(learner, state, batch, then=()):
    """What `reinforce` hands to the optimizer, and its statistics.

    The optimizer is left out: after update number n the parameters are ``then[n]``, as far as
    given.
    """
    gradients = []

    def apply(state, of_update):
        number = len(gradients)
        gradients.append({path: np.asarray(leaf) for path, leaf in of_update.items()})
        params = then[number] if number < len(then) else state.params
        return TrainState(params, state.optimizer, state.key, state.skipped_in_a_row), {}

    real, learner.programs.apply = learner.programs.apply, apply
    try:
        _, stats = learner.reinforce(state, batch)
    finally:
        learner.programs.apply = real
    return gradients, stats


def by_path(state) -> dict[str, np.ndarray]:
    """The leaves of an NNX state by dotted path."""
    flat = nnx.to_flat_state(state)
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in flat}


class Plain:
    """Every rollout as a row of its own: prompt and response together, its images among them.

    It shares with the update only the model's way to read prompts: no shared prefix, no shared
    image, no chunk of the vocabulary, no micro-batch.
    """

    def __init__(self, model, groups, batch, banned, length) -> None:
        self.definition, self.parameters = nnx.split(model)
        self.where = [tuple(w) for w in np.argwhere(batch.lengths > 0)]
        rows, self.at = [], np.zeros((len(self.where), batch.tokens.shape[-1]), np.int32)
        for row, (b, k, n) in enumerate(self.where):
            prompt, count = groups[b].prompts[groups[b].asked[k]], batch.lengths[b, k, n]
            rows.append(joined(prompt, batch.tokens[b, k, n, :count]))
            self.at[row, :count] = len(prompt.tokens) - 1 + np.arange(count)
        self.inputs = pack_prompts(rows, model.config, length=length)
        self.banned = banned
        self.tokens = self.rows_of(batch.tokens)
        self.mask = self.rows_of(batch.mask)
        self.advantages = self.rows_of(batch.advantages)
        self.sampled = self.rows_of(batch.logprobs)

    def rows_of(self, array):
        """``[B, K, N, ...]`` as ``[rows, ...]``."""
        return np.stack([array[where] for where in self.where])

    def batch_of(self, array, shape):
        """``[rows, R]`` as ``[B, K, N, R]``, 0 elsewhere."""
        out = np.zeros((*shape, array.shape[-1]), np.float32)
        for where, row in zip(self.where, np.asarray(array), strict=True):
            out[where] = row
        return out

    def scores(self, parameters):
        """Log-probabilities and entropies ``[rows, R]``, from full logits."""
        model = nnx.merge(self.definition, parameters)
        hidden, _ = model.prefill(self.inputs)
        hidden = jnp.take_along_axis(hidden, self.at[..., None], axis=1)
        logits = jnp.where(self.banned[None, None], -1e30, model.unembed(hidden) / TEMPERATURE)
        every = jax.nn.log_softmax(logits, axis=-1)
        drawn = jnp.take_along_axis(every, self.tokens[..., None], axis=-1)[..., 0]
        return drawn, -jnp.sum(jnp.exp(every) * every, axis=-1)

    def loss(self, parameters, weights, old, reference, objective):
        """GRPO as a sum over tokens that weigh something, and the log-probabilities.

        Args:
            parameters: Of the policy.
            weights: ``[rows, R]``.
            old: Log-probabilities before the batch's first update ``[rows, R]``.
            reference: Those of the reference.
            objective: Gives the numbers.
        """
        logprobs, entropy = self.scores(parameters)
        advantage = self.advantages[:, None]
        ratio = jnp.exp(logprobs - old)
        clipped = jnp.clip(ratio, 1 - objective.clip_low, 1 + objective.clip_high)
        surrogate = jnp.minimum(advantage * ratio, advantage * clipped)
        bounded = jnp.maximum(surrogate, advantage * objective.dual_clip)
        surrogate = jnp.where(advantage < 0, bounded, surrogate)
        kl = jnp.exp(reference - logprobs) - (reference - logprobs) - 1
        per_token = (
            -surrogate + objective.kl_coefficient * kl - objective.entropy_coefficient * entropy
        )
        return jnp.sum(jnp.where(weights > 0, weights * per_token, 0)), logprobs


def joined(prompt: Prompt, tokens: np.ndarray) -> Prompt:
    """A prompt and a response to it as one prompt; text goes on by one position a token."""
    start = prompt.positions.max() + 1
    positions = np.broadcast_to(start + np.arange(len(tokens)), (3, len(tokens)))
    return Prompt(
        np.concatenate([prompt.tokens, tokens]).astype(np.int32),
        np.concatenate([prompt.positions, positions], axis=1).astype(np.int32),
        prompt.rope_delta,
        prompt.images,
    )


def largest_error(got, want) -> tuple[float, str]:
    """The largest relative error of any leaf, and which one that is."""
    assert got.keys() == want.keys()
    errors = {}
    for path, leaf in want.items():
        norm = np.linalg.norm(leaf)
        assert norm > 0, f"{path}: a leaf without gradient shows nothing"
        errors[path] = float(np.linalg.norm(np.asarray(got[path], np.float64) - leaf) / norm)
    worst = max(errors, key=errors.get)
    return errors[worst], worst


class SharedPrefixCase:
    """Four groups and rollouts of theirs, a reference, a policy, and where it moves to."""

    def __init__(self, checkpoint):
        processor = load_processor(checkpoint)
        self.reference_model = reference = load_model(checkpoint, dtype="float32")
        self.banned = banned = processor.banned_rows(reference.config.vocab_size)
        self.groups = make_groups(processor)
        unscored = [(0, 1, 2), (1, 0, 0), (1, 0, 1), (3, 1, 3)]
        self.batch = make_batch(self.groups, banned, num_rollouts=4, longest=13, unscored=unscored)
        self.policy = perturbed(reference, 1)
        self.moved = perturbed(self.policy, 2)
        self.learner = self.learner_on(reference)
        self.plain = Plain(self.policy, self.groups, self.batch, banned, length=96)
        loss = jax.value_and_grad(partial(self.plain.loss, objective=OBJECTIVE), has_aux=True)
        self.plain_loss = jax.jit(loss)
        nothing = np.zeros(self.plain.mask.shape, np.float32)
        (_, self.reference), _ = self.plain_loss(nnx.state(reference), nothing, nothing, nothing)
        (_, self.old), _ = self.plain_loss(nnx.state(self.policy), nothing, nothing, nothing)

    def learner_on(self, reference, mesh=None, remat="none"):
        """A learner whose reference this is."""
        return Learner(
            reference,
            self.banned,
            config=UpdateConfig(
                packing=PACKING,
                recompute_old=True,
                reference_dtype="float32",
                logprob_chunk=200,
                remat=remat,
            ),
            optimizer=OptimizerConfig(),
            total_updates=10,
            objective=OBJECTIVE,
            temperature=TEMPERATURE,
            mesh=mesh,
        )

    def plain_update(self, model, groups):
        """Loss and gradients of the groups with these numbers, written out."""
        rows = np.isin([b for b, _, _ in self.plain.where], groups)[:, None] & self.plain.mask
        tokens = rows.sum(-1, keepdims=True)
        weights = (rows / np.maximum(tokens, 1) / (tokens > 0).sum()).astype(np.float32)
        (loss, logprobs), gradients = self.plain_loss(
            nnx.state(model), weights, self.old, self.reference
        )
        return float(loss), by_path(gradients), np.asarray(logprobs), rows


def make_groups(processor):
    """Three orders of three images, twice; two orders of two images and of one."""
    orders = [[0, 1, 2], [2, 0, 1], [1, 2, 0]]
    other_text = "Picture of the first ? Which is the same as the reference?"
    return (
        make_group(processor, "three", [(56, 84), (112, 84), (28, 140)], orders),
        make_group(processor, "two", [(84, 112), (56, 56)], [[0, 1], [1, 0]]),
        make_group(processor, "again", [(84, 112), (84, 56), (28, 28)], orders, other_text),
        make_group(processor, "one", [(84, 112)], [[0], [0]]),
    )
