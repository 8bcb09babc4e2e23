"""Which file of a mistake is shown, of what size, and how it begins."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from handful.experiment.context import Experiment
from handful.layout import LEDGER, Layout, artifact_file
from handful.progress import Silent
from handful.report.documents import Document, documents, format_byte_size
from handful.report.words import example, quote
from handful.storage.open import open_store
from tests.support.servers import S3Server

Make = Callable[..., Experiment]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    def make(
        files: Mapping[str, bytes],
        inputs: tuple[str, ...],
        by_us: tuple[str, ...] = (),
        show: bool = True,
        store: Any = None,
    ) -> Experiment:
        store = store or open_store(str(tmp_path))
        for name, data in files.items():
            store.write(artifact_file("a-1", name), data)
        names = pl.Series("files_made", [list(by_us), []], dtype=pl.List(pl.String))
        ledger = pl.DataFrame({"artifact_id": ["a-1", "a-1"], "fate": ["kept", "duplicate_row"]})
        file = io.BytesIO()
        ledger.with_columns(names).write_parquet(file)
        store.write(LEDGER, file.getvalue())
        settings: Any = SimpleNamespace(
            prepare=SimpleNamespace(MODEL_INPUT_FILES=inputs),
            report=SimpleNamespace(SHOW_DOCUMENTS=show),
        )
        return Experiment(tmp_path, settings, store, Layout("d"), Silent(), tmp_path)

    return make


def shown(experiment: Experiment, ids: list[str]) -> dict[str, Document]:
    settings = experiment.settings
    inputs, allowed = settings.prepare.MODEL_INPUT_FILES, settings.report.SHOW_DOCUMENTS
    return documents(experiment.store, ids, inputs, allowed=allowed)


TEXT = b"Dear sir"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
CASES: dict[str, tuple[dict[str, bytes], tuple[str, ...], tuple[str, ...], str, str, int]] = {
    # files, MODEL_INPUT_FILES, made by process_func → file, text, others
    "its name": ({"a.txt": TEXT}, ("a.txt",), (), "a.txt", "Dear sir", 0),
    "any kind": ({"a.dat": TEXT}, ("a.dat",), (), "a.dat", "Dear sir", 0),
    "no suffix": ({"SCAN": TEXT}, ("SCAN",), (), "SCAN", "Dear sir", 0),
    "a glob": ({"p-2.txt": b"2", "p-1.txt": TEXT}, ("p-*",), (), "p-1.txt", "Dear sir", 1),
    "a glob of all": ({"x.png": PNG, "y.txt": TEXT}, ("*",), (), "y.txt", "Dear sir", 1),
    "a folder": ({"pages/1.txt": TEXT}, ("pages/*.txt",), (), "pages/1.txt", "Dear sir", 0),
    "the settings' order": ({"b": TEXT, "a": b"other"}, ("b", "a"), (), "b", "Dear sir", 1),
    "their own before ours": (
        {"label.json": b'{"label": "invoice"}', "z.txt": TEXT},
        ("label.json", "z.txt"),
        ("label.json",),
        "z.txt",
        "Dear sir",
        1,
    ),
    "ours where theirs has no text": (
        {"scan.pdf": b"%PDF-1.7", "text.txt": TEXT},
        ("scan.pdf", "text.txt"),
        ("text.txt",),
        "text.txt",
        "Dear sir",
        1,
    ),
    "no input of the model": (
        {"a.txt": b"not read by the model", "b.txt": TEXT}, ("b.txt",), (), "b.txt", "Dear sir", 0,
    ),
    "one that is empty": ({"a": b"", "b": TEXT}, ("a", "b"), (), "b", "Dear sir", 1),
    "one that is gone": ({"b": TEXT}, ("a", "b"), (), "b", "Dear sir", 0),
    "no text at all": ({"a.png": PNG, "b.png": PNG}, ("*.png",), (), "a.png", "", 1),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_file_that_stands_for_an_artifact(made: Make, case: str) -> None:
    files, inputs, by_us, name, text, others = CASES[case]
    found = shown(made(files, inputs, by_us), ["a-1", "a-1"])
    assert found == {"a-1": Document(name, len(files[name]), text, others)}
    about = found["a-1"].about
    assert name in about
    assert format_byte_size(len(files[name])) in about
    assert ("no text that could be shown" in about) is (not text)


def test_nothing_is_read_or_named_if_documents_may_not_be_shown(made: Make) -> None:
    experiment = made({"a.txt": TEXT}, ("*",), show=False)
    (experiment.scratch / LEDGER).unlink()
    assert shown(experiment, ["a-1"]) == {}


def test_an_artifact_whose_files_are_gone_is_passed_over(made: Make) -> None:
    assert shown(made({}, ("*",)), ["a-1", "a-2"]) == {}


def test_a_file_too_large_to_be_read_whole_is_read_at_its_beginning(made: Make) -> None:
    experiment = made({"a.txt": TEXT}, ("a.txt",))
    path = experiment.scratch / artifact_file("a-1", "a.txt")
    os.truncate(path, 40 << 20)
    with path.open("r+b") as file:
        file.write(b"Dear sir, " * (5 << 19))
    (found,) = shown(experiment, ["a-1"]).values()
    assert found.text.startswith("Dear sir, Dear sir")
    assert found.about == "a.txt, 41.9 MB"


def test_names_and_texts_cannot_write_into_the_page() -> None:
    hostile = Document("<b>\u202e.txt", 3, "<script>", 0)
    assert quote(hostile) == "<q>&lt;script&gt;</q>"
    told = example("<i>", "sure", Document("<b>\u202e.txt", 3, "", 2))
    about = "&lt;b&gt;\ufffd.txt, 3 bytes: no text that could be shown; 2 more input files"
    assert about in told
    assert "<i>" not in told
    assert quote(None) == ""


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_200, "1.2 KB"),
        (3_500_000, "3.5 MB"),
        (12 * 10**11, "1.2e+03 GB"),
    ],
)
def test_sizes(count: int, words: str) -> None:
    assert format_byte_size(count) == words


def test_a_bucket_is_read_as_a_directory_is(made: Make, s3_server: S3Server) -> None:
    for files, inputs, by_us, name, text, others in CASES.values():
        store = open_store(s3_server.place(), endpoint_url=s3_server.endpoint_url)
        found = shown(made(files, inputs, by_us, store=store), ["a-1", "gone"])
        assert found == {"a-1": Document(name, len(files[name]), text, others)}
