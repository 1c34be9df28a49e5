"""The bytes that a program moves, counted by hand."""

import pytest

from tests.rollout.bytes_moved import bytes_moved

PROGRAM = """
HloModule decode

%view (param_0.1: bf16[4,8]) -> bf16[4,8,1] {
  %param_0.1 = bf16[4,8]{1,0} parameter(0)
  ROOT %bitcast.1 = bf16[4,8,1]{1,0,2} bitcast(%param_0.1)
}

%product (param_0.2: bf16[4,8], param_1.2: bf16[2,8]) -> f32[2,4] {
  %param_0.2 = bf16[4,8]{1,0} parameter(0)
  %param_1.2 = bf16[2,8]{1,0:S(1)} parameter(1)
  %fusion.1 = bf16[4,8,1]{1,0,2} fusion(%param_0.2), kind=kLoop, calls=%view
  ROOT %convolution.1 = f32[2,4]{1,0} convolution(%param_1.2, %fusion.1)
}

%layer (param_0.3: bf16[3,8,8], param_1.3: s32[]) -> bf16[8,8] {
  %param_0.3 = bf16[3,8,8]{2,1,0} parameter(0)
  %param_1.3 = s32[] parameter(1)
  %dynamic-slice.1 = bf16[1,8,8]{2,1,0} dynamic-slice(%param_0.3, %param_1.3), dynamic_slice_sizes={1,8,8}
  ROOT %bitcast.2 = bf16[8,8]{1,0} bitcast(%dynamic-slice.1)
}

%update (param_0.4: bf16[3,5,8], param_1.4: bf16[1,1,8], param_2.4: s32[]) -> bf16[3,5,8] {
  %param_0.4 = bf16[3,5,8]{2,1,0} parameter(0)
  %param_1.4 = bf16[1,1,8]{2,1,0:S(1)} parameter(1)
  %param_2.4 = s32[] parameter(2)
  ROOT %dynamic-update-slice.1 = bf16[3,5,8]{2,1,0} dynamic-update-slice(%param_0.4, %param_1.4, %param_2.4)
}

%body (of_layers: (bf16[3,8,8], bf16[3,5,8], s32[])) -> (bf16[3,8,8], bf16[3,5,8], s32[]) {
  %of_layers = (bf16[3,8,8]{2,1,0}, bf16[3,5,8]{2,1,0}, s32[]{:S(2)}) parameter(0)
  %weights = bf16[3,8,8]{2,1,0} get-tuple-element(%of_layers), index=0
  %cache = bf16[3,5,8]{2,1,0} get-tuple-element(%of_layers), index=1
  %number = s32[]{:S(2)} get-tuple-element(%of_layers), index=2
  %of_layer = bf16[8,8]{1,0:S(1)} fusion(%weights, %number), kind=kLoop, calls=%layer
  %new = bf16[1,1,8]{2,1,0:S(1)} slice(%of_layer), slice={[0:1], [0:8]}
  %written = bf16[3,5,8]{2,1,0} fusion(%cache, %new, %number), kind=kLoop, calls=%update
  %attended = f32[8]{0:S(1)} custom-call(%written, %new), custom_call_target="tpu_custom_call"
  ROOT %next = (bf16[3,8,8]{2,1,0}, bf16[3,5,8]{2,1,0}, s32[]{:S(2)}) tuple(%weights, %written, %number)
}

%condition (of_layers.1: (bf16[3,8,8], bf16[3,5,8], s32[])) -> pred[] {
  %of_layers.1 = (bf16[3,8,8]{2,1,0}, bf16[3,5,8]{2,1,0}, s32[]{:S(2)}) parameter(0)
  ROOT %true = pred[]{:S(2)} constant(true)
}

ENTRY %main (vocabulary: bf16[4,8], state: (bf16[3,8,8], bf16[3,5,8], s32[])) -> f32[2,4] {
  %vocabulary = bf16[4,8]{1,0} parameter(0)
  %state = (bf16[3,8,8]{2,1,0}, bf16[3,5,8]{2,1,0}, s32[]{:S(2)}) parameter(1)
  %loop = (bf16[3,8,8]{2,1,0}, bf16[3,5,8]{2,1,0}, s32[]{:S(2)}) while(%state), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %copy-start.1 = (bf16[2,8]{1,0}, bf16[2,8]{1,0:S(1)}, u32[]{:S(2)}) copy-start(%hidden)
  %copy-done.1 = bf16[2,8]{1,0} copy-done(%copy-start.1)
  ROOT %logits = f32[2,4]{1,0} fusion(%vocabulary, %copy-done.1), kind=kOutput, calls=%product
  %hidden = bf16[2,8]{1,0:S(1)} bitcast(%loop)
}
"""  # noqa: E501  lines of a program


def test_each_layer_is_read_once_and_a_slice_that_is_updated_is_written_once():
    weights, slot, cache = 8 * 8 * 2, 8 * 2, 5 * 8 * 2
    loop = 3 * (weights + slot + cache)
    copied, vocabulary, logits = 2 * 8 * 2, 4 * 8 * 2, 2 * 4 * 4
    # What is copied to HBM is written and read again.
    assert bytes_moved(PROGRAM, layers=3) == loop + 2 * copied + vocabulary + logits


@pytest.mark.parametrize(
    ("old", "new", "more"),
    [
        # A layer that is cut out to HBM is also written there.
        ("%of_layer = bf16[8,8]{1,0:S(1)}", "%of_layer = bf16[8,8]{1,0}", 3 * 2 * 128),
        # A cache that is copied is read and written whole.
        ("%attended = f32[8]{0:S(1)} custom-call(%written, %new)",
         "%attended = bf16[3,5,8]{2,1,0} copy(%written)", 3 * (2 * 240 - 80)),
    ],
)  # fmt: skip
def test_what_is_copied_counts(old, new, more):
    assert old in PROGRAM
    found = bytes_moved(PROGRAM.replace(old, new), layers=3)
    assert found - bytes_moved(PROGRAM, layers=3) == more
