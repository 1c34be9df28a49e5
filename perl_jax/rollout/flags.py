"""What the sampling flags that commands share mean; `perl_jax.main.add_strategy` adds them."""

import argparse

from perl_jax.rollout.strategies import Strategy


def strategy_of(args: argparse.Namespace) -> Strategy:
    """The strategy of these flags."""
    return Strategy(
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        repetition_penalty=args.repetition_penalty,
        stop=tuple(args.stop),
    )
