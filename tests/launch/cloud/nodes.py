"""TPU VMs and queued resources: how they come, change and go."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.launch.cloud.hosts import Host
from tests.launch.cloud.records import Records

# What a queued resource goes through, a state a look.
_GRANTED = ["ACCEPTED", "PROVISIONING", "ACTIVE"]
_REFUSED = ["ACCEPTED", "FAILED"]
_WAITING = "WAITING_FOR_RESOURCES"
_LOST = ["ACTIVE", "SUSPENDING", "SUSPENDED"]


def variables_file(folder: Path) -> Path:
    """Holds the variables that all hosts have, and the address of each one's metadata server."""
    return folder / "variables.json"


def hosts_of(folder: Path, name: str) -> list[Host]:
    """The hosts of a VM."""
    given = json.loads(variables_file(folder).read_text())
    found = sorted((folder / "nodes" / name).glob("host-*"))
    return [_host(host, number, given) for number, host in enumerate(found)]


def _host(folder: Path, number: int, given: dict[str, Any]) -> Host:
    address = given["metadata"][number]
    return Host(folder, number, {**given["common"], "GCE_METADATA_IP": address})


def boot(folder: Path, name: str, count: int) -> None:
    """Makes the hosts of a VM."""
    given = json.loads(variables_file(folder).read_text())
    for number in range(count):
        _host(folder / "nodes" / name / f"host-{number}", number, given).make()


def end(folder: Path, name: str, grace: float = 0.0) -> None:
    """Ends all hosts of a VM at once, and takes their disks away."""
    hosts = hosts_of(folder, name)
    with ThreadPoolExecutor(len(hosts) or 1) as pool:
        list(pool.map(lambda host: host.end(grace), hosts))
    for host in hosts:
        host.wipe()


def ask_for(cloud: Records, name: str, node: str) -> None:
    """Puts a request for a VM into the queue."""
    with cloud.changed() as records:
        ahead = list(_REFUSED if records["fails_next_request"] else _GRANTED)
        ahead[1:1] = [_WAITING] * (1 + records["no_capacity"])
        records.update(fails_next_request=False, no_capacity=0)
        records["requests"][name] = {"state": "CREATING", "ahead": ahead, "node": node}


def look_at_request(cloud: Records, name: str) -> str | None:
    """The state of a request; the look takes it to the next one."""
    with cloud.changed() as records:
        request = records["requests"].get(name)
        if request is None:
            return None
        state: str = request["state"]
        if request["ahead"]:
            request["state"] = request["ahead"].pop(0)
            if request["state"] == "ACTIVE" and request["node"] not in records["nodes"]:
                boot(cloud.folder, request["node"], records["hosts"])
                records["nodes"][request["node"]] = {"state": "READY", "request": name}
            elif request["state"] == "SUSPENDED":
                # The VM that was preempted is gone by then.
                records["nodes"].pop(request["node"], None)
        return state


def preempt(cloud: Records, name: str, grace: float, late: bool) -> None:
    """Takes a VM away as Google does: its processes get SIGTERM, and SIGKILL some seconds later.

    The state of the VM says so at once, or late: when all of its processes have ended.
    """
    if late:
        end(cloud.folder, name, grace)
        _say_preempted(cloud, name)
    else:
        _say_preempted(cloud, name)
        end(cloud.folder, name, grace)


def _say_preempted(cloud: Records, name: str) -> None:
    with cloud.changed() as records:
        node = records["nodes"][name]
        node["state"] = "PREEMPTED"
        if request := records["requests"].get(node["request"]):
            # It is called active for some time yet.
            request.update(state=_LOST[0], ahead=_LOST[1:])


def delete(cloud: Records, name: str) -> None:
    """Deletes a VM."""
    with cloud.changed() as records:
        records["nodes"][name]["state"] = "DELETING"
    end(cloud.folder, name)
    with cloud.changed() as records:
        del records["nodes"][name]


def delete_request(cloud: Records, name: str) -> None:
    """Deletes a request, and its VM if there is one."""
    with cloud.changed() as records:
        request = records["requests"][name]
        request.update(state="DELETING", ahead=[])
        node = request["node"] if request["node"] in records["nodes"] else None
    if node is not None:
        delete(cloud, node)
    with cloud.changed() as records:
        del records["requests"][name]


def all_hosts(folder: Path) -> Iterator[Host]:
    """The hosts of all VMs."""
    for node in (folder / "nodes").glob("*"):
        yield from hosts_of(folder, node.name)
