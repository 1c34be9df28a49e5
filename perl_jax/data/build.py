"""``perl-jax build``: see `perl_jax.datasets.build.command`."""

import sys

from perl_jax.datasets.build.command import main

if __name__ == "__main__":
    sys.exit(main())
