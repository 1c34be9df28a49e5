"""The KL penalty within the reward: advantages that wait for log-probabilities.

Scores are computed on the devices, in micro-batches of any shape and order. Every host then holds
all of them, and computes the same advantages.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from perl_jax.objectives import Objective
from perl_jax.types import TrainBatch
from perl_jax.update.packing import MicroBatch
from perl_jax.update.programs import wait_for_all_but_last

PLACE = "place"
"""The value of a micro-batch that `place_numbers` makes."""


def score_all(
    batch: TrainBatch,
    micro_batches: Iterable[MicroBatch],
    passes: Sequence[Callable[[MicroBatch], jax.Array]],
    fetch: Callable[[jax.Array], np.ndarray],
) -> list[np.ndarray]:
    """Scores of the whole batch, ``[B, K, N, R]``, of each of several passes.

    Args:
        batch: The batch.
        micro_batches: All of it, with `place_numbers` as the value `PLACE`.
        passes: Each computes the log-probabilities of a micro-batch.
        fetch: Brings an array of the devices to every host.
    """
    places: list[Any] = []
    scores: list[list[jax.Array]] = [[] for _ in passes]
    for micro in micro_batches:
        places.append(micro.values[PLACE])
        for score, found in zip(passes, scores, strict=True):
            found.append(score(micro))
        wait_for_all_but_last(scores[-1])
    numbers = [fetch(place) for place in places]
    return [arranged(numbers, [fetch(one) for one in of_pass], batch) for of_pass in scores]


def place_numbers(batch: TrainBatch) -> np.ndarray:
    """A number for every rollout, from 1, ``[B, K, N]``; packing leaves 0 at padding."""
    numbers = np.arange(1, batch.lengths.size + 1, dtype=np.float32)
    return numbers.reshape(batch.lengths.shape)


def arranged(
    places: Sequence[np.ndarray], scores: Sequence[np.ndarray], batch: TrainBatch
) -> np.ndarray:
    """The scores of all micro-batches as ``[B, K, N, R]``, 0 at padding.

    Args:
        places: The packed `place_numbers` of each micro-batch, ``[O, N]``.
        scores: Its scores, ``[O, N, R]`` of any R that holds its responses.
        batch: The whole batch.
    """
    found = np.zeros(batch.mask.shape, np.float32).reshape(-1, batch.mask.shape[-1])
    for place, score in zip(places, scores, strict=True):
        held = place > 0
        width = min(found.shape[-1], score.shape[-1])
        found[place[held].astype(int) - 1, :width] = score[held][:, :width]
    return found.reshape(batch.mask.shape)


def with_penalty(
    objective: Objective,
    batch: TrainBatch,
    old: np.ndarray | None,
    reference: np.ndarray | None,
    coefficient: float | None = None,
) -> tuple[TrainBatch, dict[str, float]]:
    """The batch with advantages of penalised rewards, and metrics by their names in the logs.

    Args:
        objective: Has the penalty in the reward.
        batch: The rollouts and their rewards.
        old: Log-probabilities of the policy before the batch ``[B, K, N, R]``; None: no penalty.
        reference: Those of the reference; None as well then.
        coefficient: In place of the objective's, if it changes over the run.
    """
    mask, metrics = batch.mask, {}
    penalties = np.zeros(mask.shape, np.float32)
    if old is not None and reference is not None:
        scores = jax.device_put((old, reference, mask))
        penalties = jax.device_get(objective.penalty(*scores))
        metrics["policy/kl"] = float(penalties.sum(dtype=np.float64) / max(mask.sum(), 1))
    # A rollout that does not count may have any reward, NaN too.
    rewards = np.where(mask.any(-1), batch.rewards, 0).astype(np.float32)
    rewards, penalties, mask = jax.device_put((rewards, penalties, mask))
    advantages = objective.penalised_advantages(rewards, penalties, mask, coefficient)
    made = replace(batch, advantages=np.asarray(jax.device_get(advantages)), old=old)
    counted = batch.mask if made.advantages.ndim == 4 else batch.mask.any(-1)
    metrics["advantage/std"] = float(made.advantages[counted].std()) if counted.any() else 0.0
    return made, metrics
