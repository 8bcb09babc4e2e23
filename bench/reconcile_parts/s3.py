"""The two servers that are copied on: SeaweedFS, and our own that answers late."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconcile_parts.generated import PREFIX, content_of, keys

BENCH = Path(__file__).parents[1]
REGION = "us-east-1"
LATENCY_MS, PAGE_LATENCY_MS = 30.0, 90.0
_UPLOADS_AT_ONCE = 32


@dataclass(frozen=True)
class Server:
    """A running server whose first bucket holds the generated objects below `PREFIX`."""

    name: str
    endpoint_url: str
    source: str
    """The bucket of production."""
    target: str
    """The bucket of the store."""
    environment: dict[str, str]
    """By which every AWS client finds the login."""

    def store(self, bucket: str, prefix: str = "") -> Any:
        """obstore on a bucket, for arranging and checking."""
        from obstore.store import S3Store

        return S3Store(
            bucket,
            prefix=prefix or None,
            endpoint=self.endpoint_url,
            region=REGION,
            access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            client_options={"allow_http": True},
        )

    def objects(self, prefix: str) -> int:
        """How many objects are below the folder `prefix` of the store's bucket."""
        import obstore

        return sum(len(page) for page in obstore.list(self.store(self.target), prefix))

    def timeline(self) -> list[tuple[float, str, str]]:
        """Seconds since 1970, kind and name of each request since the last time, in order."""
        with urllib.request.urlopen(f"{self.endpoint_url}/__timeline", timeout=30) as answer:
            found: list[tuple[float, str, str]] = json.load(answer)
        return found

    def told(self) -> dict[str, Any]:
        """What the latency server counted so far."""
        with urllib.request.urlopen(f"{self.endpoint_url}/__counts", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def running(name: str, objects: int, files: int) -> Iterator[Server]:
    """The server `name` ("seaweedfs" or "latency") with so many objects, `files` an artifact."""
    start = {"seaweedfs": seaweedfs, "latency": latency}[name]
    with start(objects, files) as server:
        yield server


@contextmanager
def latency(
    objects: int, files: int, layout: str = "ids", refused: float = 0.0
) -> Iterator[Server]:
    """Our own, in a process of its own; `refused`: the share of requests that it refuses."""
    process = subprocess.Popen(
        [
            sys.executable,
            str(BENCH / "latency_server.py"),
            f"--latency-ms={LATENCY_MS}",
            f"--page-latency-ms={PAGE_LATENCY_MS}",
            f"--objects={objects}",
            f"--files={files}",
            f"--layout={layout}",
            f"--refused={refused}",
            "--buckets=production,store",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError("the latency server did not start")
        login = _environment("anybody", "anything")
        yield Server("latency", f"http://127.0.0.1:{port}", "production", "store", login)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def seaweedfs(objects: int, files: int) -> Iterator[Server]:
    """SeaweedFS, as the tests start it."""
    import obstore

    sys.path.append(str(BENCH.parent))
    from tests.support.servers import running_s3

    with running_s3() as real:
        store, production = real.buckets
        login = real.owner.environment()
        server = Server("seaweedfs", real.endpoint_url, production, store, login)
        bucket = server.store(production)

        def put(key: str) -> None:
            obstore.put(bucket, f"{PREFIX}/{key}", content_of(key))

        with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
            for _ in pool.map(put, keys(objects, files)):
                pass
        yield server


def _environment(access_key: str, secret_key: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
