"""Reading fields of a config.json, with errors that name the file and the field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perl_jax.legible import brief
from perl_jax.settings import finite_number


@dataclass(frozen=True)
class Section:
    """A JSON object and its place, which errors name."""

    content: Mapping[str, Any]
    where: str

    def get(self, name: str, default: Any = None) -> Any:
        """A field, or the default where it is absent or null."""
        value = self.content.get(name)
        return default if value is None else value

    def section(self, name: str) -> "Section":
        """A nested object."""
        value = self.content.get(name)
        if not isinstance(value, Mapping):
            raise ValueError(f"{self.where}: {name}: expected an object, got {brief(value)}")
        return Section(value, f"{self.where}: {name}")

    def over(self, defaults: Mapping[str, Any]) -> "Section":
        """The section with these values for the fields that it leaves out."""
        return Section({**defaults, **self.content}, self.where)

    def integer(self, name: str) -> int:
        """A whole number of at least 0."""
        value = self.content.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{self.where}: {name}: expected a whole number, got {brief(value)}")
        return value

    def size(self, name: str) -> int:
        """A whole number of at least 1."""
        value = self.integer(name)
        if value == 0:
            raise ValueError(f"{self.where}: {name}: expected at least 1, got 0")
        return value

    def number(self, name: str) -> float:
        """A finite number."""
        return finite_number(f"{self.where}: {name}", self.content.get(name))

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        value = self.content.get(name)
        if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
            raise ValueError(
                f"{self.where}: {name}: expected a list of integers, got {brief(value)}"
            )
        return tuple(value)

    def only(self, name: str, *implemented: Any) -> None:
        """Refuses a value that asks for a computation that is not implemented."""
        value = self.get(name, implemented[0])
        if value not in implemented:
            choices = " or ".join(repr(choice) for choice in implemented)
            raise ValueError(f"{self.where}: {name}: expected {choices}, got {brief(value)}")

    def divides(self, divisor: str, dividend: str) -> None:
        """Refuses a size that does not divide another one."""
        if self.size(dividend) % self.size(divisor):
            raise ValueError(
                f"{self.where}: {divisor}: expected a divisor of {dividend} "
                f"{self.content[dividend]}, got {self.content[divisor]}"
            )
