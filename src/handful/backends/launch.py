"""Starts the worker as several processes that train together, on one machine or on many.

    python -m handful.backends.launch JOB RESULT --processes P [--hosts FILE] [--port N] [...]

torchrun does the work (`accelerate launch` would train independent copies on CPUs, and say
nothing). `--hosts` names a JSON file of the form that SageMaker gives its containers: `hosts`,
`current_host`, and perhaps `network_interface_name`. Each machine is started with its own; the
first of the sorted hosts leads. What else is given goes to the worker.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from handful.errors import UserError
from handful.system.machine import cores

PORT = 7777
GRACE_SECONDS = 60
"""How long those that are told to stop may take to write their checkpoint."""
_MODULE = "handful.backends.worker"
_TORCHRUN = "handful.training.loop.torchrun"


@dataclass(frozen=True)
class Hosts:
    """The machines that train together, and which of them this is."""

    hosts: tuple[str, ...]
    """Sorted, as everywhere."""
    current: str
    interface: str = ""
    """The network interface between them; empty: found by itself."""

    @classmethod
    def read(cls, path: Path) -> Hosts:
        """`UserError` if the file is not of the form that is expected."""
        try:
            raw = json.loads(path.read_text())
            hosts = tuple(sorted(str(host) for host in raw["hosts"]))
            found = cls(hosts, str(raw["current_host"]), raw.get("network_interface_name") or "")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"the description of the hosts cannot be read: {error!r}",
                where=str(path),
                remedy='it looks like {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}',
            ) from None
        if found.current not in hosts:
            raise UserError(f"{found.current!r} is not among its hosts", where=str(path))
        return found

    @property
    def rank(self) -> int:
        return self.hosts.index(self.current)


def command(
    worker: Sequence[str],
    processes: int,
    hosts: Hosts | None = None,
    port: int = PORT,
    module: str = _MODULE,
) -> list[str]:
    """The command line that runs `module` with these arguments, `processes` times."""
    if processes == 1 and (hosts is None or len(hosts.hosts) == 1):
        return [sys.executable, "-m", module, *worker]
    torchrun = [sys.executable, "-m", _TORCHRUN, f"--nproc-per-node={processes}"]
    if hosts is None or len(hosts.hosts) == 1:
        where = ["--standalone", "--nnodes=1"]
    else:
        where = [
            f"--nnodes={len(hosts.hosts)}",
            f"--node-rank={hosts.rank}",
            f"--master-addr={hosts.hosts[0]}",
            f"--master-port={port}",
        ]
    return [*torchrun, *where, "-m", module, *worker]


def environment(processes: int, hosts: Hosts | None = None) -> Mapping[str, str]:
    """What the processes need to know: their share of the cores, the time for a last checkpoint,
    and the network."""
    found = {"PYTHONUNBUFFERED": "1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_SECONDS)}
    if processes > 1 and not os.environ.get("OMP_NUM_THREADS"):
        found["OMP_NUM_THREADS"] = str(max(1, cores() // processes))
    if hosts and hosts.interface:
        found |= {
            "GLOO_SOCKET_IFNAME": hosts.interface,
            "NCCL_SOCKET_IFNAME": hosts.interface,
        }
    return found


def main(argv: list[str] | None = None) -> None:
    """Become torchrun: nothing stays between it and whoever sends signals."""
    parser = argparse.ArgumentParser(prog="python -m handful.backends.launch")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--hosts", type=Path)
    parser.add_argument("--port", type=int, default=PORT)
    options, worker = parser.parse_known_args(argv)
    hosts = Hosts.read(options.hosts) if options.hosts else None
    full = command(worker, options.processes, hosts, options.port)
    # No shell: a list of words, of our own.
    os.execve(full[0], full, {**os.environ, **environment(options.processes, hosts)})  # nosec B606


if __name__ == "__main__":
    main()
