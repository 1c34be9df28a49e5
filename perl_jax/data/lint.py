"""``python -m perl_jax.data.lint``: see `perl_jax.inspection.lint`."""

import sys

from perl_jax.inspection.lint import main
from perl_jax.main import one_line_errors

if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main())
