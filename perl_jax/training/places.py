"""The places of a run: its work directory, and the directory of its checkpoints."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jax
from etils import epath

from perl_jax import hosts
from perl_jax.training.checkpoint import CheckpointConfig
from perl_jax.training.checkpoint.files import absolute
from perl_jax.training.checkpoint.lease import Lease
from perl_jax.training.checkpoint.mirror import is_mirrored
from perl_jax.training.earlier import CHECKPOINTS, restart, settle
from perl_jax.training.start import Start
from perl_jax.training.workdir import lock_workdir


@contextmanager
def own_workdir(workdir: str | Path) -> Iterator[Path]:
    """The work directory, locked by the main host; others may share it or have their own."""
    if hosts.is_main():
        with lock_workdir(workdir) as locked:
            hosts.gather(None, "the work directory")
            yield locked
        return
    hosts.gather(None, "the work directory")
    path = Path(workdir).expanduser().absolute()
    path.mkdir(parents=True, exist_ok=True)
    yield path


def open_place(
    config: CheckpointConfig,
    workdir: Path,
    start: Start,
    stack: ExitStack,
    check: Callable[[], None] = lambda: None,
) -> tuple[epath.Path, Lease | None]:
    """The directory of checkpoints, leased by the main host, after the files of an earlier run.

    Nothing large is loaded before the place is known to be free, and the flags to fit: ``check``
    looks at what else a run without steps starts from.
    """
    directory = absolute(_checkpoint_directory(config, workdir))
    lease = stack.enter_context(Lease(directory, str(workdir))) if hosts.is_main() else None
    other = start.other

    def look() -> None:
        if start.restart:
            if other is not None and other.workdir == workdir:
                raise ValueError("--init_from: expected another run than the one to --restart")
            restart(workdir, directory)
        if settle(workdir, directory, config):
            return
        if other is not None:
            other.find()
        check()

    hosts.once(look, "the files of an earlier run")
    return directory, lease


def _checkpoint_directory(config: CheckpointConfig, workdir: Path) -> epath.Path:
    """The directory of checkpoints; raises ValueError if another host does not see it."""
    directory = epath.Path(config.directory or workdir / CHECKPOINTS)
    if jax.process_count() == 1:
        return directory
    if is_mirrored(directory):
        raise ValueError(
            f"checkpoint.directory: expected gs://BUCKET/FOLDER or a directory that all hosts "
            f"share, as s3:// is for one host; got {directory} and {jax.process_count()} hosts"
        )
    probe = directory.parent / f".{directory.name}.seen"
    if hosts.is_main():
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
    hosts.gather(None, "the directory of checkpoints")
    seen = hosts.gather(probe.exists(), "whether the directory of checkpoints is shared")
    hosts.once(probe.unlink, "the directory of checkpoints")
    blind = [str(host) for host, sees in enumerate(seen) if not sees]
    if blind:
        raise ValueError(
            f"checkpoint.directory: expected one that all hosts see, such as a bucket (gs://...); "
            f"host {', '.join(blind)} does not see {directory} of host 0"
        )
    return directory
