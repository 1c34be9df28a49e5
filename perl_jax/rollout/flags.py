"""The sampling flags that commands share."""

import argparse

from perl_jax.rollout.strategies import Strategy


def add_strategy(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a `Strategy`."""
    group = parser.add_argument_group("sampling")
    most = "0, the default, takes the most probable token"
    group.add_argument("--temperature", type=float, default=0.0, help=most)
    group.add_argument("--top_k", type=int, help="draw from so many most probable tokens")
    top_p = "draw from the fewest tokens of this probability together"
    group.add_argument("--top_p", type=float, default=1.0, help=top_p)
    min_p = "leave out tokens less probable than this share of the most probable one"
    group.add_argument("--min_p", type=float, default=0.0, help=min_p)
    penalty = "above 1, tokens that were there become less probable"
    group.add_argument("--repetition_penalty", type=float, default=1.0, help=penalty)
    stop = "end a response at this text; repeatable"
    group.add_argument("--stop", action="append", default=[], metavar="TEXT", help=stop)


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
