"""Mutation testing of what the promises stand on: lock, matching and ledger, splits, metrics.

    python tests/mutants.py                 the whole sample (`make mutants`)
    python tests/mutants.py --area lock     one area; --only KEY …, some mutants alone

A mutant is the code with one small fault in it: mutmut's (another operator, an argument left out or
None, another number, …), and two more: a statement left out, and a condition turned round. The
tests that `make test` runs should notice. What survives is printed with its difference, and ends
the run with 1 unless mutants_argued.toml says why nobody needs to notice it.

The sample is the same at every run: of each kind of fault the mutants with the smallest hashes of
SEED and themselves. So a change elsewhere in a module draws no others. All kinds have the same
share, as most mutants are arguments that are left out, and mostly any test notices.

Why not mutmut itself: it leaves out every function with a decorator, and so the context managers
and properties of the lock and more than half of the gate. Why not cosmic-ray: it replaces operators
and numbers alone (155 of its 245 mutants of matching.py are one operator between columns for
another, which is mostly a type error), and each of them is a process that imports everything anew.
Here each is a fork of one that has imported what is not handful's.

Left out: what is no function's (constants are choices), annotations, decorators, `len` and
`isinstance` as in mutmut, and words for people: strings with a space in them.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import ctypes
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before anything is imported: a fork keeps no threads

import libcst as cst
import psutil
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).parents[1]
SOURCE = "src/handful"
ARGUED = Path(__file__).with_name("mutants_argued.toml")
SEED = "handful"
ENOUGH = 0.9
SLOTS = 2
"""How many mutants are tested at the same time, each in a copy of its own."""
WARM = (
    "boto3",
    "evaluate",
    "hypothesis",
    "numpy",
    "obstore",
    "polars",
    "psutil",
    "pyarrow",
    "pyarrow.compute",
    "pyarrow.parquet",
    "pytest",
    "rich.console",
    "scipy.optimize",
    "scipy.sparse",
    "sklearn.metrics",
    "sqlalchemy",
    "sqlglot",
    "torch",
    "transformers",
)
"""What a fork finds imported; nothing of handful's."""
KINDS = {
    "operator_arg_removal": "argument",
    "operator_dict_arguments": "argument",
    "operator_assignment": "assignment",
    "operator_augmented_assignment": "assignment",
    "operator_name": "value",
    "operator_number": "value",
    "operator_string": "value",
}
"""Of mutmut's operators; all others are "operator", and our own are "statement"."""
_DEATH_SIGNAL, _SUBREAPER = 1, 36
"""Of prctl."""


@dataclass(frozen=True)
class Area:
    """Modules, the test files that should notice, and how many of the mutants are tried."""

    name: str
    modules: Mapping[str, Sequence[str]]
    sample: int = 50
    late: str = "\0"
    """Tests with this in their names come last: a server has to be started for them."""


def unit(room: str, *names: str) -> list[str]:
    return [f"tests/unit/{room}/test_{name}.py" for name in names]


def of_step(step: str, tests: Sequence[str], *names: str) -> dict[str, Sequence[str]]:
    return {f"steps/{step}/{name}.py": tests for name in names}


_LOCK = ["tests/contract/test_lock.py"]
_SCORING = unit("evaluation", "figures", "counts_and_bootstrap")
_COMPARING = unit("evaluation", "mcnemar_and_holm", "verdict", "counts_and_bootstrap")
_METRICS = unit("training/evaluation", "metrics")
AREAS = (
    Area("lock", {"storage/lock.py": _LOCK, "storage/lock_guard.py": _LOCK}, late="[s3"),
    Area(
        "matching and ledger",
        of_step(
            "reconcile",
            [
                *unit("steps/reconcile", "matching", "contents"),
                "tests/pipeline/test_reconcile.py",
            ],
            *("matching", "ledger", "assign_fates", "snapshot/contents"),
        ),
    ),
    Area(
        "splits",
        of_step(
            "prepare/splitting",
            unit("steps/prepare", "splits", "totals"),
            *("splits", "groups", "union_find", "quotas", "balancing", "exact_split", "totals"),
        ),
    ),
    Area(
        "metrics",
        {
            f"evaluation/significance/{name}.py": _COMPARING
            for name in ("gain", "holm", "mcnemar", "pairs", "verdict")
        }
        | {
            f"evaluation/metrics/{name}.py": _SCORING
            for name in ("bootstrap", "calibration", "counts", "coverage", "figures", "ranked")
        }
        | {
            "evaluation/metrics/single.py": [*_SCORING, *_METRICS],
            "training/evaluation/metrics.py": _METRICS,
        },
    ),
)


