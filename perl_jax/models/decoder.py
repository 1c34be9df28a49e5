"""A language model's decoder, built of its family's layers and of `perl_jax.attention`."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from perl_jax.attention import KeyValues, attend
from perl_jax.kernels import Kernel, decoding
from perl_jax.kernels.parts import Caches
from perl_jax.mesh import (
    SHARD_AXES,
    TENSOR_AXIS,
    num_shards,
    split_first_axis,
    split_heads,
    take_within_shards,
)
from perl_jax.models.cache import Cache, PromptCache, ResponseCache, of_layer
from perl_jax.models.image_features import AddedFeatures
from perl_jax.models.layers import Rotary, scan_layers, scan_layers_adding
from perl_jax.models.policy import Remat
from perl_jax.models.rows import Rows


class DecoderLayer(Protocol):
    """A layer without its attention."""

    def project(self, x: jax.Array, rotary: Rotary) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries ``[..., H, F]``, keys and values ``[..., J, F]`` of ``[..., D]``."""

    def finish(self, x: jax.Array, attended: jax.Array) -> jax.Array:
        """The layer's output, of its input ``[..., D]`` and the attended ``[..., H, F]``."""


class Embedding(nnx.Module):
    """The embedding: one row per token of the vocabulary."""

    def __init__(self, count: int, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        normal = jax.nn.initializers.normal(0.02)
        self.weight = nnx.Param(normal(rngs.params(), (count, width), dtype))


# The most layers that are compiled one by one.
_MOST_APART = 8


class Decoder(nnx.Module):
    """Stacked layers and a final norm; a family sets them and defines `rotary`."""

    layers: Any
    norm: Any
    # What attends in place of XLA; see `perl_jax.attention.attend`.
    kernel: Kernel | None = None
    # The parameters of each layer, see `take_apart`.
    apart: Any = None

    @property
    def num_layers(self) -> int:
        """The length of the leading axis of the layers' parameters."""
        return len(jax.tree.leaves(nnx.state(self.layers))[0])

    def layer(self, number: int | jax.Array) -> Any:
        """The layer of this number, with a copy of its parameters."""
        definition, parameters = nnx.split(self.layers)
        return nnx.merge(definition, jax.tree.map(lambda part: part[number], parameters))

    def take_apart(self) -> None:
        """Lets `extend` go through the layers one by one, unless there are many to compile.

        A loop over stacked layers copies the parameters of each, which for few tokens takes a CPU
        as long as the products with them. These copies are made once, here.
        """
        if self.num_layers <= _MOST_APART:
            leaves = jax.tree.leaves(nnx.state(self.layers))
            numbers = range(self.num_layers)
            self.apart = nnx.data([[leaf[number] for leaf in leaves] for number in numbers])

    def rotary(self, positions: jax.Array, dtype: jnp.dtype) -> Rotary:
        """Cosine and sine ``[..., F]`` of positions ``[3, ...]``."""
        raise NotImplementedError

    def read(
        self,
        embeddings: jax.Array,
        positions: jax.Array,
        valid: jax.Array,
        mesh: Mesh | None = None,
        added: AddedFeatures | None = None,
        wanted: jax.Array | None = None,
    ) -> tuple[jax.Array, PromptCache]:
        """Reads whole prompts ``[B, T, D]``, with B split over ``mesh``.

        ``positions``, int ``[3, B, T]``, are temporal, height and width; ``valid``, bool
        ``[B, T]``, is False at padding; ``added`` holds what images add after layers. Returns
        normalised hidden states ``[B, T, D]`` and the prefix of responses.

        ``wanted``, int ``[B, C]``, are the tokens of the hidden states to return, then
        ``[B, C, D]``: the last layer computes no others. None: all.
        """
        shards, kernel = num_shards(mesh), self._kernel_on(mesh)
        rotary = self.rotary(positions, embeddings.dtype)
        slots = jnp.broadcast_to(jnp.arange(valid.shape[-1]), valid.shape)
        shown = None if added is None else added.at_tokens(embeddings, mesh)

        def apply(
            layer: DecoderLayer, x: jax.Array, number: jax.Array, tokens: jax.Array | None = None
        ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            q, k, v = layer.project(x, rotary)
            own, at, more = KeyValues(k[:, None], v[:, None], valid[:, None]), slots, shown
            if tokens is not None:
                rows, at = tokens[..., None], tokens
                x, cos, sin = (jnp.take_along_axis(a, rows, axis=1) for a in (x, *rotary))
                q, _, _ = layer.project(x, (cos, sin))
                more = None if shown is None else shown.taken(tokens)
            attended = attend(
                q[:, None], own, query_slots=at[:, None], shards=shards, kernel=kernel
            )
            x = layer.finish(x, attended[:, 0])
            if more is not None:
                x = more.add(number, x)
            # Reordered here: to reorder those of all layers at once would take a copy of the cache.
            return split_first_axis(x, mesh), (jnp.moveaxis(k, 2, 1), jnp.moveaxis(v, 2, 1))

        if wanted is None:
            numbers = jnp.arange(self.num_layers)
            x, (keys, values) = scan_layers(self.layers, apply, embeddings, numbers)
        else:
            x, outputs = self._before_last(apply, embeddings)
            last = self.num_layers - 1
            x, output = apply(self.layer(last), x, jnp.int32(last), wanted)
            keys, values = (
                part.at[last].set(one) for part, one in zip(outputs, output, strict=True)
            )
        return self.norm(x), PromptCache(keys, values, valid)

    def _before_last(
        self, apply: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]], x: jax.Array
    ) -> tuple[jax.Array, Any]:
        """As `scan_layers`, without the last layer: zeros stand in the place of its output."""

        def step(number: jax.Array, carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
            x, outputs = carry
            x, output = apply(self.layer(number), x, number)
            return x, jax.tree.map(lambda every, one: every.at[number].set(one), outputs, output)

        # The loop fills what has room for all: to append the last one would copy the others.
        outputs = jax.tree.map(
            lambda part: jnp.zeros((self.num_layers, *part.shape), part.dtype),
            jax.eval_shape(lambda: apply(self.layer(0), x, jnp.int32(0))[1]),
        )
        return jax.lax.fori_loop(0, self.num_layers - 1, step, (x, outputs))

    def read_with_responses(
        self,
        embeddings: jax.Array,
        positions: jax.Array,
        rows: Rows,
        prompts: tuple[int, int],
        remat: Remat = "none",
        mesh: Mesh | None = None,
        running: Sequence[jax.Array] | None = None,
        prompt_of: jax.Array | None = None,
        added: AddedFeatures | None = None,
    ) -> jax.Array:
        """As `perl_jax.models.policy.Policy.read_with_responses`, with normalised hidden states.

        Embeddings ``[S, W, D]`` and positions ``[3, S, W]`` are those of the flat tokens;
        ``prompts`` are the number of all prompts and their padded length; ``added`` holds what
        images add after layers. All tokens pass a layer together: each of its matrices is gathered
        from other devices once, and its gradient is complete when the layer is done.
        """
        (p, t), shards, kernel = prompts, num_shards(mesh), self._kernel_on(mesh)
        rotary = self.rotary(positions, embeddings.dtype)
        prompt_slots = jnp.broadcast_to(jnp.arange(t)[None, None], (p, 1, t))
        slots = jnp.broadcast_to(jnp.arange(rows.starts.shape[-1]), rows.starts.shape)

        def apply(
            layer: DecoderLayer, number: jax.Array, x: jax.Array, table: Any, context: Any
        ) -> jax.Array:
            rotary, prompt_slots, slots, rows, prompt_of, shown = context
            # The backward pass holds a part of the tokens on each device of a tensor axis, and the
            # compiler would split all of the layer so, though the heads and the MLP already are.
            x = split_first_axis(x, mesh)
            parts = (rows.in_rows(part, prompts, mesh) for part in layer.project(x, rotary))
            (prompt_q, q), (prompt_k, k), (prompt_v, v) = parts
            prompt_held, held = rows.held(prompts)
            read = KeyValues(prompt_k[:, None], prompt_v[:, None], prompt_held[:, None])
            prefix = KeyValues(prompt_k, prompt_v, prompt_held)
            if prompt_of is not None:
                keys, values = (
                    take_within_shards(part, prompt_of, mesh, split_heads)
                    for part in (prompt_k, prompt_v)
                )
                prefix = KeyValues(keys, values, take_within_shards(prompt_held, prompt_of, mesh))
            of_prompt = attend(
                prompt_q[:, None], read, query_slots=prompt_slots, shards=shards, kernel=kernel
            )
            own = attend(
                q,
                KeyValues(k, v, held),
                prefix,
                query_slots=slots,
                query_starts=rows.starts,
                shards=shards,
                kernel=kernel,
            )
            x = layer.finish(x, rows.from_rows(of_prompt[:, 0], own, mesh))
            if table is not None:
                x = AddedFeatures(table, shown).add(number, x)
            return split_first_axis(x, mesh)

        x = split_first_axis(embeddings, mesh)
        table, shown = added or (None, None)
        rows = jax.tree.map(jnp.asarray, rows)
        context = (rotary, prompt_slots, slots, rows, prompt_of, shown)
        if running is None:

            def plain(layer: DecoderLayer, x: jax.Array, number: jax.Array) -> Any:
                return apply(layer, number, x, table, context), None

            x, _ = scan_layers(self.layers, plain, x, jnp.arange(self.num_layers), remat)
        else:
            x = scan_layers_adding(self.layers, apply, x, table, context, running, mesh)
        return self.norm(x)

    def _kernel_on(self, mesh: Mesh | None) -> Kernel | None:
        return self.kernel and self.kernel.on(mesh, SHARD_AXES, TENSOR_AXIS)

    def extend(
        self,
        embeddings: jax.Array,
        positions: jax.Array,
        valid: jax.Array,
        prefix: PromptCache,
        cache: Cache,
        slot: jax.Array | int,
        mesh: Mesh | None = None,
    ) -> tuple[jax.Array, Cache]:
        """Reads the next token ``[B, N, D]`` of N responses to each of B prompts.

        As `perl_jax.models.policy.Policy.decode`, with positions ``[3, B, N]`` and normalised
        hidden states.
        """
        rotary = self.rotary(positions[..., None], embeddings.dtype)
        slot = jnp.asarray(slot, jnp.int32)
        kernel = self._kernel_on(mesh)
        if kernel is not None and isinstance(cache, ResponseCache):
            caches = Caches(*prefix, *cache, valid)
            if decoding.takes(kernel, caches):
                return self._extend_by_kernel(kernel, embeddings, rotary, caches, slot)

        def apply(
            layer: DecoderLayer,
            carry: tuple[jax.Array, Cache],
            layer_input: tuple[jax.Array, jax.Array, jax.Array],
        ) -> tuple[tuple[jax.Array, Cache], None]:
            x, cache = carry
            number, keys, values = layer_input
            q, k, v = layer.project(x, rotary)
            cache = cache.write(number, slot, k, v)
            attended = cache.attend(q, number, valid, of_layer(keys, values, prefix.valid))
            return (layer.finish(x, attended), cache), None

        inputs = (jnp.arange(len(prefix.keys)), prefix.keys, prefix.values)
        carry = (embeddings[:, :, None], cache)
        x, cache = self._through_layers(apply, carry, inputs)
        return self.norm(x)[:, :, 0], cache

    def _through_layers(
        self,
        apply: Callable[[Any, Any, Any], tuple[Any, None]],
        carry: Any,
        inputs: tuple[jax.Array, ...],
    ) -> Any:
        """The last carry of `scan_layers`; one by one where they are taken apart."""
        if self.apart is None:
            return scan_layers(self.layers, apply, carry, inputs)[0]
        definition, stacked = nnx.split(self.layers)
        structure = jax.tree.structure(stacked)
        for number, leaves in enumerate(self.apart):
            layer = nnx.merge(definition, jax.tree.unflatten(structure, leaves))
            carry, _ = apply(layer, carry, tuple(part[number] for part in inputs))
        return carry

    def _extend_by_kernel(
        self,
        kernel: Kernel,
        embeddings: jax.Array,
        rotary: Rotary,
        caches: Caches,
        slot: jax.Array,
    ) -> tuple[jax.Array, ResponseCache]:
        """Does not take layers out of caches: the kernel finds them."""

        def apply(
            layer: DecoderLayer, carry: tuple[jax.Array, ResponseCache], number: jax.Array
        ) -> tuple[tuple[jax.Array, ResponseCache], None]:
            x, cache = carry
            q, k, v = layer.project(x, rotary)
            cache = cache.write(number, slot, k, v)
            held = caches._replace(keys=cache.keys, values=cache.values)
            attended = decoding.attend(kernel, q[:, :, 0], held, number)
            return (layer.finish(x, attended[:, :, None]), cache), None

        carry = (embeddings[:, :, None], ResponseCache(caches.keys, caches.values))
        (x, cache), _ = scan_layers(self.layers, apply, carry, jnp.arange(self.num_layers))
        return self.norm(x)[:, :, 0], cache
