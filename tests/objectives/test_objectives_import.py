import subprocess
import sys

import pytest

SCRIPT = """
import sys, time
import jax
start = time.process_time()
import {module}
print(time.process_time() - start)
print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"flax", "transformers", "torch"}}))
"""


@pytest.mark.parametrize("module", ["perl_jax.objectives", "perl_jax.filtering"])
def test_importing_takes_under_a_second_beyond_jax_and_no_model_library(module):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, heavy = run.stdout.splitlines()
    assert float(seconds) < 1
    assert heavy == "[]"


def test_filtering_needs_no_jax():
    script = "import sys, perl_jax.filtering; print('jax' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
