"""`timeline`: when each request of a first reconcile reached the server, which answers late."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from reconcile_parts import generated
from reconcile_parts.jobs import Job
from reconcile_parts.processes import itself
from reconcile_parts.s3 import latency

_SHOWN = 80
"""Letters of a key, the last ones."""


def timeline(objects: int) -> bool:
    """Print it; copies are told together."""
    with tempfile.TemporaryDirectory(prefix="handful-bench-") as folder:
        database = Path(folder) / "labels.db"
        generated.write_database(database, objects)
        with latency(objects, 1) as server:
            experiment = generated.write_experiment(
                Path(folder) / "EXP-1",
                database,
                files_url=f"s3://{server.source}/{generated.PREFIX}",
                store=f"s3://{server.target}/store",
                endpoint_url=server.endpoint_url,
            )
            job = Job(
                server.endpoint_url, server.source, server.target, "", objects, 1, str(experiment)
            )
            process = itself("compete", {"name": "ours", "job": asdict(job)}, server.environment)
            _show(server.timeline())
    details = {name: round(seconds, 3) for name, seconds in process.told["details"].items()}
    print(f"reconcile took {process.told['seconds']:.3f} s: {details}")
    return True


def _show(requests: Iterable[tuple[float, str, str]]) -> None:
    copies: list[float] = []
    began: float | None = None
    for moment, kind, name in requests:
        began = moment if began is None else began
        if kind == "copy" and "/probe-" not in name:
            copies.append(moment - began)
            continue
        if copies:
            print(f"{copies[0] * 1e3:8.0f} to {copies[-1] * 1e3:.0f} ms: {len(copies):,} copies")
            copies = []
        print(f"{(moment - began) * 1e3:8.0f} ms  {kind:12} {name[-_SHOWN:]}")
