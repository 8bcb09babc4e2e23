"""What is done with each file of the store when a document is forgotten: one table for all."""

from __future__ import annotations

from enum import StrEnum

from handful import layout


class Kind(StrEnum):
    """How a file forgets."""

    LEAVE = "leave"
    """Names no document."""
    DELETE = "delete"
    """Is deleted whole; what needs it makes it again."""
    ARTIFACT = "artifact"
    """Is deleted, if it is theirs."""
    LEDGER = "ledger"
    """Their rows go; one with an HMAC comes."""
    SPLITS = "splits"
    """Their rows go; groups get another name."""
    PARQUET = "parquet"
    """Their rows go."""
    ARROW = "arrow"
    """Their rows go."""
    DATASET_STATE = "dataset_state"
    """Gets the new fingerprint."""
    SUMMARY = "summary"
    """Is counted anew."""
    LABEL_COUNTS = "label_counts"
    """Are counted anew."""
    SNAPSHOT = "snapshot"
    """Is counted anew."""
    COMPARISON = "comparison"
    """Is marked; the figures stay."""
    REPORT = "report"
    """Loses their texts, and is marked; the figures stay."""
    JSON = "json"
    """Their entries go."""
    JSON_LINES = "json_lines"
    """Their lines go."""
    CSV = "csv"
    """Their lines go."""
    BUNDLE = "bundle"
    """Is deleted if it names one."""
    OTHER = "other"
    """Is deleted if it names one."""


_BY_KEY = {
    layout.LEDGER: Kind.LEDGER,
    layout.SUMMARY: Kind.SUMMARY,
    layout.LABEL_COUNTS: Kind.LABEL_COUNTS,
    layout.SNAPSHOT: Kind.SNAPSHOT,
    layout.NEAR_DUPLICATES: Kind.DELETE,
    layout.NEAR_DUPLICATE_PAIRS: Kind.DELETE,
    layout.STORE: Kind.LEAVE,
    layout.SETTINGS: Kind.LEAVE,
    layout.FUNCTIONS: Kind.LEAVE,
}
_BY_NAME = {
    "splits.parquet": Kind.SPLITS,
    "state.json": Kind.DATASET_STATE,
    "dataset_info.json": Kind.LEAVE,
    "comparison.json": Kind.COMPARISON,
    "report.html": Kind.REPORT,
}
_BY_ENDING = {
    "parquet": Kind.PARQUET,
    "arrow": Kind.ARROW,
    "json": Kind.JSON,
    "jsonl": Kind.JSON_LINES,
    "csv": Kind.CSV,
    "html": Kind.REPORT,
}
_PASSING = {layout.SHARDS, layout.CHECKPOINTS, layout.ACTIVATIONS, "overwriting"}
_VECTORS = ("npy", "json")


def kind_of(key: str) -> Kind:
    """What becomes of the file at `key`."""
    folders, name = key.split("/")[:-1], key.rsplit("/", 1)[-1]
    ending = name.rsplit(".", 1)[-1]
    if key in _BY_KEY:
        return _BY_KEY[key]
    if key.startswith(f"{layout.FORGOTTEN}/") or "lock" in folders:
        return Kind.LEAVE
    if key.startswith(f"{layout.ARTIFACTS}/"):
        return Kind.ARTIFACT
    if key.startswith(f"{layout.BUNDLES}/"):
        return Kind.LEAVE if folders[1].startswith("model-") else Kind.BUNDLE
    if not _PASSING.isdisjoint(folders):
        return Kind.DELETE
    if layout.FEATURES in folders and "-" not in folders[-1]:
        return Kind.DELETE
    of_model = layout.FINAL in folders or layout.KEPT in folders or layout.FEATURES in folders
    if of_model:
        return Kind.JSON if name in {layout.FINAL_RECORD, layout.PROBE_RECORD} else Kind.LEAVE
    return _BY_NAME.get(name) or _BY_ENDING.get(ending, Kind.OTHER)
