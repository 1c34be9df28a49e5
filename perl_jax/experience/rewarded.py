"""Rewards of rollouts on all hosts; each host grades the examples that it holds."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from perl_jax import hosts
from perl_jax.permutation import Orders
from perl_jax.rewards import ResponseRows, Rewarder, Rewards
from perl_jax.types import Rollouts, conversation_text


def decode_rollouts(
    decode: Callable[[np.ndarray], str], rollouts: Rollouts, mine: np.ndarray
) -> np.ndarray:
    """The texts of the responses to the examples in ``mine``, bool ``[b]``.

    The result is ``[b, K, N]``, None elsewhere.
    """
    texts = np.full(rollouts.lengths.shape, None, object)
    for place in zip(*np.nonzero((rollouts.lengths > 0) & mine[:, None, None]), strict=True):
        texts[place] = decode(rollouts.tokens[place][: rollouts.lengths[place]])
    return texts


def reward_rollouts(
    rewarder: Rewarder, orders: Sequence[Orders], rollouts: Rollouts, texts: np.ndarray
) -> Rewards:
    """Grades the rollouts of b examples, whole groups; all hosts must call it.

    This host grades the responses whose ``texts`` it has, see `decode_rollouts`. Results are
    ``[b, K, N]``; places without a rollout are 0 and not scored. Failures are those on all hosts.
    """
    where = np.nonzero(texts != None)  # noqa: E711, elementwise
    own = _rewarded(rewarder, texts, orders, rollouts, where) if len(where[0]) else _NOTHING
    told = {
        "where": [axis.tolist() for axis in where],
        "reward": own.reward.tolist(),
        "accuracy": own.accuracy.tolist(),
        "scored": own.scored.tolist(),
        "components": {name: values.tolist() for name, values in own.components.items()},
        "failed": dict(own.failed),
    }
    shape = rollouts.lengths.shape
    reward, accuracy = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    scored = np.zeros(shape, bool)
    components: dict[str, np.ndarray] = {}
    failed: Counter[str] = Counter()
    for heard in hosts.gather(told, "rewards"):
        index = tuple(np.array(axis, int) for axis in heard["where"])
        reward[index], accuracy[index] = heard["reward"], heard["accuracy"]
        scored[index] = heard["scored"]
        for name, values in heard["components"].items():
            components.setdefault(name, np.zeros(shape, np.float32))[index] = values
        failed.update(heard["failed"])
    return Rewards(reward, accuracy, scored, components, failed)


_NOTHING = Rewards(np.zeros(0), np.zeros(0), np.zeros(0, bool), {})


def _rewarded(
    rewarder: Rewarder,
    texts: np.ndarray,
    orders: Sequence[Orders],
    rollouts: Rollouts,
    where: tuple[np.ndarray, ...],
) -> Rewards:
    """The rewards ``[n]`` of the rollouts at n places."""
    groups, asked, _ = where
    examples = [orders[b].examples[k] for b, k in zip(groups, asked, strict=True)]
    return rewarder(
        ResponseRows(
            texts=texts[where].tolist(),
            answers=[example.answer for example in examples],
            metadata=[example.metadata for example in examples],
            lengths=rollouts.lengths[where],
            stopped=rollouts.stopped[where],
            questions=[conversation_text(example) for example in examples],
            ids=[example.id for example in examples],
            orders=[
                tuple(orders[b].orders[k].tolist()) for b, k in zip(groups, asked, strict=True)
            ],
            groups=groups,
        )
    )
