"""Input files out of a bucket: fetched ahead by prepare itself, or all brought before it starts.

The second is what a job's inputs do (SageMaker's File mode): the machine's agent copies them, and
then the container starts. The agent here is a better one than any: a bare obstore loop with 256 in
flight, no start of its own, nothing listed. Both begin with the same fresh process.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconcile_parts.s3 import Server, latency

from handful import layout
from prepare_parts import made

AT_ONCE = 256
_UPLOADS_AT_ONCE = 64
_NUMBERS = itertools.count()


@contextmanager
def serving() -> Iterator[Server]:
    """A bucket that answers after 30 ms."""
    with latency(0, 1) as server:
        yield server


def place(root: Path, server: Server) -> Path:
    """Put the store of `root` into the bucket, under a name of its own; an experiment on it."""
    import obstore

    name = f"store-{next(_NUMBERS)}"
    bucket = server.store(server.target, f"{name}/measured")
    local = root / "store/measured"
    files = [local / layout.LEDGER, local / layout.RECONCILED, *made.files(root)]

    def put(path: Path) -> None:
        obstore.put(bucket, str(path.relative_to(local)), path.read_bytes())

    with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
        for _ in pool.map(put, files):
            pass
    settings = (root / "experiment/settings.ini").read_text()
    remote = f"STORE = s3://{server.target}/{name}\nS3_ENDPOINT_URL = {server.endpoint_url}"
    directory = root / name
    directory.mkdir()
    (directory / "settings.ini").write_text(settings.replace(f"STORE = {root}/store", remote))
    (directory / "functions.py").write_text((root / "experiment/functions.py").read_text())
    return directory


def first_shard(server: Server, began: float) -> float:
    """Seconds from `began` (since 1970) until a shard's marker was put."""
    puts = (moment for moment, kind, name in server.timeline() if kind == "put" and _marker(name))
    return next(puts) - began


def _marker(name: str) -> bool:
    return "/shards/" in name and name.endswith(".json")


def bring(directory: str, first: bool) -> dict[str, Any]:
    """Prepare in this process; `first`: all files are on this machine before it begins."""
    began, clock = time.time(), time.perf_counter()
    from handful.experiment.context import open_experiment
    from handful.pipeline.run import Choice, run
    from handful.progress import Silent

    with tempfile.TemporaryDirectory(prefix="bench-bring-") as folder:
        scratch = Path(folder)
        experiment = open_experiment(Path(directory), (), Silent(), scratch)
        fetched = asyncio.run(_fetch_all(experiment, scratch / "inputs")) if first else 0.0
        run(experiment, Choice("prepare", "prepare"))
        return {"began": began, "seconds": time.perf_counter() - clock, "bringing": fetched}


async def _fetch_all(experiment: Any, inputs: Path) -> float:
    """Every kept artifact's file, each at inputs/<artifact>/<name>; seconds."""
    import obstore
    from obstore.store import S3Store

    from handful.steps.prepare.artifacts import load_kept_artifacts

    section = experiment.settings.experiment
    bucket, _, name = section.STORE.removeprefix("s3://").partition("/")
    options = {"allow_http": True}
    store = S3Store(
        bucket,
        prefix=f"{name}/measured",
        endpoint=section.S3_ENDPOINT_URL,
        client_options=options,
    )
    ids = [one.id for one in load_kept_artifacts(experiment.store)]
    began = time.perf_counter()
    waiting = iter(ids)

    async def hand() -> None:
        for artifact in waiting:
            key = layout.artifact_file(artifact, made.FILE)
            content = await (await obstore.get_async(store, key)).bytes_async()
            target = inputs / artifact / made.FILE
            target.parent.mkdir(parents=True)
            target.write_bytes(memoryview(content))

    await asyncio.gather(*(hand() for _ in range(AT_ONCE)))
    return time.perf_counter() - began
