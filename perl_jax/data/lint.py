"""``python -m perl_jax.data.lint``: see `perl_jax.inspection.lint`."""

from perl_jax.inspection.lint import command

if __name__ == "__main__":
    command()
