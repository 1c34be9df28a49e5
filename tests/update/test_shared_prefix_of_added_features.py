"""The update is the plain one where images add features after several layers.

The tests imported here state what holds of every family; the fixtures give them one whose features
have three rows.
"""

from dataclasses import replace

import jax
import pytest

from perl_jax.models import vision_language
from tests.models.qwen3 import write_tiny_qwen3
from tests.update.cases import PACKING, SharedPrefixCase, largest_error, quiet_gradients
from tests.update.test_shared_prefix_on_meshes import (  # noqa: F401
    _quick,
    test_on_a_mesh_loss_and_gradients_are_those_of_separate_sequences,
    ways,
)

# One text layer more than features: the last one's would reach no response.
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_heads": 2,
    "num_position_embeddings": 36,
    "deepstack_visual_indexes": [0, 1],
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("small")
    return write_tiny_qwen3(path, text=TEXT, vision=VISION, dtype="float32")


@pytest.fixture(scope="module")
def case(checkpoint):
    return SharedPrefixCase(checkpoint)


@pytest.fixture(params=ways("divided"))
def way(request):
    return request.param


def features_dropped(real):
    """With ``layers`` the features for layers are not computed anew, and lost."""

    def encode(self, images, remat="none", mesh=None):
        features = real(self, images, remat, mesh)
        return features.at[:, :, 1:].set(0) if remat == "layers" else features

    return encode


def test_features_that_recomputing_drops_are_seen(case, monkeypatch):
    model = vision_language.VisionLanguageModel
    monkeypatch.setattr(model, "encode_shards", features_dropped(model.encode_shards))
    with pytest.raises(AssertionError):
        test_loss_and_gradients_are_those_of_separate_sequences("layers", case)


# The other family shows what computing activations again changes.
@pytest.mark.parametrize(
    "remat",
    [*(pytest.param(kept, marks=pytest.mark.soak) for kept in ("none", "activations")), "layers"],
)
def test_loss_and_gradients_are_those_of_separate_sequences(remat, case):
    """With ``layers`` those of the text layers are added up in place, over two micro-batches."""
    assert case.policy.config.feature_shape == (3, 32)
    learner = case.learner_on(case.reference_model, remat=remat)
    packing = replace(PACKING, micro_groups=2)
    learner.config = replace(learner.config, updates_per_batch=1, packing=packing, remat=remat)
    state = learner.init(case.policy, jax.random.key(0))
    (gradients,), stats = quiet_gradients(learner, state, case.batch)
    loss, want, _, _ = case.plain_update(case.policy, [0, 1, 2, 3])
    assert float(stats["policy/loss"]) == pytest.approx(loss, abs=1e-6)
    error, where = largest_error(gradients, want)
    assert error <= 1e-5, where