# --- the mutants ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """One fault in one place."""

    key: str
    """A hash of path, function and lines: the same as long as these lines are."""
    kind: str
    path: str
    function: str
    before: str
    """The lines that differ, as they are."""
    after: str
    code: bytes
    """The whole file."""

    @property
    def place(self) -> str:
        return hashlib.sha256(f"{SEED} {self.key}".encode()).hexdigest()

    @property
    def is_other_code(self) -> bool:
        """Brackets alone make none, and what is no Python tells nothing."""
        before = ast.parse((ROOT / SOURCE / self.path).read_bytes())
        try:
            return ast.dump(ast.parse(self.code)) != ast.dump(before)
        except SyntaxError:
            return False

    def __str__(self) -> str:
        lines = [f"{self.key}  {self.path}: {self.function}"]
        lines += [f"    - {line}" for line in self.before.splitlines()]
        lines += [f"    + {line}" for line in self.after.splitlines()]
        return "\n".join(lines)


class _Faults(cst.CSTVisitor):
    """Collects (node, what stands in its place, the function, the fault's kind) of a file."""

    METADATA_DEPENDENCIES = (ByteSpanPositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, str, str]] = []
        self._names: list[tuple[cst.CSTNode, str]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation | cst.Decorator | cst.ImportFrom | cst.Import):
            return False
        if _is_call_of(node, {"len", "isinstance"}) or _is_for_people(node):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._names.append((node, node.name.value))
        if any(isinstance(owner, cst.FunctionDef) for owner, _ in self._names):
            where = ".".join(name for _, name in self._names)
            self.found += [(node, other, where, kind) for kind, other in _faults_of(node)]
            if isinstance(node, cst.If):
                self.found.append((node.test, _turned(node.test), where, "statement"))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if self._names and self._names[-1][0] is original_node:
            self._names.pop()


def _is_call_of(node: cst.CSTNode, names: set[str]) -> bool:
    is_call = isinstance(node, cst.Call) and isinstance(node.func, cst.Name)
    return is_call and node.func.value in names


def _is_for_people(node: cst.CSTNode) -> bool:
    """A docstring, or words: they may be said otherwise."""
    if isinstance(node, cst.SimpleString):
        return " " in node.value
    return isinstance(node, cst.FormattedString) and any(
        isinstance(part, cst.FormattedStringText) and " " in part.value for part in node.parts
    )


def _faults_of(node: cst.CSTNode) -> Iterator[tuple[str, cst.CSTNode]]:
    for of, operator in mutation_operators:
        if isinstance(node, of):
            kind = KINDS.get(operator.__name__, "operator")
            yield from ((kind, other) for other in operator(node))
    if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1:
        (only,) = node.body
        is_call = isinstance(only, cst.Expr) and isinstance(only.value, cst.Call)
        if is_call or isinstance(only, cst.Raise):
            yield "statement", node.with_changes(body=[cst.Pass()])


def _turned(test: cst.BaseExpression) -> cst.BaseExpression:
    brackets = {"lpar": [cst.LeftParen()], "rpar": [cst.RightParen()]}
    return cst.UnaryOperation(cst.Not(), test.with_changes(**brackets), **brackets)


