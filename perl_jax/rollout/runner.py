"""The policy on its devices, and the calls of the compiled programs."""

import logging
from collections import Counter
from typing import Any

import jax
from flax import nnx

from perl_jax.device_memory import explained_memory
from perl_jax.mesh import BatchSharding, mesh_of
from perl_jax.models import Policy

logger = logging.getLogger(__name__)


class Runner:
    """Calls programs, none of which it waits for.

    Attributes:
        config: The configuration of the policy.
        dtype: The type that the policy computes in.
        definition: The policy apart from its parameters.
        parameters: The policy's parameters.
        mesh: The devices; None: a single one.
        sharding: How a batch is split over them.
        calls: Runs of each program, by name and argument shapes.
        stats: What was done, as `Sampler.sample` says.
    """

    def __init__(self, model: Policy, calls: Counter[tuple[Any, ...]]) -> None:
        self.config = model.config
        self.dtype = model.compute_dtype
        self.definition, self.parameters = nnx.split(model)
        self.mesh = mesh_of(self.parameters)
        self.sharding = BatchSharding.of(self.mesh)
        self.calls = calls
        self.stats: Counter[str] = Counter()

    def call(self, program: Any, *arguments: Any) -> Any:
        """Runs a program, and logs if its combination of shapes is new and so has to compile."""
        # The model never changes, and has the most arrays.
        others = [a for a in arguments if a is not self.parameters and a is not self.definition]
        shapes = jax.tree.map(_shape, others)
        leaves, structure = jax.tree.flatten(shapes)
        signature = (program.__name__, structure, tuple(leaves))
        if signature not in self.calls:
            logger.debug("compiling %s for %s", program.__name__, shapes)
            self.stats["compilations"] += 1
        self.calls[signature] += 1
        return self.run(program, *arguments)

    def run(self, program: Any, *arguments: Any) -> Any:
        """Runs a compiled program; a rehearsal overrides this."""
        others = [a for a in arguments if a is not self.parameters and a is not self.definition]
        with explained_memory(program.__name__, *others):
            return program(*arguments)


def _shape(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "dtype") else leaf
