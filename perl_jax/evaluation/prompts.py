"""The prompt that a policy was trained with, in place of a benchmark's own."""

from dataclasses import dataclass, field, replace

from perl_jax.data.pipeline.prompt import PromptConfig
from perl_jax.types import PROMPT_SUFFIX, Example, prompt_of

PERL_SUFFIX = (
    " You FIRST think about the reasoning process as an internal monologue and then provide the "
    "final answer. The reasoning process MUST BE enclosed within <think> </think> tags. The final "
    "answer MUST BE put in \\boxed{}."
)
"""What the published policy was trained with (arXiv 2506.14907)."""


@dataclass(frozen=True)
class BoxedPrompt:
    """The text that asks for an answer in a box.

    Attributes:
        suffix: Put after the question and its options.
        around: The text around these.
    """

    suffix: str = PERL_SUFFIX
    around: PromptConfig = field(default_factory=PromptConfig)

    def __call__(self, example: Example) -> str | list[dict[str, str]]:
        """What a processor encodes."""
        added = {**example.metadata, PROMPT_SUFFIX: self.suffix}
        return prompt_of(self.around.around(replace(example, metadata=added)))
