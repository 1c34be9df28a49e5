"""Eight devices compute the loss and the gradients of separate sequences on one."""

from dataclasses import replace

import jax
import pytest

from perl_jax.kernels import Kernel
from perl_jax.mesh import make_mesh
from perl_jax.models import load_model
from perl_jax.objectives.aggregation import token_weights
from perl_jax.types import Responses
from tests.update.cases import (
    OBJECTIVE,
    PACKING,
    SharedPrefixCase,
    largest_error,
    perturbed,
    quick_compilation,
    write_small_checkpoint,
)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_compilation():
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def case(checkpoint):
    return SharedPrefixCase(checkpoint)


# Two devices cannot share the one key/value head: there, kernels attend within images only.
KERNEL = Kernel("tpu", interpret=True, least=1)


WAYS = {
    "divided": ((2, 2, 2), "layers", None),
    "sharded": ((1, 8, 1), "none", None),
    "divided, kernels": ((2, 2, 2), "layers", KERNEL),
    "sharded, kernels": ((1, 8, 1), "none", KERNEL),
}


def ways(*quick):
    """All ways as parameters, of which only these run before every change."""
    return [
        pytest.param(way, id=name, marks=() if name in quick else pytest.mark.soak)
        for name, way in WAYS.items()
    ]


# Without kernels, the other family is divided; kernels differ in attention alone.
@pytest.fixture(params=ways("divided, kernels"))
def way(request):
    return request.param


def test_on_a_mesh_loss_and_gradients_are_those_of_separate_sequences(way, case, checkpoint):
    shape, remat, kernel = way
    mesh = make_mesh(*shape)
    reference = load_model(checkpoint, dtype="float32", mesh=mesh)
    reference.attend_by(kernel)
    learner = case.learner_on(reference, mesh, remat)
    learner.config = replace(learner.config, packing=replace(PACKING, micro_groups=4))
    state = learner.init(perturbed(perturbed(reference, 1), 2), jax.random.key(0))
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
    assert len(micro.tokens.sharding.device_set) == 8
    gradients, stats = learner.programs.add(
        learner.programs.zeros(), state.params, learner.policy.frozen, micro, learner._banned
    )
    loss, want, _, _ = case.plain_update(case.moved, [0, 1, 2, 3])
    assert float(stats["sum/policy/loss"]) == pytest.approx(loss, abs=1e-6)
    error, where = largest_error(jax.device_get(gradients), want)
    assert error <= 1e-5, where
    for path, leaf in gradients.items():
        assert leaf.sharding == state.params[path].sharding
    # The first update of a batch takes weights in the place of scores. If those might be split in
    # another way, the largest program would be compiled once more.
    given = (state.params, learner.policy.frozen, micro, learner._banned)
    scores = learner.programs.score.trace(*given).out_info
    weights = micro.values["weights"]
    assert (scores.shape, scores.dtype, scores.sharding) == (
        weights.shape, weights.dtype, weights.sharding,
    )  # fmt: skip
