"""The text that a configuration puts around every question."""

import re
from dataclasses import dataclass, replace

from perl_jax.legible import brief, suggestion
from perl_jax.processing import find_slots
from perl_jax.settings import Checked
from perl_jax.types import PROMPT_TEMPLATE, QUESTION, SYSTEM_PROMPT, Example

# A name in braces, unless it is the argument of a command of LaTeX, as in \boxed{answer}.
_NAME = re.compile(r"(?P<command>\\[A-Za-z]+)?\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class PromptConfig(Checked):
    r"""The text around every question. Permutation never reads it.

    Attributes:
        system: The system message of rows without one of their own; empty: the chat template's.
        template: The user's message: ``{question}`` stands for the question, its options and the
            ``prompt_suffix`` of its source. Other braces, as in ``\boxed{}``, stay as they are.
    """

    system: str = ""
    template: str = QUESTION

    def _check_together(self) -> None:
        names = [m["name"] for m in _NAME.finditer(self.template) if m["command"] is None]
        known = QUESTION.strip("{}")
        for name in names:
            if name != known:
                hint = suggestion(name, [known])
                raise ValueError(f"template: expected only {QUESTION}; got {{{name}}}{hint}")
        if names != [known]:
            raise ValueError(f"template: expected {QUESTION} once; got {brief(self.template)}")
        for field in ("system", "template"):
            if slots := find_slots(getattr(self, field)):
                raise ValueError(
                    f"{field}: expected no image, as the rows say where theirs are shown; "
                    f"got {slots[0].text}"
                )

    def around(self, example: Example) -> Example:
        """The example with this text around its question."""
        added = {PROMPT_TEMPLATE: self.template} if self.template != QUESTION else {}
        added |= {SYSTEM_PROMPT: self.system} if self.system else {}
        return replace(example, metadata={**example.metadata, **added}) if added else example
