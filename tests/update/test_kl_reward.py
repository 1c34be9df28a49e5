"""The KL penalty within the reward, its coefficient, and the presets, through a real learner."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from perl_jax.config import TrainConfig
from perl_jax.mesh import make_mesh
from perl_jax.models import load_model
from perl_jax.objectives import PRESETS, Objective
from perl_jax.parts import make_learner
from perl_jax.processing import load_processor
from perl_jax.settings import read_config
from perl_jax.training.checkpoint import CheckpointConfig, Checkpoints
from perl_jax.types import TrainBatch
from perl_jax.update.config import UpdateConfig
from perl_jax.update.kl_reward import PLACE, arranged, place_numbers, score_all, with_penalty
from perl_jax.update.learner import Learner
from perl_jax.update.optimizer import OptimizerConfig
from tests.update.cases import (
    PACKING,
    TEMPERATURE,
    Plain,
    make_batch,
    make_group,
    perturbed,
    quick_compilation,
    quiet_gradients,
    write_small_checkpoint,
)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_compilation():
        yield


class Case:
    """Two groups of up to two orders, one rollout without a grade; a policy and its reference."""

    def __init__(self, path):
        self.path = write_small_checkpoint(path)
        processor = load_processor(self.path)
        self.reference = load_model(self.path, dtype="float32")
        self.policy = perturbed(self.reference, 1)
        self.banned = processor.banned_rows(self.reference.config.vocab_size)
        self.groups = (
            make_group(processor, "two", [(56, 56), (84, 56)], [[0, 1], [1, 0]]),
            make_group(processor, "one", [(56, 84)], [[0]]),
        )
        batch = make_batch(
            self.groups, self.banned, num_rollouts=3, longest=9, unscored=[(0, 1, 2)]
        )
        rewards = np.random.default_rng(3).choice([0, 0.5, 1], batch.rewards.shape)
        self.batch = replace(batch, rewards=rewards.astype(np.float32))
        plain = Plain(self.policy, self.groups, self.batch, self.banned, length=64)
        scores = jax.jit(plain.scores)
        self.old, self.before = (
            plain.batch_of(scores(nnx.state(model))[0], self.batch.lengths.shape)
            for model in (self.policy, self.reference)
        )

    def learner(self, objective, mesh=None, **config):
        return Learner(
            self.reference,
            self.banned,
            config=UpdateConfig(
                packing=replace(PACKING, micro_groups=1), reference_dtype="float32", **config
            ),
            optimizer=OptimizerConfig(),
            total_updates=10,
            objective=objective,
            length=9,
            temperature=TEMPERATURE,
            mesh=mesh,
        )

    def gradients(self, learner, batch):
        state = learner.init(self.policy, jax.random.key(0))
        (gradients,), stats = quiet_gradients(learner, state, batch)
        return gradients, {name: float(value) for name, value in stats.items()}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp("small"))


def numbered(lengths, longest=3):
    """A batch whose responses have these lengths; scores of a rollout are its number and place."""
    lengths = np.array(lengths, np.int32)
    mask = np.arange(longest) < lengths[..., None]
    zeros = np.zeros(mask.shape, np.float32)
    rewards = np.zeros(lengths.shape, np.float32)
    return TrainBatch((), zeros.astype(np.int32), lengths, zeros, rewards, rewards, mask)


def test_scores_return_to_their_rollouts_whatever_micro_batch_they_were_in():
    batch = numbered([[[1, 2]], [[3, 1]], [[2, 2]]])
    places = place_numbers(batch)
    assert places.tolist() == [[[1, 2]], [[3, 4]], [[5, 6]]]
    # The last group comes first, with a row of padding and a token more than any response has.
    first, rest = np.array([[5, 6], [0, 0]]), np.array([[3, 4], [1, 2]])
    scores = [place[..., None] * 10.0 + np.arange(4) for place in (first, rest)]
    scores[0][1] = np.nan
    found = arranged([first, rest], scores, batch)
    assert found[..., 0].tolist() == [[[10, 20]], [[30, 40]], [[50, 60]]]
    assert found[2, 0, 1].tolist() == [60, 61, 62]


def test_every_pass_scores_every_micro_batch_once():
    batch = numbered([[[1, 2]], [[3, 1]]])
    micro = [SimpleNamespace(values={PLACE: np.array([row])}) for row in ([3, 4], [1, 2])]
    passes = [lambda m, by=by: m.values[PLACE][..., None] * by * np.ones(3) for by in (1, 100)]
    one, hundred = score_all(batch, micro, passes, np.asarray)
    assert one[..., 0].tolist() == [[[1, 2]], [[3, 4]]]
    np.testing.assert_array_equal(hundred, 100 * one)


def test_a_penalty_is_taken_from_the_rewards_before_the_advantages():
    batch = replace(numbered([[[1, 2]]]), rewards=np.array([[[1, np.nan]]], np.float32))
    objective = Objective(
        baseline="none", scale="none", kl="k1", kl_in="reward", kl_coefficient=0.5
    )
    batch.mask[0, 0, 1] = False
    old = np.where(batch.mask, -1, np.nan).astype(np.float32)
    made, metrics = with_penalty(objective, batch, old, np.full_like(old, -3))
    # The one token that counts is exp(2) times likelier than under the reference.
    assert metrics == {"policy/kl": pytest.approx(2), "advantage/std": 0}
    np.testing.assert_allclose(made.advantages, [[[0, 0]]])
    made, _ = with_penalty(objective, batch, old, np.full_like(old, -3), coefficient=0.25)
    np.testing.assert_allclose(made.advantages, [[[0.5, 0]]])
    np.testing.assert_array_equal(made.old, old)


def test_scores_of_a_mesh_return_to_their_rollouts(case, monkeypatch):
    # Eight shards, of which two have a group; each has places of padding.
    learner = case.learner(replace(PRESETS["rloo"], kl_coefficient=1.0), make_mesh(data=4, fsdp=2))
    factors = {id(learner.reference): 3.0}

    def score(self, params, micro):
        return jnp.repeat(micro.values[PLACE][..., None], 9, -1) * factors.get(id(params), 1.0)

    monkeypatch.setattr(Learner, "_score", score)
    state = SimpleNamespace(params={}, kl_coefficient=None)
    batch, stats = learner._penalised(state, case.batch, lambda *_: None)
    numbers = place_numbers(case.batch)[..., None] * np.ones(9)
    held = case.batch.lengths > 0
    np.testing.assert_array_equal(batch.old[held], numbers[held])
    # A token of rollout n has the penalty n - 3 n.
    want = -2 * numbers[case.batch.mask].mean()
    assert float(stats["policy/kl"]) == pytest.approx(want, rel=1e-6)


def test_the_learner_takes_the_penalty_of_the_whole_batch_from_its_rewards(case):
    got, stats = case.gradients(case.learner(PRESETS["rloo"]), case.batch)

    mask, rewards = case.batch.mask, case.batch.rewards.astype(float)
    divergence = np.where(mask, case.old - case.before, 0)
    rewards = rewards - 0.05 * divergence.sum(-1)
    advantages = np.zeros(rewards.shape, np.float32)
    for b, counts in enumerate(mask.any(-1)):
        of = rewards[b][counts]
        advantages[b][counts] = of - (of.sum() - of) / (len(of) - 1)
    assert stats["policy/kl"] == pytest.approx(divergence.sum() / mask.sum(), abs=1e-5)
    assert np.abs(0.05 * divergence.sum(-1)).max() > 0.01

    plain = replace(PRESETS["rloo"], kl_coefficient=0.0)
    batch = replace(case.batch, advantages=advantages)
    want, told = case.gradients(case.learner(plain), batch)
    assert "policy/kl" not in told
    for path, leaf in want.items():
        np.testing.assert_allclose(got[path], leaf, atol=1e-5 * np.abs(leaf).max(), err_msg=path)


def test_without_a_coefficient_token_rewards_need_no_scores(case, monkeypatch):
    objective = replace(PRESETS["reinforce_pp"], kl_coefficient=0.0)
    learner = case.learner(objective)
    monkeypatch.setattr(learner.programs, "score", None)
    batch, stats = learner._penalised(None, case.batch, lambda *_: None)
    assert batch.old is None
    assert stats == {"advantage/std": pytest.approx(1, rel=1e-4)}
    every = np.repeat(case.batch.rewards[..., None], 9, -1)[case.batch.mask]
    want = (every - every.mean()) / (every.std() + 1e-6)
    np.testing.assert_allclose(batch.advantages[case.batch.mask], want, atol=1e-5)


ADAPTIVE = Objective(kl="k3", kl_coefficient=0.2, kl_target=0.01, kl_horizon=40)


@pytest.fixture(scope="module")
def adaptive(case):
    return case.learner(ADAPTIVE)


@pytest.mark.parametrize("kl_in", ["loss", "reward"])
def test_the_coefficient_follows_the_penalty_once_a_step(case, adaptive, kl_in):
    in_reward = replace(ADAPTIVE, kl_in=kl_in)
    learner = adaptive if kl_in == "loss" else case.learner(in_reward)
    state = learner.init(case.policy, jax.random.key(0))
    used, rollouts = 0.2, case.batch.mask.any(-1).sum()
    for _ in range(2):
        state, stats = learner.reinforce(state, case.batch)
        assert float(stats["policy/kl_coefficient"]) == pytest.approx(used, rel=1e-6)
        error = np.clip(float(stats["policy/kl"]) / 0.01 - 1, -0.2, 0.2)
        assert error != 0
        used *= 1 + error * rollouts / 40
        assert float(state.kl_coefficient) == pytest.approx(used, rel=1e-6)


def test_the_loss_has_the_coefficient_of_the_state(case, adaptive):
    learner, found = adaptive, []
    for coefficient in (0.0, 3.0):
        state = learner.init(case.policy, jax.random.key(0))
        state = replace(state, kl_coefficient=jnp.float32(coefficient))
        _, stats = learner.reinforce(state, case.batch)
        found.append(float(stats["policy/loss"]))
    assert found[1] - found[0] == pytest.approx(3 * float(stats["policy/kl"]), rel=1e-4)


def test_a_checkpoint_holds_the_coefficient(case, adaptive, tmp_path):
    learner = adaptive
    state = learner.init(case.policy, jax.random.key(0))
    state = replace(state, kl_coefficient=jnp.float32(0.123))
    with Checkpoints(tmp_path, CheckpointConfig(), fingerprint={}) as checkpoints:
        checkpoints.save(1, state, {}, force=True)
        restored = checkpoints.restore(learner.init(case.policy, jax.random.key(1)))
    assert restored.arrays.kl_coefficient == np.float32(0.123)
    assert case.learner(Objective()).init(case.policy, jax.random.key(0)).kl_coefficient is None


# Of a preset's own parts: the ratio, its clipping, the penalty. The others take a step in
# `objectives.test_presets_in_numpy`.
QUICK = ("perl", "dapo", "reinforce_pp")


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=() if one in QUICK else pytest.mark.soak) for one in PRESETS]
)
def test_a_preset_trains_from_its_name_alone(case, name):
    config = read_config(
        TrainConfig,
        {
            "model": {"path": str(case.path), "compute_dtype": "float32"},
            "data": {"train": {"digits": {"rows": 8}}, "max_prompt_tokens": 72},
            "steps": 4,
            "objective": {"preset": name},
            "rollout": {"groups": 2, "num_rollouts": 3, "max_new_tokens": 9},
            "learner": {"packing": {**vars(PACKING), "micro_groups": 2}, "frozen": ("vision.*",)},
            "optimizer": {"learning_rate": 1e-3, "warmup_updates": 0},
        },
    )
    learner = make_learner(config, case.reference, case.banned, None)
    state = learner.init(case.policy, jax.random.key(0))
    before = jax.device_get(state.params)
    counts = case.batch.mask.any(-1)
    advantages = np.asarray(config.objective.advantages(case.batch.rewards, counts))
    state, stats = learner.reinforce(state, replace(case.batch, advantages=advantages))
    moved = {path: np.abs(leaf - before[path]).max() for path, leaf in state.params.items()}
    assert min(moved.values()) > 0
    assert all(np.isfinite(list(moved.values())))
    assert float(stats["optimizer/skipped"]) == 0
    assert ("policy/kl" in stats) == (PRESETS[name].kl_coefficient > 0)
