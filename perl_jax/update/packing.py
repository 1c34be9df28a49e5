"""Packs groups and their responses into the padded arrays of a micro-batch, on the host.

A micro-batch holds whole groups, each in one shard, so that every distinct image is encoded once
for all orders and rollouts that show it, and every prompt read once for all orders that ask it. The
prompts of a shard are concatenated, and so are its orders. Their padded arrays hold numbers only:
the policy reads the real tokens, by the places that `perl_jax.update.layout` gives them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import jax
import numpy as np

from perl_jax.buckets import AutoOptionalRungs, AutoRungs, Ladder, OptionalRungs, bucket
from perl_jax.mesh import first_axes
from perl_jax.models import PolicyConfig
from perl_jax.models.policy import Array, ImageSizes, PromptInputs
from perl_jax.models.prompts import feature_rows, pad_prompts
from perl_jax.models.rows import Rows
from perl_jax.settings import Checked, Count, Expects
from perl_jax.types import Group, ImagePatches, Responses
from perl_jax.update.layout import Padded, RowShape, lay_out

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
        micro_groups: Groups in one pass at most, rounded up to the same number for each shard.
        budget: Tokens of prompts and responses that a shard reads in one pass at most, which bounds
            a pass where responses are long; a group with more of them has a pass of its own. None:
            there is no bound but ``micro_groups``.
        prompt_lengths: Padded prompt lengths, in tokens.
        response_lengths: Padded response lengths, in tokens.
        patches: Padded numbers of patches of a shard's distinct images.
        images: Padded numbers of a shard's distinct images; empty: these follow from the batch.
        orders: Padded numbers of a shard's orders, and of its prompts where these are fewer;
            empty: they follow from the batch.
        tokens: Padded numbers of tokens that a shard reads; empty: at most an eighth more than
            those of the fullest shard.
        predicted: Padded numbers of tokens that a shard predicts; empty: at most a quarter more.
    """

    micro_groups: Count = 4
    budget: Annotated[Count, Expects("an integer of at least 1 or None")] | None = None
    prompt_lengths: AutoRungs = "auto"
    response_lengths: AutoRungs = "auto"
    patches: AutoRungs = "auto"
    images: AutoOptionalRungs = "auto"
    orders: AutoOptionalRungs = "auto"
    tokens: OptionalRungs = ()
    predicted: OptionalRungs = ()

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
        rows: Where the tokens of prompts and responses stand when they are read.
        values: float32 by name, what a loss needs: ``[O, N]`` or ``[O, N, R]``, 0 at padding.
        prompt_of: int32 ``[O]``, the prompt of an order, counted within its shard. None where no
            prompt is asked under several orders: prompt o is that of order o.
    """

    prompts: PromptInputs
    start: Array
    tokens: Array
    valid: Array
    rows: Rows
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
        rows: The rows of the responses to an order.
        tokens: The number of tokens that are read.
        predicted: The number of tokens that are predicted.
    """

    orders: int
    prompts: int | None
    prompt: int
    response: int
    images: ImageSizes | None
    rows: RowShape
    tokens: int
    predicted: int

    @classmethod
    def of(
        cls,
        shards: Sequence[Sequence[Group]],
        lengths: np.ndarray,
        config: PackingConfig,
        model: PolicyConfig,
        every: np.ndarray | None = None,
    ) -> "Sizes":
        """The sizes that hold the groups of each shard and all response lengths.

        ``every`` holds the lengths, ``[B, K, N]``, of the mini-batch that this is a part of: its
        parts have rows of one shape, as each shape is a program.

        Raises:
            ValueError: A prompt, a response or the images do not fit the ladders.
        """

        def fit(ladder: str, size: int, what: str, steps: int = 2) -> int:
            rungs = config.rungs(ladder)
            return Ladder(ladder, rungs).fit(size, what) if rungs else bucket(size, steps=steps)

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
        every = lengths if every is None else every
        response = fit("response_lengths", max(1, int(every.max())), "response length")
        # The lengths of the responses to each shard's groups.
        of_shards = np.split(lengths, np.cumsum([len(groups) for groups in shards])[:-1])
        read = max(map(num_read, shards, of_shards))
        predicted = max(int(of_shard.sum()) for of_shard in of_shards)
        return cls(
            orders=fit("orders", orders, "orders of a micro-batch"),
            prompts=prompts,
            prompt=prompt,
            response=response,
            images=image_sizes,
            rows=RowShape.of(_read(every).reshape(-1, every.shape[-1]), prompt, response),
            tokens=fit("tokens", read, "tokens of a shard", steps=8),
            predicted=fit("predicted", max(1, predicted), "response tokens of a shard", steps=4),
        )

    def padded(self, num_rollouts: int) -> Padded:
        """These sizes, with N responses to an order."""
        count = self.orders if self.prompts is None else self.prompts
        return Padded(
            (count, self.prompt),
            (self.orders, num_rollouts, self.response),
            self.rows,
            self.tokens,
            self.predicted,
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

    prompts, asked, start = _pack_prompts(groups, sizes, model)
    rows = lay_out(
        [len(prompt.tokens) for group in groups for prompt in group.prompts],
        asked,
        responses.lengths[index],
        sizes.padded(responses.lengths.shape[-1]),
    )
    held = {3: gather(responses.lengths) > 0, 4: gather(responses.valid)}
    return MicroBatch(
        prompts=prompts,
        start=start,
        tokens=np.where(held[4], gather(responses.tokens), 0).astype(np.int32),
        valid=held[4],
        rows=rows,
        values={
            name: np.where(held[array.ndim], gather(array), 0).astype(np.float32)
            for name, array in values.items()
        },
        prompt_of=None if sizes.prompts is None else _padded(asked, sizes.orders),
    )


def num_read(groups: Sequence[Group], lengths: np.ndarray) -> int:
    """The tokens that are read of groups and responses of these lengths, ``[B, K, N]``.

    The last token of a response is predicted, but not read.
    """
    prompts = sum(len(prompt.tokens) for group in groups for prompt in group.prompts)
    return prompts + int(_read(lengths).sum())


def _read(lengths: np.ndarray) -> np.ndarray:
    return np.maximum(lengths - 1, 0)


def _padded(numbers: Sequence[int], size: int) -> np.ndarray:
    return np.pad(np.array(numbers, np.int32), (0, size - len(numbers)))


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
) -> tuple[PromptInputs, list[int], np.ndarray]:
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
    start = _padded([prompts[number].next_position for number in asked], sizes.orders)
    count = sizes.orders if sizes.prompts is None else sizes.prompts
    packed = None
    if sizes.images is not None:
        packed = jax.tree.map(lambda part: part[None], sizes.images.pack(images))
    return pad_prompts(prompts, rows, (count, sizes.prompt), packed), asked, start


def _distinct(groups: Sequence[Group]) -> list[ImagePatches]:
    """The distinct images of groups."""
    return list({image.key: image for group in groups for image in group.images}.values())
