"""A generated business too large for a server: label rows and a listing, as Parquet files.

Both are always the same. Of a hundred or two hundred label rows each, one is wrong in one of six
ways; of a hundred artifacts, one lacks its first file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconcile_parts import generated

if TYPE_CHECKING:
    import polars as pl

LABELS, LISTING, EXPERIMENT = "labels.parquet", "listing.parquet", "EXP-1"
SETTINGS = """[experiment]
STORE = {store}
[production]
DATABASE_URL = sqlite:///none.db
LABEL_QUERY = SELECT 1
FILES_URL = s3://production
FILES_FROM_PROD = {wanted}
[reconcile]
ON_LABEL_CONFLICT = drop
[train]
MODEL_NAMES = none
"""


def generate(folder: str, rows: int, keys: int, wanted: int) -> dict[str, Any]:
    """Write label rows, listing and the experiment that wants `wanted` files an artifact."""
    place, files = Path(folder), max(1, keys // rows)
    ids = _guids(keys // files)
    _write_listing(place / LISTING, ids, files)
    _labels(ids, rows).write_parquet(place / LABELS)
    experiment = place / EXPERIMENT
    experiment.mkdir()
    names = ", ".join(generated.file_name(n) for n in range(min(wanted, files)))
    (experiment / "settings.ini").write_text(SETTINGS.format(store=place / "store", wanted=names))
    (experiment / "functions.py").write_text(generated.FUNCTIONS)
    return {"artifacts": ids.len(), "files": files}


def _hex(count: int, seed: int) -> pl.Series:
    """So many texts of 32 hexadecimal letters."""
    import numpy as np
    import polars as pl

    letters = np.random.default_rng(seed).bytes(16 * count).hex().encode()
    return pl.Series("hex", np.frombuffer(letters, "S32")).cast(pl.String)


def _guids(count: int) -> pl.Series:
    """Artifact ids, in order."""
    import polars as pl

    cuts = [(0, 8), (8, 4), (12, 4), (16, 4), (20, 12)]
    parts = [pl.col("hex").str.slice(start, length) for start, length in cuts]
    made = _hex(count, 0).to_frame().select(artifact_id=pl.concat_str(parts, separator="-"))
    return made["artifact_id"].sort()


def _write_listing(path: Path, ids: pl.Series, files: int) -> None:
    """`files` keys an artifact, but one in a hundred lacks its first file."""
    import polars as pl
    import pyarrow.parquet as pq

    from handful.storage.columns import LISTING_SCHEMA

    names = [generated.file_name(n) for n in range(files)]
    whole = pl.col("nr") % 100 != 50
    frame = ids.to_frame().with_row_index("nr").with_columns(file=pl.lit(names))
    with pq.ParquetWriter(path, LISTING_SCHEMA) as writer:
        for number, part in enumerate(frame.iter_slices(50_000)):
            keys = (
                part.explode("file")
                .filter(whole | (pl.col("file") != names[0]))
                .select(key=pl.col("artifact_id") + "/" + pl.col("file"), size=pl.col("nr") + 300)
            )
            etags = _hex(keys.height, number + 1).alias("etag")
            archived = pl.lit(None, pl.String).alias("archived")
            table = keys.with_columns(pl.col("size").cast(pl.Int64), etags, archived)
            writer.write_table(table.to_arrow().cast(LISTING_SCHEMA))


def _labels(ids: pl.Series, rows: int) -> pl.DataFrame:
    """Label rows in no order; of a hundred or two each, one is wrong in one of six ways."""
    import polars as pl

    nr = pl.int_range(pl.len())
    labels = pl.Series("labels", generated.LABELS)
    frame = ids.sample(rows, seed=0, shuffle=True).to_frame()
    frame = frame.with_columns(
        label=pl.lit(labels.implode()).list.get(nr % len(labels)),
        file_hash=pl.format("hash {}", nr),
        row=pl.concat_str(pl.lit('{"pages": '), nr % 20, pl.lit(', "source": "scanner"}')),
    )
    following = {name: pl.col(name).shift(-1) for name in frame.columns}
    no_files, twice, by_hash = nr % 100 == 0, nr % 100 == 10, nr % 50 == 40
    conflict, no_label = nr % 200 == 20, nr % 200 == 30
    same_id = twice | conflict
    return frame.select(
        artifact_id=pl.when(no_files)
        .then("zz" + pl.col("artifact_id"))
        .when(same_id)
        .then(following["artifact_id"])
        .otherwise("artifact_id"),
        label=pl.when(no_label)
        .then(None)
        .when(conflict)
        .then(pl.lit("another"))
        .when(twice | by_hash)
        .then(following["label"])
        .otherwise("label"),
        file_hash=pl.when(twice | by_hash).then(following["file_hash"]).otherwise("file_hash"),
        row="row",
    )
