"""Tells what a run is doing while it does it."""

from typing import Protocol


class Activity(Protocol):
    """Hears what a run is doing. It is called often, so it must return at once."""

    def __call__(self, what: str, done: int = 0, of: int = 0) -> None:
        """Takes the name of the work and how much of it is done.

        ``of`` is the whole of the work; 0 where that is not known.
        """


def silent(what: str, done: int = 0, of: int = 0) -> None:
    """The `Activity` that tells nobody."""
