"""How fast and how lean prepare is, beside its rivals; ratios of one run.

    python bench/prepare.py encode  [--texts licences|generated] [--documents N] [--rounds 3]
    python bench/prepare.py command [--texts licences|generated] [--documents N]
    python bench/prepare.py near    [--documents 100000] [--old SRC] [--rounds 1]
    python bench/prepare.py twins   [--documents 100000] [--old SRC]
    python bench/prepare.py splits  [--artifacts 200000]
    python bench/prepare.py inputs  [--texts licences|generated] [--documents N] [--rounds 3]
    python bench/prepare.py beside --old SRC [--texts licences|generated] [--documents N]

encode   the same documents encoded on two cores: the tokenizer alone, our `encode_data` in bare
         loops, `map` as the original used it, a hand-tuned `map`, and prepare's own encoder
command  `handful prepare` from outside: seconds to the first shard, memory of all processes
near     near-duplicates among generated documents: seconds, recall, false merges
twins    near-duplicates among texts of 10 to 300 words, each with a file of its label, hash and id
         beside it; the largest group among licences and forms
splits   the draw of splits
inputs   the files from a bucket that answers after 30 ms: fetched ahead while others are encoded,
         or all brought to this machine first, as a job's inputs would be
beside   prepare's own encoder beside that of another build, whose `src` folder SRC is: rows of
         lists, of arrays, of lists within lists and of floats, in interleaved pairs

With `--old` the build whose `src` folder SRC is takes turns with this one.
Every measurement is a fresh process, and the rivals take turns. `--data FOLDER` keeps the documents
for another call. Leaves with 1 if a goal was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prepare_parts import bringing, command, contestants, documents, grouping, made, twins

LIMIT = "the tokenizer alone (encode_batch, two threads)"
LOOPS = "encode_data @batched in bare loops, 2 processes"
MAP_1 = "map, one at a time inside, 1 process"
MAP_2 = "map, one at a time inside, num_proc=2"
TUNED_1 = "hand-tuned map, 1 process"
TUNED_2 = "hand-tuned map, num_proc=2"
OURS_BATCHED = "handful, @batched"
OURS_SINGLE = "handful, one at a time"
CONTESTANTS: dict[str, tuple[str, dict[str, Any]]] = {
    LIMIT: ("encode_batch", {}),
    LOOPS: ("loops", {"batch": 64}),
    OURS_BATCHED: ("ours", {"batched": True}),
    TUNED_1: ("tuned_map", {"processes": 1}),
    TUNED_2: ("tuned_map", {"processes": 2}),
    MAP_1: ("plain_map", {"processes": 1}),
    MAP_2: ("plain_map", {"processes": 2}),
    OURS_SINGLE: ("ours", {"batched": False}),
}
BATCHED_GOAL = {"licences": 0.9, "generated": 0.75}
SHORT, LONG = (20, 60), (150, 300)
"""Words of a generated document: for encoding, and for near-duplicates."""


def main() -> int:
    told = _parser().parse_args()
    if told.command == "_part":
        part = {
            **vars(contestants),
            "group": grouping.group,
            "split": grouping.split,
            "bring": bringing.bring,
        }[told.part]
        job = json.loads(told.job)
        if "root" in job:
            job["root"] = Path(job["root"])
        print(json.dumps(part(**job)))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-prepare-") as scratch:
        root = told.data or Path(scratch)
        root.mkdir(parents=True, exist_ok=True)
        goals = {
            "encode": _encode,
            "command": _command,
            "near": _near,
            "twins": _twins,
            "splits": _splits,
            "inputs": _inputs,
            "beside": _beside,
        }
        kept = list(goals[told.command](told, root))
    return 0 if all(kept) else 1


def _encode(told: argparse.Namespace, root: Path) -> Iterable[bool]:
    count = _made(told, root)
    chosen = [name for name in CONTESTANTS if not told.only or told.only in name]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
    for _ in range(told.rounds):
        for name in chosen:
            part, job = CONTESTANTS[name]
            taken[name].append(_itself(part, {"root": str(root), **job}))
    pace = {n: count / statistics.median(wall for wall, _ in t) for n, t in taken.items()}
    thrift = {n: count / statistics.median(cpu for _, cpu in t) for n, t in taken.items()}
    print(f"\n{count:,} {told.texts} documents, {told.rounds} rounds, documents a second")
    print(f"  {'':48} {'':8}   {'(slowest to fastest)':22} a second of processor")
    for name, rounds in taken.items():
        walls = [wall for wall, _ in rounds]
        spread = f"({count / max(walls):,.0f} to {count / min(walls):,.0f})"
        print(f"  {name:48} {pace[name]:8,.0f}   {spread:22} {thrift[name]:8,.0f}")
    for one, other, goal in (
        (OURS_BATCHED, LOOPS, BATCHED_GOAL[told.texts]),
        (OURS_SINGLE, MAP_1, 1.8),
        (OURS_SINGLE, MAP_2, 0.95),
        (OURS_BATCHED, LIMIT, None),
        (OURS_BATCHED, TUNED_1, None),
        (OURS_BATCHED, TUNED_2, None),
    ):
        if one in pace and other in pace:
            name = f"{one} / {other}"
            yield _goal(name, pace[one] / pace[other], goal, at_least=True)
            print(f"  {'  by seconds of processor':76} {thrift[one] / thrift[other]:8.3f}")


def _command(told: argparse.Namespace, root: Path) -> Iterable[bool]:
    count = _made(told, root)
    made.choose(root, batched=True)
    command.forget_likeness(root)
    for name in ("near-duplicates looked for, too", "near-duplicates known"):
        run = command.prepare(root)
        print(f"\nhandful prepare, {count:,} {told.texts} documents, {name}: {run.wall:.1f} s")
        first = run.first_shard
        yield _goal("seconds to the first shard", first or run.wall, 4.0)
        yield _goal("MB of all processes together, at the peak", run.peak, 1200.0)
        print(f"  {'(with shared pages counted once)':76} {run.peak_shared_once:8.1f}")


def _near(told: argparse.Namespace, root: Path) -> Iterable[bool]:
    texts = list(documents.generated(told.documents or 100_000, LONG))
    texts, pairs = grouping.plant(texts, len(texts) // 20)
    if not (root / "experiment").exists():
        made.make(root, texts)
    found, seconds = _grouped(root, told.old, told.rounds)
    judged = grouping.judge(found["now"], texts, pairs)
    print(f"\nnear-duplicates among {len(texts):,} documents of {LONG[0]} to {LONG[1]} words")
    for name, figure in judged.items():
        print(f"  {name:76} {figure:8,.4g}")
    yield _goal("seconds, reading included", seconds["now"], 15.0)
    if told.old:
        ratio = seconds["before"] / seconds["now"]
        yield _goal("seconds before / now", ratio, 0.95, at_least=True)
    yield _goal("recall at Jaccard 0.8 and above", judged["recall"], 0.95, at_least=True)
    yield _goal("pairs merged below 0.5", judged["merged below 0.5"], 0)


def _grouped(
    root: Path, before: Path | None, rounds: int = 1
) -> tuple[dict[str, dict[str, str]], dict[str, float]]:
    """Artifact id → family, and the median of the seconds, by this build and the one before."""
    ways = {"before": {"PYTHONPATH": str(before)}} if before else {}
    found, seconds = {}, {}
    for _ in range(rounds):
        for way, environment in {**ways, "now": {}}.items():
            command.forget_likeness(root)
            told = _itself("group", {"root": str(root)}, environment)
            found[way] = told["family"]
            seconds.setdefault(way, []).append(told["seconds"])
    return found, {way: statistics.median(each) for way, each in seconds.items()}


def _twins(told: argparse.Namespace, root: Path) -> Iterable[bool]:
    for words in twins.LENGTHS:
        planted = twins.plant(words, 1000)
        made.make(root / f"words-{words}", planted.texts, truth=True)
        found, _ = _grouped(root / f"words-{words}", told.old)
        print(f"\n{len(planted.texts):,} texts of {words} words, by runs of three")
        for way, family in found.items():
            yield from _judged(way, family, planted.pairs, words)
        if planted.by_words:
            print(f"{len(planted.texts):,} texts of {words} words, by words in their order")
            for way, family in found.items():
                yield from _judged(way, family, planted.by_words, twins.FEW)
    count = told.documents or 100_000
    groups = {
        "licence texts": documents.licences(),
        f"{count:,} forms of 20 to 60 words": twins.forms(count, (20, 60)),
        f"{count:,} forms of 5 to 19 words": twins.forms(count, (5, 19)),
    }
    for name, texts in groups.items():
        made.make(root / name.replace(" ", "-"), texts)
        found, seconds = _grouped(root / name.replace(" ", "-"), told.old)
        print(f"\n{name}: the largest group")
        sizes = {way: twins.largest(family) for way, family in found.items()}
        for way, size in sizes.items():
            print(f"  {way:76} {size:8,}   in {seconds[way]:.1f} s")
        # Of forms of few words today's build finds next to nothing; there is no goal for them.
        yield _goal("now", sizes["now"], None if "5 to 19" in name else sizes.get("before"))


def _judged(
    way: str, family: Mapping[str, str], pairs: list[grouping.Pair], words: int
) -> Iterable[bool]:
    """The goals are for this build, by runs of three words from twenty on and by words below."""
    judged, is_goal = twins.judge(family, pairs), way == "now" and words >= twins.FEW
    recall = judged.found / max(judged.alike, 1)
    told = f"{way}: recall of {judged.alike:,} pairs at 0.8 and above"
    yield _goal(told, recall, 0.95 if is_goal else None, at_least=True)
    told = f"{way}: merged of {judged.unlike:,} pairs below 0.5"
    yield _goal(told, judged.merged, 0 if is_goal else None)


def _splits(told: argparse.Namespace, _: Path) -> Iterable[bool]:
    print(f"\nsplits of {told.artifacts:,} artifacts, seconds")
    for name, seconds in _itself("split", {"count": told.artifacts}).items():
        yield _goal(name, seconds, 10.0)


def _inputs(told: argparse.Namespace, root: Path) -> Iterable[bool]:
    count = _made(told, root)
    made.choose(root, batched=True)
    ways = {"fetched ahead": False, "all brought first": True}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with bringing.serving() as server:
        for _ in range(told.rounds):
            for name, first in ways.items():
                directory = bringing.place(root, server)
                server.timeline()
                job = {"directory": str(directory), "first": first}
                found = _itself("bring", job, server.environment)
                shard = bringing.first_shard(server, found["began"])
                taken[name].append((shard, found["seconds"]))
                print(f"  {name}: first shard {shard:.2f} s, all {found['seconds']:.2f} s", end="")
                print(f" (bringing {found['bringing']:.2f} s)" if first else "", flush=True)
    print(f"\n{count:,} {told.texts} documents from a bucket, {told.rounds} rounds")
    ahead, first = (
        [statistics.median(figures) for figures in zip(*taken[name], strict=True)] for name in ways
    )
    for what, ours, theirs in zip(("to the first shard", "to the end"), ahead, first, strict=True):
        print(f"  seconds {what}: {ours:.2f} fetched ahead, {theirs:.2f} all brought first")
        yield _goal(f"brought first / fetched ahead, {what}", theirs / ours, 1.0, at_least=True)


def _beside(told: argparse.Namespace, root: Path) -> Iterable[bool]:
    count = _made(told, root)
    builds = {"old": {"PYTHONPATH": str(told.old)}, "new": {}}
    print(f"\n{count:,} {told.texts} documents, medians of {told.rounds} interleaved pairs")
    for kind in told.kinds:
        for batched in (True, False):
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in builds}
            for _ in range(told.rounds):
                for name, more in builds.items():
                    job = {"root": str(root), "batched": batched, "kind": kind}
                    taken[name].append(_itself("ours", job, more))
            wall, cpu = (
                {n: statistics.median(one[place] for one in t) for n, t in taken.items()}
                for place in (0, 1)
            )
            name = f"{kind}, {'@batched' if batched else 'one at a time'}"
            print(f"  {name}: seconds {wall['old']:.2f} old, {wall['new']:.2f} new; ", end="")
            print(f"of processors {cpu['old']:.2f} old, {cpu['new']:.2f} new")
            yield _goal(
                "old / new, seconds of processors", cpu["old"] / cpu["new"], 0.95, at_least=True
            )


def _goal(name: str, figure: float, goal: float | None, *, at_least: bool = False) -> bool:
    """Print a figure beside its goal; whether it is kept."""
    if goal is None:
        print(f"  {name:76} {figure:8.3f}")
        return True
    kept = figure >= goal if at_least else figure <= goal
    sign = "≥" if at_least else "≤"
    print(f"  {name:76} {figure:8.3f}   {sign} {goal:g}: {'kept' if kept else 'MISSED'}")
    return kept


def _made(told: argparse.Namespace, root: Path) -> int:
    if (root / "experiment").exists():
        return len(made.files(root))
    if told.texts == "licences":
        return made.make(root, documents.licences(told.documents))
    return made.make(root, documents.generated(told.documents or 100_000, SHORT))


def _itself(part: str, job: dict[str, Any], more: Mapping[str, str] | None = None) -> Any:
    """Run a part in a fresh process, with `more` in its environment; its answer."""
    run = subprocess.run(
        [sys.executable, __file__, "_part", part, json.dumps(job)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **(more or {})},
    )
    return json.loads(run.stdout.splitlines()[-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("encode", "command", "near", "twins", "splits", "inputs", "beside"):
        one = commands.add_parser(name)
        one.add_argument("--data", type=Path, help="a folder for the documents, kept")
        if name != "splits":
            one.add_argument("--documents", type=int)
        if name in ("encode", "command", "inputs", "beside"):
            one.add_argument("--texts", choices=("licences", "generated"), default="licences")
        if name in ("encode", "inputs", "near", "beside"):
            rounds = {"near": 1, "beside": 5}.get(name, 3)
            one.add_argument("--rounds", type=int, default=rounds)
        if name in ("near", "twins", "beside"):
            is_needed = name == "beside"
            one.add_argument("--old", type=Path, required=is_needed, help="another build's src")
        if name == "beside":
            one.add_argument("--kinds", nargs="+", choices=made.KINDS, default=made.KINDS)
        if name == "encode":
            one.add_argument("--only", help="contestants whose name has this in it")
        if name == "splits":
            one.add_argument("--artifacts", type=int, default=200_000)
    one = commands.add_parser("_part", help="for the benchmark itself")
    one.add_argument("part")
    one.add_argument("job")
    return parser


if __name__ == "__main__":
    sys.exit(main())
