"""Bytes that a program compiled for a TPU moves between a chip and its HBM, read from its text.

Each instruction reads its operands and writes its result, as often as it runs. A fusion that
slices an operand reads the slice, one that updates a slice in place writes the slice, and a kernel
that is given the arrays of all layers reads those of one. What lies in the chip's own memory, in
another memory space of its layout, moves nothing.
"""

import math
import re

from perl_jax.planning.instructions import Instructions

_ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+)\[([\d,]*)\](\{[^}]*\})?")
_NAME = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ")
_VIEWS = ("bitcast", "reshape", "get-tuple-element")
_NOTHING = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota", "call",
    "opt-barrier", "partition-id", "replica-id", "add-dependency",
}  # fmt: skip


def bytes_moved(program, layers):
    """Bytes on one chip, of a program with arrays of so many layers."""
    moves = _Moves(Instructions(program), layers)
    runs = moves.program.runs(lambda one: 0, in_fusions=False)
    return sum(moves.of(one) * times for one, times in runs if one.opcode not in _NOTHING)


class _Moves:
    def __init__(self, program, layers):
        self.program, self.layers = program, layers
        self.by_name = {
            name: {_NAME.match(one.text)[1]: one for one in instructions}
            for name, instructions in program.computations.items()
        }

    def of(self, one):
        if one.opcode.endswith("-done"):
            return 0  # counted where it started
        operands = [self.by_name[one.computation][name] for name in operands_of(one)]
        if one.opcode == "dynamic-slice":
            return 2 * size(one.shape)
        if one.opcode == "dynamic-update-slice":
            return 2 * size(operands[1].shape)
        if one.opcode == "custom-call":
            return size(one.shape) + sum(map(self.of_layer, operands))
        if one.opcode == "fusion":
            inner = one.named("calls")
            read = [self.read(inner, place, one) for place, one in enumerate(operands)]
            return sum(read) + min(size(one.shape), self.written(inner, root_of(self, inner)))
        return size(one.shape) + sum(size(operand.shape) for operand in operands)

    def of_layer(self, operand):
        of_all = re.match(rf"\w+\[{self.layers},", operand.shape)
        return size(operand.shape) // (self.layers if of_all else 1)

    def read(self, computation, place, operand):
        """Bytes that a fusion reads of an operand."""
        whole = size(operand.shape)
        return min(whole, self.used(computation, place, whole)[0]) if whole else 0

    def used(self, computation, place, whole):
        """Bytes used of a parameter of a fusion, and whether its result is a view of it."""
        instructions = self.by_name[computation]
        parameter = re.compile(rf" parameter\({place}\)")
        views = [name for name, one in instructions.items() if parameter.search(one.text)]
        total, is_result = 0, False
        for view in views:
            for name, one in instructions.items():
                operands = operands_of(one)
                if view not in operands:
                    continue
                at = operands.index(view)
                is_view = one.opcode in _VIEWS
                if one.opcode == "fusion":
                    inside, is_view = self.used(one.named("calls"), at, whole)
                    total += inside
                elif one.opcode in ("dynamic-slice", "gather") and at == 0:
                    total += size(one.shape, anywhere=True)
                elif not (is_view or (one.opcode == "dynamic-update-slice" and at == 0)):
                    total += whole
                if is_view:
                    views.append(name)
                    is_result = is_result or "ROOT " in one.text
        return total, is_result

    def written(self, computation, one):
        """Bytes that a fusion writes: of an update in place, those of the slice."""
        instructions = self.by_name[computation]
        operands = [instructions[name] for name in operands_of(one)]
        if one.opcode == "dynamic-update-slice":
            return size(operands[1].shape, anywhere=True)
        if one.opcode == "bitcast":
            return self.written(computation, operands[0])
        if one.opcode == "tuple":
            return sum(self.written(computation, operand) for operand in operands)
        if one.opcode == "fusion":
            return self.written(one.named("calls"), root_of(self, one.named("calls")))
        return size(one.shape, anywhere=True)


def root_of(moves, computation):
    return next(one for one in moves.by_name[computation].values() if "ROOT " in one.text)


def operands_of(one):
    """The names of an instruction's operands."""
    rest, depth = one.text.split(f" {one.opcode}(", 1)[1], 1
    for end, character in enumerate(rest):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return re.findall(r"%([\w.\-]+)", rest[:end])
    raise ValueError(one.text)


def size(shape, *, anywhere=False):
    """Bytes of the arrays of a shape that lie in HBM, or anywhere."""
    total = 0
    for dtype, dims, layout in _ARRAY.findall(shape):
        if anywhere or "S(" not in layout:
            bits = 8 if dtype == "pred" else int(re.search(r"\d+", dtype)[0])
            total += math.prod(int(size) for size in dims.split(",") if size) * bits // 8
    return total
