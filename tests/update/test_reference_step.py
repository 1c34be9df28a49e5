"""One GRPO step against torch and transformers: every rollout alone, the loss written out."""

import jax
import numpy as np
import pytest

from perl_jax.models import load_model, save_model
from perl_jax.models.families import FAMILIES
from perl_jax.objectives import Objective, group_advantages
from perl_jax.processing import load_processor
from perl_jax.types import TrainBatch
from perl_jax.update.config import UpdateConfig
from perl_jax.update.learner import Learner
from perl_jax.update.optimizer import OptimizerConfig
from perl_jax.update.packing import PackingConfig
from tests.update.cases import (
    joined,
    make_batch,
    make_group,
    perturbed,
    quick_compilation,
    quiet_gradients,
    write_small_checkpoint,
)

pytestmark = pytest.mark.parity

TEMPERATURE = 3.0
KL, ENTROPY = 0.2, 0.03
# 1 where a rollout was right, by group, order and rollout; -1 where it could not be graded.
GRADES = [
    [[1, 0, 0, 1], [0, 0, -1, 1], [1, 1, 1, 0]],
    [[0, 1, 0, 0], [0, 0, 0, 0], [-1, -1, -1, -1]],
]


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_compilation():
        yield


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_loss_and_gradients_of_a_step_are_those_of_torch(tied, tmp_path):
    source = write_small_checkpoint(tmp_path / "reference", tied=tied)
    reference = load_model(source, dtype="float32")
    policy = perturbed(reference, 1)
    save_model(policy, tmp_path / "policy")
    processor = load_processor(source)
    banned = processor.banned_rows(reference.config.vocab_size)
    groups = (
        make_group(
            processor,
            "three",
            [(56, 84), (112, 84), (28, 140)],
            [[0, 1, 2], [2, 0, 1], [1, 2, 0]],
        ),
        make_group(processor, "two", [(84, 112), (56, 56)], [[0, 1], [1, 0]]),
    )
    rollouts = make_batch(groups, banned, num_rollouts=4, longest=13)
    grades = np.array(GRADES)
    want = torch_step(tmp_path / "policy", source, groups, rollouts, grades, banned)

    learner = Learner(
        reference,
        banned,
        config=UpdateConfig(
            reference_dtype="float32",
            packing=PackingConfig(
                micro_groups=1, prompt_lengths=(64,), response_lengths=(16,), patches=(128,)
            ),
        ),
        optimizer=OptimizerConfig(),
        total_updates=1,
        objective=Objective(kl_coefficient=KL, entropy_coefficient=ENTROPY),
        temperature=TEMPERATURE,
    )
    scored = grades >= 0
    advantages = group_advantages(grades.reshape(2, 12), scored.reshape(2, 12))
    batch = TrainBatch(
        groups,
        rollouts.tokens,
        rollouts.lengths,
        rollouts.logprobs,
        np.where(scored, grades, 0).astype(np.float32),
        np.asarray(advantages).reshape(scored.shape),
        rollouts.mask & scored[..., None],
    )
    state = learner.init(policy, jax.random.key(0))
    (gradients,), stats = quiet_gradients(learner, state, batch)

    assert float(stats["policy/loss"]) == pytest.approx(want["loss"], rel=1e-5)
    assert float(stats["policy/kl"]) == pytest.approx(want["kl"], rel=1e-4)
    assert float(stats["policy/entropy"]) == pytest.approx(want["entropy"], rel=1e-4)
    seen, family = set(), FAMILIES[reference.config.model_type]
    for path, got in gradients.items():
        stored = family.stored(path, got.shape, reference.config)
        seen |= set(stored.names)
        parts = [want["gradients"][name] for name in stored.names]
        expected = np.stack(parts) if stored.stacked else parts[0]
        expected = expected.reshape(got.shape)
        assert np.linalg.norm(expected) > 0
        error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
        assert error <= 1e-4, path
    assert seen == want["gradients"].keys()


def torch_step(policy, reference, groups, rollouts, grades, banned):
    """GRPO in torch: loss, mean KL and entropy, and the gradient of every stored tensor."""
    import torch

    from tests.models.reference import Reference

    policy, reference = Reference(policy), Reference(reference)
    never = torch.tensor(banned)

    def scores(model, b, k, n):
        """Log-probabilities and entropies of one response, read after its prompt."""
        prompt = groups[b].prompts[k]
        response = rollouts.tokens[b, k, n, : rollouts.lengths[b, k, n]]
        model.model.model.rope_deltas = None
        logits = model.model(**model.inputs([joined(prompt, response)])).logits[0]
        logits = logits[len(prompt.tokens) - 1 : -1] / TEMPERATURE
        logprobs = torch.log_softmax(logits.masked_fill(never, -1e30), dim=-1)
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        chosen = torch.tensor(response, dtype=torch.int64)
        return logprobs[torch.arange(len(response)), chosen], entropy

    losses, kls, entropies = [], [], []
    for b in range(len(groups)):
        graded = [tuple(where) for where in np.argwhere(grades[b] >= 0)]
        rewards = torch.tensor([float(grades[b][where]) for where in graded])
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
        for (k, n), advantage in zip(graded, advantages, strict=True):
            logprobs, entropy = scores(policy, b, k, n)
            with torch.no_grad():
                reference_logprobs, _ = scores(reference, b, k, n)
            ratio = torch.exp(logprobs - logprobs.detach())
            kl = torch.exp(reference_logprobs - logprobs) - (reference_logprobs - logprobs) - 1
            losses.append(-advantage * ratio + KL * kl - ENTROPY * entropy)
            kls.append(kl)
            entropies.append(entropy)
    loss = torch.cat(losses).mean()
    loss.backward()
    family = FAMILIES[policy.model.config.model_type]
    gradients = {
        family.published_name(name): parameter.grad.numpy()
        for name, parameter in policy.model.named_parameters()
    }
    return {
        "loss": loss.item(),
        "kl": torch.cat(kls).mean().item(),
        "entropy": torch.cat(entropies).mean().item(),
        "gradients": gradients,
    }
