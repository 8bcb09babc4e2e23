"""The names of KEY_PATTERN that are the user's own: from the keys into the ledger's `row`.

What counts are the keys of the files that are copied: what else production holds of an artifact
must not change what the later steps see.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from handful.errors import UserError
from handful.settings.values.key_patterns import parse
from handful.steps.reconcile.artifacts import Listing
from handful.steps.reconcile.keys.key_pattern import NAMES
from handful.steps.reconcile.keys.names import Wanted, quote_names


def check_apart(labels: Path, pattern: str) -> None:
    """`UserError` if the label rows have a column that is also a name of the pattern."""
    names = parse(pattern).names
    if not names:
        return
    first = pl.scan_parquet(labels).select("row").head(1).collect().item()
    both = [name for name in names if name in json.loads(first or "{}")]
    if both:
        raise UserError(
            f"KEY_PATTERN names {quote_names(both)}, and the label rows have a column of that name",
            where="settings.ini [production] KEY_PATTERN",
            remedy="give it another name there, or in LABEL_QUERY (AS …); write * where the name "
            "is not needed",
        )


def add_names(rows: pl.DataFrame, listing: Listing, wanted: Wanted) -> pl.DataFrame:
    """Put the names into `row`: the value, the sorted list where an artifact's files differ, null
    where it has no file that is copied."""
    schema = listing.files.collect_schema()
    if NAMES not in schema:
        return rows
    names = [field.name for field in schema[NAMES].fields]  # type: ignore[attr-defined]
    ids = rows.select("artifact_id").unique().lazy()
    found = (
        listing.files.filter(wanted.is_copied())
        .join(ids, on="artifact_id", how="semi")
        .group_by("artifact_id")
        .agg(_key_name_values(name) for name in names)
        .collect(engine="streaming")
    )
    values = [
        pl.format("{}: {}", pl.lit(json.dumps(n, ensure_ascii=False)), _key_names_to_json(n))
        for n in names
    ]
    told = found.select("artifact_id", told=pl.concat_str(values, separator=", "))
    nothing = ", ".join(f"{json.dumps(name, ensure_ascii=False)}: null" for name in names)
    joined = rows.join(told, on="artifact_id", how="left", maintain_order="left")
    inner = pl.col("row").str.strip_prefix("{").str.strip_suffix("}")
    comma = pl.when(inner.str.strip_chars() == "").then(pl.lit("")).otherwise(pl.lit(", "))
    row = pl.lit("{") + inner + comma + pl.col("told").fill_null(nothing) + pl.lit("}")
    return joined.with_columns(row=row).select(rows.columns)


def _key_name_values(name: str) -> pl.Expr:
    return pl.col(NAMES).struct.field(name).drop_nulls().unique().sort().alias(name)


def _key_names_to_json(name: str) -> pl.Expr:
    """A list of texts as JSON: one alone as a text, none as null."""
    whole = pl.struct(x=pl.col(name)).struct.json_encode()
    several = whole.str.strip_prefix('{"x":').str.strip_suffix("}")
    count = pl.col(name).list.len()
    alone = several.str.strip_prefix("[").str.strip_suffix("]")
    return pl.when(count == 0).then(pl.lit("null")).when(count == 1).then(alone).otherwise(several)
