"""The update: adds up gradients of micro-batches of whole groups, and applies them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from perl_jax.activity import Activity, silent
from perl_jax.mesh import BatchSharding
from perl_jax.models import Policy
from perl_jax.models.lora import is_adapter
from perl_jax.models.paths import VISION, within
from perl_jax.objectives import Objective
from perl_jax.objectives.aggregation import check_aggregation, token_weights
from perl_jax.types import Group, Responses, TrainBatch
from perl_jax.update.assignment import assign_groups, cut_shards, tokens_of
from perl_jax.update.config import UpdateConfig
from perl_jax.update.dealing import deal, groups_with_gradient, turns
from perl_jax.update.exchange import move_images
from perl_jax.update.forward import Head
from perl_jax.update.kl_reward import PLACE, place_numbers, score_all, with_penalty
from perl_jax.update.losses import policy_gradient_loss, supervised_loss
from perl_jax.update.operations import Adapters, Operations, forward_operations
from perl_jax.update.optimizer import OptimizerConfig, learning_rate_schedule, make_optimizer
from perl_jax.update.packing import MicroBatch, Sizes, pack
from perl_jax.update.programs import Compile, Loss, Programs, jit, wait_for_all_but_last
from perl_jax.update.state import Params, SplitPolicy, TrainState
from perl_jax.update.stats import Stats

# Log-probabilities of the responses of each micro-batch.
Scores = list[jax.Array]
# Groups, responses, and what a loss needs for every rollout or token, by name.
MiniBatch = tuple[Sequence[Group], Responses, Mapping[str, np.ndarray]]


class Learner:
    """Updates a policy from batches.

    A learner never changes. What updates change is a `TrainState`, which the caller holds: methods
    take one and return the next.

    Attributes:
        policy: The model without its trainable parameters.
        sharding: How micro-batches are split over devices and hosts.
        reference: A copy of the initial trainable parameters, or adapters of zeros, which leave the
            model as it is without them; None without a KL penalty.
        programs: The compiled programs.
    """

    def __init__(
        self,
        model: Policy,
        banned: np.ndarray,
        *,
        config: UpdateConfig,
        optimizer: OptimizerConfig,
        total_updates: int,
        objective: Objective | None = None,
        length: float | None = None,
        temperature: float = 1.0,
        mesh: Mesh | None = None,
        sharding: BatchSharding | None = None,
        compile: Compile = jit,
    ) -> None:
        """Prepares the update; nothing is compiled yet.

        Args:
            model: The initial policy; with ``config.lora``, one of
                `perl_jax.models.lora.with_adapters`.
            banned: Bool ``[V]``, the tokens that the sampler never draws.
            config: How batches become updates.
            optimizer: How gradients move parameters.
            total_updates: The number of updates of the run.
            objective: The objective; None: the cross-entropy of given responses.
            length: The generation budget, for the aggregation ``constant_length``.
            temperature: The sampler's temperature.
            mesh: The devices that hold the model.
            sharding: How batches are split; None: over ``mesh``.
            compile: Makes programs, see `perl_jax.update.programs.jit`.

        Raises:
            ValueError: Patterns match no parameter, or settings do not fit together.
        """
        if objective is not None:
            check_aggregation(objective.aggregation, length)
        self.config = config
        self.objective = objective
        self.length = length
        self.model_config = model.config
        self.policy = SplitPolicy(model, config.trainable, config.frozen)
        if all(map(is_adapter, self.policy.paths)) != (config.lora is not None):
            raise ValueError(
                f"model: expected adapters exactly if learner.lora is set; got lora={config.lora} "
                f"and a model that trains {self.policy.paths[0]}"
            )
        self.sharding = sharding or BatchSharding.of(mesh)

        params = self.policy.split(model)
        self._adapters = Adapters.of(
            {path: leaf.size for path, leaf in params.items() if is_adapter(path)}
        )
        self._is_banned = banned
        self._banned = self.sharding.replicate(banned)
        head = Head(temperature, config.remat, config.logprob_chunk, mesh)
        loss: Loss = partial(supervised_loss, head=head)
        if objective is not None:
            loss = partial(
                policy_gradient_loss,
                head=head,
                objective=objective,
                importance_cap=config.importance_cap,
                importance=config.importance,
            )
        self.programs = Programs(
            self.policy,
            params,
            loss=loss,
            head=head,
            optimizer=make_optimizer(optimizer, total_updates, params),
            schedule=learning_rate_schedule(optimizer, total_updates),
            sharding=self.sharding,
            objective=objective,
            compile=compile,
        )
        self.reference: Params | None = None
        if objective is not None and objective.needs_reference:
            if config.lora is None:
                self.reference = self.programs.copy(params, jnp.dtype(config.reference_dtype))
            else:
                self.reference = self.programs.zeros()

    def init(self, model: Policy, key: jax.Array) -> TrainState:
        """The state before the first update, with copies of the parameters."""
        # A program on all hosts cannot take one host's key, but it can take the key's data.
        data = np.asarray(jax.random.key_data(key))
        return self.programs.start(self.policy.split(model), data, jax.random.key_impl(key))

    def model(self, state: TrainState) -> Policy:
        """The policy in a state. It shares the state's arrays: an update invalidates it."""
        return self.policy.merge(state.params)

    def reinforce(
        self, state: TrainState, batch: TrainBatch, activity: Activity = silent
    ) -> tuple[TrainState, Stats]:
        """Updates the policy on one batch of rollouts; the state is donated.

        ``activity`` hears how many micro-batches of each update are done.

        Returns:
            The state, and statistics as scalars on the devices (reading one waits for it). See
            `perl_jax.update.stats.of_batch`. If no group has a gradient, the state as it was, and
            no statistics.

        Raises:
            ValueError: The mask holds padding.
        """
        of_penalty: Stats = {}
        if self.objective is not None and self.objective.penalises_rewards:
            batch, of_penalty = self._penalised(state, batch, activity)
        parts = self._mini_batches(batch)
        if not parts:
            return state, of_penalty
        old: list[Scores | None] = [None] * len(parts)
        if self._scores_old and batch.old is None:  # all of them before the first update
            scored = parts[1:] if self._first_is_own else parts
            old[len(parts) - len(scored) :] = [
                self._scores(state.params, self._micro_batches(*part, tell=tell))
                for part, tell in zip(scored, _told(activity, "scoring", len(scored)), strict=True)
            ]
        # The reference never changes: each part is scored once, whatever the number of epochs.
        before: list[Scores] = [[] for _ in parts]
        stats, order = [], turns(len(parts), self.config.epochs_per_batch)
        for turn, tell in zip(order, _told(activity, "update", len(order)), strict=True):
            micro_batches = self._micro_batches(*parts[turn], tell=tell)
            state, of_one = self._update(
                state, self._with_scores(micro_batches, old[turn], before[turn])
            )
            stats.append(of_one)
        of_batch = self.programs.of_batch(stats)
        if of_penalty:
            of_batch = of_batch | of_penalty
        if self.objective is not None and self.objective.kl_target is not None:
            return self._adapted(state, of_batch, batch)
        return state, of_batch

    def supervise(
        self,
        state: TrainState,
        groups: Sequence[Group],
        responses: Responses,
        activity: Activity = silent,
    ) -> tuple[TrainState, Stats]:
        """Updates the policy once towards given responses; every token weighs the same.

        The state is donated. Returns what `reinforce` returns.

        Raises:
            ValueError: The responses hold a banned token, or the learner has an objective.
        """
        if self.objective is not None:
            raise ValueError("supervise: expected a learner without an objective; got one with it")
        valid = responses.valid
        for group, tokens, held in zip(groups, responses.tokens, valid, strict=True):
            if (never := self._is_banned[tokens] & held).any():
                raise ValueError(
                    f"group {group.id!r}: expected responses of tokens that may be drawn; "
                    f"got the banned token {tokens[never][0]}"
                )
        values = {"weights": token_weights(valid)}
        groups = self._moved(groups, responses)
        (tell,) = _told(activity, "update", 1)
        micro_batches = self._micro_batches(groups, responses, values, tell=tell)
        state, stats = self._update(state, micro_batches)
        return state, self.programs.of_batch([stats])

    def operations(self, batch: TrainBatch) -> int:
        """The least floating-point operations of `reinforce`, for rollouts in the mask."""
        worked = np.flatnonzero(self._has_gradient(batch)).tolist()
        lengths = np.where(batch.mask.any(-1), batch.lengths, 0)
        responses = Responses(batch.tokens, lengths)

        def groups(numbers: Sequence[int]) -> list[Group]:
            return [batch.groups[number] for number in numbers]

        every = self.operations_of(groups(worked), responses[worked])
        if not (worked and self._first_is_own):
            return every
        first = deal(self._has_gradient(batch), self.config.updates_per_batch)[0].worked
        return every - self._once(groups(first), responses[first]).forward()

    def _once(self, groups: Sequence[Group], responses: Responses) -> Operations:
        return forward_operations(self.model_config, groups, responses)

    def operations_of(self, groups: Sequence[Group], responses: Responses) -> int:
        """As `operations`, for given responses; also for `supervise`."""
        once = self._once(groups, responses)
        epochs = 1 if self.objective is None else self.config.epochs_per_batch
        scored = self._scores_old + (self.reference is not None)
        if self.config.lora is None:
            vision = [within(path, VISION) for path in self.policy.paths]
            update = once.update(vision_trained=any(vision), text_trained=not all(vision))
        else:
            update = once.update_of(self._adapters)
        return update * epochs + scored * once.forward()

    def num_updates(self, batch: TrainBatch) -> int:
        """The number of updates that `reinforce` makes of a batch."""
        parts = min(self.config.updates_per_batch, int(self._has_gradient(batch).sum()))
        return parts * self.config.epochs_per_batch

    @property
    def _scores_old(self) -> bool:
        """Whether a separate pass computes the log-probabilities before the first update."""
        several = self.config.updates_of_step > 1 or self.config.recompute_old
        first = self.objective is not None and self.objective.penalises_rewards
        return self.objective is not None and (several or (first and self.reference is not None))

    @property
    def _first_is_own(self) -> bool:
        """Whether the first update itself computes the old log-probabilities of its part.

        With several epochs a later update of that part needs them too.
        """
        config, objective = self.config, self.objective
        once = config.updates_of_step > 1 == config.epochs_per_batch
        penalised = objective is None or objective.penalises_rewards
        return once and not (config.recompute_old or penalised)

    def _penalised(
        self, state: TrainState, batch: TrainBatch, activity: Activity
    ) -> tuple[TrainBatch, Stats]:
        """The batch with advantages of penalised rewards, and statistics."""
        assert self.objective is not None
        fetch, reference = self.sharding.fetch, self.reference
        if reference is None:
            batch, metrics = with_penalty(self.objective, batch, None, None)
            return batch, self._on_devices(metrics)
        (tell,) = _told(activity, "scoring", 1)
        responses, values = Responses(batch.tokens, batch.lengths), {PLACE: place_numbers(batch)}
        groups = self._moved(batch.groups, responses)
        micro_batches = self._micro_batches(groups, responses, values, tell=tell)
        passes = [partial(self._score, params) for params in (state.params, reference)]
        old, before = score_all(batch, micro_batches, passes, fetch)
        factor = None if state.kl_coefficient is None else float(fetch(state.kl_coefficient))
        batch, metrics = with_penalty(self.objective, batch, old, before, factor)
        return batch, self._on_devices(metrics)

    def _on_devices(self, metrics: Mapping[str, float]) -> Stats:
        replicate = self.sharding.replicate
        return {name: replicate(np.array(value, np.float32)) for name, value in metrics.items()}

    def _adapted(
        self, state: TrainState, stats: Stats, batch: TrainBatch
    ) -> tuple[TrainState, Stats]:
        """The state with its next KL coefficient; the statistics tell the one of this batch."""
        used = state.kl_coefficient
        assert used is not None
        rollouts = self.sharding.replicate(np.array(batch.mask.any(-1).sum(), np.float32))
        adapted = self.programs.adapt(used, stats["policy/kl"], rollouts)
        return replace(state, kl_coefficient=adapted), stats | {"policy/kl_coefficient": used}

    def _has_gradient(self, batch: TrainBatch) -> np.ndarray:
        """Which groups of a batch have a gradient, bool ``[B]``.

        A penalty that is not yet within the rewards may give one to any group.
        """
        objective = self.objective
        if objective is None:
            raise ValueError("reinforce: expected a learner with an objective; got objective=None")
        penalised = objective.kl_in != "loss" and batch.old is not None
        penalty = self.reference is not None and not penalised
        of_any_token = penalty or objective.entropy_coefficient != 0
        return groups_with_gradient(batch.advantages, batch.mask, of_any_token=of_any_token)

    def _mini_batches(self, batch: TrainBatch) -> list[MiniBatch]:
        """Checks the batch and cuts it into parts, one for each update of an epoch."""
        dealt = deal(self._has_gradient(batch), self.config.updates_per_batch)
        objective, responses = self.objective, Responses(batch.tokens, batch.lengths)
        assert objective is not None
        if (batch.mask & ~responses.valid).any():
            raise ValueError("mask: expected tokens of responses only; got padding among them")
        found: list[MiniBatch] = []
        for part in dealt:
            weights = token_weights(batch.mask[part.counted], objective.aggregation, self.length)
            values = {
                "weights": weights[np.isin(part.counted, part.worked)],
                "advantages": batch.advantages[part.worked],
                "sampled": batch.logprobs[part.worked],
            }
            if batch.old is not None:
                values["old"] = batch.old[part.worked]
            of_part = responses[part.worked]
            groups = self._moved([batch.groups[n] for n in part.worked], of_part)
            found.append((groups, of_part, values))
        return found

    def _update(
        self, state: TrainState, micro_batches: Iterable[MicroBatch]
    ) -> tuple[TrainState, Stats]:
        gradients, parts = self.programs.zeros(), []
        for micro in micro_batches:
            if state.kl_coefficient is not None:
                values = {**micro.values, "kl_coefficient": state.kl_coefficient}
                micro = replace(micro, values=values)
            gradients, stats = self.programs.add(
                gradients, state.params, self.policy.frozen, micro, self._banned
            )
            parts.append(stats)
            wait_for_all_but_last(parts)
        state, applied = self.programs.apply(state, gradients)
        return state, self.programs.of_update(parts) | applied

    def _scores(self, params: Params, micro_batches: Iterable[MicroBatch]) -> Scores:
        """Log-probabilities of each micro-batch under ``params``."""
        scores: Scores = []
        for micro in micro_batches:
            scores.append(self._score(params, micro))
            wait_for_all_but_last(scores)
        return scores

    def _score(self, params: Params, micro: MicroBatch) -> jax.Array:
        return self.programs.score(params, self.policy.frozen, micro, self._banned)

    def _with_scores(
        self, micro_batches: Iterable[MicroBatch], old: Scores | None, before: Scores
    ) -> Iterator[MicroBatch]:
        """Adds the log-probabilities that the loss compares with.

        ``old`` is None where the policy is still the old one; ``before`` holds those of the
        reference, or is filled with them.
        """
        in_loss = self.objective is not None and self.objective.kl_in == "loss"
        for number, micro in enumerate(micro_batches):
            values = dict(micro.values)
            if self._first_is_own and "old" not in values:  # as it is where a batch brings them
                # One program makes all updates. Of the first, it does not read what is here.
                values["old"] = values["weights"] if old is None else old[number]
                values["unchanged"] = self.sharding.replicate(np.array(old is None))
            elif old is not None:
                values["old"] = old[number]
            if in_loss and self.reference is not None:
                if number == len(before):
                    before.append(self._score(self.reference, micro))
                values["reference"] = before[number]
            yield replace(micro, values=values)

    def _micro_batches(
        self,
        groups: Sequence[Group],
        responses: Responses,
        values: Mapping[str, np.ndarray],
        *,
        tell: Callable[[int, int], None] = lambda done, of: None,
    ) -> Iterator[MicroBatch]:
        """The micro-batches of a mini-batch, each with groups of every shard.

        Groups are spread over shards and micro-batches so that both have like numbers of tokens:
        a pass takes as long as its fullest shard.
        """
        sizes = tokens_of(groups, responses)
        assigned = assign_groups(groups, self.sharding, sizes)
        packing = self.config.packing
        at_once = -(-packing.micro_groups // self.sharding.num_shards)
        every = cut_shards(assigned, sizes, at_once, packing.budget)
        for number, parts in enumerate(every):
            tell(number, len(every))
            yield self._micro_batch((groups, responses, values), parts)

    def _moved(self, groups: Sequence[Group], responses: Responses) -> tuple[Group, ...]:
        return move_images(groups, self.sharding, tokens_of(groups, responses))

    def _micro_batch(self, mini: MiniBatch, parts: Sequence[list[int]]) -> MicroBatch:
        """The groups of these numbers, by shard, as arrays on the devices."""
        groups, responses, values = mini
        model = self.model_config
        members = [[groups[number] for number in numbers] for numbers in parts]
        lengths = responses.lengths[list(chain(*parts))]
        sizes = Sizes.of(members, lengths, self.config.packing, model, responses.lengths)

        def pack_shard(shard: int) -> MicroBatch:
            numbers = parts[shard]
            of_shard = {name: value[numbers] for name, value in values.items()}
            return pack(members[shard], responses[numbers], of_shard, model, sizes)

        return self.sharding.put(pack_shard, MicroBatch.shard_axes)


def _told(activity: Activity, what: str, count: int) -> list[Callable[[int, int], None]]:
    """Tells of the micro-batches of each of several passes, which it numbers."""
    return [partial(activity, f"{what} {n} of {count}: micro-batch") for n in range(1, count + 1)]
