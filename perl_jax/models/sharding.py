"""How a parameter lies on a mesh, by a table and the number of its heads.

Matrices are (out, in); a leading layer axis is never sharded. The tensor axis splits heads and
hidden units (Megatron: columns of the first map, rows of the second); fsdp splits the other side.

**No head is ever cut.** The tensor axis splits the maps of queries, and the map back from them,
only where it divides the number of query heads; those of keys and values only where it divides the
number of key/value heads; a hidden or vocabulary axis only where it divides its size. Where it does
not, it joins fsdp on the other side of the matrix: a device still holds no more of it than its
share, but the product is computed whole on every device of the tensor axis.
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
    """The sharding of a parameter.

    Args:
        path: Dotted, such as ``text.layers.self_attn.q_proj.weight``.
        shape: Of the parameter.
        table: Path pattern -> partition of the stored axes. The first that matches is taken.
        heads: Path pattern -> how many heads the axis consists of that the tensor axis splits; a
            parameter that no pattern matches consists of hidden units.
        mesh: The devices.
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
