"""`safety`: what hashing and fencing cost a copy, in CPU seconds beside another build's.

Each file is copied to a local store, from a local folder and from SeaweedFS. Timed is the copying
alone, then all of reconcile.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from reconcile_parts import generated
from reconcile_parts.copying import Result
from reconcile_parts.jobs import Job
from reconcile_parts.processes import itself
from reconcile_parts.verdicts import Limit, verdict

SIZES = {2_000: 3_000, 20_000: 2_000, 200_000: 800, 2_000_000: 100}
"""Bytes of a file → how many of them."""
AT_MOST = 1.03


def safety(old: str, rounds: int, sizes: Sequence[int] = ()) -> bool:
    """`old`: the `src` of another checkout; `sizes`: some of `SIZES`; True if all limits were kept.

    Each figure is printed when it is known: all of them take a quarter of an hour.
    """
    sources = {"ours": os.environ.get("PYTHONPATH", ""), "old": old}
    kept = []
    for way in ("local", "seaweedfs"):
        for size in sizes or SIZES:
            objects = SIZES[size]
            results = {name: Result() for name in sources}
            with _production(way, size, objects) as (root, files_url, endpoint, env):
                for number in range(rounds):
                    for name, path in sources.items():
                        run = f"{name}-{number}"
                        experiment = generated.write_experiment(
                            root / f"EXP-{run}",
                            root / "labels.db",
                            files_url=files_url,
                            store=str(root / "store" / run),
                            endpoint_url=endpoint,
                        )
                        job = Job(endpoint, "", "", run, objects, 1, str(experiment))
                        process = itself(
                            "compete",
                            {"name": "ours", "job": asdict(job)},
                            {**env, "PYTHONPATH": path},
                        )
                        results[name].cpu.append(process.told["cpu"])
                        results[name].details.append(process.told["details"])
            told = {
                what: {
                    name: statistics.median(
                        found.cpu if what == "all" else [d["copying_cpu"] for d in found.details]
                    )
                    for name, found in results.items()
                }
                for what in ("copying", "all")
            }
            limits = [
                Limit(
                    f"{way} {size:,} bytes, {what}: {cpu['ours']:.3f} s / {cpu['old']:.3f} s",
                    cpu["ours"] / cpu["old"],
                    at_most=AT_MOST if what == "copying" else None,
                )
                for what, cpu in told.items()
            ]
            kept.append(verdict(limits))
    return all(kept)


@contextmanager
def _production(
    way: str, size: int, objects: int
) -> Iterator[tuple[Path, str, str, dict[str, str]]]:
    """A folder, and production's files: their URL, their server, and the login there."""
    with tempfile.TemporaryDirectory(prefix="handful-bench-") as folder:
        root = Path(folder)
        generated.write_database(root / "labels.db", objects)
        files = {key: os.urandom(size) for key in generated.keys(objects, 1)}
        if way == "local":
            for key, content in files.items():
                path = root / "production" / key
                path.parent.mkdir(parents=True)
                path.write_bytes(content)
            yield root, str(root / "production"), "", {}
            return
        import obstore
        from obstore.store import S3Store

        sys.path.append(str(Path(__file__).parents[2]))
        from tests.support.servers import running_s3

        with running_s3() as server:
            bucket = server.buckets[1]
            env = server.owner.environment()
            store = S3Store(
                bucket,
                endpoint=server.endpoint_url,
                region="us-east-1",
                access_key_id=env["AWS_ACCESS_KEY_ID"],
                secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
                client_options={"allow_http": True},
            )
            with ThreadPoolExecutor(16) as pool:
                for _ in pool.map(lambda key: obstore.put(store, key, files[key]), files):
                    pass
            yield root, f"s3://{bucket}", server.endpoint_url, env
