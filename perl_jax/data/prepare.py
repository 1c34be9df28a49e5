"""``python -m perl_jax.data.prepare``: see `perl_jax.preparation.command`."""

from perl_jax.preparation.command import command

if __name__ == "__main__":
    command()
