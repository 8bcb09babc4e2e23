"""`handful check` after a first reconcile, `run --refresh`, and a store inside production."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.cuts import cheap_cut
from tests.support.tiny import Tiny, make


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def reconciled(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = make(tmp_path_factory.mktemp("reconciled"), artifacts=12)
    done = tiny.handful("reconcile")
    assert done.returncode == 0, done.stdout + done.stderr
    return tiny


@pytest.fixture
def tiny(reconciled: Tiny, tmp_path: Path) -> Tiny:
    return Tiny(Path(shutil.copytree(reconciled.root, tmp_path / "copy")))


def test_production_is_asked_for_a_sample(tiny: Tiny) -> None:
    before = files_of(tiny.root)
    done = tiny.handful("check")
    assert done.returncode == 0, done.stderr
    assert "artifacts were found, and a file of one was read" in done.stdout
    assert files_of(tiny.root) == before


@pytest.mark.slow
def test_a_query_that_broke_is_found_before_the_run(tiny: Tiny) -> None:
    tiny.sql("ALTER TABLE labels RENAME COLUMN label TO kind")
    done = tiny.handful("check")
    assert done.returncode == 2
    assert "label" in done.stderr
    assert tiny.handful("check", "--offline").returncode == 0
    # A run never asks, so it is none the worse.
    assert "up to date" in tiny.handful("reconcile").stdout


@pytest.mark.slow
def test_a_column_to_group_by_that_nobody_gives_is_found_before_the_run(tiny: Tiny) -> None:
    done = tiny.handful("check", "--offline", "--set", "prepare.GROUP_BY=custommer")
    assert done.returncode == 2
    assert "'custommer'" in done.stderr
    assert "GROUP_BY" in done.stderr


@pytest.mark.slow
def test_the_longest_documents_are_tried(tiny: Tiny) -> None:
    place = next(tiny.root.glob("**/reconciled_artifacts"))
    document = sorted(place.iterdir())[-1]
    (document / "text.txt").write_text("amount due " * 40)
    path = tiny.experiment / "functions.py"
    path.write_text(path.read_text().replace("[:64]", "[:100]"))
    done = tiny.handful("check", "--offline")
    assert done.returncode == 2
    assert f"{document.name} (80 tokens, tried)" in done.stderr


@pytest.mark.slow
def test_a_file_store_that_broke_is_found_before_the_run(tiny: Tiny) -> None:
    tiny.files.rename(tiny.root / "moved")
    done = tiny.handful("check")
    assert done.returncode == 1
    assert str(tiny.files) in done.stderr
    offline = tiny.handful("check", "--offline")
    assert offline.returncode == 0
    assert "a file of one was read" not in offline.stdout


@pytest.mark.slow
def test_whom_nobody_answers_is_warned(tiny: Tiny) -> None:
    tiny.settings(DATABASE_URL="postgresql://u:secret@127.0.0.1:9/db")
    done = tiny.handful("check")
    assert done.returncode == 0, done.stderr
    assert "production cannot be asked" in done.stdout + done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert "two training steps" in done.stdout


@pytest.mark.slow
def test_without_artifacts_nobody_can_do_without_production(tmp_path: Path) -> None:
    tiny = make(tmp_path, artifacts=6)
    done = tiny.handful("check", "--offline")
    assert done.returncode == 2
    assert "leave --offline out" in done.stderr


@pytest.mark.slow
def test_run_refresh_takes_production_anew_and_goes_on(tiny: Tiny) -> None:
    old = tiny.files / "artifact-0000"
    shutil.copytree(old, tiny.files / "artifact-9999")
    (tiny.files / "artifact-9999" / "text.txt").write_text("something new")
    tiny.sql("INSERT INTO labels VALUES ('artifact-9999', 'invoice')")
    asked = tiny.handful("run", "--until", "prepare", "--dry-run", "--refresh")
    assert "asked to do it again" in asked.stdout
    done = tiny.handful("run", "--until", "prepare", "--refresh")
    assert done.returncode == 0, done.stderr
    assert "production since" in done.stdout
    assert "prepare:" in done.stdout
    assert (tiny.store / "data" / "reconciled_artifacts" / "artifact-9999").is_dir()
    again = tiny.handful("run", "--until", "prepare")
    assert "reconcile: up to date" in again.stdout


def test_refresh_and_from_contradict_each_other(tiny: Tiny) -> None:
    done = tiny.handful("run", "--from", "prepare", "--refresh")
    assert done.returncode == 2
    assert "leave --from out" in done.stderr


WRITERS = (
    *(("run",), ("run", "--refresh"), ("reconcile",), ("reconcile", "--refresh")),
    *(("prepare",), ("prepare", "--worker", "0"), ("check",)),
)


@pytest.mark.parametrize("command", cheap_cut(WRITERS, WRITERS[2:5:2]))
def test_a_store_inside_production_is_refused_before_a_byte_is_written(
    tiny: Tiny, command: tuple[str, ...]
) -> None:
    """Also one that is there already, made when nobody looked."""
    inside = tiny.files / "store"
    shutil.move(tiny.root / "store", inside)
    text = (tiny.experiment / "settings.ini").read_text()
    (tiny.experiment / "settings.ini").write_text(f"[experiment]\nSTORE = {inside}\n{text}")
    before = files_of(tiny.root)
    done = tiny.handful(*command)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "STORE" in done.stderr
    assert str(tiny.files) in done.stderr
    assert files_of(tiny.root) == before
    assert tiny.handful("status").returncode == 0


@pytest.mark.slow
def test_moved_as_the_error_says_it_goes_on(tiny: Tiny) -> None:
    text = (tiny.experiment / "settings.ini").read_text()
    inside = tiny.files / "store"
    shutil.move(tiny.root / "store", inside)
    (tiny.experiment / "settings.ini").write_text(f"[experiment]\nSTORE = {inside}\n{text}")
    assert tiny.handful("reconcile").returncode == 2
    shutil.move(inside, tiny.root / "store")
    (tiny.experiment / "settings.ini").write_text(text)
    done = tiny.handful("reconcile")
    assert done.returncode == 0
    assert "up to date" in done.stdout
