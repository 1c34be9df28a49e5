"""What a plan says, of figures set by hand."""

import json
from dataclasses import replace

import pytest

from perl_jax.chips import GIB
from perl_jax.planning.collectives import Collective, received_bytes
from perl_jax.planning.facts import Facts
from perl_jax.planning.plan import Plan, ProgramPlan, Rates, as_json
from perl_jax.planning.roofline import Seconds
from perl_jax.planning.tables import as_text
from perl_jax.planning.topology import parse_topology
from perl_jax.planning.work import Work

GATHER = Collective("all-gather", "bf16[11008,2048]{1,0:T(8,128)}", 45 * 10**6, 16, 36, "gather")


def program(name, gib, calls, seconds, collectives=()):
    facts = Facts(
        name=name,
        memory={"parameters": GIB, "temporaries": int((gib - 1) * GIB)},
        flops=64e12,
        size=10**9,
        moved=5e9,
        work=Work(tokens=10, passes=4),
        collectives=collectives,
        compile_seconds=3.0,
    )
    return ProgramPlan(
        facts=facts,
        calls=calls,
        flops=32e12,
        traffic=5e9,
        received=received_bytes(collectives),
        seconds=seconds,
        seconds_of_step=calls * seconds.total,
        calls_unfiltered=calls,
        seconds_unfiltered=calls * seconds.total,
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
            program("decode", 3, 10, Seconds(compute=0.1, memory=0.3, alone=0.2, links=0.2)),
            program("update", 9, 2, Seconds(compute=4.0, memory=1.0, links=2.0), [GATHER, GATHER]),
        ],
        usable=15 * GIB,
    )


def test_a_step_takes_what_its_calls_take(plan):
    assert plan.seconds_of_step == pytest.approx(10 * 0.7 + 2 * 6.0)
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
    assert "Verdict: fits. update needs 9 of 15 GiB; a step takes about 19 s." in as_text(plan)


def test_a_plan_that_does_not_fit_says_what_to_change(plan):
    small = replace(plan, usable=8 * GIB, advice=["The nearest setting that fits: another"])
    assert small.too_large == ["update"]
    text = as_text(small)
    assert "Verdict: does not fit: update. update needs 9 of 8 GiB." in text
    assert text.endswith("The nearest setting that fits: another\n")
    assert "too large" in text


def test_a_program_that_the_compiler_refuses_does_not_fit(plan):
    decode = plan.programs[0]
    refused = replace(decode, facts=replace(decode.facts, refused=True))
    small = replace(plan, programs=[refused])
    assert small.too_large == ["decode"]
    assert "?" in as_text(small)


def test_the_table_shows_memory_by_kind_and_time_by_bound(plan):
    lines = [line.split() for line in as_text(plan).splitlines()]
    assert ["update", "1", "8", "9"] in lines
    row = "decode 10 2 5 0 0.1 0.3 0 0.2 0.2 7 memory 3"
    assert row.split() in lines


def test_the_compilers_seconds_have_a_column_where_it_tells_them(plan):
    assert "expected" not in as_text(plan)
    assert plan.expected_of_step is None
    decode, update = plan.programs
    small = replace(update, facts=replace(update.facts, name="apply", work=None))
    known = [replace(decode, expected=8.0), replace(update, expected=20.0), small]
    told = replace(plan, programs=known)
    # A program without the model may tell none: its other seconds count.
    assert told.expected_of_step == pytest.approx(8 + 20 + 12)
    lines = [" ".join(line.split()) for line in as_text(told).splitlines()]
    assert "decode 10 2 5 0 0.1 0.3 0 0.2 0.2 7 8 memory 3" in lines
    assert any(line.startswith("apply 2") and line.endswith(" 12 compute 3") for line in lines)
    assert any(line.startswith("step ") and line.endswith(" 31 40 9") for line in lines)
    assert replace(plan, programs=[known[0], update]).expected_of_step is None


def test_equal_collectives_are_one_line(plan):
    (line,) = (line for line in as_text(plan).splitlines() if "all-gather" in line)
    assert "72 x  all-gather  bf16[11008,2048]  of 16  gather" in line


def test_what_is_drawn_and_kept_has_a_block_of_its_own(plan):
    assert "Filtering" not in as_text(plan)
    shown = as_text(replace(plan, filtering=["32 of 64 groups inform."]))
    assert "\n\nFiltering\n32 of 64 groups inform.\n\nMemory" in shown


def test_what_a_step_does_for_its_time_has_a_block_of_its_own(plan):
    assert "Rates" not in as_text(plan)
    shown = as_text(replace(plan, rates=Rates(0.123, 0.234, 1234.5, 1.06)))
    assert "read once: 12.3% in a step, 23.4% in the update" in shown
    assert "Effective tokens a second and chip: 1,234 (" in shown
    assert "The update computes 1.06 tokens for each" in shown
    assert "compiler" not in shown
    shown = as_text(replace(plan, rates=Rates(0.123, 0.234, 1234.5, 1.06, 0.345)))
    assert "23.4% in the update with its scores (34.5% as the compiler expects)." in shown


def test_long_names_are_cut(plan):
    long = replace(GATHER, where="x" * 80, shape="(" + "f32[], " * 40)
    update = plan.programs[1]
    cut = replace(update, facts=replace(update.facts, collectives=[long]))
    text = as_text(replace(plan, programs=[cut]))
    assert max(map(len, text.splitlines())) < 180


def test_json_has_what_the_table_has(plan):
    data = json.loads(json.dumps(as_json(plan)))
    assert data["fits"] is True
    assert data["programs"][1]["total"] == 9 * GIB
    assert data["programs"][1]["bound"] == "compute"
    assert data["seconds_of_step"] == plan.seconds_of_step


def test_what_compiling_told_is_read_back_from_json(plan):
    data = json.loads(json.dumps(as_json(plan)))
    decode, update = (Facts.of_json(program) for program in data["programs"])
    assert decode == replace(plan.programs[0].facts, collectives=[])
    assert update.collectives == [replace(GATHER, count=72)]
    old = {name: value for name, value in data["programs"][0].items() if name != "compiled"}
    with pytest.raises(ValueError, match="program decode: expected what compiling told"):
        Facts.of_json(old)
