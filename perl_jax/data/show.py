"""``perl-jax show``: see `perl_jax.inspection.show`."""

from perl_jax.inspection.show import main

if __name__ == "__main__":
    main()
