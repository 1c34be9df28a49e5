"""The cycles that a TPU's compiler expects, summed by hand."""

import pytest

from perl_jax.planning.cycles import estimated_cycles

PROGRAM = """
%region (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  ROOT %sum = f32[] add(%a, %a), backend_config={"estimated_cycles":"1000"}
}

%inner (x: f32[16]) -> f32[16] {
  ROOT %x = f32[16]{0} add(%x, %x), backend_config={"estimated_cycles":"5000"}
}

%dear (x: f32[16]) -> f32[16] {
  ROOT %y = f32[16]{0} fusion(%x), calls=%inner, backend_config={"estimated_cycles":"40"}
}

%cheap (x: f32[16]) -> f32[16] {
  ROOT %z = f32[16]{0} copy(%x), backend_config={"estimated_cycles":"3"}
}

%body (state: (s32[], f32[16])) -> (s32[], f32[16]) {
  %x = f32[16]{0} fusion(%state), calls=%inner, backend_config={"estimated_cycles":"7"}
  %y = f32[16]{0} conditional(%p, %x, %x), true_computation=%cheap, false_computation=%dear, x=1
  ROOT %state = (s32[], f32[16]) tuple(%i, %y)
}

%until (state: (s32[], f32[16])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), backend_config={"estimated_cycles":"1"}
}

ENTRY %main (x: f32[16]) -> f32[16] {
  %x = f32[16]{0} parameter(0)
  %once = f32[16]{0} fusion(%x), calls=%inner, backend_config={"estimated_cycles":"100"}
  %loop = (s32[], f32[16]) while(%once), condition=%until, body=%body, {TRIPS}
  %all = f32[16]{0} all-reduce(%loop), to_apply=%region
  ROOT %k = f32[] custom-call(%all), custom_call_target="tpu_custom_call", {"estimated_cycles":"9"}
}
"""


@pytest.mark.parametrize(
    ("noted", "trips", "loops"),
    [
        ('backend_config={"known_trip_count":{"n":"28"}}', 1, 28),
        ("metadata={}", 5, 5),
    ],
)
def test_a_loop_counts_its_trips_a_conditional_its_dearest_branch_and_a_fusion_itself(
    noted, trips, loops
):
    program = PROGRAM.replace("{TRIPS}", noted)
    assert estimated_cycles(program, trips=trips) == 100 + loops * (7 + 40 + 1)


def test_a_program_for_another_chip_tells_none():
    assert estimated_cycles("ENTRY %main (x: f32[]) -> f32[] {\n  %x = f32[] copy(%x)\n}") is None
