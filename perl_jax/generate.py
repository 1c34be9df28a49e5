"""Answers a question about images: ``python -m perl_jax.generate --help``."""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from perl_jax.models import load_model
from perl_jax.processing import Processor, load_processor
from perl_jax.rollout.loop import STOPPED, stream_tokens


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m perl_jax.generate", description=__doc__)
    parser.add_argument("--model", required=True, help="model directory or hub id")
    parser.add_argument("--prompt", required=True, help="the question; <image> shows an image")
    parser.add_argument("--image", action="append", default=[], help="image file; repeatable")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: most probable token")
    parser.add_argument("--max_new_tokens", type=int, default=128)
    parser.add_argument("--num_samples", type=int, default=1, help="responses to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--min_pixels", type=int, help="smaller images are enlarged to this area")
    parser.add_argument("--max_pixels", type=int, help="larger images are reduced to this area")
    return parser.parse_args(arguments)


def _print_as_drawn(processor: Processor, drawn: list[int], shown: str) -> str:
    """Prints what the last token added; half of a multi-byte character waits for its rest."""
    text = processor.decode(drawn)
    if text.endswith("\N{REPLACEMENT CHARACTER}"):
        return shown
    print(text[len(shown) :], end="", flush=True)
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = _parse(arguments)
    processor = load_processor(args.model, min_pixels=args.min_pixels, max_pixels=args.max_pixels)
    prompt = processor.encode(args.prompt, args.image)
    model = load_model(args.model, dtype=args.dtype)
    steps = stream_tokens(
        model,
        prompt,
        num_samples=args.num_samples,
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        stop_tokens=processor.stop_tokens,
        banned=processor.banned_rows(model.config.text.vocab_size),
        seed=args.seed,
    )
    drawn: list[np.ndarray] = []
    shown = ""
    for tokens in steps:
        drawn.append(tokens)
        if args.num_samples == 1:
            shown = _print_as_drawn(processor, [int(t[0]) for t in drawn], shown)
    if args.num_samples == 1:
        print()
    else:
        for number, response in enumerate(np.stack(drawn, axis=1), start=1):
            text = processor.decode(response[response != STOPPED])
            print(f"--- {number}\n{text}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
