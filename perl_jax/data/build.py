"""``python -m perl_jax.data.build``: see `perl_jax.datasets.build.command`."""

from perl_jax.datasets.build.command import main
from perl_jax.main import one_line_errors

if __name__ == "__main__":
    with one_line_errors():
        main()
