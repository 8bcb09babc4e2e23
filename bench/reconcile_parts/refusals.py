"""`refusals`: how much pace a server that refuses one request in twenty costs, ours and s5cmd."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from reconcile_parts import generated
from reconcile_parts.contestants import s5cmd
from reconcile_parts.copying import Result, Round
from reconcile_parts.s3 import latency
from reconcile_parts.verdicts import Limit, verdict

SHARE = 0.05


def refusals(objects: int, rounds: int) -> bool:
    """True if the limits were kept."""
    names = ["ours", *(["s5cmd"] if s5cmd() else [])]
    results = {(name, share): Result() for name in names for share in (0.0, SHARE)}
    with tempfile.TemporaryDirectory(prefix="handful-bench-") as folder:
        database = Path(folder) / "labels.db"
        generated.write_database(database, objects)
        for share in (0.0, SHARE):
            with latency(objects, 1, refused=share) as server:
                for number in range(rounds):
                    runner = Round(server, Path(folder) / f"{share}", objects, 1, number, database)
                    for name in names:
                        runner.compete(name, results[name, share])
                print(f"{share:.0%} refused: {server.told()['requests']}")
    limits = []
    for name in names:
        pace = {}
        for share in (0.0, SHARE):
            found = results[name, share]
            seconds = (
                found.detail("copying") if name == "ours" else statistics.median(found.seconds)
            )
            pace[share] = objects / seconds
            print(f"  {name:8} {share:4.0%} refused: {pace[share]:8,.0f} objects/s copying")
        bar = 0.8 if name == "ours" else None
        limits.append(Limit(f"{name}: pace kept", pace[SHARE] / pace[0.0], at_least=bar))
    return verdict(limits)
