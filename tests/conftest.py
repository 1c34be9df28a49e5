"""Settings that every test runs under: no threads of other libraries, no silent broadcasting."""

import gc
import importlib.util
import os
import signal
from pathlib import Path

from tests.compiling import EIGHT_DEVICES, QUICKLY

# A shell ignores Ctrl-C for what it starts in the background, and so would the processes of tests.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Eight virtual devices, for the tests of meshes; others use the first.
os.environ.setdefault("XLA_FLAGS", f"{EIGHT_DEVICES} {QUICKLY}")
# Workers, the processes that tests start, and later runs share what was compiled.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "compiled")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")


# Files are shared out to the cores in this order: one that takes minutes must not come last. The
# first row holds those whose stories and soaks take them.
LONGEST_FIRST = (
    "test_many_hosts", "update/test_ahead_of_time", "test_lowering", "test_resume", "test_tpu_pod",
    "rollout/test_ahead_of_time", "test_committed_plans", "rollout/test_sampler", "test_runs",
    "test_every_configuration", "test_adapter_runs", "test_fuzzed_", "test_checkpoint_damage",
    "test_pipeline_workers", "test_workers", "test_parity", "test_qwen3_", "test_real_rollouts",
    "test_shared_prefix", "test_kl_reward", "test_lora_update", "test_reference_step",
    "test_permutation_oracle", "test_rehearsal", "rollout/test_sampling", "test_golden",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    def turn(item):
        names = (n for n, name in enumerate(LONGEST_FIRST) if name in item.path.as_posix())
        return next(names, len(LONGEST_FIRST))

    items.sort(key=turn)
    if importlib.util.find_spec("torch") is None:
        reason = "torch is not installed; the golden arrays stand in (make test FULL=1 runs it)"
        for item in items:
            if "parity" in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    from perl_jax.testing import write_tiny_checkpoint

    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def model(checkpoint):
    from perl_jax.models import load_model

    return load_model(checkpoint, dtype="float32")


@pytest.fixture(scope="session")
def processor(checkpoint):
    from perl_jax.processing import load_processor

    return load_processor(checkpoint)


@pytest.fixture(scope="module", autouse=True)
def _garbage_is_looked_for_in_what_is_new():
    """Libraries and earlier files leave a million objects, which every collection would visit."""
    gc.freeze()
    yield
    gc.collect()


@pytest.fixture(scope="module")
def compiled_quickly():
    """For what is compiled in many programs, each of which runs for milliseconds."""
    from tests.update.cases import quick_compilation

    with quick_compilation():
        yield
