"""`again`: what a reconcile with nothing to do asks of the server."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from reconcile_parts import generated
from reconcile_parts.copying import HANDFUL
from reconcile_parts.processes import Measured, measured
from reconcile_parts.s3 import Server, latency
from reconcile_parts.verdicts import Limit, verdict

PAGE = 1_000
SMALL = 40
"""Requests beside the listings: lock, records, snapshot, ledger."""
SHARDS = 2.0
"""How many times as many pages as one stream needs: many hands guess where the keys are."""


@dataclass(frozen=True)
class Asked:
    """One command, and what the server saw of it."""

    process: Measured
    requests: Counter[str]
    """By kind."""
    pages: Counter[str]
    """Pages of listings, by what was listed."""


def again(objects: int, files: int) -> bool:
    """Reconcile once, then count; True if every limit was kept."""
    with tempfile.TemporaryDirectory(prefix="handful-bench-") as folder:
        database = Path(folder) / "labels.db"
        generated.write_database(database, -(-objects // files))
        with latency(objects, files) as server:
            experiment = generated.write_experiment(
                Path(folder) / "EXP-1",
                database,
                files_url=f"s3://{server.source}/{generated.PREFIX}",
                store=f"s3://{server.target}/store",
                endpoint_url=server.endpoint_url,
            )
            first = _asked(server, ["reconcile", str(experiment)])
            _show("the first reconcile", first)
            redo = _asked(server, ["reconcile", str(experiment), "--redo"])
            _show("reconcile --redo", redo)
            run = _asked(server, ["run", str(experiment), "--until", "reconcile"])
            _show("run --until reconcile", run)
    return verdict([*_of_redo(redo, objects), *_of_run(run)])


def _of_redo(redo: Asked, objects: int) -> list[Limit]:
    copies = _pages_of(redo, "/reconciled_artifacts/")
    least = 2 * -(-objects // PAGE)
    production = _pages_of(redo, generated.PREFIX)
    small = redo.requests.total() - copies - production
    return [
        Limit("--redo: objects copied", redo.requests["copy"], at_most=0),
        Limit("--redo: pages of production's listing", production, at_most=0),
        Limit(
            f"--redo: pages of copies / {least}, which two listings have",
            copies / least,
            at_most=SHARDS,
        ),
        Limit("--redo: all other requests", small, at_most=SMALL),
    ]


def _of_run(run: Asked) -> list[Limit]:
    return [
        Limit("run: pages of listings", run.requests["list"], at_most=0),
        Limit("run: all requests", run.requests.total(), at_most=SMALL),
    ]


def _pages_of(asked: Asked, part: str) -> int:
    return sum(count for prefix, count in asked.pages.items() if part in prefix)


def _asked(server: Server, arguments: list[str]) -> Asked:
    before = server.told()
    process = measured([HANDFUL, *arguments], server.environment)
    if process.status:
        raise RuntimeError(f"handful left with status {process.status}:\n{process.output}")
    after = server.told()
    difference = [Counter(after[what]) - Counter(before[what]) for what in ("requests", "pages")]
    return Asked(process, *difference)


def _show(name: str, asked: Asked) -> None:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in asked.requests.most_common())
    process = asked.process
    print(
        f"{name}: {process.wall:.2f} s, {process.cpu:.2f} s of CPU, {process.peak:.0f} MB; {kinds}"
    )
    for prefix, count in asked.pages.most_common():
        print(f"    {count:5,} pages of {prefix}")
