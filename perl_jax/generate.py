r"""Asks a model questions about images.

    perl-jax generate --model=runs/mine/export \
        --prompt="<image> <image> What differs?" --image=before.png --image=after.png
    perl-jax generate --model=runs/mine/export --data=questions.jsonl --out=answers.jsonl

A line of ``--data`` holds ``prompt`` and, if wanted, ``images`` (paths) and ``id``; a line of
``--out`` holds these and ``responses``.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from perl_jax.compilation import CompilationConfig, use_cache
from perl_jax.main import add_strategy, command_parser, one_line_errors, parse
from perl_jax.mesh import find_devices
from perl_jax.models import load_model
from perl_jax.models.adapter_files import warning_of_base, with_adapter
from perl_jax.models.attending import choose_kernel
from perl_jax.processing import load_processor
from perl_jax.rollout import Group, Sampler, SamplerConfig
from perl_jax.rollout.answering import TextStream, answer_file, print_answers
from perl_jax.rollout.flags import strategy_of

_RENAMED = {"--input": "--data", "--output": "--out"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = _parse(arguments)
    with one_line_errors(debug=args.debug):
        find_devices()
        use_cache(CompilationConfig())
        _generate(args)


def _generate(args: argparse.Namespace) -> None:
    strategy = strategy_of(args)
    processor = load_processor(args.model, min_pixels=args.min_pixels, max_pixels=args.max_pixels)
    prompt = None if args.prompt is None else processor.encode(args.prompt, args.image)
    # On the screen, the tokens of each call appear when it returns: short calls read better.
    config = SamplerConfig() if prompt is None else SamplerConfig(chunk=4)
    sampler = Sampler(processor, config)
    model = load_model(args.model, dtype=args.dtype)
    if args.adapter is not None:
        model = with_adapter(model, args.adapter)
        if warning := warning_of_base(args.adapter, args.model):
            print(f"warning: {warning}", file=sys.stderr)
    choose_kernel(model)
    sample = partial(
        sampler.sample,
        model,
        num_rollouts=args.num_samples,
        max_new_tokens=args.max_new_tokens,
        strategy=strategy,
        key=args.seed,
    )
    if prompt is None:
        counts = answer_file(sampler, sample, args.data, args.out, batch=args.batch)
        print(f"{counts['answered']} answered, {counts['skipped']} skipped", file=sys.stderr)
    elif args.num_samples == 1:
        stream = TextStream(processor)
        sample([Group.of("0", [prompt])], on_tokens=stream)
        stream.finish()
    else:
        print_answers(sample([Group.of("0", [prompt])]), processor)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("generate", __doc__)
    parser.add_argument("--model", metavar="DIR", help="a model directory or a hub id")
    adapter = "adapters of the model, as PEFT has them"
    parser.add_argument("--adapter", type=Path, metavar="DIR", help=adapter)
    parser.add_argument("--prompt", help="one question; <image> shows the next image")
    image = "an image of --prompt; repeatable"
    parser.add_argument("--image", action="append", default=[], metavar="FILE", help=image)
    parser.add_argument("--data", type=Path, metavar="FILE", help="questions, as JSONL")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the answers to --data, as JSONL")
    parser.add_argument("--num_samples", type=int, default=1, help="responses to each question")
    most = "the most tokens of a response; default: 128"
    parser.add_argument("--max_new_tokens", type=int, default=128, help=most)
    parser.add_argument("--seed", type=int, default=0, help="of the samples; default: 0")
    parser.add_argument("--batch", type=int, default=64, help="questions sampled together")
    dtypes = ["bfloat16", "float32"]
    parser.add_argument("--dtype", default="bfloat16", choices=dtypes, help="of the parameters")
    parser.add_argument("--min_pixels", type=int, help="smaller images are enlarged to this area")
    parser.add_argument("--max_pixels", type=int, help="larger images are reduced to this area")
    add_strategy(parser)
    args = parse(parser, arguments, required=("model",), renamed=_RENAMED)
    if (args.prompt is None) == (args.data is None) or bool(args.data) != bool(args.out):
        parser.error("expected either --prompt, or --data and --out")
    if args.data and args.image:
        parser.error("--image goes with --prompt; lines of --data name their own images")
    if args.data and args.data.resolve() == args.out.resolve():
        parser.error("--out would overwrite --data")
    if args.batch < 1:
        parser.error(f"--batch: expected at least 1, got {args.batch}")
    return args


if __name__ == "__main__":
    main()
