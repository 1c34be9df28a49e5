"""How tests compile: quickly, as what is compiled runs for milliseconds."""

from importlib.metadata import version

# Without MLIR's emitters of fusions a program compiles in a quarter of the time. Newer XLA has no
# others, and ends a process that names this flag.
_OLDER = tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11)
OTHER_EMITTERS = "--xla_cpu_use_fusion_emitters=false" if _OLDER else ""
# XLA's flags. Code of lower quality is faster in all; cut into parts for several cores, it takes a
# tenth more.
QUICKLY = (
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1 " + OTHER_EMITTERS
).strip()
EIGHT_DEVICES = "--xla_force_host_platform_device_count=8"