def mutants_of(path: str) -> list[Mutant]:
    """All of one file of `SOURCE`."""
    source = (ROOT / SOURCE / path).read_bytes()
    wrapper = MetadataWrapper(cst.parse_module(source))
    spans = wrapper.resolve(ByteSpanPositionProvider)
    faults = _Faults()
    wrapper.visit(faults)
    seen: Counter[str] = Counter()
    found = []
    for node, other, function, kind in faults.found:
        if node not in spans:
            continue
        was, new = (wrapper.module.code_for_node(one) for one in (node, other))
        if isinstance(node, cst.SimpleStatementLine):  # its indent is not in its span
            was, new = was.strip(), new.strip()
        place = _place(source, spans[node].start, was)
        if place is None:
            continue
        start, indent = place
        end = start + len(_deeper(was, indent))
        new = _deeper(new, indent)
        code = source[:start] + new + source[end:]
        first = source.rfind(b"\n", 0, start) + 1
        last = len(source) - (source.find(b"\n", end) + 1)
        before, after = _lines(source[first : -last or None]), _lines(code[first : -last or None])
        text = f"{path}|{function}|{before}|{after}"
        seen[text] += 1
        key = hashlib.sha256(f"{text}|{seen[text]}".encode()).hexdigest()[:8]
        found.append(Mutant(key, kind, path, function, before, after, code))
    return found


def _deeper(code: str, indent: int) -> bytes:
    return code.replace("\n", "\n" + " " * indent).encode()


def _place(source: bytes, start: int, code: str) -> tuple[int, int] | None:
    """Where a node's code is, whose span leaves brackets out, and how far it is indented."""
    for indent in range(0, 24, 4) if "\n" in code else [0]:
        found = _deeper(code, indent)
        for at in range(start, max(0, start - 8), -1):
            if source.startswith(found, at):
                return at, indent
    return None


def _lines(code: bytes) -> str:
    return "\n".join(line.strip() for line in code.decode().strip().splitlines())


def sample_of(
    area: Area, number: int, only: Container[str] | None = None
) -> tuple[list[Mutant], int]:
    """The area's sample, of all kinds in turn, or those of `only`; and of how many it is one."""
    everyone = [mutant for path in area.modules for mutant in mutants_of(path)]
    if only is not None:
        return [one for one in everyone if one.key in only], len(everyone)
    kinds: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in sorted(everyone, key=lambda one: one.place):
        kinds[mutant.kind].append(mutant)
    some = zip_longest(*(kinds[kind] for kind in sorted(kinds)))
    in_turn = (one for each in some for one in each if one is not None)
    return list(islice(filter(lambda one: one.is_other_code, in_turn), number)), len(everyone)


# --- the tests -----------------------------------------------------------------------------------


class Slot:
    """A copy of the project, in which one mutant at a time is tested."""

    def __init__(self, root: Path) -> None:
        self.root = root
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        for name in filter(None, names.decode().split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, root / name)
        self._clock = 1_000_000_000

    @contextlib.contextmanager
    def holding(self, path: str, code: bytes) -> Iterator[None]:
        """With `code` in the place of a file: of a time of its own, so that no .pyc is taken."""
        file = self.root / SOURCE / path
        before = file.read_bytes()
        self._write(file, code)
        try:
            yield
        finally:
            self._write(file, before)

    def _write(self, file: Path, code: bytes) -> None:
        file.write_bytes(code)
        self._clock += 10
        os.utime(file, (self._clock, self._clock))


@dataclass(frozen=True)
class Limit:
    """How long the tests may take, in seconds: a loaded machine makes no mutant endless."""

    cpu: int
    wall: float


class Quickest:
    """A plugin of pytest: the tests that take the least time come first."""

    def __init__(self, seconds: Mapping[str, float], late: str) -> None:
        self._seconds = dict(seconds)
        self._late = late
        self.took: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda one: (self._late in one.nodeid, self._seconds.get(one.nodeid, 0)))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.took[report.nodeid] += report.duration


@dataclass
class Run:
    """A process that runs some tests."""

    pid: int
    log: Path
    began: float
    limit: Limit


def _prctl(what: int, value: int) -> None:
    with contextlib.suppress(AttributeError):  # elsewhere than on Linux
        ctypes.CDLL(None).prctl(what, value, 0, 0, 0)


def be_steady() -> None:
    """The same cases each time, none of them too slow; and the first that fails is enough."""
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(
        "mutants", deadline=None, derandomize=True, database=None, phases=phases
    )


