"""The wind tunnel: what a run takes on chips that are not at hand. See `perl_jax.plan`."""
