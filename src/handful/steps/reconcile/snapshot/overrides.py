"""LABEL_OVERRIDES: a CSV of artifact id and label that corrects the database, openly.

A first line `artifact_id,label` is a header; without one, the first line is data. A
label_review.csv that came back from the labellers is read, too: what stands in its column
`decision` is the label then. Whichever separator makes two fields of every line is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

import polars as pl

from handful.errors import DataError
from handful.evaluation.baseline.review import is_review
from handful.evaluation.baseline.spreadsheet import read_sheet
from handful.files.csv_text import cell_as_meant
from handful.settings import Settings
from handful.steps.reconcile.keys.guids import normalize_guid, normalize_guid_ids
from handful.steps.reconcile.keys.id_format import is_guid
from handful.steps.reconcile.keys.names import quote_names

HEADER = ["artifact_id", "label"]
_LABEL_OVERRIDES_PLACE = "settings.ini [reconcile] LABEL_OVERRIDES"


def override(
    rows: pl.DataFrame, settings: Settings, forgotten: Container[str] = ()
) -> pl.DataFrame:
    """`rows` with the labels of the CSV, and where each label came from (`label_source`).

    `rows` and the CSV's ids are in the form that ID_FORMAT asks for. Lines about `forgotten`
    artifacts are passed over.
    `DataError` if the CSV is missing, malformed, contradicts itself or names an unknown artifact.
    """
    path = settings.reconcile.LABEL_OVERRIDES
    if path is None:
        return rows.with_columns(label_source=pl.lit("query"))
    changes = _as_meant(read(path, spell=normalize_guid if is_guid(settings) else str), rows)
    unknown = changes.join(rows, on="artifact_id", how="anti")
    unknown = unknown.filter([one not in forgotten for one in unknown["artifact_id"]])
    if unknown.height:
        raise DataError(
            f"no label row has the artifact id {quote_names(unknown['artifact_id'])}",
            where=str(path),
            remedy=_other_spelling(unknown, rows) or "correct the ids, or remove these lines",
        )
    joined = rows.join(changes, on="artifact_id", how="left", maintain_order="left", suffix="_new")
    return joined.with_columns(
        label=pl.coalesce("label_new", "label"),
        label_source=pl.when(pl.col("label_new").is_null())
        .then(pl.lit("query"))
        .otherwise(pl.lit("override")),
    ).drop("label_new")


def _as_meant(changes: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Without blanks around, and what was copied out of a CSV of handful's without the apostrophes
    that make that safe.

    A spelling that the label rows have themselves is meant as it is.
    """
    columns = {}
    for name in HEADER:
        is_told_otherwise = any(_parse_override_cell(cell) != cell for cell in changes[name])
        known = set(rows[name].drop_nulls()) if is_told_otherwise else set()
        columns[name] = [
            one if one in known else _parse_override_cell(one) for one in changes[name]
        ]
    meant = pl.DataFrame(columns, changes.schema).unique(maintain_order=True)
    twice = meant.filter(pl.col("artifact_id").is_duplicated())["artifact_id"]
    if twice.len():
        what = (
            f"{quote_names([twice[0]])} has two labels, one of them behind an apostrophe or a blank"
        )
        raise DataError(what, where=_LABEL_OVERRIDES_PLACE, remedy="keep one of the two lines")
    return meant


def _parse_override_cell(cell: str) -> str:
    return cell_as_meant(cell.strip())


def _other_spelling(unknown: pl.DataFrame, rows: pl.DataFrame) -> str:
    """What to do where the label rows spell these GUIDs otherwise; else ""."""
    guid = normalize_guid_ids(pl.col("artifact_id"))
    same = unknown.with_columns(guid=guid).join(
        rows.select(guid=guid, spelled="artifact_id"), on="guid"
    )
    if same.is_empty():
        return ""
    told, spelled = same.row(0)[0], same["spelled"][0]
    return (
        f"the label rows spell {quote_names([told])} as {quote_names([spelled])}: "
        "write it so, or set "
        "[production] ID_FORMAT = guid"
    )


def read(path: Path, spell: Callable[[str], str] = str) -> pl.DataFrame:
    """The CSV's artifact_id, as `spell` writes it, and label, each id once; see `override` for the
    errors."""
    found: dict[str, str] = {}
    lines, review = _read_override_lines(path)
    for line, fields in lines:
        where = f"{path}:{line}"
        if len(fields) != len(HEADER):
            raise DataError(
                f"a line must hold an artifact id and a label, not {len(fields)} fields",
                where=where,
                remedy="part the two by a comma, a semicolon or a tab, the same in every line, and "
                "put a field that holds one in double quotes",
            )
        artifact_id, label = spell(fields[0]), fields[1]
        if not artifact_id or not label.strip():
            raise DataError("the artifact id or the label is empty", where=where)
        if found.setdefault(artifact_id, label) != label:
            raise DataError(
                f"{quote_names([artifact_id])} has another label in an earlier line",
                where=where,
                remedy="keep one of the two",
            )
    if not found and not review:
        raise DataError(
            "the file holds no line", where=str(path), remedy=f"or drop {_LABEL_OVERRIDES_PLACE}"
        )
    schema = {"artifact_id": pl.String, "label": pl.String}
    return pl.DataFrame({"artifact_id": list(found), "label": list(found.values())}, schema)


def _read_override_lines(path: Path) -> tuple[list[tuple[int, list[str]]], bool]:
    """The CSV's lines with their numbers, without the header and empty ones; is it a review?"""
    try:
        data = path.read_bytes()
    except OSError as error:
        words = error.strerror or str(error)
        raise DataError(f"{path} cannot be read: {words}", where=_LABEL_OVERRIDES_PLACE) from error
    lines = read_sheet(data, str(path), is_review, len(HEADER))
    if lines and is_review(lines[0][1]):
        return _select_override_decisions(lines, path), True
    if lines and [field.strip().lower() for field in lines[0][1]] == HEADER:
        lines.pop(0)
    return lines, False


def _select_override_decisions(
    lines: list[tuple[int, list[str]]], path: Path
) -> list[tuple[int, list[str]]]:
    """Artifact id and decision of the lines of a review that have one."""
    header = [field.strip().lower() for field in lines[0][1]]
    artifact_id, decision = header.index("artifact_id"), header.index("decision")
    for line, fields in lines[1:]:
        if len(fields) != len(header):
            raise DataError(
                f"the line holds {len(fields)} fields, and the first line {len(header)}",
                where=f"{path}:{line}",
                remedy="put a field that holds a comma in double quotes",
            )
    return [
        (line, [cell_as_meant(fields[artifact_id]), cell_as_meant(fields[decision].strip())])
        for line, fields in lines[1:]
        if fields[decision].strip()
    ]
