"""Counts the floating-point operations of a function that is traced, not run."""

import jax

from perl_jax.flops import count_in_jaxpr


def count_flops(function, *arguments, steps=1):
    return count_in_jaxpr(jax.make_jaxpr(function)(*arguments), steps=steps)
