"""One round after the other, and what became of them."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.disturb import disturb
from tests.chaos.equal import differences, without_locks
from tests.chaos.processes import Hangs
from tests.chaos.rounds import KINDS, Round, draw
from tests.chaos.worlds import World, worlds

STORES = ("local", "s3")
FAILED = Path("chaos-failed")
ALLOWED = {0, 1, 130}
KILLED = -9
LEASH_SECONDS = 15.0
TRACEBACK = "Traceback (most recent call last)"


@dataclass
class Outcome:
    """What became of a round."""

    round: Round
    told: list[str] = field(default_factory=list)
    hits: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def play(world: World, round: Round) -> Outcome:
    """The round, from its state to what is wrong at the end."""
    outcome, began = Outcome(round), time.monotonic()
    try:
        world.reset(round.is_gone)
        environment = {"CHAOS_MACHINE": "one"} if _shortens_locks(round) else {}
        for one in round.disturbances:
            done = disturb(world, round, one)
            outcome.told.append(done.told or f"{one.kind} came too late")
            outcome.hits.append(done.hits)
            outcome.statuses += done.statuses
            outcome.outputs += done.outputs
            allowed = ALLOWED | ({KILLED} if one.kind == "kill" else set())
            bad = [status for status in done.statuses if status not in allowed]
            outcome.wrong += [f"exit status {status}" for status in bad]
            world.forget_counts()
            if not any(done.statuses):
                break  # nothing is left to do that could be disturbed
        plain = world.start("run", environment)
        status = plain.ended()
        outcome.outputs.append(plain.said)
        outcome.statuses.append(status)
        if status:
            outcome.wrong.append(f"the plain run ended with {status}")
        outcome.wrong += ["a traceback" for said in outcome.outputs if TRACEBACK in said]
        outcome.wrong += differences(without_locks(world.contents()), world.expected)
    except Hangs as error:
        outcome.wrong.append(str(error))
    finally:
        outcome.wrong += world.end_all(LEASH_SECONDS)
    outcome.seconds = time.monotonic() - began
    return outcome


def _shortens_locks(round: Round) -> bool:
    """Then others may have to wait for a lock that nobody on this machine holds."""
    return any(one.kind in {"freeze", "clock"} for one in round.disturbances)


def tell(number: int, outcome: Outcome) -> None:
    it = outcome.round
    verdict = "FAILED" if outcome.wrong else "ok"
    statuses = ",".join(map(str, outcome.statuses))
    print(
        f"{number:4} {it.seed:10} {it.store:5} {it.state:16} {it.kind:13} "
        f"[{statuses}] {outcome.seconds:5.1f} s {verdict}: {'; then '.join(outcome.told)}",
        flush=True,
    )


def keep_failure(world: World, outcome: Outcome, again: str) -> None:
    """What there is to look at, in a folder of its own."""
    folder = FAILED / str(outcome.round.seed)
    shutil.rmtree(folder, ignore_errors=True)
    for kind, files in (("store", world.contents()), ("expected", world.expected)):
        for key, content in files.items():
            path = folder / kind / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    (folder / "wrong.txt").write_text("\n".join(outcome.wrong) + "\n")
    for number, said in enumerate(outcome.outputs, start=1):
        (folder / f"output-{number}.txt").write_text(said)
    for line in outcome.wrong[:20]:
        print(f"       {line}")
    print(f"       kept in {folder}; again: {again}", flush=True)


def table(outcomes: Sequence[Outcome]) -> None:
    rounds: dict[str, int] = defaultdict(int)
    failed: dict[str, int] = defaultdict(int)
    hits: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for outcome in outcomes:
        for one, hit in zip(outcome.round.disturbances, outcome.hits, strict=False):
            hits[one.kind] += hit
        for kind in {one.kind for one in outcome.round.disturbances}:
            rounds[kind] += 1
            failed[kind] += bool(outcome.wrong)
            seconds[kind] += outcome.seconds
    print(f"\n{'kind':8} {'rounds':>7} {'hits':>7} {'failures':>9} {'s a round':>10}")
    for kind in sorted(rounds):
        print(
            f"{kind:8} {rounds[kind]:7} {hits[kind]:7} {failed[kind]:9} "
            f"{seconds[kind] / rounds[kind]:10.1f}"
        )
    mean = sum(outcome.seconds for outcome in outcomes) / max(1, len(outcomes))
    print(
        f"{len(outcomes)} rounds, {sum(bool(one.wrong) for one in outcomes)} failed, "
        f"{mean:.1f} s a round"
    )


def options(words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=words)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--round-seed", type=int)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--stores", default=",".join(STORES))
    given = parser.parse_args()
    given.kinds, given.stores = given.kinds.split(","), given.stores.split(",")
    unknown = [one for one in given.kinds if one not in {*KINDS, "none"}]
    unknown += [one for one in given.stores if one not in STORES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; kinds: {KINDS}, stores: {STORES}")
    if "s3" not in given.stores:
        given.kinds = [one for one in given.kinds if one != "fault"]
        if not given.kinds:
            parser.error("faults need a server: STORES=s3")
    if given.seed is None:
        given.seed = int.from_bytes(os.urandom(4), "big")
    return given


def main(words: str) -> int:
    given = options(words)
    kinds, stores = given.kinds, given.stores
    again = f"make chaos KINDS={','.join(kinds)} STORES={','.join(stores)} ROUND_SEED="
    print(f"seed {given.seed}: the same rounds again: make chaos SEED={given.seed}", flush=True)
    outcomes: list[Outcome] = []
    root = Path(tempfile.mkdtemp(prefix="handful-chaos-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # it cleans up, as after Ctrl-C
    chance = random.Random(given.seed)
    try:
        needed = (
            stores if given.round_seed is None else [draw(given.round_seed, kinds, stores).store]
        )
        began = time.monotonic()
        with worlds(root, needed) as found:
            print(f"undisturbed runs: {time.monotonic() - began:.0f} s", flush=True)
            began = time.monotonic()
            while _goes_on(given, began, len(outcomes)):
                seed = chance.getrandbits(32) if given.round_seed is None else given.round_seed
                round = draw(seed, kinds, stores)
                outcome = play(found[round.store], round)
                outcomes.append(outcome)
                tell(len(outcomes), outcome)
                if outcome.wrong:
                    keep_failure(found[round.store], outcome, f"{again}{seed}")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    table(outcomes)
    return int(any(outcome.wrong for outcome in outcomes))


def _goes_on(given: argparse.Namespace, began: float, done: int) -> bool:
    if given.round_seed is not None:
        return done < 1
    if given.rounds is not None:
        return done < given.rounds
    return time.monotonic() - began < given.minutes * 60
