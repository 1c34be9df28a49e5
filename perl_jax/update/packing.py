"""Packs groups and their responses into the padded arrays of a micro-batch, on the host.

A micro-batch holds whole groups, each in one shard, so that every distinct image is encoded once
for all orders and rollouts that show it, and every prompt read once for all orders that ask it. The
prompts of a shard are concatenated, and so are its orders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from perl_jax.buckets import AutoOptionalRungs, AutoRungs, Ladder, bucket
from perl_jax.mesh import first_axes
from perl_jax.models import PolicyConfig
from perl_jax.models.policy import Array, ImageSizes, PromptInputs
from perl_jax.models.prompts import feature_rows, pad_prompts
from perl_jax.settings import Checked, Count
from perl_jax.types import Group, ImagePatches, Responses

# The sizes for rows that are not known. Steps of up to 1.5 in length and 2 in patches.
_ANY: dict[str, tuple[int, ...]] = {
    "prompt_lengths": (
        256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384,
    ),
    "response_lengths": (128, 256, 512, 1024, 2048, 4096),
    "patches": (1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072),
    "images": (),
    "orders": (),
}  # fmt: skip


@dataclass(frozen=True)
class PackingConfig(Checked):
    """The sizes that arrays of an update are padded to; none of them changes its result.

    Ladders that are ``auto`` are fitted to the rows of a run; see `perl_jax.ladders`.

    Attributes:
        micro_groups: Groups in one pass, rounded up to the same number for each shard.
        prompt_lengths: Padded prompt lengths, in tokens.
        response_lengths: Padded response lengths, in tokens.
        patches: Padded numbers of patches of a shard's distinct images.
        images: Padded numbers of a shard's distinct images; empty: these follow from the batch.
        orders: Padded numbers of a shard's orders, and of its prompts where these are fewer;
            empty: they follow from the batch.
    """

    micro_groups: Count = 4
    prompt_lengths: AutoRungs = "auto"
    response_lengths: AutoRungs = "auto"
    patches: AutoRungs = "auto"
    images: AutoOptionalRungs = "auto"
    orders: AutoOptionalRungs = "auto"

    def rungs(self, ladder: str) -> tuple[int, ...]:
        """The sizes of a ladder; sizes for any rows if it is ``auto`` and was not fitted."""
        sizes: tuple[int, ...] | str = getattr(self, ladder)
        return _ANY[ladder] if isinstance(sizes, str) else sizes


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MicroBatch:
    """O orders and N responses to each, padded on the right, as S concatenated equal shards.

    Attributes:
        prompts: P prompts. ``images`` are the distinct images of each shard, ``[S, ...]``;
            ``feature_rows`` count within the shard.
        start: int32 ``[O]``, the position of a response's first token.
        tokens: int32 ``[O, N, R]``, the responses.
        valid: bool ``[O, N, R]``, True at response tokens.
        values: float32 by name, what a loss needs: ``[O, N]`` or ``[O, N, R]``, 0 at padding.
        prompt_of: int32 ``[O]``, the prompt of an order, counted within its shard. None where no
            prompt is asked under several orders: prompt o is that of order o.
    """

    prompts: PromptInputs
    start: Array
    tokens: Array
    valid: Array
    values: Mapping[str, Array]
    prompt_of: Array | None = None

    def shard_axes(self) -> "MicroBatch":
        """The axis along which shards are concatenated, in place of every array."""
        axes: Any = first_axes(self)
        return replace(axes, prompts=replace(axes.prompts, positions=1))


@dataclass(frozen=True)
class Sizes:
    """The padded sizes of one shard.

    Attributes:
        orders: The number of orders.
        prompts: The number of prompts; None: every order of all shards has a prompt of its own.
        prompt: The length of a prompt.
        response: The length of a response.
        images: Those of the images; None if no shard has any.
    """

    orders: int
    prompts: int | None
    prompt: int
    response: int
    images: ImageSizes | None

    @classmethod
    def of(
        cls,
        shards: Sequence[Sequence[Group]],
        lengths: np.ndarray,
        config: PackingConfig,
        model: PolicyConfig,
    ) -> "Sizes":
        """The sizes that hold the groups of each shard and all response lengths.

        Raises:
            ValueError: A prompt, a response or the images do not fit the ladders.
        """

        def fit(ladder: str, size: int, what: str) -> int:
            rungs = config.rungs(ladder)
            return Ladder(ladder, rungs).fit(size, what) if rungs else bucket(size)

        prompt = max(
            fit("prompt_lengths", len(prompt.tokens), f"group {group.id!r}: prompt length")
            for groups in shards
            for group in groups
            for prompt in group.prompts
        )
        orders = max(sum(group.num_orders for group in groups) for groups in shards)
        prompts = None
        if not all(_asks_each_once(group) for groups in shards for group in groups):
            most = max(sum(len(group.prompts) for group in groups) for groups in shards)
            prompts = fit("orders", most, "prompts of a micro-batch")
        images, image_sizes = [_distinct(groups) for groups in shards], None
        if any(images):
            patches = max(sum(image.num_patches for image in of_shard) for of_shard in images)
            most = fit("images", max(map(len, images)), "images of a micro-batch")
            image_sizes = model.image_sizes(
                [[image.grid for image in of_shard] for of_shard in images],
                num_patches=fit("patches", patches, "patches of a micro-batch"),
                num_images=most if config.rungs("images") else None,
            )
        return cls(
            orders=fit("orders", orders, "orders of a micro-batch"),
            prompts=prompts,
            prompt=prompt,
            response=fit("response_lengths", max(1, int(lengths.max())), "response length"),
            images=image_sizes,
        )


def pack(
    groups: Sequence[Group],
    responses: Responses,
    values: Mapping[str, np.ndarray],
    model: PolicyConfig,
    sizes: Sizes,
) -> MicroBatch:
    """Packs B groups and their responses as one shard; no groups give a shard of padding.

    ``values``, ``[B, K, N]`` or ``[B, K, N, R]`` by name, become `MicroBatch.values`. They are not
    read at padding.

    Raises:
        ValueError: Groups, responses and images do not fit each other; names the group if any.
    """
    where = [(g, k) for g, group in enumerate(groups) for k in range(group.num_orders)]
    _check_orders(groups, responses.lengths)
    index = tuple(np.array(where, int).reshape(-1, 2).T)

    def gather(array: np.ndarray) -> np.ndarray:
        """``[B, K, N, ...]`` to ``[O, N, ...]``; cuts or pads a token axis to R."""
        rows = array[index]
        if rows.ndim == 3:
            rows = rows[..., : sizes.response]
            rows = np.pad(rows, [(0, 0), (0, 0), (0, sizes.response - rows.shape[-1])])
        return np.pad(rows, [(0, sizes.orders - len(rows)), *[(0, 0)] * (rows.ndim - 1)])

    prompts, prompt_of, start = _pack_prompts(groups, sizes, model)
    held = {3: gather(responses.lengths) > 0, 4: gather(responses.valid)}
    return MicroBatch(
        prompts=prompts,
        start=start,
        tokens=np.where(held[4], gather(responses.tokens), 0).astype(np.int32),
        valid=held[4],
        values={
            name: np.where(held[array.ndim], gather(array), 0).astype(np.float32)
            for name, array in values.items()
        },
        prompt_of=prompt_of,
    )


def _asks_each_once(group: Group) -> bool:
    return group.asked == tuple(range(len(group.prompts)))


def _check_orders(groups: Sequence[Group], lengths: np.ndarray) -> None:
    if len(groups) != len(lengths):
        raise ValueError(f"responses: expected them to {len(groups)} groups; got {len(lengths)}")
    for group, of_group in zip(groups, lengths, strict=True):
        count = group.num_orders
        if count > len(of_group) or of_group[count:].any():
            raise ValueError(
                f"group {group.id!r}: expected responses to its {count} orders; got them to "
                f"{1 + max(np.flatnonzero(of_group.any(-1)), default=-1)} of {len(of_group)}"
            )


def _pack_prompts(
    groups: Sequence[Group], sizes: Sizes, model: PolicyConfig
) -> tuple[PromptInputs, np.ndarray | None, np.ndarray]:
    """The concatenated prompts, those of the orders, and the positions where responses start."""
    images, rows_of, first = _distinct(groups), {}, 0
    for image in images:
        stop = first + image.num_patches // model.patches_per_unit
        rows_of[image.key] = np.arange(first, stop)
        first = stop
    prompts = [prompt for group in groups for prompt in group.prompts]
    rows = [
        feature_rows(
            prompt,
            model,
            [rows_of[group.images[slot].key] for slot in slots],
            f"group {group.id!r}, order {group.asked.index(number)}",
        )
        for group in groups
        for number, (prompt, slots) in enumerate(zip(group.prompts, group.slots, strict=True))
    ]
    asked, before = [], 0
    for group in groups:
        asked += [before + number for number in group.asked]
        before += len(group.prompts)
    padded = np.pad(np.array(asked, np.int32), (0, sizes.orders - len(asked)))
    start = np.zeros(sizes.orders, np.int32)
    start[: len(asked)] = [prompts[number].next_position for number in asked]
    prompt_of = None if sizes.prompts is None else padded
    count = sizes.orders if sizes.prompts is None else sizes.prompts
    packed = None
    if sizes.images is not None:
        packed = jax.tree.map(lambda part: part[None], sizes.images.pack(images))
    return pad_prompts(prompts, rows, (count, sizes.prompt), packed), prompt_of, start


def _distinct(groups: Sequence[Group]) -> list[ImagePatches]:
    """The distinct images of groups."""
    return list({image.key: image for group in groups for image in group.images}.values())
