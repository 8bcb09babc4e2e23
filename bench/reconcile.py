"""How fast and how lean reconcile is, beside its rivals; ratios of one run.

    python bench/reconcile.py copy [--server seaweedfs|latency] [--objects 3000] [--rounds 3]
                                    [--only CONTESTANT …]
    python bench/reconcile.py match [--rows 1000000] [--keys 10000000]
    python bench/reconcile.py listing [--keys 200000]
    python bench/reconcile.py again [--objects 20000]
    python bench/reconcile.py timeline [--objects 3000]
    python bench/reconcile.py refusals [--objects 3000] [--rounds 3]
    python bench/reconcile.py safety --old SRC [--rounds 5] [--sizes BYTES …]

copy     objects across two buckets of one server: the original's way (boto3 in eight processes),
         boto3 in threads, s5cmd, a bare obstore loop, and a whole `handful reconcile`
match    a generated business, from the snapshot to fates, copy plan and ledger: time and memory
listing  the product's listing beside a single stream, on a server that takes 90 ms a page; keys
         begin with the ids, with dates, with customers
again    what a reconcile with nothing to do asks of the server, counted by the server
timeline when each request of a first reconcile reached the server
refusals how much slower copying is, and s5cmd, where 5 % of the requests are refused (503)
safety   CPU seconds of copies to a local store, from local files and from S3, beside another
         checkout's `src`: what hashing and fencing cost

Every measurement is a fresh process. Servers are SeaweedFS, started as the tests do, and our own
`latency_server.py`. Leaves with 1 if a limit was missed.
"""

from __future__ import annotations

import argparse
import json
import sys


def main() -> int:
    told = _parser().parse_args()
    match told.command:
        case "copy":
            from reconcile_parts.copying import copy

            return _status(copy(told.server, told.objects, told.files, told.rounds, told.only))
        case "match":
            from reconcile_parts.matching import match

            return _status(match(told.rows, told.keys, told.wanted))
        case "listing":
            from reconcile_parts.listing import listing

            return _status(listing(told.keys, told.rounds))
        case "again":
            from reconcile_parts.again import again

            return _status(again(told.objects, told.files))
        case "timeline":
            from reconcile_parts.timeline import timeline

            return _status(timeline(told.objects))
        case "refusals":
            from reconcile_parts.refusals import refusals

            return _status(refusals(told.objects, told.rounds))
        case "safety":
            from reconcile_parts.safety import safety

            return _status(safety(told.old, told.rounds, told.sizes))
        case _:
            return _part(told.part, told.job)


def _status(kept: bool) -> int:
    return 0 if kept else 1


def _part(part: str, job: str) -> int:
    """One measurement: this is its fresh process. The answer is the last line, as JSON."""
    from reconcile_parts import contestants, large, listing, matching

    parts = {
        "compete": contestants.compete,
        "generate": large.generate,
        "take": matching.take,
        "match": matching.match_taken,
        "list": listing.list_once,
    }
    print(json.dumps(parts[part](**json.loads(job))))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("copy")
    one.add_argument("--server", choices=("seaweedfs", "latency"), default="latency")
    one.add_argument("--objects", type=int, default=3_000)
    one.add_argument("--files", type=int, default=1, help="of each artifact")
    one.add_argument("--rounds", type=int, default=3)
    one.add_argument("--only", nargs="*", default=[], help="these contestants beside ours")
    one = commands.add_parser("match")
    one.add_argument("--rows", type=int, default=1_000_000, help="label rows")
    one.add_argument("--keys", type=int, default=10_000_000)
    one.add_argument("--wanted", type=int, default=3, help="files to copy of each artifact")
    one = commands.add_parser("listing")
    one.add_argument("--keys", type=int, default=200_000)
    one.add_argument("--rounds", type=int, default=3)
    one = commands.add_parser("again")
    one.add_argument("--objects", type=int, default=20_000)
    one.add_argument("--files", type=int, default=2, help="of each artifact")
    one = commands.add_parser("timeline")
    one.add_argument("--objects", type=int, default=3_000)
    one = commands.add_parser("refusals")
    one.add_argument("--objects", type=int, default=3_000)
    one.add_argument("--rounds", type=int, default=3)
    one = commands.add_parser("safety")
    one.add_argument("--old", required=True, help="another checkout's src")
    one.add_argument("--rounds", type=int, default=5)
    one.add_argument("--sizes", type=int, nargs="*", default=[], help="some of them, in bytes")
    one = commands.add_parser("_part", help="for the benchmark itself")
    one.add_argument("part")
    one.add_argument("job")
    return parser


if __name__ == "__main__":
    sys.exit(main())
