"""``python -m perl_jax.data.show``: see `perl_jax.inspection.show`."""

from perl_jax.inspection.show import command

if __name__ == "__main__":
    command()