def start(slot: Slot, tests: Sequence[str], order: Quickest, limit: Limit, name: str) -> Run:
    log = slot.root / "log"
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return Run(pid, log, time.monotonic(), limit)
    status = 70
    try:
        os.setsid()
        _prctl(_DEATH_SIGNAL, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CPU, (limit.cpu, limit.cpu))
        with log.open("wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        temporary = slot.root / "temporary"
        temporary.mkdir(exist_ok=True)
        tempfile.tempdir = None
        os.environ |= {
            "TMPDIR": str(temporary),
            "PYTHONPATH": str(slot.root / "src"),
            "HANDFUL_MUTANT": name,
        }
        os.chdir(slot.root)
        sys.path.insert(0, str(slot.root / "src"))
        import pytest

        arguments = [
            *("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--tb=line"),
            *("-m", "not slow and not live and not containers"),
            *("--hypothesis-profile=mutants", f"--timeout={limit.wall:.0f}", *tests),
        ]
        be_steady()
        status = int(pytest.main(arguments, plugins=[order]))
        (slot.root / "took").write_text(json.dumps(order.took))
    finally:
        sys.stdout.flush()
        os._exit(status)


def finish(run: Run, name: str) -> int | None:
    """The exit status; None: it took too long. Whatever it started is ended, too."""
    status: int | None = None
    while time.monotonic() < run.began + run.limit.wall:
        pid, found = os.waitpid(run.pid, os.WNOHANG)
        if pid:
            status = os.waitstatus_to_exitcode(found)
            break
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(run.pid, signal.SIGKILL)
    for process in _started_by(name):
        with contextlib.suppress(psutil.Error):
            process.kill()
    if status is None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(run.pid, signal.SIGKILL)
            os.waitpid(run.pid, 0)
    return status


def _started_by(name: str) -> Iterator[psutil.Process]:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HANDFUL_MUTANT") == name:
                yield process


@dataclass(frozen=True)
class Result:
    mutant: Mutant
    fate: str
    """killed, timed out, or survived."""
    by: str
    """What noticed it."""


def result_of(slot: Slot, mutant: Mutant, area: Area, known: Known) -> Result:
    """Run the tests until one notices."""
    tests = area.modules[mutant.path]
    with slot.holding(mutant.path, mutant.code):
        name = f"{mutant.key}-{os.getpid()}"
        order = Quickest(known.seconds, area.late)
        run = start(slot, tests, order, known.limits[" ".join(tests)], name)
        status = finish(run, name)
    said = run.log.read_text(errors="replace")
    shutil.rmtree(slot.root / "temporary", ignore_errors=True)
    if status is None or status in (-signal.SIGXCPU, -signal.SIGKILL):
        return Result(mutant, "timed out", "")
    if status in (4, 5, 70):
        raise SystemExit(f"{mutant}\npytest could not run ({status}):\n{said}")
    if status:
        lines = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return Result(mutant, "killed", lines[0] if lines else f"exit status {status}")
    return Result(mutant, "survived", "")


def warm_up() -> None:
    for name in WARM:
        importlib.import_module(name)
    assert not any(name.split(".")[0] == "handful" for name in sys.modules)


@dataclass
class Known:
    """What the tests do where there is no mutant."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Of each test."""
    limits: dict[str, Limit] = field(default_factory=dict)
    """Of each set of test files."""


def try_out(slot: Slot, area: Area, paths: Iterable[str], known: Known) -> None:
    """Run the tests of some modules without a mutant; they pass."""
    for tests in dict.fromkeys(tuple(area.modules[path]) for path in paths):
        text = " ".join(tests)
        if text in known.limits:
            continue
        name = f"none-{os.getpid()}"
        before = os.times()
        run = start(slot, tests, Quickest({}, area.late), Limit(1800, 1800), name)
        status = finish(run, name)
        shutil.rmtree(slot.root / "temporary", ignore_errors=True)
        if status != 0:
            raise SystemExit(f"{text} fails without a mutant:\n{run.log.read_text()}")
        took, now = time.monotonic() - run.began, os.times()
        cpu = now.children_user + now.children_system
        cpu -= before.children_user + before.children_system
        known.seconds |= json.loads((slot.root / "took").read_text())
        known.limits[text] = Limit(int(20 + 3 * cpu), 90 + 5 * took)
        print(f"  {took:5.1f} s, {cpu:.1f} of them the CPU's: {text}", flush=True)


def results(
    slots: Sequence[Slot], area: Area, mutants: Sequence[Mutant], known: Known
) -> Iterator[Result]:
    """One process for each slot, which takes every n-th mutant, and tells by lines of a file."""
    pids = []
    for place, slot in enumerate(slots):
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        status = 1
        try:
            _prctl(_DEATH_SIGNAL, signal.SIGTERM)
            _prctl(_SUBREAPER, 1)  # orphans of the tests come to us
            with (slot.root / "results").open("w") as out:
                for mutant in mutants[place :: len(slots)]:
                    found = result_of(slot, mutant, area, known)
                    print(mutant.key, found.fate, found.by, sep="\t", file=out, flush=True)
                    print({"survived": "S", "timed out": "T"}.get(found.fate, "."), end="")
                    sys.stdout.flush()
            status = 0
        except SystemExit as error:
            print(error, flush=True)
            for process in psutil.Process().children(recursive=True):
                process.kill()
        finally:
            sys.stdout.flush()
            os._exit(status)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    print()
    if any(statuses):
        raise SystemExit("a process that tests mutants has failed")
    by_key = {mutant.key: mutant for mutant in mutants}
    for slot in slots:
        for line in (slot.root / "results").read_text().splitlines():
            key, fate, by = line.split("\t")
            yield Result(by_key[key], fate, by)


def report(area: Area, found: Sequence[Result], of: int, argued: Mapping[str, str]) -> bool:
    """Print what became of the area's mutants; is it good enough?"""
    fates = Counter(one.fate for one in found)
    killed = fates["killed"] + fates["timed out"]
    left = sorted((one for one in found if one.fate == "survived"), key=lambda one: str(one.mutant))
    share = killed / len(found)
    print(
        f"\n{area.name}: {len(found)} of {of} mutants: {killed} killed ({share:.1%}; "
        f"{fates['timed out']} of them timed out), {len(left)} survived"
    )
    for one in left:
        print(textwrap.indent(str(one.mutant), "  "))
        print(f"      argued: {argued[one.mutant.key]}" if one.mutant.key in argued else "      ?")
    return share >= ENOUGH and all(one.mutant.key in argued for one in left)


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutation testing; see the head of the file.")
    parser.add_argument("--area", choices=[area.name for area in AREAS], action="append")
    parser.add_argument(
        "--only", nargs="+", metavar="KEY", help="these mutants, in the sample or no"
    )
    parser.add_argument("--sample", type=int, help="so many of each area")
    parser.add_argument("--list", action="store_true", help="print the sample and test nothing")
    parser.add_argument("--killers", action="store_true", help="print what killed each mutant")
    chosen = parser.parse_args()
    argued = {one["key"]: one["why"] for one in tomllib.loads(ARGUED.read_text())["mutant"]}
    areas = [area for area in AREAS if not chosen.area or area.name in chosen.area]
    samples: list[tuple[Area, list[Mutant], int]] = []
    for area in areas:
        mutants, of = sample_of(area, chosen.sample or area.sample, chosen.only)
        samples.append((area, mutants, of))
    if chosen.list:
        for area, mutants, of in samples:
            print(f"{area.name}: {len(mutants)} of {of}", *map(str, mutants), sep="\n")
        return 0
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    warm_up()
    good = True
    folder = Path(tempfile.mkdtemp(prefix="handful-mutants-"))
    print(f"mutants of the seed {SEED!r}, in copies under {folder}", flush=True)
    try:
        slots = [Slot(folder / str(number)) for number in range(SLOTS)]
        for area, mutants, of in samples:
            if not mutants:
                continue
            print(f"{area.name}: the tests without a mutant", flush=True)
            known = Known()
            try_out(slots[0], area, (one.path for one in mutants), known)
            found = list(results(slots, area, mutants, known))
            good &= report(area, found, of, argued)
            if chosen.killers:
                for one in found:
                    print(f"  {one.mutant.key} {one.fate} {one.by}")
            print(f"  {(time.monotonic() - began) / 60:.1f} minutes so far", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
