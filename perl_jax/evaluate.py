r"""Scores a policy, or given responses, on published benchmarks.

    perl-jax evaluate --model=runs/mine/export --benchmark=mantis_eval --data=data/mantis_eval \
        --out=results/mantis_eval
    perl-jax evaluate --workdir=runs/mine --step=best --orders=all --out=results \
        --data=mantis_eval=data/mantis_eval,blink=data/blink
    perl-jax evaluate --responses=theirs.jsonl --benchmark=blink --data=data/blink --out=theirs
    perl-jax evaluate --compare results/blink theirs

``--out`` gets predictions.jsonl, scores.json and table.md. The same command goes on where it was
interrupted. docs/evaluation.md has the files, the benchmarks and how each is scored.
"""

import argparse
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perl_jax.endpoint import EndpointConfig
from perl_jax.evaluation.answerer import Answerer, GivenAnswers, read_responses
from perl_jax.evaluation.benchmark import Benchmark
from perl_jax.evaluation.comparison import compare
from perl_jax.evaluation.predictions import PREDICTIONS
from perl_jax.evaluation.prompts import BoxedPrompt
from perl_jax.evaluation.recorded import recorded_prompt, warning_of
from perl_jax.evaluation.running import TABLE, Task, run, tell
from perl_jax.evaluation.sets.table import BENCHMARKS, benchmark
from perl_jax.evaluation.tables import paper_columns, results_table
from perl_jax.files import write_whole
from perl_jax.legible import brief
from perl_jax.main import add_strategy, command_parser, one_line_errors, parse
from perl_jax.processing import Processor, load_processor
from perl_jax.settings import plain

# What imports jax is imported where a policy is asked: given responses are scored without it.
if TYPE_CHECKING:
    from jax.sharding import Mesh

    from perl_jax.models import Policy

MOST_ORDERS = 120
"""The most orders of an example where all are asked for: all those of five images."""

# A judge that is busy answers at a later try; one that cannot be reached is told soon.
_JUDGE_RETRIES = 3
_SEVERAL = re.compile(r",(?=\w+=)")


@dataclass(frozen=True, eq=False)
class _Answering:
    """Who answers.

    Attributes:
        label: The name of our row in tables.
        settings: What the responses depend on, as JSON values.
        open: Opens who answers a benchmark.
        given: The responses, where they are given.
        recorded: The configuration of the run that the policy is from.
    """

    label: str
    settings: Mapping[str, Any]
    open: Callable[[Benchmark], Answerer]
    given: GivenAnswers | None = None
    recorded: Mapping[str, Any] | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = _parse(arguments)
    with one_line_errors(debug=args.debug):
        if args.compare:
            print(_compared(*args.compare, seed=args.seed))
        elif args.responses:
            _evaluate(args, _given(args))
        elif args.model:
            _evaluate(args, _of_model(args))
        else:
            # Imported here: it imports all that a run is made of.
            from perl_jax.runs import RUN_ERRORS

            with one_line_errors(*RUN_ERRORS, debug=args.debug):
                _evaluate(args, _of_run(args))


def _evaluate(args: argparse.Namespace, answering: _Answering) -> None:
    tasks = [_task(args, answering, *one) for one in _benchmarks(args)]
    if answering.recorded is not None:
        for task in tasks:
            if warning := warning_of(answering.recorded, task.benchmark.name):
                tell(f"warning: {warning}")
    scores = {
        task.benchmark.name: run(task, partial(answering.open, task.benchmark)) for task in tasks
    }
    columns = [task.benchmark for task in tasks]
    if not args.benchmark:
        columns = paper_columns(list(BENCHMARKS.values()), list(scores))
    table = results_table(columns, scores, answering.label)
    if not args.benchmark:
        write_whole(args.out / TABLE, table)
    print(f"{table}\nresults: {args.out}")


