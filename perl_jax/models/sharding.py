"""The sharding of a parameter on a mesh, by a table and the number of its heads.

Matrices are (out, in); a leading layer axis is never sharded. The tensor axis splits heads and
hidden units (Megatron: columns of the first map, rows of the second); fsdp splits the other side.

**No head is ever cut.** The tensor axis splits a matrix only where it divides the number of heads
(query heads for q_proj and o_proj, key/value heads for k_proj and v_proj), or else the size of the
hidden or vocabulary axis. Where it does not, it joins fsdp on the other side of the matrix: a
device still holds only its share, but every device of the tensor axis computes the whole product.
"""

import re
from collections.abc import Mapping

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from perl_jax.mesh import fit_sharding, partition_of


def sharding_by_table(
    path: str,
    shape: tuple[int, ...],
    table: Mapping[str, PartitionSpec],
    heads: Mapping[str, int],
    mesh: Mesh,
) -> NamedSharding:
    """The sharding of the parameter at a dotted path, ``text.layers.self_attn.q_proj.weight``.

    The first path pattern in ``table`` that matches gives the partition of the stored axes, the
    first in ``heads`` the number of heads on the axis that the tensor axis splits. Without a match
    in ``heads``, that axis consists of hidden units.
    """
    spec = partition_of(path, shape, table)
    if "tensor" not in spec:
        return fit_sharding(shape, spec, mesh)
    units = shape[spec.index("tensor")]
    parts = next((count for pattern, count in heads.items() if re.fullmatch(pattern, path)), units)
    if parts % mesh.shape["tensor"] == 0:
        return fit_sharding(shape, spec, mesh)
    without = PartitionSpec(*(None if name == "tensor" else name for name in spec))
    joined = PartitionSpec(*(("fsdp", "tensor") if name == "fsdp" else name for name in without))
    fitted = fit_sharding(shape, joined, mesh)
    return fitted if fitted.spec == joined else fit_sharding(shape, without, mesh)
