"""Compiled programs that several runs of a test file share, as tracing one takes seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from perl_jax.update import learner
from perl_jax.update.programs import Programs


@contextmanager
def kept_programs() -> Iterator[None]:
    """Learners in the block whose settings are equal share their programs.

    Programs are pure functions of what they are given, so that only the settings, the shapes and
    where arrays lie tell them apart.
    """
    made: dict[Any, Any] = {}

    def kept(function: Any, key: Any, *arguments: Any, **options: Any) -> Any:
        if key not in made:
            made[key] = function(*arguments, **options)
        return made[key]

    def shapes(params: Any) -> Any:
        return tuple((path, p.shape, str(p.dtype), p.sharding) for path, p in params.items())

    def optimizer(config: Any, updates: int, params: Any) -> Any:
        key = ("optimizer", config, updates, shapes(params))
        return kept(make_optimizer, key, config, updates, params)

    def schedule(config: Any, updates: int) -> Any:
        return kept(learning_rate_schedule, ("schedule", config, updates), config, updates)

    def programs(policy: Any, params: Any, **given: Any) -> Any:
        loss = given["loss"]
        key = (
            policy.definition, policy.paths, shapes(params), shapes(policy.frozen), loss.func,
            tuple(loss.keywords.items()), given["head"], given["optimizer"], given["schedule"],
            given["sharding"], given["objective"], given["compile"],
        )  # fmt: skip
        return kept(Programs, key, policy, params, **given)

    make_optimizer, learning_rate_schedule = (
        learner.make_optimizer, learner.learning_rate_schedule,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "make_optimizer", optimizer)
        patch.setattr(learner, "learning_rate_schedule", schedule)
        patch.setattr(learner, "Programs", programs)
        yield
