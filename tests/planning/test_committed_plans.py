"""The plans in docs/plans are what the command that they show makes, and the runs in them fit."""

import json
import shlex
from pathlib import Path

import pytest

from perl_jax.config import TrainConfig
from perl_jax.overrides import open_config
from perl_jax.planning.facts import Facts
from perl_jax.planning.planner import PlanConfig
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.topology import parse_topology
from perl_jax.planning.worker import plan_in_a_process
from perl_jax.planning.workload import Workload
from tests.libtpu import needs_libtpu

ROOT = Path(__file__).parents[2]
PLANS = {path.stem: path for path in sorted((ROOT / "docs" / "plans").glob("*.json"))}


def read(name):
    """Plan, and the flags of the command that made it."""
    (answer,) = json.loads(PLANS[name].read_text())
    plan = answer["plan"]
    words = shlex.split(plan["command"])[3:]
    return plan, dict(word.removeprefix("--").split("=", 1) for word in words)


def config_of(flags):
    changed = {
        name.removeprefix("config."): value
        for name, value in flags.items()
        if name.startswith("config.")
    }
    return open_config(TrainConfig, str(ROOT / flags["config"]), changed)


@pytest.mark.parametrize("name", PLANS)
def test_every_committed_plan_is_of_a_shipped_configuration_that_fits(name):
    plan, flags = read(name)
    config = config_of(flags)
    assert plan["fits"], plan["too_large"]
    assert config.model.path.endswith(plan["model"])
    assert plan["topology"]["name"] == flags["topology"]
    assert plan["command"] in PLANS[name].with_suffix(".txt").read_text()


def replanned(name, programs):
    """Programs of a committed plan, and of the same plan made anew."""
    plan, _ = read(name)
    committed = [one for one in plan["programs"] if one["name"] in programs]
    return committed, made_anew(name, programs)["programs"]


def made_anew(name, programs, facts=()):
    """Some programs of a committed plan made anew, compiled unless facts of them are given."""
    _, flags = read(name)
    config = config_of(flags)
    workload = Workload(
        **{key: int(flags[key]) for key in ("images", "pixels", "text_tokens") if key in flags},
        pass_rate=float(flags.get("pass_rate", Workload.pass_rate)),
    )
    request = PlanConfig(
        config, parse_topology(flags["topology"]), workload, Assumptions(), programs=programs,
        facts=facts,
    )  # fmt: skip
    return plan_in_a_process(request)["plan"]


def compare(committed, anew):
    for old, new in zip(committed, anew, strict=True):
        assert (new["name"], new["calls"]) == (old["name"], old["calls"])
        assert new["compiled"] == old["compiled"] | {"moved": new["compiled"]["moved"]}
        # Another version of the compiler may find other temporaries.
        for kind in old["memory"].keys() - {"temporaries", "other", "results"}:
            assert new["memory"][kind] == old["memory"][kind], kind
        assert new["total"] == pytest.approx(old["total"], rel=0.1)
        assert new["received"] == pytest.approx(old["received"], rel=0.1)


# The others go through as many groups as a large run has, for half a minute each.
QUICK = ("demo_8cpu",)


def for_tpus(name):
    _, flags = read(name)
    return not flags["topology"].startswith(("h100", "gpu", "cpu"))


def as_given(name):
    """A plan as a parameter of a test that makes it anew."""
    quick = () if name in QUICK else (pytest.mark.story,)
    return pytest.param(name, marks=(*quick, needs_libtpu) if for_tpus(name) else quick)


@pytest.mark.parametrize("name", [as_given(name) for name in PLANS])
def test_a_plan_that_holds_what_compiling_told_is_what_its_arithmetic_gives(name):
    """Changed arithmetic is to be followed by ``--again``, which compiles nothing."""
    plan, _ = read(name)
    facts = tuple(Facts.of_json(program) for program in plan["programs"])
    anew = made_anew(name, tuple(one.name for one in facts), facts)
    assert plan["assumptions"] == Assumptions().lines()
    assert anew["rates"] == pytest.approx(plan["rates"])
    assert anew["seconds_of_step"] == pytest.approx(plan["seconds_of_step"])
    for old, new in zip(plan["programs"], anew["programs"], strict=True):
        assert (new["name"], new["calls"]) == (old["name"], old["calls"])
        assert new["seconds"] == pytest.approx(old["seconds"]), old["name"]
        assert new["traffic"] == pytest.approx(old["traffic"]), old["name"]


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_for_accelerators_attends_by_kernels(name):
    """In every program that a kernel is for: a size that none takes would not be noticed."""
    plan, flags = read(name)
    if flags["topology"].startswith("cpu"):
        pytest.skip("a CPU has none")
    by_kernels = {one["name"] for one in plan["programs"] if one["compiled"]["kernels"]}
    programs = {one["name"] for one in plan["programs"]}
    wanted = {"encode", "prefill", "decode", "score", "reference", "update"}
    assert by_kernels == wanted & programs


@pytest.mark.story
def test_the_smallest_plan_comes_out_again():
    compare(*replanned("demo_8cpu", ("decode", "apply")))


@pytest.mark.soak  # the same as above, of wider layers
@needs_libtpu
def test_decoding_7b_on_64_chips_is_planned_again():
    compare(*replanned("7b_v5e64", ("decode",)))


def test_no_program_for_64_chips_gathers_the_model_or_copies_the_cache():
    plan, _ = read("7b_v5e64")
    programs = {one["name"]: one for one in plan["programs"]}
    # The embedding, in bfloat16, is the largest parameter: a tenth of the model.
    embedding = 152064 * 3584 * 2
    for one in programs.values():
        gathers = [part["bytes"] for part in one["collectives"] if part["kind"] == "all-gather"]
        assert max(gathers, default=0) <= embedding, one["name"]
    decode = programs["decode"]["memory"]
    assert decode["temporaries"] < decode["caches"] / 4
