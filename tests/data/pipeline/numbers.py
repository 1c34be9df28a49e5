"""Sources without files, for tests of the pipeline; worker processes import them from here."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from perl_jax.data import BadRow
from perl_jax.types import Example, ImagePatches


@dataclass
class Numbers:
    """Row n is the number n; bad rows say why they are."""

    rows: int
    bad: Mapping[int, str] = field(default_factory=dict)
    raising: Mapping[int, Exception] = field(default_factory=dict)
    name: str = "numbers"

    def __len__(self):
        return self.rows

    def __getitem__(self, index):
        if index in self.bad:
            raise BadRow(self.bad[index], f"{self.name}:{index}", "it is bad")
        if index in self.raising:
            raise self.raising[index]
        return Example(f"{self.name}/{index}", self.name, str(index), (), str(index))

    def fingerprint(self):
        return f"{self.name} {self.rows}"


def unchanged(example):
    return example


def slow_if_even(example):
    time.sleep(0.004 if int(example.question) % 2 == 0 else 0)
    return example


@dataclass(frozen=True)
class Stuck:
    """Says that it has a row, by a file, and is not done with it before any test ends."""

    begun: Path

    def __call__(self, example):
        self.begun.touch()
        time.sleep(3600)
        return example


def with_large_image(example):
    """A row of 6 MB: more than a pipe or a socket holds."""
    patches = np.full((1296, 1176), int(example.question), np.float32)
    return replace(example, images=(ImagePatches(patches, (36, 36)),))


def with_process(example):
    state = {"pid": os.getpid(), "jax": "jax" in sys.modules, "env": os.environ["JAX_PLATFORMS"]}
    return replace(example, metadata=state)


def with_lambda(example):
    return replace(example, metadata={"function": lambda: 0})


@dataclass
class Unreadable(Numbers):
    """A source that cannot be unpickled."""

    def __setstate__(self, state):
        raise FileNotFoundError("the shards are not mounted here")


def numbers(examples):
    return [int(example.question) for example in examples]


@dataclass
class Shown(Numbers):
    """Row n shows n % 5 images, and says whether it is even."""

    def __getitem__(self, index):
        metadata = {"even": index % 2 == 0}
        return replace(super().__getitem__(index), images=(b"",) * (index % 5), metadata=metadata)
