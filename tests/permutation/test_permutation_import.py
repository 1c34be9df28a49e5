import json
import subprocess
import sys


def test_importing_permutation_pulls_in_no_framework_and_takes_under_a_second():
    code = (
        "import json, sys, time; start = time.process_time(); import perl_jax.permutation;"
        "seconds = time.process_time() - start;"
        "heavy = [m for m in ('jax', 'flax', 'transformers', 'torch', 'PIL') if m in sys.modules];"
        "print(json.dumps([heavy, seconds]))"
    )
    # Of the processor, and the fastest of three: the first may have to compile bytecode.
    runs = [
        json.loads(
            subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
        )
        for _ in range(3)
    ]
    assert [heavy for heavy, _ in runs] == [[], [], []]
    assert min(seconds for _, seconds in runs) < 1.0
