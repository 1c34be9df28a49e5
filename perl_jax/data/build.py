"""``python -m perl_jax.data.build``: see `perl_jax.datasets.build.command`."""

from perl_jax.datasets.build.command import command

if __name__ == "__main__":
    command()
