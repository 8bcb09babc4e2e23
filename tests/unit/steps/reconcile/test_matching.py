"""Matching against a plain-Python oracle, on generated label rows and keys of every kind."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful import layout
from handful.errors import DataError, StepError
from handful.records import Fate
from handful.settings import Limit
from handful.steps.reconcile.artifacts import Listing
from handful.steps.reconcile.copying.copies import PRESENT
from handful.steps.reconcile.copying.failures import Troubles
from handful.steps.reconcile.copying.verify import Verified
from handful.steps.reconcile.keys.names import Wanted
from handful.steps.reconcile.ledger import Ledger, conclude, prune, show, summarise
from handful.steps.reconcile.matching import Matched, match
from handful.steps.reconcile.processing.process import PROCESSED, list_process_func_files
from handful.steps.reconcile.snapshot.contents import Hashes
from handful.steps.reconcile.snapshot.snapshot import About
from handful.storage.base import Store
from handful.storage.open import open_store
from tests.support.progress import Recording

ROWS = {
    "artifact_id": pl.String,
    "label": pl.String,
    "label_source": pl.String,
    "file_hash": pl.String,
    "row": pl.String,
}
FILES = {
    "artifact_id": pl.String,
    "file": pl.String,
    "key": pl.String,
    "size": pl.Int64,
    "etag": pl.String,
    "archived": pl.String,
}
OLDER = {name: kind for name, kind in FILES.items() if name != "archived"}
"""As snapshots of before have them."""
WANTED = Wanted(("raw", "p*"), ("raw", "p*"), ())
Row = tuple[str | None, str | None, str | None, int]
Key = tuple[str, str, str]

IDS = ["a", "b", "c", "d", "e", "é", "e\u0301", "..", "x\ny", "q/r", ""]
FOLDERS = [
    ["raw", "p1"],
    ["raw"],
    ["other"],
    ["raw", "p1", "other"],
    ["raw", "p\n"],
    ["raw", "pé", "pe\u0301"],
    ["raw", "p1", "p/../q"],
]
COLD = "cold"
"""The etag of archived files."""
LABELS = ["cat", "dog", "Cat", None, "", "  "]
HASHES = [None, "", "h1", "h2", "h3"]

# Hypothesis looks for strange corners; the seeded worlds are mostly good and alike, so that
# duplicates, survivors and conflicts by content are common, too.
World = tuple[list[Row], list[Key]]
strange: st.SearchStrategy[World] = st.tuples(
    st.lists(
        st.tuples(
            st.sampled_from([None, *IDS]),
            st.sampled_from(LABELS),
            st.sampled_from(HASHES),
            st.integers(0, 1),
        ),
        max_size=12,
    ),
    st.dictionaries(
        st.sampled_from([i for i in IDS if i not in ("q/r", "")]),
        st.tuples(st.sampled_from(FOLDERS), st.sampled_from(["e1", "e2", COLD])),
        max_size=8,
    ).map(lambda found: [(i, file, etag) for i, (names, etag) in found.items() for file in names]),
)


def ordinary(seed: int) -> World:
    random = Random(seed)
    labels = random.choices([["cat"], ["cat", "dog"], LABELS], [5, 2, 2])[0]
    weights = [8, 8, 8, 8, 8, 1, 1, 1, 1, 1, 1, 1]
    rows = [
        (
            random.choices([*IDS, None], weights)[0],
            random.choices(labels, [9] + [1] * (len(labels) - 1))[0],
            random.choices(HASHES, [8, 1, 3, 2, 2])[0],
            random.randint(0, 1),
        )
        for _ in range(random.randint(1, 12))
    ]
    keys = []
    for name in random.sample(IDS[:9], random.randint(3, 9)):
        etag = random.choices(["e1", "e2", COLD], [9, 9, 1])[0]
        folder = random.choices(FOLDERS, [9, 1, 1, 1, 1, 1, 1])[0]
        keys += [(name, file, etag) for file in folder]
    return rows, keys


worlds = st.one_of(strange, st.integers(0, 2**32).map(ordinary))


def tables(rows: list[Row], keys: list[Key]) -> tuple[pl.DataFrame, Listing]:
    labels = [(i, label, "query", hash, f'{{"n": {n}}}') for i, label, hash, n in rows]
    files = [
        (i, file, f"{i}/{file}", 1, etag, "GLACIER" if etag == COLD else None)
        for i, file, etag in keys
    ]
    return (
        pl.DataFrame(labels, ROWS, orient="row"),
        Listing(pl.LazyFrame(files, FILES, orient="row"), two_ways=False),
    )


def by_etags(files: pl.DataFrame) -> Hashes:
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in files.to_dicts():
        found[row["artifact_id"]].append((row["file"], row["etag"]))
    hashes = {i: f"etags:{sorted(pairs)}" for i, pairs in found.items()}
    frame = {"artifact_id": list(hashes), "file_hash": list(hashes.values())}
    return Hashes(pl.DataFrame(frame, {"artifact_id": pl.String, "file_hash": pl.String}))


def options(conflict: str = "drop", missing: str = "drop") -> Any:
    section = SimpleNamespace(ON_LABEL_CONFLICT=conflict, ON_MISSING_FILES=missing)
    return SimpleNamespace(reconcile=section)


def matched(rows: list[Row], keys: list[Key], **stop: str) -> Matched:
    labels, listing = tables(rows, keys)
    return match(labels, listing, WANTED, options(**stop), by_etags)


# --- the oracle: the docstring of matching.py, row by row ----------------------------------------


def bad_id(artifact_id: str | None) -> bool:
    return not artifact_id or artifact_id == ".." or any(c in artifact_id for c in "/\n\\")


def oracle(rows: list[Row], keys: list[Key]) -> tuple[list[str], dict[str, str]]:
    """The fate of each row, and of each artifact without one."""
    labelled = [bool(label and label.strip()) for _, label, _, _ in rows]
    hashes = [hash if hash and hash.strip() else None for _, _, hash, _ in rows]
    fates: list[str | None] = [None] * len(rows)

    def give(index: int, fate: Fate) -> None:
        if fates[index] is None:
            fates[index] = fate.value

    for n, (artifact_id, *_) in enumerate(rows):
        if bad_id(artifact_id):
            give(n, Fate.UNSAFE_NAME)
        if not labelled[n]:
            give(n, Fate.NO_LABEL)

    def conflicts(witnesses: list[int]) -> None:
        touched = set()
        for n in witnesses:
            for m in witnesses:
                same_id = rows[n][0] is not None and rows[n][0] == rows[m][0]
                same_hash = hashes[n] is not None and hashes[n] == hashes[m]
                if (same_id or same_hash) and rows[n][1] != rows[m][1]:
                    touched |= {rows[n][0], rows[m][0]}
        for n, row in enumerate(rows):
            if row[0] in touched:
                give(n, Fate.CONFLICT)

    conflicts([n for n in range(len(rows)) if labelled[n]])
    by_id: dict[str | None, list[int]] = defaultdict(list)
    for n in range(len(rows)):
        if fates[n] is None:
            by_id[rows[n][0]].append(n)
    for same in by_id.values():
        _, *others = sorted(same, key=lambda n: (hashes[n] or "\uffff", rows[n][3], n))
        for n in others:
            give(n, Fate.DUPLICATE_ROW)

    has: dict[str, list[Key]] = defaultdict(list)
    for key in keys:
        has[key[0]].append(key)
    forms: dict[tuple[str, str], list[Key]] = defaultdict(list)
    for key in keys:
        forms[key[0], unicodedata.normalize("NFC", key[1])].append(key)
    copied = [k for k in keys if k[1] == "raw" or fnmatchcase(k[1], "p*")]
    rivals = {
        k[0] for same in forms.values() if len(same) > 1 and set(same) & set(copied) for k in same
    }
    for n, (artifact_id, *_) in enumerate(rows):
        mine = [file for i, file, _ in copied if i == artifact_id]
        if artifact_id not in has:
            give(n, Fate.NO_FILES)
        elif artifact_id in rivals:
            give(n, Fate.AMBIGUOUS_KEY)
        elif any("\n" in file or ".." in file for file in mine):
            give(n, Fate.UNSAFE_NAME)
        elif "raw" not in mine or not any(file.startswith("p") for file in mine):
            give(n, Fate.MISSING_FILES)
        elif any(i == artifact_id and etag == COLD for i, _, etag in copied):
            give(n, Fate.ARCHIVED)
        elif fates[n] is None and hashes[n] is None:
            hashes[n] = f"etags:{sorted(k[1:] for k in copied if k[0] == artifact_id)}"
    conflicts([n for n in range(len(rows)) if fates[n] is None])
    groups: dict[str | None, list[int]] = defaultdict(list)
    for n in range(len(rows)):
        if fates[n] is None:
            groups[hashes[n]].append(n)
    for same in groups.values():
        smallest = min(rows[n][0] or "" for n in same)
        for n in same:
            give(n, Fate.KEPT if rows[n][0] == smallest else Fate.DUPLICATE)
    named = {row[0] for row in rows}
    rest = {i: Fate.UNSAFE_NAME if bad_id(i) else Fate.NO_LABEL_ROW for i in has if i not in named}
    return [str(fate) for fate in fates], {i: fate.value for i, fate in rest.items()}


def test_the_generated_data_is_of_every_kind() -> None:
    """Each fate that matching gives comes up, or the tests below prove little."""
    seen: Counter[str] = Counter()
    for seed in range(300):
        fates, without = oracle(*ordinary(seed))
        seen.update([*fates, *without.values()])
    given_later = {Fate.COPY_FAILED, Fate.PROCESS_FAILED, Fate.FORGOTTEN}
    given_later |= {Fate.FILE_ROW}  # only where the rows name the files
    assert {fate for fate in set(Fate) - given_later if seen[fate.value] < 20} == set()


@settings(max_examples=250, deadline=None)
@given(worlds)
def test_every_row_and_artifact_gets_the_one_fate_that_the_order_says(world: World) -> None:
    rows, keys = world
    found = matched(rows, keys)
    expected, without = oracle(rows, keys)
    mine = found.rows.filter(pl.col("nr").is_not_null())
    assert mine["nr"].to_list() == list(range(len(rows))), "every row once, in order"
    assert mine["fate"].to_list() == expected
    rest = found.rows.filter(pl.col("nr").is_null())
    assert dict(rest.select("artifact_id", "fate").iter_rows()) == without
    assert rest.height == len(without)
    kept = found.rows.filter(pl.col("fate") == "kept")
    assert kept["artifact_id"].is_unique().all()
    assert set(found.files["artifact_id"]) == set(kept["artifact_id"])
    others = found.rows.filter(pl.col("fate") != "kept")
    assert (others["reason"] != "").all(), "a reason for everyone who is not kept"


@settings(max_examples=100, deadline=None)
@given(worlds, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_keys_changes_nothing(world: World, random: Any) -> None:
    rows, keys = world
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = list(keys)
    random.shuffle(shuffled)

    def told(found: Matched) -> list[str]:
        frame = found.rows.filter(pl.col("nr").is_not_null())
        triples = frame.select("artifact_id", "label", "file_hash", "row", "fate", "reason").rows()
        return sorted(repr(triple) for triple in triples)

    assert told(matched(rows, keys)) == told(matched([rows[n] for n in order], shuffled))


@settings(max_examples=100, deadline=None)
@given(
    worlds, st.sets(st.sampled_from(IDS)), st.sampled_from([Fate.COPY_FAILED, Fate.PROCESS_FAILED])
)
def test_the_summary_adds_up_on_both_sides(world: World, failing: set[str], late: Fate) -> None:
    rows, keys = world
    found = matched(rows, keys)
    troubles = Troubles(Limit(1.0, True), len(rows))
    for artifact_id in failing:
        troubles.fail(artifact_id, late, "because")
    here = found.files.select("artifact_id", "file", "size", "etag")
    made = list_process_func_files(pl.DataFrame(schema=PROCESSED))
    ledger = conclude(found, Verified(here, made, 0), troubles)
    told = summarise(ledger, about(len(rows), len(keys)), len({k[0] for k in keys}))
    assert told["production_as_of"] == about(0, 0).taken_at
    labels, artifacts = told["label_rows"], told["artifacts"]
    assert labels["total"] == sum(labels["fates"].values()) == len(rows)
    everyone = {row[0] for row in rows if row[0] is not None} | {key[0] for key in keys}
    assert artifacts["total"] == sum(artifacts["fates"].values()) == len(everyone)
    kept = set(ledger.rows.filter(pl.col("fate") == "kept")["artifact_id"])
    assert artifacts["fates"].get("kept", 0) == len(kept)
    assert not kept & failing
    assert set(ledger.stale["artifact_id"]) <= failing
    fates = Counter(ledger.rows["fate"])
    assert sum(fates.values()) == len(rows) + len({k[0] for k in keys} - {r[0] for r in rows})


def about(label_rows: int, keys: int) -> About:
    return About("2026-11-20T14:03:00+00:00", {}, label_rows, keys, 0, 0)


def test_a_ledger_that_does_not_add_up_is_never_written() -> None:
    found = matched([("a", "cat", "h1", 0)], [("a", "raw", "e1"), ("a", "p1", "e1")])
    here = pl.DataFrame(schema=PRESENT)
    made = list_process_func_files(pl.DataFrame(schema=PROCESSED))
    ledger = conclude(found, Verified(here, made, 0), Troubles(Limit(0.0, False), 1))
    with pytest.raises(StepError, match="does not add up: 2 label rows, but 1 fates"):
        summarise(ledger, about(2, 2), 1)
    twice = Ledger(pl.concat([ledger.rows, ledger.rows]), ledger.files, ledger.stale)
    with pytest.raises(StepError, match="does not add up"):
        summarise(twice, about(1, 2), 1)


# --- what the ledger leaves, and tells ------------------------------------------------------------


def ledger_of(rows: list[Row], keys: list[Key]) -> Ledger:
    found = matched(rows, keys)
    here = found.files.select("artifact_id", "file", "size", "etag")
    made = list_process_func_files(pl.DataFrame(schema=PROCESSED))
    return conclude(found, Verified(here, made, 0), Troubles(Limit(0.0, False), len(rows)))


def test_the_hash_is_over_all_that_later_steps_read_in_any_order() -> None:
    rows: list[Row] = [("a", "cat", "h1", 0), ("b", "dog", "h2", 0)]
    keys = [(i, file, f"e-{i}") for i in "ab" for file in ("raw", "p1")]
    seen = {ledger_of(rows, keys).hash()}
    assert ledger_of(rows[::-1], keys[::-1]).hash() in seen
    assert ledger_of([*rows, ("c", "cat", "h3", 0)], keys).hash() in seen, "c has no files"
    for changed in (
        ledger_of([("a", "cow", "h1", 0), rows[1]], keys),
        ledger_of([("a", "cat", "h3", 0), rows[1]], keys),
        ledger_of([("a", "cat", "h1", 1), rows[1]], keys),
        ledger_of(rows[:1], keys),
        ledger_of(rows, [("a", "raw", "another"), *keys[1:]]),
        ledger_of(rows, [*keys, ("a", "p2", "e-a")]),
    ):
        assert changed.hash() not in seen
        seen.add(changed.hash())


def test_stale_files_are_named_and_removed_only_if_told_so(tmp_path: Path) -> None:
    store, progress = open_store(str(tmp_path)), Recording()
    stale = pl.DataFrame(
        [("a", "x", 1, "e"), ("a", "y", 1, "e"), ("b", "x", 1, "e")], PRESENT, orient="row"
    )
    keys = [layout.artifact_file(i, file) for i, file in stale.select("artifact_id", "file").rows()]
    kept = layout.artifact_file("c", "x")
    for key in [*keys, kept]:
        store.write(key, b"")
    there = sorted(keys_of(store))
    assert prune(store, progress, stale.clear(), remove=True).is_empty()
    assert progress.lines == []
    assert prune(store, progress, stale, remove=False).equals(stale)
    assert sorted(keys_of(store)) == there
    assert prune(store, progress, stale, remove=True).equals(stale.clear())
    assert keys_of(store) == [kept]
    what = "3 stale files of 2 artifacts"
    assert progress.notes == [
        f"{what} are in the store and not used; --prune removes them",
        f"removed {what}",
    ]


def keys_of(store: Store) -> list[str]:
    return [key for batch in store.list() for key in batch.column("key").to_pylist()]


def test_the_table_has_the_fates_of_either_side_in_the_order_of_the_fates() -> None:
    progress = Recording()
    summary = {
        "label_rows": {"total": 3, "fates": {"kept": 1, "duplicate_row": 2}},
        "artifacts": {"total": 5, "fates": {"no_label_row": 4, "kept": 1}},
    }
    show(progress, summary)
    expected = {
        "kept": ("kept", 1, 1),
        "duplicate_row": ("duplicate_row", 2, 0),
        "no_label_row": ("no_label_row", 0, 4),
    }
    order = [expected[fate.value] for fate in Fate if fate.value in expected]
    assert [rows for _, rows in progress.tables] == [[*order, ("total", 3, 5)]]


# --- what a person reads -------------------------------------------------------------------------

GOOD = [("a", "raw", "e1"), ("a", "p1", "e1"), ("b", "raw", "e2"), ("b", "p1", "e2")]


def reasons(found: Matched) -> dict[str, str]:
    return dict(found.rows.select("artifact_id", "reason").iter_rows())


def test_a_conflict_names_labels_and_artifacts() -> None:
    rows: list[Row] = [("a", "cat", "h", 0), ("b", "dog", "h", 0)]
    told = reasons(matched(rows, GOOD))
    assert told["a"] == "the same content has the labels 'cat', 'dog': artifacts 'a', 'b'"
    with pytest.raises(DataError, match="'a', 'b'"):
        matched(rows, GOOD, conflict="stop")


def test_long_lists_are_cut() -> None:
    rows: list[Row] = [("a", f"label-{n}", "h", 0) for n in range(9)]
    told = reasons(matched(rows, GOOD))
    assert told["a"].endswith("'label-0', 'label-1', 'label-2', 'label-3' and 5 more")
    told = reasons(matched(rows[:4], GOOD))
    assert told["a"].endswith("'label-2', 'label-3'"), "no more than these"


def test_duplicate_rows_with_another_hash_say_so_and_the_smallest_stays() -> None:
    rows: list[Row] = [("a", "cat", "h2", 0), ("a", "cat", None, 0), ("a", "cat", "h1", 0)]
    found = matched(rows, GOOD).rows.filter(pl.col("nr").is_not_null())
    assert found["fate"].to_list() == ["duplicate_row", "duplicate_row", "kept"]
    assert "this one says file_hash h2, that one h1" in found["reason"][0]
    assert "this one says file_hash none, that one h1" in found["reason"][1]
    for same in ("h1", None):
        found = matched([("a", "cat", same, 1), ("a", "cat", same, 0)], GOOD).rows
        assert found["fate"].to_list()[:2] == ["duplicate_row", "kept"]
        assert found["reason"][0] == "another row says the same"


def test_of_duplicates_the_smallest_usable_id_survives() -> None:
    rows: list[Row] = [("c", "cat", "h", 0), ("b", "cat", "h", 0), ("a", "cat", "h", 0)]
    keys = [("b", "raw", "e"), ("b", "p1", "e"), ("c", "raw", "e"), ("c", "p1", "e")]
    found = matched(rows, keys)
    fates = dict(found.rows.select("artifact_id", "fate").iter_rows())
    assert fates == {"a": "no_files", "b": "kept", "c": "duplicate"}
    assert reasons(found)["c"] == "the same content and label as artifact 'b'"


def test_without_a_hash_in_the_rows_the_files_say_what_is_the_same() -> None:
    keys = [(i, file, "e1" if i in "ab" else "e2") for i in "abc" for file in ("raw", "p1")]
    rows: list[Row] = [(i, "cat", None, 0) for i in "abc"]
    assert matched(rows, keys).rows["fate"].to_list() == ["kept", "duplicate", "kept"]
    rows[1] = ("b", "dog", "", 0)
    assert matched(rows, keys).rows["fate"].to_list() == ["conflict", "conflict", "kept"]
    rows[1] = ("b", "dog", "h1", 0)
    assert matched(rows, keys).rows["fate"].to_list() == ["kept", "kept", "kept"]


def test_missing_files_are_all_named() -> None:
    told = reasons(matched([("a", "cat", "h", 0)], [("a", "other", "e")]))
    assert told["a"] == "production lacks 'raw', 'p*'"


def test_a_key_that_is_read_in_two_ways_spoils_both_artifacts() -> None:
    labels, _ = tables([("a", "cat", "h1", 0), ("a_raw", "dog", "h2", 0)], [])
    files = [("a", "raw_raw", "a_raw_raw", 1, "e"), ("a_raw", "raw", "a_raw_raw", 1, "e")]
    files += [("a", "raw", "a_raw", 1, "e")]
    listing = Listing(pl.LazyFrame(files, OLDER, orient="row"), two_ways=True)
    wanted = Wanted(("raw*",), ("raw*",), ())
    found = match(labels, listing, wanted, options(), by_etags)
    assert found.rows["fate"].to_list() == ["ambiguous_key", "ambiguous_key"]
    assert "the key 'a_raw_raw' can be read as a file of 'a', 'a_raw'" in found.rows["reason"][0]


def test_a_key_that_was_listed_twice_with_another_size_is_ambiguous() -> None:
    labels, _ = tables([("a", "cat", "h1", 0), ("b", "dog", "h2", 0)], [])
    files = [("a", "raw", "a/raw", 1, "e"), ("a", "raw", "a/raw", 2, "f")]
    files += [("b", "raw", "b/raw", 1, "e"), ("b", "raw", "b/raw", 1, "e")]
    listing = Listing(pl.LazyFrame(files, OLDER, orient="row"), two_ways=False)
    found = match(labels, listing, Wanted(("raw",), ("raw",), ()), options(), by_etags)
    assert found.rows["fate"].to_list() == ["ambiguous_key", "kept"]
    assert found.files.height == 1


@pytest.mark.parametrize("in_keys", [True, False])
def test_an_artifact_without_a_row_is_spelled_as_in_its_keys(in_keys: bool) -> None:
    labels, listing = tables([("a", "cat", "h", 0)], [*GOOD[:2], ("b", "raw", "e2")])
    spelled = pl.col("artifact_id").str.to_uppercase()
    labels = labels.with_columns(original_id=spelled)
    if in_keys:
        listing = Listing(listing.files.with_columns(original_id=spelled), two_ways=False)
    found = match(labels, listing, WANTED, options(), by_etags).rows
    told = found.select("artifact_id", "fate", "original_id").rows()
    assert told == [("a", "kept", "A"), ("b", "no_label_row", "B" if in_keys else None)]
