"""``perl-jax build``: see `perl_jax.datasets.build.command`."""

from perl_jax.datasets.build.command import main

if __name__ == "__main__":
    main()
