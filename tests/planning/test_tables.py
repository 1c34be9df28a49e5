"""What a plan says, of figures set by hand."""

import json
from dataclasses import replace

import pytest

from perl_jax.chips import GIB
from perl_jax.planning.collectives import Collective
from perl_jax.planning.plan import Plan, ProgramPlan, as_json
from perl_jax.planning.roofline import Seconds
from perl_jax.planning.tables import as_text
from perl_jax.planning.topology import parse_topology

GATHER = Collective("all-gather", "bf16[11008,2048]{1,0:T(8,128)}", 45 * 10**6, 16, 36, "gather")


def program(name, gib, calls, seconds, collectives=()):
    return ProgramPlan(
        name=name,
        calls=calls,
        memory={"parameters": GIB, "temporaries": int((gib - 1) * GIB)},
        flops=32e12,
        traffic=5e9,
        collectives=collectives,
        seconds=seconds,
        compile_seconds=3.0,
    )


@pytest.fixture
def plan():
    return Plan(
        command="python -m perl_jax.plan",
        model="Qwen/Qwen2.5-VL-3B-Instruct",
        topology=parse_topology("v5e:4x4"),
        mesh={"data": 1, "fsdp": 16, "tensor": 1},
        step=["A step."],
        assumptions=["Rings."],
        programs=[
            program("decode", 3, 10, Seconds(0.1, 0.5, 0.2)),
            program("update", 9, 2, Seconds(4.0, 1.0, 2.0), [GATHER, GATHER]),
        ],
        usable=15 * GIB,
    )


def test_a_step_takes_what_its_calls_take(plan):
    assert plan.seconds_of_step == 10 * 0.5 + 2 * 4.0
    assert plan.received_of_step == 2 * 2 * GATHER.received


def test_virtual_devices_are_not_called_the_chip_whose_figures_they_have(plan):
    assert "on v5e:4x4: 16 x v5e of 16 GiB, 15.0 usable" in as_text(plan)
    assert "on h100:8: 8 x h100 of" in as_text(replace(plan, topology=parse_topology("h100:8")))
    virtual = as_text(replace(plan, topology=parse_topology("cpu:8")))
    assert "on v5e" not in virtual
    assert "8 virtual devices, each with the figures of one h100 of 80 GiB" in virtual


def test_a_plan_fits_where_its_largest_program_does(plan):
    assert plan.fits
    assert plan.largest.name == "update"
    assert "Verdict: fits. update needs 9 of 15 GiB; a step takes about 13 s." in as_text(plan)


def test_a_plan_that_does_not_fit_says_what_to_change(plan):
    small = replace(plan, usable=8 * GIB, advice=["The nearest setting that fits: another"])
    assert small.too_large == ["update"]
    text = as_text(small)
    assert "Verdict: does not fit: update. update needs 9 of 8 GiB." in text
    assert text.endswith("The nearest setting that fits: another\n")
    assert "too large" in text


def test_a_program_that_the_compiler_refuses_does_not_fit(plan):
    refused = replace(plan.programs[0], refused=True)
    assert replace(plan, programs=[refused]).too_large == ["decode"]


def test_the_table_shows_memory_by_kind_and_time_by_bound(plan):
    lines = [line.split() for line in as_text(plan).splitlines()]
    assert ["update", "1", "8", "9"] in lines
    assert ["decode", "10", "2", "5", "0", "0.1", "0.5", "0", "5", "memory", "3"] not in lines
    assert ["decode", "10", "2", "5", "0", "0.1", "0.5", "0.2", "5", "memory", "3"] in lines


def test_equal_collectives_are_one_line(plan):
    (line,) = (line for line in as_text(plan).splitlines() if "all-gather" in line)
    assert "72 x  all-gather  bf16[11008,2048]  of 16  gather" in line


def test_what_is_drawn_and_kept_has_a_block_of_its_own(plan):
    assert "Filtering" not in as_text(plan)
    shown = as_text(replace(plan, filtering=["32 of 64 groups inform."]))
    assert "\n\nFiltering\n32 of 64 groups inform.\n\nMemory" in shown


def test_calls_that_filtering_adds_cost_their_time(plan):
    decode, update = plan.programs
    assert replace(decode, calls_unfiltered=4).seconds_unfiltered == 4 * 0.5
    assert update.seconds_unfiltered == update.seconds_of_step


def test_long_names_are_cut(plan):
    long = replace(GATHER, where="x" * 80, shape="(" + "f32[], " * 40)
    text = as_text(replace(plan, programs=[replace(plan.programs[0], collectives=[long])]))
    assert max(map(len, text.splitlines())) < 180


def test_json_has_what_the_table_has(plan):
    data = json.loads(json.dumps(as_json(plan)))
    assert data["fits"] is True
    assert data["programs"][1]["total"] == 9 * GIB
    assert data["programs"][1]["bound"] == "compute"
    assert data["seconds_of_step"] == plan.seconds_of_step
