"""How a running command is disturbed."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.processes import Command
from tests.chaos.rounds import FAULTS, HOUR, Disturbance, Round
from tests.chaos.worlds import OnServer, World
from tests.support.faults import Request

_LOOK_SECONDS = 0.01
ONE, OTHER = "one", "other"
PAGE = 4096
_ALONE = 0.6
"""Of the seconds of the undisturbed runs, which are made at once and one step after the other."""
WITH_CHILDREN = ("reconcile", "prepare", "tune", "train", "test")


@dataclass
class Done:
    """What a disturbance did."""

    statuses: list[int] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    told: str = ""
    """In words; empty if the command ended before its moment came."""
    hits: int = 0
    """Processes killed or frozen, requests that failed, and so on."""


def disturb(world: World, round: Round, one: Disturbance) -> Done:
    """Start a command that does the step, and disturb it so."""
    return _WAYS[one.kind](world, round, one, Done())


def ended(command: Command, done: Done) -> int:
    try:
        status = command.ended()
    finally:
        done.outputs.append(command.said)
    done.statuses.append(status)
    return status


# --- the moment ----------------------------------------------------------------------------------


def moment(world: World, round: Round, one: Disturbance) -> tuple[dict[str, str], str]:
    """What lets somebody stand still at the moment; and the moment in words."""
    if one.by_clock:
        return {}, f"{one.fraction * _seconds(world, round):.2f} s"
    number = 1 + math.floor(one.fraction * _changes(world, round))
    place = "after" if one.after else "before"
    if isinstance(world, OnServer):
        return {}, f"{place} request {number}"
    return {
        "CHAOS_AT": f"{place} {number}",
        "CHAOS_TOLD": str(world.told),
    }, f"{place} change {number}"


def _seconds(world: World, round: Round) -> float:
    return round.share * _ALONE * world.effort.seconds[round.step]


def _changes(world: World, round: Round) -> float:
    return round.share * world.effort.counted[round.step]


def at_the_moment(
    world: World, round: Round, one: Disturbance, command: Command, act: Callable[[], None]
) -> bool:
    """`act` when the moment is there; False if the command has ended before."""
    if one.by_clock:
        until = time.monotonic() + one.fraction * _seconds(world, round)
        while command.runs and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        if command.runs:
            act()
            return True
        return False
    if isinstance(world, OnServer):
        return _at_request(world, round, one, command, act)
    while command.runs and not world.told.exists():
        time.sleep(_LOOK_SECONDS)
    if not world.told.exists():
        return False
    act()
    return True


def _at_request(
    world: OnServer, round: Round, one: Disturbance, command: Command, act: Callable[[], None]
) -> bool:
    """It is acted while the request is kept waiting; `before`: the server never hears of it."""
    number = len(world.proxy.requests) + 1
    number += math.floor(one.fraction * _changes(world, round))
    acted = False

    def rule(request: Request) -> str:
        nonlocal acted
        if acted or request.number < number:
            return "pass"
        acted = True
        act()
        return "pass" if one.after else "reset"

    world.proxy.rule = rule
    while command.runs and not acted:
        time.sleep(_LOOK_SECONDS)
    return acted


# --- the ways ------------------------------------------------------------------------------------


def nothing(world: World, round: Round, one: Disturbance, done: Done) -> Done:
    command = world.start("run")
    ended(command, done)
    done.told = "nothing"
    return done


def kill(world: World, round: Round, one: Disturbance, done: Done) -> Done:
    """One of the processes, whichever; or, for some steps, one that is not the driver."""
    chance = one.chance()
    if round.step in WITH_CHILDREN and chance.random() < 0.4:
        return _kill_child(world, round, one, done)
    env, when = moment(world, round, one)
    command = world.start("run", env)

    def act() -> None:
        pids = command.pids()
        if pids:
            victim = chance.choice(pids)
            command.signal([victim], signal.SIGKILL)
            whose = "the driver" if victim == command.process.pid else "a child"
            done.told = f"SIGKILL of {whose}, of {len(pids)}, {when}"
            done.hits = 1

    at_the_moment(world, round, one, command, act)
    if world.told.exists():
        command.signal([int(world.told.read_text())], signal.SIGCONT)
    ended(command, done)
    return done


def _kill_child(world: World, round: Round, one: Disturbance, done: Done) -> Done:
    chance, command = one.chance(), world.start("run")
    driver = command.process.pid
    while command.runs and len(command.pids()) < 2:
        time.sleep(10 * _LOOK_SECONDS)
    later = one.fraction**2 * _seconds(world, round) / 2
    time.sleep(later)
    children = [pid for pid in command.pids() if pid != driver]
    if command.runs and children:
        command.signal([chance.choice(children)], signal.SIGKILL)
        done.told, done.hits = f"SIGKILL of a child, {later:.2f} s after it began", 1
    ended(command, done)
    return done


def freeze(world: World, round: Round, one: Disturbance, done: Done) -> Done:
    """All processes of a driver stand still; another machine's driver takes over, or not."""
    env, when = moment(world, round, one)
    sleeper = world.start("run", {**env, "CHAOS_MACHINE": ONE})
    frozen: list[int] = []

    def act() -> None:
        frozen.extend(sleeper.pids())
        sleeper.signal(frozen, signal.SIGSTOP)

    if at_the_moment(world, round, one, sleeper, act):
        done.hits, done.told = len(frozen), f"{len(frozen)} stand still, {when}"
        ended(world.start("run", {"CHAOS_MACHINE": OTHER}), done)
        sleeper.signal(frozen, signal.SIGCONT)
    ended(sleeper, done)
    return done


