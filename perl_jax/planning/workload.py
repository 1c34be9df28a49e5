"""The examples that a planned step works on: all of the same kind and size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Interval

from perl_jax.config import TrainConfig
from perl_jax.data.survey import SurveyedRow
from perl_jax.models import PolicyConfig
from perl_jax.parts import fit_ladders_to
from perl_jax.planning.draws import Draws
from perl_jax.settings import Checked, Count, Expects, PositiveOrZero
from perl_jax.types import Example, Group, ImagePatches, Prompt, TrainBatch

_PIXELS = 512 * 512
_Share = Annotated[float, Interval(gt=0, le=1), Expects("a share from above 0 to 1")]


@dataclass(frozen=True)
class Workload(Checked):
    """A typical example; all examples of a plan are like it.

    Attributes:
        images: Distinct images of an example, all shown by each of its orders.
        pixels: Area of an image before ``model.max_pixels`` reduces it; images are square.
        text_tokens: Tokens of a prompt besides its images.
        response_tokens: The mean length of responses; None: a quarter of
            ``rollout.max_new_tokens``. Shapes hold the longest, ``rollout.max_new_tokens``.
        response_variation: The standard deviation of their lengths, divided by the mean.
        pass_rate: The share of the groups drawn that inform; without filtering, all are kept.
    """

    images: Count = 3
    pixels: Count = _PIXELS
    text_tokens: Count = 192
    response_tokens: Count | None = None
    response_variation: PositiveOrZero = 1.0
    pass_rate: _Share = 0.5


@dataclass(frozen=True)
class Step:
    """The numbers of one training step.

    Attributes:
        draws: The groups that are drawn.
        orders_of_group: K, the number of orders in a group.
        grid: Rows and columns of an image, in patches.
        prompt: Tokens of a prompt.
        longest: Tokens of the longest response.
        mean: Mean number of tokens of a response.
    """

    draws: Draws
    orders_of_group: int
    grid: tuple[int, int]
    prompt: int
    longest: int
    mean: int

    @classmethod
    def of(cls, config: TrainConfig, model: PolicyConfig, workload: Workload) -> "Step":
        """The step of a configuration whose examples all get all of their permuted orders."""
        factor = model.patch_size * model.merge_size
        pixels = min(workload.pixels, config.model.max_pixels or workload.pixels)
        units = max(1, math.isqrt(pixels) // factor)
        orders_of_group = 1 + config.permutation.num_orders
        longest = config.rollout.max_new_tokens
        mean = workload.response_tokens or max(1, longest // 4)
        if mean > longest:
            raise ValueError(
                f"response_tokens: expected at most rollout.max_new_tokens = {longest}; got {mean}"
            )
        prompt = workload.images * (units**2 + 2) + workload.text_tokens
        if prompt > config.data.max_prompt_tokens:
            raise ValueError(
                f"images, pixels, text_tokens: expected a prompt of at most data.max_prompt_tokens "
                f"= {config.data.max_prompt_tokens}; got one of {prompt}"
            )
        groups, filtering = config.rollout.groups, config.filtering
        draws = Draws.unfiltered(groups)
        if filtering.enabled:
            draws = Draws.of(groups, workload.pass_rate, filtering.max_draws * groups)
        return cls(
            draws=draws,
            orders_of_group=orders_of_group,
            grid=(units * model.merge_size,) * 2,
            prompt=prompt,
            longest=longest,
            mean=mean,
        )

    def fit_ladders(
        self, config: TrainConfig, model: PolicyConfig, workload: Workload
    ) -> TrainConfig:
        """The configuration with the ladders that a run fits to rows of these sizes."""
        images = (math.prod(self.grid),) * workload.images
        # The ladders are fitted to the sizes of rows only.
        example = Example(id="", source="", question="", images=(), answer="")
        row = SurveyedRow(0, example, (self.prompt,) * self.orders_of_group, images)
        held_out = () if config.data.held_out is None else (row,)
        return fit_ladders_to(
            config, (row,), held_out, unit=model.patches_per_unit, most_patches=max(images)
        )


def make_groups(
    count: int, step: Step, workload: Workload, model: PolicyConfig
) -> tuple[Group, ...]:
    """Groups of blank images and prompts in the sizes of a step."""
    return tuple(_group(number, step, workload, model) for number in range(count))


def _group(number: int, step: Step, workload: Workload, model: PolicyConfig) -> Group:
    patches = math.prod(step.grid)
    blank = np.broadcast_to(np.float32(0), (patches, model.patch_width))
    images = tuple(ImagePatches(blank, step.grid) for _ in range(workload.images))
    tokens = np.zeros(step.prompt, np.int32)
    tokens[: workload.images * patches // model.patches_per_unit] = model.image_token
    positions = np.broadcast_to(np.arange(step.prompt, dtype=np.int32), (3, step.prompt))
    prompt = Prompt(tokens, positions, 0, images)
    # Other objects: a prompt that is given several times is read once.
    return Group.of(str(number), [replace(prompt) for _ in range(step.orders_of_group)])


def log_normal(
    mean: float, variation: float, longest: int, shape: tuple[int, ...], seed: int = 0
) -> np.ndarray:
    """Lengths of responses, int32 of this shape, drawn from a log-normal distribution.

    Args:
        mean: Its mean.
        variation: Its standard deviation, divided by the mean.
        longest: Where longer responses are cut.
        shape: The shape of the result.
        seed: Of the draw.
    """
    sigma = math.sqrt(math.log1p(variation**2))
    rng = np.random.default_rng(seed)
    drawn = rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, shape)
    return np.clip(np.ceil(drawn), 1, longest).astype(np.int32)


def make_batch(
    config: TrainConfig,
    groups: tuple[Group, ...],
    step: Step,
    lengths: np.ndarray | None = None,
) -> TrainBatch:
    """The batch that a step learns from.

    ``lengths``, int ``[B, K, N]``, are those of the responses; None: all are the longest.
    """
    shape = (len(groups), step.orders_of_group, config.rollout.num_rollouts)
    of_token = (*shape, step.longest)
    if lengths is None:
        lengths = np.full(shape, step.longest, np.int32)
    return TrainBatch(
        groups=groups,
        tokens=np.broadcast_to(np.int32(0), of_token),
        lengths=lengths,
        logprobs=np.broadcast_to(np.float32(0), of_token),
        # Groups of equal rewards, or without advantages, have no gradient and make no update.
        rewards=np.broadcast_to(np.arange(shape[-1], dtype=np.float32), shape),
        advantages=np.ones(shape, np.float32),
        mask=np.arange(step.longest) < lengths[..., None],
    )


class EndlessProcessor:
    """Stands in for a processor without its files. Only token 0 is drawn, which ends no response.

    Attributes:
        pad_token: The token that fills batches.
        stop_tokens: Two tokens, as many as published policies have.
    """

    pad_token = 0
    stop_tokens = (1, 2)

    def banned_rows(self, num_rows: int) -> np.ndarray:
        """Bans no row."""
        return np.zeros(num_rows, bool)

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns a text that nothing reads."""
        return ""
