"""The demo's pretend business: whole, always the same, with the faults that its README tells."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "build_business.py"
CATEGORIES = {
    "CLA",
    "Commercial",
    "Copyleft",
    "Copyleft Limited",
    "Free Restricted",
    "Patent License",
    "Permissive",
    "Proprietary Free",
    "Public Domain",
    "Source-available",
    "Unstated License",
}


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_business", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


build_business = _script()


@pytest.fixture(scope="module")
def business(tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("examples") / "business"
    assert build_business.build(destination)
    return destination


def label_rows(business: Path) -> list[dict[str, str | None]]:
    with closing(sqlite3.connect(business / "labels.sqlite")) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM labels ORDER BY rowid")]


def planted(name: str) -> str:
    return build_business.artifact_id(f"planted/{name}")


def rows_of(business: Path, artifact_id: str) -> list[dict[str, str | None]]:
    return [row for row in label_rows(business) if row["artifact_id"] == artifact_id]


def in_store(business: Path) -> set[str]:
    return {folder.name for folder in (business / "files").iterdir()}


def contents(business: Path) -> Iterator[tuple[str, str]]:
    """Every file of the store with the hash of what it holds."""
    for path in sorted((business / "files").rglob("*")):
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            yield str(path.relative_to(business)), content


def test_the_business_is_that_of_the_package(business: Path) -> None:
    rows = label_rows(business)
    labels = Counter(row["label"] for row in rows)
    assert len(rows) > 2_250
    assert set(labels) - {None} == CATEGORIES
    assert 0.37 < labels["Permissive"] / len(rows) < 0.41
    files = Counter(path.parent.name for path in (business / "files").rglob("*") if path.is_file())
    assert sum(count >= 10 for count in files.values()) > 300
    assert max(files.values()) == build_business.MAX_RULES + 2


def test_an_artifact_holds_its_text_its_rules_and_its_metadata(business: Path) -> None:
    folder = business / "files" / build_business.artifact_id("mit")
    text = json.loads((folder / "raw_text.json").read_text(encoding="utf-8"))["text"]
    assert text.startswith("Permission is hereby granted, free of charge")
    assert len(list(folder.glob("rule_[0-9][0-9].txt"))) > 10
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["name"] == "MIT License"
    assert "category" not in metadata


def test_the_hash_is_that_of_the_text_as_it_is_stored(business: Path) -> None:
    checked = 0
    for row in label_rows(business):
        text = business / "files" / str(row["artifact_id"]) / "raw_text.json"
        if text.is_file():
            assert row["file_hash"] == hashlib.sha256(text.read_bytes()).hexdigest()
            checked += 1
        else:
            assert row["file_hash"] is None
    assert checked > 2_200


def test_a_duplicate_and_a_conflicting_duplicate_are_planted(business: Path) -> None:
    (mit,) = rows_of(business, build_business.artifact_id("mit"))
    (copy,) = rows_of(business, planted("duplicate"))
    assert (copy["file_hash"], copy["label"]) == (mit["file_hash"], mit["label"])
    (wtfpl,) = rows_of(business, build_business.artifact_id("wtfpl-2.0"))
    (conflict,) = rows_of(business, planted("conflict"))
    assert conflict["file_hash"] == wtfpl["file_hash"]
    assert conflict["label"] != wtfpl["label"]


def test_a_row_twice_and_an_id_with_two_labels_are_planted(business: Path) -> None:
    first, second = rows_of(business, build_business.artifact_id("zlib"))
    assert first == second
    labels = {row["label"] for row in rows_of(business, build_business.artifact_id("sleepycat"))}
    assert len(labels) == 2


def test_what_has_no_label_no_row_or_no_files_is_planted(business: Path) -> None:
    (unlabelled,) = rows_of(business, planted("unlabelled"))
    assert unlabelled["label"] is None
    assert planted("unlabelled") in in_store(business)
    assert planted("no label row") in in_store(business)
    assert not rows_of(business, planted("no label row"))
    assert rows_of(business, planted("label without artifact"))
    assert planted("label without artifact") not in in_store(business)
    assert rows_of(business, planted("artifact without files"))
    assert not list((business / "files" / planted("artifact without files")).iterdir())


def test_ids_that_must_never_become_a_path_are_planted(business: Path) -> None:
    ids = {row["artifact_id"] for row in label_rows(business)}
    assert {"../../etc/passwd", "a\nb"} < ids
    assert "passwd" not in {path.name for path in business.rglob("*")}


@pytest.mark.slow
def test_it_is_always_the_same(business: Path, tmp_path: Path) -> None:
    build_business.build(tmp_path / "again")
    assert label_rows(tmp_path / "again") == label_rows(business)
    assert list(contents(tmp_path / "again")) == list(contents(business))


def test_a_second_call_leaves_it_alone(business: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (business / "labels.sqlite").stat().st_mtime_ns
    assert build_business.main([str(business)]) == 0
    assert "already built" in capsys.readouterr().out
    assert (business / "labels.sqlite").stat().st_mtime_ns == before


def test_one_of_another_version_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_licence(tmp_path, monkeypatch)
    business = tmp_path / "business"
    assert build_business.build(business)
    (business / "business.json").write_text('{"licensedcode-data": "0.1"}')
    (business / "files" / "stale.txt").write_text("of the version before")
    (tmp_path / ".business.building").mkdir()
    (tmp_path / ".business.building" / "half").write_text("of a build that was killed")
    assert build_business.build(business)
    assert not (business / "files" / "stale.txt").exists()
    assert not (business / "half").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"business", "data"}


def test_what_it_did_not_make_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit, match="did not make it"):
        build_business.build(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_licence_without_text_has_no_raw_text_and_no_hash(tmp_path: Path) -> None:
    data = package_data(tmp_path / "data", text="")
    business = build_business.from_licences(data)
    (row,) = business.rows
    assert row.file_hash is None
    assert set(business.files[row.artifact_id]) == {"rule_01.txt", "metadata.json"}
    assert business.files[row.artifact_id]["rule_01.txt"] == b"under the Tiny licence"


def package_data(folder: Path, text: str) -> Path:
    """What the package holds, with a single licence."""
    (folder / "licenses").mkdir(parents=True)
    (folder / "rules").mkdir()
    front = "key: tiny\nname: Tiny License\ncategory: Permissive\n"
    (folder / "licenses" / "tiny.LICENSE").write_text(f"---\n{front}---\n\n{text}")
    for name, expression in (("tiny_1", "tiny"), ("other_1", "tiny OR mit")):
        rule = f"---\nlicense_expression: {expression}\n---\n\nunder the Tiny licence\n"
        (folder / "rules" / f"{name}.RULE").write_text(rule)
    return folder


def one_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package hold one licence, which is enough where its content does not matter."""
    data = package_data(tmp_path / "data", text="Do what is right.")
    monkeypatch.setattr(build_business, "_data_folder", lambda: data)
    monkeypatch.setattr(build_business, "plant", lambda business: None)
