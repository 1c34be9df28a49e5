"""What a cloud knows, in a folder: TPU VMs, queued resources, and troubles to come."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT, ZONE = "lab", "us-west4-a"

EMPTY: dict[str, Any] = {
    # Of new VMs.
    "hosts": 2,
    # Names to states and how they were asked for.
    "nodes": {},
    "requests": {},
    # How often there is no capacity: a VM is refused, or a request waits one look longer.
    "no_capacity": 0,
    # Messages that refuse the next creations, and those that fail the next questions.
    "refusals": [],
    "outages": [],
    # How many connections to hosts break, and how many are then refused.
    "broken": 0,
    "unreachable": 0,
    # Whether the next queued resource fails.
    "fails_next_request": False,
    # Whether the key of ssh is in the agent, without which files are not copied to several hosts.
    "key_in_agent": True,
}


class Records:
    """The records in a folder, for several processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "records.json"

    @contextmanager
    def changed(self) -> Iterator[dict[str, Any]]:
        """The records; what is changed in them within the block is kept."""
        with (self.folder / "records.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            records = json.loads(json.dumps(self.read()))
            yield records
            partial = self._file.with_suffix(".partial")
            partial.write_text(json.dumps(records, indent=1))
            partial.replace(self._file)

    def read(self) -> dict[str, Any]:
        """The records as they are."""
        return json.loads(self._file.read_text()) if self._file.exists() else EMPTY

    def take(self, name: str) -> bool:
        """Takes one from a number of troubles to come; whether there was one."""
        if not self.read()[name]:
            return False
        with self.changed() as records:
            there: bool = records[name] > 0
            records[name] -= there
            return there
