"""Plans the memory and time of a run on chips that are not at hand. See `perl_jax.plan`."""
