"""The text that an example becomes."""

from perl_jax.types import Example

PROMPT_SUFFIX = "prompt_suffix"
"""The metadata of an example that its prompt ends with: instructions, which no rule rewrites."""


def prompt_text(example: Example) -> str:
    """The question, the options below it where the example holds them apart, and the suffix."""
    suffix = example.metadata.get(PROMPT_SUFFIX, "")
    return "\n".join((example.question, *example.options)) + suffix
