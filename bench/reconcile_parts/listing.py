"""`listing`: the product's listing beside a single stream, under latency, of keys of any layout."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

from reconcile_parts.generated import LAYOUTS, PREFIX
from reconcile_parts.ours import import_everything
from reconcile_parts.processes import Measured, itself
from reconcile_parts.s3 import PAGE_LATENCY_MS, Server, latency
from reconcile_parts.verdicts import Limit, verdict

WAYS = {"stream": "obstore.list, one stream", "product": "open_source(url).list()"}


def listing(keys: int, rounds: int) -> bool:
    """Run both on each layout; True if the limits were kept."""
    print(f"listing {keys:,} keys at {PAGE_LATENCY_MS:g} ms a page; medians of {rounds}")
    seconds = {}
    for layout in LAYOUTS:
        with latency(keys, 10, layout) as server:
            # One stream is as fast whatever the layout.
            ways = list(WAYS) if layout == "ids" else ["product"]
            found = _measured(server, ways, keys, rounds)
        print(f" {layout}")
        for way in ways:
            seconds[layout, way] = _told(way, found[way], keys)
    product = seconds["ids", "product"]
    limits = [
        Limit("the product's pace / one stream's", seconds["ids", "stream"] / product, at_least=8)
    ]
    for layout in LAYOUTS:
        if layout != "ids":
            ratio = product / seconds[layout, "product"]
            limits.append(Limit(f"its pace on {layout} first / on ids first", ratio, at_least=0.8))
    return verdict(limits)


def _measured(
    server: Server, ways: list[str], keys: int, rounds: int
) -> dict[str, list[tuple[Measured, int]]]:
    """Each way's results, and the pages that it asked for."""
    found: dict[str, list[tuple[Measured, int]]] = {way: [] for way in ways}
    place = {"endpoint_url": server.endpoint_url, "bucket": server.source}
    for _ in range(rounds):
        for way, results in found.items():
            before = server.told()["requests"].get("list", 0)
            result = itself("list", {"way": way, **place}, server.environment)
            if result.told["distinct"] != keys:
                raise RuntimeError(f"{way} found {result.told['distinct']:,} of {keys:,} keys")
            results.append((result, server.told()["requests"]["list"] - before))
    return found


def _told(way: str, results: list[tuple[Measured, int]], keys: int) -> float:
    """Print a line; the median of the seconds."""
    all_seconds = [one.told["seconds"] for one, _ in results]
    median = float(statistics.median(all_seconds))
    cpu = statistics.median(one.told["cpu"] for one, _ in results)
    peak = statistics.median(one.peak for one, _ in results)
    last, pages = results[-1]
    print(
        f"  {WAYS[way]:28} {median:7.2f} s ({min(all_seconds):.2f} to {max(all_seconds):.2f}) "
        f"{keys / median:10,.0f} keys/s   cpu {cpu:5.2f} s   peak {peak:4.0f} MB   {pages} pages   "
        f"given twice: {last.told['rows'] - keys}"
    )
    return median


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
    source.clients.single_try()  # type: ignore[attr-defined]
    return source.list()