def fault(world: World, round: Round, one: Disturbance, done: Done) -> Done:
    """A share of the requests fails, from a moment on, and so many at most."""
    assert isinstance(world, OnServer)
    chance = one.chance()
    names = chance.sample(FAULTS, chance.choice((1, 1, 2)))
    share, most = chance.choice((0.05, 0.1, 0.3, 1.0)), chance.choice((1, 2, 3, 5, 10, 20))
    first = len(world.proxy.requests)
    first += math.floor(one.fraction * _changes(world, round))

    def rule(request: Request) -> str:
        if request.number <= first or done.hits >= most or chance.random() >= share:
            return "pass"
        name = chance.choice(names)
        is_body = request.method == "GET" and "list-type" not in request.raw_path
        if name in {"short", "flip"} and not (is_body and request.path.count("/") > 1):
            return "pass"
        done.hits += 1
        return name

    world.proxy.rule = rule
    command = world.start("run")
    ended(command, done)
    if done.hits:
        done.told = f"{done.hits} x {'/'.join(sorted(set(names)))} from request {first + 1}"
    return done


def clock(world: World, round: Round, one: Disturbance, done: Done) -> Done:
    """The clock jumps, or is wrong from the start; or that of a second driver is."""
    chance = one.chance()
    ahead = chance.choice((-48, -3, -0.02, 0.02, 3, 48)) * HOUR
    jumps = 0.0 if chance.random() < 0.3 else time.time() + one.fraction * _seconds(world, round)
    shifted = {"CHAOS_CLOCK": f"{jumps} {ahead}"}
    done.hits, done.told = 1, f"clock {ahead / HOUR:+.2f} h"
    if chance.random() < 0.6:
        command = world.start("run", shifted)
        ended(command, done)
        return done
    done.told += " of a second driver"
    first = world.start("run", {"CHAOS_MACHINE": ONE})
    time.sleep(one.fraction * _seconds(world, round))
    second = world.start("run", {**shifted, "CHAOS_MACHINE": OTHER})
    ended(second, done)
    ended(first, done)
    return done


def full(world: World, round: Round, one: Disturbance, done: Done) -> Done:
    """No room is left in the store, in the scratch folder, or for files beyond a size."""
    chance = one.chance()
    where = chance.choice(("store", "store", "scratch", "file"))
    if where == "file" or not can_mount():
        return _limited(world, chance, done)
    if where == "scratch" or isinstance(world, OnServer):
        size = PAGE * chance.choice((1, 4, 16, 64, 256))
        script = f'mount -t tmpfs -o size={size} none {world.root}/scratch; "$@"'
        done.told = f"scratch of {size:,} bytes"
    else:
        store, kept = world.tiny.root / "store", world.root / "kept"
        used = sum(-(-len(v) // PAGE) + 2 for v in world.contents().values()) * PAGE
        size = used + PAGE * math.floor(2 ** (9 * one.fraction))
        script = f"""
            cp -a {store} {kept}
            mount -t tmpfs -o size={size} none {store}
            cp -a {kept}/. {store}
            rm -rf {kept}
            status=0
            "$@" || status=$?
            cp -a {store} {kept}
            exit $status"""
        done.told = f"store of {size:,} bytes"
    command = world.start("run", words=[*UNSHARE, "sh", "-euc", script, "sh"])
    ended(command, done)
    if "kept" in script:
        subprocess.run(["rm", "-rf", str(store)], check=True)
        kept.rename(store)
    done.hits = 1
    return done


UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


def can_mount() -> bool:
    tried = [*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(tried, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _limited(world: World, chance: random.Random, done: Done) -> Done:
    size = math.floor(2 ** chance.uniform(5, 18))
    limit = ("prlimit", f"--fsize={size}")
    command = world.start("run", words=limit)
    ended(command, done)
    done.told, done.hits = f"no file beyond {size:,} bytes", 1
    return done


_WAYS: dict[str, Callable[[World, Round, Disturbance, Done], Done]] = {
    "kill": kill,
    "fault": fault,
    "freeze": freeze,
    "full": full,
    "clock": clock,
    "none": nothing,
}
