"""The cache of compiled programs, which runs share.

A second run of the same configuration loads its programs instead of compiling them.
"""

import contextlib
import hashlib
import logging
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax

from perl_jax.settings import Checked
from perl_jax.storage import is_url

logger = logging.getLogger(__name__)

_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
# The programs used last are kept; those of a run with a 7B policy take tens of megabytes.
_MOST_BYTES = 4 * 2**30
# Loading a program takes a few milliseconds, so nearly all of them are worth a file.
_SHORTEST_SECONDS = 0.02
_LEFT_BEHIND_SECONDS = 600.0


@dataclass(frozen=True)
class CompilationConfig(Checked):
    """How programs are compiled; nothing here changes a result.

    Attributes:
        cache: The directory of compiled programs: a path or a bucket (``gs://...``), ``auto`` for
            one in the user's cache directory, or None to compile anew in every run. The environment
            variable ``JAX_COMPILATION_CACHE_DIR`` takes precedence.
    """

    cache: str | None = "auto"


def use_cache(config: CompilationConfig) -> None:
    """Makes this process load and store compiled programs; call it before the first program.

    A directory that cannot be written is a warning: the run then compiles everything. Nothing is
    kept on CPUs of several hosts, which are to be joined before.
    """
    if _order_is_lost():
        logger.info("compiled programs are not kept: this is one of several hosts with CPUs")
        jax.config.update("jax_compilation_cache_dir", None)
        return
    given, own = os.environ.get(_VARIABLE), False
    directory = given if given is not None else config.cache
    if directory == "auto":
        directory, own = str(default_directory(os.environ)), True
    if directory and not is_url(directory):
        directory = _writable(Path(directory).expanduser().absolute())
    jax.config.update("jax_compilation_cache_dir", directory or None)
    if not directory:
        return
    _unless_given("jax_persistent_cache_min_compile_time_secs", _SHORTEST_SECONDS)
    if own:
        # Elsewhere there may be programs without the times of use that a bound needs.
        _unless_given("jax_compilation_cache_max_size", _MOST_BYTES)
        _remove_torn(Path(directory))


def _order_is_lost() -> bool:
    """Whether a program that was kept would run its collectives in another order than a new one.

    On CPUs it does (jaxlib 0.10), where they do not wait for each other's results. Hosts take what
    comes over the network in order, and JAX keeps the programs of host 0 only: when it loads one
    that the others compile, gloo ends them all ("collective mismatch").
    """
    joined = jax.distributed.is_initialized()
    return joined and jax.process_count() > 1 and jax.default_backend() == "cpu"


def default_directory(environment: Mapping[str, str]) -> Path:
    """The user's directory of programs for this version of JAX and this kind of processor.

    A home directory may be shared by machines whose processors have different instructions.
    """
    base = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "perl_jax" / "compiled" / f"jax-{jax.__version__}-{_processor()}"


def _processor() -> str:
    """A short name of the processor's architecture and instructions."""
    facts = [platform.machine(), platform.system()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = ("flags", "Features", "model name")
        facts += sorted({line for line in lines if line.split("\t")[0].strip() in names})
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
    return f"{platform.machine()}-{digest}"


def _writable(directory: Path) -> str | None:
    """The directory, made if it is missing; None, with a warning, if nothing can be written."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return str(directory)
    except OSError as error:
        logger.warning(
            "compilation.cache: compiled programs are not kept, as %s cannot be written: %s",
            directory,
            error.strerror or error,
        )
        return None


def _unless_given(option: str, value: float) -> None:
    """Sets an option of JAX that the environment does not set."""
    if option.upper() not in os.environ:
        jax.config.update(option, value)


def _remove_torn(directory: Path) -> None:
    """Removes what processes left that were killed while they stored a program.

    JAX writes a program and then the time of its last use, and fails where the second is missing.
    """
    now = time.time()
    for file in directory.glob("*-cache"):
        with contextlib.suppress(OSError):
            old = now - file.stat().st_mtime > _LEFT_BEHIND_SECONDS
            if old and not file.with_name(file.name.removesuffix("cache") + "atime").exists():
                file.unlink()
