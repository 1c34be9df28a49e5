"""Plans a run on chips that are not at hand, by compiling its programs for them.

    python -m perl_jax.plan --config=configs/qwen2_5_vl_7b_perl.py --topology=v5p:2x4x4

Prints, for every ``--topology``, the memory of a chip by kind, seconds by roofline, what chips send
each other, and whether it fits; if not, the nearest setting that does. TPU slices need libtpu and
no TPU; ``--topology=gpu:8 --chip=h100`` compiles for eight virtual CPU devices and takes the
figures of the chip. Any field of the configuration is overridden as ``--config.mesh.tensor=4``.
Weights are not read. Exits with 1 where something does not fit.
"""

import json
import logging
import shlex
import sys
from collections.abc import Sequence

from absl import app, flags

from perl_jax.chips import GIB
from perl_jax.config import TrainConfig
from perl_jax.files import write_whole
from perl_jax.main import one_line_errors
from perl_jax.overrides import load_config, split_overrides
from perl_jax.planning.planner import PlanConfig
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.topology import parse_topology
from perl_jax.planning.worker import plan_in_a_process
from perl_jax.planning.workload import Workload
from perl_jax.settings import read_config

_CONFIG = flags.DEFINE_string("config", None, "Configuration file.")
_TOPOLOGY = flags.DEFINE_multi_string("topology", None, "Chips, such as v5e:4x4 or gpu:8.")
_CHIP = flags.DEFINE_string("chip", None, "Chip whose figures cpu:N and gpu:N use, such as h100.")
_JSON = flags.DEFINE_string("json", None, "File for the plans as JSON.")
_IMAGES = flags.DEFINE_integer("images", Workload.images, "Images of an example.")
_PIXELS = flags.DEFINE_integer("pixels", Workload.pixels, "Pixels of an image.")
_TEXT = flags.DEFINE_integer("text_tokens", Workload.text_tokens, "Text tokens of a prompt.")
_RESPONSE = flags.DEFINE_integer("response_tokens", None, "Mean tokens of a response.")
_COMPUTE = flags.DEFINE_float("compute", Assumptions.compute, "Share of the peak reached.")
_MEMORY = flags.DEFINE_float("memory", Assumptions.memory, "Share of HBM bandwidth reached.")
_LINKS = flags.DEFINE_float("links", Assumptions.links, "Share of link bandwidth reached.")
_RESERVE = flags.DEFINE_float("reserve", Assumptions.reserve, "Share of HBM left free.")
_TRIES = flags.DEFINE_integer("tries", PlanConfig.tries, "Settings tried where one does not fit.")
_PROGRAMS = flags.DEFINE_list("programs", [], "The programs to plan; by default all.")


def main(arguments: Sequence[str]) -> None:
    """Plans for every topology."""
    if len(arguments) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(arguments[1:])}")
    logging.getLogger("perl_jax").setLevel(logging.INFO)
    with one_line_errors(RuntimeError):
        overrides, _ = split_overrides(sys.argv)
        config = read_config(TrainConfig, load_config(str(_CONFIG.value), overrides))
        workload = Workload(_IMAGES.value, _PIXELS.value, _TEXT.value, _RESPONSE.value)
        shares = Assumptions(_COMPUTE.value, _MEMORY.value, _LINKS.value, _RESERVE.value)
        topologies = [parse_topology(name, _CHIP.value) for name in _TOPOLOGY.value or ()]
        command = f"python -m perl_jax.plan {shlex.join(sys.argv[1:])}"
        more, answers = (command, _TRIES.value, tuple(_PROGRAMS.value)), []
        for topology in topologies:
            plan = PlanConfig(config, topology, workload, shares, *more)
            answers.append(plan_in_a_process(plan))
            print(answers[-1]["text"])
            took, peak = answers[-1]["seconds"], answers[-1]["peak_host_bytes"] / GIB
            print(f"Planned in {took:.0f} s with at most {peak:.1f} GiB of host memory.\n")
        if _JSON.value:
            write_whole(_JSON.value, json.dumps(answers, indent=1) + "\n")
    sys.exit(0 if all(answer["plan"]["fits"] for answer in answers) else 1)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "topology"])
    sys.modules["__main__"].__doc__ = __doc__
    app.run(main, argv=split_overrides(sys.argv)[1])