def _benchmarks(args: argparse.Namespace) -> list[tuple[Benchmark, Path, Path]]:
    """The benchmarks, each with its files and the folder of its results."""
    if args.benchmark:
        return [(benchmark(args.benchmark), Path(args.data), args.out)]
    pairs = [one.partition("=") for one in _SEVERAL.split(args.data)]
    names = [name for name, _, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"--data: expected every benchmark once; got {twice[0]} again")
    return [(benchmark(name), Path(path), args.out / name) for name, _, path in pairs]


def _task(
    args: argparse.Namespace, answering: _Answering, one: Benchmark, data: Path, out: Path
) -> Task:
    settings = {"benchmark": one.name, "data": str(data.resolve()), "limit": args.limit}
    judge = None
    if args.judge_url:
        judge = EndpointConfig(
            args.judge_url,
            args.judge_model,
            api_key_env=args.judge_key_env,
            retries=_JUDGE_RETRIES,
        )
    return Task(
        one,
        data,
        out,
        answering.label,
        {**settings, **answering.settings},
        limit=args.limit,
        batch=args.batch,
        orders=_most_orders(args) is not None,
        seed=args.seed,
        judge=judge,
        given=answering.given,
    )


def _given(args: argparse.Namespace) -> _Answering:
    """Another system's responses; no model is loaded and no device is asked for."""
    given = GivenAnswers(read_responses(args.responses))
    digest = hashlib.sha256(args.responses.read_bytes()).hexdigest()
    settings = {"responses": str(args.responses.resolve()), "sha256": digest}
    return _Answering(args.responses.stem, settings, lambda _: given, given)


def _of_model(args: argparse.Namespace) -> _Answering:
    """The policy of a model directory or a hub id."""
    from perl_jax.models import load_model
    from perl_jax.models.adapter_files import warning_of_base, with_adapter
    from perl_jax.models.attending import choose_kernel
    from perl_jax.models.fingerprint import fingerprint_of_files, fingerprint_of_model

    dtype = args.dtype or "bfloat16"
    adapter = None if args.adapter is None else args.adapter.expanduser()

    @cache
    def load() -> "tuple[Processor, Policy]":
        _find_devices()
        processor = load_processor(
            args.model, min_pixels=args.min_pixels, max_pixels=args.max_pixels
        )
        model = load_model(args.model, dtype=dtype, mesh=_mesh(args))
        model = model if adapter is None else with_adapter(model, adapter)
        choose_kernel(model)
        return processor, model

    directory = Path(args.model).expanduser()
    name = str(directory.resolve()) if directory.is_dir() else args.model
    settings = {"model": name, "sha256": fingerprint_of_model(args.model), "dtype": dtype}
    label = args.model
    if adapter is not None:
        if warning := warning_of_base(adapter, args.model):
            tell(f"warning: {warning}")
        settings["adapter"] = str(adapter.resolve())
        settings["adapter_sha256"] = fingerprint_of_files(adapter)
        label = f"{label} with {adapter}"
    return _of_policy(args, label, settings, load, BoxedPrompt())


def _of_run(args: argparse.Namespace) -> _Answering:
    """The policy of a checkpoint, as its run recorded it."""
    from perl_jax.runs import find_step, restore_policy
    from perl_jax.training.earlier import recorded_settings

    recorded = recorded_settings(args.workdir)
    pixels = {"min_pixels": args.min_pixels, "max_pixels": args.max_pixels}
    recorded["model"] |= {name: value for name, value in pixels.items() if value is not None}
    number = find_step(recorded, args.workdir, args.step)

    @cache
    def load() -> "tuple[Processor, Policy]":
        _find_devices()
        policy, processor, _ = restore_policy(recorded, args.workdir, str(number), _mesh(args))
        return processor, policy

    settings = {"workdir": str(args.workdir.resolve()), "step": number}
    label = f"{args.workdir}, step {number}"
    answering = _of_policy(args, label, settings, load, recorded_prompt(recorded))
    return replace(answering, recorded=recorded)


