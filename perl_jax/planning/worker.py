"""Plans one topology in a separate process, which has no accelerators and returns its memory.

The parent writes a pickled `PlanConfig`. The answer is JSON on the last line of standard output.
"""

import json
import logging
import os
import pickle
import re
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

from perl_jax.planning.plan import as_json
from perl_jax.planning.planner import PlanConfig
from perl_jax.planning.tables import as_text

logger = logging.getLogger(__name__)

_COMMAND = [sys.executable, "-m", "perl_jax.planning.worker"]
_PREFIX = "plan: "


def plan_in_a_process(request: PlanConfig) -> dict[str, Any]:
    """Plans in a process without accelerators.

    Returns:
        ``plan`` as JSON, its ``text``, ``seconds`` and ``peak_host_bytes`` of the process.

    Raises:
        RuntimeError: The process failed; the message has its last line.
    """
    env = _environment(request.topology.devices if request.topology.virtual else None)
    pipe, last = subprocess.PIPE, ""
    # The answer goes to a file: it may be longer than a pipe holds, and nobody would read that
    # before the end of what the process says on its way.
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(_COMMAND, env=env, stdin=pipe, stdout=said, stderr=pipe) as process,
    ):
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(pickle.dumps(request))
        process.stdin.close()
        for raw in process.stderr:
            line = raw.decode(errors="replace").rstrip()
            if line.startswith(_PREFIX):
                logger.info("%s", line.removeprefix(_PREFIX))
            else:
                last = line or last
        process.wait()
        said.seek(0)
        answer = said.read().decode()
    if process.returncode:
        raise RuntimeError(last or f"exit {process.returncode}")
    return json.loads(answer.splitlines()[-1])


def _environment(virtual: int | None) -> dict[str, str]:
    """The environment of a process without accelerators, with ``virtual`` CPU devices if asked."""
    flags = re.sub(
        r"--xla_force_host_platform_device_count=\S+", "", os.environ.get("XLA_FLAGS", "")
    )
    if virtual is not None:
        flags += f" --xla_force_host_platform_device_count={virtual}"
        # A CPU takes bfloat16 for float32: ahead of a loop over layers it would make a float32 copy
        # of all of them, which no GPU does.
        flags += " --xla_disable_hlo_passes=while-loop-invariant-code-motion"
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        # Nothing here touches a TPU, so this process needs no exclusive access to libtpu.
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "XLA_FLAGS": flags.strip(),
    }


def main() -> None:
    """Reads a request and answers it."""
    from perl_jax.planning.optimise import plan_fastest
    from perl_jax.planning.search import plan_and_advise
    from perl_jax.planning.topology import devices_of

    logging.basicConfig(format=f"{_PREFIX}%(message)s", level=logging.WARNING, force=True)
    logging.getLogger("perl_jax").setLevel(logging.INFO)
    began = time.monotonic()
    request = pickle.load(sys.stdin.buffer)
    make = plan_fastest if request.optimise else plan_and_advise
    plan = make(request, devices_of(request.topology))
    # ru_maxrss is in kilobytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    answer = {
        "plan": as_json(plan),
        "text": as_text(plan),
        "seconds": time.monotonic() - began,
        "peak_host_bytes": peak,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    try:
        main()
    except (ImportError, OSError, ValueError) as error:
        sys.exit(str(error))
