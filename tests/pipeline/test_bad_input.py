"""What a user can get wrong: a clear error, the right status, and nothing damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.support.cuts import cheap_cut
from tests.support.tiny import FUNCTIONS, Tiny, make

REAL_LABELS = "artifact_id, label"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make(tmp_path_factory.mktemp("original"), artifacts=30)


@pytest.fixture
def tiny(original: Tiny, tmp_path: Path) -> Tiny:
    return Tiny(Path(shutil.copytree(original.root, tmp_path / "tiny")))


def functions(old: str, new: str) -> Callable[[Tiny], None]:
    def change(tiny: Tiny) -> None:
        assert old in FUNCTIONS
        (tiny.experiment / "functions.py").write_text(FUNCTIONS.replace(old, new))

    return change


def query(text: str) -> Callable[[Tiny], None]:
    return lambda tiny: tiny.settings(LABEL_QUERY=text)


def sql(*statements: str) -> Callable[[Tiny], None]:
    return lambda tiny: tiny.sql(*statements)


def no_files(tiny: Tiny) -> None:
    shutil.rmtree(tiny.files)
    tiny.files.mkdir()


CASES: dict[str, tuple[Callable[[Tiny], None], tuple[str, ...]]] = {
    "no settings": (
        lambda tiny: (tiny.experiment / "settings.ini").unlink(),
        ("settings.ini", "init"),
    ),
    "no functions": (
        lambda tiny: (tiny.experiment / "functions.py").unlink(),
        ("functions.py", "init"),
    ),
    "a misspelt function": (
        functions("def encode_data(", "def encode_dat("),
        ("encode_dat", "encode_data"),
    ),
    "an unknown parameter": (
        functions("def encode_data(instance,", "def encode_data(instnace,"),
        ("instnace", "instance", "model_name"),
    ),
    "a syntax error": (functions("import json\n", "import json json\n"), ("functions.py:3",)),
    "a library that is not there": (
        functions("import json\n", "import json\nimport not_there_at_all\n"),
        ("not_there_at_all", "pip install"),
    ),
    "an error inside functions.py": (
        functions("import json\n", "import json\n1 / 0\n"),
        ("ZeroDivisionError", "functions.py:4"),
    ),
    "no database": (
        lambda tiny: (tiny.root / "labels.sqlite").unlink(),
        ("labels.sqlite",),
    ),
    "no such table": (query("SELECT artifact_id, label FROM lables"), ("lables",)),
    "no such column": (query("SELECT artifact_id, label AS lable FROM labels"), ("label", "lable")),
    "no label rows": (sql("DELETE FROM labels"), ("label",)),
    "an empty file store": (no_files, ("files",)),
    "no file store": (lambda tiny: shutil.rmtree(tiny.files), ("files",)),
    "nothing matches": (
        sql("UPDATE labels SET artifact_id = 'x-' || artifact_id"),
        ("artifact-0000", "x-artifact-0000"),
    ),
    "one class": (sql("UPDATE labels SET label = 'letter'"), ("letter",)),
    "a field that is not declared": (
        functions('"labels": label2id[label]}', '"labels": label2id[label], "extra": 1}'),
        ("extra",),
    ),
    "floats for ints": (
        functions("[known.get(word, 1) for word", "[0.5 + known.get(word, 1) for word"),
        ("input_ids", "float"),
    ),
    "a missing field": (functions('"attention_mask": [1] * len(ids), ', ""), ("attention_mask",)),
    "a metric that is not there": (
        lambda tiny: (tiny.experiment / "settings.ini").write_text(
            (tiny.experiment / "settings.ini").read_text() + "METRIC = f1_macro\n"
        ),
        ("f1_macro", "macro_f1"),
    ),
}


QUICK = (
    *("no settings", "a misspelt function", "a syntax error", "an error inside functions.py"),
    *("no such table", "no database", "nothing matches", "a missing field"),
)


@pytest.mark.parametrize("name", cheap_cut(CASES, QUICK))
def test_it_is_told_and_nothing_is_damaged(name: str, tiny: Tiny) -> None:
    change, words = CASES[name]
    change(tiny)
    done = tiny.handful("run")
    assert "Traceback" not in done.stderr
    assert done.returncode in {1, 2}, done.stdout + done.stderr
    if name != "no file store":
        assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr, f"{word!r} is not in: {done.stderr}"


def test_hostile_ids_cost_themselves_only(tiny: Tiny) -> None:
    tiny.sql(
        "INSERT INTO labels VALUES ('../../x', 'letter')",
        "INSERT INTO labels VALUES ('a\nb', 'letter')",
        "INSERT INTO labels VALUES ('/etc', 'letter')",
        f"INSERT INTO labels VALUES ('{'x' * 5000}', 'letter')",
    )
    done = tiny.handful("reconcile")
    assert done.returncode == 0, done.stdout + done.stderr
    ledger = pl.read_parquet(tiny.store / "data/reconciliation/ledger.parquet")
    unsafe = ledger.filter(pl.col("fate") == "unsafe_name")
    assert unsafe.height == 4
    assert ledger.filter(pl.col("fate") == "kept").height == 30
    assert not (tiny.root / "x").exists()


def test_bad_documents_cost_themselves_only(tiny: Tiny) -> None:
    (tiny.files / "artifact-0003" / "text.txt").write_bytes(b"\xff\xfe not utf-8 \xff")
    tiny.settings(SPLIT="0.6/0.2/0.2")
    done = tiny.handful("run", "--until", "prepare", "--set", "prepare.MAX_QUARANTINED=2")
    assert done.returncode == 0, done.stdout + done.stderr
    prepared = tiny.store / "data/prepared_data/full_dataset/model"
    quarantine = pl.read_parquet(prepared / "quarantine.parquet")
    assert quarantine["artifact_id"].to_list() == ["artifact-0003"]
    assert "UnicodeDecodeError" in quarantine["error"][0]


@pytest.mark.slow
def test_too_many_bad_documents_stop_the_run(tiny: Tiny) -> None:
    for number in range(6):
        (tiny.files / f"artifact-{number:04d}" / "text.txt").write_bytes(b"\xff%d" % number)
    done = tiny.handful("run", "--until", "prepare")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "UnicodeDecodeError" in done.stderr
    assert "MAX_QUARANTINED" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_cannot_be_written(tiny: Tiny) -> None:
    """A file stands where the store's directory should be."""
    (tiny.root / "store").write_text("in the way")
    done = tiny.handful("run")
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert "store" in done.stderr
    assert (tiny.root / "store").read_text() == "in the way"
