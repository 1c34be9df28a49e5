"""Answers questions about images: ``python -m perl_jax.generate --help``."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from perl_jax.main import one_line_errors
from perl_jax.mesh import find_devices
from perl_jax.models import load_model
from perl_jax.processing import load_processor
from perl_jax.rollout import Group, Sampler, SamplerConfig, Strategy
from perl_jax.rollout.answering import TextStream, answer_file, print_answers


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = _parse(arguments)
    find_devices()
    strategy = Strategy(
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        repetition_penalty=args.repetition_penalty,
        stop=tuple(args.stop),
    )
    processor = load_processor(args.model, min_pixels=args.min_pixels, max_pixels=args.max_pixels)
    prompt = None if args.prompt is None else processor.encode(args.prompt, args.image)
    # On the screen, the tokens of each call appear when it returns: short calls read better.
    config = SamplerConfig() if prompt is None else SamplerConfig(chunk=4)
    sampler = Sampler(processor, config)
    sample = partial(
        sampler.sample,
        load_model(args.model, dtype=args.dtype),
        num_rollouts=args.num_samples,
        max_new_tokens=args.max_new_tokens,
        strategy=strategy,
        key=args.seed,
    )
    if prompt is None:
        counts = answer_file(sampler, sample, args.input, args.output, batch=args.batch)
        print(f"{counts['answered']} answered, {counts['skipped']} skipped", file=sys.stderr)
    elif args.num_samples == 1:
        stream = TextStream(processor)
        sample([Group.of("0", [prompt])], on_tokens=stream)
        stream.finish()
    else:
        print_answers(sample([Group.of("0", [prompt])]), processor)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m perl_jax.generate", description=__doc__)
    parser.add_argument("--model", required=True, help="model directory or hub id")
    parser.add_argument("--prompt", help="one question; <image> shows the next image")
    parser.add_argument("--image", action="append", default=[], help="image file; repeatable")
    parser.add_argument("--input", type=Path, help="JSONL: prompt, images, id on each line")
    parser.add_argument("--output", type=Path, help="JSONL: those and responses on each line")
    parser.add_argument("--num_samples", type=int, default=1, help="responses to each question")
    parser.add_argument("--max_new_tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.0, help="0: most probable token")
    parser.add_argument("--top_k", type=int)
    parser.add_argument("--top_p", type=float, default=1.0)
    parser.add_argument("--min_p", type=float, default=0.0)
    parser.add_argument("--repetition_penalty", type=float, default=1.0)
    parser.add_argument("--stop", action="append", default=[], help="stop string; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--min_pixels", type=int, help="smaller images are enlarged to this area")
    parser.add_argument("--max_pixels", type=int, help="larger images are reduced to this area")
    parser.add_argument("--batch", type=int, default=64, help="questions sampled together")
    args = parser.parse_args(arguments)
    if (args.prompt is None) == (args.input is None) or bool(args.input) != bool(args.output):
        parser.error("expected either --prompt, or --input and --output")
    if args.input and args.image:
        parser.error("--image goes with --prompt; lines of --input name their own images")
    if args.input and args.input.resolve() == args.output.resolve():
        parser.error("--output would overwrite --input")
    if args.batch < 1:
        parser.error(f"--batch: expected at least 1, got {args.batch}")
    return args


if __name__ == "__main__":
    with one_line_errors():
        main()
