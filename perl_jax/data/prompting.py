"""The text that an example becomes."""

from perl_jax.types import Example


def prompt_text(example: Example) -> str:
    """The question, and the options below it where the example holds them apart."""
    return "\n".join((example.question, *example.options))
