"""How tests compile: quickly, as what is compiled runs for milliseconds."""

# XLA's flags. Code of lower quality is faster in all, and without MLIR's emitters of fusions a
# program compiles in a quarter of the time. Cut into parts for several cores, it takes a
# tenth more.
QUICKLY = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1"
)
EIGHT_DEVICES = "--xla_force_host_platform_device_count=8"