def _of_policy(
    args: argparse.Namespace,
    label: str,
    settings: Mapping[str, Any],
    load: "Callable[[], tuple[Processor, Policy]]",
    boxed: BoxedPrompt,
) -> _Answering:
    from perl_jax.evaluation.asking import SAMPLER, Asked, PolicyAnswers
    from perl_jax.rollout import Sampler
    from perl_jax.rollout.flags import strategy_of

    asked = Asked(
        strategy_of(args),
        args.num_samples,
        args.max_new_tokens,
        _most_orders(args),
        args.seed,
        args.batch,
    )

    @cache
    def sampler() -> Sampler:
        return Sampler(load()[0], SAMPLER)

    def answerer(one: Benchmark) -> Answerer:
        as_prompt = boxed if args.prompt == "boxed" else one.official
        return PolicyAnswers(sampler(), load()[1], as_prompt, asked)

    drawn = {name: value for name, value in plain(asked).items() if name != "most_rows"}
    pixels = {"min_pixels": args.min_pixels, "max_pixels": args.max_pixels}
    prompt = {"prompt": plain(boxed) if args.prompt == "boxed" else "official"}
    return _Answering(label, {**settings, **pixels, **prompt, **drawn}, answerer)


def _find_devices() -> None:
    from perl_jax.compilation import CompilationConfig, use_cache
    from perl_jax.mesh import find_devices

    find_devices()
    use_cache(CompilationConfig())


def _mesh(args: argparse.Namespace) -> "Mesh | None":
    """The mesh of the flags; None: the first device alone."""
    from perl_jax.mesh import MeshConfig, make_mesh

    config = MeshConfig(args.mesh_data, args.mesh_fsdp, args.mesh_tensor)
    return None if config.devices == 1 else make_mesh(*config.shape)


def _most_orders(args: argparse.Namespace) -> int | None:
    """The most orders of an example, its own included; None: only its own one."""
    if args.orders == "own":
        return None
    return MOST_ORDERS if args.orders == "all" else int(args.orders)


def _compared(a: Path, b: Path, *, seed: int) -> str:
    """The tables of `compare` of two results, or of those of every benchmark that both have."""
    names = sorted(_folders(a) & _folders(b))
    pairs = [(a / name, b / name) for name in names] or [(a, b)]
    return "\n\n".join(compare(*pair, seed=seed).table() for pair in pairs)


def _folders(out: Path) -> set[str]:
    """The names of the benchmarks whose folders are within this one."""
    return {file.parent.name for file in out.glob(f"*/{PREDICTIONS}")}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("evaluate", __doc__)
    parser.add_argument("--model", metavar="DIR", help="a model directory or a hub id")
    adapter = "with --model: adapters of the model, as PEFT has them"
    parser.add_argument("--adapter", type=Path, metavar="DIR", help=adapter)
    parser.add_argument("--workdir", type=Path, metavar="DIR", help="the directory of a run")
    parser.add_argument("--step", help="with --workdir: a number, latest (the default), or best")
    given = "what another system answered: id and response a line, as JSONL"
    parser.add_argument("--responses", type=Path, metavar="FILE", help=given)
    compare = "print the difference of two results, each a folder or a predictions.jsonl"
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help=compare)
    names = f"one of {', '.join(BENCHMARKS)}"
    parser.add_argument("--benchmark", metavar="NAME", help=names)
    data = "the published files: a file or a folder; several as NAME=PATH,NAME=PATH"
    parser.add_argument("--data", metavar="PATH", help=data)
    out = "the results; those of several benchmarks in DIR/NAME"
    parser.add_argument("--out", type=Path, metavar="DIR", help=out)
    orders = f"own, all (up to {MOST_ORDERS}), or the most orders of an example, its own included"
    parser.add_argument("--orders", default="own", metavar="N", help=f"{orders}; default: own")
    prompts = "the benchmark's own prompt, or the one that the policy was trained with"
    parser.add_argument("--prompt", choices=["official", "boxed"], default="official", help=prompts)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N rows")
    samples = "responses to each question; default: 1"
    parser.add_argument("--num_samples", type=int, default=1, help=samples)
    most = "the most tokens of a response; default: 2048"
    parser.add_argument("--max_new_tokens", type=int, default=2048, help=most)
    seed = "of the samples and the orders; default: 0"
    parser.add_argument("--seed", type=int, default=0, help=seed)
    parser.add_argument("--batch", type=int, default=64, help="rows sampled together; default: 64")
    dtype = "of the parameters of --model; default: bfloat16"
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], help=dtype)
    parser.add_argument("--min_pixels", type=int, help="smaller images are enlarged to this area")
    parser.add_argument("--max_pixels", type=int, help="larger images are reduced to this area")
    add_strategy(parser)
    _add_mesh(parser)
    _add_judge(parser)
    args = parse(parser, arguments)
    _check(parser, args)
    return args


