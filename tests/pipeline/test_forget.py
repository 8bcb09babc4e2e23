"""`handful forget`: whoever is forgotten stands nowhere any more, killed or not."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from handful import layout
from handful.experiment.context import open_experiment
from handful.experiment.forgotten import begin_forgotten
from handful.files import checksums
from handful.layout import Layout
from handful.pipeline.forget import carry_out, plan_forgetting
from handful.progress import Silent
from handful.steps.forget.kinds import Kind, kind_of
from handful.storage.local.store import LocalStore
from handful.storage.lock import hold_lock
from handful.storage.open import open_store
from tests.support.tiny import FUNCTIONS, Tiny, make

GONE = "artifact-zz0101"
TWIN = "artifact-zz0102"
TOKENS = ("artifact-zz01", "quetzalword", "persongroup")
"""Of its ids, its text and its label row."""
RAN = ("--set", "tracking.TRACKER=tensorboard", "--set", "reconcile.LABEL_OVERRIDES=mine.csv")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = make(tmp_path_factory.mktemp("forget"))
    tiny.settings(NEAR_DUPLICATES="group", LABEL_QUERY="SELECT * FROM labels")
    functions = FUNCTIONS.replace(', "labels": label2id[label]', "")
    line = next(one for one in functions.splitlines() if one.strip().startswith("label = json"))
    (tiny.experiment / "functions.py").write_text(functions.replace(f"{line}\n", ""))
    tiny.sql(
        "ALTER TABLE labels ADD COLUMN person TEXT",
        f"INSERT INTO labels VALUES ('{GONE}', 'letter', 'persongroup')",
        f"INSERT INTO labels VALUES ('{TWIN}', 'letter', 'persongroup')",
    )
    for one in (GONE, TWIN):
        (tiny.files / one).mkdir()
        (tiny.files / one / "text.txt").write_text("amount due quetzalword total invoice " * 3)
    (tiny.experiment / "mine.csv").write_text(
        f"artifact_id,label\n{GONE},letter\n{TWIN},letter\nartifact-0003,letter\n"
    )
    done = tiny.handful("run", *RAN)
    assert done.returncode == 0, done.stdout + done.stderr
    done = tiny.handful(
        "predict",
        str(tiny.store / "data/reconciled_artifacts" / GONE),
        str(tiny.store / "data/reconciled_artifacts" / "artifact-0003"),
        "--output",
        str(tiny.experiment / "predicted.jsonl"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    begin_forgotten(open_store(str(tiny.store)))
    return tiny


@pytest.fixture
def copy(finished: Tiny, tmp_path: Path) -> Tiny:
    return Tiny(Path(shutil.copytree(finished.root, tmp_path / "copy", symlinks=True)))


def texts_of(path: Path) -> Iterator[str]:
    """The bytes of a file as they are, and what its columns hold."""
    data = path.read_bytes()
    yield data.decode("latin-1")
    if path.suffix == ".parquet":
        yield str(pl.read_parquet(io.BytesIO(data)).to_dicts())
    elif path.suffix == ".arrow":
        with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
            yield str(stream.read_all().to_pylist())


def naming(tiny: Tiny) -> set[str]:
    """Files of store and experiment that hold one of the tokens, in name or content."""
    return {
        str(path.relative_to(tiny.root))
        for folder in (tiny.store, tiny.experiment)
        for path in folder.rglob("*")
        if any(token in str(path.relative_to(folder)) for token in TOKENS)
        or (path.is_file() and any(token in t for t in texts_of(path) for token in TOKENS))
    }


def test_every_byte_forgets(copy: Tiny) -> None:
    before = naming(copy)
    assert any("labels.parquet" in one for one in before)
    assert any("predicted.jsonl" in one for one in before)
    figures = json.loads(
        (copy.store / "results/full_dataset/evaluation/model/seed-0/metrics.json").read_text()
    )["metrics"]
    asked = copy.handful("forget", GONE, *RAN)
    assert asked.returncode == 2, asked.stdout + asked.stderr
    assert "add --yes" in asked.stderr
    assert naming(copy) == before
    dry = copy.handful("forget", GONE, "--dry-run", *RAN)
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert f"{TWIN!r} has the same content as {GONE!r}" in dry.stdout
    assert naming(copy) == before
    done = copy.handful("forget", GONE, "--yes", *RAN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "final" in done.stdout
    assert naming(copy) == set()
    assert not (copy.store / layout.FORGET_JOURNAL).exists()
    ledger = pl.read_parquet(copy.store / layout.LEDGER)
    assert ledger.filter(pl.col("fate") == "forgotten").height == 2
    now = json.loads(
        (copy.store / "results/full_dataset/evaluation/model/seed-0/metrics.json").read_text()
    )["metrics"]
    assert now == figures
    assert (copy.experiment / "mine.csv").read_text() == "artifact_id,label\nartifact-0003,letter\n"

    # Nothing seems changed or damaged, a run has nothing to do, and a refresh brings nobody back.
    states = copy.handful("status", "--verify", *RAN)
    assert states.returncode == 0, states.stdout + states.stderr
    assert "to do" not in states.stdout
    assert "2 documents are forgotten" in states.stdout
    again = copy.handful("run", "--refresh", *RAN)
    assert again.returncode == 0, again.stdout + again.stderr
    for step in ("prepare", "tune", "train", "test", "compare"):
        assert f"{step}: up to date" in again.stdout, again.stdout
    assert naming(copy) == set()


def test_figures_say_that_they_were_made_with_it(copy: Tiny) -> None:
    done = copy.handful("forget", GONE, "--yes", *RAN)
    assert done.returncode == 0, done.stdout + done.stderr
    results = copy.store / "results/full_dataset"
    remarks = json.loads((results / "comparison.json").read_text())["remarks"]
    assert any("forgotten" in one for one in remarks)
    assert 'class="since-forgotten"' in (results / "report.html").read_text()


def test_an_unknown_id_is_said_and_remembered(copy: Tiny) -> None:
    done = copy.handful("forget", "artifact-0999", "--yes", "--json", *RAN)
    assert done.returncode == 0, done.stdout + done.stderr
    plan = json.loads(done.stdout.splitlines()[0])
    assert plan["unknown"] == ["artifact-0999"]
    folder = copy.files / "artifact-0999"
    folder.mkdir()
    (folder / "text.txt").write_text("amount due")
    copy.sql("INSERT INTO labels VALUES ('artifact-0999', 'letter', '')")
    done = copy.handful("reconcile", "--refresh", *RAN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (copy.store / "data/reconciled_artifacts/artifact-0999").exists()


def test_an_id_that_cannot_be_one_is_refused(copy: Tiny) -> None:
    done = copy.handful("forget", "a\nb", "--yes", *RAN)
    assert done.returncode == 2
    done = copy.handful("forget", "../../etc", "--yes", *RAN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (copy.store / "data/reconciled_artifacts/artifact-0003").exists()


class Killed(BaseException):
    """As if the process were gone."""


def forget_here(tiny: Tiny, ids: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        words = tuple(RAN[1::2])
        experiment = open_experiment(tiny.experiment, words, Silent(), Path(scratch))
        carry_out(experiment, plan_forgetting(experiment, ids))


def content(tiny: Tiny) -> dict[str, str]:
    return {
        str(path.relative_to(tiny.root)): checksums.of_file(path).sha256
        for folder in (tiny.store, tiny.experiment)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "lock" not in path.parts and path.name != "forgotten.json"
        if ".handful-tmp" not in path.parts
    }


def test_killed_at_any_write_the_same_call_ends_the_same(
    finished: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One place for all, since records tell where the store is.
    place = tmp_path / "place"

    def fresh() -> Tiny:
        shutil.rmtree(place, ignore_errors=True)
        return Tiny(Path(shutil.copytree(finished.root, place, symlinks=True)))

    writes = {name: getattr(LocalStore, name) for name in ("write", "send", "delete")}
    count, end = 0, 0

    def counting(name: str) -> object:
        def call(store: LocalStore, *words: object, **more: object) -> object:
            nonlocal count
            count += 1
            if count == end:
                raise Killed
            return writes[name](store, *words, **more)

        return call

    for name in writes:
        monkeypatch.setattr(LocalStore, name, counting(name))
    tiny = fresh()
    forget_here(tiny, [GONE])
    total, expected = count, content(tiny)
    assert total > 40
    for at in (1, 2, 3, *range(4, total, 6), total - 1, total):
        tiny, count, end = fresh(), 0, at
        with pytest.raises(Killed):
            forget_here(tiny, [GONE])
        end = 0
        for folder in [*tiny.store.rglob("lock")]:  # of a dead process it would give way by itself
            shutil.rmtree(folder)
        if (tiny.store / layout.FORGET_JOURNAL).exists():
            forget_here(tiny, [])
        else:
            forget_here(tiny, [GONE])
        assert naming(tiny) == set(), at
        found = content(tiny)
        assert {k for k in expected.keys() | found if expected.get(k) != found.get(k)} == set(), at


def test_while_it_is_half_done_no_step_runs(copy: Tiny) -> None:
    open_store(str(copy.store)).write(layout.FORGET_JOURNAL, b"{}")
    for command in ("run", "reconcile", "status"):
        done = copy.handful(command, *RAN)
        assert done.returncode == 1
        assert "half forgotten" in done.stderr


def test_another_machine_s_share_and_forget_exclude_each_other(copy: Tiny) -> None:
    share = ("prepare", "--worker", "1", "--of", "2")
    before = naming(copy)
    with hold_lock(
        open_store(str(copy.store)), f"{Layout('full_dataset').prepared_lock}-worker-1", "x"
    ):
        done = copy.handful("forget", GONE, "--yes", *RAN)
        assert done.returncode == 1, done.stdout + done.stderr
    assert naming(copy) == before
    open_store(str(copy.store)).write(layout.FORGET_JOURNAL, b"{}")
    done = copy.handful(*share, *RAN)
    assert done.returncode == 1
    assert "half forgotten" in done.stderr


def test_every_file_of_a_store_has_its_kind(finished: Tiny) -> None:
    for path in finished.store.rglob("*"):
        key = path.relative_to(finished.store).as_posix()
        if path.is_file() and "tracking" not in path.parts:
            assert kind_of(key) is not Kind.OTHER or key.startswith("data/forgotten/"), key
