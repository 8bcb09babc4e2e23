"""Globs, keys and names that cannot be trusted, against plain Python."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handful.errors import UserError
from handful.steps.reconcile.keys.key_pattern import KeyPattern
from handful.steps.reconcile.keys.names import (
    Wanted,
    file_fault,
    id_fault,
    matches,
    may_meet,
    quote_names,
    shown,
)

letters = st.text(alphabet="ab.-_[]!*?\\^é/\n ", max_size=8)


@given(glob=letters, names=st.lists(letters, min_size=1, max_size=5))
@example(glob="[!]a]", names=["b", "a", "]"])
@example(glob="[c-a]", names=["b"])
@example(glob="[a-]", names=["-", "a"])
@example(glob="[!a-b]", names=["-", "a", "c"])
@example(glob="[", names=["["])
@example(glob="page_*.png", names=["page_.png", "page_1.png\n", "page_\n.png"])
def test_globs_mean_what_fnmatch_means(glob: str, names: list[str]) -> None:
    found = pl.DataFrame({"n": names}).select(matches(pl.col("n"), glob)).to_series().to_list()
    if not any(c in glob for c in "*?["):
        assert found == [name == glob for name in names]
    else:
        assert found == [fnmatchcase(name, glob) for name in names]


plain_globs = st.text(alphabet="ab*?", max_size=5)


@given(plain_globs, plain_globs)
def test_globs_that_may_meet_have_a_name_in_common(one: str, other: str) -> None:
    names = ("".join(n) for size in range(9) for n in product("ab", repeat=size))
    common = any(fnmatchcase(n, one) and fnmatchcase(n, other) for n in names)
    assert may_meet(one, other) == common


def read(
    pattern: str, keys: list[str], known: list[str]
) -> tuple[list[tuple[str, str, str]], int, int]:
    frame = pl.DataFrame({"key": keys, "size": [1] * len(keys), "etag": ["e"] * len(keys)})
    ids = pl.DataFrame({"artifact_id": sorted(set(known))}, {"artifact_id": pl.String})
    found = KeyPattern.of(pattern).read(frame, ids)
    rows = found.files.select("key", "artifact_id", "file").rows()
    return sorted(rows), found.unmatched, found.two_ways


@pytest.mark.parametrize(
    ("pattern", "key", "artifact_id", "file"),
    [
        ("{artifact_id}/{file}", "a/b/c.txt", "a", "b/c.txt"),
        ("{artifact_id}/{file}", "a//c.txt", "a", "/c.txt"),
        ("docs/{artifact_id}/out/{file}", "docs/a/out/x", "a", "x"),
        ("docs/{artifact_id}/out/{file}", "docs/a/out/out/x", "a", "out/x"),
        ("{file}/{artifact_id}.json", "a/b/c.json", "c", "a/b"),
        ("{artifact_id}_a/{file}", "x_a_a/f", "x_a", "f"),
        ("{artifact_id}/{file}.gz", "a/b.gz", "a", "b"),
        ("x+(.[{artifact_id}]/{file}", "x+(.[é]/\n", "é", "\n"),
        ("{artifact_id}_{file}", "guid_raw_text.json", "guid", "raw_text.json"),
    ],
)
def test_a_key_is_read(pattern: str, key: str, artifact_id: str, file: str) -> None:
    assert read(pattern, [key], []) == ([(key, artifact_id, file)], 0, 0)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("{artifact_id}/{file}", "file"),
        ("{artifact_id}/{file}", "/file"),
        ("{artifact_id}/{file}", "a/"),
        ("docs/{artifact_id}/{file}", "docs/a"),
        ("ab{artifact_id}/{file}ba", "aba"),
        ("{artifact_id}_{file}", "x/y_z"),
    ],
)
def test_a_key_that_does_not_fit_is_counted(pattern: str, key: str) -> None:
    assert read(pattern, [key], []) == ([], 1, 0)


def test_label_rows_decide_where_a_key_can_be_read_in_two_ways() -> None:
    pattern, key = "{artifact_id}_{file}", "a_b_c"
    assert read(pattern, [key], ["a_b"]) == ([(key, "a_b", "c")], 0, 0)
    assert read(pattern, [key], ["a"]) == ([(key, "a", "b_c")], 0, 0)
    assert read(pattern, [key], []) == ([(key, "a", "b_c")], 0, 0)
    both = [(key, "a", "b_c"), (key, "a_b", "c")]
    assert read(pattern, [key], ["a", "a_b"]) == (both, 0, 1)


@given(
    between=st.text(alphabet="_-", min_size=1, max_size=2),
    id_first=st.booleans(),
    keys=st.lists(st.text(alphabet="a_-/", max_size=7), min_size=1, max_size=4),
    known=st.lists(st.text(alphabet="a_-", max_size=3), max_size=4),
)
@settings(deadline=None)
def test_every_way_to_read_a_key_is_found(
    between: str, id_first: bool, keys: list[str], known: list[str]
) -> None:
    pattern = (
        f"{{artifact_id}}{between}{{file}}" if id_first else f"{{file}}{between}{{artifact_id}}"
    )
    expected, unmatched, two_ways = [], 0, 0
    for key in keys:
        ways = []
        for at in range(len(key)):
            if key.startswith(between, at):
                first, second = key[:at], key[at + len(between) :]
                artifact_id, file = (first, second) if id_first else (second, first)
                if artifact_id and file and "/" not in artifact_id:
                    ways.append((key, artifact_id, file))
        meant = [way for way in ways if way[1] in known]
        unmatched += not ways
        two_ways += len(meant) > 1
        expected += meant or sorted(ways, key=lambda way: len(way[1]))[:1]
    assert read(pattern, keys, known) == (sorted(expected), unmatched, two_ways)


HOSTILE_IDS = [
    "",
    ".",
    "..",
    "../x",
    "/x",
    "a/b",
    "a\\b",
    "a\nb",
    "a\0b",
    "a\x7fb",
    "a\u2028b",
    "x" * 256,
]
HOSTILE_FILES = [
    "",
    "..",
    ".",
    "/x",
    "../x",
    "a/../b",
    "a//b",
    "a/",
    "./a",
    "a\\b",
    "a\tb",
    "é" * 128,
]


@pytest.mark.parametrize("name", HOSTILE_IDS)
def test_hostile_ids(name: str) -> None:
    assert pl.DataFrame({"n": [name]}).select(id_fault(pl.col("n"))).item() is not None


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_hostile_file_names(name: str) -> None:
    assert pl.DataFrame({"n": [name]}).select(file_fault(pl.col("n"))).item() is not None


@pytest.mark.parametrize(
    "name", ["a", "..a", "a..", "...", ".hidden", "é" * 127, "a b+c%20", "日本"]
)
def test_good_names(name: str) -> None:
    frame = pl.DataFrame({"n": [name]})
    assert frame.select(id_fault(pl.col("n"))).item() is None
    assert frame.select(file_fault(pl.col("n"))).item() is None


def test_a_long_path_of_short_names_is_good() -> None:
    frame = pl.DataFrame({"n": ["/".join(["x" * 200] * 4)]})
    assert frame.select(file_fault(pl.col("n"))).item() is None


def test_names_are_shown_without_what_moves_a_cursor() -> None:
    frame = pl.DataFrame({"n": ["a\x1b[2Jb\n", "\u202ex", "y" * 300]})
    told = frame.select(shown(pl.col("n"))).to_series().to_list()
    assert told[0] == "'a\ufffd[2Jb\ufffd'"
    assert told[1] == "'\ufffdx'"
    assert len(told[2]) < 110
    assert quote_names(["a\n", "b", "c"], most=2) == "'a\ufffd', 'b' and 1 more"


def test_who_has_to_give_which_file() -> None:
    wanted = Wanted.of(("raw.txt", "*.png"), ("raw.txt", "page_*.png"), has_process=False)
    assert wanted.from_production == ("raw.txt", "page_*.png")
    wanted = Wanted.of(("raw.txt", "*.png"), ("raw.txt", "truth.json"), has_process=True)
    assert wanted.from_production == ("raw.txt",)
    assert wanted.after_process == ("truth.json",)
    with pytest.raises(UserError, match=r"nobody can give 'a\.txt', 'y'"):
        Wanted.of(("raw.txt", "*.png"), ("raw.txt", "a.txt", "y"), has_process=False)
