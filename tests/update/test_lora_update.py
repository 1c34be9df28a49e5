"""An update of adapters: over shared prefixes, on meshes, from the base, and as the full one."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from flax import nnx

from perl_jax.mesh import make_mesh
from perl_jax.models import load_model
from perl_jax.models.lora import LoraConfig, is_adapter, placed, with_adapters
from perl_jax.models.paths import with_leaves
from perl_jax.objectives.aggregation import token_weights
from perl_jax.processing import load_processor
from perl_jax.types import Responses
from perl_jax.update.config import UpdateConfig
from perl_jax.update.learner import Learner
from perl_jax.update.optimizer import OptimizerConfig
from perl_jax.update.packing import PackingConfig
from tests.models.qwen3 import write_tiny_qwen3
from tests.models.test_lora import moved
from tests.update.cases import (
    OBJECTIVE,
    TEMPERATURE,
    TEXT,
    Plain,
    by_path,
    largest_error,
    make_batch,
    make_group,
    quick_compilation,
    quiet_gradients,
    write_small_checkpoint,
)

EVERY = LoraConfig(rank=3, alpha=6.0, paths=(".*",))
PACKING = PackingConfig(
    prompt_lengths=(72,), response_lengths=(16,), patches=(768,), images=(8,), orders=(4,)
)
DEEP = {"num_hidden_layers": 3, "head_dim": 32}
OF_QWEN3 = {
    "hidden_size": 32, "intermediate_size": 40, "num_heads": 2, "depth": 3,
    "deepstack_visual_indexes": [0, 1],
}  # fmt: skip


def write_small_qwen3(path, **changes):
    return write_tiny_qwen3(
        path, text={**TEXT, **DEEP}, vision=OF_QWEN3, dtype="float32", **changes
    )


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_compilation():
        yield


def learner_of(model, banned, mesh=None, lora=EVERY, **settings):
    config = UpdateConfig(
        lora=lora, packing=PACKING, recompute_old=True, reference_dtype="float32",
        logprob_chunk=200, **settings,
    )  # fmt: skip
    return Learner(
        model, banned, config=config, optimizer=OptimizerConfig(), total_updates=10,
        objective=OBJECTIVE, temperature=TEMPERATURE, mesh=mesh,
    )  # fmt: skip


class Case:
    """Two groups of several orders; a policy of moved adapters whose base is the reference."""

    def __init__(self, place):
        self.place, processor = place, load_processor(place)
        self.base = base = load_model(place, dtype="float32")
        self.banned = processor.banned_rows(base.config.vocab_size)
        self.groups = (
            make_group(processor, "two", [(96, 128), (64, 64)], [[0, 1], [1, 0]]),
            make_group(processor, "again", [(64, 96), (96, 64)], [[0, 1], [1, 0]], "Which ?"),
        )
        self.batch = make_batch(
            self.groups, self.banned, num_rollouts=3, longest=13, unscored=[(0, 1, 2)]
        )
        self.policy = moved(with_adapters(base, EVERY, seed=0))
        plain = Plain(self.policy, self.groups, self.batch, self.banned, length=96)
        loss = jax.jit(jax.value_and_grad(partial(plain.loss, objective=OBJECTIVE), has_aux=True))
        nothing = np.zeros(plain.mask.shape, np.float32)
        state = nnx.state(self.policy)
        (_, self.old), _ = loss(state, nothing, nothing, nothing)
        of_base = Plain(base, self.groups, self.batch, self.banned, length=96)
        self.reference = jax.jit(of_base.scores)(nnx.state(base))[0]
        tokens = plain.mask.sum(-1, keepdims=True)
        weights = (plain.mask / np.maximum(tokens, 1) / (tokens > 0).sum()).astype(np.float32)
        (value, _), gradients = loss(state, weights, self.old, self.reference)
        self.loss, self.plain = float(value), plain
        self.gradients = {p: g for p, g in by_path(gradients).items() if is_adapter(p)}


FAMILIES = [write_small_checkpoint, write_small_qwen3]


def families(quick):
    """Both, of which only this one runs before every change: what a test shows is in the update."""
    marked = [pytest.param(one, marks=() if one is quick else pytest.mark.soak) for one in FAMILIES]
    return pytest.mark.parametrize("case", marked, indirect=True)


@pytest.fixture(scope="module", params=FAMILIES)
def case(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "model"
    return Case(request.param(path, tied=False))


# With "none", a first step is compared with the full one below.
@pytest.mark.parametrize("remat", [pytest.param("none", marks=pytest.mark.soak), "layers"])
@families(quick=write_small_qwen3)
def test_over_shared_prefixes_loss_and_gradients_are_those_of_separate_sequences(remat, case):
    learner = learner_of(case.policy, case.banned, remat=remat)
    state = learner.init(case.policy, jax.random.key(0))
    (gradients,), stats = quiet_gradients(learner, state, case.batch)
    assert float(stats["policy/loss"]) == pytest.approx(case.loss, abs=1e-6)
    error, where = largest_error(gradients, case.gradients)
    assert error <= 1e-5, where


@families(quick=write_small_checkpoint)
def test_on_a_mesh_they_are_so_too(case):
    mesh = make_mesh(2, 2, 2)
    on_mesh = load_model(case.place, dtype="float32", mesh=mesh)
    policy = moved(with_adapters(on_mesh, EVERY, seed=0))
    learner = learner_of(policy, case.banned, mesh, remat="layers")
    state = learner.init(policy, jax.random.key(0))
    batch, sizes = case.batch, case.batch.lengths.shape
    values = {
        "weights": token_weights(batch.mask, OBJECTIVE.aggregation),
        "advantages": batch.advantages,
        "sampled": batch.logprobs,
        "old": case.plain.batch_of(case.old, sizes),
        "reference": case.plain.batch_of(case.reference, sizes),
    }
    responses = Responses(batch.tokens, batch.lengths)
    (micro,) = learner._micro_batches(batch.groups, responses, values)
    gradients, stats = learner.programs.add(
        learner.programs.zeros(), state.params, learner.policy.frozen, micro, learner._banned
    )
    assert float(stats["sum/policy/loss"]) == pytest.approx(case.loss, abs=1e-6)
    error, where = largest_error(jax.device_get(gradients), case.gradients)
    assert error <= 1e-5, where
    for path, leaf in gradients.items():
        assert leaf.sharding == state.params[path].sharding


def test_the_reference_is_the_base_whatever_the_adapters_are(case):
    learner = learner_of(case.policy, case.banned)
    responses = Responses(case.batch.tokens, case.batch.lengths)
    micro_batches = learner._micro_batches(case.groups, responses, {})
    mine = Learner(
        case.base, case.banned, config=replace(learner.config, lora=None),
        optimizer=OptimizerConfig(), total_updates=10, temperature=TEMPERATURE,
    )  # fmt: skip
    for micro in micro_batches:
        got = learner._score(learner.reference, micro)
        want = mine._score(mine.policy.split(case.base), micro)
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_state_holds_adapters_and_their_moments_alone_in_float32(case):
    policy = moved(with_adapters(load_model(case.place, dtype="bfloat16"), EVERY, seed=0))
    learner = learner_of(policy, case.banned)
    state = learner.init(policy, jax.random.key(0))
    size = sum(leaf.size for leaf in state.params.values())
    assert all(map(is_adapter, state.params))
    moments = [leaf for leaf in jax.tree.leaves(state.optimizer) if leaf.ndim]
    assert sum(leaf.size for leaf in moments) == 2 * size
    assert {leaf.dtype for leaf in (*moments, *state.params.values())} == {np.dtype("float32")}
    assert not any(map(is_adapter, learner.policy.frozen))


@families(quick=write_small_checkpoint)
def test_a_first_step_of_full_rank_is_the_full_step_up_to_a_factor(case):
    """B A after a plain step from B = 0 is -alpha / rank · dW Aᵀ A, and Aᵀ A is the identity.

    With more rows than columns this holds for every map, whatever its width.
    """
    full = learner_of(case.base, case.banned, lora=None)
    state = full.init(case.base, jax.random.key(0))
    (want,), _ = quiet_gradients(full, state, case.batch)
    maps = sorted({path.rpartition(".")[0] for path in case.gradients})
    rank = max(want[f"{path}.weight"].shape[-1] for path in maps)
    lora = LoraConfig(rank=rank, alpha=3.0, paths=EVERY.paths)
    adapted = orthogonal(with_adapters(case.base, lora, seed=0))
    learner = learner_of(adapted, case.banned, lora=lora)
    state = learner.init(adapted, jax.random.key(0))
    (gradients,), _ = quiet_gradients(learner, state, case.batch)
    for path in maps:
        a = np.asarray(state.params[f"{path}.lora_A"], np.float64)
        assert not gradients[f"{path}.lora_A"].any()
        step = np.einsum("...or,...ri->...oi", gradients[f"{path}.lora_B"], a).ravel()
        asked = want[f"{path}.weight"].astype(np.float64).ravel()
        cosine = step @ asked / np.linalg.norm(step) / np.linalg.norm(asked)
        assert cosine >= 1 - 1e-5, path
        np.testing.assert_allclose(
            np.linalg.norm(step), 3.0 / rank * np.linalg.norm(asked), rtol=1e-4
        )


def orthogonal(model):
    """The model with matrices of orthonormal columns for A."""
    definition, state = nnx.split(model)
    rng = np.random.default_rng(0)

    def value(path, leaf):
        if not path.endswith("lora_A"):
            return leaf.get_value()
        q = np.linalg.qr(rng.standard_normal(leaf.shape))[0]
        return placed(q.astype(np.float32), leaf.get_value().sharding)

    return nnx.merge(definition, with_leaves(state, value))


def test_a_learner_and_its_model_agree_about_adapters(case):
    with pytest.raises(ValueError, match=r"adapters exactly if learner\.lora is set"):
        learner_of(case.base, case.banned)
    with pytest.raises(ValueError, match=r"adapters exactly if learner\.lora is set"):
        learner_of(case.policy, case.banned, lora=None)
    with pytest.raises(ValueError, match=r"lora\.paths: .*frozen does not; got vision"):
        learner_of(case.policy, case.banned, frozen=("vision.*",))
