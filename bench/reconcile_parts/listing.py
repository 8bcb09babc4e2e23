"""`listing`: the product's listing beside a single stream, under latency."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

from reconcile_parts.generated import PREFIX
from reconcile_parts.ours import import_everything
from reconcile_parts.processes import Measured, itself
from reconcile_parts.s3 import PAGE_LATENCY_MS, latency
from reconcile_parts.verdicts import Limit, verdict

WAYS = {"stream": "obstore.list, one stream", "product": "open_source(url).list()"}


def listing(keys: int, rounds: int) -> bool:
    """Run both; True if the limit was kept."""
    print(f"listing {keys:,} keys at {PAGE_LATENCY_MS:g} ms a page; medians of {rounds}")
    found: dict[str, list[Measured]] = {way: [] for way in WAYS}
    asked: dict[str, int] = {}
    with latency(keys, 10) as server:
        place = {"endpoint_url": server.endpoint_url, "bucket": server.source}
        for _ in range(rounds):
            for way, results in found.items():
                before = server.told()["requests"].get("list", 0)
                result = itself("list", {"way": way, **place}, server.environment)
                if result.told["distinct"] != keys:
                    raise RuntimeError(f"{way} found {result.told['distinct']:,} of {keys:,} keys")
                results.append(result)
                asked[way] = server.told()["requests"]["list"] - before
    seconds = {}
    for way, results in found.items():
        all_seconds = [one.told["seconds"] for one in results]
        seconds[way] = statistics.median(all_seconds)
        cpu = statistics.median(one.told["cpu"] for one in results)
        peak = statistics.median(one.peak for one in results)
        print(
            f"  {WAYS[way]:28} {seconds[way]:7.2f} s ({min(all_seconds):.2f} to "
            f"{max(all_seconds):.2f}) {keys / seconds[way]:10,.0f} keys/s   cpu {cpu:5.2f} s   "
            f"peak {peak:4.0f} MB   {asked[way]} pages   given twice: "
            f"{results[-1].told['rows'] - keys}"
        )
    ratio = seconds["stream"] / seconds["product"]
    return verdict([Limit("the product's pace / one stream's", ratio, at_least=8)])


def list_once(way: str, endpoint_url: str, bucket: str) -> dict[str, Any]:
    """In a fresh process: list everything below `PREFIX` by one of `WAYS`."""
    import pyarrow as pa

    import_everything()
    pages = _stream(endpoint_url, bucket) if way == "stream" else _product(endpoint_url, bucket)
    cpu, began = time.process_time(), time.perf_counter()
    found = list(pages)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    keys = pa.chunked_array([page.column(0).cast(pa.string()) for page in found])
    return {"seconds": seconds, "cpu": cpu, "rows": len(keys), "distinct": len(keys.unique())}


def _stream(endpoint_url: str, bucket: str) -> Any:
    import obstore
    import pyarrow as pa
    from obstore.store import S3Store

    store = S3Store(
        bucket,
        endpoint=endpoint_url,
        region=os.environ["AWS_REGION"],
        client_options={"allow_http": True},
    )
    pages = obstore.list(store, PREFIX, chunk_size=1_000, return_arrow=True)
    return (pa.record_batch(page) for page in pages)


def _product(endpoint_url: str, bucket: str) -> Any:
    from handful.storage.open import open_source

    source = open_source(f"s3://{bucket}/{PREFIX}", endpoint_url=endpoint_url)
    # The clients are made, and their credentials found, before the clock starts, too.
    source.clients.bucket_store()  # type: ignore[attr-defined]
    return source.list()
