"""``python -m perl_jax.data.show``: see `perl_jax.inspection.show`."""

from perl_jax.inspection.show import main
from perl_jax.main import one_line_errors

if __name__ == "__main__":
    with one_line_errors():
        main()