def _add_mesh(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("devices, of which all are used where one of these is given")
    for name, what in (
        ("data", "copies of the parameters"),
        ("fsdp", "parts that parameters are split into"),
        ("tensor", "parts that heads and hidden units are split into"),
    ):
        group.add_argument(
            f"--mesh.{name}", dest=f"mesh_{name}", type=int, default=1, metavar="N", help=what
        )


def _add_judge(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("judge, for what the rules leave open")
    url = "an OpenAI-compatible endpoint, such as http://localhost:8000/v1"
    group.add_argument("--judge_url", metavar="URL", help=url)
    group.add_argument("--judge_model", metavar="NAME", help="its name for the model")
    key = "the environment variable with the API key"
    group.add_argument("--judge_key_env", metavar="NAME", help=key)


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the process with 2, and the usage, if flags are missing or do not fit each other."""
    sources = ("model", "workdir", "responses", "compare")
    if len([name for name in sources if getattr(args, name)]) != 1:
        parser.error("expected one of --model, --workdir, --responses and --compare")
    if args.compare:
        return
    if not args.data or not args.out:
        parser.error("expected --data and --out")
    if not args.benchmark and not all("=" in one for one in _SEVERAL.split(args.data)):
        parser.error("expected --benchmark=NAME with --data=PATH, or --data=NAME=PATH,NAME=PATH")
    mesh = ("mesh_data", "mesh_fsdp", "mesh_tensor")
    for name in ("limit", "num_samples", "max_new_tokens", "batch", *mesh):
        value = getattr(args, name)
        if value is not None and value < 1:
            flag = name.replace("mesh_", "mesh.")
            parser.error(f"--{flag}: expected at least 1; got {value}")
    if args.orders not in ("own", "all") and not (args.orders.isdigit() and int(args.orders) > 0):
        parser.error(f"--orders: expected own, all or a number from 1; got {brief(args.orders)}")
    if args.num_samples > 1 and args.temperature == 0:
        parser.error("--num_samples: expected 1 at temperature 0, where all responses are the same")
    if args.responses and (args.orders != "own" or args.num_samples > 1):
        parser.error("--orders and --num_samples go with a policy, not with --responses")
    if args.responses and not args.benchmark and len(_SEVERAL.split(args.data)) > 1:
        parser.error("--responses: expected one benchmark; others have rows of the same ids")
    if args.step is not None and not args.workdir:
        parser.error("--step goes with --workdir")
    args.step = args.step or "latest"
    if args.step not in ("latest", "best") and not args.step.isdigit():
        parser.error(f"--step: expected a number, latest or best; got {brief(args.step)}")
    if args.adapter and not args.model:
        parser.error("--adapter goes with --model: a run with adapters has its own")
    if args.dtype and not args.model:
        parser.error("--dtype goes with --model: a run recorded its own")
    if bool(args.judge_url) != bool(args.judge_model):
        parser.error("expected both --judge_url and --judge_model, or neither")


if __name__ == "__main__":
    main()
