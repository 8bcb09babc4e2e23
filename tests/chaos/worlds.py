"""Where rounds take place: the tiny experiment with its store in a folder, or on an S3 server.

Production and model lie where they lie for the whole time; only the store is set back.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path

from tests.chaos.equal import Files, without_locks
from tests.chaos.processes import Command, marked, what_runs
from tests.chaos.rounds import STEPS
from tests.support.faults import Proxy, faulty, passes
from tests.support.servers import S3Server, running_s3
from tests.support.tiny import FUNCTIONS, HANDFUL, make

NAME = "EXP-0001-tiny"
INSIDE = Path(__file__).parent / "inside"
ARTIFACTS = 12
TUNE = "[tune]\nTRIALS = 1\nLEARNING_RATE = choice 1e-2 5e-3\n"
EVERY_STEP = ("--set", "train.CHECKPOINT_EVERY=1 steps")
# What process_func makes is as old in every run, so that all that tells its age is the same.
AGELESS = """    if isinstance(artifact_path, Path):
        os.utime(artifact_path / "label.json", (1, 1))
"""
_AT_ONCE = 16
_marks = count(1)


@dataclass
class Effort:
    """What an undisturbed run takes, by step: changes of files or requests, and seconds."""

    counted: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class World:
    """An experiment, how its store stands when all is done, and how it is set back to that."""

    name = "local"
    words: tuple[str, ...] = ()
    login: Mapping[str, str] = {}

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tiny = make(root, artifacts=ARTIFACTS)
        self.tiny.settings(EPOCHS="2")
        with (self.tiny.experiment / "settings.ini").open("a") as settings:
            settings.write(TUNE)
        end = '(artifact_path / "label.json").write_text(json.dumps({"label": artifact.label}))\n'
        assert end in FUNCTIONS
        functions = "import os\nfrom pathlib import Path\n" + FUNCTIONS.replace(end, end + AGELESS)
        (self.tiny.experiment / "functions.py").write_text(functions)
        self.effort = Effort()
        self.expected: Files = {}
        self.commands: list[Command] = []
        """Whatever was started, until it has ended."""
        (root / "logs").mkdir()
        (root / "scratch").mkdir()

    def prepare(self) -> None:
        """Run it undisturbed, and remember what that left and took."""
        began = time.monotonic()
        command = self.start("run")
        marks = [(0.0, 0, "")]
        while command.runs:
            doing = [s for s in STEPS if f"\n{s}: not done yet" in f"\n{command.said}"]
            if len(doing) >= len(marks):
                marks.append((time.monotonic() - began, self.counted(), doing[-1]))
            time.sleep(0.05)
        assert command.ended() == 0, command.said
        marks.append((time.monotonic() - began, self.counted(), ""))
        for (since, before, step), (until, after, _) in pairwise(marks[1:]):
            self.effort.seconds[step] = until - since + marks[1][0]
            self.effort.counted[step] = after - before
        self.expected = without_locks(self.contents())
        self.keep()

    def start(
        self, verb: str, env: Mapping[str, str] | None = None, words: Sequence[str] = ()
    ) -> Command:
        """Start a command of handful; `words` come before it, as `unshare` does."""
        mark = f"{os.getpid()}-{next(_marks)}"
        command = Command.start(
            [*words, HANDFUL, verb, str(self.tiny.experiment), *self.words, *EVERY_STEP],
            {**self.environment(), **(env or {})},
            mark,
            self.root / "logs" / f"{mark}.txt",
        )
        self.commands.append(command)
        return command

    def end_all(self, seconds: float) -> list[str]:
        """What still goes on after so many seconds; nothing does afterwards."""
        until = time.monotonic() + seconds
        while (left := self._running()) and time.monotonic() < until:
            time.sleep(0.1)
        for command in self.commands:
            command.end_all()
        self.commands.clear()
        return left

    def _running(self) -> list[str]:
        found = marked(*(command.mark for command in self.commands))
        return [f"goes on: process {pid}: {what_runs(pid)}" for pid in sorted(found)]

    def environment(self) -> dict[str, str]:
        here = str(Path(__file__).parents[1])
        paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != here]
        return {
            **os.environ,
            **self.login,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(INSIDE), *paths]),
            "TMPDIR": str(self.root / "scratch"),
            "CHAOS_COUNTER": str(self.counter),
        }

    @property
    def counter(self) -> Path:
        return self.root / "changes"

    @property
    def told(self) -> Path:
        return self.root / "stands-still"

    def counted(self) -> int:
        """Changes of files or, on a server, requests, since the last reset."""
        return self.counter.stat().st_size if self.counter.exists() else 0

    def keep(self) -> None:
        shutil.copytree(self.tiny.root / "store", self.root / "finished")

    def reset(self, is_gone: Callable[[str], bool]) -> None:
        """As all was done, without the keys that are gone."""
        store = self.tiny.root / "store"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.root / "finished", store)
        for key in self.expected:
            if is_gone(key):
                (self.tiny.store / key).unlink()
        self.forget_counts()

    def forget_counts(self) -> None:
        for path in (self.counter, self.told):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.root / "scratch", ignore_errors=True)
        (self.root / "scratch").mkdir()

    def contents(self) -> dict[str, bytes]:
        """Every file in the store, of the experiment or not."""
        store = self.tiny.root / "store"
        files = (path for path in store.rglob("*") if path.is_file())
        found = {path.relative_to(store).as_posix(): path.read_bytes() for path in files}
        return {key.removeprefix(f"{NAME}/"): content for key, content in found.items()}


class OnServer(World):
    """Production and store on an S3 server, behind a proxy that can disturb."""

    name = "s3"

    def __init__(self, root: Path, server: S3Server, proxy: Proxy) -> None:
        super().__init__(root)
        self.proxy = proxy
        self.login = server.owner.environment()
        self.place = server.place()
        self.bucket, _, self.prefix = self.place.removeprefix("s3://").partition("/")
        self.client = server.client(max_pool_connections=_AT_ONCE)
        production = server.place("handful-production")
        bucket, _, prefix = production.removeprefix("s3://").partition("/")
        for path in self.tiny.files.rglob("*.txt"):
            key = f"{prefix}/{path.relative_to(self.tiny.files).as_posix()}"
            self.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        settings = (
            f"production.FILES_URL={production}",
            f"production.S3_ENDPOINT_URL={proxy.endpoint_url}",
            f"experiment.STORE={self.place}",
            f"experiment.S3_ENDPOINT_URL={proxy.endpoint_url}",
        )
        self.words = tuple(word for setting in settings for word in ("--set", setting))

    def counted(self) -> int:
        return len(self.proxy.requests)

    def keep(self) -> None:
        """`expected` is all that is needed."""

    def reset(self, is_gone: Callable[[str], bool]) -> None:
        wanted = {f"{NAME}/{k}": v for k, v in self.expected.items() if not is_gone(k)}
        found = self._etags()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._delete, found.keys() - wanted.keys()))
            changed = (k for k, v in wanted.items() if found.get(k) != hashlib.md5(v).hexdigest())
            list(pool.map(lambda key: self._put(key, wanted[key]), changed))
        self.forget_counts()

    def forget_counts(self) -> None:
        super().forget_counts()
        self.proxy.rule = passes
        self.proxy.requests.clear()
        self.proxy.done.clear()

    def contents(self) -> dict[str, bytes]:
        keys = list(self._etags())
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = dict(zip(keys, pool.map(self._get, keys), strict=True))
        return {key.removeprefix(f"{NAME}/"): content for key, content in found.items()}

    def _etags(self) -> dict[str, str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self.prefix}/"
        )
        return {
            one["Key"].removeprefix(f"{self.prefix}/"): one["ETag"].strip('"')
            for page in pages
            for one in page.get("Contents", [])
        }

    def _put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}", Body=content)

    def _get(self, key: str) -> bytes:
        found = self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")
        return bytes(found["Body"].read())

    def _delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")


@contextmanager
def worlds(root: Path, stores: Sequence[str]) -> Iterator[dict[str, World]]:
    """Those of the names, each run undisturbed once; all at once."""
    found: dict[str, World] = {}
    with ExitStack() as stack:
        stack.callback(lambda: [world.end_all(0) for world in found.values()])
        if "local" in stores:
            found["local"] = World(root / "local")
        if "s3" in stores:
            server = stack.enter_context(running_s3())
            proxy = stack.enter_context(faulty(server.endpoint_url))
            found["s3"] = OnServer(root / "s3", server, proxy)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda world: world.prepare(), found.values()))
        yield found
