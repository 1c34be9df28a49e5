"""Settings of the update."""

from dataclasses import dataclass, field

from perl_jax.models.lora import LoraConfig
from perl_jax.models.policy import Remat
from perl_jax.settings import Checked, Count, Dtype, Positive
from perl_jax.update.losses import Importance
from perl_jax.update.packing import PackingConfig


@dataclass(frozen=True)
class UpdateConfig(Checked):
    """How a batch becomes updates.

    Attributes:
        updates_per_batch: Optimizer updates on each batch, over which its groups are dealt evenly.
            A batch with fewer groups that have a gradient makes fewer.
        epochs_per_batch: How often each batch is used. Every epoch makes the same parts of it, and
            begins with another one. Old log-probabilities are those before the first update.
        trainable: Patterns of the trained parameters; each must match the whole path.
        frozen: Patterns of parameters that are not trained even if ``trainable`` matches them.
        lora: Adapters, which are then all that is trained; none may be among what ``frozen``
            matches. None: the parameters themselves.
        recompute_old: Whether a separate pass computes the log-probabilities before the batch's
            first update even for that update, which computes the same ones.
        importance_cap: The largest weight of a token, the trainer's probability over the sampler's;
            None: no weights.
        importance: What happens to a weight above ``importance_cap``, or below its inverse where
            tokens or responses are left out: ``truncate`` cuts it to the cap, see
            `truncated_importance_weights`; ``mask_token`` leaves out the token, ``mask_sequence``
            the response, see `masked_importance_weights`.
        max_logprob_gap: The run stops if sampler and trainer differ by more on a token.
        remat: What the backward pass recomputes, to save memory: ``none``; ``activations``, all but
            the results of linear maps; ``wide``, also those of maps that are wider than
            their inputs, as an MLP's; ``inputs``, all but the inputs of layers; ``layers``, also
            those of the vision tower's layers.
        logprob_chunk: Rows of the vocabulary that log-probabilities read at a time.
        reference_dtype: The dtype of the reference model's parameters.
        packing: How batches are cut and padded.
    """

    updates_per_batch: Count = 1
    epochs_per_batch: Count = 1
    trainable: tuple[str, ...] = (".*",)
    frozen: tuple[str, ...] = ()
    lora: LoraConfig | None = None
    recompute_old: bool = False
    importance_cap: Positive | None = None
    importance: Importance = "truncate"
    max_logprob_gap: Positive | None = None
    remat: Remat = "none"
    logprob_chunk: Count = 2048
    reference_dtype: Dtype = "bfloat16"
    packing: PackingConfig = field(default_factory=PackingConfig)

    @property
    def updates_of_step(self) -> int:
        """The most updates on one batch."""
        return self.updates_per_batch * self.epochs_per_batch

    def _check_together(self) -> None:
        cap = self.importance_cap
        if self.importance != "truncate" and (cap is None or cap <= 1):
            raise ValueError(
                f"importance: expected an importance_cap of more than 1 with {self.importance}; "
                f"got {cap}"
            )
