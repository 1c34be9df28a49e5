"""``perl-jax lint``: see `perl_jax.inspection.lint`."""

import sys

from perl_jax.inspection.lint import main

if __name__ == "__main__":
    sys.exit(main())
