"""``perl-jax prepare``: see `perl_jax.preparation.command`."""

from perl_jax.preparation.command import main

if __name__ == "__main__":
    main()
