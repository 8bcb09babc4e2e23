"""A table without what is empty; and what the page says of itself, counted."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import polars as pl
import pytest
from markupsafe import Markup

from handful.experiment.context import Experiment
from handful.layout import LEDGER, Layout
from handful.progress import Silent
from handful.report import gather
from handful.report.data import (
    QUARANTINED_SHOWN,
    data_part,
    describe_dropped_rows,
    encoding_part,
    private,
)
from handful.report.tables import Cell, Row, num, prose, table
from handful.storage.open import open_store


def drawn(one: Any) -> str:
    loader = jinja2.PackageLoader("handful.report")
    environment = jinja2.Environment(loader=loader, autoescape=True)
    source = '{% from "table.html.j2" import table %}{{ table(one) }}'
    return environment.from_string(source).render(one=one)


def test_columns_that_are_empty_in_every_row_go() -> None:
    found = table(
        "c",
        ["name", num("a"), num("b"), "c", prose("d")],
        [
            ("x", "", "1", " ", Cell("", "wrong")),
            Row((Cell("y"), *map(Cell, ("", "", "", ""))), "i"),
        ],
        foot=["all", "9", "1", "", ""],
    )
    assert [column.name for column in found.columns] == ["name", "b"]
    assert [[cell.text for cell in row.cells] for row in found.rows] == [["x", "1"], ["y", ""]]
    assert [cell.text for cell in found.foot] == ["all", "1"]
    assert not found.is_cards, "its sentences have gone"
    text = drawn(found)
    assert text.count("<th ") == 5
    assert '<tr id="i" tabindex="-1">' in text


def test_the_column_that_names_the_row_stays_where_it_moves_to() -> None:
    found = table("c", [num("rank"), "name", "x"], [("", "m", "1")], header=1)
    assert [column.name for column in found.columns] == ["name", "x"]
    assert found.header == 0
    assert '<th scope="row" class="name">m</th>' in drawn(found)


def test_a_table_without_rows_keeps_its_headings() -> None:
    assert len(table("c", ["a", num("b")], []).columns) == 2


def test_what_is_given_is_escaped_and_what_is_ours_is_not() -> None:
    rows = [("<b>", Markup("<code>{}</code>").format("<i>"))]
    text = drawn(table('a "caption" <u>', ["<s>", prose('"x"')], rows))
    for tag in ("<b>", "<i>", "<u>", "<s>"):
        assert tag not in text
    assert "<code>&lt;i&gt;</code>" in text
    assert 'data-head="&#34;x&#34;"' in text


LEDGER_ROWS = [
    # id, from a label row?, fate: what of it is a label row that was dropped
    ("a", True, "kept", 0),
    ("a", True, "duplicate_row", 1),
    ("b", True, "kept", 0),
    ("b", True, "file_row", 0),  # it names another file of b's
    ("c", True, "missing_files", 1),
    ("c", True, "file_row", 1),  # a file of an artifact that went
    ("d", False, "no_label_row", 0),  # no row at all
    ("../e", False, "unsafe_name", 0),
    ("../f", True, "unsafe_name", 1),
    (None, True, "unsafe_name", 1),
    ("g", True, "process_failed", 1),
]


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    store: Any = open_store(str(tmp_path))
    layout = Layout("d")
    found = Experiment(tmp_path, None, store, layout, Silent(), tmp_path)  # type: ignore[arg-type]
    ledger = pl.DataFrame(
        [
            (i, "query" if row else None, fate, "ValueError: Dear sir" if fate != "kept" else "")
            for i, row, fate, _ in LEDGER_ROWS
        ],
        dict.fromkeys(("artifact_id", "label_source", "fate", "reason"), pl.String),
        orient="row",
    )
    splits = pl.DataFrame(
        {
            "artifact_id": ["a", "b", "h", "j", "k"],
            "label": ["x", "x", "y", "z", "z"],
            "split": ["train", "train", "train", "train", "test"],
        }
    )
    write(found, LEDGER, ledger)
    write(found, layout.splits, splits)
    quarantine = pl.DataFrame({"artifact_id": ["j"], "error": ["ValueError: no: Dear sir"]})
    write(found, f"{layout.encoded('m')}/quarantine.parquet", quarantine)
    told = (
        b'{"overall": {"instances": 4}, "labels": {"x": {"instances": 2}, "y": {"instances": 1}}}'
    )
    store.write(f"{layout.encoded('m')}/truncation.json", told)
    return found


def write(experiment: Experiment, key: str, frame: pl.DataFrame) -> None:
    file = io.BytesIO()
    frame.write_parquet(file)
    experiment.store.write(key, file.getvalue())


def test_rows_dropped_are_label_rows_that_were_dropped(experiment: Experiment) -> None:
    fates = gather.fates(experiment.store)
    assert fates.dropped == sum(dropped for *_, dropped in LEDGER_ROWS) == 6
    assert fates.unlabelled == 2
    assert sum(row.count for row in fates.rows) == len(LEDGER_ROWS)
    told = "6 label rows dropped, each with a reason; 2 artifacts have no label row"
    assert describe_dropped_rows(fates) == told
    alone = gather.Fates(fates.rows, 1, 0)
    assert describe_dropped_rows(alone) == "1 label row dropped, each with a reason"
    only = gather.Fates(fates.rows, 0, 1)
    assert describe_dropped_rows(only) == "no label row was dropped; 1 artifact has no label row"


def test_it_learned_from_what_train_saw(experiment: Experiment) -> None:
    """Neither from validation and test, nor from what could not be encoded or was left out."""
    prepared: Any = SimpleNamespace(rows={"m": {"train": 2, "test": 1}}, left_out={"m": 1})
    assert gather.count_training_data(experiment.store, Layout("d"), prepared, "m") == (2, 2)


@pytest.mark.parametrize("show", [True, False])
def test_errors_that_may_quote_a_document_are_hidden_with_it(
    experiment: Experiment, show: bool
) -> None:
    prepared: Any = SimpleNamespace(rows={"m": {"train": 2, "test": 1}}, left_out={})
    store, mine = experiment.store, experiment.layout
    fates, splits = gather.fates(store), gather.count_labels_per_split(store, mine)
    part = data_part(fates, splits, told=show)
    encoding = encoding_part(store, mine, prepared, "m", told=show)
    failed = next(row for row in part["fate_table"].rows if row.cells[0].text == "process_failed")
    (error,) = [row.cells[1].text for row in encoding["quarantined"].rows]
    assert ("Dear sir" in failed.cells[-1].text) is show
    assert ("Dear sir" in error) is show
    assert "ValueError" in failed.cells[-1].text
    assert "ValueError" in error
    assert encoding["rows"] == "2 in train, 1 in test"
    assert encoding["labels"].caption == "Instances of each label"
    heads = [column.name for column in encoding["labels"].columns]
    assert heads == ["label", "instances"], "nobody told how long they were"


def test_a_table_that_ends_early_says_so(experiment: Experiment) -> None:
    many = [f"id-{n}" for n in range(QUARANTINED_SHOWN + 1)]
    quarantine = pl.DataFrame({"artifact_id": many, "error": ["ValueError: no"] * len(many)})
    write(experiment, f"{experiment.layout.encoded('m')}/quarantine.parquet", quarantine)
    prepared: Any = SimpleNamespace(rows={"m": {"train": 2, "test": 1}}, left_out={})
    found = encoding_part(experiment.store, experiment.layout, prepared, "m", told=True)
    assert len(found["quarantined"].rows) == QUARANTINED_SHOWN
    assert f"the first {QUARANTINED_SHOWN} here" in found["quarantined"].caption


def test_a_message_without_a_class_is_kept_in_its_first_words() -> None:
    assert private("missing input: a.txt", told=False) == "missing input"
    assert private("whole", told=True) == "whole"
