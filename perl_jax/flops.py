"""Floating-point operations of a function, counted from its jaxpr.

XLA's own cost analysis counts the body of a loop once, and so 28 scanned layers as one.
"""

import math
from typing import Any

import jax.extend.core


def count_in_jaxpr(jaxpr: jax.extend.core.ClosedJaxpr, *, steps: int = 1) -> int:
    """Counts the operations of all matrix products (two for each multiply-add).

    The body of a scan counts as often as it runs, that of a `jax.lax.while_loop` ``steps`` times,
    that of a kernel at every step of its grid, and that of a `jax.shard_map` on every device. A
    conditional counts its most expensive branch, so the result is an upper bound.
    """
    return _count(jaxpr.jaxpr, steps, outside=True)


def count_in_kernels(jaxpr: jax.extend.core.ClosedJaxpr, *, steps: int = 1) -> int:
    """Counts those of them that Pallas kernels do."""
    return _count(jaxpr.jaxpr, steps, outside=False)


def _count(jaxpr: Any, steps: int, *, outside: bool) -> int:
    """Counts operations; ``outside``: also those of no kernel."""
    return sum(_of_equation(equation, steps, outside=outside) for equation in jaxpr.eqns)


def _of_equation(equation: Any, steps: int, *, outside: bool) -> int:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        if not outside:
            return 0
        (contracted, _), _ = parameters["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2 * math.prod(equation.outvars[0].aval.shape + tuple(left[i] for i in contracted))
    if name == "cond":
        return max(
            _count(branch.jaxpr, steps, outside=outside) for branch in parameters["branches"]
        )
    if name == "scan":
        return parameters["length"] * _count(parameters["jaxpr"].jaxpr, steps, outside=outside)
    if name == "while":
        inner = (parameters["cond_jaxpr"].jaxpr, parameters["body_jaxpr"].jaxpr)
        return steps * sum(_count(jaxpr, steps, outside=outside) for jaxpr in inner)
    if name == "pallas_call" and (expected := parameters.get("cost_estimate")):
        # Blocks that are passed over do not count.
        return expected.flops
    if name == "pallas_call":
        times = math.prod(parameters["grid_mapping"].grid)
        return times * _count(parameters["jaxpr"], steps, outside=True)
    if name == "shard_map":
        return parameters["mesh"].size * _count(parameters["jaxpr"], steps, outside=outside)
    # Every other primitive that holds a function runs it once: jit, checkpoint, custom gradients.
    held = (getattr(value, "jaxpr", value) for value in parameters.values())
    return sum(_count(p, steps, outside=outside) for p in held if hasattr(p, "eqns"))
